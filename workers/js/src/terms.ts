/** What a caller may ask for its task: when and how often it runs, and word of how it goes. */
import { milliseconds } from "./durations.js";
import { checkKey, needsOf, type NeedTerms, taskLabels } from "./labels.js";
import type { Writer } from "./msgpack/writer.js";
import { Attribute } from "./wire.js";

const PRIORITIES = { low: -10, normal: 0, high: 10, critical: 20 } as const;
const MOST_PRIORITY = 100;
const MOST_ATTEMPTS = 1000;
const MOST_FACTOR = 100;
const NO_RETRY_TYPES = 32;
const NO_RETRY_BYTES = 255;
/** Units of the rates of a type. */
export const MOST_COST = 1_000_000_000;
/** In the order of their numbers. */
const POLICIES = ["join", "refuse", "replace", "debounce", "follow_up"] as const;
const FOLLOW = { progress: 1, log: 2 } as const;

/** A name (-10, 0, 10 and 20), or a whole number from -100 to 100. */
export type Priority = keyof typeof PRIORITIES | number;

/** What a submit does whose unique key another task has; see `TaskTerms.uniquePolicy`. */
export type UniquePolicy = (typeof POLICIES)[number];

/** On the wire they are 1 to 4. */
export const LOG_LEVELS = ["debug", "info", "warning", "error"] as const;

/** How loud a line of a log is. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/**
 * The pauses between runs: before the one behind failure n, `first * factor ** (n - 1)` ms, at most
 * `most`, times a random number between `1 - jitter` and `1 + jitter`.
 */
export interface Backoff {
  /** In ms. */
  first: number;
  /** In ms. */
  most: number;
  /** 1 to 100; default 2. */
  factor?: number;
  /** 0 to 1; default 0.25. */
  jitter?: number;
}

/** When, how urgently and how often a task runs. Times are in ms, at most 100 years. */
export interface TaskTerms extends NeedTerms {
  /** The highest is next; default `"normal"`. */
  priority?: Priority;
  /** How long the task waits before it may run. */
  delay?: number;
  /** The same as a point in time. The clock of the day is read once, at the call. */
  notBefore?: Date;
  /** How long the task may take in all; then it is TaskExpired. */
  deadline?: number;
  /** How long one run may take. */
  runTimeout?: number;
  /** How long a run may give no sign of life; see `Context.heartbeat`. */
  heartbeatTimeout?: number;
  /** How many runs may fail, 1 to 1,000. */
  attempts?: number;
  /** The pauses between them. */
  backoff?: Backoff;
  /** At most 32 types of errors (`TypeError`, ...) after which another run makes no sense. */
  noRetryOn?: readonly string[];
  /**
   * A key, 1 to 255 bytes: of the tasks of one type with this key only one lives, from its acceptance to
   * its end, and for `uniqueFor` behind it.
   */
  unique?: string;
  /**
   * What this submit does when another task has the key. `"join"` (default) gets that task's ending;
   * `"refuse"` is Duplicate; `"replace"` gives that task this body and these terms, and gets its ending;
   * `"debounce"` does that and begins its delay anew; `"follow_up"` joins it as long as it waits. While
   * the other runs, the last three become the one task that runs behind it.
   */
  uniquePolicy?: UniquePolicy;
  /** How long after its end the task keeps the key: meanwhile every submit with it is Duplicate. */
  uniqueFor?: number;
  /** How long the ending is kept, once it is there, for `Client.awaitTask`. */
  retention?: number;
  /**
   * Tasks of one type with this key run one at a time, in the order of their acceptance, through retries and
   * delays. 1 to 255 bytes.
   */
  orderKey?: string;
  /** Tasks of one type with this key share its limits of keys. 1 to 255 bytes. */
  limitKey?: string;
  /**
   * Groups of a type take turns, so that a million tasks of one tenant delay another's first by one turn.
   * 1 to 255 bytes.
   */
  group?: string;
  /** Units that a run takes from the type's rates, 0 to 10^9; default 1. See `Context.setCost`. */
  cost?: number;
  /** Tasks of one type with this key go to one worker for as long as it lives. 1 to 255 bytes. */
  stickyKey?: string;
  /** For people and for `Client.tasks`: at most 16 texts by name, 1 to 255 bytes each. */
  labels?: Readonly<Record<string, string>>;
}

