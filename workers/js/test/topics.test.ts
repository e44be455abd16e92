import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { decode } from "@msgpack/msgpack";
import { BodyError, Client, Unavailable, Unknown } from "../src/index.js";
import { Kind } from "../src/wire.js";
import { body, type Received, TestBroker } from "./broker.js";

/** Accepts what concerns topics. */
function accept({ peer, record }: Received, broker: TestBroker): boolean {
  const kinds: number[] = [Kind.publish, Kind.subscribe, Kind.unsubscribe];
  if (!kinds.includes(record[0])) return false;
  const known = record[2] !== "no such topic";
  const reply = known ? [Kind.accepted, record[1]] : [Kind.error, record[1], "unknown_topic", "no"];
  broker.send(peer, [reply]);
  return true;
}

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
    assert.deepEqual([count(Kind.subscribe), count(Kind.unsubscribe)], [1, 1]);
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
