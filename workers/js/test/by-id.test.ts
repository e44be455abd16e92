import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import {
  AlreadyEnded,
  BodyError,
  Client,
  Closed,
  Duplicate,
  Invalid,
  type SubmitOptions,
  type TaskChange,
  TaskCancelled,
  TaskDead,
  TaskExpired,
  TaskFailed,
  Timeout,
  Unknown,
  uuid7,
} from "../src/index.js";
import { Kind } from "../src/wire.js";
import { body, type Rec, TestBroker } from "./broker.js";

const HOLDER = "00010203-0405-0607-0809-0a0b0c0d0e0f";
const holder = Buffer.from(HOLDER.replaceAll("-", ""), "hex");
const ERROR = { type: "Flaky", message: "no", language: "go", stack: "s" };
const idOf = (record: Rec) => Buffer.from(record[2] as Uint8Array);

describe("by id", () => {
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

  it("a duplicate names the task that has the key", async () => {
    const cases: [Record<string, unknown> | undefined, string | undefined, string][] = [
      [{ id: holder.toString("hex"), state: "running" }, HOLDER, "running"],
      [{ id: "no id", state: "waiting" }, undefined, "waiting"],
      [{ id: 7, state: 7 }, undefined, ""],
      [undefined, undefined, ""],
    ];
    for (const [n, [details, id, state]] of cases.entries()) {
      const task = client.submit("t", null, { unique: "k", uniquePolicy: "refuse" });
      const result = task.result.catch((e: unknown) => e);
      const { peer, record } = await broker.record(Kind.submit, n);
      const told = details === undefined ? [] : [details];
      broker.send(peer, [[Kind.error, record[1], "duplicate", "taken", ...told]]);
      const error = (await result) as Duplicate;
      assert.equal(error.constructor, Duplicate);
      assert.deepEqual([error.id, error.state, error.code], [id, state, "duplicate"]);
      assert.equal(error.taskId, task.id);
      assert.equal(task.joinedId, task.id);
    }
  });

  it("an ending names the id that counts", async () => {
    const submit = async (n: number) => {
      const task = client.submit("t", null, { unique: "k" });
      return { task, ...(await broker.record(Kind.submit, n)) };
    };
    const counts = new Map([[30, holder]]);
    const joined = await submit(0);
    assert.equal(joined.task.joinedId, joined.task.id);
    broker.send(joined.peer, [[Kind.result, joined.record[1], 1, body(7), counts]]);
    assert.equal(await joined.task.result, 7);
    assert.equal(joined.task.joinedId, HOLDER);
    assert.notEqual(joined.task.id, HOLDER);
    const failed = await submit(1);
    broker.send(failed.peer, [[Kind.result, failed.record[1], 4, null, counts]]);
    await assert.rejects(failed.task.result, (error: TaskCancelled) => error.taskId === HOLDER);
    assert.equal(failed.task.joinedId, HOLDER);
    const own = await submit(2);
    const short = new Map([[30, Buffer.alloc(5)]]);
    broker.send(own.peer, [[Kind.result, own.record[1], 1, body(7), short]]);
    assert.equal(await own.task.result, 7);
    assert.equal(own.task.joinedId, own.task.id);
  });

  it("await is answered as a submit is", async () => {
    const heard: unknown[] = [];
    let n = 0;
    const next = () => broker.record(Kind.await, n++);
    const result = client.awaitTask<number[]>(HOLDER, {
      timeout: 60_000,
      onProgress: (...told) => heard.push(told),
      onLog: (...told) => heard.push(told),
    });
    const { peer, record } = await next();
    assert.deepEqual(idOf(record), holder);
    const { 55: wait, ...rest } = record[3] as Record<number, number>;
    assert.ok(wait > 59_000 && wait <= 60_000);
    assert.deepEqual(rest, { 69: 3 });
    broker.send(peer, [
      [Kind.progress, record[1], body(5), new Map([[4, 2]])],
      [Kind.log, record[1], 2, "line", new Map([[4, 2]])],
      [Kind.result, record[1], 1, body([1])],
    ]);
    assert.deepEqual(await result, [1]);
    assert.deepEqual(heard, [
      [5, 2],
      ["info", "line", 2],
    ]);

    const patient = client.awaitTask(holder, { timeout: Infinity });
    const asked = (await next()).record;
    assert.equal(asked.length, 3);
    broker.send(peer, [[Kind.result, asked[1], 1]]);
    assert.equal(await patient, null);

    const dead = client.awaitTask(holder).catch((e: unknown) => e);
    const second = (await next()).record;
    assert.ok(second[3][55] > 4000 && second[3][55] <= 5000, "the broker's time");
    broker.send(peer, [[Kind.result, second[1], 5, null, new Map([[2, ERROR]])]]);
    const error = (await dead) as TaskDead;
    assert.equal(error.constructor, TaskDead);
    assert.equal(error.taskId, HOLDER);
    assert.equal(error.message, `task ${HOLDER} is dead: Flaky: no (go)`);

    const classes = { unknown_task: Unknown, already_ended: AlreadyEnded, timeout: Timeout };
    for (const [code, expected] of Object.entries(classes)) {
      const refused = client.awaitTask(HOLDER).catch((e: unknown) => e);
      const { record } = await next();
      broker.send(peer, [[Kind.error, record[1], code, "so it is", { state: "failed" }]]);
      const error = (await refused) as TaskFailed;
      assert.deepEqual([error.constructor, error.code, error.taskId], [expected, code, HOLDER]);
    }
  });

  it("whoever stops waiting does not stop the task", async () => {
    const late = client.awaitTask(HOLDER, { timeout: 30 });
    await assert.rejects(late, (e: Error) => e instanceof Timeout && e.message.includes("goes on"));
    const abort = new AbortController();
    const waiting = client.awaitTask(HOLDER, { signal: abort.signal });
    await broker.record(Kind.await, 1);
    const reason = new Error("enough");
    abort.abort(reason);
    await assert.rejects(waiting, (e: Error) => e instanceof Timeout && e.cause === reason);
    const dead = client.awaitTask(HOLDER, { signal: abort.signal });
    await assert.rejects(dead, (e: Timeout) => e instanceof Timeout && e.taskId === HOLDER);
    client.submit("t");
    await broker.record(Kind.submit);
    const kinds = broker.log.map(({ record }) => record[0] as number);
    assert.ok(!kinds.includes(Kind.cancel), "a cancel would end the task");
    assert.equal(kinds.filter((kind) => kind === Kind.await).length, 2);
  });

  it("awaitAll asks in one packet and keeps the order", async () => {
    const packets: number[] = [];
    broker.script.packet = (_, frames) => {
      packets.push(frames[0].length);
      return undefined;
    };
    client.submit("t"); // so that there is a connection
    const { peer } = await broker.record(Kind.submit);
    packets.length = 0;
    const ids = [uuid7(), uuid7(), uuid7(), uuid7()];
    const all = client.awaitAll(new Set(ids), { timeout: 60_000 });
    const records: Rec[] = [];
    for (const n of ids.keys()) records.push((await broker.record(Kind.await, n)).record);
    assert.equal(packets.filter((size) => size > 20).length, 1);
    assert.deepEqual(
      records.map((record) => idOf(record).toString("hex")),
      ids.map((id) => id.replaceAll("-", "")),
    );
    const [first, second, third, fourth] = records.map((record) => record[1] as number);
    broker.send(peer, [
      [Kind.result, fourth, 3],
      [Kind.error, second, "unknown_task", "no such task"],
      [Kind.result, third, 1, Buffer.from([0xc1])],
    ]);
    broker.send(peer, [[Kind.result, first, 1, body("one")]]);
    const found = await all;
    assert.deepEqual(found[0], { index: 0, value: "one" });
    assert.deepEqual(
      found.slice(1).map(({ index, error }) => [index, error?.constructor, error?.taskId]),
      [
        [1, Unknown, ids[1]],
        [2, BodyError, ids[2]],
        [3, TaskExpired, ids[3]],
      ],
    );
    assert.deepEqual(await client.awaitAll([]), []);
    const late = await client.awaitAll(ids, { timeout: 30 });
    assert.ok(late.every(({ error }) => error instanceof Timeout));
    const before = broker.log.length;
    await assert.rejects(client.awaitAll([ids[0], "no id"]), RangeError);
    await assert.rejects(client.awaitAll([ids[0], undefined as never]), TypeError);
    await pause(20);
    assert.equal(broker.log.length, before);
  });

  it("awaits are asked again in another session", async () => {
    const waiting = client.awaitTask(HOLDER, { timeout: 60_000 }).catch((e: unknown) => e);
    const first = (await broker.record(Kind.await)).record;
    await pause(20);
    await broker.restart();
    const { peer, record } = await broker.record(Kind.await, 1);
    assert.deepEqual(idOf(record), idOf(first));
    assert.deepEqual(Object.keys(record[3] as object), ["55"], "resent is a submit's affair");
    assert.ok(record[3][55] < first[3][55]);
    broker.send(peer, [[Kind.error, record[1], "shutting_down", "going"]]);
    await broker.restart();
    const third = await broker.record(Kind.await, 2);
    broker.send(third.peer, [[Kind.error, third.record[1], "unknown_task", "no such task"]]);
    assert.ok((await waiting) instanceof Unknown);
  });

  const changes: [TaskChange, Record<number, unknown> | undefined, unknown][] = [
    [{}, undefined, undefined],
    [{ priority: "high" }, { 51: 10 }, undefined],
    [{ priority: "normal" }, { 51: 0 }, undefined],
    [{ delay: 0 }, { 1: 0 }, undefined],
    [{ notBefore: new Date(2001, 0, 1) }, { 1: 0 }, undefined],
    [{ body: null }, {}, null],
    [{ body: undefined }, undefined, undefined],
    [{ body: [1], priority: -7 }, { 51: -7 }, [1]],
    [{ body: "x".repeat(3000) }, {}, "x".repeat(3000)],
  ];

  it("an update sends what changes", async () => {
    for (const [n, [change, attributes, changed]] of changes.entries()) {
      const updating = client.update(HOLDER, change);
      const { peer, record } = await broker.record(Kind.update, n);
      assert.deepEqual(idOf(record), holder);
      assert.deepEqual(record[3], attributes);
      const sent = record[4] === undefined ? undefined : Buffer.from(record[4] as Uint8Array);
      assert.deepEqual(sent, changed === undefined ? undefined : body(changed));
      const answer = { state: "running", updated: false, more: 1 };
      broker.send(peer, [[Kind.answer, record[1], answer]]);
      assert.deepEqual(await updating, { state: "running", updated: false });
    }
  });

  it("an update has a body as any other, and its time passes", async () => {
    const noise = Buffer.concat([randomBytes(9000), Buffer.alloc(9000)]);
    const large = client.update(HOLDER, { body: noise, delay: 5000, timeout: 60_000 });
    const refused = assert.rejects(large, Unknown);
    const { record, bodies } = await broker.record(Kind.update);
    assert.equal(record[4], 1);
    assert.deepEqual(Object.keys(record[3] as object), ["1", "29"]);
    assert.ok(bodies[0].length < 10_000);
    await pause(50);
    await broker.restart();
    const again = await broker.record(Kind.update, 1);
    assert.deepEqual(again.bodies, bodies);
    assert.ok(again.record[3][1] <= record[3][1] - 50);
    assert.equal(again.record[3][17], undefined);
    broker.send(again.peer, [[Kind.error, again.record[1], "unknown_task", "no such task"]]);
    await refused;
    const small = client.update(HOLDER, { body: "x".repeat(5000) }).catch((e: unknown) => e);
    const third = await broker.record(Kind.update, 2);
    assert.deepEqual(third.record[3], { 29: 1 });
    assert.ok(third.record[4].length < 1000);
    broker.send(third.peer, [[Kind.error, third.record[1], "unknown_task", "no such task"]]);
    const error = (await small) as Unknown;
    assert.deepEqual([error.constructor, error.taskId], [Unknown, HOLDER]);
  });

  it("what makes no sense is told before anything is sent", async () => {
    const bad: [object, RegExp][] = [
      [{ priority: "urgent" }, /"urgent".*critical/],
      [{ priority: 101 }, /priority/],
      [{ delay: -1 }, /delay/],
      [{ delay: 1, notBefore: new Date() }, /delay and notBefore/],
      [{ notBefore: 7 }, /notBefore is a Date/],
      [{ body: () => 1 }, /function/],
      [{ deadline: 1 }, /an update has no deadline/],
      [{ unique: "k" }, /an update has no unique/],
      [{ timeout: -1 }, /timeout/],
    ];
    for (const [change, message] of bad)
      await assert.rejects(client.update(HOLDER, change), message);
    for (const id of ["no id", Buffer.alloc(15), undefined as never, 7 as never]) {
      const calls = [
        () => client.update(id),
        () => client.awaitTask(id),
        () => client.task(id),
        () => client.cancel(id),
      ];
      for (const call of calls) await assert.rejects(call, /task id has|task id is|not a UUID/);
    }
    await assert.rejects(client.awaitTask(HOLDER, { onLog: "print" as never }), /onLog/);
    const options: SubmitOptions = { uniquePolicy: "join" };
    await assert.rejects(client.call("t", null, options), /without unique/);
    assert.equal(broker.log.length, 0);
    await client.close();
    await assert.rejects(client.awaitAll([HOLDER]), Closed);
    await assert.rejects(client.update(HOLDER), Closed);
  });

  it("a client pauses a type and unblocks a key", async () => {
    const cases: [number, number, unknown, boolean][] = [
      [1500.5, 1501, { done: true }, true],
      [0, 0, { done: false }, false],
      [1, 1, {}, false],
      [1, 1, null, false],
    ];
    for (const [n, [given, ms, answer, done]] of cases.entries()) {
      const asking = client.pauseType("t", given);
      const { peer, record } = await broker.record(Kind.control, n);
      assert.deepEqual(record.slice(2), ["pause", { type: "t", ms }]);
      broker.send(peer, [[Kind.answer, record[1], answer]]);
      assert.equal(await asking, done);
    }
    const asking = client.unblock("t", "k");
    const { peer, record } = await broker.record(Kind.control, cases.length);
    assert.deepEqual(record.slice(2), ["unblock", { type: "t", key: "k" }]);
    broker.send(peer, [[Kind.error, record[1], "invalid", "there is no type", { field: "type" }]]);
    await assert.rejects(asking, Invalid);
    const logged = broker.log.length;
    await assert.rejects(client.pauseType("t", -1), /a pause is 0 to/);
    await assert.rejects(client.pauseType("t", "1s" as never), /number of ms/);
    await assert.rejects(client.pauseType("", 1), /a type is.*1 to 255 bytes/);
    await assert.rejects(client.unblock("t", ""), /an order key is.*not 0/);
    await assert.rejects(client.unblock("t", "ä".repeat(128)), /not 256/);
    await assert.rejects(client.unblock("t", 7 as never), /an order key is text/);
    assert.equal(broker.log.length, logged);
    await client.close();
    await assert.rejects(client.unblock("t", "k"), Closed);
  });

  it("the status of a task", async () => {
    const run = { attempt: 1, worker: "w1", started: 900, ended: 700, error: ERROR };
    const whole = {
      ...{ state: "dead", type: "t", attempts: 2, failures: 1, crashes: 1, priority: -5 },
      ...{ age: 1500, worker: "w2" },
    };
    const told = { ...whole, history: [run], error: ERROR, later: 1 };
    const nothing = Object.fromEntries(Object.keys(whole).map((key) => [key, undefined]));
    const empty = { ...nothing, history: [], error: undefined };
    const history = [{ attempt: 1, worker: "w1", started: 900, ended: 700, ...ERROR }];
    const nonsense = { state: "waiting", type: 7, age: "old", history: 1, error: 2 };
    const cases: [unknown, object][] = [
      [told, { ...whole, history, error: ERROR }],
      [{ state: "unknown" }, { ...empty, state: "unknown" }],
      [nonsense, { ...empty, state: "waiting" }],
      [null, { ...empty, state: "unknown" }],
    ];
    for (const [n, [answer, status]] of cases.entries()) {
      const asking = client.task(HOLDER);
      const { peer, record } = await broker.record(Kind.query, n);
      assert.equal(record[2], "task");
      assert.deepEqual(Buffer.from(record[3].id as Uint8Array), holder);
      broker.send(peer, [[Kind.answer, record[1], answer]]);
      assert.deepEqual(await asking, status);
    }
  });
});
