import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { decode } from "@msgpack/msgpack";
import { Worker } from "../src/index.js";
import { Kind } from "../src/wire.js";
import { body, type Rec, TestBroker, type TestPeer } from "./broker.js";

const ID = Buffer.from("018f3c2a7b1e7000800000000000002a", "hex");

describe("pool", () => {
  let broker: TestBroker;
  let worker: Worker;
  let ended: Promise<void>;
  let peer: TestPeer;

  beforeEach(async () => {
    broker = await TestBroker.start();
    worker = new Worker({ url: broker.url, signals: false, grace: 1 });
    worker.pool(new URL("./fixtures/pool-handlers.js", import.meta.url), { threads: 2 });
    ended = worker.run();
    peer = (await broker.record(Kind.hello)).peer;
  });
  afterEach(async () => {
    worker.stop();
    await ended;
    await broker.stop();
  });

  const task = (handle: number, type: string, value: unknown = null): Rec => [
    Kind.task,
    handle,
    ID,
    type,
    1,
    body(value),
  ];
  const result = async (handle: number): Promise<Rec> => {
    const found = await broker.until(
      () => broker.log.find((r) => r.record[0] === Kind.result && r.record[1] === handle),
      `the result of ${handle}`,
    );
    return found.record;
  };

  it("announces what its module exports, a slot for each thread, and lookahead", () => {
    assert.ok(peer.hello.types.includes("spin"));
    assert.deepEqual(peer.hello.handlers, ["odd"]);
    assert.equal(peer.hello.slots, 2);
    assert.deepEqual(peer.hello.capabilities, ["lookahead"]);
  });

  it("runs in threads of its own, values whole", async () => {
    const value = { text: "ä", list: [1, 2.5, null], bytes: new Uint8Array([1, 2]) };
    broker.send(peer, [task(1, "thread"), task(2, "echo", value), task(3, "zeros")]);
    assert.notEqual(decode((await result(1))[3]), 0);
    const echoed = decode((await result(2))[3]) as typeof value;
    assert.deepEqual({ ...echoed, bytes: new Uint8Array(echoed.bytes) }, value);
    assert.deepEqual((await result(3))[4], { 29: 1 });
  });

  it("computes without holding up the socket, and sees a cancel while it does", async () => {
    broker.send(peer, [task(1, "spin"), task(2, "spin"), task(3, "echo", 3), task(4, "echo", 4)]);
    broker.send(peer, [[Kind.ping, 5]]);
    await broker.record(Kind.pong);
    broker.send(peer, [[Kind.recall, 1, [1, 3]]]);
    assert.deepEqual((await broker.record(Kind.returned)).record, [Kind.returned, 1, [3]]);
    broker.send(peer, [[Kind.cancel, 1, ID]]);
    assert.deepEqual(await result(1), [Kind.result, 1, 4]);
    assert.equal(decode((await result(4))[3]), 4);
    broker.send(peer, [[Kind.cancel, 2, ID]]);
    await result(2);
    broker.send(peer, [task(5, "wait")]);
    broker.send(peer, [[Kind.cancel, 5, ID]]);
    assert.deepEqual(await result(5), [Kind.result, 5, 4]);
  });

  it("fails with what was thrown, and for good where another run is in vain", async () => {
    broker.send(peer, [
      task(1, "fail"),
      task(2, "unwritable"),
      [Kind.task, 3, ID, "echo", 1, Buffer.from([0xc1])],
    ]);
    assert.equal((await result(1))[4][2].message, "not here");
    for (const handle of [1, 2, 3]) assert.equal((await result(handle))[4][57], true);
  });

  it("fails a run whose thread ended, says so, and replaces the thread", async () => {
    broker.send(peer, [task(1, "exit"), task(2, "throwLater")]);
    const [, , state, , attributes] = await result(1);
    assert.equal(state, 2);
    assert.equal(attributes[59], true);
    assert.match(attributes[2].message, /exit code 3/);
    assert.match((await result(2))[4][2].message, /out of the blue/);
    broker.send(peer, [task(3, "echo", 3), task(4, "echo", 4)]);
    assert.equal(decode((await result(3))[3]), 3);
    assert.equal(decode((await result(4))[3]), 4);
  });

  it("handles items", async () => {
    broker.send(peer, [
      [Kind.item, 1, ID, "odd", 1, body(1)],
      [Kind.item, 2, ID, "odd", 1, body(2)],
    ]);
    assert.equal(decode((await result(1))[3]), 1);
    assert.deepEqual(await result(2), [Kind.result, 2, 1]);
  });

  it("does not start with a module that cannot be loaded", async () => {
    const broken = new Worker({ url: broker.url, signals: false });
    broken.pool(new URL("./fixtures/nothing-here.js", import.meta.url), { threads: 1 });
    await assert.rejects(broken.run(), /nothing-here\.js.*Cannot find module/s);
    const empty = new Worker({ url: broker.url, signals: false });
    empty.pool(new URL("./broker.js", import.meta.url), { threads: 1 });
    await assert.rejects(empty.run(), /neither "tasks" nor "stages"/);
  });
});

