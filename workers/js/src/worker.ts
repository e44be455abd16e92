/** The worker: handlers by name, and a life from hello to bye. */
import { fileURLToPath } from "node:url";
import { Family } from "./children.js";
import { Client } from "./client.js";
import type { Context } from "./context.js";
import { Desk, type DeskListener } from "./desk.js";
import { milliseconds } from "./durations.js";
import { Closed, type TuskError } from "./errors.js";
import { workerLabels } from "./labels.js";
import { LANGUAGE } from "./identity.js";
import { type BatchHandler, type Handler, type Lane, Waiting } from "./lanes.js";
import { Pool } from "./pool.js";
import type { PoolName } from "./pool-messages.js";
import { running } from "./running.js";
import type { DROP } from "./values.js";
import { DEFAULT_URL, MAX_NAME } from "./wire.js";

/** How long handlers that run may go on after a stop, in ms. */
const GRACE = 10_000;
/** After a stop the broker gets at least so long, in ms, to acknowledge the last results. */
const FLUSH_WAIT = 1000;
/** After a stop by signal, whatever else keeps the process alive gets this long, in ms. */
const EXIT_WAIT = 2000;
/** Of a broker that is not there a worker speaks after this time, in ms, and then at this interval. */
const FIRST_COMPLAINT = 2000;
const COMPLAINT_INTERVAL = 60_000;
const CHECK_INTERVAL = 500;
/** How long a worker under the supervisor outlives the broker before it knows better, in ms. */
const FIRST_ADOPT_GRACE = 10_000;
const BATCH_WAIT = 10;

export interface WorkerOptions {
  /** The broker; default: `TUSK_URL`, else tcp://127.0.0.1:7420. */
  url?: string;
  /** How many at once; default: `TUSK_SLOTS`, else as many as pool threads or the largest batch has. */
  slots?: number;
  /** The pool that it belongs to; default: `TUSK_POOL`, else `"javascript"`. */
  pool?: string;
  /** A name for people; default: `TUSK_WORKER`, else the broker makes one of language and pid. */
  name?: string;
  /**
   * What it has, for tasks that need it: at most 32 texts and whole numbers (0 to 10^9) by name; beside those
   * of the JSON object `TUSK_LABELS`, of which these take the place.
   */
  labels?: Readonly<Record<string, string | number>>;
  /** How long runs may go on after a stop, in ms; default 10,000. */
  grace?: number;
  /** Whether SIGTERM and SIGINT stop it in an orderly way; default true. */
  signals?: boolean;
}

export interface BatchOptions {
  /** The longest list: 1 to `slots`, which is what a worker has at a time. */
  batch: number;
  /** How long the first of a list waits for more, in ms, at most 100 years; default 10. */
  wait?: number;
}

/**
 * A worker. Register handlers, then `await worker.run()`.
 *
 * Handlers are called on the main thread and may be plain or async. At most `slots` runs are under way
 * at once. What a handler returns is the result; what it throws fails the run, and `NoRetry` says that
 * another run makes no sense.
 */
export class Worker {
  readonly #url: string;
  readonly #options: WorkerOptions;
  readonly #tasks = new Map<string, Lane>();
  readonly #stages = new Map<string, Lane>();
  readonly #pools: Pool[] = [];
  readonly #family: Family;
  readonly #labels: Readonly<Record<string, string | number>>;
  #desk: Desk | undefined;
  #stop: ((reason: "asked" | "signal" | "drain") => void) | undefined;
  #ran = false;
  /** Whether a broker has taken it; undefined while nothing is known. */
  #taken: boolean | undefined;
  #tellReady: (() => void)[] = [];

  constructor(options: WorkerOptions = {}) {
    this.#options = options;
    this.#url = options.url ?? process.env.TUSK_URL ?? DEFAULT_URL;
    this.#family = new Family(() => new Client(this.#url));
    this.#labels = workerLabels(options.labels);
    if (options.slots !== undefined) checkCount("slots", options.slots);
  }

  /** Runs tasks of `type` with `handler`. */
  task<Body = unknown, Result = unknown>(
    type: string,
    handler: (body: Body, context: Context) => Result | PromiseLike<Result>,
  ): this;
  /**
   * Runs them in lists of up to `batch`, waiting up to `wait` ms for one to fill. The handler returns a list
   * of as many results. Each task takes a slot.
   *
   * @throws RangeError if the batch is not 1 to `slots`, or `wait` is negative
   */
  task<Body = unknown, Result = unknown>(
    type: string,
    handler: (bodies: Body[], contexts: Context[]) => Result[] | PromiseLike<Result[]>,
    options: BatchOptions,
  ): this;
  task(type: string, handler: unknown, options?: BatchOptions): this {
    this.#register(this.#tasks, type, this.#laneOf(handler, options));
    return this;
  }

