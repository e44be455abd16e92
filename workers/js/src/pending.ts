/** Requests that wait for their answer, and the times until when they do. */
import type { BodyPlace } from "./body.js";
import type { TuskError } from "./errors.js";
import type { Terms } from "./terms.js";
import { idText } from "./uuid.js";
import { Codec } from "./wire.js";

const ID_BYTES = 16;

/** Attributes of a request that the caller chose. */
export interface RequestAttributes {
  reply: number;
  resent: boolean;
  rerunOk: boolean;
  /** Whether the caller's time is told to the broker. */
  tellWait: boolean;
  trace: string | undefined;
  baggage: string | undefined;
  /** The id of the task whose run submits it. */
  parent: Buffer | undefined;
  /** Chunks that may be on their way; 0: nobody wants its stream. */
  stream: number;
  /** Of a subscribe: what becomes of a slow reader. */
  slow: number;
  /** What the task asks for beside that. */
  terms: Terms | undefined;
}

/** What takes the chunks of a stream. */
export interface ChunkSink {
  chunk(place: BodyPlace, attempt: number, index: number, limit: number): void;
}

export const NO_ATTRIBUTES: Readonly<RequestAttributes> = {
  reply: 0,
  resent: false,
  rerunOk: false,
  tellWait: false,
  trace: undefined,
  baggage: undefined,
  parent: undefined,
  stream: 0,
  slow: 0,
  terms: undefined,
};

/** The callback of a request whose answer nobody waits for. */
export const nobody = (): void => undefined;

/**
 * One request of a client, with all that is needed to send it again.
 *
 * Its callbacks take the place of a promise, so that thousands of requests that one caller waits for
 * need no promise each.
 */
export class Pending {
  /**
   * The id's 16 bytes and then the body, for those that have them; for a query or
   * control its arguments.
   * One buffer: half the work.
   */
  bytes: Buffer | undefined;
  compressed = false;
  /** How the body is written; msgpack until the broker has said otherwise. */
  codec: number = Codec.msgpack;
  /** In which session it was written into a packet; 0: in none yet. */
  writtenIn = 0;
  /** The number of the packet that it was written into; 0: in none of this session. */
  packet = 0;
  /** The id was sent before. */
  resent = false;
  /** The broker said `shutting_down`, or there is no broker: it is written after the next welcome. */
  parked = true;

  /** With a broker there it waits on when its time is over: a push that waits for room. */
  patient = false;
  /** Once a submit has its ending: the task whose it is, if that may be another. */
  joined: string | undefined = undefined;
  /** Where its chunks go. */
  stream: ChunkSink | undefined = undefined;
  /** Called when it is about to be submitted again, in a new session. */
  resubmitted: (() => void) | undefined = undefined;
  /** Of its ending: how many chunks that run has sent, and which run it was. */
  chunks: number | undefined = undefined;
  attempt: number | undefined = undefined;
  /** Its time in ms. */
  timeout = Number.POSITIVE_INFINITY;

  /** performance.now() at which it gives up; Infinity: never. */
  deadline = Number.POSITIVE_INFINITY;
  queue: DeadlineQueue | undefined;
  previous: Pending | undefined;
  next: Pending | undefined;

  constructor(
    readonly request: number,
    readonly kind: number,
    /** The type, topic, stage or query. */
    readonly name: string,
    readonly attributes: Readonly<RequestAttributes>,
    readonly done: (value: unknown) => void,
    readonly failed: (error: TuskError) => void,
    readonly accepted?: () => void,
  ) {}

  get body(): Buffer | undefined {
    return this.bytes?.subarray(ID_BYTES);
  }

  get size(): number {
    return this.bytes?.length ?? 0;
  }

  /** The task's id as text; only for requests that have one. */
  get id(): string {
    return idText(this.bytes!, 0);
  }
}

/** Requests that wait equally long, in the order of their deadlines. */
interface DeadlineQueue {
  first: Pending | undefined;
  last: Pending | undefined;
}

/**
 * The deadlines of many requests with one timer.
 *
 * Callers mostly wait equally long; for each such time there is a queue, in which whoever came later
 * also ends later. Adding and removing take the same time however many there are.
 */
export class Deadlines {
  readonly #queues = new Map<number, DeadlineQueue>();
  readonly #expired: (pending: Pending) => void;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #count = 0;

  constructor(expired: (pending: Pending) => void) {
    this.#expired = expired;
  }

  /** `ms` from now; Infinity is no deadline. */
  add(pending: Pending, ms: number): void {
    pending.timeout = ms;
    if (ms === Number.POSITIVE_INFINITY) return;
    const deadline = performance.now() + ms;
    pending.deadline = deadline;
    let queue = this.#queues.get(ms);
    if (queue === undefined) {
      queue = { first: undefined, last: undefined };
      this.#queues.set(ms, queue);
    }
    pending.queue = queue;
    pending.previous = queue.last;
    if (queue.last === undefined) queue.first = pending;
    else queue.last.next = pending;
    queue.last = pending;
    this.#count++;
    if (deadline < this.#timerAt) this.#arm(deadline, ms);
    else if (this.#count === 1) this.#timer?.ref();
  }

  remove(pending: Pending): void {
    const { queue } = pending;
    if (queue === undefined) return;
    pending.queue = undefined;
    if (pending.previous === undefined) queue.first = pending.next;
    else pending.previous.next = pending.next;
    if (pending.next === undefined) queue.last = pending.previous;
    else pending.next.previous = pending.previous;
    pending.previous = undefined;
    pending.next = undefined;
    // With nothing to wait for the timer does not keep the process alive, nor is it made anew.
    if (--this.#count === 0) this.#timer?.unref();
  }

  #arm(deadline: number, ms: number): void {
    clearTimeout(this.#timer);
    this.#timerAt = deadline;
    this.#timer = setTimeout(this.#fire, Math.min(Math.ceil(ms), MAX_TIMER));
    if (this.#count === 0) this.#timer.unref();
  }

  readonly #fire = (): void => {
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
    const now = performance.now();
    let earliest = Number.POSITIVE_INFINITY;
    for (const [ms, queue] of this.#queues) {
      while (queue.first !== undefined && queue.first.deadline <= now) {
        const pending = queue.first;
        this.remove(pending);
        this.#expired(pending);
      }
      if (queue.first === undefined) this.#queues.delete(ms);
      else earliest = Math.min(earliest, queue.first.deadline);
    }
    if (earliest < this.#timerAt) this.#arm(earliest, earliest - now);
  };
}

/** Node's timers take no more milliseconds. */
const MAX_TIMER = 2 ** 31 - 1;
