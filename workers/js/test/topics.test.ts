import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { decode } from "@msgpack/msgpack";
import {
  BodyError,
  Client,
  Refused,
  SlowSubscriber,
  Timeout,
  Unavailable,
  Unknown,
} from "../src/index.js";
import { matches } from "../src/topic-pattern.js";
import { Attribute, Kind } from "../src/wire.js";
import { body, encode, type Received, TestBroker } from "./broker.js";

/** Accepts what concerns topics. */
function accept({ peer, record }: Received, broker: TestBroker): boolean {
  const kinds: number[] = [Kind.publish, Kind.subscribe, Kind.unsubscribe];
  if (!kinds.includes(record[0])) return false;
  const known = record[2] !== "no such topic";
  const reply = known ? [Kind.accepted, record[1]] : [Kind.error, record[1], "unknown_topic", "no"];
  broker.send(peer, [reply]);
  return true;
}

const retained = new Map([[Attribute.retained, true]]);

/** Pattern and topic, and whether one stands for the other: as proto/topic_pattern.cc says. */
const cases: [string, string, boolean][] = [
  ["prices", "prices", true],
  ["prices", "prices.eu", false],
  ["prices.eu", "prices", false],
  ["prices.*", "prices.eu", true],
  ["prices.*", "prices", false],
  ["prices.*", "prices.eu.paris", false],
  ["prices.>", "prices.eu", true],
  ["prices.>", "prices.eu.paris", true],
  ["prices.>", "prices", false],
  ["*.eu", "prices.eu", true],
  ["*.eu", "prices.us", false],
  ["*.*", "prices.eu", true],
  ["*.*", "prices", false],
  ["*", "prices", true],
  [">", "prices", true],
  [">", "prices.eu.paris", true],
  ["prices.*.paris", "prices.eu.paris", true],
  ["prices.*.paris", "prices.eu.lyon", false],
  ["prices.>.paris", "prices.eu.paris", false],
  ["*.eu.>", "prices.eu.paris", true],
  ["a*b", "a*b", true],
  ["a*b", "axb", false],
];

describe("a pattern", () => {
  for (const [pattern, topic, expected] of cases) {
    it(`${pattern} ${expected ? "stands" : "does not stand"} for ${topic}`, () => {
      assert.equal(matches(pattern, topic), expected);
    });
  }
});