/**
 * Word of a task, in order and before its result is there. Some may be missed while the connection is
 * away. What these throw is told as a warning of the process, and the task goes on.
 */
export interface FollowOptions {
  /** Called for each `Context.progress` of a run. */
  onProgress?: (value: unknown, attempt: number) => unknown;
  /** Called for each `Context.log` of a run. */
  onLog?: (level: LogLevel, text: string, attempt: number) => unknown;
}

/** Options of which each may be undefined. */
export type Given<T> = { [K in keyof T]?: T[K] | undefined };

/** Terms that were checked. Of the times that pass, what is left is written whenever a submit is. */
export class Terms {
  readonly onProgress: FollowOptions["onProgress"];
  readonly onLog: FollowOptions["onLog"];
  readonly #due: number | undefined;
  readonly #end: number | undefined;
  readonly #runTimeout: number | undefined;
  readonly #heartbeatTimeout: number | undefined;
  readonly #priority: number | undefined;
  readonly #attempts: number | undefined;
  readonly #backoff: Required<Backoff> | undefined;
  readonly #noRetryOn: readonly string[] | undefined;
  readonly #unique: Unique | undefined;
  readonly #retention: number | undefined;
  readonly #cost: number | undefined;
  /** Attributes that are maps. */
  readonly #needs: object | undefined;
  readonly #labels: object | undefined;
  /** Attributes and texts of the keys that tasks share. */
  readonly #shared: readonly (readonly [number, string])[];

  /** @throws RangeError, TypeError */
  constructor(given: Given<TaskTerms & FollowOptions>) {
    const { delay, notBefore, deadline, runTimeout, heartbeatTimeout, retention } = given;
    if (delay !== undefined && notBefore !== undefined) {
      throw new RangeError("delay and notBefore are two ways to say the same; give one");
    }
    const wait = notBefore === undefined ? undefined : until(notBefore);
    // Behind the clock of the day: what passed in between is no wait.
    const now = performance.now();
    if (delay !== undefined) this.#due = now + milliseconds("delay", delay);
    else if (wait !== undefined) this.#due = now + wait;
    if (deadline !== undefined) this.#end = now + milliseconds("deadline", deadline);
    if (runTimeout !== undefined) this.#runTimeout = milliseconds("runTimeout", runTimeout, 1);
    if (heartbeatTimeout !== undefined) {
      this.#heartbeatTimeout = milliseconds("heartbeatTimeout", heartbeatTimeout, 1);
    }
    if (given.priority !== undefined) this.#priority = priorityOf(given.priority);
    this.#attempts = given.attempts;
    if (given.attempts !== undefined) whole("attempts", given.attempts, 1, MOST_ATTEMPTS);
    if (given.backoff !== undefined) this.#backoff = pauses(given.backoff);
    if (given.noRetryOn !== undefined) this.#noRetryOn = errorTypes(given.noRetryOn);
    this.#unique = uniqueOf(given);
    if (retention !== undefined) this.#retention = milliseconds("retention", retention);
    this.#cost = given.cost;
    if (given.cost !== undefined) whole("cost", given.cost, 0, MOST_COST);
    this.#shared = sharedKeys(given);
    this.#needs = needsOf(given);
    if (given.labels !== undefined) this.#labels = taskLabels(given.labels);
    this.onProgress = callback("onProgress", given.onProgress);
    this.onLog = callback("onLog", given.onLog);
  }

