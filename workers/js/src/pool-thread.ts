/** A thread of a pool: runs the handlers of one module, one call at a time. */
import { parentPort, workerData } from "node:worker_threads";
import { wrongLength } from "./batches.js";
import { readValue } from "./body.js";
import {
  CANCEL_REASONS,
  type CancelReason,
  type Context,
  type Cost,
  Speaker,
  stopped,
  type Word,
} from "./context.js";
import { BodyError, tooLarge } from "./errors.js";
import { type Failure, failureOf } from "./failure.js";
import { Flow, isGenerator, sendAll } from "./flow.js";
import type { BatchHandler, Handler } from "./lanes.js";
import { compress } from "./lz4.js";
import { Writer } from "./msgpack/writer.js";
import type {
  CallMessage,
  FromThread,
  ListOptions,
  PoolName,
  PoolThreadData,
  RunMessage,
  RunResult,
  ToThread,
} from "./pool-messages.js";
import { DROP } from "./values.js";

const port = parentPort!;
const { module } = workerData as PoolThreadData;
interface Own {
  handler: Handler | BatchHandler;
  /** Of a list handler. */
  options: ListOptions | undefined;
}

const tasks = new Map<string, Own>();
const stages = new Map<string, Own>();
let current: { number: number; contexts: PoolContext[] } | undefined;

class PoolContext extends Speaker implements Context {
  readonly id: string;
  readonly type: string;
  readonly attempt: number;
  protected readonly given: Uint8Array | undefined;
  protected readonly labelBytes: Uint8Array | undefined;
  readonly flow: Flow | undefined;
  protected readonly bounds: { body: number; checkpoint: number };
  readonly #number: number;
  readonly #index: number;
  readonly #cancelled: Int32Array;
  readonly #until: number | undefined;
  #controller: AbortController | undefined;

  constructor({ number, type, runs, rules }: CallMessage, index: number, cancelled: Int32Array) {
    super();
    const { id, attempt, timeLeft, checkpoint, labels, stream } = runs[index];
    this.id = id;
    this.type = type;
    this.attempt = attempt;
    this.given = checkpoint;
    this.labelBytes = labels;
    this.flow = stream === undefined ? undefined : new Flow(stream);
    this.bounds = { body: rules.limit, checkpoint: rules.checkpoint };
    this.#number = number;
    this.#index = index;
    this.#cancelled = cancelled;
    this.#until = timeLeft === undefined ? undefined : performance.now() + timeLeft;
  }

