import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Client, type Filter, Full, type JobStatus, TuskError } from "../src/index.js";
import { Kind } from "../src/wire.js";
import { TestBroker } from "./broker.js";

const PARENT = "00010203-0405-0607-0809-0a0b0c0d0e0f";
const parent = Buffer.from(PARENT.replaceAll("-", ""), "hex");

describe("finding", () => {
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

  /** Answers the `n`th query or control. */
  async function answer(kind: number, n: number, value: unknown): Promise<unknown[]> {
    const { peer, record } = await broker.record(kind, n);
    broker.send(peer, [[Kind.answer, record[1], value]]);
    return record.slice(2);
  }

  it("lists tasks page by page", async () => {
    const filter: Filter = {
      type: "t",
      state: "delayed",
      labels: { customer: "acme", build: null },
      parent: PARENT,
      age: 1500,
      all: true,
    };
    const listed: unknown[] = [];
    const listing = (async () => {
      for await (const task of client.tasks(filter, { limit: 2 })) listed.push(task);
    })();
    const sent = { ...filter, parent };
    const told = { id: parent, state: "delayed", type: "t", priority: 5, age: 2000 };
    const more = { labels: { customer: "acme" }, parent, group: "g" };
    assert.deepEqual(
      await answer(Kind.query, 0, { tasks: [{ ...told, ...more }], next: Buffer.from("there") }),
      ["tasks", { filter: sent, limit: 2 }],
    );
    const after = Buffer.from("there");
    assert.deepEqual(await answer(Kind.query, 1, { tasks: [], next: 7 }), [
      "tasks",
      { filter: sent, limit: 2, after },
    ]);
    assert.deepEqual(await answer(Kind.query, 2, { tasks: [{ id: parent, state: "running" }] }), [
      "tasks",
      { filter: sent, limit: 2, after: 7 },
    ]);
    await listing;
    const unknown = {
      type: undefined,
      attempts: undefined,
      failures: undefined,
      crashes: undefined,
      priority: undefined,
      age: undefined,
      worker: undefined,
      history: [],
      error: undefined,
      labels: {},
      parent: undefined,
      group: undefined,
    };
    assert.deepEqual(listed, [
      { ...unknown, ...told, ...more, id: PARENT, parent: PARENT },
      { ...unknown, id: PARENT, state: "running" },
    ]);
  });

  it("tells what is out of bounds before anything is sent", async () => {
    const filters: [unknown, RegExp][] = [
      [{}, /a filter without any entry/],
      ["t", /a filter has no 0|a filter is an object/],
      [null, /a filter is an object/],
      [{ typ: "t" }, /a filter has no typ; it has type, state, labels, parent, age, all/],
      [{ type: "" }, /the filter's type is Unicode text of 1 to 255 bytes, not 0/],
      [{ state: 1 }, /the filter's state is text/],
      [{ labels: ["a"] }, /the filter's labels are an object/],
      [{ labels: { a: 1 } }, /the filter's labels.a is text/],
      [{ labels: Object.fromEntries(Array(17).fill(1).entries()) }, /at most 16, not 17/],
      [{ parent: "x" }, /"x" is not a UUID/],
      [{ age: -1 }, /the filter's age is 0 to/],
      [{ all: false }, /the filter's all is true/],
    ];
    for (const [filter, message] of filters) {
      assert.throws(() => client.tasks(filter as Filter), message);
      await assert.rejects(client.cancelAll(filter as Filter), message);
    }
    const all: Filter = { all: true };
    for (const limit of [0, 1001, 1.5]) {
      assert.throws(() => client.tasks(all, { limit }), /limit is a whole number from 1 to 1000/);
    }
    await assert.rejects(client.reprioritiseAll(all, 101), /priority.*-100 to 100, not 101/);
    await assert.rejects(client.startJob("reprioritise", all), /without a priority/);
    await assert.rejects(client.startJob("retry", all, { priority: 1 }), /retry has no priority/);
    const stop = "stop" as unknown as "cancel";
    await assert.rejects(client.startJob(stop, all), /no job "stop"; there are cancel, retry/);
  });

  const status = (state: string, fields: Record<string, number> = {}) => ({
    job: 7,
    what: "cancel",
    state,
    dry_run: false,
    total: 9,
    ...fields,
  });

  const jobs: ["cancelAll" | "retryAll" | "reprioritiseAll", string, Record<string, number>][] = [
    ["cancelAll", "cancel", {}],
    ["retryAll", "retry", {}],
    ["reprioritiseAll", "reprioritise", { priority: 10 }],
  ];
  for (const [method, what, sent] of jobs) {
    it(`waits for the job of ${method}`, async () => {
      const seen: JobStatus[] = [];
      const onProgress = async (job: JobStatus) => seen.push(job);
      const options = { dryRun: true, onProgress };
      const done =
        method === "reprioritiseAll"
          ? client.reprioritiseAll({ type: "t" }, "high", options)
          : client[method]({ type: "t" }, options);
      const [name, given] = await answer(Kind.control, 0, { done: true, job: 7 });
      const { id, ...rest } = given as { id?: Uint8Array };
      assert.equal(name, what);
      assert.equal(id?.length, what === "retry" ? 16 : undefined);
      assert.deepEqual(rest, { filter: { type: "t" }, dry_run: true, ...sent });
      const other = { ...status("done"), job: 6 };
      assert.deepEqual(
        await answer(Kind.query, 0, [other, status("running", { looked: 3, matched: 2 })]),
        ["jobs"],
      );
      const last = status("done", { looked: 9, matched: 5, changed: 4, failed: 1, age: 1500 });
      await answer(Kind.query, 1, [last, other]);
      assert.deepEqual(await done, { matched: 5, changed: 4, failed: 1 });
      assert.deepEqual(
        seen.map(({ state, looked, total, age }) => [state, looked, total, age]),
        [
          ["running", 3, 9, 0],
          ["done", 9, 9, 1500],
        ],
      );
    });
  }

  it("says that the broker forgot a job", async () => {
    const waiting = assert.rejects(
      client.waitForJob(7),
      (error: TuskError) =>
        error.code === "unknown_job" && error.message.includes("does not know job 7"),
    );
    await answer(Kind.query, 0, [status("running")]);
    await answer(Kind.query, 1, []);
    await waiting;
  });

  it("rejects when the broker refuses a job", async () => {
    const started = assert.rejects(client.startJob("cancel", { all: true }), Full);
    const { peer, record } = await broker.record(Kind.control);
    assert.deepEqual(record.slice(2), ["cancel", { filter: { all: true } }]);
    broker.send(peer, [[Kind.error, record[1], "full", "16 jobs run", { limit: "jobs" }]]);
    await started;
  });
});
