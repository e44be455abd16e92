/** A thread of a pool: runs the handlers of one module, one run at a time. */
import { parentPort, workerData } from "node:worker_threads";
import { readValue } from "./body.js";
import { BodyError, TaskCancelled, tooLarge } from "./errors.js";
import { failureOf } from "./failure.js";
import type { Handler } from "./lanes.js";
import { compress } from "./lz4.js";
import { Writer } from "./msgpack/writer.js";
import type { FromThread, PoolThreadData, RunMessage, ToThread } from "./pool-messages.js";
import type { Context } from "./run.js";
import { DROP } from "./values.js";

const port = parentPort!;
const { module, cancelled: shared } = workerData as PoolThreadData;
const cancelledRun = new Int32Array(shared);
const tasks = new Map<string, Handler>();
const stages = new Map<string, Handler>();
let controller: AbortController | undefined;
let current = 0;

class PoolContext implements Context {
  readonly #number: number;

  constructor(
    number: number,
    readonly id: string,
    readonly type: string,
    readonly attempt: number,
  ) {
    this.#number = number;
  }

  get cancelled(): boolean {
    return Atomics.load(cancelledRun, 0) === this.#number;
  }

  get signal(): AbortSignal {
    if (controller === undefined) {
      controller = new AbortController();
      if (this.cancelled)
        controller.abort(new TaskCancelled(`task ${this.id} was cancelled`, this.id));
    }
    return controller.signal;
  }
}

function say(message: FromThread): void {
  const body = "body" in message ? message.body : undefined;
  port.postMessage(message, body === undefined ? [] : [body.buffer as ArrayBuffer]);
}

async function run(message: RunMessage): Promise<void> {
  const { number, id, type, attempt, isItem, rules } = message;
  current = number;
  controller = undefined;
  let body: unknown = null;
  try {
    if (message.body !== undefined) {
      const bytes = Buffer.from(message.body.buffer, message.body.byteOffset, message.body.length);
      const { codec, compressed } = message;
      body = readValue(bytes, 0, bytes.length, codec, compressed, rules.limit);
    }
  } catch (error) {
    say({ number, failure: failureOf(error, true) });
    return;
  }
  let value: unknown;
  try {
    const handler = (isItem ? stages : tasks).get(type)!;
    value = await handler(body, new PoolContext(number, id, type, attempt));
  } catch (error) {
    say({ number, failure: failureOf(error) });
    return;
  }
  try {
    if (isItem && value === DROP) say({ number, body: undefined, compressed: false });
    else say({ number, ...encode(value, rules) });
  } catch (error) {
    say({ number, failure: failureOf(error, true) });
  }
}

function encode(value: unknown, rules: RunMessage["rules"]) {
  const writer = new Writer();
  writer.value(value);
  const plain = writer.detach(0);
  if (plain.length > rules.limit) throw tooLarge("the result", plain.length, "body", rules.limit);
  const smaller = plain.length >= rules.compressionThreshold ? compress(plain) : undefined;
  // The buffer goes over with its ownership, so it holds the body and nothing else.
  return { body: new Uint8Array(smaller ?? plain), compressed: smaller !== undefined };
}

function collect(from: unknown, into: Map<string, Handler>, what: string): void {
  for (const [name, handler] of Object.entries(from ?? {})) {
    if (typeof handler !== "function") throw new TypeError(`${what}.${name} is not a function`);
    into.set(name, handler as Handler);
  }
}

port.on("message", (message: ToThread) => {
  if ("run" in message) void run(message.run);
  else if (message.cancel === current)
    controller?.abort(new TaskCancelled("the task was cancelled"));
});

try {
  const loaded = (await import(module)) as { tasks?: unknown; stages?: unknown };
  collect(loaded.tasks, tasks, "tasks");
  collect(loaded.stages, stages, "stages");
  if (tasks.size + stages.size === 0) {
    throw new BodyError(`${module} exports neither "tasks" nor "stages"`);
  }
  say({ ready: { tasks: [...tasks.keys()], stages: [...stages.keys()] } });
} catch (error) {
  say({ broken: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
