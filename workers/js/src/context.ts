/** What a handler may know of its run, and what it may say of it. */
import { readValue } from "./body.js";
import type { Child, ChildOptions } from "./children.js";
import { milliseconds } from "./durations.js";
import { TaskCancelled, tooLarge } from "./errors.js";
import type { Flow } from "./flow.js";
import { Writer } from "./msgpack/writer.js";
import { LOG_LEVELS, type LogLevel, MOST_COST, whole } from "./terms.js";
import { Codec, Kind, type Limits, MAX_LOG } from "./wire.js";

/** On the way to a thread they are numbers, from 1. */
export const CANCEL_REASONS = [
  "cancelled",
  "deadline",
  "run_timeout",
  "heartbeat_timeout",
  "moved",
  "parent",
] as const;

/**
 * Why a run is to stop: somebody cancelled its task, or the one whose child it is (or that expired:
 * `"parent"`), a time is up, or it was given to another worker (`"moved"`).
 */
export type CancelReason = (typeof CANCEL_REASONS)[number];

/**
 * What a handler may want to know about the run that it does.
 *
 * What it says of it (progress, heartbeat, log, checkpoint, pauseType) waits for nobody, arrives in order
 * and before the result, and is nothing any more when the run is over. These functions may be taken out
 * of the context: `(body, { progress }) => ...`.
 */
export interface Context {
  /** The task's id: UUID text. The same for every attempt. */
  readonly id: string;
  /** The type of the task, or the handler's name for an item. */
  readonly type: string;
  /** Which run of this task it is, from 1. */
  readonly attempt: number;
  /** Aborted when the run is told to stop; hand it on to whatever can be aborted. */
  readonly signal: AbortSignal;
  /** Whether the run was told to stop. In a pool's thread it tells even while a loop blocks it. */
  readonly cancelled: boolean;
  /** Why; undefined while it was not told to. */
  readonly cancelReason: CancelReason | undefined;
  /** Ms that the run may still take, by its time-out and the task's deadline; undefined without either. */
  readonly timeLeft: number | undefined;
  /** Of the task, by name. */
  readonly labels: Readonly<Record<string, string>>;
  /**
   * What the last run that made a checkpoint left for this one; undefined if there is none.
   * @throws BodyError
   */
  readonly lastCheckpoint: unknown;
  /**
   * Sends a chunk to the caller, if it asked for the stream of this task (`Client.stream`); resolves when it
   * was sent, which waits until the caller is ready for it. Rejects with the signal's reason when the run is
   * to stop, BodyError, TooLarge. A handler that is a generator function yields its chunks.
   */
  readonly send: (value: unknown) => Promise<void>;
  /**
   * Runs a task as a child of this run, and resolves to what its handler returned. While the run waits its
   * slot is lent out, so that the child may run on this worker. It is cancelled with this run, and ends by
   * its deadline at the latest. Rejects as `Client.call` does, and with the signal's reason when the run is
   * to stop. Not in the threads of a pool.
   */
  readonly call: <Result = unknown>(
    type: string,
    body?: unknown,
    options?: ChildOptions,
  ) => Promise<Result>;
  /** Submits a child and returns at once. Awaiting its `result` is what lends the slot. */
  readonly submit: <Result = unknown>(
    type: string,
    body?: unknown,
    options?: ChildOptions,
  ) => Child<Result>;
  /** Tells those who follow the task; also a sign of life. @throws BodyError, TooLarge */
  readonly progress: (value: unknown) => void;
  /** A sign of life, for a task with a heartbeatTimeout. */
  readonly heartbeat: () => void;
  /**
   * A line for those who follow the task, cut with a mark at 16 KiB; also a sign of life.
   * @throws RangeError for a level that does not exist
   */
  readonly log: (level: LogLevel, text: string) => void;
  /**
   * Saves a value for the next run of this task, should there be one, in place of the one before.
   * @throws BodyError; TooLarge beyond the broker's limit `checkpoint` (256 KiB by default)
   */
  readonly checkpoint: (value: unknown) => void;
  /** Takes the checkpoint away: the next run begins anew. */
  readonly clearCheckpoint: () => void;
  /**
   * No task of this type starts for so many ms, on any worker; 0 ends the pause. This run goes on. For
   * when a handler knows that none could succeed. @throws RangeError beyond 100 years
   */
  readonly pauseType: (ms: number) => void;
  /**
   * What the run really costs, in units of the type's rates, 0 to 10^9: the broker takes the difference to
   * the task's `cost`, or gives it back, however the run ends. The last one counts. @throws RangeError
   */
  readonly setCost: (units: number) => void;
}

/** Something that a run says of itself while it goes on. */
export type Word =
  | { kind: typeof Kind.progress | typeof Kind.checkpoint; body: Uint8Array | undefined }
  | { kind: typeof Kind.chunk; body: Uint8Array }
  | { kind: typeof Kind.suspend; ids: readonly Buffer[] }
  | { kind: typeof Kind.log; level: number; text: string }
  | { kind: typeof Kind.pause; duration: number };

