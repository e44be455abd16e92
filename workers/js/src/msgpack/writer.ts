/**
 * msgpack, written.
 *
 * Why a codec of our own, and none from npm: BODY.md wants exact values. Tried:
 * `@msgpack/msgpack` 3 writes -0 as 0, reads 2^53 + 1 as 2^53, keeps the last of two equal keys, and
 * passes lone surrogates and broken UTF-8; `msgpackr` writes 2^40 as a float and -0 as 0, writes a Set
 * as a list, and passes the same keys and texts. The hooks of neither reach numbers or text. And the
 * wire's records and bodies go into one buffer here, which is what makes packets of many records cheap.
 */
import { BodyError } from "../errors.js";
import { Float, Timestamp } from "../values.js";

/** Lists and maps nest at most this deep in a body. */
export const MAX_DEPTH = 64;

const MAX_SAFE = Number.MAX_SAFE_INTEGER;
const INITIAL_CAPACITY = 1024;
/** Up to this many UTF-16 units, a loop is faster than a call into Node. */
const SHORT_TEXT = 48;

/**
 * A growing buffer that msgpack is appended to.
 *
 * `buf` changes when it grows; `pos` is how much is written. Whoever catches an error sets `pos` back.
 */
export class Writer {
  buf: Buffer;
  pos: number;
  #view: DataView;
  #replacements = 0;

  constructor(capacity = INITIAL_CAPACITY) {
    this.buf = Buffer.allocUnsafeSlow(capacity);
    this.pos = 0;
    this.#view = new DataView(this.buf.buffer);
  }

  /** Makes room for `n` more bytes. */
  reserve(n: number): void {
    if (this.pos + n > this.buf.length) this.#grow(n);
  }

