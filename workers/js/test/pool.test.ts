import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { decode } from "@msgpack/msgpack";
import { Worker, type WorkerOptions } from "../src/index.js";
import { Kind } from "../src/wire.js";
import { body, type Rec, TestBroker, type TestPeer } from "./broker.js";

const ID = Buffer.from("018f3c2a7b1e7000800000000000002a", "hex");

/** For each test of the suite that calls this: a worker with a pool, and what the broker says and hears. */
function workerWithPool(module: string, threads: number, options: WorkerOptions = {}) {
  let broker: TestBroker;
  let worker: Worker;
  let ended: Promise<void>;
  let peer: TestPeer;

  beforeEach(async () => {
    broker = await TestBroker.start();
    worker = new Worker({ url: broker.url, signals: false, grace: 1, ...options });
    worker.pool(new URL(`./fixtures/${module}`, import.meta.url), { threads });
    ended = worker.run();
    peer = (await broker.record(Kind.hello)).peer;
  });
  afterEach(async () => {
    worker.stop();
    await ended;
    await broker.stop();
  });

  return {
    url: () => broker.url,
    hello: () =>
      peer.hello as Record<"types" | "handlers" | "capabilities", string[]> & { slots: number },
    send: (...records: Rec[]) => broker.send(peer, records),
    heard: async (kind: number): Promise<Rec> => (await broker.record(kind)).record,
    result: async (handle: number): Promise<Rec> => {
      const found = await broker.until(
        () => broker.log.find((r) => r.record[0] === Kind.result && r.record[1] === handle),
        `the result of ${handle}`,
      );
      return found.record;
    },
  };
}

describe("pool", () => {
  const { url, hello, send, heard, result } = workerWithPool("pool-handlers.js", 2);

  const task = (handle: number, type: string, value: unknown = null): Rec => [
    Kind.task,
    handle,
    ID,
    type,
    1,
    body(value),
  ];

  it("announces what its module exports, a slot for each thread, and lookahead", () => {
    assert.ok(hello().types.includes("spin"));
    assert.deepEqual(hello().handlers, ["odd"]);
    assert.equal(hello().slots, 2);
    assert.deepEqual(hello().capabilities, ["lookahead"]);
  });

  it("runs in threads of its own, values whole", async () => {
    const value = { text: "ä", list: [1, 2.5, null], bytes: new Uint8Array([1, 2]) };
    send(task(1, "thread"), task(2, "echo", value), task(3, "zeros"));
    assert.notEqual(decode((await result(1))[3]), 0);
    const echoed = decode((await result(2))[3]) as typeof value;
    assert.deepEqual({ ...echoed, bytes: new Uint8Array(echoed.bytes) }, value);
    assert.deepEqual((await result(3))[4], { 29: 1 });
  });

  it("computes without holding up the socket, and sees a cancel while it does", async () => {
    send(task(1, "spin"), task(2, "spin"), task(3, "echo", 3), task(4, "echo", 4));
    send([Kind.ping, 5]);
    await heard(Kind.pong);
    send([Kind.recall, 1, [1, 3]]);
    assert.deepEqual(await heard(Kind.returned), [Kind.returned, 1, [3]]);
    send([Kind.cancel, 1, ID]);
    assert.deepEqual(await result(1), [Kind.result, 1, 4]);
    assert.equal(decode((await result(4))[3]), 4);
    send([Kind.cancel, 2, ID]);
    await result(2);
    send(task(5, "wait"));
    send([Kind.cancel, 5, ID]);
    assert.deepEqual(await result(5), [Kind.result, 5, 4]);
  });

  it("fails with what was thrown, and for good where another run is in vain", async () => {
    const unreadable: Rec = [Kind.task, 3, ID, "echo", 1, Buffer.from([0xc1])];
    send(task(1, "fail"), task(2, "unwritable"), unreadable);
    assert.equal((await result(1))[4][2].message, "not here");
    for (const handle of [1, 2, 3]) assert.equal((await result(handle))[4][57], true);
  });

  it("fails a run whose thread ended, says so, and replaces the thread", async () => {
    send(task(1, "exit"), task(2, "throwLater"));
    const [, , state, , attributes] = await result(1);
    assert.equal(state, 2);
    assert.equal(attributes[59], true);
    assert.match(attributes[2].message, /exit code 3/);
    assert.match((await result(2))[4][2].message, /out of the blue/);
    send(task(3, "echo", 3), task(4, "echo", 4));
    assert.equal(decode((await result(3))[3]), 3);
    assert.equal(decode((await result(4))[3]), 4);
  });

  it("handles items", async () => {
    send([Kind.item, 1, ID, "odd", 1, body(1)], [Kind.item, 2, ID, "odd", 1, body(2)]);
    assert.equal(decode((await result(1))[3]), 1);
    assert.deepEqual(await result(2), [Kind.result, 2, 1]);
  });

  it("does not start with a module that cannot be loaded", async () => {
    const broken = new Worker({ url: url(), signals: false });
    broken.pool(new URL("./fixtures/nothing-here.js", import.meta.url), { threads: 1 });
    await assert.rejects(broken.run(), /nothing-here\.js.*Cannot find module/s);
    const empty = new Worker({ url: url(), signals: false });
    empty.pool(new URL("./broker.js", import.meta.url), { threads: 1 });
    await assert.rejects(empty.run(), /neither "tasks" nor "stages"/);
  });
});

