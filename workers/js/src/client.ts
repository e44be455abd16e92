/** The client: tasks, queries, events and pipeline items into the broker, answers out of it. */
import {
  type AwaitOptions,
  checkChange,
  readStatus,
  type TaskChange,
  type TaskStatus,
  type Updated,
} from "./by-id.js";
import type { ChildOptions } from "./children.js";
import { milliseconds } from "./durations.js";
import { closedError } from "./endings.js";
import { BodyError, Closed, TaskCancelled, Timeout, type TuskError } from "./errors.js";
import { Finds } from "./finding.js";
import { checkKey } from "./labels.js";
import { Many, type ManyOptions, type Outcome, valueOrThrow } from "./many.js";
import { Writer } from "./msgpack/writer.js";
import { NO_ATTRIBUTES, Pending, type RequestAttributes } from "./pending.js";
import { type EventSink, Requests } from "./requests.js";
import { nothingElseRuns } from "./running.js";
import { MOST_WINDOW, Stream, type StreamHost } from "./streams.js";
import type { Subscription } from "./subscription.js";
import { Task } from "./task.js";
import {
  type FollowOptions,
  type Given,
  refuseCallbacks,
  type TaskTerms,
  termsOf,
  termsOfEach,
  whole,
} from "./terms.js";
import { type SubscribeOptions, Topics } from "./topics.js";
import { idBytes, type TaskId } from "./uuid.js";
import { DEFAULT_URL, Kind, MAX_NAME, MAX_TRACE, Reply } from "./wire.js";

/** close() waits this long, in ms, for the broker to acknowledge what was sent. */
const CLOSE_WAIT = 1000;
/** Between looks at whether an idle client is all that keeps the process alive; each is twice as long. */
const IDLE_CHECK = 50;
const IDLE_CHECK_LONGEST = 1000;

export interface ClientOptions {
  /** A name for people; by default the broker makes one of language and pid. */
  name?: string;
  /** @internal When a broker has named others: how long each of them is tried, in ms. For tests. */
  elsewhereAfter?: number;
}

export interface PostOptions extends TaskTerms {
  /** How long to wait, in ms; by default what the broker says, 5,000 before it has. Infinity: for ever. */
  timeout?: number;
  /** Cancels the task when it is aborted. */
  signal?: AbortSignal;
  /** The task's id, UUID text or 16 bytes; by default a new UUIDv7. The same id is the same task. */
  id?: TaskId;
  /** The id may have been sent before, by another process perhaps: never a silent second run. */
  resent?: boolean;
  /** A second run does no harm, so never `unknown_outcome`. */
  rerunOk?: boolean;
  /** W3C `traceparent`, handed on to the worker. */
  trace?: string;
  /** W3C `baggage`, handed on to the worker. */
  baggage?: string;
}

export interface CallOptions extends PostOptions, FollowOptions {}

/** Options of each of many tasks. */
export interface MapOptions extends ManyOptions, TaskTerms {}

export interface SubmitOptions extends CallOptions {
  /**
   * `"result"` (default); `"accepted"`: `result` resolves, with undefined, as soon as the broker has
   * the task; `"both"`: `accepted` resolves early and `result` later.
   */
  reply?: "result" | "accepted" | "both";
}

export interface StreamOptions extends Omit<CallOptions, "timeout"> {
  /**
   * How many chunks may be on their way, 1 to 1,024; default 16. The handler waits for a program that is
   * slow.
   */
  window?: number;
}

export interface PushOptions {
  timeout?: number;
  id?: TaskId;
  resent?: boolean;
  rerunOk?: boolean;
  trace?: string;
  baggage?: string;
}

export interface PublishOptions {
  timeout?: number;
  trace?: string;
  baggage?: string;
}

type Done = (value: unknown) => void;
type Failed = (error: TuskError) => void;

/** Clients that have not been closed, for the word at exit. */
const open = new Set<Client>();
let exitHooked = false;