  /** Writes the attributes; how many they are. */
  write(writer: Writer): number {
    const now = performance.now();
    let count = 0;
    const int = (key: number, value: number | undefined) => {
      if (value === undefined) return;
      writer.int(key);
      writer.int(value);
      count++;
    };
    // Also 0: a type may have a delay of its own.
    if (this.#due !== undefined) int(Attribute.delay, Math.max(0, Math.ceil(this.#due - now)));
    if (this.#end !== undefined) {
      int(Attribute.deadline, Math.max(0, Math.ceil(this.#end - now)));
    }
    int(Attribute.runTimeout, this.#runTimeout);
    int(Attribute.heartbeatTimeout, this.#heartbeatTimeout);
    int(Attribute.attempts, this.#attempts);
    int(Attribute.priority, this.#priority);
    int(Attribute.retention, this.#retention);
    int(Attribute.cost, this.#cost);
    for (const [key, text] of this.#shared) {
      writer.int(key);
      writer.str(text);
      count++;
    }
    if (this.#unique !== undefined) {
      writer.int(Attribute.unique);
      writer.str(this.#unique.key);
      count++;
      if (this.#unique.policy !== 0) int(Attribute.uniquePolicy, this.#unique.policy);
      int(Attribute.uniqueFor, this.#unique.keptFor);
    }
    const follow =
      (this.onProgress === undefined ? 0 : FOLLOW.progress) +
      (this.onLog === undefined ? 0 : FOLLOW.log);
    if (follow > 0) int(Attribute.follow, follow);
    const map = (key: number, value: object | undefined) => {
      if (value === undefined) return;
      writer.int(key);
      writer.value(value);
      count++;
    };
    map(Attribute.needs, this.#needs);
    map(Attribute.labels, this.#labels);
    if (this.#backoff !== undefined) {
      const { first, most, factor, jitter } = this.#backoff;
      writer.int(Attribute.backoff);
      writer.value([first, most, factor, jitter]);
      count++;
    }
    if (this.#noRetryOn !== undefined) {
      writer.int(Attribute.noRetryOn);
      writer.value(this.#noRetryOn);
      count++;
    }
    return count;
  }
}

/** The terms among a call's options; undefined if there are none. @throws RangeError, TypeError */
export function termsOf(options: Given<TaskTerms & FollowOptions>): Terms | undefined {
  // One by one: this is asked for every call that has options.
  const given =
    options.priority !== undefined ||
    options.delay !== undefined ||
    options.notBefore !== undefined ||
    options.deadline !== undefined ||
    options.runTimeout !== undefined ||
    options.heartbeatTimeout !== undefined ||
    options.attempts !== undefined ||
    options.backoff !== undefined ||
    options.noRetryOn !== undefined ||
    options.unique !== undefined ||
    options.uniquePolicy !== undefined ||
    options.uniqueFor !== undefined ||
    options.retention !== undefined ||
    options.orderKey !== undefined ||
    options.limitKey !== undefined ||
    options.group !== undefined ||
    options.cost !== undefined ||
    options.requires !== undefined ||
    options.prefers !== undefined ||
    options.consumes !== undefined ||
    options.stickyKey !== undefined ||
    options.labels !== undefined ||
    options.onProgress !== undefined ||
    options.onLog !== undefined;
  return given ? new Terms(options) : undefined;
}

/**
 * The options of each of many tasks: a point in time is turned into a delay once, and `delay` then says
 * what is left of it. @throws RangeError, TypeError
 */
export function termsOfEach<T extends TaskTerms>(options: T): () => T {
  termsOf(options); // what is wrong is told at once
  const { notBefore, ...rest } = options;
  if (notBefore === undefined) return () => options;
  const wait = until(notBefore);
  const due = performance.now() + wait; // read behind the clock of the day
  return () => ({ ...(rest as T), delay: Math.max(0, due - performance.now()) });
}

/** For what has no one task whose course could be told. @throws TypeError */
export function refuseCallbacks(method: string, options: object | undefined): void {
  for (const name of ["onProgress", "onLog"]) {
    if (options !== undefined && name in options) {
      throw new TypeError(`${method} does not follow its tasks: no ${name}`);
    }
  }
}

/** @throws RangeError */
export function priorityOf(given: Priority): number {
  if (typeof given !== "string") {
    whole("priority", given, -MOST_PRIORITY, MOST_PRIORITY);
    return given;
  }
  if (!Object.hasOwn(PRIORITIES, given)) {
    const names = Object.entries(PRIORITIES).map(([name, value]) => `"${name}" (${value})`);
    throw new RangeError(
      `there is no priority "${given as string}"; there are ${names.join(", ")} and numbers`,
    );
  }
  return PRIORITIES[given];
}

/** @throws RangeError */
export function whole(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${name} is a whole number from ${least} to ${most}, not ${value}`);
  }
}

/** How long from now, in whole ms that are never too few; 0 if it is past. */
function until(point: Date): number {
  if (!(point instanceof Date)) throw new TypeError("notBefore is a Date");
  const ms = point.getTime() - Date.now();
  if (Number.isNaN(ms)) throw new RangeError("notBefore is an invalid Date");
  return milliseconds("notBefore, from now,", Math.max(0, ms));
}

interface Unique {
  key: string;
  policy: number;
  keptFor: number | undefined;
}

function uniqueOf({ unique, uniquePolicy, uniqueFor }: Given<TaskTerms>): Unique | undefined {
  if (unique === undefined) {
    const name =
      uniquePolicy !== undefined
        ? "uniquePolicy"
        : uniqueFor !== undefined
          ? "uniqueFor"
          : undefined;
    if (name === undefined) return undefined;
    throw new RangeError(`${name} without unique, the key that it is about`);
  }
  checkKey("unique", unique);
  const policy = uniquePolicy === undefined ? 0 : POLICIES.indexOf(uniquePolicy);
  if (policy < 0) {
    const names = POLICIES.map((name) => `"${name}"`).join(", ");
    throw new RangeError(`there is no uniquePolicy "${uniquePolicy}"; there are ${names}`);
  }
  const keptFor = uniqueFor === undefined ? undefined : milliseconds("uniqueFor", uniqueFor);
  return { key: unique, policy, keptFor };
}

const NONE: readonly never[] = [];

function sharedKeys({ orderKey, limitKey, group, stickyKey }: Given<TaskTerms>) {
  const keys = [orderKey, limitKey, group, stickyKey];
  if (keys.every((key) => key === undefined)) return NONE;
  const found: [number, string][] = [];
  const add = (name: "orderKey" | "limitKey" | "group" | "stickyKey", text: string | undefined) => {
    if (text === undefined) return;
    checkKey(name, text);
    found.push([Attribute[name], text]);
  };
  add("orderKey", orderKey);
  add("limitKey", limitKey);
  add("group", group);
  add("stickyKey", stickyKey);
  return found;
}

function pauses({ first, most, factor = 2, jitter = 0.25 }: Backoff): Required<Backoff> {
  const bounded = (name: string, value: number, least: number, greatest: number) => {
    if (!(typeof value === "number" && value >= least && value <= greatest)) {
      throw new RangeError(`backoff's ${name} is ${least} to ${greatest}, not ${value}`);
    }
  };
  bounded("factor", factor, 1, MOST_FACTOR);
  bounded("jitter", jitter, 0, 1);
  return {
    first: milliseconds("backoff's first", first),
    most: milliseconds("backoff's most", most),
    factor,
    jitter,
  };
}

function errorTypes(given: readonly string[]): readonly string[] {
  if (!Array.isArray(given)) throw new TypeError("noRetryOn is a list of names");
  if (given.length > NO_RETRY_TYPES) {
    throw new RangeError(`noRetryOn has at most ${NO_RETRY_TYPES} types, not ${given.length}`);
  }
  const names = given as readonly unknown[];
  for (const name of names) {
    if (typeof name !== "string")
      throw new TypeError("noRetryOn is a list of names of error types");
    if (Buffer.byteLength(name) > NO_RETRY_BYTES) {
      throw new RangeError(`noRetryOn has names of at most ${NO_RETRY_BYTES} bytes`);
    }
  }
  return names as readonly string[];
}

function callback<F>(name: string, given: F | undefined): F | undefined {
  if (given !== undefined && typeof given !== "function") {
    throw new TypeError(`${name} is a function`);
  }
  return given;
}
