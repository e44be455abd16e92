import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { decode } from "@msgpack/msgpack";
import { Worker, type WorkerOptions } from "../src/index.js";
import { Kind } from "../src/wire.js";
import { body, type Rec, type Received, TestBroker, type TestPeer } from "./broker.js";

const ID = Buffer.from("018f3c2a7b1e7000800000000000002a", "hex");
const task = (handle: number, type: string, value: unknown, ...rest: Rec): Rec => [
  Kind.task,
  handle,
  ID,
  type,
  1,
  body(value),
  ...rest,
];

describe("children", () => {
  let broker: TestBroker;
  let worker: Worker;
  let ended: Promise<void>;
  let peer: TestPeer;
  beforeEach(async () => {
    broker = await TestBroker.start();
  });
  afterEach(async () => {
    worker.stop();
    await ended;
    await broker.stop();
  });

  async function start(options: WorkerOptions = {}): Promise<void> {
    worker = new Worker({ url: broker.url, signals: false, grace: 1, ...options });
    worker.task("other", (value) => value);
    worker.task("one", (value, { call }) => call("child", value, { priority: "high", trace: "t" }));
    worker.task("parent", async (bodies: unknown[], context) => {
      try {
        return await Promise.all(bodies.map((value) => context.call("child", value)));
      } finally {
        context.progress(context.cancelReason ?? null);
      }
    });
    ended = worker.run();
    ({ peer } = await broker.record(Kind.hello));
  }

  const records = (kind: number) => broker.log.filter(({ record }) => record[0] === kind);
  const child = (n: number): Promise<Received> => broker.record(Kind.submit, n);
  const accept = ({ peer: client, record }: Received) =>
    broker.send(client, [[Kind.accepted, record[1]]]);
  const succeed = ({ peer: client, record }: Received, value: unknown) =>
    broker.send(client, [[Kind.result, record[1], 1, body(value)]]);
  const result = async (handle: number): Promise<Rec> => {
    const ends = () => records(Kind.result).find(({ record }) => record[1] === handle);
    return (await broker.until(ends, `the result of ${handle}`)).record;
  };
  /** Everything that the worker has to say by now has come. */
  const settled = async () => {
    const before = records(Kind.pong).length;
    await new Promise((resolve) => setTimeout(resolve, 20));
    broker.send(peer, [[Kind.ping, 1]]);
    await broker.record(Kind.pong, before);
  };

  it("lend the slot of the run that waits for them", async () => {
    await start({ slots: 1 });
    broker.send(peer, [task(1, "parent", [1, 2])]);
    const first = await child(0);
    const second = await child(1);
    assert.deepEqual(first.record[5], { 63: ID, 15: 2 });
    accept(first);
    await settled();
    assert.equal(records(Kind.suspend).length, 0, "the broker may not know the second");
    accept(second);
    const { record } = await broker.record(Kind.suspend);
    assert.deepEqual(record, [Kind.suspend, 1, [first.record[2], second.record[2]]]);
    broker.send(peer, [task(2, "other", "meanwhile")]);
    assert.equal(decode((await result(2))[3]), "meanwhile");
    succeed(second, "b");
    succeed(first, "a");
    await settled();
    assert.equal(records(Kind.progress).length, 0, "it has no slot yet");
    broker.send(peer, [[Kind.resume, 1]]);
    assert.deepEqual(decode((await result(1))[3]), ["a", "b"]);
  });

  it("need no suspend when their results are there", async () => {
    await start();
    broker.send(peer, [task(1, "one", 1)]);
    const one = await child(0);
    assert.deepEqual(one.record[5], { 63: ID, 15: 2, 51: 10, 8: "t" });
    succeed(one, "at once");
    assert.equal(decode((await result(1))[3]), "at once");
    assert.equal(records(Kind.suspend).length, 0);
  });

  it("are awaited on its own slot by a run that may not lend it", async () => {
    await start();
    broker.send(peer, [task(1, "one", 1)]);
    const one = await child(0);
    accept(one);
    await broker.record(Kind.suspend);
    broker.send(peer, [[Kind.error, 1, "full", "too many are suspended", {}]]);
    succeed(one, "kept");
    assert.equal(decode((await result(1))[3]), "kept");
  });

  it("tell of a run that would wait for itself", async () => {
    await start();
    broker.send(peer, [task(1, "one", 1)]);
    accept(await child(0));
    await broker.record(Kind.suspend);
    broker.send(peer, [[Kind.error, 1, "invalid", "it would wait for itself", {}]]);
    const failed = await result(1);
    assert.equal(failed[2], 2);
    assert.equal(failed[4][2].type, "Invalid");
  });

  it("hand their errors to the run", async () => {
    await start();
    broker.send(peer, [task(1, "one", 1)]);
    const one = await child(0);
    accept(one);
    await broker.record(Kind.suspend);
    const error = new Map([[2, { type: "Broken", message: "no" }]]);
    broker.send(one.peer, [[Kind.result, one.record[1], 2, null, error]]);
    broker.send(peer, [[Kind.resume, 1]]);
    assert.equal((await result(1))[4][2].type, "TaskFailed");
  });

  it("do not hold up a run that is cancelled", async () => {
    await start({ slots: 1 });
    broker.send(peer, [task(1, "parent", [1])]);
    accept(await child(0));
    await broker.record(Kind.suspend);
    broker.send(peer, [[Kind.cancel, 1, ID, new Map([[26, "parent"]])]]);
    assert.equal(decode((await broker.record(Kind.progress)).record[2]), "parent");
    assert.deepEqual((await result(1)).slice(1, 3), [1, 4]);
    broker.send(peer, [task(2, "other", "next")]);
    assert.equal(decode((await result(2))[3]), "next");
  });

  it("are awaited again under the new handle of a run that was adopted", async () => {
    await start();
    broker.send(peer, [task(1, "one", 1)]);
    const one = await child(0);
    accept(one);
    const { record } = await broker.record(Kind.suspend);
    broker.script.welcome = (_, fields) => {
      fields.claims = [[ID, 9]];
    };
    await broker.restart();
    const again = await broker.until(() => records(Kind.suspend).find((r) => r.record[1] === 9));
    assert.deepEqual(again.record, [Kind.suspend, 9, record[2]]);
    const resent = await child(1);
    assert.deepEqual([resent.record[2], resent.record[5][17]], [one.record[2], true]);
    broker.send(again.peer, [[Kind.resume, 9]]); // it did not know the child yet
    accept(resent);
    const third = await broker.until(() => records(Kind.suspend)[2]);
    assert.deepEqual(third.record, again.record);
    succeed(resent, "late");
    broker.send(again.peer, [[Kind.resume, 9]]);
    assert.equal(decode((await result(9))[3]), "late");
  });

  it("of many runs are awaited on one slot", async () => {
    await start({ slots: 1 });
    for (let handle = 1; handle <= 200; handle++) {
      broker.send(peer, [task(handle, "one", handle)]);
      accept(await child(handle - 1));
      await broker.record(Kind.suspend, handle - 1);
    }
    broker.send(peer, [task(999, "other", "free")]);
    assert.equal(decode((await result(999))[3]), "free");
    for (let handle = 1; handle <= 200; handle++) {
      succeed(await child(handle - 1), "r");
      broker.send(peer, [[Kind.resume, handle]]);
      await result(handle);
    }
  });

  it("are awaited in turns when they are more than a thousand", async () => {
    await start();
    broker.send(peer, [task(1, "parent", Array(1001).fill(0))]);
    await child(1000);
    const { peer: client } = await child(0);
    broker.send(
      client,
      records(Kind.submit).map(({ record }) => [Kind.accepted, record[1]]),
    );
    assert.equal((await broker.record(Kind.suspend)).record[2].length, 1000);
    const first = records(Kind.submit).slice(0, 1000);
    broker.send(
      client,
      first.map(({ record }) => [Kind.result, record[1], 1]),
    );
    broker.send(peer, [[Kind.resume, 1]]);
    const last = await child(1000);
    assert.deepEqual((await broker.record(Kind.suspend, 1)).record[2], [last.record[2]]);
    succeed(last, null);
    broker.send(peer, [[Kind.resume, 1]]);
    assert.equal((decode((await result(1))[3]) as unknown[]).length, 1001);
  });

  it("are not followed, and not in the threads of a pool", async () => {
    worker = new Worker({ url: broker.url, signals: false, grace: 1, slots: 2 });
    worker.task("follows", (_, { call }) => call("child", 1, { onLog: () => 1 } as object));
    worker.pool(new URL("./fixtures/pool-streams.js", import.meta.url), { threads: 1 });
    ended = worker.run();
    ({ peer } = await broker.record(Kind.hello));
    broker.send(peer, [task(1, "follows", 1), task(2, "calls", 1)]);
    assert.match((await result(1))[4][2].message, /does not follow its tasks: no onLog/);
    assert.match((await result(2))[4][2].message, /"calls" is in a pool's thread.*worker\.task/);
  });
});