  get cancelReason(): CancelReason | undefined {
    const code = Atomics.load(this.#cancelled, this.#index);
    return code === 0 ? undefined : CANCEL_REASONS[code - 1];
  }

  get cancelled(): boolean {
    return this.cancelReason !== undefined;
  }

  get timeLeft(): number | undefined {
    return this.#until === undefined ? undefined : Math.max(0, this.#until - performance.now());
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.cancelled) this.abort();
    }
    return this.#controller.signal;
  }

  abort(): void {
    this.#controller?.abort(stopped(this.id, this.cancelReason ?? "cancelled"));
    this.flow?.wake();
  }

  protected check(): void {
    const { cancelReason } = this;
    if (cancelReason !== undefined) throw stopped(this.id, cancelReason);
  }

  protected bear(): never {
    throw new Error(
      `the handler of "${this.type}" is in a pool's thread and has no children there; register it with ` +
        "worker.task()",
    );
  }

  protected say(word: Word | Cost): void {
    // The main thread puts it in order with the result, which comes the same way.
    if (current?.number !== this.#number) return;
    const { body } = word as { body?: Uint8Array };
    const own = body === undefined ? word : { ...word, body: new Uint8Array(body) };
    say({ number: this.#number, index: this.#index, word: own });
  }
}

function say(message: FromThread): void {
  const buffers: ArrayBuffer[] = [];
  if ("results" in message) {
    for (const result of message.results) {
      if ("body" in result && result.body) buffers.push(result.body.buffer as ArrayBuffer);
    }
  }
  port.postMessage(message, buffers);
}

async function call(message: CallMessage): Promise<void> {
  const { number, type, isItem, isList, runs, rules } = message;
  const cancelled = new Int32Array(message.cancelled);
  const contexts = runs.map((_, i) => new PoolContext(message, i, cancelled));
  current = { number, contexts };
  const results: RunResult[] = [];
  const bodies: unknown[] = [];
  const readable: number[] = [];
  runs.forEach((run, i) => {
    try {
      bodies.push(read(run, rules));
      readable.push(i);
    } catch (error) {
      results[i] = { failure: failureOf(error, true) };
    }
  });
  if (readable.length > 0) {
    let values: unknown;
    let failure: Failure | undefined;
    try {
      const { handler } = (isItem ? stages : tasks).get(type)!;
      if (isList) {
        const given = readable.map((i) => contexts[i]);
        values = await (handler as BatchHandler)(bodies, given);
        failure = wrongLength(values, readable.length);
      } else {
        const value: unknown = await (handler as Handler)(bodies[0], contexts[0]);
        values = [isGenerator(value) ? await sendAll(value, contexts[0].send) : value];
      }
    } catch (error) {
      failure = failureOf(error);
    }
    readable.forEach((i, n) => {
      results[i] = failure ? { failure } : written((values as unknown[])[n], isItem, rules);
    });
  }
  current = undefined;
  say({ number, results });
}

function read({ body, codec, compressed }: RunMessage, rules: CallMessage["rules"]): unknown {
  if (body === undefined) return null;
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
  return readValue(bytes, 0, bytes.length, codec, compressed, rules.limit);
}

function written(value: unknown, isItem: boolean, rules: CallMessage["rules"]): RunResult {
  if (isItem && value === DROP) return { body: undefined, compressed: false };
  try {
    return encode(value, rules);
  } catch (error) {
    return { failure: failureOf(error, true) };
  }
}

function encode(value: unknown, rules: CallMessage["rules"]): RunResult {
  const writer = new Writer();
  writer.value(value);
  const plain = writer.detach(0);
  if (plain.length > rules.limit) throw tooLarge("the result", plain.length, "body", rules.limit);
  const smaller = plain.length >= rules.compressionThreshold ? compress(plain) : undefined;
  // The buffer goes over with its ownership, so it holds the body and nothing else.
  return { body: new Uint8Array(smaller ?? plain), compressed: smaller !== undefined };
}

function collect(from: unknown, into: Map<string, Own>, what: string): void {
  for (const [name, handler] of Object.entries(from ?? {})) {
    if (isList(handler)) {
      const { handler: own, batch, wait } = handler;
      if (!Number.isInteger(batch) || batch < 1) {
        throw new RangeError(`${what}.${name}.batch is a whole number from 1, not ${batch}`);
      }
      const options = wait === undefined ? { batch } : { batch, wait };
      into.set(name, { handler: own, options });
    } else if (typeof handler === "function") {
      into.set(name, { handler: handler as Handler, options: undefined });
    } else {
      throw new TypeError(`${what}.${name} is not a function`);
    }
  }
}

function isList(given: unknown): given is ListOptions & { handler: BatchHandler } {
  return typeof (given as { handler?: unknown } | null)?.handler === "function";
}

port.on("message", (message: ToThread) => {
  if ("call" in message) void call(message.call);
  else if ("credit" in message) {
    if (message.credit === current?.number) {
      current.contexts[message.index].flow?.add(message.chunks);
    }
  } else if (message.cancel === current?.number) current.contexts[message.index].abort();
});

try {
  const loaded = (await import(module)) as { tasks?: unknown; stages?: unknown };
  collect(loaded.tasks, tasks, "tasks");
  collect(loaded.stages, stages, "stages");
  if (tasks.size + stages.size === 0) {
    throw new BodyError(`${module} exports neither "tasks" nor "stages"`);
  }
  const names = (own: Map<string, Own>) =>
    Array.from(own, ([name, { options }]): PoolName => [name, options]);
  say({ ready: { tasks: names(tasks), stages: names(stages) } });
} catch (error) {
  say({ broken: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
