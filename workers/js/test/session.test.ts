/** What connections and brokers do that user code must not notice. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { decodeMulti } from "@msgpack/msgpack";
import { Client, Malformed, Refused, TooLarge } from "../src/index.js";
import { Kind } from "../src/wire.js";
import { body, encode, type Received, TestBroker } from "./broker.js";

const submits = (broker: TestBroker) => broker.log.filter((r) => r.record[0] === Kind.submit);

/** Answers a submit with its own body. */
function answer({ peer, record, bodies }: Received, broker: TestBroker): boolean {
  if (record[0] !== Kind.submit) return false;
  const own = typeof record[4] === "number" ? [bodies[record[4] - 1]] : [];
  const reply = [Kind.result, record[1], 1, own.length > 0 ? 1 : record[4]];
  broker.send(peer, [record[5]?.[29] === 1 ? [...reply, new Map([[29, 1]])] : reply], own);
  return true;
}

describe("session", () => {
  let broker: TestBroker;
  let client: Client;
  beforeEach(async () => {
    broker = await TestBroker.start();
    client = new Client(broker.url);
  });
  afterEach(async () => {
    await client.close();
    await broker.stop();
  });

  it("sends hello alone and nothing before welcome", async () => {
    const packets: Buffer[][] = [];
    broker.script.packet = (_, frames) => {
      packets.push(frames);
      return false;
    };
    broker.script.record = answer;
    assert.equal(await client.call("echo", 1), 1);
    assert.equal(packets[0].length, 1);
    assert.deepEqual([...packets[0][0].subarray(0, 3)], [0x93, 1, 1]);
    assert.equal(packets[1][0][1], Kind.header);
  });

  it("resumes: sends again, unchanged, what did not arrive", async () => {
    const lost: Buffer[] = [];
    broker.script.packet = (_, frames) => {
      if (frames[0][1] !== Kind.header || lost.length > 0) return false;
      lost.push(Buffer.from(frames[0]));
      return true;
    };
    const result = client.call("echo", "x");
    await broker.until(() => lost.length > 0 || undefined, "the packet that is lost");
    let again: Buffer | undefined;
    broker.script.packet = (_, frames) => {
      if (frames[0][1] === Kind.header) again ??= Buffer.from(frames[0]);
      return false;
    };
    broker.script.record = answer;
    await broker.cut();
    await broker.again();
    assert.equal(await result, "x");
    assert.equal(again?.toString("hex"), lost[0].toString("hex"));
    const hello = broker.log.filter((r) => r.record[0] === Kind.hello)[1].record[2];
    assert.equal(hello.ack, 0);
    assert.equal(typeof hello.session, "number");
    assert.equal(submits(broker).length, 1);
  });

  it("resumes: takes what the broker sends again, once", async () => {
    broker.script.record = answer;
    assert.equal(await client.call("echo", 1), 1);
    const { peer } = await broker.record(Kind.submit);
    const kept = peer.kept.length > 0 ? peer.kept[0].frames : undefined;
    broker.script.record = () => false;
    const result = client.call("echo", 2);
    const second = await broker.record(Kind.submit, 1);
    await broker.cut();
    // The answer goes out while nobody is connected: only the resumed session brings it.
    broker.send(second.peer, [[Kind.result, second.record[1], 1, body(2)]]);
    await broker.again();
    assert.equal(await result, 2);
    if (kept !== undefined) broker.raw(peer.identity, kept); // an old packet once more
    broker.script.record = answer;
    assert.equal(await client.call("echo", 3), 3);
  });

  it("submits again by the same id, marked resent, when the broker was restarted", async () => {
    const result = client.call("echo", "x");
    const first = (await broker.record(Kind.submit)).record;
    broker.script.record = answer;
    await broker.restart();
    assert.equal(await result, "x");
    const second = (await broker.record(Kind.submit, 1)).record;
    assert.deepEqual(second.slice(2, 5), first.slice(2, 5));
    assert.equal(first[5], undefined);
    assert.deepEqual(second[5], { 17: true });
  });

  it("says hello again on stale_session", async () => {
    const result = client.call("echo", "x");
    const { peer } = await broker.record(Kind.submit);
    broker.script.record = answer;
    broker.sessions.clear();
    broker.raw(peer.identity, [encode([[Kind.error, 0, "stale_session", "who are you?"]])]);
    assert.equal(await result, "x");
    const hellos = broker.log.filter((r) => r.record[0] === Kind.hello);
    assert.equal(hellos.length, 2);
    assert.equal(hellos[1].record[2].session, peer.session);
  });

  it("sends again from where the broker says that a packet is missing", async () => {
    let dropped = false;
    broker.script.record = answer;
    broker.script.packet = (_, frames) => {
      if (dropped || frames[0][1] !== Kind.header) return false;
      dropped = true;
      return true;
    };
    const first = client.call("echo", 1);
    await broker.until(() => dropped || undefined, "the first packet");
    const second = client.call("echo", 2);
    assert.deepEqual(await Promise.all([first, second]), [1, 2]);
  });

  it("tells the broker that one of its packets is missing, and applies none behind it", async () => {
    const result = client.call("echo", 1);
    const { peer, record } = await broker.record(Kind.submit);
    peer.sent++; // a packet that never goes out
    broker.send(peer, [[Kind.result, record[1], 1, body("behind the gap")]]);
    const error = await broker.record(Kind.error);
    assert.deepEqual(error.record.slice(1, 3), [0, "gap"]);
    assert.deepEqual(error.record[4], { expected: 1 });
    peer.sent = 0;
    broker.send(peer, [[Kind.result, record[1], 1, body("in order")]]);
    assert.equal(await result, "in order");
  });

  it("refuses garbage whole and goes on", async () => {
    const result = client.call("echo", 1);
    const { peer, record } = await broker.record(Kind.submit);
    const good = encode([
      [Kind.header, peer.session, ++peer.sent, 1],
      [Kind.result, record[1], 1, body("not this")],
    ]);
    broker.raw(peer.identity, [Buffer.concat([good, Buffer.from([0xc1])])]);
    const error = await broker.record(Kind.error);
    assert.deepEqual(error.record.slice(1, 3), [0, "malformed"]);
    broker.raw(peer.identity, [Buffer.from("not msgpack at all")]);
    broker.send(peer, [[Kind.result, record[1], 1, body("this")]]);
    assert.equal(await result, "this");
  });

  it("refuses unknown kinds below 128, ignores others, and skips what it does not know", async () => {
    const result = client.call("echo", 1);
    const { peer, record } = await broker.record(Kind.submit);
    broker.send(peer, [
      [99, 5],
      [128, { cpu: 1 }],
      [Kind.result, record[1], 1, body("fine"), new Map([[1000, ["kept"]]]), "more", 7],
    ]);
    assert.equal(await result, "fine");
    const error = await broker.record(Kind.error);
    assert.deepEqual(error.record.slice(1, 3), [5, "unsupported"]);
    assert.deepEqual(error.record[4], { kind: 99 });
  });

  it("acknowledges what it received although it has nothing to say", async () => {
    broker.script.record = answer;
    await client.call("echo", 1);
    const { peer } = await broker.record(Kind.submit);
    await broker.until(() => peer.acked === 1 || undefined, "the lone acknowledgement");
    assert.equal(peer.received, 1);
  });

  it("submits again, later, what a broker that leaves did not run", async () => {
    const result = client.call("echo", "x");
    const { peer, record } = await broker.record(Kind.submit);
    broker.send(peer, [
      [Kind.goaway, "update"],
      [Kind.error, record[1], "shutting_down", "leaving"],
    ]);
    await broker.until(() => peer.acked >= 1 || undefined, "goaway to be read");
    const late = client.call("echo", "late"); // while it leaves: it waits
    assert.equal(submits(broker).length, 1);
    broker.script.record = answer;
    broker.send(peer, [[Kind.bye, "gone"]]);
    await broker.restart();
    assert.equal(await result, "x");
    assert.equal(await late, "late");
    const again = submits(broker).find((r) => r !== undefined && r.record[5]?.[17] === true);
    assert.deepEqual(again?.record[2], record[2]);
  });

  it("fails what was asked in a packet that the broker could not read", async () => {
    const fine = client.call("echo", "fine");
    const { peer, record } = await broker.record(Kind.submit);
    const bad = [client.call("echo", "bad"), client.query("status")].map((asked) =>
      assert.rejects(asked, (error) => error instanceof Malformed && error.details.record === 1),
    );
    await broker.record(Kind.query);
    const details = { record: 1, packet: peer.received };
    broker.send(peer, [[Kind.error, 0, "malformed", "cannot be read", details]]);
    await Promise.all(bad);
    broker.send(peer, [[Kind.result, record[1], 1, body("on")]]);
    assert.equal(await fine, "on");
  });

  it("lets what runs end at a broker that leaves, and goes on at the one that it names", async () => {
    const first = client.call("echo", "here");
    const second = client.call("echo", "there");
    const { peer, record } = await broker.record(Kind.submit);
    await broker.record(Kind.submit, 1);
    const other = await TestBroker.start({ record: answer });
    try {
      broker.send(peer, [
        [Kind.goaway, "moved", ["nonsense://", other.url]],
        [Kind.result, record[1], 1, body("here")],
      ]);
      assert.equal(await first, "here");
      broker.send(peer, [[Kind.bye]]);
      assert.equal(await second, "there");
      const { record: hello } = await other.record(Kind.hello);
      assert.equal(hello[2].session, undefined);
    } finally {
      await client.close();
      await other.stop();
    }
  });

  it("takes the end of the connection for a bye when the broker named another", async () => {
    const result = client.call("echo", "x");
    const { peer } = await broker.record(Kind.submit);
    const other = await TestBroker.start({ record: answer });
    try {
      broker.send(peer, [[Kind.goaway, "moved", [other.url]]]);
      await broker.until(() => peer.acked >= 1 || undefined, "goaway to be read");
      await broker.cut();
      assert.equal(await result, "x");
    } finally {
      await client.close();
      await other.stop();
    }
  });

  it("takes a broker that leaves and names nobody to mean itself", async () => {
    const result = client.call("echo", "x");
    const { peer } = await broker.record(Kind.submit);
    const other = await TestBroker.start();
    try {
      broker.send(peer, [[Kind.goaway, "moved", [other.url]], [Kind.bye]]);
      const there = await other.record(Kind.submit);
      other.script.record = answer;
      other.send(there.peer, [[Kind.goaway, "restart"], [Kind.bye]]);
      assert.equal(await result, "x");
      assert.equal(broker.log.filter((r) => r.record[0] === Kind.hello).length, 1);
      assert.equal(other.log.filter((r) => r.record[0] === Kind.hello).length, 2);
    } finally {
      await client.close();
      await other.stop();
    }
  });

  it("comes back when no other broker answers", async () => {
    await using impatient = new Client(broker.url, { elsewhereAfter: 50 });
    const result = impatient.call("echo", "x");
    const { peer } = await broker.record(Kind.submit);
    broker.script.record = answer;
    broker.sessions.delete(peer.session);
    broker.send(peer, [[Kind.goaway, "moved", ["tcp://127.0.0.1:1"]], [Kind.bye]]);
    assert.equal(await result, "x");
  });

  it("begins a new session after bye although the connection stays", async () => {
    const result = client.call("echo", "x");
    const { peer } = await broker.record(Kind.submit);
    broker.script.record = answer;
    broker.sessions.delete(peer.session);
    broker.send(peer, [[Kind.bye]]);
    assert.equal(await result, "x");
    const hellos = broker.log.filter((r) => r.record[0] === Kind.hello);
    assert.equal(hellos[1].record[2].session, undefined);
    assert.notDeepEqual(hellos[1].record[2].instance, hellos[0].record[2].instance);
  });

  it("keeps the broker's limits of packets", async () => {
    broker.script.welcome = (_, fields) => {
      fields.limits = { records: 3, frames: 2, frame: 2000 };
      fields.compression = "none";
    };
    broker.script.record = answer;
    const sizes: [number, number, number][] = [];
    broker.script.packet = (_, frames) => {
      const records = [...decodeMulti(frames[0])];
      sizes.push([frames[0].length, frames.length - 1, records.length - 1]);
      return false;
    };
    await client.call("echo", 0);
    const many = Array.from({ length: 40 }, (_, i) =>
      client.call("echo", i % 4 === 0 ? new Uint8Array(9000) : "x".repeat(700)),
    );
    await Promise.all(many);
    for (const [bytes, frames, records] of sizes) {
      assert.ok(bytes <= 2000, `${bytes} bytes of records`);
      assert.ok(frames <= 2, `${frames} body frames`);
      assert.ok(records <= 3, `${records} records`);
    }
    assert.ok(sizes.some(([, , records]) => records === 3));
    await assert.rejects(client.call("echo", "y".repeat(7000)), TooLarge);
  });

  it("holds back what goes over the unacknowledged bytes and refuses what cannot wait", async () => {
    broker.acknowledges = false;
    broker.script.welcome = (_, fields) => {
      fields.limits = { session_bytes: 3000, body: 2000 };
      fields.compression = "none";
    };
    const first = client.call("echo", "a".repeat(1500));
    const { peer, record } = await broker.record(Kind.submit);
    await assert.rejects(client.call("echo", "b".repeat(1900)), { code: "busy", name: "Busy" });
    broker.acknowledges = true;
    broker.send(peer, [[Kind.result, record[1], 1, body(1)]]);
    assert.equal(await first, 1);
    broker.script.record = answer;
    assert.equal((await client.call<string>("echo", "b".repeat(1900))).length, 1900);
  });

  it("gives up when the broker refuses it", async () => {
    broker.script.packet = (identity) => {
      broker.raw(identity, [encode([[Kind.error, 0, "refused", "not you"]])]);
      return true;
    };
    await assert.rejects(client.call("echo", 1), Refused);
    await assert.rejects(client.call("echo", 1), { code: "refused", message: "not you" });
  });

  it("never sends in a loop a large body that breaks each connection", async () => {
    let breaks = 0;
    broker.script.packet = (_, frames) => {
      if (frames.length < 2) return false;
      breaks++;
      void broker.cut().then(() => broker.again());
      return true;
    };
    broker.script.welcome = (_, fields) => {
      fields.compression = "none";
    };
    await assert.rejects(
      client.call("echo", new Uint8Array(2 << 20), { timeout: 20_000 }),
      TooLarge,
    );
    assert.equal(breaks, 3);
    broker.script.record = answer;
    assert.equal(await client.call("echo", 1), 1);
  });
});
