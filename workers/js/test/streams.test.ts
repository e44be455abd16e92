import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { decode } from "@msgpack/msgpack";
import {
  Client,
  type Context,
  StreamBroken,
  type StreamOptions,
  StreamRestarted,
  TaskFailed,
  TuskError,
  Worker,
} from "../src/index.js";
import { Kind } from "../src/wire.js";
import { body, type Rec, type Received, TestBroker, type TestPeer } from "./broker.js";

const ID = Buffer.from("018f3c2a7b1e7000800000000000002a", "hex");
const attributes = (entries: [number, unknown][]) => new Map(entries);

function* upTo(n: number): Generator<number, string> {
  for (let i = 1; i <= n; i++) yield i;
  return "end";
}

describe("streams of a worker", () => {
  let broker: TestBroker;
  let worker: Worker;
  let ended: Promise<void>;
  beforeEach(async () => {
    broker = await TestBroker.start();
    worker = new Worker({ url: broker.url, signals: false, grace: 1 });
  });
  afterEach(async () => {
    worker.stop();
    await ended;
    await broker.stop();
  });

  const run = async (): Promise<TestPeer> => {
    ended = worker.run();
    return (await broker.record(Kind.hello)).peer;
  };
  const task = (value: unknown, credit?: number): Rec => [
    Kind.task,
    1,
    ID,
    "count",
    1,
    body(value),
    ...(credit === undefined ? [] : [attributes([[75, credit]])]),
  ];
  const kinds = () => broker.log.map(({ record }) => record[0]);
  const end = async (): Promise<Rec> => (await broker.record(Kind.result)).record;

  const handlers: Record<string, (w: Worker) => unknown> = {
    "an async function": (w) =>
      w.task("count", async (n: number, context: Context) => {
        try {
          for (let i = 1; i <= n; i++) await context.send(i);
          return "end";
        } finally {
          context.progress(context.cancelReason ?? null);
        }
      }),
    "an async generator function": (w) =>
      w.task("count", async function* (n: number, context: Context) {
        try {
          yield* upTo(n);
          return "end";
        } finally {
          context.progress(context.cancelReason ?? null);
        }
      }),
    "a generator function": (w) =>
      w.task("count", function* (n: number, context: Context) {
        try {
          return yield* upTo(n);
        } finally {
          context.progress(context.cancelReason ?? null);
        }
      }),
    "a function in a pool's thread": (w) =>
      w.pool(new URL("./fixtures/pool-streams.js", import.meta.url), { threads: 1 }),
  };
  for (const [name, register] of Object.entries(handlers)) {
    it(`${name} waits for credit; its chunks come before its result`, async () => {
      register(worker);
      const peer = await run();
      broker.send(peer, [task(5, 2)]);
      assert.deepEqual(decode((await broker.record(Kind.chunk, 1)).record[2]), 2);
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.equal(kinds().filter((kind) => kind === Kind.chunk).length, 2);
      broker.send(peer, [[Kind.credit, 1, 1]]);
      await broker.record(Kind.chunk, 2);
      broker.send(peer, [[Kind.credit, 1, 10]]);
      assert.equal(decode((await end())[3]), "end");
      const of: number[] = [Kind.chunk, Kind.progress, Kind.result];
      const told = kinds().filter((kind) => of.includes(kind));
      assert.deepEqual(told, [...Array(5).fill(Kind.chunk), Kind.progress, Kind.result]);
    });

    it(`${name} sends nothing without a stream`, async () => {
      register(worker);
      broker.send(await run(), [task(5)]);
      assert.equal(decode((await end())[3]), "end");
      assert.ok(!kinds().includes(Kind.chunk));
    });

    it(`${name} that waits for credit is cancelled`, async () => {
      register(worker);
      const peer = await run();
      broker.send(peer, [task(5, 1)]);
      await broker.record(Kind.chunk);
      broker.send(peer, [[Kind.cancel, 1, ID, attributes([[26, "deadline"]])]]);
      assert.equal(decode((await broker.record(Kind.progress)).record[2]), "deadline");
      assert.deepEqual((await end()).slice(1, 3), [1, 4]);
    });
  }

  it("have credit anew when their run was adopted, and go on when nobody wants them", async () => {
    handlers["an async function"](worker);
    broker.send(await run(), [task(4, 2)]);
    await broker.record(Kind.chunk, 1);
    broker.script.welcome = (_, fields) => {
      fields.claims = [[ID, 9]];
    };
    await broker.restart();
    const { peer, record } = await broker.record(Kind.chunk, 3);
    assert.deepEqual([record[1], decode(record[2])], [9, 4]);
    await end();
    broker.send(peer, [task(100, 1)]);
    await broker.record(Kind.chunk, 4);
    broker.send(peer, [[Kind.error, 1, "invalid", "nobody asked", { field: "stream" }]]);
    assert.equal((await broker.record(Kind.result, 1)).record[1], 1);
  });

  it("are compressed, get frames of their own, and keep the limit of a body", async () => {
    worker.task("count", async (_, { send }) => {
      await send("x".repeat(20_000));
      await send(Buffer.from(Array.from({ length: 10_000 }, (__, i) => (i * i * 7919) >> 5)));
      await send(new Set()).catch(async () => send("no set"));
      return send(Buffer.alloc(2_000_000)).catch((error: TuskError) => error.code);
    });
    broker.script.welcome = (_, fields) => {
      fields.compression_threshold = 15_000;
      fields.limits = { body: 1 << 20 };
    };
    broker.send(await run(), [task(null, 9)]);
    const packed = await broker.record(Kind.chunk);
    assert.deepEqual(packed.record[3], { 29: 1 });
    const { record, bodies } = await broker.record(Kind.chunk, 1);
    assert.equal(record.length, 3);
    assert.equal((decode(bodies[record[2] - 1]) as Uint8Array).length, 10_000);
    assert.equal(decode((await broker.record(Kind.chunk, 2)).record[2]), "no set");
    assert.equal(decode((await end())[3]), "too_large");
  });
});