  #grow(n: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.max(this.buf.length * 2, this.pos + n));
    this.buf.copy(grown, 0, 0, this.pos);
    this.buf = grown;
    this.#view = new DataView(grown.buffer);
  }

  /** Takes out everything from `start` on; `pos` is then `start`. Copies the smaller part. */
  detach(start: number): Buffer {
    const taken = this.buf.subarray(start, this.pos);
    this.pos = start;
    if (taken.length < start) return Buffer.from(taken);
    const rest = this.buf;
    this.buf = Buffer.allocUnsafeSlow(Math.max(INITIAL_CAPACITY, start * 2));
    this.#view = new DataView(this.buf.buffer);
    rest.copy(this.buf, 0, 0, start);
    return taken;
  }

  nil(): void {
    this.reserve(1);
    this.buf[this.pos++] = 0xc0;
  }

  bool(value: boolean): void {
    this.reserve(1);
    this.buf[this.pos++] = value ? 0xc3 : 0xc2;
  }

  /** A whole number within plus or minus 2^53 - 1, in the shortest form. */
  int(value: number): void {
    this.reserve(9);
    const buf = this.buf;
    if (value >= 0) {
      if (value < 0x80) {
        buf[this.pos++] = value;
      } else if (value < 0x100) {
        buf[this.pos++] = 0xcc;
        buf[this.pos++] = value;
      } else if (value < 0x10000) {
        buf[this.pos++] = 0xcd;
        buf[this.pos++] = value >>> 8;
        buf[this.pos++] = value & 0xff;
      } else if (value < 0x1_0000_0000) {
        buf[this.pos] = 0xce;
        this.#view.setUint32(this.pos + 1, value);
        this.pos += 5;
      } else {
        buf[this.pos] = 0xcf;
        this.#view.setUint32(this.pos + 1, Math.floor(value / 0x1_0000_0000));
        this.#view.setUint32(this.pos + 5, value % 0x1_0000_0000);
        this.pos += 9;
      }
    } else if (value >= -0x20) {
      buf[this.pos++] = value & 0xff;
    } else if (value >= -0x80) {
      buf[this.pos++] = 0xd0;
      buf[this.pos++] = value & 0xff;
    } else if (value >= -0x8000) {
      buf[this.pos] = 0xd1;
      this.#view.setInt16(this.pos + 1, value);
      this.pos += 3;
    } else if (value >= -0x8000_0000) {
      buf[this.pos] = 0xd2;
      this.#view.setInt32(this.pos + 1, value);
      this.pos += 5;
    } else {
      buf[this.pos] = 0xd3;
      this.#view.setBigInt64(this.pos + 1, BigInt(value));
      this.pos += 9;
    }
  }

  bigint(value: bigint): void {
    if (value >= -BigInt(MAX_SAFE) && value <= BigInt(MAX_SAFE)) {
      this.int(Number(value));
      return;
    }
    if (value < -(2n ** 63n) || value >= 2n ** 64n) {
      throw new BodyError(`the integer ${value} is not within -2^63 to 2^64 - 1`);
    }
    this.reserve(9);
    if (value < 0n) {
      this.buf[this.pos] = 0xd3;
      this.#view.setBigInt64(this.pos + 1, value);
    } else {
      this.buf[this.pos] = 0xcf;
      this.#view.setBigUint64(this.pos + 1, value);
    }
    this.pos += 9;
  }

  float(value: number): void {
    this.reserve(9);
    this.buf[this.pos] = 0xcb;
    this.#view.setFloat64(this.pos + 1, value);
    this.pos += 9;
  }

  str(value: string): void {
    const units = value.length;
    if (units <= SHORT_TEXT) {
      this.reserve(units + 2);
      const { buf, pos: start } = this;
      let pos = start + (units < 32 ? 1 : 2);
      let i = 0;
      for (; i < units; i++) {
        const c = value.charCodeAt(i);
        if (c > 0x7f) break;
        buf[pos++] = c;
      }
      if (i === units) {
        if (units < 32) {
          buf[start] = 0xa0 | units;
        } else {
          buf[start] = 0xd9;
          buf[start + 1] = units;
        }
        this.pos = pos;
        return;
      }
    }
    if (!value.isWellFormed()) throw new BodyError("text with a lone surrogate is not UTF-8");
    const bytes = Buffer.byteLength(value, "utf8");
    this.reserve(bytes + 5);
    this.#strHeader(bytes);
    this.buf.write(value, this.pos, "utf8");
    this.pos += bytes;
  }

  #strHeader(bytes: number): void {
    if (bytes < 32) this.buf[this.pos++] = 0xa0 | bytes;
    else this.#lengthHeader(bytes, 0xd9, 0xda, 0xdb);
  }

  #lengthHeader(length: number, of8: number, of16: number, of32: number): void {
    if (length < 0x100) {
      this.buf[this.pos++] = of8;
      this.buf[this.pos++] = length;
    } else if (length < 0x10000) {
      this.buf[this.pos] = of16;
      this.#view.setUint16(this.pos + 1, length);
      this.pos += 3;
    } else {
      this.buf[this.pos] = of32;
      this.#view.setUint32(this.pos + 1, length);
      this.pos += 5;
    }
  }

  bin(bytes: Uint8Array): void {
    this.reserve(bytes.length + 5);
    this.#lengthHeader(bytes.length, 0xc4, 0xc5, 0xc6);
    this.#append(bytes);
  }

  #append(bytes: Uint8Array): void {
    const { buf, pos } = this;
    const { length } = bytes;
    if (length <= SHORT_TEXT) for (let i = 0; i < length; i++) buf[pos + i] = bytes[i]!;
    else buf.set(bytes, pos);
    this.pos = pos + length;
  }

  /**
   * Turns everything from `start` on, where room for a header of two bytes was left, into binary.
   */
  binFrom(start: number): void {
    const length = this.pos - start - 2;
    if (length >= 0x100) {
      const header = length < 0x10000 ? 3 : 5;
      this.reserve(header - 2);
      this.buf.copyWithin(start + header, start + 2, this.pos);
      this.pos = start;
      this.#lengthHeader(length, 0xc4, 0xc5, 0xc6);
      this.pos += length;
    } else {
      this.buf[start] = 0xc4;
      this.buf[start + 1] = length;
    }
  }

  /** Bytes that are msgpack already. */
  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.#append(bytes);
  }

  array(length: number): void {
    this.reserve(5);
    if (length < 16) {
      this.buf[this.pos++] = 0x90 | length;
    } else if (length < 0x10000) {
      this.buf[this.pos] = 0xdc;
      this.#view.setUint16(this.pos + 1, length);
      this.pos += 3;
    } else {
      this.buf[this.pos] = 0xdd;
      this.#view.setUint32(this.pos + 1, length);
      this.pos += 5;
    }
  }

  map(length: number): void {
    this.reserve(5);
    if (length < 16) {
      this.buf[this.pos++] = 0x80 | length;
    } else if (length < 0x10000) {
      this.buf[this.pos] = 0xde;
      this.#view.setUint16(this.pos + 1, length);
      this.pos += 3;
    } else {
      this.buf[this.pos] = 0xdf;
      this.#view.setUint32(this.pos + 1, length);
      this.pos += 5;
    }
  }

  timestamp(value: Timestamp): void {
    const { seconds, nanoseconds } = value;
    this.reserve(15);
    const { buf, pos } = this;
    if (seconds >= 0 && seconds < 0x4_0000_0000) {
      if (nanoseconds === 0 && seconds < 0x1_0000_0000) {
        buf[pos] = 0xd6;
        buf[pos + 1] = 0xff;
        this.#view.setUint32(pos + 2, seconds);
        this.pos += 6;
        return;
      }
      buf[pos] = 0xd7;
      buf[pos + 1] = 0xff;
      this.#view.setUint32(pos + 2, nanoseconds * 4 + Math.floor(seconds / 0x1_0000_0000));
      this.#view.setUint32(pos + 6, seconds % 0x1_0000_0000);
      this.pos += 10;
      return;
    }
    buf[pos] = 0xc7;
    buf[pos + 1] = 12;
    buf[pos + 2] = 0xff;
    this.#view.setUint32(pos + 3, nanoseconds);
    this.#view.setBigInt64(pos + 7, BigInt(seconds));
    this.pos += 15;
  }

  /**
   * Any value of BODY.md. Start with `depth` 0.
   *
   * @throws BodyError for what has no exact form; `pos` is then somewhere behind where it was
   */
  value(value: unknown, depth = 0): void {
    switch (typeof value) {
      case "number":
        if (Number.isInteger(value) && value <= MAX_SAFE && value >= -MAX_SAFE) {
          if (value === 0 && Object.is(value, -0)) this.float(value);
          else this.int(value);
        } else {
          this.float(value);
        }
        return;
      case "string":
        this.str(value);
        return;
      case "boolean":
        this.bool(value);
        return;
      case "object":
        if (value === null) this.nil();
        else this.#object(value, depth);
        return;
      case "bigint":
        this.bigint(value);
        return;
      case "undefined":
        if (depth !== 0) throw new BodyError("undefined in a list has no form; use null");
        this.nil();
        return;
      default:
        throw new BodyError(`a ${typeof value} has no form in a body`);
    }
  }

  #object(value: object, depth: number): void {
    if (Array.isArray(value)) {
      if (depth === MAX_DEPTH) throw tooDeep();
      this.array(value.length);
      for (let i = 0; i < value.length; i++) this.value(value[i], depth + 1);
      return;
    }
    const prototype = Object.getPrototypeOf(value) as object | null;
    if (prototype === Object.prototype || prototype === null) {
      this.#plain(value as Record<string, unknown>, depth);
    } else if (value instanceof Uint8Array) {
      this.bin(value);
    } else if (value instanceof Date) {
      this.timestamp(checkedDate(value));
    } else if (value instanceof Timestamp) {
      this.timestamp(value);
    } else if (value instanceof Float) {
      this.float(value.value);
    } else if (value instanceof Map) {
      this.#mapObject(value, depth);
    } else if (hasToJson(value)) {
      this.#replaced(value.toJSON(), depth);
    } else if (Object.getPrototypeOf(prototype) === null && !(value instanceof Set)) {
      this.#plain(value as Record<string, unknown>, depth); // a plain object of another realm
    } else {
      throw new BodyError(`an instance of ${className(prototype)} has no form in a body`);
    }
  }

  #plain(value: Record<string, unknown>, depth: number): void {
    if (hasToJson(value)) {
      this.#replaced(value.toJSON(), depth);
      return;
    }
    if (depth === MAX_DEPTH) throw tooDeep();
    const keys = Object.keys(value);
    let present = keys.length;
    for (let i = 0; i < keys.length; i++) if (value[keys[i]] === undefined) present--;
    this.map(present);
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i];
      const item = value[key];
      if (item === undefined) continue;
      this.str(key);
      this.value(item, depth + 1);
      present--;
    }
    // A getter may give something now and nothing then.
    if (present !== 0) throw new BodyError("an object that changes while it is written");
  }

  #replaced(value: unknown, depth: number): void {
    if (value === undefined) throw new BodyError("toJSON returned undefined");
    // A toJSON that gives another one, for ever, would not be stopped by depth.
    if (this.#replacements === 2 * MAX_DEPTH) throw tooDeep();
    this.#replacements++;
    try {
      this.value(value, depth);
    } finally {
      this.#replacements--;
    }
  }

  #mapObject(value: Map<unknown, unknown>, depth: number): void {
    if (depth === MAX_DEPTH) throw tooDeep();
    let present = 0;
    for (const [key, item] of value) {
      if (typeof key !== "string") {
        throw new BodyError(`keys of maps are text; this Map has a ${typeof key}`);
      }
      if (item !== undefined) present++;
    }
    this.map(present);
    for (const [key, item] of value) {
      if (item === undefined) continue;
      this.str(key as string);
      this.value(item, depth + 1);
    }
  }
}

function className(prototype: object): string {
  const { constructor } = prototype as { constructor?: { name?: unknown } };
  return typeof constructor?.name === "string" ? constructor.name : "a class";
}

function hasToJson(value: object): value is { toJSON(): unknown } {
  return "toJSON" in value && typeof value.toJSON === "function";
}

function tooDeep(): BodyError {
  return new BodyError(`lists and maps nest at most ${MAX_DEPTH} deep; is it circular?`);
}

function checkedDate(date: Date): Timestamp {
  try {
    return Timestamp.fromDate(date);
  } catch (error) {
    throw new BodyError((error as Error).message);
  }
}