  /** Handles the items of a pipeline stage one by one. Return `DROP` to end an item here. */
  stage<Body = unknown, Result = unknown>(
    name: string,
    handler: (
      body: Body,
      context: Context,
    ) => Result | typeof DROP | PromiseLike<Result | typeof DROP>,
  ): this;
  /** Handles them in lists, as `task` does. */
  stage<Body = unknown, Result = unknown>(
    name: string,
    handler: (
      bodies: Body[],
      contexts: Context[],
    ) => (Result | typeof DROP)[] | PromiseLike<(Result | typeof DROP)[]>,
    options: BatchOptions,
  ): this;
  stage(name: string, handler: unknown, options?: BatchOptions): this {
    this.#register(this.#stages, name, this.#laneOf(handler, options));
    return this;
  }

  #laneOf(handler: unknown, options: BatchOptions | undefined): Lane {
    if (options === undefined) return { kind: "main", handler: handler as Handler };
    return { ...this.#batchLane(options), handler: handler as BatchHandler };
  }

  #batchLane({ batch, wait = BATCH_WAIT }: BatchOptions) {
    checkCount("batch", batch);
    milliseconds("wait", wait);
    const slots = this.#slotsGiven();
    if (slots !== undefined && batch > slots) {
      throw new RangeError(
        `a batch of ${batch} is larger than the ${slots} slots of this worker, which never has more at a ` +
          "time; give it more slots, or make the batch smaller",
      );
    }
    return {
      kind: "batch" as const,
      waiting: new Waiting(),
      size: batch,
      wait,
      timer: undefined,
      due: false,
    };
  }

  /**
   * Runs the handlers that `module` exports as `tasks` and `stages` (objects of functions by name) in
   * `threads` worker threads of their own, one run in each at a time. For handlers that compute. One that is
   * `{ handler, batch, wait }` gets lists.
   */
  pool(module: URL | string, options: { threads: number }): this {
    checkCount("threads", options.threads);
    if (this.#ran) throw new Error("a pool is added before run()");
    const url = typeof module === "string" ? new URL(module) : module;
    this.#pools.push(new Pool(url, options.threads));
    return this;
  }

  /**
   * Works until it is stopped: by `stop()`, by SIGTERM or SIGINT, or by the broker's drain. Then it
   * gives back what has not begun, waits for what runs, sends the results, says bye and resolves.
   *
   * @throws Refused if the broker's configuration does not allow this worker; Error if a pool's module
   * cannot be loaded
   */
  async run(): Promise<void> {
    if (this.#ran) throw new Error("a worker runs once");
    this.#ran = true;
    const stopped = new Promise<"asked" | "signal" | "drain">((resolve) => {
      this.#stop = resolve;
    });
    let refuse: (error: TuskError) => void = () => undefined;
    const refused = new Promise<never>((_, reject) => {
      refuse = reject;
    });
    const desk = this.#newDesk((error) => refuse(error));
    running.workers++;
    const onSignal = () => this.#stop?.("signal");
    const signals = this.#options.signals !== false;
    if (signals) process.once("SIGTERM", onSignal).once("SIGINT", onSignal);
    let check: NodeJS.Timeout | undefined;
    try {
      await this.#startPools(desk);
      if (this.#tasks.size + this.#stages.size === 0) throw new Error("a worker without handlers");
      this.#desk = desk;
      desk.open(this.#slots());
      check = this.#watch(desk);
      const reason = await Promise.race([stopped, refused]);
      await this.#wind(desk);
      if (reason === "signal") {
        // Something of the program's own may hold the process; a stop is a stop all the same.
        setTimeout(() => process.exit(), EXIT_WAIT).unref();
      }
    } finally {
      clearInterval(check);
      desk.link.close();
      await this.#family.close();
      await Promise.all(this.#pools.map((pool) => pool.end()));
      if (signals) process.off("SIGTERM", onSignal).off("SIGINT", onSignal);
      running.workers--;
      this.#settleReady(false);
    }
  }

  /** Stops it in an orderly way; `run` resolves when it has. */
  stop(): void {
    this.#stop?.("asked");
  }

  /**
   * Resolves when a broker has taken this worker for the first time: from then on what it runs is
   * served. Rejects with Closed when `run` ends before. For programs that run worker and client, and for
   * tests.
   */
  get ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      const tell = () => {
        if (this.#taken === true) resolve();
        else reject(new Closed("the worker ended before a broker took it"));
      };
      if (this.#taken === undefined) this.#tellReady.push(tell);
      else tell();
    });
  }

  #settleReady(taken: boolean): void {
    if (this.#taken !== undefined) return;
    this.#taken = taken;
    for (const tell of this.#tellReady.splice(0)) tell();
  }

  /** Whether the broker knows this worker now. */
  get isConnected(): boolean {
    return this.#desk?.link.isUp ?? false;
  }

  #register(lanes: Map<string, Lane>, name: string, lane: Lane): void {
    const inPool = "pool" in lane;
    if (this.#ran && !inPool) throw new Error("handlers are registered before run()");
    const bytes = Buffer.byteLength(name);
    if (bytes === 0 || bytes > MAX_NAME) {
      throw new RangeError(`a name has 1 to ${MAX_NAME} bytes, not ${bytes}`);
    }
    if (lanes.has(name)) throw new Error(`"${name}" has a handler already`);
    lanes.set(name, lane);
  }

  /** By the program, or by who started it. */
  #slotsGiven(): number | undefined {
    if (this.#options.slots !== undefined) return this.#options.slots;
    const given = process.env.TUSK_SLOTS;
    if (given === undefined) return undefined;
    const slots = Number(given);
    checkCount("TUSK_SLOTS", slots);
    return slots;
  }

  #slots(): number {
    const threads = this.#pools.reduce((sum, pool) => sum + pool.size, 0);
    const lanes = [...this.#tasks.values(), ...this.#stages.values()];
    const batches = lanes.map((lane) => (lane.kind === "batch" ? lane.size : 1));
    return this.#slotsGiven() ?? Math.max(1, threads, ...batches);
  }

  #newDesk(refused: (error: TuskError) => void): Desk {
    const listener: DeskListener = {
      drain: () => this.#stop?.("drain"),
      refused,
      empty: () => this.#onEmpty?.(),
      welcomed: () => {
        this.#settleReady(true);
        this.#complainedAt = Number.NEGATIVE_INFINITY;
      },
      complain: (message) => this.#complain(message),
    };
    return new Desk(
      {
        url: this.#url,
        name: this.#options.name ?? process.env.TUSK_WORKER,
        poolName: this.#options.pool ?? process.env.TUSK_POOL ?? LANGUAGE,
        labels: this.#labels,
        tasks: this.#tasks,
        stages: this.#stages,
        pools: this.#pools,
        family: this.#family,
      },
      listener,
    );
  }

  async #startPools(desk: Desk): Promise<void> {
    for (const pool of this.#pools) {
      const where =
        pool.module.protocol === "file:" ? fileURLToPath(pool.module) : pool.module.href;
      const names = await pool.start(desk).catch((error: Error) => {
        throw new Error(`the pool of ${where}: ${error.message}`);
      });
      const register = (lanes: Map<string, Lane>, [name, options]: PoolName) => {
        const lane: Lane = options ? { ...this.#batchLane(options), pool } : { kind: "pool", pool };
        this.#register(lanes, name, lane);
      };
      for (const name of names.tasks) register(this.#tasks, name);
      for (const name of names.stages) register(this.#stages, name);
    }
  }

  // ---- while it runs ----

  #onEmpty: (() => void) | undefined;
  #complainedAt = Number.NEGATIVE_INFINITY;

  #complain(message: string): void {
    const now = performance.now();
    if (now - this.#complainedAt < COMPLAINT_INTERVAL) return;
    this.#complainedAt = now;
    process.stderr.write(`tuskd worker: ${message}\n`);
  }

  /** Looks after the connection: a word when there is none, and the end of a supervised worker. */
  #watch(desk: Desk): NodeJS.Timeout {
    const supervised = process.env.TUSK_SUPERVISED === "1";
    return setInterval(() => {
      const { link } = desk;
      if (link.isUp) return;
      const away = performance.now() - link.downSince;
      const grace = link.welcome?.adoptGrace ?? FIRST_ADOPT_GRACE;
      if (supervised && away > grace) {
        const seconds = (away / 1000).toFixed(1);
        process.stderr.write(`tuskd worker: no broker at ${this.#url} for ${seconds} s; ending\n`);
        process.exit(0);
      }
      if (away > FIRST_COMPLAINT) this.#complain(`no broker answers at ${this.#url}; trying on`);
    }, CHECK_INTERVAL);
  }

  /** The orderly end. */
  async #wind(desk: Desk): Promise<void> {
    desk.drain();
    const end = performance.now() + (this.#options.grace ?? GRACE);
    if (desk.running > 0) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
        timer = setTimeout(resolve, this.#options.grace ?? GRACE);
      });
      clearTimeout(timer);
    }
    // The last run was taken off the books just before its result was written.
    await new Promise((resolve) => setImmediate(resolve));
    desk.link.flush();
    // Results that are not acknowledged when it ends have others run their tasks again: a broker that is slow
    // has the whole grace, one that is not there a second.
    const from = performance.now();
    const late = () => {
      const { isUp, downSince } = desk.link;
      const last = isUp ? Number.POSITIVE_INFINITY : Math.max(from, downSince) + FLUSH_WAIT;
      return performance.now() >= Math.min(Math.max(end, from + FLUSH_WAIT), last);
    };
    while (!desk.link.isSettled && !late()) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    if (desk.running > 0) desk.cancelAll();
  }
}

function checkCount(name: string, count: number): void {
  if (!Number.isInteger(count) || count < 1) {
    throw new RangeError(`${name} is a whole number from 1, not ${count}`);
  }
}