/**
 * A client of the broker at `url` (default: `TUSK_URL`, else tcp://127.0.0.1:7420).
 *
 * It connects with the first request and reconnects by itself; while it does, requests wait, at most
 * for their time-out. Any number of requests may be under way at once. An idle client does not keep
 * the process alive.
 *
 * All methods reject with subclasses of TuskError.
 */
export class Client extends Finds {
  readonly url: string;
  readonly #requests: Requests;
  readonly #topics: Topics;
  #closed = false;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(url?: string, options: ClientOptions = {}) {
    super();
    this.url = url ?? process.env.TUSK_URL ?? DEFAULT_URL;
    const sink: EventSink = {
      event: (...event) => this.#topics.event(...event),
      unsubscribed: (pattern, message) => this.#topics.unsubscribed(pattern, message),
    };
    const welcomed = () => this.#topics.subscribeAgain();
    const { name, elsewhereAfter } = options;
    this.#requests = new Requests(this.url, name, sink, welcomed, elsewhereAfter);
    this.#topics = new Topics(this.#requests);
    this.#requests.onIdle = () => this.#watchIdle(IDLE_CHECK);
    open.add(this);
    if (!exitHooked) {
      exitHooked = true;
      process.on("exit", tellUnfinished);
    }
  }

  /**
   * Runs a task and resolves to what its handler returned.
   *
   * Rejects with a RangeError or TypeError for an option out of its bounds, before anything is sent, and
   * with TaskFailed or TaskDead (the handler's error is in `remote`), TaskCancelled,
   * TaskExpired, Timeout (the task goes on), Unavailable (no broker), BodyError (the body or the result
   * has no exact form here), TooLarge, Busy, or another BrokerError.
   */
  call<Result = unknown>(type: string, body?: unknown, options?: CallOptions): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      this.#submit(type, body, options, resolve as (value: unknown) => void, reject);
    });
  }

  /**
   * Begins a task and returns its handle, for its id, its result later, or to cancel it.
   *
   * @throws BodyError, TooLarge, Busy or Closed at once, if it cannot be sent; RangeError or TypeError
   * for an option out of its bounds
   */
  submit<Result = unknown>(type: string, body?: unknown, options?: SubmitOptions): Task<Result> {
    return new Task<Result>(
      (done, failed, accepted) => this.#submit(type, body, options, done, failed, accepted),
      (id) => this.cancel(id),
    );
  }

  /**
   * Begins a task and returns what its handler sends, chunk by chunk, to iterate over. Once a broker has it
   * there is no time limit.
   *
   * @throws BodyError, TooLarge, Busy or Closed at once, if it cannot be sent; RangeError or TypeError
   * for an option out of its bounds
   */
  stream<Value = unknown, Result = unknown>(
    type: string,
    body?: unknown,
    options: StreamOptions = {},
  ): Stream<Value, Result> {
    const { window = 16, ...rest } = options;
    whole("window", window, 1, MOST_WINDOW);
    const host: StreamHost = {
      credit: (pending, chunks) => this.#requests.credit(pending, chunks),
      leave: (pending) =>
        this.#requests.abandon(pending, new TaskCancelled("the stream was left", pending.id)),
    };
    return new Stream<Value, Result>(host, window, (done, failed) => {
      const pending = this.#submit(type, body, rest, done, failed, undefined, { stream: window });
      pending.patient = true;
      return pending;
    });
  }

  /** @internal Submits a child of the task `parent`, without a time limit. */
  bear(
    parent: Buffer,
    type: string,
    body: unknown,
    options: ChildOptions,
    to: {
      done: Done;
      failed: Failed;
      accepted: () => void;
      resubmitted: () => void;
    },
  ): Pending {
    refuseCallbacks("a run", options);
    const both = { ...options, reply: "both" as const };
    const pending = this.#submit(type, body, both, to.done, to.failed, to.accepted, { parent });
    pending.patient = true;
    pending.resubmitted = to.resubmitted;
    return pending;
  }

  /** Hands over a task whose result nobody waits for; resolves to its id when the broker has it. */
  async post(type: string, body?: unknown, options?: PostOptions): Promise<string> {
    refuseCallbacks("post", options);
    const task = this.submit(type, body, { ...options, reply: "accepted" });
    await task.result;
    return task.id;
  }

  /**
   * Runs one task for each of `bodies` and yields what they return, in their order, or with
   * `ordered: false` as they complete. At most `inFlight` (1,000) are under way at once. The first
   * that fails ends it, with its error; whoever leaves the loop early cancels what is under way.
   */
  map<Result = unknown>(
    type: string,
    bodies: Iterable<unknown> | AsyncIterable<unknown>,
    options?: MapOptions,
  ): AsyncIterableIterator<Result> {
    return new Many(this.#starter(type, options), bodies, options, valueOrThrow<Result>);
  }

  /** As `map`, but yields `{ index, value }` or `{ index, error }` for each and goes on. */
  mapSettled<Result = unknown>(
    type: string,
    bodies: Iterable<unknown> | AsyncIterable<unknown>,
    options?: MapOptions,
  ): AsyncIterableIterator<Outcome<Result>> {
    return new Many<Result, Outcome<Result>>(
      this.#starter(type, options),
      bodies,
      options,
      (outcome) => outcome,
    );
  }

  /**
   * Waits for a task that anybody submitted, and resolves to what its handler returned.
   *
   * Rejects as `call` does, and with Unknown, or with AlreadyEnded when its ending was not kept; see
   * `TaskTerms.retention`.
   */
  awaitTask<Result = unknown>(id: TaskId, options: AwaitOptions = {}): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      this.#await(id, options, resolve as (value: unknown) => void, reject);
    });
  }

  /**
   * As `awaitTask` for many at once, which are asked for together: resolves to `{ index, value }` or
   * `{ index, error }` for each, in the order of `ids`. The time is that of all of them.
   */
  async awaitAll<Result = unknown>(
    ids: Iterable<TaskId>,
    options: { timeout?: number; signal?: AbortSignal } = {},
  ): Promise<Outcome<Result>[]> {
    const { timeout, signal } = options;
    const all = Array.from(ids, (id) => idBytes(id)); // what is no id is told before any is asked for
    const outcomes = all.map(
      (id, index) =>
        new Promise<Outcome<Result>>((resolve) => {
          const done = (value: unknown) => resolve({ index, value: value as Result });
          const failed = (error: TuskError) => resolve({ index, error });
          this.#await(id, { timeout, signal }, done, failed);
        }),
    );
    return Promise.all(outcomes);
  }

  /**
   * Changes a task that waits or is delayed: what is given, and nothing else. That the task runs or has
   * ended is no error; then `updated` is false. Rejects with Unknown.
   */
  async update(id: TaskId, change: TaskChange = {}): Promise<Updated> {
    checkChange(change);
    const { body, timeout, ...terms } = change;
    const bytes = idBytes(id);
    const whole = body === undefined ? bytes : this.#requests.encode(bytes, body);
    const chosen = { ...NO_ATTRIBUTES, terms: termsOf(terms) };
    const answer = await this.#request<Updated>(Kind.update, "", whole, timeout, chosen);
    return { state: answer.state, updated: answer.updated };
  }

  /** What the broker knows of a task. That it knows nothing is no error: the state is `"unknown"`. */
  async task(id: TaskId, options: { timeout?: number } = {}): Promise<TaskStatus> {
    return readStatus(await this.query("task", { id: idBytes(id) }, options));
  }

  /**
   * Cancels a task by its id and resolves to what became of it: `"cancelled"` (it had not begun),
   * `"cancelling"` (its worker was told) or the name of the ending that it has.
   */
  async cancel(id: TaskId): Promise<string> {
    const bytes = idBytes(id);
    const answer = await this.#request<{ state: string }>(Kind.cancel, "", bytes, undefined);
    return answer.state;
  }

  /** Asks the broker: `status`, `workers`, `types`, `stages` or `topics`; for `task` see there. */
  query<Answer = unknown>(
    what: string,
    args?: Record<string, unknown>,
    options: { timeout?: number } = {},
  ): Promise<Answer> {
    let bytes: Buffer | undefined;
    if (args !== undefined) {
      const id = args.id;
      const writer = new Writer();
      writer.value(typeof id === "string" ? { ...args, id: idBytes(id) } : args);
      bytes = writer.detach(0);
    }
    return this.#request<Answer>(Kind.query, what, bytes, options.timeout);
  }

  /**
   * No task of a type starts for so many ms, on any worker; what runs goes on. 0 ends the pause. Resolves to
   * whether there was anything to do; rejects with Invalid for a type that the broker does not know, and with
   * a RangeError beyond 100 years.
   */
  async pauseType(type: string, ms: number, options: { timeout?: number } = {}): Promise<boolean> {
    checkKey("a type", type);
    const args = { type, ms: milliseconds("a pause", ms) };
    return (await this.control("pause", args, options.timeout)).done === true;
  }

  /**
   * Lets the next task of an order key begin that a dead or failed one blocks (a type with `order_on_dead:
   * block`). Resolves to whether anything was blocked.
   */
  async unblock(type: string, key: string, options: { timeout?: number } = {}): Promise<boolean> {
    checkKey("a type", type);
    checkKey("an order key", key);
    return (await this.control("unblock", { type, key }, options.timeout)).done === true;
  }

  /** @internal */
  protected async control(
    what: string,
    args: Record<string, unknown>,
    timeout: number | undefined,
  ): Promise<Record<string, unknown>> {
    const writer = new Writer();
    writer.value(args);
    const bytes = writer.detach(0);
    const answer = this.#request<Record<string, unknown> | null>(
      Kind.control,
      what,
      bytes,
      timeout,
    );
    return (await answer) ?? {};
  }

  /** Publishes an event; resolves when the broker has it. Events are at most once. */
  publish(topic: string, body?: unknown, options: PublishOptions = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#withBody(Kind.publish, topic, body, options, () => resolve(), reject);
    });
  }

  /**
   * Publishes an event without a body, so that a topic which keeps its last event forgets it. Resolves and
   * rejects as `publish` does.
   */
  clear(topic: string, options: PublishOptions = {}): Promise<void> {
    return this.#request(
      Kind.publish,
      topic,
      undefined,
      options.timeout,
      attributesOf(options, Kind.publish),
    );
  }

  /**
   * Subscribes to a topic, or to a pattern: between dots, `*` is any one token, and `>` at the end one or
   * more. The subscription lives, over reconnects, until the loop is left or it is closed; it throws if the
   * broker does not know such a topic.
   *
   * @throws RangeError for an option out of its bounds
   */
  subscribe<Body = unknown>(topic: string, options: SubscribeOptions = {}): Subscription<Body> {
    this.#checkOpen();
    checkName(topic);
    return this.#topics.subscribe<Body>(topic, options);
  }

  /**
   * Pushes an item into a stage of the pipeline; resolves to its id when there is room for it. While
   * there is none it waits: that is the back-pressure.
   */
  push(stage: string, body?: unknown, options: PushOptions = {}): Promise<string> {
    return new Promise((resolve, reject) => {
      const done = () => resolve(pending.id);
      const pending = this.#withBody(Kind.push, stage, body, options, done, reject);
    });
  }

  /**
   * Pushes an item for each of `bodies`, as fast as there is room, and resolves to their number.
   * At most `inFlight` (1,000) wait for room at once. The first that is refused rejects it.
   */
  async pushMany(
    stage: string,
    bodies: Iterable<unknown> | AsyncIterable<unknown>,
    options: ManyOptions = {},
  ): Promise<number> {
    let count = 0;
    const start = (body: unknown, done: (value: unknown) => void, failed: (e: TuskError) => void) =>
      this.#withBody(Kind.push, stage, body, { timeout: options.timeout }, done, failed);
    const abandon = (pending: Pending, error: TuskError) => this.#requests.abandon(pending, error);
    for await (const _ of new Many({ start, abandon }, bodies, options, valueOrThrow)) count++;
    return count;
  }

  /**
   * Ends the client. What was sent is still delivered, for a second at most; requests without an answer
   * reject with Closed, and their number goes to stderr.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#idleTimer);
    const { requests, unsent } = this.#unfinished();
    this.#topics.close();
    this.#requests.failAll(closedError);
    open.delete(this);
    if (requests > 0) {
      process.stderr.write(`tuskd: closed with ${unfinished(requests, unsent)}\n`);
    }
    const { link } = this.#requests;
    link.flush();
    const until = performance.now() + CLOSE_WAIT;
    while (link.isUp && !link.isSettled && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    link.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // ---- requests ----

  #checkOpen(): void {
    if (this.#closed) throw new Closed("the client is closed");
  }

  #timeout(given: number | undefined): number {
    if (given === undefined) return this.#requests.defaultTimeout;
    if (!(given > 0)) throw new RangeError(`a timeout is more than 0 ms, not ${given}`);
    return given;
  }

  #submit(
    type: string,
    body: unknown,
    options: SubmitOptions | undefined,
    done: (value: unknown) => void,
    failed: (error: TuskError) => void,
    accepted?: () => void,
    more?: Partial<RequestAttributes>,
  ): Pending {
    this.#checkOpen();
    checkName(type);
    const requests = this.#requests;
    if (options === undefined) {
      const bytes = requests.encode(undefined, body);
      const timeout = requests.defaultTimeout;
      return requests.begin(
        Kind.submit,
        type,
        bytes,
        NO_ATTRIBUTES,
        timeout,
        done,
        failed,
        accepted,
      );
    }
    const id = options.id === undefined ? undefined : idBytes(options.id);
    const bytes = requests.encode(id, body);
    const timeout = this.#timeout(options.timeout);
    const chosen = { ...attributesOf(options), ...more };
    const begin = (onDone: Done, onFailed: Failed) =>
      requests.begin(Kind.submit, type, bytes, chosen, timeout, onDone, onFailed, accepted);
    const { signal } = options;
    if (signal === undefined) return begin(done, failed);
    const given = (taskId: string) =>
      new TaskCancelled("the caller aborted", taskId, { cause: signal.reason });
    return this.#abortable(signal, bytes, begin, done, failed, given);
  }

  /** Begins a request that `signal` ends, for its caller, with the error that `given` makes. */
  #abortable(
    signal: AbortSignal,
    bytes: Buffer,
    begin: (done: Done, failed: Failed) => Pending,
    done: Done,
    failed: Failed,
    given: (taskId: string) => TuskError,
  ): Pending {
    if (signal.aborted) {
      const stillborn = new Pending(0, Kind.submit, "", NO_ATTRIBUTES, done, failed);
      stillborn.bytes = bytes;
      failed(given(stillborn.id));
      return stillborn;
    }
    const onAbort = () => this.#requests.abandon(pending, given(pending.id));
    const pending: Pending = begin(
      (value) => {
        signal.removeEventListener("abort", onAbort);
        done(value);
      },
      (error) => {
        signal.removeEventListener("abort", onAbort);
        failed(error);
      },
    );
    if (this.#requests.waits(pending)) signal.addEventListener("abort", onAbort, { once: true });
    return pending;
  }

  #await(id: TaskId, options: Given<AwaitOptions>, done: Done, failed: Failed): void {
    this.#checkOpen();
    const bytes = idBytes(id);
    const timeout = this.#timeout(options.timeout);
    const { signal, onProgress, onLog } = options;
    const chosen = { ...NO_ATTRIBUTES, tellWait: true, terms: termsOf({ onProgress, onLog }) };
    const begin = (onDone: Done, onFailed: Failed) =>
      this.#requests.begin(Kind.await, "", bytes, chosen, timeout, onDone, onFailed);
    if (signal === undefined) {
      begin(done, failed);
      return;
    }
    const given = (taskId: string) =>
      new Timeout("the caller aborted; the task goes on", taskId, { cause: signal.reason });
    this.#abortable(signal, bytes, begin, done, failed, given);
  }

  #withBody(
    kind: number,
    name: string,
    body: unknown,
    options: { [K in keyof PushOptions]: PushOptions[K] | undefined },
    done: (value: unknown) => void,
    failed: (error: TuskError) => void,
  ): Pending {
    this.#checkOpen();
    checkName(name);
    const id = options.id === undefined ? undefined : idBytes(options.id);
    const bytes = this.#requests.encode(id, body);
    const timeout = this.#timeout(options.timeout);
    const chosen = attributesOf(options, kind);
    const pending = this.#requests.begin(kind, name, bytes, chosen, timeout, done, failed);
    pending.patient = kind === Kind.push && options.timeout === undefined;
    return pending;
  }

  #request<Answer>(
    kind: number,
    name: string,
    bytes: Buffer | undefined,
    timeout: number | undefined,
    chosen: Readonly<RequestAttributes> = NO_ATTRIBUTES,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#checkOpen();
      checkName(name);
      const done = resolve as (value: unknown) => void;
      this.#requests.begin(kind, name, bytes, chosen, this.#timeout(timeout), done, reject);
    });
  }

  #starter(type: string, options: MapOptions | undefined) {
    refuseCallbacks("map", options);
    // How many are under way, and in which order, is no affair of a task.
    const { inFlight: _inFlight, ordered: _ordered, ...own } = options ?? {};
    const none = Object.values(own).every((value) => value === undefined);
    const each = none ? () => undefined : termsOfEach<TaskTerms & { timeout?: number }>(own);
    return {
      start: (body: unknown, done: (value: unknown) => void, failed: (error: TuskError) => void) =>
        this.#submit(type, body, each(), done, failed),
      abandon: (pending: Pending, error: TuskError) => this.#requests.abandon(pending, error),
    };
  }

  // ---- the end ----

  #unfinished(): { requests: number; unsent: number } {
    return this.#requests.outstanding;
  }

  /**
   * libzmq's socket keeps Node's event loop alive. So an idle client looks now and then whether
   * anything else does; if nothing, it hangs up, and the process can end. Should the program go on all
   * the same, the next request connects again.
   */
  #watchIdle(delay: number): void {
    if (this.#idleTimer !== undefined || this.#closed) return;
    this.#idleTimer = setTimeout(() => {
      this.#idleTimer = undefined;
      if (this.#requests.size > 0 || this.#topics.size > 0 || !this.#requests.link.isOpen) return;
      if (nothingElseRuns()) this.#requests.link.close();
      else this.#watchIdle(Math.min(delay * 2, IDLE_CHECK_LONGEST));
    }, delay).unref();
  }

  /** @internal What the process leaves behind when it ends now. */
  get leftBehind(): { requests: number; unsent: number } {
    return this.#unfinished();
  }
}

