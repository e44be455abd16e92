/** msgpack, read: values by the rules of BODY.md, and records field by field. */
import { isUtf8 } from "node:buffer";
import { BodyError } from "../errors.js";
import { Timestamp } from "../values.js";
import { MAX_DEPTH } from "./writer.js";

const MAX_SAFE = Number.MAX_SAFE_INTEGER;
const SHORT_TEXT = 24;
const KEY_CACHE_SIZE = 512;
const KEY_CACHE_LONGEST = 32;

/** Texts that come again and again (keys of maps, types of tasks), found by their bytes. */
const keyBytes = new Array<Buffer | undefined>(KEY_CACHE_SIZE).fill(undefined);
const keyTexts = new Array<string>(KEY_CACHE_SIZE).fill("");

/**
 * Reads msgpack from `buf` between `pos` and `end`.
 *
 * The typed methods (`int`, `str`, ...) throw BodyError when something else is there, or when it is
 * cut off; `pos` is then undefined.
 */
export class Reader {
  buf: Buffer;
  pos: number;
  end: number;
  #view: DataView | undefined;

  constructor(buf: Buffer, pos = 0, end = buf.length) {
    this.buf = buf;
    this.pos = pos;
    this.end = end;
  }

  /** Reads another buffer from now on. */
  reset(buf: Buffer, pos = 0, end = buf.length): void {
    if (buf !== this.buf) {
      this.buf = buf;
      this.#view = undefined;
    }
    this.pos = pos;
    this.end = end;
  }

  get atEnd(): boolean {
    return this.pos === this.end;
  }

  #data(): DataView {
    return (this.#view ??= new DataView(this.buf.buffer, this.buf.byteOffset, this.buf.byteLength));
  }

