import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { decode } from "@msgpack/msgpack";
import {
  type Context,
  Defer,
  DROP,
  type TuskError,
  Worker,
  type WorkerOptions,
} from "../src/index.js";
import { Kind } from "../src/wire.js";
import { body, type Rec, type Script, TestBroker, type TestPeer } from "./broker.js";

const ID = Buffer.from("018f3c2a7b1e7000800000000000002a", "hex");
const WORDS: readonly number[] = [Kind.progress, Kind.log, Kind.checkpoint, Kind.pause];

function task(handle: number, type: string, value: unknown = null, ...rest: Rec): Rec {
  return [Kind.task, handle, ID, type, 1, body(value), ...rest];
}
function item(handle: number, name: string, value: unknown): Rec {
  return [Kind.item, handle, ID, name, 1, body(value)];
}

/** For each test of a suite that calls this: a broker, and a worker when it asks for one. */
function world() {
  let broker: TestBroker;
  let worker: Worker | undefined;
  let ended: Promise<void> | undefined;

  beforeEach(async () => {
    broker = await TestBroker.start();
  });
  afterEach(async () => {
    worker?.stop();
    await ended;
    await broker.stop();
    worker = undefined;
  });

  return {
    broker: () => broker,
    start: async (
      setUp: (w: Worker) => void,
      options: WorkerOptions = {},
      script: Script = {},
    ): Promise<TestPeer> => {
      broker.script = script;
      worker = new Worker({ url: broker.url, signals: false, grace: 1, ...options });
      setUp(worker);
      ended = worker.run();
      return (await broker.record(Kind.hello)).peer;
    },
    /** The result of a run, or its putting off. */
    end: async (handle: number): Promise<Rec> => {
      const ends: readonly number[] = [Kind.result, Kind.defer];
      const found = await broker.until(
        () => broker.log.find(({ record }) => ends.includes(record[0]) && record[1] === handle),
        `the end of ${handle}`,
      );
      return found.record;
    },
    words: (): Rec[] => broker.log.map((r) => r.record).filter((r) => WORDS.includes(r[0])),
  };
}

/** A handler that does what the test says, step by step. */
class Held {
  readonly contexts: Context[] = [];
  readonly #ends: ((value: unknown) => void)[] = [];
  #begun: (() => void)[] = [];