describe("streams of a client", () => {
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

  /** Reads a stream to its end: what it saw, and the result or the error. */
  async function read(options?: StreamOptions, take?: number): Promise<[unknown[], unknown]> {
    const stream = client.stream("t", 1, options);
    const seen: unknown[] = [];
    for (;;) {
      try {
        for await (const chunk of stream) {
          seen.push(chunk);
          if (seen.length === take) return [seen, undefined];
        }
        return [seen, await stream.result];
      } catch (error) {
        if (error instanceof StreamRestarted) seen.push(`restarted ${error.attempt}`);
        else if (error instanceof StreamBroken) seen.push(`missing ${error.missing}`);
        else return [seen, error];
      }
    }
  }

  const chunk = (n: number, index: number, attempt = 1): Rec => [
    Kind.chunk,
    n,
    body(index),
    attributes([
      [4, attempt],
      [32, index],
    ]),
  ];
  const result = (n: number, chunks: number): Rec => [
    Kind.result,
    n,
    1,
    body("end"),
    attributes([[34, chunks]]),
  ];
  const submit = (n = 0): Promise<Received> => broker.record(Kind.submit, n);

  it("give credit as chunks are taken", async () => {
    const reading = read({ window: 4, priority: "high" });
    const { peer, record } = await submit();
    assert.deepEqual(record[5], { 75: 4, 51: 10 });
    const n = record[1];
    broker.send(peer, [chunk(n, 1)]);
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.ok(!broker.log.some((r) => r.record[0] === Kind.credit));
    broker.send(peer, [chunk(n, 2), chunk(n, 3)]);
    assert.deepEqual((await broker.record(Kind.credit)).record, [Kind.credit, n, record[2], 2]);
    broker.send(peer, [chunk(n, 4), result(n, 4)]);
    assert.deepEqual(await reading, [[1, 2, 3, 4], "end"]);
  });

  const courses: [string, (n: number) => Rec[], unknown[]][] = [
    [
      "tell once of another attempt",
      (n) => [
        chunk(n, 1),
        chunk(n, 2),
        chunk(n, 1, 2),
        chunk(n, 1, 3),
        chunk(n, 2, 3),
        result(n, 2),
      ],
      [1, 2, "restarted 2", 1, "restarted 3", 1, 2],
    ],
    ["do not tell of an attempt that sent nothing", (n) => [chunk(n, 1, 2), result(n, 1)], [1]],
    [
      "tell of a last attempt that sent nothing",
      (n) => [chunk(n, 1), result(n, 0)],
      [1, "restarted 2"],
    ],
    [
      "tell of what is missing",
      (n) => [chunk(n, 1), chunk(n, 4), result(n, 6)],
      [1, "missing 2", 4, "missing 2"],
    ],
  ];
  for (const [name, told, seen] of courses) {
    it(name, async () => {
      const reading = read();
      const { peer, record } = await submit();
      broker.send(peer, told(record[1] as number));
      assert.deepEqual(await reading, [seen, "end"]);
    });
  }

  it("raise the error of a run behind its chunks", async () => {
    const reading = read();
    const { peer, record } = await submit();
    const error = attributes([[2, { type: "Broken", message: "no" }]]);
    broker.send(peer, [chunk(record[1], 1), [Kind.result, record[1], 2, null, error]]);
    const [seen, raised] = await reading;
    assert.deepEqual(seen, [1]);
    assert.ok(raised instanceof TaskFailed && raised.remote.type === "Broken");
  });

  it("cancel their task when the loop is left", async () => {
    const reading = read({}, 1);
    const { peer, record } = await submit();
    broker.send(peer, [chunk(record[1], 1), chunk(record[1], 2)]);
    assert.deepEqual((await broker.record(Kind.cancel)).record[2], record[2]);
    assert.deepEqual(await reading, [[1], undefined]);
  });

  it("are asked for again in a new session", async () => {
    const reading = read({ window: 2 });
    const { peer, record } = await submit();
    broker.send(peer, [chunk(record[1], 1)]);
    await broker.record(Kind.credit);
    await broker.restart();
    const again = await submit(1);
    assert.deepEqual(again.record[5], { 75: 2, 17: true });
    const n = again.record[1];
    broker.send(again.peer, [chunk(n, 2), result(n, 2)]);
    assert.deepEqual(await reading, [[1, 2], "end"]);
  });

  it("have a window of 1 to 1,024 chunks", () => {
    for (const window of [0, 1025, 1.5]) {
      assert.throws(
        () => client.stream("t", 1, { window }),
        /window is a whole number from 1 to 1024/,
      );
    }
  });
});
