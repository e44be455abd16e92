/** A worker whose broker goes away and comes back. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { decode } from "@msgpack/msgpack";
import { Worker } from "../src/index.js";
import { Kind } from "../src/wire.js";
import { body, type Rec, type Received, TestBroker } from "./broker.js";

const id = (n: number) =>
  Buffer.from(`018f3c2a7b1e700080000000000000${n.toString(16).padStart(2, "0")}`, "hex");
const task = (handle: number, n: number, type: string, value: unknown = null): Rec => [
  Kind.task,
  handle,
  id(n),
  type,
  1,
  body(value),
];

describe("claims", () => {
  let broker: TestBroker;
  let worker: Worker;
  let ended: Promise<void>;
  let finish: Map<number, (value: unknown) => void>;
  let aborted: number[];

  beforeEach(async () => {
    broker = await TestBroker.start();
    finish = new Map();
    aborted = [];
    worker = new Worker({ url: broker.url, slots: 3, signals: false, grace: 1 });
    worker.task("echo", (value) => value);
    worker.task(
      "hold",
      (n: number, { signal }) =>
        new Promise((resolve) => {
          finish.set(n, resolve);
          signal.addEventListener("abort", () => {
            aborted.push(n);
            resolve(null);
          });
        }),
    );
    ended = worker.run();
    await broker.record(Kind.hello);
  });
  afterEach(async () => {
    worker.stop();
    await ended;
    await broker.stop();
  });

  const results = () => broker.log.filter((r) => r.record[0] === Kind.result);
  const lastHello = () => broker.log.filter((r) => r.record[0] === Kind.hello).at(-1)!;
  const peer = () => lastHello().peer;
  const begun = (n: number) => broker.until(() => finish.has(n) || undefined, `hold ${n} to begin`);

  /** Makes sure that what was sent to the worker before has been read. */
  async function settle(): Promise<void> {
    const token = 1000 + broker.log.length;
    broker.send(peer(), [[Kind.ping, token]]);
    await broker.until(
      () => broker.log.some((r) => r.record[0] === Kind.pong && r.record[1] === token) || undefined,
      "pong",
    );
  }

  it("names runs and unacknowledged results after a restart, and goes on under new handles", async () => {
    broker.acknowledges = false;
    broker.send(peer(), [task(1, 1, "hold", 1), task(2, 2, "hold", 2), task(3, 3, "echo", "done")]);
    await broker.record(Kind.result);
    broker.send(peer(), [task(4, 4, "hold", 4), task(5, 5, "hold", 5)]); // the fifth waits
    await settle();
    await begun(4);
    broker.script.welcome = (_, fields) => {
      broker.acknowledges = true;
      fields.claims = (lastHello().record[2].claims as Rec[]).map(([claimed]) => {
        const n = claimed[15];
        return [claimed, n === 2 || n === 5 ? null : 70 + n];
      });
    };
    const before = results().length;
    await broker.restart();
    await broker.until(
      () => broker.log.filter((r) => r.record[0] === Kind.hello).length === 2 || undefined,
    );
    const claims = lastHello().record[2].claims as Rec[];
    assert.deepEqual(
      claims.map(([claimed, attempt, name, isItem]) => [claimed[15], attempt, name, isItem]),
      [
        [1, 1, "hold", false],
        [2, 1, "hold", false],
        [4, 1, "hold", false],
        [5, 1, "hold", false],
        [3, 1, "echo", false],
      ],
    );
    const again = await broker.until(
      () => results()[before],
      "the result that was not acknowledged",
    );
    assert.equal(again.record[1], 73);
    assert.equal(decode(again.record[3]), "done");
    finish.get(1)!("one");
    const one = await broker.until(() => results().find((r) => r.record[1] === 71), "hold 1");
    assert.equal(decode(one.record[3]), "one");
    assert.deepEqual(aborted, [2]); // dropped: the task runs elsewhere
    finish.get(4)!("four");
    await broker.until(() => results().find((r) => r.record[1] === 74), "hold 4");
    assert.deepEqual(
      results()
        .slice(before)
        .map((r) => r.record[1]),
      [73, 71, 74],
    );
    assert.equal(finish.has(5), false); // dropped before it began
    broker.send(peer(), [task(1, 6, "echo", 6)]); // the slots are free again
    await broker.until(
      () => results().find((r) => r.record[1] === 1 && r.peer === peer()),
      "echo 6",
    );
  });

  it("rewrites a result whose body has a frame of its own", async () => {
    broker.acknowledges = false;
    const big = new Uint8Array(20_000).map((_, i) => (i * 31 + (i >> 5)) & 0xff);
    broker.script.welcome = (_, fields) => {
      fields.compression = "none";
      fields.claims = (lastHello().record[2].claims as Rec[]).map(([claimed]) => [claimed, 90]);
    };
    await broker.restart(); // so that nothing is compressed
    await broker.until(
      () => broker.log.filter((r) => r.record[0] === Kind.hello).length === 2 || undefined,
    );
    broker.send(peer(), [[Kind.task, 8, id(8), "echo", 1, 1]], [body(big)]);
    await broker.until(() => results().find((r) => r.record[1] === 8), "the first sending");
    await broker.restart();
    const again: Received = await broker.until(
      () => results().find((r) => r.record[1] === 90),
      "the second",
    );
    assert.equal(again.record[3], 1);
    assert.deepEqual(new Uint8Array(decode(again.bodies[0]) as Uint8Array), big);
    broker.acknowledges = true;
  });

  it("keeps its handles when the session is resumed", async () => {
    broker.send(peer(), [task(1, 1, "hold", 1)]);
    await begun(1);
    await broker.cut();
    finish.get(1)!("while away");
    await broker.again();
    const { record } = await broker.record(Kind.result);
    assert.equal(record[1], 1);
    assert.equal(decode(record[3]), "while away");
  });
});