describe("lists in a pool", () => {
  let broker: TestBroker;
  let worker: Worker;
  let ended: Promise<void>;
  let peer: TestPeer;

  beforeEach(async () => {
    broker = await TestBroker.start();
    worker = new Worker({ url: broker.url, signals: false, grace: 1, slots: 8 });
    worker.pool(new URL("./fixtures/pool-lists.js", import.meta.url), { threads: 1 });
    ended = worker.run();
    peer = (await broker.record(Kind.hello)).peer;
  });
  afterEach(async () => {
    worker.stop();
    await ended;
    await broker.stop();
  });

  const item = (handle: number, name: string, value: unknown, attempt = 1): Rec => [
    Kind.item,
    handle,
    ID,
    name,
    attempt,
    body(value),
  ];
  const result = async (handle: number): Promise<Rec> => {
    const found = await broker.until(
      () => broker.log.find((r) => r.record[0] === Kind.result && r.record[1] === handle),
      `the result of ${handle}`,
    );
    return found.record;
  };

  it("announces them, and that it does not look ahead", () => {
    assert.deepEqual(peer.hello.handlers, ["many", "spin", "wait"]);
    assert.deepEqual(peer.hello.capabilities, []);
  });

  it("gets them as they are full or due, and answers each item", async () => {
    broker.send(
      peer,
      ["a", "drop", "set", "late"].map((value, i) => item(i + 1, "many", value)),
    );
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
    broker.send(peer, [item(1, "many", 1), item(2, "many", 2), unreadable]);
    assert.deepEqual(decode((await result(2))[3]), [2, [1, 2]]);
    assert.equal((await result(3))[4][57], true);
    broker.send(peer, [item(4, "many", "fail"), item(5, "many", 1)]);
    assert.equal((await result(4))[4][2].message, "all of them");
    assert.equal((await result(5))[4][57], undefined);
    broker.send(peer, [item(6, "many", "short"), item(7, "many", 1)]);
    assert.match((await result(7))[4][2].message, /a list of 0/);
    assert.equal((await result(6))[4][57], true);
  });

  it("fails all that a thread ran when it ended, and replaces the thread", async () => {
    broker.send(peer, [item(1, "many", "exit"), item(2, "many", 2)]);
    for (const handle of [1, 2]) assert.equal((await result(handle))[4][59], true);
    broker.send(peer, [item(3, "many", 3, 2)]);
    assert.deepEqual(decode((await result(3))[3]), [3, [3]]);
  });

  it("tells each item of its cancel, while the thread computes and while it waits", async () => {
    broker.send(peer, [item(1, "spin", 1), item(2, "spin", 2), item(3, "spin", 3)]);
    broker.send(peer, [item(4, "wait", 4)]);
    for (const handle of [3, 1]) broker.send(peer, [[Kind.cancel, handle, ID]]);
    assert.deepEqual(await result(1), [Kind.result, 1, 4]);
    assert.equal((await result(2))[2], 1);
    assert.deepEqual(await result(3), [Kind.result, 3, 4]);
    broker.send(peer, [[Kind.cancel, 4, ID]]);
    assert.deepEqual(await result(4), [Kind.result, 4, 4]);
  });
});
