import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, it } from "node:test";
import { decode } from "@msgpack/msgpack";
import { type Context, DROP, NoRetry, Worker, type WorkerOptions } from "../src/index.js";
import { Kind } from "../src/wire.js";
import { body, type Rec, TestBroker, type TestPeer } from "./broker.js";

const ID = Buffer.from("018f3c2a7b1e7000800000000000002a", "hex");

describe("worker", () => {
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
    ended = undefined;
  });

  /** Starts a worker and resolves to its peer once it said hello. */
  async function start(setUp: (w: Worker) => void, options: WorkerOptions = {}): Promise<TestPeer> {
    worker = new Worker({ url: broker.url, signals: false, ...options });
    setUp(worker);
    ended = worker.run();
    const { peer } = await broker.record(Kind.hello);
    return peer;
  }

  const task = (handle: number, type: string, value: unknown, ...rest: Rec): Rec => [
    Kind.task,
    handle,
    ID,
    type,
    1,
    body(value),
    ...rest,
  ];

  const result = async (handle: number): Promise<Rec> => {
    const found = await broker.until(
      () => broker.log.find((r) => r.record[0] === Kind.result && r.record[1] === handle),
      `the result of ${handle}`,
    );
    return found.record;
  };

  it("says who it is and what it runs", async () => {
    const { hello } = await start((w) => w.task("add", () => 1).stage("clean", () => 1), {
      slots: 3,
      pool: "front",
      name: "w1",
    });
    assert.equal(hello.role, "worker");
    assert.deepEqual(hello.types, ["add"]);
    assert.deepEqual(hello.handlers, ["clean"]);
    assert.equal(hello.slots, 3);
    assert.equal(hello.pool, "front");
    assert.equal(hello.name, "w1");
    assert.equal(hello.language, "javascript");
    assert.equal(hello.instance.length, 16);
    assert.equal(hello.pid, process.pid);
    assert.equal(hello.acks, true);
    assert.deepEqual(hello.capabilities, []);
  });

  it("tells when the broker has taken it, or never will", async () => {
    const early = new Worker({ url: broker.url, signals: false });
    await start((w) => w.task("add", () => 1));
    await worker!.ready;
    assert.equal(worker!.isConnected, true);
    const refused = assert.rejects(early.ready, /ended before a broker took it/);
    await assert.rejects(early.run(), /without handlers/);
    await refused;
  });

  it("runs plain and async handlers", async () => {
    const peer = await start(
      (w) =>
        w
          .task<{ a: number; b: number }, number>("add", ({ a, b }) => a + b)
          .task("later", async (n: number) => n * 2),
      { slots: 2 },
    );
    broker.send(peer, [task(1, "add", { a: 1, b: 2 }), task(2, "later", 21)]);
    assert.deepEqual((await result(1)).slice(2, 3), [1]);
    assert.equal(decode((await result(1))[3]), 3);
    assert.equal(decode((await result(2))[3]), 42);
  });

  it("tells a handler what it runs", async () => {
    let seen: Context | undefined;
    const peer = await start((w) =>
      w.task("look", (_: null, context) => {
        seen = context;
      }),
    );
    broker.send(peer, [[Kind.task, 1, ID, "look", 3, body(null)]]);
    await result(1);
    assert.equal(seen?.id, "018f3c2a-7b1e-7000-8000-00000000002a");
    assert.equal(seen?.type, "look");
    assert.equal(seen?.attempt, 3);
    assert.equal(seen?.signal.aborted, false);
  });

  it("fails the runs whose results were in a packet that the broker could not read", async () => {
    const peer = await start((w) => w.task("echo", (value) => value));
    // As a broker does: the same packet acknowledges the one that it refuses.
    const refuse = () => {
      const details = { record: 1, packet: peer.received };
      broker.send(peer, [[Kind.error, 0, "malformed", "no such byte", details]]);
    };
    for (const [n, acknowledges] of [false, true].entries()) {
      broker.acknowledges = false;
      broker.send(peer, [task(n, "echo", n)]);
      assert.equal((await broker.record(Kind.result, 2 * n)).record[2], 1);
      broker.acknowledges = acknowledges;
      refuse();
      broker.acknowledges = false;
      const { record } = await broker.record(Kind.result, 2 * n + 1);
      assert.deepEqual(record.slice(0, 4), [Kind.result, n, 2, null]);
      assert.equal(record[4][2].type, "Malformed");
      assert.match(record[4][2].message, /^the broker refused .* the result: no such byte$/);
      assert.equal(record[4][57], true);
    }
    refuse(); // such an answer is not answered again
    broker.send(peer, [[Kind.ping, 7]]);
    await broker.record(Kind.pong);
    assert.equal(broker.log.filter((r) => r.record[0] === Kind.result).length, 4);
  });

  it("fails a run with what the handler threw", async () => {
    const peer = await start((w) =>
      w
        .task("bad", () => {
          throw new RangeError("no ümber");
        })
        .task("final", async () => {
          throw new NoRetry("never");
        })
        .task("text", () => {
          throw "just text";
        }),
    );
    broker.send(peer, [task(1, "bad", null), task(2, "final", null), task(3, "text", null)]);
    const [, , state, none, attributes] = await result(1);
    assert.equal(state, 2);
    assert.equal(none, null);
    assert.equal(attributes[2].type, "RangeError");
    assert.equal(attributes[2].message, "no ümber");
    assert.equal(attributes[2].language, "javascript");
    assert.match(attributes[2].stack, /worker\.test/);
    assert.equal(attributes[57], undefined);
    assert.equal((await result(2))[4][57], true);
    assert.equal((await result(3))[4][2].message, "just text");
  });

  it("fails, for good, what it cannot read or write, and goes on", async () => {
    const peer = await start((w) =>
      w
        .task("echo", (value) => value)
        .task("set", () => new Set([1]))
        .task("deep", () => 1),
    );
    const bomb = Buffer.from("04224d18604082e0ffffff", "hex");
    broker.send(peer, [
      [Kind.task, 1, ID, "echo", 1, Buffer.from([0xc1])],
      [Kind.task, 2, ID, "echo", 1, bomb, new Map([[29, 1]])],
      task(3, "set", null),
      task(4, "nobody", null),
      task(5, "echo", "fine", new Map([[1, 1000]])),
      task(6, "echo", "fine"),
    ]);
    for (const handle of [1, 2, 3, 4, 5]) {
      const record = await result(handle);
      assert.equal(record[2], 2, `state of ${handle}`);
      assert.equal(record[4][57], true, `no_retry of ${handle}`);
    }
    assert.match((await result(3))[4][2].message, /Set/);
    assert.equal(decode((await result(6))[3]), "fine");
    const errors = broker.log.filter((r) => r.record[0] === Kind.error);
    assert.deepEqual(errors, [], "an error record answers no task");
  });

  it("sends a large result as a frame of its own, compressed when that is smaller", async () => {
    const noise = randomBytes(20_000);
    const peer = await start((w) =>
      w.task("zeros", () => new Uint8Array(50_000)).task("noise", () => noise),
    );
    broker.send(peer, [task(1, "zeros", null), task(2, "noise", null)]);
    const zeros = await result(1);
    assert.equal(zeros[4][29], 1);
    assert.ok(zeros[3] instanceof Uint8Array && zeros[3].length < 1000);
    const other = await broker.until(() =>
      broker.log.find((r) => r.record[0] === Kind.result && r.record[1] === 2),
    );
    assert.equal(other.record[3], 1);
    assert.equal(other.bodies.length, 1);
  });

  it("sends no second result after one that the broker refused", async () => {
    const peer = await start((w) => w.task("echo", (value) => value));
    broker.send(peer, [task(1, "echo", "x")]);
    await result(1);
    broker.send(peer, [
      [Kind.error, 1, "too_large", "over 10 bytes", { limit: "body" }],
      [Kind.ping, 7],
    ]);
    await broker.record(Kind.pong);
    broker.send(peer, [task(2, "echo", "y")]);
    await result(2);
    assert.equal(broker.log.filter((r) => r.record[0] === Kind.result).length, 2);
  });

  it("runs at most its slots at once and gives back on recall what has not begun", async () => {
    const release: (() => void)[] = [];
    let begun = 0;
    const peer = await start(
      (w) =>
        w.task("hold", () => {
          begun++;
          return new Promise<void>((resolve) => release.push(resolve));
        }),
      { slots: 2 },
    );
    broker.send(
      peer,
      [1, 2, 3, 4].map((handle) => task(handle, "hold", null)),
    );
    broker.send(peer, [[Kind.recall, 9, [1, 3, 77]]]);
    const { record } = await broker.record(Kind.returned);
    assert.deepEqual(record, [Kind.returned, 9, [3]]);
    assert.equal(begun, 2);
    release.shift()!();
    await result(1);
    release.shift()!();
    await result(2);
    release.shift()!();
    await result(4);
    assert.equal(begun, 3);
  });

  it("cancels what waits and tells what runs", async () => {
    let aborted = false;
    const peer = await start((w) =>
      w.task(
        "hold",
        (_, { signal }) =>
          new Promise((_resolve, reject) => {
            signal.addEventListener("abort", () => {
              aborted = true;
              reject(signal.reason);
            });
          }),
      ),
    );
    broker.send(peer, [task(1, "hold", null), task(2, "hold", null)]);
    broker.send(peer, [[Kind.cancel, 2, ID]]);
    assert.deepEqual(await result(2), [Kind.result, 2, 4]);
    broker.send(peer, [[Kind.cancel, 1, ID]]);
    assert.deepEqual(await result(1), [Kind.result, 1, 4]);
    assert.equal(aborted, true);
  });

  it("answers ping while handlers run", async () => {
    const peer = await start((w) => w.task("hold", () => new Promise(() => undefined)), {
      grace: 1,
    });
    broker.send(peer, [task(1, "hold", null), [Kind.ping, 12]]);
    assert.deepEqual((await broker.record(Kind.pong)).record, [Kind.pong, 12]);
  });

  it("handles items, drops them, and takes them in lists", async () => {
    const lists: number[] = [];
    const peer = await start(
      (w) =>
        w
          .stage("one", (n: number) => (n % 2 === 0 ? DROP : n + 1))
          .stage(
            "many",
            (items: number[]) => {
              lists.push(items.length);
              return items.map((n) => (n === 2 ? DROP : n * 10));
            },
            { batch: 3, wait: 1 },
          ),
      { slots: 10 },
    );
    const item = (handle: number, name: string, value: unknown): Rec => [
      Kind.item,
      handle,
      ID,
      name,
      1,
      body(value),
    ];
    broker.send(peer, [item(1, "one", 1), item(2, "one", 2)]);
    assert.equal(decode((await result(1))[3]), 2);
    assert.deepEqual(await result(2), [Kind.result, 2, 1]);
    broker.send(
      peer,
      [1, 2, 3, 4].map((n) => item(10 + n, "many", n)),
    );
    assert.equal(decode((await result(11))[3]), 10);
    assert.deepEqual(await result(12), [Kind.result, 12, 1]);
    assert.equal(decode((await result(14))[3]), 40);
    assert.deepEqual(lists, [3, 1]);
  });

  it("hands a list over at once when one of its items ran before", async () => {
    const lists: string[][] = [];
    const peer = await start(
      (w) =>
        w.stage(
          "list",
          (items: string[]) => {
            lists.push(items);
            return items;
          },
          { batch: 2, wait: 60_000 },
        ),
      { slots: 10 },
    );
    const item = (handle: number, attempt: number, value: string): Rec => [
      Kind.item,
      handle,
      ID,
      "list",
      attempt,
      body(value),
    ];
    broker.send(peer, [item(1, 2, "suspect")]);
    await result(1);
    broker.send(peer, [item(2, 1, "a"), item(3, 1, "b"), item(4, 3, "again")]);
    await result(4);
    assert.deepEqual(lists, [["suspect"], ["a", "b"], ["again"]]);
  });

  it("takes tasks in lists; a stage of the same name has lists of its own", async () => {
    const list = (bodies: unknown[]) => bodies.map((value) => [value, bodies.length]);
    const peer = await start((w) =>
      w
        .task("list", list, { batch: 3, wait: 60_000 })
        .stage("list", list, { batch: 2, wait: 60_000 }),
    );
    assert.equal(peer.hello.slots, 3);
    broker.send(peer, [task(1, "list", 1), task(2, "list", 2), task(3, "list", 3)]);
    for (const handle of [1, 2, 3])
      assert.deepEqual(decode((await result(handle))[3]), [handle, 3]);
    const item = (handle: number): Rec => [Kind.item, handle, ID, "list", 1, body(handle)];
    broker.send(peer, [item(4), item(5)]);
    for (const handle of [4, 5]) assert.deepEqual(decode((await result(handle))[3]), [handle, 2]);
  });

  it("tells of batches that cannot be when they are registered", () => {
    const bad: [object, WorkerOptions, RegExp][] = [
      [{ batch: 0 }, {}, /batch is a whole number from 1, not 0/],
      [{ batch: 1.5 }, {}, /batch is a whole number from 1, not 1.5/],
      [{ batch: 2, wait: -1 }, {}, /wait is 0 to/],
      [{ batch: 2, wait: "1s" }, {}, /wait is a number of ms/],
      [{ batch: 5 }, { slots: 4 }, /a batch of 5 is larger than the 4 slots/],
    ];
    for (const [options, own, message] of bad) {
      const w = new Worker({ url: broker.url, ...own });
      const given = options as { batch: number };
      assert.throws(() => w.task("x", (bodies) => bodies, given), message);
      assert.throws(() => w.stage("x", (bodies) => bodies, given), message);
    }
    process.env.TUSK_SLOTS = "4";
    try {
      const w = new Worker({ url: broker.url }).task("fits", (bodies) => bodies, { batch: 4 });
      const large = { batch: 5 };
      assert.throws(() => w.task("x", (bodies) => bodies, large), /than the 4 slots/);
    } finally {
      delete process.env.TUSK_SLOTS;
    }
  });

  it("announces the labels of its environment and its own", async () => {
    process.env.TUSK_LABELS = '{"region": "eu", "gpu": 2}';
    try {
      const { hello } = await start((w) => w.task("x", () => 1), {
        labels: { gpu: 4, disk: "ssd" },
      });
      assert.deepEqual(hello.labels, { region: "eu", gpu: 4, disk: "ssd" });
    } finally {
      delete process.env.TUSK_LABELS;
    }
  });

  it("tells of labels that no worker may have at the start", () => {
    const many = (count: number) => Object.fromEntries(Array(count).fill(1).entries());
    const bad: [string, unknown, RegExp][] = [
      ["{region: eu}", undefined, /TUSK_LABELS is not JSON/],
      ["[1]", undefined, /TUSK_LABELS is an object/],
      ["null", undefined, /TUSK_LABELS is an object/],
      ['{"gpu": 1.5}', undefined, /TUSK_LABELS.gpu is a whole number/],
      ['{"gpu": -1}', undefined, /TUSK_LABELS.gpu is a whole number from 0 to 1000000000, not -1/],
      ['{"region": ""}', undefined, /TUSK_LABELS.region is Unicode text of 1 to 255/],
      ["", { gpu: null }, /labels.gpu is text or a whole number/],
      ["", many(33), /labels has at most 32 entries, not 33/],
      ['{"a": 1}', many(32), /at most 32 names, not 33/],
    ];
    for (const [told, labels, message] of bad) {
      process.env.TUSK_LABELS = told;
      try {
        assert.throws(() => new Worker({ labels: labels as Record<string, string> }), message);
      } finally {
        delete process.env.TUSK_LABELS;
      }
    }
  });

  it("shows a handler the labels of its task", async () => {
    const peer = await start((w) => w.task("labels", (_, { labels }) => labels), { slots: 2 });
    assert.equal("labels" in peer.hello, false);
    const labels = { customer: "acme" };
    broker.send(peer, [task(1, "labels", null, new Map([[18, labels]])), task(2, "labels", null)]);
    assert.deepEqual(decode((await result(1))[3]), labels);
    assert.deepEqual(decode((await result(2))[3]), {});
  });

  // A result that nobody acknowledged would make another worker run the task again.
  it("gives a slow broker time to acknowledge its last results", async () => {
    const peer = await start((w) => w.task("echo", (value) => value));
    broker.acknowledges = false;
    broker.send(peer, [task(1, "echo", 1)]);
    await result(1);
    broker.send(peer, [[Kind.drain, "reload"]]);
    let hasEnded = false;
    void ended!.then(() => {
      hasEnded = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 2500));
    assert.equal(hasEnded, false);
    broker.acknowledges = true;
    broker.send(peer, [[Kind.ping, 1]]);
    await broker.record(Kind.bye);
    await ended;
  });

  it("does not wait for a broker that is gone", async () => {
    const peer = await start((w) => w.task("echo", (value) => value), { grace: 60_000 });
    broker.acknowledges = false;
    broker.send(peer, [task(1, "echo", 1)]);
    await result(1);
    await broker.cut();
    worker!.stop();
    await ended;
  });

  it("ends in an orderly way when drained", async () => {
    let finish: (() => void) | undefined;
    const peer = await start((w) =>
      w.task(
        "hold",
        () =>
          new Promise<void>((resolve) => {
            finish = resolve;
          }),
      ),
    );
    broker.send(peer, [task(1, "hold", null), task(2, "hold", null)]);
    broker.send(peer, [[Kind.drain, "maintenance"]]);
    assert.deepEqual((await broker.record(Kind.returned)).record, [Kind.returned, 0, [2]]);
    broker.send(peer, [task(3, "hold", null)]);
    assert.deepEqual((await broker.record(Kind.returned, 1)).record, [Kind.returned, 0, [3]]);
    finish!();
    await result(1);
    await broker.record(Kind.bye);
    await ended;
    assert.equal(broker.log.at(-1)!.record[0], Kind.bye);
  });
});
