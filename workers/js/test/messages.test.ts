import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { BodyError, Client, Float } from "../src/index.js";
import { decompress } from "../src/lz4.js";
import { Kind } from "../src/wire.js";
import { type Received, TestBroker } from "./broker.js";

const MESSAGES = {
  types: {
    json: { codec: 1 },
    plain: { codec: 2 },
    packed: { codec: 0, compress: true },
    loose: { compress: false },
    later: { codec: 9 },
  },
  stages: { json: { codec: 1, compress: true } },
  topics: { plain: { codec: 2 } },
};
const CODEC = 27;
const COMPRESSION = 29;

describe("message types", () => {
  let broker: TestBroker;
  let client: Client;
  beforeEach(async () => {
    broker = await TestBroker.start();
    broker.script.welcome = (_, fields) => {
      fields.messages = MESSAGES;
    };
    client = new Client(broker.url);
  });
  afterEach(async () => {
    await client.close();
    await broker.stop();
  });

  /** The body's bytes and the attributes of the n-th record of this kind. */
  async function sent(kind: number, n: number): Promise<[Buffer, Record<number, unknown>]> {
    const { record, bodies }: Received = await broker.record(kind, n);
    const at = kind === Kind.publish ? 3 : 4;
    const body = record[at] as Uint8Array | number;
    const attributes = (record[at + 1] ?? {}) as Record<number, unknown>;
    return [typeof body === "number" ? bodies[body - 1] : Buffer.from(body), attributes];
  }

  it("bodies are written as the welcome says, also those from before it", async () => {
    const value = { text: "äöü", n: [1, 2.5, null, true, 2n ** 60n, -0, new Float(1e20)] };
    client.submit("json", value).result.catch(() => undefined);
    let [body, attributes] = await sent(Kind.submit, 0);
    const json = '{"text":"äöü","n":[1,2.5,null,true,1152921504606846976,-0.0,1e+20]}';
    assert.equal(body.toString(), json);
    assert.equal(attributes[CODEC], 1);
    assert.equal(attributes[COMPRESSION], undefined);

    client.submit("plain", Buffer.from("\n\u0001x")).result.catch(() => undefined);
    [body, attributes] = await sent(Kind.submit, 1);
    assert.equal(body.toString(), "\n\u0001x");
    assert.equal(attributes[CODEC], 2);

    client.push("json", "a".repeat(100)).catch(() => undefined);
    [body, attributes] = await sent(Kind.push, 0);
    assert.equal(attributes[CODEC], 1);
    assert.equal(attributes[COMPRESSION], 1);
    assert.equal(decompress(body, 1 << 20).toString(), `"${"a".repeat(100)}"`);

    client.publish("plain", new Uint8Array(0)).catch(() => undefined);
    [body, attributes] = await sent(Kind.publish, 0);
    assert.equal(body.length, 0);
    assert.equal(attributes[CODEC], 2);
  });

  it("bodies are compressed as the welcome says", async () => {
    const compressed = async (n: number) => (await sent(Kind.submit, n))[1][COMPRESSION] === 1;
    const submit = (type: string, length: number) =>
      client.submit(type, "a".repeat(length)).result.catch(() => undefined);
    void submit("packed", 62); // and two bytes of msgpack: 64
    assert.equal(await compressed(0), true);
    void submit("packed", 61);
    assert.equal(await compressed(1), false);
    void submit("loose", 100_000);
    assert.equal(await compressed(2), false);
    void submit("other", 5000);
    assert.equal(await compressed(3), true);
  });

  it("a value that the codec cannot hold is told to its caller", async () => {
    const cases: [string, unknown, RegExp][] = [
      ["json", new Uint8Array(1), /bytes and timestamps cannot be sent as JSON/],
      ["json", [new Date(0)], /bytes and timestamps cannot be sent as JSON/],
      ["json", Number.NaN, /NaN and infinities cannot be sent as JSON/],
      ["plain", { a: 1 }, /bodies of "plain" are plain bytes.*found object/],
      ["plain", null, /expected a Uint8Array, found null/],
      ["later", 1, /of codec 9, which is unknown here/],
    ];
    for (const [type, value, why] of cases) {
      await assert.rejects(client.call(type, value), (error: unknown) => {
        assert.ok(error instanceof BodyError);
        assert.match(error.message, why);
        return true;
      });
    }
  });
});
