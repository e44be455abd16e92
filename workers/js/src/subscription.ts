/** Events of a topic, as an async iterator. */
import { readValue } from "./body.js";
import type { TuskError } from "./errors.js";

/** One event of a topic. */
export class TopicEvent<Body = unknown> {
  /** @internal */
  constructor(
    readonly topic: string,
    /** The topic's number of this event; each topic counts 1, 2, 3, ... */
    readonly sequence: number,
    /** How many events were missed just before this one. */
    readonly missed: number,
    readonly place: { buf: Buffer | undefined; codec: number; compressed: boolean; limit: number },
  ) {
    Object.defineProperty(this, "place", { enumerable: false });
  }

  /** What was published. @throws BodyError if it cannot be read, each time */
  get body(): Body {
    const { buf, codec, compressed, limit } = this.place;
    if (buf === undefined) return null as Body;
    return readValue(buf, 0, buf.length, codec, compressed, limit) as Body;
  }
}

/**
 * A subscription. It buffers at most `bound` events for a slow reader; the oldest then go, and count
 * as missed.
 *
 *     for await (const event of client.subscribe("prices")) console.log(event.body, event.missed);
 *
 * Leaving the loop ends it, and so does `close()`.
 */
export class Subscription<Body = unknown> implements AsyncIterableIterator<TopicEvent<Body>> {
  readonly topic: string;
  readonly #bound: number;
  readonly #onClose: (subscription: Subscription<Body>) => void;
  readonly #ready: Promise<void>;
  #resolveReady!: () => void;
  #rejectReady!: (error: TuskError) => void;
  #events: TopicEvent<Body>[] = [];
  #head = 0;
  #dropped = 0;
  #waiting: {
    resolve: (result: IteratorResult<TopicEvent<Body>>) => void;
    reject: (error: TuskError) => void;
  }[] = [];
  #error: TuskError | undefined;
  #closed = false;

  /** @internal */
  constructor(topic: string, bound: number, onClose: (s: Subscription<Body>) => void) {
    this.topic = topic;
    this.#bound = bound;
    this.#onClose = onClose;
    this.#ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    this.#ready.catch(() => undefined); // the iterator tells of it too
  }

  /** Resolves when the broker has the subscription: what is published from then on arrives. */
  get ready(): Promise<void> {
    return this.#ready;
  }

  /** @internal */
  subscribed(): void {
    this.#resolveReady();
  }

  /** @internal */
  deliver(event: TopicEvent<Body>): void {
    if (this.#closed) return;
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) {
      waiting.resolve({ value: event, done: false });
      return;
    }
    if (this.#events.length - this.#head >= this.#bound) {
      this.#dropped += 1 + this.#events[this.#head].missed;
      this.#head++;
    }
    this.#events.push(event);
    if (this.#head > 1024 && this.#head * 2 > this.#events.length) {
      this.#events = this.#events.slice(this.#head);
      this.#head = 0;
    }
  }

  /** @internal */
  fail(error: TuskError): void {
    if (this.#closed) return;
    this.#error = error;
    this.#rejectReady(error);
    this.#end();
  }

  next(): Promise<IteratorResult<TopicEvent<Body>>> {
    if (this.#head < this.#events.length) {
      let event = this.#events[this.#head];
      this.#head++;
      if (this.#dropped > 0) {
        const missed = event.missed + this.#dropped;
        event = new TopicEvent<Body>(event.topic, event.sequence, missed, event.place);
        this.#dropped = 0;
      }
      return Promise.resolve({ value: event, done: false });
    }
    if (this.#error !== undefined) {
      const error = this.#error;
      this.#error = undefined;
      return Promise.reject(error);
    }
    if (this.#closed) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<TopicEvent<Body>>> {
    this.close();
    return Promise.resolve({ value: undefined, done: true });
  }

  /** Ends the subscription; loops over it end. */
  close(): void {
    if (this.#closed) return;
    this.#events = [];
    this.#head = 0;
    this.#end();
    this.#onClose(this);
  }

  #end(): void {
    this.#closed = true;
    this.#resolveReady();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { resolve, reject } of waiting) {
      if (this.#error !== undefined) {
        reject(this.#error);
        this.#error = undefined;
      } else {
        resolve({ value: undefined, done: true });
      }
    }
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