  readonly handler = (_: unknown, context: Context): Promise<unknown> => {
    this.contexts.push(context);
    for (const tell of this.#begun.splice(0)) tell();
    return new Promise((resolve) => this.#ends.push(resolve));
  };

  async context(n: number): Promise<Context> {
    while (this.contexts.length <= n) {
      await new Promise<void>((resolve) => this.#begun.push(resolve));
    }
    return this.contexts[n];
  }

  end(n: number, value: unknown = null): void {
    this.#ends[n](value);
  }
}

describe("context", () => {
  const { broker, start, end, words } = world();

  it("says what a run says, in order and before its result", async () => {
    const peer = await start((w) =>
      w.task("speak", (_, { progress, heartbeat, log, checkpoint, clearCheckpoint, pauseType }) => {
        progress({ done: 1 });
        log("info", "half ü");
        heartbeat();
        checkpoint([1, 2]);
        checkpoint(Buffer.alloc(9000));
        clearCheckpoint();
        pauseType(1500.5);
        return "end";
      }),
    );
    broker().send(peer, [task(5, "speak")]);
    assert.equal(decode((await end(5))[3]), "end");
    assert.deepEqual(words(), [
      [Kind.progress, 5, body({ done: 1 })],
      [Kind.log, 5, 2, "half ü"],
      [Kind.progress, 5],
      [Kind.checkpoint, 5, body([1, 2])],
      [Kind.checkpoint, 5, 1],
      [Kind.checkpoint, 5, null],
      [Kind.pause, 5, 1501],
    ]);
    const records = broker().log.map((r) => r.record[0]);
    assert.equal(records.at(-1), Kind.result);
  });

  it("is heard while a plain handler computes", async () => {
    const peer = await start((w) =>
      w.task("compute", (_, context) => {
        for (let n = 0; n < 3; n++) {
          context.heartbeat();
          const until = performance.now() + 100;
          while (performance.now() < until);
        }
      }),
    );
    broker().send(peer, [task(1, "compute")]);
    await end(1);
    // The broker of this test lives in the same process, so it can only tell how many packets came.
    assert.ok(peer.received >= 3, `${peer.received} packets`);
  });

  it("tells the time that is left and what an earlier run saved", async () => {
    const peer = await start((w) =>
      w.task("look", (_, { timeLeft, lastCheckpoint, cancelReason }) => [
        timeLeft ?? null,
        lastCheckpoint ?? null,
        cancelReason ?? null,
      ]),
    );
    const terms = new Map<number, unknown>([
      [24, 2000],
      [33, body({ at: 7 })],
    ]);
    broker().send(peer, [task(1, "look", null, terms), task(2, "look")]);
    const [left, saved] = decode((await end(1))[3]) as [number, unknown];
    assert.ok(left > 1000 && left <= 2000);
    assert.deepEqual(saved, { at: 7 });
    assert.deepEqual(decode((await end(2))[3]), [null, null, null]);
    const broken = new Map<number, unknown>([
      [24, 0],
      [33, Buffer.from([0xc1])],
    ]);
    broker().send(peer, [task(3, "look", null, broken)]);
    assert.equal((await end(3))[4][2].type, "BodyError");
  });

  it("tells a handler what is too large or has no form", async () => {
    const script: Script = {
      welcome: (_, fields) => (fields.limits = { body: 1 << 20, checkpoint: 100_000 }),
    };
    const attempts: ((context: Context) => unknown)[] = [
      (c) => c.checkpoint(new Uint8Array(200_000)),
      (c) => c.progress(new Uint8Array(2 << 20)),
      (c) => c.checkpoint(new Set()),
      (c) => c.log("loud" as "info", "x"),
      (c) => c.setCost(-1),
      (c) => c.setCost(1.5),
      (c) => c.setCost(1_000_000_001),
      (c) => c.pauseType(-1),
      () => new Defer(-1),
      () => new Defer(Number.POSITIVE_INFINITY),
    ];
    const peer = await start(
      (w) =>
        w.task("large", (_, context) => {
          context.log("error", "ä".repeat(10_000));
          return attempts.map((attempt) => {
            try {
              return attempt(context);
            } catch (error) {
              return `${(error as TuskError).name}: ${(error as TuskError).message}`;
            }
          });
        }),
      {},
      script,
    );
    broker().send(peer, [task(1, "large")]);
    const told = decode((await end(1))[3]) as string[];
    assert.match(told[0], /^TooLarge: .*limit checkpoint is 100000/);
    assert.match(told[1], /^TooLarge: .*limit body is 1048576/);
    assert.match(told[2], /^BodyError/);
    assert.match(told[3], /^RangeError: .*debug, info, warning, error/);
    for (const text of told.slice(4, 7))
      assert.match(text, /^RangeError: a run's cost is a whole number from 0 to 1000000000, not/);
    for (const text of told.slice(7)) assert.match(text, /^RangeError: .*100 years/);
    const [[, , level, text]] = words();
    assert.equal(level, 4);
    assert.ok(text.endsWith("ä [cut]") && Buffer.byteLength(text) <= 16 * 1024);
  });

  it("keeps to 256 KiB when the broker does not state the limit of a checkpoint", async () => {
    const peer = await start((w) =>
      w.task("large", (_, { checkpoint }) => checkpoint(new Uint8Array(262_144))),
    );
    broker().send(peer, [task(1, "large")]);
    assert.match((await end(1))[4][2].message, /limit checkpoint is 262144/);
  });

  it("tells what a run cost, however it ends", async () => {
    const script: Script = {
      welcome: (_, fields) => Object.assign(fields, { compression_threshold: 4096 }),
    };
    const peer = await start(
      (w) =>
        w
          .task("cost", async (then, { setCost, signal }) => {
            setCost(3);
            setCost(7);
            if (then === "fail") throw new Error("no");
            if (then === "defer") throw new Defer(0);
            if (then === "stop")
              await new Promise((resolve) => signal.addEventListener("abort", resolve));
            return then === "large" ? "x".repeat(5000) : then;
          })
          .stage("drop", (_, { setCost }) => {
            setCost(0);
            return DROP;
          })
          .stage(
            "list",
            (rows: unknown[], contexts) => {
              contexts.forEach(({ setCost }, i) => setCost(i));
              return rows;
            },
            { batch: 2, wait: 60_000 },
          ),
      { slots: 4 },
      script,
    );
    const attributes = async (handle: number) => {
      const [, , state, , found] = await end(handle);
      const entries = Object.entries((found ?? {}) as object).filter(([key]) => key !== "2");
      return [state, Object.fromEntries(entries)];
    };
    broker().send(peer, [
      task(1, "cost", "end"),
      task(2, "cost", "large"),
      task(3, "cost", "fail"),
    ]);
    assert.deepEqual(await attributes(1), [1, { 49: 7 }]);
    assert.deepEqual(await attributes(2), [1, { 29: 1, 49: 7 }]);
    assert.deepEqual(await attributes(3), [2, { 49: 7 }]);
    broker().send(peer, [task(4, "cost", "defer"), task(5, "cost", "stop"), [Kind.ping, 1]]);
    assert.deepEqual(await end(4), [Kind.defer, 4, 0]);
    await broker().record(Kind.pong);
    broker().send(peer, [[Kind.cancel, 5, ID]]);
    assert.deepEqual(await attributes(5), [4, { 49: 7 }]);
    broker().send(peer, [item(6, "drop", 1), item(7, "list", 1), item(8, "list", 2)]);
    assert.deepEqual(await attributes(6), [1, { 49: 0 }]);
    assert.deepEqual(await attributes(7), [1, { 49: 0 }]);
    assert.deepEqual(await attributes(8), [1, { 49: 1 }]);
  });

  it("tells a broker that starts anew what a run cost", async () => {
    const peer = await start((w) => w.task("cost", (_, { setCost }) => setCost(7)));
    broker().acknowledges = false;
    broker().send(peer, [task(1, "cost")]);
    await end(1);
    broker().script.welcome = (_, fields) => (fields.claims = [[ID, 8]]);
    await broker().restart();
    assert.deepEqual((await end(8))[4], { 49: 7 });
  });

  it("puts runs off", async () => {
    const peer = await start(
      (w) =>
        w
          .task("plain", () => {
            throw new Defer(250);
          })
          .task("async", async () => {
            throw new Defer(0);
          })
          .stage(
            "list",
            () => {
              throw new Defer(50);
            },
            { batch: 2, wait: 60_000 },
          ),
      { slots: 4 },
    );
    broker().send(peer, [
      task(1, "plain"),
      task(2, "async"),
      item(3, "list", 1),
      item(4, "list", 2),
    ]);
    assert.deepEqual(await end(1), [Kind.defer, 1, 250]);
    assert.deepEqual(await end(2), [Kind.defer, 2, 0]);
    assert.deepEqual(await end(3), [Kind.defer, 3, 50]);
    assert.deepEqual(await end(4), [Kind.defer, 4, 50]);
  });

  const reasons: [string | undefined, "throw" | "return" | "defer", number][] = [
    [undefined, "throw", 4],
    ["cancelled", "return", 4],
    ["moved", "return", 4],
    ["something new", "return", 4],
    ["deadline", "throw", 4],
    ["run_timeout", "return", 1],
    ["deadline", "return", 1],
    ["heartbeat_timeout", "return", 1],
    ["run_timeout", "defer", 4],
  ];
  for (const [reason, then, state] of reasons) {
    it(`tells why a run is to stop: ${reason ?? "no reason"}, then ${then}`, async () => {
      const peer = await start((w) =>
        w.task("stop", async (_, context) => {
          const { signal } = context;
          await new Promise((resolve) => signal.addEventListener("abort", resolve));
          context.progress([context.cancelReason, (signal.reason as Error).message]);
          if (then === "defer") throw new Defer(1);
          if (then === "throw") throw signal.reason;
          return "in spite of it";
        }),
      );
      broker().send(peer, [task(1, "stop"), [Kind.ping, 1]]);
      await broker().record(Kind.pong);
      const attributes = reason === undefined ? [] : [new Map([[26, reason]])];
      broker().send(peer, [[Kind.cancel, 1, ID, ...attributes]]);
      assert.deepEqual((await end(1)).slice(0, 3), [Kind.result, 1, state]);
      const known = reason === undefined || reason === "something new" ? "cancelled" : reason;
      const [told, message] = decode(words()[0][2]) as [string, string];
      assert.equal(told, known);
      assert.match(message, known === "cancelled" ? /was cancelled/ : new RegExp(known));
    });
  }

  it("speaks under the handle of the session", async () => {
    const held = new Held();
    const peer = await start((w) => w.task("hold", held.handler));
    broker().send(peer, [task(1, "hold")]);
    const context = await held.context(0);
    context.progress(1);
    assert.deepEqual((await broker().record(Kind.progress)).record, [Kind.progress, 1, body(1)]);
    await broker().cut();
    await new Promise((resolve) => setTimeout(resolve, 50));
    context.progress(2); // there is no connection; it waits for one
    await broker().again();
    assert.deepEqual((await broker().record(Kind.progress, 1)).record.slice(1), [1, body(2)]);
    // A broker that starts anew knows no checkpoint: it is told the last one, under the new handle.
    context.checkpoint("a");
    context.checkpoint("b");
    await broker().record(Kind.checkpoint, 1);
    await broker().cut();
    await new Promise((resolve) => setTimeout(resolve, 50));
    context.log("warning", "between");
    broker().script.welcome = (_, fields) => (fields.claims = [[ID, 77]]);
    await broker().restart();
    const saved = await broker().record(Kind.checkpoint, 2);
    assert.deepEqual(saved.record, [Kind.checkpoint, 77, body("b")]);
    assert.deepEqual((await broker().record(Kind.log)).record, [Kind.log, 77, 3, "between"]);
    held.end(0);
    await end(77);
  });

  it("tells a broker that forgot it the checkpoint that the run came with", async () => {
    const held = new Held();
    const peer = await start((w) => w.task("hold", held.handler));
    broker().send(peer, [task(1, "hold", null, new Map([[33, body("mine")]]))]);
    await held.context(0);
    broker().script.welcome = (_, fields) => (fields.claims = [[ID, 9]]);
    await broker().restart();
    const { record } = await broker().record(Kind.checkpoint);
    assert.deepEqual(record, [Kind.checkpoint, 9, body("mine")]);
    held.end(0);
    await end(9);
  });

  it("puts a run off under the handle of a new session", async () => {
    const peer = await start((w) =>
      w.task("later", () => {
        throw new Defer(700);
      }),
    );
    broker().acknowledges = false;
    broker().send(peer, [task(1, "later")]);
    assert.deepEqual(await end(1), [Kind.defer, 1, 700]);
    broker().script.welcome = (_, fields) => (fields.claims = [[ID, 8]]);
    await broker().restart();
    assert.deepEqual(await end(8), [Kind.defer, 8, 700]);
  });

  it("says nothing when the run is over", async () => {
    const held = new Held();
    const peer = await start((w) => w.task("hold", held.handler), { slots: 2 });
    broker().send(peer, [task(1, "hold"), task(2, "hold")]);
    const over = await held.context(0);
    const moved = await held.context(1);
    held.end(0);
    await end(1);
    over.progress(1);
    over.checkpoint(1);
    over.log("info", "x");
    broker().script.welcome = (_, fields) => (fields.claims = [[ID, null]]);
    await broker().restart();
    while (moved.cancelReason === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(moved.cancelReason, "moved");
    moved.progress(2);
    moved.heartbeat();
    held.end(1);
    const { peer: again } = await broker().record(Kind.hello, 1);
    broker().send(again, [task(3, "hold")]);
    await held.context(2);
    held.end(2);
    await end(3);
    assert.deepEqual(words(), []);
  });

  it("keeps a bounded number of words while there is no broker", async () => {
    const held = new Held();
    const peer = await start((w) => w.task("hold", held.handler));
    broker().send(peer, [task(1, "hold")]);
    const context = await held.context(0);
    await broker().cut();
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (let n = 0; n < 3000; n++) {
      context.progress(n);
      context.checkpoint([n]);
    }
    context.progress(new Uint8Array(10_000));
    held.end(0); // the checkpoint goes before the result
    await broker().again();
    await end(1);
    const saved = words().filter((r) => r[0] === Kind.checkpoint);
    assert.deepEqual(saved, [[Kind.checkpoint, 1, body([2999])]]);
    assert.equal(words().length, 1000);
  });
});

describe("context in a pool", () => {
  const { broker, start, end, words } = world();
  const speakers = new URL("./fixtures/pool-speakers.js", import.meta.url);
  const pool = (w: Worker) => w.pool(speakers, { threads: 1 });

  it("speaks, is told its time, what was saved, and why it is to stop", async () => {
    const peer = await start(pool, { slots: 2 });
    const terms = new Map<number, unknown>([
      [24, 60_000],
      [33, body("saved")],
    ]);
    broker().send(peer, [task(1, "speak", null, terms)]);
    const [saved, left] = decode((await end(1))[3]) as [string, number];
    assert.equal(saved, "saved");
    assert.ok(left > 20_000 && left <= 60_000);
    assert.deepEqual(words(), [
      [Kind.progress, 1, body({ done: 1 })],
      [Kind.log, 1, 2, "line"],
      [Kind.checkpoint, 1, body([2])],
      [Kind.pause, 1, 1000],
    ]);
    broker().send(peer, [task(2, "stop")]);
    await broker().record(Kind.progress, 1);
    broker().send(peer, [[Kind.cancel, 2, ID, new Map([[26, "run_timeout"]])]]);
    assert.equal(decode((await end(2))[3]), "done");
    assert.equal(decode((await broker().record(Kind.progress, 2)).record[2]), "run_timeout");
    broker().send(peer, [task(3, "abort"), [Kind.cancel, 3, ID, new Map([[26, "deadline"]])]]);
    const [, , state] = await end(3);
    assert.ok(state === 1 || state === 4, "it may not have begun");
  });

  it("tells what runs cost", async () => {
    const peer = await start(pool, { slots: 2 });
    broker().send(peer, [task(1, "cost", false), task(2, "cost", true)]);
    assert.deepEqual((await end(1))[4], { 49: 9 });
    assert.equal((await end(2))[4][49], 9);
  });

  it("puts runs off, also in lists, and keeps to the limits", async () => {
    const script: Script = { welcome: (_, fields) => (fields.limits = { checkpoint: 1000 }) };
    const peer = await start(pool, { slots: 2 }, script);
    broker().send(peer, [task(1, "defer", 300)]);
    assert.deepEqual(await end(1), [Kind.defer, 1, 300]);
    broker().send(peer, [task(2, "large")]);
    assert.match((await end(2))[4][2].message, /limit checkpoint is 1000/);
    broker().send(peer, [item(3, "list", "a"), item(4, "list", "defer")]);
    assert.deepEqual(await end(3), [Kind.defer, 3, 50]);
    assert.deepEqual(await end(4), [Kind.defer, 4, 50]);
    assert.deepEqual(words(), [
      [Kind.progress, 3, body("a")],
      [Kind.progress, 4, body("defer")],
    ]);
    broker().send(peer, [task(5, "late")]);
    await end(5);
    await new Promise((resolve) => setTimeout(resolve, 60));
    broker().send(peer, [task(6, "defer", 1)]);
    await end(6);
    assert.equal(words().length, 2);
  });
});
