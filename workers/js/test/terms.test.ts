import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import {
  Client,
  TaskCancelled,
  TaskDead,
  TaskExpired,
  TaskFailed,
  type SubmitOptions,
} from "../src/index.js";
import { Reader } from "../src/msgpack/reader.js";
import { Writer } from "../src/msgpack/writer.js";
import { type Terms, termsOf, termsOfEach } from "../src/terms.js";
import { Kind } from "../src/wire.js";
import { body, type Rec, TestBroker } from "./broker.js";

const nobody = "ipc:///tmp/tuskd-js-test-nobody-listens";
const YEARS = 101 * 365 * 86_400_000;

describe("terms", () => {
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

  const good: [SubmitOptions, Record<number, unknown>][] = [
    [{ priority: "low" }, { 51: -10 }],
    [{ priority: "normal" }, { 51: 0 }], // a type may have another default
    [{ delay: 0 }, { 1: 0 }],
    [{ priority: "high" }, { 51: 10 }],
    [{ priority: "critical" }, { 51: 20 }],
    [{ priority: -100 }, { 51: -100 }],
    [
      { runTimeout: 2300, heartbeatTimeout: 1.5 },
      { 5: 2300, 65: 2 },
    ],
    [{ attempts: 1000 }, { 7: 1000 }],
    [{ backoff: { first: 100, most: 30_000 } }, { 9: [100, 30_000, 2, 0.25] }],
    [{ backoff: { first: 0, most: 0, factor: 1.5, jitter: 0 } }, { 9: [0, 0, 1.5, 0] }],
    [{ noRetryOn: ["TypeError", "NotFound"] }, { 67: ["TypeError", "NotFound"] }],
    [{ deadline: 0 }, { 3: 0 }],
    [{ retention: 600_000 }, { 13: 600_000 }],
    [{ retention: 0 }, { 13: 0 }],
    [{ unique: "k" }, { 19: "k" }],
    [{ unique: `${"ä".repeat(127)}x` }, { 19: `${"ä".repeat(127)}x` }],
    [
      { unique: "k", uniquePolicy: "join", uniqueFor: 1.5 },
      { 19: "k", 71: 2 },
    ],
    [
      { unique: "k", uniquePolicy: "refuse" },
      { 19: "k", 21: 1 },
    ],
    [
      { unique: "k", uniquePolicy: "replace" },
      { 19: "k", 21: 2 },
    ],
    [
      { unique: "k", uniquePolicy: "debounce" },
      { 19: "k", 21: 3 },
    ],
    [
      { unique: "k", uniquePolicy: "follow_up" },
      { 19: "k", 21: 4 },
    ],
    [
      { orderKey: "a", limitKey: "b", group: "c", cost: 5 },
      { 23: "a", 73: "b", 16: "c", 49: 5 },
    ],
    [{ orderKey: `${"ä".repeat(127)}x` }, { 23: `${"ä".repeat(127)}x` }],
    [{ cost: 0 }, { 49: 0 }],
    [{ cost: 1_000_000_000 }, { 49: 1_000_000_000 }],
    [
      { labels: { customer: "acme", ["ä".repeat(127)]: "x".repeat(255) } },
      { 18: { customer: "acme", ["ä".repeat(127)]: "x".repeat(255) } },
    ],
    [
      { requires: { region: "eu", gpu: 0 }, prefers: { ssd: 1e9 }, consumes: { gpu: 1 } },
      { 25: { requires: { region: "eu", gpu: 0 }, prefers: { ssd: 1e9 }, consumes: { gpu: 1 } } },
    ],
    [{ requires: {} }, { 25: { requires: {} } }], // takes the place of the type's own
    [{ stickyKey: "k" }, { 61: "k" }],
    [{ onProgress: () => 1 }, { 69: 1 }],
    [{ onLog: () => 1 }, { 69: 2 }],
  ];

  it("become attributes", async () => {
    for (const [n, [options, attributes]] of good.entries()) {
      client.submit("t", null, options);
      const { record } = await broker.record(Kind.submit, n);
      assert.deepEqual(record[5] ?? {}, attributes);
    }
    const all: SubmitOptions = Object.assign({}, ...good.map(([options]) => options));
    const more = {
      reply: "both",
      resent: true,
      rerunOk: true,
      timeout: 1000,
      delay: 5000,
    } as const;
    client.submit("t", "x".repeat(20_000), { ...all, ...more, trace: "t", baggage: "b" });
    const { record } = await broker.record(Kind.submit, good.length);
    assert.equal(Object.keys(record[5]).length, 27);
    assert.equal(record[5][15], 2);
  });

  it("go with post and with each of many", async () => {
    void client.post("t", null, { priority: 3 }).catch(() => undefined);
    assert.deepEqual((await broker.record(Kind.submit)).record[5], { 15: 1, 51: 3 });
    const notBefore = new Date(Date.now() + 5000);
    const many = client.map("t", [1, 2], { priority: "high", notBefore, deadline: 9000 });
    void many.next().catch(() => undefined);
    for (const n of [1, 2]) {
      const attributes = (await broker.record(Kind.submit, n)).record[5];
      assert.equal(attributes[51], 10);
      assert.ok(attributes[1] > 4000 && attributes[1] <= 5000);
      assert.ok(attributes[3] > 8900 && attributes[3] <= 9000);
    }
  });

  const bad: [object, RegExp][] = [
    [{ labels: ["a"] }, /labels is an object of names/],
    [
      { labels: Object.fromEntries(Array(17).fill("x").entries()) },
      /labels has at most 16 entries, not 17/,
    ],
    [{ labels: { "": "x" } }, /a name in labels is Unicode text of 1 to 255 bytes, not 0/],
    [{ labels: { a: "" } }, /labels.a is Unicode text of 1 to 255 bytes, not 0/],
    [{ labels: { a: "ä".repeat(128) } }, /labels.a is Unicode text of 1 to 255 bytes, not 256/],
    [{ labels: { a: 1 } }, /labels.a is text/],
    [{ requires: "gpu" }, /requires is an object/],
    [{ requires: { gpu: -1 } }, /requires.gpu is a whole number from 0 to 1000000000, not -1/],
    [{ requires: { gpu: 1.5 } }, /requires.gpu is a whole number from 0/],
    [{ requires: { gpu: true } }, /requires.gpu is text or a whole number/],
    [{ requires: Object.fromEntries(Array(17).fill(1).entries()) }, /requires has at most 16/],
    [{ prefers: { gpu: 1e9 + 1 } }, /prefers.gpu is a whole number from 0/],
    [{ prefers: { x: "" } }, /prefers.x is Unicode text of 1 to 255/],
    [{ consumes: { gpu: 0 } }, /consumes.gpu is a whole number from 1 to 1000000000, not 0/],
    [{ consumes: { gpu: "2" } }, /consumes.gpu is a whole number/],
    [{ stickyKey: "" }, /stickyKey is Unicode text of 1 to 255 bytes, not 0/],
    [{ stickyKey: 7 }, /stickyKey is text/],
    [{ priority: "urgent" }, /"urgent".*low.*normal.*high.*critical/],
    [{ priority: "toString" }, /"toString"/],
    [{ priority: 101 }, /priority.*-100 to 100, not 101/],
    [{ priority: 1.5 }, /priority/],
    [{ delay: -1 }, /delay is 0 to/],
    [{ delay: YEARS }, /delay.*100 years/],
    [{ delay: Number.NaN }, /delay/],
    [{ delay: "1s" }, /delay is a number of ms/],
    [{ delay: 1, notBefore: new Date() }, /delay and notBefore/],
    [{ notBefore: new Date(Number.NaN) }, /notBefore/],
    [{ notBefore: 12 }, /notBefore is a Date/],
    [{ notBefore: new Date(Date.now() + YEARS) }, /notBefore.*100 years/],
    [{ deadline: -1 }, /deadline/],
    [{ runTimeout: 0 }, /runTimeout is 1 to/],
    [{ heartbeatTimeout: Infinity }, /heartbeatTimeout/],
    [{ attempts: 0 }, /attempts is a whole number from 1 to 1000, not 0/],
    [{ attempts: 1001 }, /attempts/],
    [{ backoff: { first: -1, most: 1 } }, /backoff's first/],
    [{ backoff: { first: 1 } }, /backoff's most/],
    [{ backoff: { first: 1, most: 1, factor: 101 } }, /backoff's factor is 1 to 100/],
    [{ backoff: { first: 1, most: 1, jitter: -0.1 } }, /backoff's jitter is 0 to 1/],
    [{ noRetryOn: "TypeError" }, /noRetryOn is a list/],
    [{ noRetryOn: [1] }, /noRetryOn/],
    [{ noRetryOn: Array(33).fill("x") }, /at most 32/],
    [{ noRetryOn: ["ä".repeat(128)] }, /255 bytes/],
    [{ retention: -1 }, /retention is 0 to/],
    [{ retention: YEARS }, /retention.*100 years/],
    [{ unique: "" }, /unique.*1 to 255 bytes, not 0/],
    [{ unique: "ä".repeat(128) }, /unique.*1 to 255 bytes, not 256/],
    [{ unique: "\ud800" }, /unique is Unicode text/],
    [{ unique: 7 }, /unique is text/],
    [{ unique: "k", uniquePolicy: "merge" }, /"merge".*"join".*"follow_up"/],
    [{ unique: "k", uniquePolicy: "" }, /no uniquePolicy ""/],
    [{ unique: "k", uniqueFor: -1 }, /uniqueFor is 0 to/],
    [{ unique: "k", uniqueFor: "1s" }, /uniqueFor is a number of ms/],
    [{ uniquePolicy: "join" }, /uniquePolicy without unique/],
    [{ uniqueFor: 1 }, /uniqueFor without unique/],
    [{ orderKey: "" }, /orderKey is Unicode text of 1 to 255 bytes, not 0/],
    [{ orderKey: 7 }, /orderKey is text/],
    [{ limitKey: "ä".repeat(128) }, /limitKey.*1 to 255 bytes, not 256/],
    [{ limitKey: "\ud800" }, /limitKey is Unicode text/],
    [{ group: "" }, /group.*1 to 255 bytes/],
    [{ cost: -1 }, /cost is a whole number from 0 to 1000000000, not -1/],
    [{ cost: 1_000_000_001 }, /cost/],
    [{ cost: 1.5 }, /cost/],
    [{ cost: "5" }, /cost is a whole number/],
    [{ onProgress: "print" }, /onProgress is a function/],
    [{ trace: "x".repeat(8193) }, /trace has at most 8192 bytes/],
    [{ baggage: "ä".repeat(4097) }, /baggage/],
  ];

  it("that are out of bounds are told before anything is sent", async () => {
    const quiet = new Client(nobody);
    for (const [options, message] of bad) {
      assert.throws(() => quiet.submit("t", null, options), message);
      await assert.rejects(quiet.call("t", null, options), message);
      if ("trace" in options || "baggage" in options || "onProgress" in options) continue;
      await assert.rejects(quiet.post("t", null, options), message);
      assert.throws(() => quiet.map("t", [], options), message);
    }
    const follow = { onLog: () => undefined };
    await assert.rejects(quiet.post("t", null, follow as object), /post does not follow/);
    assert.throws(() => quiet.map("t", [], follow as object), /map does not follow/);
    await quiet.close();
  });

  it("of time pass before a submit and between sessions", async () => {
    await broker.cut();
    client.submit("t", null, { delay: 5000, deadline: 10_000, timeout: 60_000 });
    client.submit("t", null, { notBefore: new Date(Date.now() + 100), timeout: 60_000 });
    const past = new Date(2001, 0, 1);
    client.submit("t", null, { notBefore: past, deadline: 100, timeout: 60_000 });
    await new Promise((resolve) => setTimeout(resolve, 200));
    broker.acknowledges = false;
    await broker.again();
    const records: Rec[] = [];
    for (const n of [0, 1, 2]) records.push((await broker.record(Kind.submit, n)).record);
    const [first, second, third] = records.map((record) => {
      const { 55: _, ...rest } = record[5] as Record<number, number>;
      return rest;
    });
    assert.ok(first[1] > 3000 && first[1] <= 4800);
    assert.ok(Math.abs(first[3] - first[1] - 5000) <= 1);
    assert.deepEqual(second, { 1: 0 }, "its time has come");
    assert.deepEqual(third, { 1: 0, 3: 0 });
    const before = records[0][5];
    await new Promise((resolve) => setTimeout(resolve, 100));
    await broker.restart();
    const again = (await broker.record(Kind.submit, 3)).record[5];
    assert.equal(again[17], true);
    assert.ok(again[1] <= before[1] - 100 && again[3] <= before[3] - 100);
  });

  it("never let a task begin before its point in time by a rounding", (t) => {
    // Both clocks go on whenever somebody looks at one of them; the day's has whole milliseconds.
    let now = 0; // in microseconds
    let step = 0;
    const look = () => (now += step);
    t.mock.method(performance, "now", () => 1e6 + look() / 1000);
    t.mock.method(Date, "now", () => 1e12 + Math.floor(look() / 1000));
    const delayOf = (terms: Terms | undefined): number => {
      const writer = new Writer();
      terms!.write(writer);
      const reader = new Reader(writer.detach(0));
      assert.equal(reader.int(), 1);
      return reader.int() * 1000;
    };
    for (step of [0, 1, 7, 333, 999, 1000, 1001, 2500]) {
      for (const wait of [0, 1, 2, 5, 300, 301, 86_400_000]) {
        now += 137; // the point is anywhere in the midst of a millisecond
        const day = Math.floor(now / 1000);
        const point = (day + wait) * 1000;
        const notBefore = new Date(1e12 + day + wait);
        const each = termsOfEach({ notBefore });
        for (const options of [{ notBefore }, each(), each()]) {
          const starts = delayOf(termsOf(options)) + now; // at the earliest, from the last look
          assert.ok(starts >= point, `${wait} ms by steps of ${step} µs`);
          assert.ok(starts < Math.max(point, now) + 3000 + 8 * step);
        }
      }
    }
  });

  it("follow a task: word of it in order, before its result, whatever callbacks throw", async () => {
    const heard: unknown[] = [];
    const warnings: string[] = [];
    const onWarning = (warning: Error) => warnings.push(warning.message);
    process.on("warning", onWarning);
    const result = client.call("t", null, {
      onProgress: (value, attempt) => {
        heard.push([value, attempt]);
        if (value === "bad") throw new RangeError("mine");
        return value === "late" ? Promise.reject(new Error("and mine")) : undefined;
      },
      onLog: (level, text, attempt) => heard.push([level, text, attempt]),
    });
    const { peer, record } = await broker.record(Kind.submit);
    assert.equal(record[5][69], 3);
    const attempt = (n: number) => new Map([[4, n]]);
    const request = record[1];
    broker.send(
      peer,
      [
        [Kind.progress, request, body(1), attempt(1)],
        [Kind.log, request, 4, "no", attempt(1)],
        [Kind.progress, request, body("bad"), attempt(2)],
        [Kind.progress, request, Buffer.from([0xc1]), attempt(2)],
        [Kind.progress, request, 1, attempt(2)],
        [Kind.progress, request, body("late"), attempt(2)],
        [Kind.log, request, 1, "fine"],
        [Kind.progress, 999, body(0)],
        [Kind.result, request, 1, body("done")],
      ],
      [body("x".repeat(9000))],
    );
    assert.equal(await result, "done");
    assert.deepEqual(heard, [
      [1, 1],
      ["error", "no", 1],
      ["bad", 2],
      ["x".repeat(9000), 2],
      ["late", 2],
      ["debug", "fine", 0],
    ]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    process.off("warning", onWarning);
    assert.equal(warnings.length, 3);
    assert.match(warnings[0], /onProgress of the task .* threw: RangeError: mine/);
    assert.match(warnings.join(), /and mine/);
  });

  it("end with a history", async () => {
    const error = { type: "Flaky", message: "no", language: "go", stack: "s" };
    const history = [
      { attempt: 1, worker: "w1", started: 900, ended: 700, error },
      { attempt: 2, worker: "w2", started: 500, ended: 0, error: { type: "Other" } },
      "nonsense",
    ];
    const classes = { 2: TaskFailed, 3: TaskExpired, 4: TaskCancelled, 5: TaskDead };
    let n = 0;
    for (const [state, expected] of Object.entries(classes)) {
      for (const told of [history, undefined]) {
        const result = client.call("t").catch((e: unknown) => e);
        const { peer, record } = await broker.record(Kind.submit, n++);
        const attributes = new Map<number, unknown>([[2, error]]);
        if (told !== undefined) attributes.set(28, told);
        broker.send(peer, [[Kind.result, record[1], Number(state), null, attributes]]);
        const failed = (await result) as TaskFailed;
        assert.equal(failed.constructor, expected);
        if (told === undefined) {
          assert.deepEqual(failed.history, []);
          continue;
        }
        const flaky = { type: "Flaky", message: "no", language: "go", stack: "s" };
        const other = { type: "Other", message: "", language: "", stack: undefined };
        assert.deepEqual(failed.history, [
          { attempt: 1, worker: "w1", started: 900, ended: 700, ...flaky },
          { attempt: 2, worker: "w2", started: 500, ended: 0, ...other },
        ]);
      }
    }
  });
});
