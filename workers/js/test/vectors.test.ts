/** The vectors of the protocol, the same for every language: ../../../proto/vectors. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { Attributes, BodyPlace, readValue } from "../src/body.js";
import { BodyError, Float, Timestamp } from "../src/index.js";
import { decompress } from "../src/lz4.js";
import { Reader } from "../src/msgpack/reader.js";
import { Writer } from "../src/msgpack/writer.js";
import { RecordEnds } from "../src/scan.js";
import { Kind } from "../src/wire.js";

const root = new URL("../../../../proto/vectors/", import.meta.url);
const load = (name: string) => JSON.parse(readFileSync(new URL(`${name}/v1.json`, root), "utf8"));

// tagged JSON has many shapes
type Tagged = any;

/** Tagged JSON as the value that this SDK reads. */
function untag(tagged: Tagged): unknown {
  if (tagged === null || typeof tagged === "boolean") return tagged;
  if ("int" in tagged) {
    const value = BigInt(tagged.int);
    const safe = value >= -9007199254740991n && value <= 9007199254740991n;
    return safe ? Number(value) : value;
  }
  if ("float" in tagged) return Number(tagged.float);
  if ("text" in tagged) return tagged.text;
  if ("bytes" in tagged) return new Uint8Array(Buffer.from(tagged.bytes, "hex"));
  if ("list" in tagged) return tagged.list.map(untag);
  if ("map" in tagged) {
    const map = {};
    for (const [key, value] of tagged.map) {
      Object.defineProperty(map, key, {
        value: untag(value),
        enumerable: true,
        writable: true,
        configurable: true,
      });
    }
    return map;
  }
  const [seconds, nanoseconds] = tagged.timestamp;
  const timestamp = new Timestamp(Number(seconds), nanoseconds);
  return timestamp.isWholeMilliseconds ? timestamp.toDate() : timestamp;
}

/** Tagged JSON as a value that this SDK writes with exactly these types. */
function toSend(tagged: Tagged): unknown {
  if (tagged === null || typeof tagged === "boolean") return tagged;
  if ("float" in tagged) return new Float(Number(tagged.float));
  if ("list" in tagged) return tagged.list.map(toSend);
  if ("map" in tagged) {
    return new Map(tagged.map.map(([key, value]: [string, Tagged]) => [key, toSend(value)]));
  }
  return untag(tagged);
}

function bytesOf(vector: { bytes?: string; repeat?: { hex: string; count: number } }): Buffer {
  if (vector.repeat === undefined) return Buffer.from(vector.bytes!, "hex");
  const piece = Buffer.from(vector.repeat.hex, "hex");
  return Buffer.alloc(piece.length * vector.repeat.count, piece);
}

const LIMIT = 64 << 20;
const read = (bytes: Buffer) => readValue(bytes, 0, bytes.length, 0, false, LIMIT);

describe("bodies", () => {
  for (const vector of load("bodies")) {
    it(vector.name, () => {
      const bytes = bytesOf(vector);
      if (vector.refuse) {
        assert.throws(() => read(bytes), BodyError);
        return;
      }
      assert.deepStrictEqual(read(bytes), untag(vector.value));
      if (vector.canonical === false) return;
      const writer = new Writer();
      writer.value(toSend(vector.value));
      assert.equal(writer.detach(0).toString("hex"), bytes.toString("hex"));
    });
  }
});

describe("packets", () => {
  for (const vector of load("packets")) {
    if (vector.direction === "to_broker") continue;
    it(`${vector.name} is read`, () => {
      const bytes = Buffer.from(vector.bytes, "hex");
      const reader = new Reader(bytes.subarray(4, 4 + bytes.readUInt32BE(0)));
      const ends = new RecordEnds();
      assert.equal(ends.scan(reader), vector.json.records.length);
      const frames = [Buffer.alloc(0), ...vector.json.frames.map(() => Buffer.alloc(1))];
      for (const [i, [name, ...elements]] of vector.json.records.entries()) {
        const length = reader.array();
        assert.equal(length, elements.length + 1);
        const kind = reader.int();
        if (name in Kind) assert.equal(kind, Kind[name as keyof typeof Kind]);
        if (kind === Kind.task || kind === Kind.item) {
          const place = new BodyPlace();
          assert.equal(reader.int(), elements[0]);
          assert.equal(reader.bin(), 16);
          assert.equal(reader.str(), elements[2]);
          assert.equal(reader.int(), elements[3]);
          place.locate(reader, frames);
          assert.equal(place.buf === undefined, elements[4] === null);
          if (length > 6) new Attributes().read(reader);
        }
        reader.pos = ends.at(i);
      }
      assert.ok(reader.atEnd);
    });
  }
});

describe("LZ4 frames", () => {
  for (const vector of load("lz4")) {
    it(vector.name, () => {
      const frame = Buffer.from(vector.frame, "hex");
      if (vector.refuse) {
        assert.throws(() => decompress(frame, vector.limit), BodyError);
        return;
      }
      const content = decompress(frame, vector.limit);
      assert.equal(content.length, vector.size);
      assert.equal(createHash("sha256").update(content).digest("hex"), vector.sha256);
    });
  }
});
