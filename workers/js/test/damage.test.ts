/**
 * Whatever bytes come, a reader gives a value or a BodyError, and a client and a worker stay what they
 * are: never another exception, never memory for lengths that lie.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readValue } from "../src/body.js";
import { BodyError, Client, TuskError, Worker } from "../src/index.js";
import { decompress } from "../src/lz4.js";
import { Reader } from "../src/msgpack/reader.js";
import { Writer } from "../src/msgpack/writer.js";
import { readWelcome } from "../src/peer.js";
import { RecordEnds } from "../src/scan.js";
import { Kind } from "../src/wire.js";
import { encode, TestBroker, type TestPeer } from "./broker.js";
import { Damage, frames, vectors } from "./damage.js";

/** How many of `cases` `takes` takes; both ways have to be gone, or the test says nothing. */
function run(cases: number, known: Buffer[], takes: (data: Buffer) => void): void {
  const damage = new Damage(1);
  let taken = 0;
  for (let i = 0; i < cases; i++) {
    const data = damage.of(known);
    try {
      takes(data);
      taken++;
    } catch (error) {
      if (error instanceof BodyError) continue;
      throw new Error(`on ${data.toString("hex")}`, { cause: error });
    }
  }
  assert.ok(taken > cases / 100 && taken < cases * 0.9, `${taken} of ${cases} were taken`);
}

const LIMIT = 1 << 20;

describe("any bytes", () => {
  it("are records or a BodyError", () => {
    const ends = new RecordEnds();
    run(10_000, [...vectors("packets"), ...vectors("malformed")], (data) => {
      const [records] = frames(data);
      const reader = new Reader(records);
      const count = ends.scan(reader);
      assert.ok(count === 0 || ends.at(count - 1) === records.length);
    });
  });

  it("are a value that can be written and read again, or a BodyError", () => {
    run(10_000, vectors("bodies"), (data) => {
      const value = readValue(data, 0, data.length, 0, false, LIMIT);
      const writer = new Writer();
      writer.value(value);
      const written = writer.detach(0);
      assert.deepStrictEqual(readValue(written, 0, written.length, 0, false, LIMIT), value);
    });
  });

  it("are JSON or a BodyError", () => {
    const known = ['{"a": [1, 2.5, "x\\u00e9"], "b": {"c": null}}', "[1e400, 9007199254740993]"];
    const bytes = known.map((text) => Buffer.from(text));
    run(5000, bytes, (data) => readValue(data, 0, data.length, 1, false, LIMIT));
  });

  it("are an LZ4 frame or a BodyError", () => {
    run(3000, vectors("lz4", "frame"), (data) => {
      assert.ok(decompress(data, LIMIT).length <= LIMIT);
    });
  });
});

describe("a welcome", () => {
  for (const fields of [null, 5, [], {}, { session: "7" }, { session: 0 }]) {
    it(`${JSON.stringify(fields)} is a BodyError`, () => {
      assert.throws(() => readWelcome(fields), BodyError);
    });
  }

  it("with fields of other types has their defaults", () => {
    const odd = {
      session: 7,
      limits: 5,
      timeout: "1",
      messages: { types: { a: null } },
      claims: 1,
    };
    const welcome = readWelcome(odd);
    assert.equal(welcome.limits.frame, 1 << 20);
    assert.equal(welcome.timeout, 5000);
    assert.equal(welcome.messages.types?.size, 1);
    assert.deepEqual(welcome.claims, []);
  });
});

// What ends a session, or is of another one, is no damage.
const ENDS: readonly number[] = [Kind.header, Kind.bye, Kind.goaway];

function endsSession(records: Buffer): boolean {
  for (let at = 0; at + 1 < records.length; at++) {
    if (records[at] >> 4 === 9 && ENDS.includes(records[at + 1])) return true;
  }
  return false;
}

/** Sends `peer` damaged packets of its session, and asks again and again whether it is still there. */
async function survives(broker: TestBroker, peer: TestPeer, seed: number): Promise<void> {
  const damage = new Damage(seed);
  const known = [...vectors("packets"), ...vectors("malformed")];
  for (let round = 1; round <= 40; round++) {
    const sent: string[] = [];
    for (let i = 0; i < 40; i++) {
      let [records, ...bodies] = frames(damage.of(known));
      if (i % 2 === 0) {
        records = encode([damage.record(), damage.record()]);
        bodies = [];
      }
      if (endsSession(records)) continue;
      sent.push(records.toString("hex"));
      const header = encode([[Kind.header, peer.session, ++peer.sent, peer.received]]);
      broker.raw(peer.identity, [Buffer.concat([header, records]), ...bodies]);
    }
    broker.send(peer, [[Kind.ping, -round]]);
    await broker.until(
      () => broker.log.some(({ record }) => record[0] === Kind.pong && record[1] === -round),
      `the pong behind one of ${sent.join(" ")}`,
    );
  }
}

describe("damaged packets leave alive", () => {
  it("a client with calls, a subscription and a stream", async () => {
    const broker = await TestBroker.start();
    const client = new Client(broker.url);
    const outcomes = Array.from({ length: 40 }, (_, i) => client.call("add", i).catch((e) => e));
    const subscription = client.subscribe("prices");
    const { peer } = await broker.record(Kind.hello);
    await broker.until(
      () => broker.log.filter(({ record }) => record[0] === Kind.submit).length >= 40,
      "the submits",
    );
    await survives(broker, peer, 1);
    await client.close();
    for (const outcome of await Promise.all(outcomes)) {
      if (outcome instanceof Error) assert.ok(outcome instanceof TuskError, String(outcome.stack));
    }
    subscription.close();
    await broker.stop();
  });

  it("a worker with runs", async () => {
    const broker = await TestBroker.start();
    const worker = new Worker({ url: broker.url, signals: false, grace: 1, slots: 4 });
    worker.task("add", (value) => value);
    const ended = worker.run();
    const { peer } = await broker.record(Kind.hello);
    await survives(broker, peer, 2);
    worker.stop();
    await ended;
    await broker.stop();
  });
});
