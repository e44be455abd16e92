/** A client's subscriptions: one at the broker for each pattern, however many read it here. */
import type { BodyPlace } from "./body.js";
import { BrokerError, SlowSubscriber, type TuskError } from "./errors.js";
import { NO_ATTRIBUTES, nobody, type Pending } from "./pending.js";
import type { Requests } from "./requests.js";
import { type Arrived, SLOW, type SlowPolicy, Subscription } from "./subscription.js";
import { matches } from "./topic-pattern.js";
import { Kind } from "./wire.js";

/** How many events wait for a slow reader, unless it says otherwise. */
const EVENT_BUFFER = 10_000;

const DISCONNECT = { ...NO_ATTRIBUTES, slow: SLOW.indexOf("disconnect") };

export interface SubscribeOptions {
  /** How many events wait here for a slow reader; default 10,000. */
  buffer?: number;
  /**
   * What becomes of a reader that does not keep up, here or at the broker. `"drop_oldest"` (default): the
   * oldest events go, and count as missed. `"disconnect"`: the subscription ends; its iterator gives what
   * waits and then throws SlowSubscriber.
   */
  slow?: SlowPolicy;
}

interface Pattern {
  subscriptions: Set<Subscription>;
  /** A new session is being told of it. */
  again: boolean;
}

export class Topics {
  readonly #requests: Requests;
  readonly #patterns = new Map<string, Pattern>();
  #epoch = 0;

  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /** How many patterns are read. */
  get size(): number {
    return this.#patterns.size;
  }

  /** @throws RangeError unless at least one event may wait, and for an unknown policy */
  subscribe<Body>(pattern: string, options: SubscribeOptions): Subscription<Body> {
    const { buffer = EVENT_BUFFER, slow = "drop_oldest" } = options;
    if (!(buffer >= 1)) {
      throw new RangeError(`a subscription buffers at least one event, not ${buffer}`);
    }
    if (!SLOW.includes(slow)) {
      const names = SLOW.map((name) => `"${name}"`).join(" and ");
      throw new RangeError(`slow is one of ${names}, not "${slow}"`);
    }
    const closed = (s: Subscription<Body>) => this.#leave(s as Subscription);
    const subscription = new Subscription<Body>(pattern, buffer, slow, closed);
    let entry = this.#patterns.get(pattern);
    if (entry === undefined) {
      entry = { subscriptions: new Set(), again: false };
      this.#patterns.set(pattern, entry);
    }
    entry.subscriptions.add(subscription as Subscription);
    // Each asks the broker, for the events that topics keep; it is one subscription there all the same.
    this.#subscribe(pattern, entry, subscription as Subscription);
    return subscription;
  }

  /** After a welcome: what an older session had subscribed is subscribed again. */
  subscribeAgain(): void {
    const { epoch, session } = this.#requests.link;
    const countsAnew = epoch !== this.#epoch;
    this.#epoch = epoch;
    for (const [pattern, entry] of this.#patterns) {
      let lost = false;
      for (const subscription of entry.subscriptions) {
        if (countsAnew) subscription.forgetNumbers();
        // A subscribe without an answer is sent again with the other requests.
        lost ||= subscription.session !== 0 && subscription.session !== session;
      }
      if (lost && !entry.again) this.#subscribeAgain(pattern, entry);
    }
  }

  event(
    topic: string,
    sequence: number,
    place: BodyPlace,
    missed: number,
    retained: boolean,
  ): void {
    let arrived: Arrived | undefined;
    for (const [pattern, { subscriptions }] of this.#patterns) {
      if (!matches(pattern, topic)) continue;
      arrived ??= this.#arrived(topic, sequence, place, missed, retained);
      for (const subscription of subscriptions) subscription.deliver(arrived);
    }
  }

  #arrived(
    topic: string,
    sequence: number,
    place: BodyPlace,
    missed: number,
    retained: boolean,
  ): Arrived {
    const { session, limits } = this.#requests.link;
    const { codec, compressed } = place;
    // A copy: a slow reader would otherwise keep whole packets.
    const buf = place.buf && Buffer.from(place.buf.subarray(place.start, place.end));
    const body = { buf, codec, compressed, limit: limits.body };
    return { topic, sequence, missed, retained, session, body };
  }

  /** The broker has ended what was subscribed to by this name. */
  unsubscribed(pattern: string, message: string): void {
    const entry = this.#patterns.get(pattern);
    if (entry === undefined) return;
    const { session } = this.#requests.link;
    for (const subscription of entry.subscriptions) {
      // One whose subscribe has no answer yet is behind this end, and has a subscription of its own.
      if (subscription.session !== session) continue;
      entry.subscriptions.delete(subscription);
      subscription.fail(new SlowSubscriber(message));
    }
    if (entry.subscriptions.size === 0) this.#patterns.delete(pattern);
  }

  /** Ends all subscriptions. */
  close(): void {
    const all = [...this.#patterns.values()].flatMap(({ subscriptions }) => [...subscriptions]);
    this.#patterns.clear();
    for (const subscription of all) subscription.close();
  }

  #subscribe(pattern: string, entry: Pattern, subscription: Subscription): void {
    const chosen = subscription.slow === "disconnect" ? DISCONNECT : NO_ATTRIBUTES;
    let pending: Pending | undefined = undefined;
    const done = () => subscription.subscribed(this.#requests.link.session);
    const failed = (error: TuskError) => {
      const sent = pending !== undefined && pending.writtenIn !== 0;
      // Unless the broker has refused it, it may have it or get it.
      this.#remove(pattern, entry, subscription, sent && !(error instanceof BrokerError));
      subscription.fail(error);
    };
    const timeout = this.#requests.defaultTimeout;
    pending = this.#requests.begin(
      Kind.subscribe,
      pattern,
      undefined,
      chosen,
      timeout,
      done,
      failed,
    );
  }

  /** Tells a new session, once for all that read the pattern. */
  #subscribeAgain(pattern: string, entry: Pattern): void {
    entry.again = true;
    const older = () => [...entry.subscriptions].filter((one) => one.session !== 0);
    const done = () => {
      entry.again = false;
      for (const subscription of older()) subscription.subscribed(this.#requests.link.session);
    };
    const failed = (error: TuskError) => {
      entry.again = false;
      for (const subscription of older()) {
        this.#remove(pattern, entry, subscription, false);
        subscription.fail(error);
      }
    };
    // The milder wish of several counts, as it does at the broker.
    const strict = older().every(({ slow }) => slow === "disconnect");
    const chosen = strict ? DISCONNECT : NO_ATTRIBUTES;
    const forever = Number.POSITIVE_INFINITY;
    this.#requests.begin(Kind.subscribe, pattern, undefined, chosen, forever, done, failed);
  }

  #leave(subscription: Subscription): void {
    const entry = this.#patterns.get(subscription.topic);
    if (entry !== undefined) this.#remove(subscription.topic, entry, subscription, true);
  }

  /** Takes a reader out; `tell`: if it was the last one, the broker is to forget the pattern too. */
  #remove(pattern: string, entry: Pattern, subscription: Subscription, tell: boolean): void {
    if (this.#patterns.get(pattern) !== entry || !entry.subscriptions.delete(subscription)) return;
    if (entry.subscriptions.size > 0) return;
    this.#patterns.delete(pattern);
    if (!tell) return;
    const timeout = this.#requests.defaultTimeout;
    const { unsubscribe } = Kind;
    this.#requests.begin(unsubscribe, pattern, undefined, NO_ATTRIBUTES, timeout, nobody, nobody);
  }
}
