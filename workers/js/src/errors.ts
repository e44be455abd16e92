/**
 * Errors, one class per situation, so that callers can catch what they can deal with.
 *
 * All are `TuskError`: `code` is for programs and never changes, `message` is for people.
 */
import { milliseconds } from "./durations.js";
import { idText } from "./uuid.js";

/** The root of all errors of this package. */
export class TuskError extends Error {
  /** A short name that never changes, such as `"failed"`, `"timeout"`, `"id_conflict"`. */
  readonly code: string;
  /** The task that it is about (UUID text), where there is one. */
  taskId: string | undefined;

  constructor(code: string, message: string, taskId?: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.taskId = taskId;
  }

  static {
    Object.defineProperty(TuskError.prototype, "name", { get: nameOfClass, configurable: true });
  }
}

function nameOfClass(this: Error): string {
  return this.constructor.name;
}

/** A value that has no exact form in a body, or a body that cannot be read. */
export class BodyError extends TuskError {
  constructor(message: string) {
    super("body", message);
  }
}

/** A run that failed, in the `history` of an error. */
export interface Attempt {
  /** Which run it was, from 1. */
  attempt: number;
  /** The name of the worker that ran it. */
  worker: string;
  /** When it began and ended, in ms before the task's ending; in a TaskStatus, before now. */
  started: number;
  ended: number;
  /** Of its error, shortened. */
  type: string;
  message: string;
  stack: string | undefined;
  language: string;
}

/** What is known about the failure of a handler, the same from every language. */
export interface RemoteFailure {
  /** The language of the worker, such as `"python"`. */
  language: string;
  /** The class of what was raised there. */
  type: string;
  /** Its message. */
  message: string;
  /** Its stack as that language prints it, where there is one. */
  stack: string | undefined;
  /** Which run failed, from 1; undefined where the broker did not say. */
  attempt: number | undefined;
  /** The name of the worker that ran it. */
  worker: string | undefined;
  /** Whether another run of the same task may do better. */
  retryable: boolean;
}

/**
 * An ending that is no success. `history` has the runs that failed before it, the last 16; it is empty
 * when only one was allowed.
 */
export class Unsuccessful extends TuskError {
  history: readonly Attempt[] = [];
}

/** The handler failed. `remote` has what it raised, in whatever language. */
export class TaskFailed extends Unsuccessful {
  readonly remote: RemoteFailure;

  constructor(what: string, remote: RemoteFailure, taskId: string, code = "failed") {
    const where =
      remote.worker === undefined ? remote.language : `${remote.worker}, ${remote.language}`;
    super(code, `${what}: ${remote.type}: ${remote.message} (${where})`, taskId);
    this.remote = remote;
  }
}

/** Every allowed run failed, or too many workers died of the task. */
export class TaskDead extends TaskFailed {
  constructor(what: string, remote: RemoteFailure, taskId: string) {
    super(what, remote, taskId, "dead");
  }
}

/** Somebody cancelled the task. */
export class TaskCancelled extends Unsuccessful {
  constructor(message: string, taskId?: string, options?: ErrorOptions) {
    super("cancelled", message, taskId, options);
  }
}

/** The task's deadline passed before it ended. */
export class TaskExpired extends Unsuccessful {
  constructor(message: string, taskId: string) {
    super("expired", message, taskId);
  }
}

/** The caller waited as long as it wanted to. The task goes on; ask for it by its id. */
export class Timeout extends TuskError {
  constructor(message: string, taskId?: string, options?: ErrorOptions) {
    super("timeout", message, taskId, options);
  }
}

/** No broker answers at `url`. */
export class Unavailable extends TuskError {
  readonly url: string;

  constructor(url: string, message: string, taskId?: string) {
    super("unavailable", message, taskId);
    this.url = url;
  }
}

/** The client or worker was closed. */
export class Closed extends TuskError {
  constructor(message: string, taskId?: string) {
    super("closed", message, taskId);
  }
}