  #byte(): number {
    if (this.pos >= this.end) throw cut();
    return this.buf[this.pos++];
  }

  /** Steps over `n` bytes and says where they began. */
  #take(n: number): number {
    const start = this.pos;
    if (n > this.end - start) throw cut();
    this.pos = start + n;
    return start;
  }

  #uint16(): number {
    const at = this.#take(2);
    return (this.buf[at] << 8) | this.buf[at + 1];
  }

  #uint32(): number {
    const at = this.#take(4);
    const buf = this.buf;
    return buf[at] * 0x100_0000 + ((buf[at + 1] << 16) | (buf[at + 2] << 8) | buf[at + 3]);
  }

  /** The first byte of what comes next. */
  peek(): number {
    if (this.pos >= this.end) throw cut();
    return this.buf[this.pos];
  }

  /** Steps over nil, if that is next. */
  tryNil(): boolean {
    if (this.peek() !== 0xc0) return false;
    this.pos++;
    return true;
  }

  /** The length of an array whose elements come next. */
  array(): number {
    const b = this.#byte();
    if (b >= 0x90 && b < 0xa0) return b & 0x0f;
    if (b === 0xdc) return this.#uint16();
    if (b === 0xdd) return this.#uint32();
    throw new BodyError("not a list");
  }

  /** The number of pairs of a map whose keys and values come next. */
  map(): number {
    const b = this.#byte();
    if (b >= 0x80 && b < 0x90) return b & 0x0f;
    if (b === 0xde) return this.#uint16();
    if (b === 0xdf) return this.#uint32();
    throw new BodyError("not a map");
  }

  /** A whole number within plus or minus 2^53 - 1. */
  int(): number {
    const b = this.#byte();
    if (b < 0x80) return b;
    if (b >= 0xe0) return b - 0x100;
    const value = this.#integer(b);
    if (value === undefined) throw new BodyError("not an integer");
    if (typeof value === "bigint") throw new BodyError("an integer beyond 2^53 - 1");
    return value;
  }

  /** The integer that the format byte `b` announces; undefined if it announces something else. */
  #integer(b: number): number | bigint | undefined {
    switch (b) {
      case 0xcc:
        return this.#byte();
      case 0xcd:
        return this.#uint16();
      case 0xce:
        return this.#uint32();
      case 0xcf: {
        const at = this.#take(8);
        const high = this.#data().getUint32(at);
        if (high < 0x20_0000) return high * 0x1_0000_0000 + this.#data().getUint32(at + 4);
        return this.#data().getBigUint64(at);
      }
      case 0xd0:
        return (this.#byte() << 24) >> 24;
      case 0xd1:
        return (this.#uint16() << 16) >> 16;
      case 0xd2:
        return this.#data().getInt32(this.#take(4));
      case 0xd3: {
        const value = this.#data().getBigInt64(this.#take(8));
        const small = Number(value);
        return small <= MAX_SAFE && small >= -MAX_SAFE ? small : value;
      }
      default:
        return undefined;
    }
  }

  bool(): boolean {
    const b = this.#byte();
    if (b === 0xc3) return true;
    if (b === 0xc2) return false;
    throw new BodyError("not a boolean");
  }

  /** Text; the same few texts again and again are cheap. */
  str(): string {
    const length = this.#strLength(this.#byte());
    if (length < 0) throw new BodyError("not text");
    return this.#key(length);
  }

  /** The bytes of text that the format byte `b` announces; -1 if it announces something else. */
  #strLength(b: number): number {
    if (b >= 0xa0 && b < 0xc0) return b & 0x1f;
    if (b === 0xd9) return this.#byte();
    if (b === 0xda) return this.#uint16();
    if (b === 0xdb) return this.#uint32();
    return -1;
  }

  /** Steps over binary and says its length; it begins at `pos` minus that. */
  bin(): number {
    const length = this.#binLength(this.#byte());
    if (length < 0) throw new BodyError("not bytes");
    this.#take(length);
    return length;
  }

  #binLength(b: number): number {
    if (b === 0xc4) return this.#byte();
    if (b === 0xc5) return this.#uint16();
    if (b === 0xc6) return this.#uint32();
    return -1;
  }

  #text(length: number): string {
    const start = this.#take(length);
    const { buf } = this;
    const end = start + length;
    if (length <= SHORT_TEXT) {
      let text = "";
      for (let i = start; i < end; i++) {
        const c = buf[i];
        if (c > 0x7f) return utf8(buf, start, end);
        text += String.fromCharCode(c);
      }
      return text;
    }
    return utf8(buf, start, end);
  }

  #key(length: number): string {
    if (length === 0 || length > KEY_CACHE_LONGEST) return this.#text(length);
    const start = this.pos;
    if (length > this.end - start) throw cut();
    const { buf } = this;
    const slot =
      (buf[start] * 31 + buf[start + length - 1] * 7 + buf[start + (length >> 1)] * 3 + length) %
      KEY_CACHE_SIZE;
    const cached = keyBytes[slot];
    if (cached?.length === length) {
      let i = 0;
      while (i < length && cached[i] === buf[start + i]) i++;
      if (i === length) {
        this.pos = start + length;
        return keyTexts[slot];
      }
    }
    const text = this.#text(length);
    keyBytes[slot] = Buffer.from(buf.subarray(start, start + length));
    keyTexts[slot] = text;
    return text;
  }

  /** One value by the rules of BODY.md. Bytes in it are copies. */
  value(depth = 0): unknown {
    const b = this.#byte();
    if (b < 0x80) return b;
    if (b < 0x90) return this.#mapOf(b & 0x0f, depth);
    if (b < 0xa0) return this.#listOf(b & 0x0f, depth);
    if (b < 0xc0) return this.#text(b & 0x1f);
    if (b >= 0xe0) return b - 0x100;
    switch (b) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xca:
        return this.#data().getFloat32(this.#take(4));
      case 0xcb:
        return this.#data().getFloat64(this.#take(8));
      case 0xc4:
      case 0xc5:
      case 0xc6: {
        const length = this.#binLength(b);
        const start = this.#take(length);
        return new Uint8Array(this.buf.subarray(start, start + length));
      }
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#strLength(b));
      case 0xdc:
        return this.#listOf(this.#uint16(), depth);
      case 0xdd:
        return this.#listOf(this.#uint32(), depth);
      case 0xde:
        return this.#mapOf(this.#uint16(), depth);
      case 0xdf:
        return this.#mapOf(this.#uint32(), depth);
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.#extension(1 << (b - 0xd4));
      case 0xc7:
        return this.#extension(this.#byte());
      case 0xc8:
        return this.#extension(this.#uint16());
      case 0xc9:
        return this.#extension(this.#uint32());
      default: {
        const integer = this.#integer(b);
        if (integer === undefined) throw new BodyError("the byte c1 is not msgpack");
        return integer;
      }
    }
  }

  #listOf(length: number, depth: number): unknown[] {
    if (depth === MAX_DEPTH) throw tooDeep();
    // Each element takes a byte at least, so a length that lies makes no large array.
    if (length > this.end - this.pos) throw cut();
    const list: unknown[] = [];
    for (let i = 0; i < length; i++) list.push(this.value(depth + 1));
    return list;
  }

  #mapOf(length: number, depth: number): Record<string, unknown> {
    if (depth === MAX_DEPTH) throw tooDeep();
    if (length * 2 > this.end - this.pos) throw cut();
    const map: Record<string, unknown> = {};
    for (let i = 0; i < length; i++) {
      const keyLength = this.#strLength(this.#byte());
      if (keyLength < 0) throw new BodyError("a key of a map that is not text");
      const key = this.#key(keyLength);
      const value = this.value(depth + 1);
      // A value is never undefined, so only what is there already, or inherited, comes in here.
      if (map[key] !== undefined) {
        if (Object.hasOwn(map, key)) throw new BodyError(`the key "${key}" twice in one map`);
        Object.defineProperty(map, key, {
          value,
          writable: true,
          enumerable: true,
          configurable: true,
        });
      } else {
        map[key] = value;
      }
    }
    return map;
  }

  #extension(length: number): Date | Timestamp {
    const type = (this.#byte() << 24) >> 24;
    const at = this.#take(length);
    if (type !== -1) throw new BodyError(`the extension type ${type} is not one of BODY.md`);
    const data = this.#data();
    let seconds: number;
    let nanoseconds = 0;
    if (length === 4) {
      seconds = data.getUint32(at);
    } else if (length === 8) {
      const high = data.getUint32(at);
      nanoseconds = high >>> 2;
      seconds = (high & 3) * 0x1_0000_0000 + data.getUint32(at + 4);
    } else if (length === 12) {
      nanoseconds = data.getUint32(at);
      seconds = Number(data.getBigInt64(at + 4));
    } else {
      throw new BodyError(`a timestamp of ${length} bytes`);
    }
    try {
      const timestamp = new Timestamp(seconds, nanoseconds);
      return timestamp.isWholeMilliseconds ? timestamp.toDate() : timestamp;
    } catch (error) {
      throw new BodyError((error as Error).message);
    }
  }

  /** Steps over one value of a record. `depth` is how deep it stands; records nest at most 8 deep. */
  skip(depth: number): void {
    const b = this.#byte();
    if (b < 0x80 || b >= 0xe0) return;
    if (b < 0x90) this.#skipMany((b & 0x0f) * 2, depth);
    else if (b < 0xa0) this.#skipMany(b & 0x0f, depth);
    else if (b < 0xc0) this.#text(b & 0x1f);
    else this.#skipLong(b, depth);
  }

  #skipLong(b: number, depth: number): void {
    if (b === 0xc0 || b === 0xc2 || b === 0xc3) return;
    const text = this.#strLength(b);
    if (text >= 0) {
      const start = this.#take(text);
      if (!isUtf8(this.buf.subarray(start, start + text))) throw notUtf8();
      return;
    }
    const bytes = this.#binLength(b);
    if (bytes >= 0) this.#take(bytes);
    else if (b === 0xca) this.#take(4);
    else if (b === 0xcb) this.#take(8);
    else if (b === 0xdc) this.#skipMany(this.#uint16(), depth);
    else if (b === 0xdd) this.#skipMany(this.#uint32(), depth);
    else if (b === 0xde) this.#skipMany(this.#uint16() * 2, depth);
    else if (b === 0xdf) this.#skipMany(this.#uint32() * 2, depth);
    else if (this.#integer(b) === undefined) throw new BodyError("not msgpack of a record");
  }

  #skipMany(count: number, depth: number): void {
    if (depth === MAX_RECORD_DEPTH) throw new BodyError("a record nested over 8 deep");
    if (count > this.end - this.pos) throw cut();
    for (let i = 0; i < count; i++) this.skip(depth + 1);
  }
}

/** Records nest at most this deep; the record itself is level 1. */
export const MAX_RECORD_DEPTH = 8;

function utf8(buf: Buffer, start: number, end: number): string {
  if (!isUtf8(buf.subarray(start, end))) throw notUtf8();
  return buf.toString("utf8", start, end);
}

function cut(): BodyError {
  return new BodyError("cut off");
}

function notUtf8(): BodyError {
  return new BodyError("text that is not UTF-8");
}

function tooDeep(): BodyError {
  return new BodyError(`lists and maps nested over ${MAX_DEPTH} deep`);
}
