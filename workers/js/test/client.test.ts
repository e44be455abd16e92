import assert from "node:assert/strict";
import { after, beforeEach, describe, it } from "node:test";
import { decode } from "@msgpack/msgpack";
import { Client } from "../src/index.js";
import { Kind } from "../src/wire.js";
import { body, type Received, TestBroker } from "./broker.js";

/** Answers submits of type "add" with the sum. */
function adds({ peer, record }: Received, broker: TestBroker): boolean {
  if (record[0] !== Kind.submit || record[3] !== "add") return false;
  const { a, b } = decode(record[4]) as { a: number; b: number };
  broker.send(peer, [[Kind.result, record[1], 1, body(a + b)]]);
  return true;
}

describe("client", () => {
  const brokers: TestBroker[] = [];
  let broker: TestBroker;
  let client: Client;
  beforeEach(async (t) => {
    broker = await TestBroker.start({ record: adds });
    brokers.push(broker);
    client = new Client(broker.url);
    void t;
  });
  after(async () => {
    for (const b of brokers) await b.stop();
  });

  it("calls a task", async () => {
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    const { record, peer } = await broker.record(Kind.submit);
    assert.equal(record[2].length, 16);
    assert.equal(peer.hello.role, "client");
    await client.close();
    assert.equal((await broker.record(Kind.bye)).record.length, 1);
  });
});
