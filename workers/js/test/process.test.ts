/** Whole processes: how they end, and what they say when they do. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, beforeEach, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { decode } from "@msgpack/msgpack";
import { Kind } from "../src/wire.js";
import { body, TestBroker } from "./broker.js";

const ID = Buffer.from("018f3c2a7b1e7000800000000000002a", "hex");

interface Ended {
  code: number | null;
  signal: string | null;
  out: string;
  err: string;
}

function run(fixture: string, args: string[], env: Record<string, string> = {}) {
  const script = fileURLToPath(new URL(`./fixtures/${fixture}.js`, import.meta.url));
  const child: ChildProcess = spawn(process.execPath, [script, ...args], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  child.stdout!.on("data", (data) => {
    out += data;
  });
  child.stderr!.on("data", (data) => {
    err += data;
  });
  const ended: Promise<Ended> = once(child, "close").then(([code, signal]) => ({
    code,
    signal,
    out,
    err,
  }));
  return { child, ended };
}

describe("process", () => {
  let broker: TestBroker;
  beforeEach(async () => {
    broker = await TestBroker.start();
  });
  afterEach(() => broker.stop());

  it("ends by itself although its client was not closed", async () => {
    broker.script.record = ({ peer, record }, b) => {
      if (record[0] !== Kind.submit) return false;
      b.send(peer, [[Kind.result, record[1], 1, body("done")]]);
      return true;
    };
    const { code, out, err } = await run("client-script", [broker.url, "echo", "10000"]).ended;
    assert.deepEqual([code, out.trim(), err], [0, "done", ""]);
    await broker.record(Kind.bye);
  });

  it("ends by itself when there is no broker", async () => {
    const url = "ipc:///tmp/tuskd-js-test-nobody";
    const { code, out, err } = await run("client-script", [url, "echo", "50"]).ended;
    assert.deepEqual([code, out.trim(), err], [0, "Unavailable", ""]);
  });

  it("says at its end what it leaves unfinished", async () => {
    const { code, err } = await run("client-script", [broker.url, "leave", "10000"]).ended;
    assert.equal(code, 0);
    assert.equal(err, "tuskd: the process ends with 1 request unfinished, 0 of them never sent\n");
  });

  it("stops a worker on SIGTERM: gives back, finishes, says bye, exits 0", async () => {
    const { child, ended } = run("worker-script", [], {
      TUSK_URL: broker.url,
      TUSK_WORKER: "w9",
      TUSK_SLOTS: "2",
    });
    const { peer } = await broker.record(Kind.hello);
    assert.equal(peer.hello.name, "w9");
    assert.equal(peer.hello.pid, child.pid);
    const task = (handle: number) => [Kind.task, handle, ID, "hold", 1, body(null)];
    broker.send(peer, [task(1), task(2), task(3)]);
    broker.send(peer, [[Kind.ping, 1]]);
    await broker.record(Kind.pong);
    child.kill("SIGTERM");
    await broker.record(Kind.bye);
    const { code, signal, out, err } = await ended;
    assert.deepEqual([code, signal, out.trim(), err], [0, null, "run() returned", ""]);
    const of = (kind: number) => broker.log.filter((r) => r.record[0] === kind);
    assert.deepEqual(of(Kind.returned)[0].record, [Kind.returned, 0, [3]]);
    assert.deepEqual(
      of(Kind.result).map((r) => [r.record[1], decode(r.record[3])]),
      [
        [1, "done"],
        [2, "done"],
      ],
    );
  });

  it("ends a supervised worker, with a word, when the broker stays away", async () => {
    broker.script.welcome = (_, fields) => {
      fields.adopt_grace = 100;
    };
    const { ended } = run("worker-script", [], { TUSK_URL: broker.url, TUSK_SUPERVISED: "1" });
    const { peer } = await broker.record(Kind.hello);
    broker.send(peer, [[Kind.ping, 1]]);
    await broker.record(Kind.pong);
    await broker.cut();
    const { code, err } = await ended;
    assert.equal(code, 0);
    assert.match(err, /^tuskd worker: no broker at tcp:.* ending\n$/);
  });

  it("takes slots and pool from the environment", async () => {
    const env = { TUSK_URL: broker.url, TUSK_SLOTS: "7", TUSK_POOL: "blue" };
    const { child, ended } = run("worker-script", [], env);
    const { peer } = await broker.record(Kind.hello);
    assert.deepEqual([peer.hello.slots, peer.hello.pool], [7, "blue"]);
    child.kill("SIGINT");
    assert.equal((await ended).code, 0);
  });
});
