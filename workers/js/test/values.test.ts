/** What this language writes and reads beyond the vectors: its own types and their traps. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decode } from "@msgpack/msgpack";
import { BodyError, Float, Timestamp } from "../src/index.js";
import { Reader } from "../src/msgpack/reader.js";
import { Writer } from "../src/msgpack/writer.js";

function write(value: unknown): Buffer {
  const writer = new Writer(4); // so that it grows
  writer.value(value);
  return writer.detach(0);
}
const hex = (value: unknown) => write(value).toString("hex");
const again = (value: unknown) => new Reader(write(value)).value();

describe("values", () => {
  it("writes whole numbers below 2^53 as integers and all others as floats", () => {
    assert.equal(hex(1), "01");
    assert.equal(hex(-0), "cb8000000000000000");
    assert.equal(hex(new Float(1)), "cb3ff0000000000000");
    assert.equal(hex(2 ** 53 - 1), "cf001fffffffffffff");
    assert.equal(hex(2 ** 53), "cb4340000000000000");
    assert.equal(hex(-(2 ** 53) + 1), "d3ffe0000000000001");
    assert.equal(hex(2n ** 53n + 1n), "cf0020000000000001");
    assert.equal(hex(-(2n ** 63n)), "d38000000000000000");
    assert.equal(hex(5n), "05");
    assert.throws(() => write(2n ** 64n), BodyError);
    assert.throws(() => write(-(2n ** 63n) - 1n), BodyError);
  });

  it("reads integers as numbers where they are exact, else as bigint", () => {
    assert.equal(again(2n ** 53n - 1n), 9007199254740991);
    assert.equal(again(2n ** 53n), 9007199254740992n);
    assert.equal(again(-(2n ** 53n)), -9007199254740992n);
    assert.equal(again(2n ** 64n - 1n), 18446744073709551615n);
    assert.ok(Object.is(again(-0), -0));
    assert.ok(Number.isNaN(again(Number.NaN)));
  });

  it("agrees with another library on every width of integer, text, bytes, list and map", () => {
    const numbers = [0, 127, 128, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, 2 ** 40];
    const values: unknown[] = [...numbers, ...numbers.map((n) => -n - 1), 1.5, -1e300];
    for (const length of [0, 15, 16, 31, 32, 47, 48, 49, 255, 256, 65535, 65536]) {
      values.push(
        "x".repeat(length),
        "ü".repeat(length),
        Array.from({ length }, (_, i) => i),
      );
      values.push(Object.fromEntries(Array.from({ length }, (_, i) => [`key ${i}`, i])));
    }
    for (const value of values) {
      assert.deepEqual(decode(write(value)), value);
      assert.deepEqual(again(value), value);
    }
    const bytes = new Uint8Array(70_000).map((_, i) => i & 255);
    for (const length of [0, 1, 255, 256, 65535, 65536, 70_000]) {
      const part = bytes.subarray(0, length);
      const read = again(part);
      assert.deepEqual(read, new Uint8Array(part));
      assert.equal(Object.getPrototypeOf(read), Uint8Array.prototype);
    }
  });

  it("leaves undefined out of objects, and refuses it in lists", () => {
    assert.equal(hex(undefined), "c0");
    assert.deepEqual(again({ a: undefined, b: 1 }), { b: 1 });
    assert.throws(() => write([undefined]), BodyError);
    assert.throws(() => write(new Array(1)), BodyError);
    assert.throws(() => write({ a: [undefined] }), BodyError);
  });

  it("writes what stands for a plain value", () => {
    assert.deepEqual(again(new Map([["a", 1]])), { a: 1 });
    assert.deepEqual(again(Object.create(null, { a: { value: 1, enumerable: true } })), { a: 1 });
    assert.equal(again(new URL("http://x/")), "http://x/");
    class Money {
      toJSON() {
        return { cents: 5 };
      }
    }
    assert.deepEqual(again({ price: new Money() }), { price: { cents: 5 } });
    assert.deepEqual(again(Buffer.from([1, 2])), new Uint8Array([1, 2]));
  });

  it("refuses what has no exact form", () => {
    class Point {
      x = 1;
    }
    class Endless {
      toJSON() {
        return new Endless();
      }
    }
    const circle: unknown[] = [];
    circle.push(circle);
    const refused = [
      new Set(),
      () => 1,
      Symbol("s"),
      new Point(),
      new Endless(),
      new Map([[1, 2]]),
      new Int16Array(2),
      new ArrayBuffer(2),
      new Error("no"),
      /x/,
      new Date(Number.NaN),
      circle,
      "a\ud800b",
      `${"x".repeat(100)}\udc00`,
      { "\ud800": 1 },
      Object(1),
    ];
    for (const value of refused) assert.throws(() => write(value), BodyError);
  });

  it("keeps instants: a Date where that is exact, else a Timestamp", () => {
    for (const date of [
      "1970-01-01T00:00:00Z",
      "2106-02-07T06:28:16Z",
      "0001-01-01T00:00:00.001Z",
    ]) {
      assert.deepEqual(again(new Date(date)), new Date(date));
    }
    assert.deepEqual(
      again(new Date("9999-12-31T23:59:59.999Z")),
      new Date("9999-12-31T23:59:59.999Z"),
    );
    const fine = new Timestamp(-5, 1);
    assert.deepEqual(again(fine), fine);
    assert.deepEqual(again(new Timestamp(1, 5_000_000)), new Date(1005));
    assert.throws(() => write(new Date(8.64e15)), BodyError);
    assert.throws(() => new Timestamp(1, 1e9), RangeError);
    assert.throws(() => new Timestamp(253_402_300_800), RangeError);
  });

  it("reads any key as a property of its own", () => {
    const tricky = JSON.parse('{"__proto__": 1, "constructor": 2, "toString": null, "": 3}');
    const read = again(tricky) as object;
    assert.deepEqual(read, tricky);
    assert.equal(Object.getPrototypeOf(read), Object.prototype);
    assert.deepEqual(Object.keys(read), ["__proto__", "constructor", "toString", ""]);
    const twice = Buffer.from("82a95f5f70726f746f5f5f01a95f5f70726f746f5f5f02", "hex");
    assert.throws(() => new Reader(twice).value(), BodyError);
  });

  it("nests 64 deep and no deeper", () => {
    const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);
    assert.deepEqual(again(nested(64)), nested(64));
    assert.throws(() => write(nested(65)), BodyError);
  });
});
