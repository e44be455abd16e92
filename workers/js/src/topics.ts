/** A client's topics: one subscription at the broker for each, however many read it here. */
import type { BodyPlace } from "./body.js";
import { NO_ATTRIBUTES, nobody } from "./pending.js";
import type { Requests } from "./requests.js";
import { Subscription, TopicEvent } from "./subscription.js";
import { Kind } from "./wire.js";

/** How many events wait for a slow reader, unless it says otherwise. */
const EVENT_BUFFER = 10_000;

interface Topic {
  subscriptions: Set<Subscription>;
  subscribed: boolean;
  /** The session in which it was subscribed. */
  session: number;
  /** The last event's number, 0 before the first; it counts anew with each start of the broker. */
  last: number;
  epoch: number;
}

export class Topics {
  readonly #requests: Requests;
  readonly #topics = new Map<string, Topic>();

  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /** How many topics are read. */
  get size(): number {
    return this.#topics.size;
  }

  /** @throws RangeError unless at least one event may wait */
  subscribe<Body>(topic: string, bound = EVENT_BUFFER): Subscription<Body> {
    if (!(bound >= 1)) throw new RangeError("a subscription buffers at least one event");
    const closed = (s: Subscription<Body>) => this.#unsubscribe(s as Subscription);
    const subscription = new Subscription<Body>(topic, bound, closed);
    let entry = this.#topics.get(topic);
    if (entry === undefined) {
      const { epoch } = this.#requests.link;
      entry = { subscriptions: new Set(), subscribed: false, session: 0, last: 0, epoch };
      this.#topics.set(topic, entry);
      this.#subscribe(topic, entry, this.#requests.defaultTimeout);
    } else if (entry.subscribed) {
      subscription.subscribed();
    }
    entry.subscriptions.add(subscription as Subscription);
    return subscription;
  }

  /** After a welcome: what an older session had subscribed is subscribed again. */
  subscribeAgain(): void {
    const { epoch, session } = this.#requests.link;
    for (const [topic, entry] of this.#topics) {
      if (entry.epoch !== epoch) entry.last = 0;
      entry.epoch = epoch;
      // A subscribe without an answer is sent again with the other requests.
      if (entry.subscribed && entry.session !== session) {
        this.#subscribe(topic, entry, Number.POSITIVE_INFINITY);
      }
    }
  }

  event(topic: string, sequence: number, place: BodyPlace): void {
    const entry = this.#topics.get(topic);
    if (entry === undefined) return; // it was sent before the unsubscribe arrived
    const missed = entry.last === 0 ? 0 : Math.max(0, sequence - entry.last - 1);
    entry.last = sequence;
    // A copy: a slow reader would otherwise keep whole packets.
    const body = place.buf && Buffer.from(place.buf.subarray(place.start, place.end));
    const event = new TopicEvent(topic, sequence, missed, {
      buf: body,
      codec: place.codec,
      compressed: place.compressed,
      limit: this.#requests.link.limits.body,
    });
    for (const subscription of entry.subscriptions) subscription.deliver(event);
  }

  /** Ends all subscriptions. */
  close(): void {
    const all = [...this.#topics.values()].flatMap(({ subscriptions }) => [...subscriptions]);
    this.#topics.clear();
    for (const subscription of all) subscription.close();
  }

  #subscribe(topic: string, entry: Topic, timeout: number): void {
    entry.subscribed = false;
    const done = () => {
      entry.subscribed = true;
      entry.session = this.#requests.link.session;
      for (const subscription of entry.subscriptions) subscription.subscribed();
    };
    this.#requests.begin(
      Kind.subscribe,
      topic,
      undefined,
      NO_ATTRIBUTES,
      timeout,
      done,
      (error) => {
        if (this.#topics.get(topic) !== entry) return;
        this.#topics.delete(topic);
        for (const subscription of [...entry.subscriptions]) subscription.fail(error);
      },
    );
  }

  #unsubscribe(subscription: Subscription): void {
    const { topic } = subscription;
    const entry = this.#topics.get(topic);
    if (!entry?.subscriptions.delete(subscription)) return;
    if (entry.subscriptions.size > 0) return;
    this.#topics.delete(topic);
    const timeout = this.#requests.defaultTimeout;
    this.#requests.begin(
      Kind.unsubscribe,
      topic,
      undefined,
      NO_ATTRIBUTES,
      timeout,
      nobody,
      nobody,
    );
  }
}