/** The broker, or this package on its behalf, refused a request. `code` says why. */
export class BrokerError extends TuskError {
  /** What the broker adds, by name; see the error's row in SPEC.md. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: string,
    message: string,
    details: Readonly<Record<string, unknown>> = {},
    taskId?: string,
  ) {
    super(code, message, taskId);
    this.details = details;
  }
}

/** No worker runs this type and none is configured to. */
export class Unserved extends BrokerError {}
/** This peer has too much unanswered or unacknowledged; later there is room. */
export class Busy extends BrokerError {}
/** A queue or table of the broker is full; later there is room. */
export class Full extends BrokerError {}
/** Over a limit; `details.limit` is its name and `details.value` the bound. */
export class TooLarge extends BrokerError {}
/** The id belongs to another type or body. */
export class IdConflict extends BrokerError {}
/** The task of this id ended and its ending is not kept; `details.state` is how. See `retention`. */
export class AlreadyEnded extends BrokerError {}
/** Another task has the unique key. `taskId` is the id of the submit that was refused. */
export class Duplicate extends BrokerError {
  /** The task that has the key: UUID text; undefined if the broker did not say it. */
  get id(): string | undefined {
    const { id } = this.details;
    if (typeof id !== "string" || !/^[0-9a-f]{32}$/i.test(id)) return undefined;
    return idText(Buffer.from(id, "hex"), 0);
  }

  /** Of that task: `"waiting"`, `"delayed"`, `"running"`, or how it ended. */
  get state(): string {
    const { state } = this.details;
    return typeof state === "string" ? state : "";
  }
}
/** The task may have run before, and the broker cannot know. The caller decides. */
export class UnknownOutcome extends BrokerError {}
/** No such task, topic, stage or handle. */
export class Unknown extends BrokerError {}
/** The broker's configuration does not allow this worker. */
export class Refused extends BrokerError {}
/** What was asked has no meaning; `details.field` says what of it. */
export class Invalid extends BrokerError {}
/** The broker could not read the packet that this was asked in; nothing of it was done. */
export class Malformed extends BrokerError {}

const classes: Readonly<Record<string, typeof BrokerError>> = {
  unserved: Unserved,
  busy: Busy,
  full: Full,
  too_large: TooLarge,
  id_conflict: IdConflict,
  already_ended: AlreadyEnded,
  duplicate: Duplicate,
  unknown_outcome: UnknownOutcome,
  unknown_task: Unknown,
  unknown_topic: Unknown,
  unknown_stage: Unknown,
  unknown_handle: Unknown,
  refused: Refused,
  invalid: Invalid,
  malformed: Malformed,
};

/** The error record of the broker as an error to throw. */
export function brokerError(
  code: string,
  message: string,
  details: Readonly<Record<string, unknown>>,
  taskId?: string,
): TuskError {
  if (code === "timeout") return new Timeout(message, taskId);
  return new (classes[code] ?? BrokerError)(code, message, details, taskId);
}

/**
 * Another attempt begins its stream anew: what came before is to be forgotten. Iterating over the stream again
 * goes on with its chunks.
 */
export class StreamRestarted extends TuskError {
  constructor(
    /** Its number. */
    readonly attempt: number,
    taskId: string,
  ) {
    super(
      "stream_restarted",
      `attempt ${attempt} of task ${taskId} begins its stream anew`,
      taskId,
    );
  }
}

/** Chunks of a stream are missing here. What follows may be taken all the same, by iterating again. */
export class StreamBroken extends TuskError {
  constructor(
    /** How many. */
    readonly missing: number,
    taskId: string,
  ) {
    super("stream_broken", `${missing} chunks of the stream of task ${taskId} are missing`, taskId);
  }
}

/** A subscription that is to end if its reader does not keep up (`slow: "disconnect"`) has ended so. */
export class SlowSubscriber extends TuskError {
  constructor(message: string) {
    super("slow_subscriber", message);
  }
}

/** An error of a limit that WELCOME stated. */
export function tooLarge(what: string, size: number, limit: string, bound: number): TooLarge {
  return new TooLarge("too_large", `${what} has ${size} bytes; the limit ${limit} is ${bound}`, {
    limit,
    value: bound,
  });
}

/**
 * What a handler throws when another run makes no sense:
 *
 *     throw new NoRetry("no such account");
 *     throw new NoRetry("cannot parse", { cause: error });   // the cause is what the caller sees
 */
export class NoRetry extends Error {
  override name = "NoRetry";
}

/**
 * What a handler throws when it cannot run now: the task runs again in `after` ms. It neither fails nor
 * succeeds, and none of its attempts is used up. In a list handler: each of its items.
 *
 * @throws RangeError when `after` is not 0 to 100 years
 */
export class Defer extends Error {
  override name = "Defer";
  readonly after: number;

  constructor(after: number) {
    super(`not now; again in ${after} ms`);
    this.after = milliseconds("after", after);
  }
}