describe("topics", () => {
  let broker: TestBroker;
  let client: Client;
  beforeEach(async () => {
    broker = await TestBroker.start({ record: accept });
    client = new Client(broker.url);
  });
  afterEach(async () => {
    await client.close();
    await broker.stop();
  });

  it("publishes", async () => {
    await client.publish("prices", { eur: 1 }, { trace: "00-a-b-01" });
    const { record } = await broker.record(Kind.publish);
    assert.equal(record[2], "prices");
    assert.deepEqual(decode(record[3]), { eur: 1 });
    assert.deepEqual(record[4], { 8: "00-a-b-01" });
    await assert.rejects(client.publish("no such topic"), Unknown);
  });

  it("subscribes, counts what was missed, and unsubscribes", async () => {
    const subscription = client.subscribe<number>("prices");
    await subscription.ready;
    const { peer } = await broker.record(Kind.subscribe);
    broker.send(peer, [
      [Kind.event, 7, "prices", body(70)],
      [Kind.event, 10, "prices", body(100)],
      [Kind.event, 11, "prices", Buffer.from([0xc1])],
    ]);
    const seen = [];
    for await (const event of subscription) {
      seen.push([event.sequence, event.missed]);
      if (event.sequence === 10) assert.equal(event.body, 100);
      if (event.sequence === 11) {
        assert.throws(() => event.body, BodyError);
        break;
      }
    }
    assert.deepEqual(seen, [
      [7, 0],
      [10, 2],
      [11, 0],
    ]);
    assert.equal((await broker.record(Kind.unsubscribe)).record[2], "prices");
  });

  it("has one subscription at the broker for several readers", async () => {
    const [one, two] = [client.subscribe("t"), client.subscribe("t")];
    await Promise.all([one.ready, two.ready]);
    const { peer } = await broker.record(Kind.subscribe);
    broker.send(peer, [[Kind.event, 1, "t", body("both")]]);
    assert.equal((await one.next()).value.body, "both");
    assert.equal((await two.next()).value.body, "both");
    one.close();
    broker.send(peer, [[Kind.event, 2, "t", body("two only")]]);
    assert.equal((await two.next()).value.body, "two only");
    assert.equal((await one.next()).done, true);
    two.close();
    await broker.record(Kind.unsubscribe);
    const count = (kind: number) => broker.log.filter((r) => r.record[0] === kind).length;
    assert.deepEqual([count(Kind.subscribe), count(Kind.unsubscribe)], [2, 1]);
  });

  it("bounds what waits for a slow reader and says how many went", async () => {
    const subscription = client.subscribe<number>("t", { buffer: 2 });
    await subscription.ready;
    const { peer } = await broker.record(Kind.subscribe);
    broker.send(
      peer,
      [1, 2, 3, 4, 5].map((n) => [Kind.event, n, "t", body(n)]),
    );
    await client.publish("t"); // answered behind the events
    const { value: first } = await subscription.next();
    assert.deepEqual([first.sequence, first.missed, first.body], [4, 3, 4]);
    const { value: second } = await subscription.next();
    assert.deepEqual([second.sequence, second.missed], [5, 0]);
    subscription.close();
  });

  it("hands an event to all whose pattern matches, once each, under its own topic", async () => {
    const one = client.subscribe("prices.*");
    const all = client.subscribe("prices.>");
    await Promise.all([one.ready, all.ready]);
    const { peer } = await broker.record(Kind.subscribe);
    broker.send(peer, [
      [Kind.event, 1, "prices.eu", body("eu")],
      [Kind.event, 1, "prices.eu.paris", body("paris")],
      [Kind.event, 1, "stocks.eu", body("neither")],
      [Kind.event, 1, "prices.us", body("us")],
    ]);
    const next = async (s: typeof one) => {
      const { value } = await s.next();
      return [value.topic, value.body];
    };
    assert.deepEqual(await next(one), ["prices.eu", "eu"]);
    assert.deepEqual(await next(one), ["prices.us", "us"]);
    assert.deepEqual(await next(all), ["prices.eu", "eu"]);
    assert.deepEqual(await next(all), ["prices.eu.paris", "paris"]);
    assert.deepEqual(await next(all), ["prices.us", "us"]);
    one.close();
    all.close();
  });

  it("counts what was missed for each topic of a pattern", async () => {
    const subscription = client.subscribe("p.*", { buffer: 2 });
    await subscription.ready;
    const { peer } = await broker.record(Kind.subscribe);
    const missed = (n: number) => new Map([[Attribute.missed, n]]);
    const seen = async () => {
      const { value } = await subscription.next();
      return [value.topic, value.sequence, value.missed];
    };
    broker.send(peer, [
      [Kind.event, 7, "p.a", body(0), missed(3)],
      [Kind.event, 20, "p.b", body(0)],
    ]);
    assert.deepEqual(await seen(), ["p.a", 7, 3]);
    assert.deepEqual(await seen(), ["p.b", 20, 0]);
    // The gap counts where the last number is known, not what the broker says.
    broker.send(peer, [
      [Kind.event, 10, "p.a", body(0), missed(1)],
      [Kind.event, 21, "p.b", body(0)],
    ]);
    assert.deepEqual(await seen(), ["p.a", 10, 2]);
    assert.deepEqual(await seen(), ["p.b", 21, 0]);
    broker.send(peer, [
      [Kind.event, 12, "p.a", body(0)], // goes, and the one before it was missed
      [Kind.event, 22, "p.b", body(0)],
      [Kind.event, 23, "p.b", body(0)],
    ]);
    await client.publish("t"); // answered behind the events
    assert.deepEqual(await seen(), ["p.b", 22, 0]);
    assert.deepEqual(await seen(), ["p.b", 23, 0]);
    broker.send(peer, [[Kind.event, 13, "p.a", body(0)]]);
    assert.deepEqual(await seen(), ["p.a", 13, 2]);
    subscription.close();
  });

  it("delivers what a topic kept once to each subscription, and again in a new session", async () => {
    const one = client.subscribe("p.*");
    await one.ready;
    const { peer } = await broker.record(Kind.subscribe);
    broker.send(peer, [[Kind.event, 4, "p.a", body("kept"), retained]]);
    const { value: first } = await one.next();
    assert.deepEqual([first.body, first.retained, first.missed], ["kept", true, 0]);
    const two = client.subscribe("p.*");
    await two.ready;
    broker.send(peer, [
      [Kind.event, 4, "p.a", body("kept"), retained],
      [Kind.event, 5, "p.a", body("new")],
    ]);
    const { value: second } = await two.next();
    assert.deepEqual([second.body, second.retained], ["kept", true]);
    const { value: third } = await one.next();
    assert.deepEqual([third.body, third.retained, third.missed], ["new", false, 0]);
    await two.next();
    await broker.restart();
    const again = await broker.record(Kind.subscribe, 2);
    broker.send(again.peer, [[Kind.event, 9, "p.a", body("kept"), retained]]);
    for (const subscription of [one, two]) {
      const { value } = await subscription.next();
      assert.deepEqual([value.sequence, value.retained, value.missed], [9, true, 0]);
      subscription.close();
    }
  });

  it("ends a subscription that is not to be slow, behind what it buffered", async () => {
    const subscription = client.subscribe("t", { buffer: 2, slow: "disconnect" });
    await subscription.ready;
    const { peer, record } = await broker.record(Kind.subscribe);
    assert.deepEqual(record[3], { [Attribute.slow]: 1 });
    broker.send(
      peer,
      [1, 2, 3].map((n) => [Kind.event, n, "t", body(n)]),
    );
    assert.equal((await broker.record(Kind.unsubscribe)).record[2], "t");
    const seen: unknown[] = [];
    const loop = async () => {
      for await (const event of subscription) seen.push(event.body);
    };
    await assert.rejects(loop, (error: SlowSubscriber) => {
      assert.ok(error instanceof SlowSubscriber);
      assert.equal(error.code, "slow_subscriber");
      assert.match(error.message, /"t" has ended: its buffer \(size 2\) was full/);
      return true;
    });
    assert.deepEqual(seen, [1, 2]);
    assert.equal((await subscription.next()).done, true);
  });

  it("ends with the broker's word, and forgets the pattern", async () => {
    const [one, two] = [client.subscribe("p.*"), client.subscribe("p.*", { slow: "disconnect" })];
    const other = client.subscribe("other");
    await Promise.all([one.ready, two.ready, other.ready]);
    const { peer } = await broker.record(Kind.subscribe);
    broker.send(peer, [
      [Kind.event, 1, "p.a", body("last")],
      [Kind.unsubscribed, "p.*", "1,024 bytes waited"],
      [Kind.unsubscribed, "unknown here", "nobody reads it"],
    ]);
    for (const subscription of [one, two]) {
      assert.equal((await subscription.next()).value.body, "last");
      await assert.rejects(subscription.next(), { name: "SlowSubscriber", message: /1,024 bytes/ });
    }
    await broker.restart();
    const again = await broker.record(Kind.subscribe, 3);
    assert.equal(again.record[2], "other");
    broker.send(again.peer, [[Kind.event, 1, "other", body("still there")]]);
    assert.equal((await other.next()).value.body, "still there");
    const kinds = broker.log.map(({ record }) => record[0]);
    assert.equal(kinds.filter((kind) => kind === Kind.subscribe).length, 4);
    assert.ok(!kinds.includes(Kind.unsubscribe));
    other.close();
  });

  it("keeps a subscription that the broker's end of an earlier one does not mean", async () => {
    const early = client.subscribe("t", { slow: "disconnect" });
    await early.ready;
    const first = await broker.record(Kind.subscribe);
    broker.script.record = ({ record }) => record[0] === Kind.subscribe;
    const late = client.subscribe("t");
    const second = await broker.record(Kind.subscribe, 1);
    broker.script.record = accept;
    broker.send(first.peer, [
      [Kind.unsubscribed, "t", "too slow"],
      [Kind.accepted, second.record[1]],
      [Kind.event, 1, "t", body("for the second")],
    ]);
    await assert.rejects(early.next(), SlowSubscriber);
    assert.equal((await late.next()).value.body, "for the second");
    late.close();
  });

  it("clears a topic: an event without a body", async () => {
    await client.clear("t");
    assert.equal((await broker.record(Kind.publish)).record[3], null);
    await assert.rejects(client.clear("no such topic"), Unknown);
    const subscription = client.subscribe("t");
    await subscription.ready;
    const { peer } = await broker.record(Kind.subscribe);
    broker.send(peer, [[Kind.event, 1, "t", null]]);
    const { value } = await subscription.next();
    assert.equal(value.body, undefined);
    subscription.close();
  });

  it("unsubscribes what the broker has not answered in time, and may have", async () => {
    broker.script.welcome = (_, fields) => {
      fields.timeout = 50;
    };
    await client.publish("t"); // now it knows how long to wait
    broker.script.record = () => true;
    const subscription = client.subscribe("t");
    await assert.rejects(subscription.next(), Timeout);
    assert.equal((await broker.record(Kind.unsubscribe)).record[2], "t");
  });

  it("ends at once for a client that the broker does not take", async () => {
    broker.script.packet = (identity) => {
      broker.raw(identity, [encode([[Kind.error, 0, "refused", "not this one"]])]);
      return true;
    };
    const refused = new Client(broker.url);
    await assert.rejects(refused.subscribe("t").ready, Refused);
    const again = refused.subscribe("t");
    await assert.rejects(again.next(), Refused);
    await assert.rejects(again.ready, Refused);
    await refused.close();
  });

  it("refuses options out of their bounds", () => {
    for (const buffer of [0, -1, Number.NaN]) {
      assert.throws(() => client.subscribe("t", { buffer }), /at least one event, not/);
    }
    const slow = "drop_newest" as "drop_oldest";
    assert.throws(() => client.subscribe("t", { slow }), /one of "drop_oldest" and "disconnect"/);
  });

  it("throws from the loop when the topic is not known", async () => {
    const subscription = client.subscribe("no such topic");
    await assert.rejects(subscription.next(), Unknown);
    assert.equal((await subscription.next()).done, true);
    await assert.rejects(subscription.ready, Unknown);
  });

  it("subscribes again after a restart", async () => {
    const subscription = client.subscribe<string>("t");
    await subscription.ready;
    const before = await broker.record(Kind.subscribe);
    broker.send(before.peer, [[Kind.event, 50, "t", body("old")]]);
    assert.equal((await subscription.next()).value.body, "old");
    await broker.restart();
    const { peer } = await broker.record(Kind.subscribe, 1);
    broker.send(peer, [[Kind.event, 1, "t", body("new")]]);
    const { value } = await subscription.next();
    assert.deepEqual([value.body, value.missed], ["new", 0]);
    subscription.close();
  });

  it("publishes nothing twice: an unanswered one fails with the session", async () => {
    broker.script.record = () => true;
    const publish = client.publish("t", 1);
    await broker.record(Kind.publish);
    broker.script.record = accept;
    const rejected = assert.rejects(publish, Unavailable);
    await broker.restart();
    await rejected;
    assert.equal(broker.log.filter((r) => r.record[0] === Kind.publish).length, 1);
  });
});
