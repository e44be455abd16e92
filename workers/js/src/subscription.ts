/** Events of topics, as an async iterator. */
import { readValue } from "./body.js";
import { SlowSubscriber, type TuskError } from "./errors.js";

/** What becomes of a slow reader, in the order of their numbers. */
export const SLOW = ["drop_oldest", "disconnect"] as const;

/** What becomes of a slow reader; see `SubscribeOptions.slow`. */
export type SlowPolicy = (typeof SLOW)[number];

interface EventBody {
  /** Undefined: no body at all. */
  buf: Buffer | undefined;
  codec: number;
  compressed: boolean;
  limit: number;
}

/** An event as it came, for all subscriptions that it is for. */
export interface Arrived {
  topic: string;
  sequence: number;
  /** What the broker says of it. */
  missed: number;
  retained: boolean;
  session: number;
  body: EventBody;
}

/** One event of a topic. */
export class TopicEvent<Body = unknown> {
  readonly #body: EventBody;

  /** @internal */
  constructor(
    readonly topic: string,
    /** The topic's number of this event; each topic counts 1, 2, 3, ... */
    readonly sequence: number,
    /** How many events of its topic were missed just before this one. */
    readonly missed: number,
    /** Whether it is from before the subscription: the last event, which the topic keeps. */
    readonly retained: boolean,
    body: EventBody,
  ) {
    this.#body = body;
  }

  /**
   * What was published; undefined if the topic was cleared. @throws BodyError if it cannot be read, each
   * time
   */
  get body(): Body {
    const { buf, codec, compressed, limit } = this.#body;
    if (buf === undefined) return undefined as Body;
    return readValue(buf, 0, buf.length, codec, compressed, limit) as Body;
  }

  /** @internal The same with so many more missed before it. */
  behind(dropped: number): TopicEvent<Body> {
    const { topic, sequence, missed, retained } = this;
    return new TopicEvent<Body>(topic, sequence, missed + dropped, retained, this.#body);
  }
}

/**
 * A subscription to a topic, or to a pattern of them.
 *
 *     for await (const event of client.subscribe("prices.*")) console.log(event.topic, event.body);
 *
 * Leaving the loop ends it, and so does `close()`. What becomes of a slow reader, SubscribeOptions says.
 */
export class Subscription<Body = unknown> implements AsyncIterableIterator<TopicEvent<Body>> {
  /** The topic or pattern. */
  readonly topic: string;
  /** @internal */
  readonly slow: SlowPolicy;
  /** @internal The last session in which the broker accepted it; 0: none yet. */
  session = 0;
  readonly #bound: number;
  readonly #onClose: (subscription: Subscription<Body>) => void;
  readonly #ready: Promise<void>;
  #resolveReady!: () => void;
  #rejectReady!: (error: TuskError) => void;
  #events: TopicEvent<Body>[] = [];
  #head = 0;
  /** By topic: the last event's number and the session that it came in. */
  readonly #last = new Map<string, { sequence: number; session: number }>();
  /** By topic: what went from the buffer and no event has told of. */
  readonly #dropped = new Map<string, number>();
  #waiting: {
    resolve: (result: IteratorResult<TopicEvent<Body>>) => void;
    reject: (error: TuskError) => void;
  }[] = [];
  #error: TuskError | undefined;
  #closed = false;

  /** @internal */
  constructor(
    topic: string,
    bound: number,
    slow: SlowPolicy,
    onClose: (s: Subscription<Body>) => void,
  ) {
    this.topic = topic;
    this.slow = slow;
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
  subscribed(session: number): void {
    this.session = session;
    this.#resolveReady();
  }

  /** @internal Topics count anew. */
  forgetNumbers(): void {
    this.#last.clear();
  }

  /** @internal */
  deliver(arrived: Arrived): void {
    if (this.#closed) return;
    const { topic, sequence, retained, session } = arrived;
    const last = this.#last.get(topic);
    // Another reader's subscribe made the broker send it again.
    if (retained && last?.session === session) return;
    const gap = last && Math.max(0, sequence - last.sequence - 1);
    const event = new TopicEvent<Body>(
      topic,
      sequence,
      gap ?? arrived.missed,
      retained,
      arrived.body,
    );
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) {
      waiting.resolve({ value: this.#told(event), done: false });
    } else {
      if (this.#events.length - this.#head >= this.#bound && !this.#makeRoom()) return;
      this.#events.push(event);
    }
    this.#last.set(topic, { sequence, session });
    if (this.#head > 1024 && this.#head * 2 > this.#events.length) {
      this.#events = this.#events.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Drops the oldest event, or ends the subscription; whether there is room then. */
  #makeRoom(): boolean {
    if (this.slow === "disconnect") {
      const error = new SlowSubscriber(
        `the subscription to "${this.topic}" has ended: its buffer (size ${this.#bound}) was full when ` +
          "another event came; read faster, or make it larger",
      );
      this.fail(error);
      this.#onClose(this);
      return false;
    }
    const { topic, missed } = this.#events[this.#head];
    this.#dropped.set(topic, (this.#dropped.get(topic) ?? 0) + 1 + missed);
    this.#head++;
    return true;
  }

  /** The event as its reader gets it: with what went from the buffer before it. */
  #told(event: TopicEvent<Body>): TopicEvent<Body> {
    const dropped = this.#dropped.get(event.topic);
    if (dropped === undefined) return event;
    this.#dropped.delete(event.topic);
    return event.behind(dropped);
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
      const event = this.#events[this.#head];
      this.#head++;
      return Promise.resolve({ value: this.#told(event), done: false });
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
