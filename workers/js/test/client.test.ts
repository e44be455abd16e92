import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { decode } from "@msgpack/msgpack";
import {
  AlreadyEnded,
  BodyError,
  Client,
  Closed,
  IdConflict,
  TaskCancelled,
  TaskDead,
  TaskExpired,
  TaskFailed,
  Timeout,
  TooLarge,
  Unavailable,
  Unknown,
  UnknownOutcome,
  Unserved,
} from "../src/index.js";
import { Kind } from "../src/wire.js";
import { body, type Received, TestBroker } from "./broker.js";

const nobody = "ipc:///tmp/tuskd-js-test-nobody-listens";

describe("client", () => {
  let broker: TestBroker;
  let client: Client;
  beforeEach(async () => {
    broker = await TestBroker.start({ record: serve });
    client = new Client(broker.url);
  });
  afterEach(async () => {
    await client.close();
    await broker.stop();
  });

  /** Task types of the scripted broker, by name. */
  function serve({ peer, record }: Received, b: TestBroker): boolean {
    const [kind, request] = record;
    const reply = (...records: unknown[][]) => b.send(peer, records);
    const failure = { type: "ValueError", message: "no", language: "python", stack: "line 1" };
    const attributes = new Map<number, unknown>([
      [2, failure],
      [4, 2],
      [6, "python-7"],
    ]);
    if (kind !== Kind.submit) return false;
    switch (record[3]) {
      case "add": {
        const { a, b: other } = decode(record[4]) as { a: number; b: number };
        reply([Kind.result, request, 1, body(a + other)]);
        break;
      }
      case "nothing":
        reply([Kind.result, request, 1]);
        break;
      case "unreadable":
        reply([Kind.result, request, 1, Buffer.from([0xc1])]);
        break;
      case "fail":
        reply([Kind.result, request, 2, null, attributes]);
        break;
      case "die":
        reply([Kind.result, request, 5, null, new Map([...attributes, [57, true]])]);
        break;
      case "expire":
        reply([Kind.result, request, 3]);
        break;
      case "cancelled":
        reply([Kind.result, request, 4]);
        break;
      case "accept":
        reply([Kind.accepted, request]);
        break;
      case "accept first":
        reply([Kind.accepted, request]);
        reply([Kind.result, request, 1, body("then")]);
        break;
      case "hold":
        return false;
      default:
        reply([
          Kind.error,
          request,
          record[3],
          `about ${record[3]}`,
          { limit: "x", state: "dead" },
        ]);
    }
    return true;
  }

  it("calls a task", async () => {
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    assert.equal(await client.call("nothing"), null);
    const { record, peer } = await broker.record(Kind.submit);
    assert.equal(peer.hello.role, "client");
    assert.equal(record[2].length, 16);
    assert.equal(record[2][6] >> 4, 7);
    const time = Buffer.from(record[2]).readUIntBE(0, 6);
    assert.ok(Math.abs(time - Date.now()) < 60_000, "the id begins with the time");
    await client.close();
    await broker.record(Kind.bye);
  });

  it("has an error class for each ending", async () => {
    const failed = await client
      .call("fail", 1, { id: "018f3c2a-7b1e-7000-8000-00000000002a" })
      .then(
        () => assert.fail("it did not fail"),
        (error: TaskFailed) => error,
      );
    assert.ok(failed instanceof TaskFailed && !(failed instanceof TaskDead));
    assert.deepEqual(failed.remote, {
      language: "python",
      type: "ValueError",
      message: "no",
      stack: "line 1",
      attempt: 2,
      worker: "python-7",
      retryable: true,
    });
    assert.equal(failed.code, "failed");
    assert.equal(failed.taskId, "018f3c2a-7b1e-7000-8000-00000000002a");
    await assert.rejects(client.call("die"), (error: TaskDead) => {
      assert.ok(error instanceof TaskDead && error instanceof TaskFailed);
      assert.equal(error.name, "TaskDead");
      assert.equal(error.remote.retryable, false);
      return true;
    });
    await assert.rejects(client.call("expire"), TaskExpired);
    await assert.rejects(client.call("cancelled"), TaskCancelled);
    await assert.rejects(client.call("unreadable"), BodyError);
  });

  it("has an error class for what the broker refuses", async () => {
    await assert.rejects(client.call("unserved"), Unserved);
    await assert.rejects(client.call("id_conflict"), IdConflict);
    await assert.rejects(client.call("unknown_outcome"), UnknownOutcome);
    await assert.rejects(client.call("unknown_topic"), Unknown);
    await assert.rejects(client.call("timeout"), Timeout);
    await assert.rejects(client.call("already_ended"), (error: AlreadyEnded) => {
      assert.ok(error instanceof AlreadyEnded);
      assert.equal(error.details.state, "dead");
      assert.equal(error.message, "about already_ended");
      return true;
    });
    await assert.rejects(client.call("something_new"), { code: "something_new" });
  });

  it("refuses at once what has no exact form or is too large", async () => {
    await assert.rejects(client.call("add", new Set()), BodyError);
    await assert.rejects(client.call("add", "\ud800"), BodyError);
    await assert.rejects(client.call("x".repeat(256)), BodyError);
    broker.script.welcome = (_, fields) => {
      fields.limits = { body: 1000 };
    };
    await client.call("nothing");
    await assert.rejects(client.call("nothing", "x".repeat(1001)), (error: TooLarge) => {
      assert.ok(error instanceof TooLarge);
      assert.deepEqual(error.details, { limit: "body", value: 1000 });
      return true;
    });
    assert.throws(() => client.submit("nothing", () => 1), BodyError);
  });

  it("times out, and tells whether there was a broker", async () => {
    await assert.rejects(client.call("hold", null, { timeout: 30 }), (error: Timeout) => {
      assert.ok(error instanceof Timeout);
      assert.match(error.taskId ?? "", /^[0-9a-f-]{36}$/);
      return true;
    });
    const { record } = await broker.record(Kind.submit);
    assert.ok(
      record[5][55] > 0 && record[5][55] <= 30,
      "the broker is told how long the caller waits",
    );
    const lonely = new Client(nobody);
    await assert.rejects(lonely.call("add", 1, { timeout: 30 }), (error: Unavailable) => {
      assert.ok(error instanceof Unavailable);
      assert.equal(error.url, nobody);
      assert.match(error.message, /nobody-listens/);
      return true;
    });
    await assert.rejects(lonely.query("status", undefined, { timeout: 30 }), Unavailable);
    await assert.rejects(lonely.push("stage", 1, { timeout: 30 }), Unavailable);
    await lonely.close();
  });

  it("takes the time-out that the broker names", async () => {
    broker.script.welcome = (_, fields) => {
      fields.timeout = 40;
    };
    await client.call("nothing");
    await assert.rejects(client.call("hold"), Timeout);
  });

  it("submits and returns a handle", async () => {
    const task = client.submit<string>("accept first", null, { reply: "both" });
    await task.accepted;
    assert.equal(await task.result, "then");
    const { record } = await broker.record(Kind.submit);
    assert.deepEqual(record[5], { 15: 2 });
    assert.equal(task.id.replaceAll("-", ""), Buffer.from(record[2]).toString("hex"));
    assert.equal(await task.result, "then");
    const id = await client.post("accept", 1, { rerunOk: true, resent: true, trace: "00-1-2-01" });
    const posted = (await broker.record(Kind.submit, 1)).record;
    assert.deepEqual(posted[5], { 8: "00-1-2-01", 15: 1, 17: true, 53: true });
    assert.equal(id.replaceAll("-", ""), Buffer.from(posted[2]).toString("hex"));
    client.submit("fail"); // nobody asks: nothing is thrown
    await client.call("nothing");
  });

  it("cancels by handle, by id and by signal", async () => {
    broker.script.record = (received, b) => {
      if (received.record[0] !== Kind.cancel) return serve(received, b);
      b.send(received.peer, [[Kind.answer, received.record[1], { state: "cancelling" }]]);
      return true;
    };
    const task = client.submit("hold");
    assert.equal(await task.cancel(), "cancelling");
    const cancel = (await broker.record(Kind.cancel)).record;
    assert.equal(Buffer.from(cancel[2]).toString("hex"), task.id.replaceAll("-", ""));
    const controller = new AbortController();
    const call = client.call("hold", null, { signal: controller.signal });
    await broker.record(Kind.submit, 1);
    controller.abort(new Error("enough"));
    await assert.rejects(call, (error: TaskCancelled) => {
      assert.ok(error instanceof TaskCancelled);
      assert.equal((error.cause as Error).message, "enough");
      return true;
    });
    await broker.record(Kind.cancel, 1);
    const submits = broker.log.filter((r) => r.record[0] === Kind.submit).length;
    await assert.rejects(client.call("hold", null, { signal: controller.signal }), TaskCancelled);
    await client.call("nothing");
    const after = broker.log.filter((r) => r.record[0] === Kind.submit).length;
    assert.equal(after, submits + 1, "a call that was aborted before is not sent");
    await assert.rejects(client.cancel("not an id"), RangeError);
  });

  it("maps many bodies in order, as they complete, and with errors apart", async () => {
    const bodies = Array.from({ length: 50 }, (_, i) => ({ a: i, b: 0 }));
    const sums: number[] = [];
    for await (const sum of client.map<number>("add", bodies, { inFlight: 7 })) sums.push(sum);
    assert.deepEqual(
      sums,
      bodies.map(({ a }) => a),
    );
    async function* later() {
      yield* bodies;
    }
    const any: number[] = [];
    for await (const sum of client.map<number>("add", later(), { ordered: false })) any.push(sum);
    assert.deepEqual(
      any.sort((x, y) => x - y),
      sums,
    );
    const outcomes = [];
    for await (const o of client.mapSettled("add", [{ a: 1, b: 1 }, new Set(), { a: 2, b: 2 }])) {
      outcomes.push(o);
    }
    assert.deepEqual([outcomes[0].value, outcomes[2].value], [2, 4]);
    assert.ok(outcomes[1].error instanceof BodyError);
    await assert.rejects(async () => {
      for await (const _ of client.map("fail", [1, 2])) assert.fail("a result");
    }, TaskFailed);
    await assert.rejects(async () => {
      const broken = (function* () {
        yield { a: 1, b: 1 };
        throw new Error("source");
      })();
      for await (const _ of client.map("add", broken));
    }, /source/);
  });

  it("bounds how many of a map are in flight, and cancels them when the reader leaves", async () => {
    let taken = 0;
    const endless = (function* () {
      for (;;) yield { n: ++taken };
    })();
    const results = client.map("hold", endless, { inFlight: 5 });
    const first = results.next();
    await broker.record(Kind.submit, 4);
    assert.equal(taken, 5);
    await results.return!();
    assert.deepEqual(await first, { value: undefined, done: true });
    await broker.record(Kind.cancel, 4);
    assert.equal(taken, 5);
  });

  it("asks the broker", async () => {
    broker.script.record = ({ peer, record }, b) => {
      if (record[0] !== Kind.query) return false;
      b.send(peer, [[Kind.answer, record[1], { asked: record[2], args: record[3] ?? null }]]);
      return true;
    };
    assert.deepEqual(await client.query("status"), { asked: "status", args: null });
    const id = "018f3c2a-7b1e-7000-8000-00000000002a";
    const answer = await client.query<{ args: { id: Uint8Array } }>("task", { id });
    assert.equal(Buffer.from(answer.args.id).toString("hex"), id.replaceAll("-", ""));
  });

  it("pushes with back-pressure: no more unanswered than the window", async () => {
    broker.script.welcome = (_, fields) => {
      fields.push_window = 0;
      fields.limits = { push_window: 3 };
    };
    const pushed = () => broker.log.filter((r) => r.record[0] === Kind.push);
    await client.call("nothing");
    const done = client.pushMany("clean", [0, 1, 2, 3, 4, 5, 6]);
    await broker.record(Kind.push, 2);
    await client.call("nothing"); // whatever was sent before it has arrived
    assert.equal(pushed().length, 3);
    for (let i = 0; i < 7; i++) {
      const { peer, record } = await broker.record(Kind.push, i);
      assert.equal(decode(record[4]), i);
      broker.send(peer, [[Kind.accepted, record[1]]]);
    }
    assert.equal(await done, 7);
    const one = client.push("clean", "x", { id: new Uint8Array(16).fill(9) });
    const { peer, record } = await broker.record(Kind.push, 7);
    broker.send(peer, [[Kind.accepted, record[1]]]);
    assert.equal(await one, "09090909-0909-0909-0909-090909090909");
  });

  it("waits on for room in a stage, beyond the time-out of calls", async () => {
    broker.script.welcome = (_, fields) => {
      fields.timeout = 20;
    };
    await client.call("nothing");
    const push = client.push("clean", 1);
    const { peer, record } = await broker.record(Kind.push);
    await assert.rejects(client.call("hold"), Timeout);
    await assert.rejects(client.call("hold"), Timeout);
    broker.send(peer, [[Kind.accepted, record[1]]]);
    await push;
  });

  it("closes: rejects what is unfinished and takes nothing more", async () => {
    const call = client.call("hold");
    await broker.record(Kind.submit);
    const rejected = assert.rejects(call, Closed);
    await client.close();
    await rejected;
    await assert.rejects(client.call("add"), Closed);
    await assert.rejects(client.publish("t"), Closed);
    await client.close();
  });

  it("takes an ipc URL and TUSK_URL", async () => {
    const url = `ipc:///tmp/tuskd-js-test-${process.pid}`;
    const other = new TestBroker();
    other.script.record = serve;
    await other.bind(url);
    process.env.TUSK_URL = url;
    const local = new Client();
    delete process.env.TUSK_URL;
    assert.equal(local.url, url);
    assert.equal(await local.call("add", { a: 2, b: 2 }), 4);
    await local.close();
    await other.stop();
    const wrong = new Client("no url at all");
    await assert.rejects(wrong.call("add"), /Invalid argument/);
    await wrong.close();
  });
});
