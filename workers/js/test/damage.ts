/** Input for tests of readers: the shared vectors, broken as attackers break them, and noise. */
import { readFileSync } from "node:fs";
import { Kind } from "../src/wire.js";
import type { Rec } from "./broker.js";

const root = new URL("../../../../proto/vectors/", import.meta.url);

/** The bytes under one key of a file of vectors. */
export function vectors(kind: string, key = "bytes"): Buffer[] {
  const entries = JSON.parse(readFileSync(new URL(`${kind}/v1.json`, root), "utf8"));
  return (entries as Record<string, string | undefined>[])
    .map((entry) => entry[key])
    .filter((digits) => digits !== undefined)
    .map((digits) => Buffer.from(digits, "hex"));
}

/** The frames of the one-buffer form; what is behind a length that lies is the last one. */
export function frames(buffer: Buffer): Buffer[] {
  const found = [];
  for (let at = 0; at + 4 <= buffer.length;) {
    const end = at + 4 + buffer.readUInt32BE(at);
    found.push(buffer.subarray(at + 4, end));
    at = end;
  }
  return found.length > 0 ? found : [Buffer.alloc(0)];
}

// Heads of msgpack that announce more than there is.
const lies = [
  "ddffffffff",
  "dd05ffffff",
  "df7fffffff",
  "c6fffffff0",
  "dbffffffff",
  "dcffff",
  "c9ffffffffff",
  "cfffffffffffffffff",
].map((digits) => Buffer.from(digits, "hex"));

const ID = Buffer.from("018f3c2a7b1e7000800000000000002a", "hex");
const ATTRIBUTES = [2, 4, 6, 8, 10, 18, 24, 26, 27, 28, 29, 30, 32, 33, 34, 57, 59, 75, 11, 100];
// What ends a session is no damage.
const KINDS = Object.values(Kind).filter(
  (kind) => kind !== Kind.header && kind !== Kind.bye && kind !== Kind.goaway,
);

/** Damage of one seed: the same each time. */
export class Damage {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** 0 to n - 1. The generator is mulberry32. */
  below(n: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % n;
  }

  one<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }

  /** One of `known` with one to four faults, or noise. */
  of(known: readonly Buffer[]): Buffer {
    if (this.below(8) === 0) return this.bytes(this.below(64));
    let data = this.one(known);
    for (let n = 1 + this.below(4); n > 0; n--) data = this.#once(data, known);
    return data;
  }

  #once(data: Buffer, known: readonly Buffer[]): Buffer {
    if (data.length === 0) return this.bytes(1);
    const at = this.below(data.length);
    const put = (part: Buffer, over: number) =>
      Buffer.concat([data.subarray(0, at), part, data.subarray(at + over)]);
    switch (this.below(6)) {
      case 0:
        return put(Buffer.from([data[at] ^ (1 << this.below(8))]), 1);
      case 1:
        return put(this.bytes(1), 1);
      case 2:
        return data.subarray(0, at);
      case 3:
        return put(this.bytes(1), 0);
      case 4: {
        const lie = this.one(lies);
        return put(lie, this.below(2) * lie.length);
      }
      default: {
        const other = this.one(known);
        return put(other.subarray(this.below(other.length + 1)), data.length);
      }
    }
  }

  /** A record of a kind that there is, of elements that may be anything. */
  record(): Rec {
    const elements = Array.from({ length: 1 + this.below(7) }, () => this.#value(0));
    // Mostly with a number where all have one, and attributes where many have some.
    if (this.below(4) > 0) elements[0] = this.below(60);
    if (this.below(2) > 0) elements.push(this.#attributes());
    return [this.one(KINDS), ...elements];
  }

  #attributes(): Map<unknown, unknown> {
    return new Map(
      Array.from({ length: this.below(4) }, () => [this.one(ATTRIBUTES), this.#value(1)]),
    );
  }

  #value(depth: number): unknown {
    switch (this.below(depth < 3 ? 12 : 9)) {
      case 0:
        return null;
      case 1:
        return this.below(2) === 1;
      case 2:
        return this.below(100);
      case 3:
        return -this.below(100);
      case 4:
        return Number.MAX_SAFE_INTEGER;
      case 5:
        return this.one(["add", "prices", "", "busy"]);
      case 6:
        return ID;
      case 7:
        return this.bytes(this.below(20));
      case 8:
        return 0.5;
      case 9:
        return this.#attributes();
      case 10:
        return Array.from({ length: this.below(4) }, () => this.#value(depth + 1));
      default:
        return { [this.one(["session", "limits", "type", "a"])]: this.#value(depth + 1) };
    }
  }
}