describe("lists in a pool", () => {
  const { hello, send, result } = workerWithPool("pool-lists.js", 1, { slots: 8 });

  const item = (handle: number, name: string, value: unknown, attempt = 1): Rec => [
    Kind.item,
    handle,
    ID,
    name,
    attempt,
    body(value),
  ];

  it("announces them, and that it does not look ahead", () => {
    assert.deepEqual(hello().handlers, ["many", "spin", "wait"]);
    assert.deepEqual(hello().capabilities, []);
  });

  it("gets them as they are full or due, and answers each item", async () => {
    send(...["a", "drop", "set", "late"].map((value, i) => item(i + 1, "many", value)));
    assert.deepEqual(decode((await result(1))[3]), ["a", ["a", "drop", "set"]]);
    assert.deepEqual(await result(2), [Kind.result, 2, 1]);
    const [, , state, , attributes] = await result(3);
    assert.equal(state, 2);
    assert.equal(attributes[57], true);
    assert.deepEqual(decode((await result(4))[3]), ["late", ["late"]]);
  });

  it("fails all of a list, for good where it is not as long, and alone what cannot be read", async () => {
    const unreadable = item(3, "many", 1);
    unreadable[5] = Buffer.from([0xc1]);
    send(item(1, "many", 1), item(2, "many", 2), unreadable);
    assert.deepEqual(decode((await result(2))[3]), [2, [1, 2]]);
    assert.equal((await result(3))[4][57], true);
    send(item(4, "many", "fail"), item(5, "many", 1));
    assert.equal((await result(4))[4][2].message, "all of them");
    assert.equal((await result(5))[4][57], undefined);
    send(item(6, "many", "short"), item(7, "many", 1));
    assert.match((await result(7))[4][2].message, /a list of 0/);
    assert.equal((await result(6))[4][57], true);
  });

  it("fails all that a thread ran when it ended, and replaces the thread", async () => {
    send(item(1, "many", "exit"), item(2, "many", 2));
    for (const handle of [1, 2]) assert.equal((await result(handle))[4][59], true);
    send(item(3, "many", 3, 2));
    assert.deepEqual(decode((await result(3))[3]), [3, [3]]);
  });

  it("tells each item of its cancel, while the thread computes and while it waits", async () => {
    send(item(1, "spin", 1), item(2, "spin", 2), item(3, "spin", 3));
    send(item(4, "wait", 4));
    for (const handle of [3, 1]) send([Kind.cancel, handle, ID]);
    assert.deepEqual(await result(1), [Kind.result, 1, 4]);
    assert.equal((await result(2))[2], 1);
    assert.deepEqual(await result(3), [Kind.result, 3, 4]);
    send([Kind.cancel, 4, ID]);
    assert.deepEqual(await result(4), [Kind.result, 4, 4]);
  });
});