/** What a run says that goes with its result. */
export interface Cost {
  cost: number;
}

const CUT = " [cut]";

/** The part of a context that is the same on the main thread and in a pool's. It has no fields. */
export abstract class Speaker {
  protected abstract say(word: Word | Cost): void;
  /** What the broker allows; undefined: nobody listens. */
  protected abstract get bounds(): Pick<Limits, "body" | "checkpoint"> | undefined;
  /** What an earlier run saved. */
  protected abstract get given(): Uint8Array | undefined;
  /** The task's labels, as msgpack. */
  protected abstract get labelBytes(): Uint8Array | undefined;

  /** The credit of a run whose stream is wanted. */
  protected abstract get flow(): Flow | undefined;
  /** @throws the reason of a run that is to stop */
  protected abstract check(): void;
  protected abstract bear(type: string, body: unknown, options: ChildOptions): Child;

  get send(): (value: unknown) => Promise<void> {
    return async (value) => {
      const { flow } = this;
      if (flow === undefined) return;
      this.check();
      while (!flow.isUnwanted && !flow.take()) {
        await flow.wait();
        this.check();
      }
      if (flow.isUnwanted) return;
      this.say({ kind: Kind.chunk, body: written(value, "body", this.bounds, "the chunk") });
    };
  }

  get call(): Context["call"] {
    return async <Result>(type: string, body?: unknown, options: ChildOptions = {}) =>
      (await this.bear(type, body, options).result) as Result;
  }

  get submit(): Context["submit"] {
    return <Result>(type: string, body?: unknown, options: ChildOptions = {}) =>
      this.bear(type, body, options) as Child<Result>;
  }

  get labels(): Readonly<Record<string, string>> {
    return (valueOf(this.labelBytes) ?? {}) as Record<string, string>;
  }

  get lastCheckpoint(): unknown {
    return valueOf(this.given);
  }

  get progress(): (value: unknown) => void {
    return (value) =>
      this.say({ kind: Kind.progress, body: written(value, "body", this.bounds, "the progress") });
  }

  get heartbeat(): () => void {
    return () => this.say({ kind: Kind.progress, body: undefined });
  }

  get log(): (level: LogLevel, text: string) => void {
    return (level, text) => {
      const number = LOG_LEVELS.indexOf(level) + 1;
      if (number === 0) {
        throw new RangeError(`there is no level "${level}"; there are ${LOG_LEVELS.join(", ")}`);
      }
      this.say({ kind: Kind.log, level: number, text: bounded(String(text).toWellFormed()) });
    };
  }

  get checkpoint(): (value: unknown) => void {
    return (value) =>
      this.say({
        kind: Kind.checkpoint,
        body: written(value, "checkpoint", this.bounds, "the checkpoint"),
      });
  }

  get clearCheckpoint(): () => void {
    return () => this.say({ kind: Kind.checkpoint, body: undefined });
  }

  get pauseType(): (ms: number) => void {
    return (ms) => this.say({ kind: Kind.pause, duration: milliseconds("a pause", ms) });
  }

  get setCost(): (units: number) => void {
    return (units) => {
      whole("a run's cost", units, 0, MOST_COST);
      this.say({ cost: units });
    };
  }
}

/** @throws BodyError */
function valueOf(given: Uint8Array | undefined): unknown {
  if (given === undefined) return undefined;
  const bytes = Buffer.from(given.buffer, given.byteOffset, given.byteLength);
  return readValue(bytes, 0, bytes.length, Codec.msgpack, false, Number.POSITIVE_INFINITY);
}

/** The bytes of a value. A function and no method, for a private method costs every run something. */
function written(
  value: unknown,
  limit: "body" | "checkpoint",
  bounds: Pick<Limits, "body" | "checkpoint"> | undefined,
  what: string,
): Buffer {
  const writer = new Writer();
  writer.value(value);
  const body = writer.detach(0);
  const bound = bounds?.[limit] ?? Number.POSITIVE_INFINITY;
  if (body.length > bound) throw tooLarge(what, body.length, limit, bound);
  return body;
}

function bounded(text: string): string {
  if (text.length <= MAX_LOG / 3 || Buffer.byteLength(text) <= MAX_LOG) return text;
  const room = MAX_LOG - CUT.length;
  // Cut within a character, its bytes would become a replacement character.
  const kept = Buffer.from(text.slice(0, room)).subarray(0, room).toString("utf8");
  return kept.replace(/\uFFFD$/, "") + CUT;
}

/** What the signal of a run that was told to stop gives as its reason. */
export function stopped(id: string, reason: CancelReason): TaskCancelled {
  const why = reason === "cancelled" ? "was cancelled" : `is to stop: ${reason}`;
  return new TaskCancelled(`the run of task ${id} ${why}`, id);
}