function attributesOf(
  options: { [K in keyof SubmitOptions]: SubmitOptions[K] | undefined },
  kind: number = Kind.submit,
): RequestAttributes {
  checkTrace("trace", options.trace);
  checkTrace("baggage", options.baggage);
  return {
    reply: Reply[options.reply ?? "result"],
    resent: options.resent ?? false,
    rerunOk: options.rerunOk ?? false,
    tellWait: kind === Kind.submit && options.timeout !== undefined && options.reply !== "accepted",
    trace: options.trace,
    baggage: options.baggage,
    parent: undefined,
    stream: 0,
    slow: 0,
    terms: kind === Kind.submit ? termsOf(options) : undefined,
  };
}

function checkTrace(name: string, text: string | undefined): void {
  if (text === undefined || text.length <= MAX_TRACE / 3) return;
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_TRACE)
    throw new RangeError(`${name} has at most ${MAX_TRACE} bytes, not ${bytes}`);
}

function checkName(name: string): void {
  if (name.length <= MAX_NAME / 3) return;
  const bytes = Buffer.byteLength(name);
  if (bytes > MAX_NAME) throw new BodyError(`a name has at most ${MAX_NAME} bytes, not ${bytes}`);
}

function unfinished(requests: number, unsent: number): string {
  return `${requests} request${requests === 1 ? "" : "s"} unfinished, ${unsent} of them never sent`;
}

function tellUnfinished(): void {
  for (const client of open) {
    const { requests, unsent } = client.leftBehind;
    if (requests > 0)
      process.stderr.write(`tuskd: the process ends with ${unfinished(requests, unsent)}\n`);
  }
}
