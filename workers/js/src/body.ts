/** Bodies within records: written into packets, found in them, and read as values. */
import { isUtf8 } from "node:buffer";
import { BodyError, tooLarge } from "./errors.js";
import { compress, decompress } from "./lz4.js";
import { Reader } from "./msgpack/reader.js";
import type { Packet } from "./packet.js";
import { idText } from "./uuid.js";
import { Attribute, Codec, OWN_FRAME } from "./wire.js";

/** What holds for the bodies that go out; both from WELCOME. */
export interface BodyRules {
  /** The largest body, in bytes, before compression and after. */
  limit: number;
  /** Bodies of at least so many bytes are compressed. */
  compressionThreshold: number;
}

/**
 * Writes `value` as the body of the record that `packet` is being given. Returns whether it is
 * compressed, which the record's attributes must then say.
 *
 * @throws BodyError if the value has no exact form
 * @throws TooLarge if it is over the limit
 */
export function writeValue<T>(packet: Packet<T>, value: unknown, rules: BodyRules): boolean {
  const { writer } = packet;
  writer.reserve(2);
  const start = writer.pos;
  writer.pos += 2;
  writer.value(value);
  const length = writer.pos - start - 2;
  if (length < OWN_FRAME && length < rules.compressionThreshold) {
    writer.binFrom(start);
    return false;
  }
  if (length > rules.limit) throw tooLarge("the body", length, "body", rules.limit);
  writer.pos = start + 2 + length;
  const body = writer.detach(start + 2);
  writer.pos = start;
  return writeBytes(packet, body, rules);
}

/** As writeValue, for a body that is msgpack already. It is not copied if it gets its own frame. */
export function writeBytes<T>(packet: Packet<T>, body: Buffer, rules: BodyRules): boolean {
  let sent = body;
  let compressed = false;
  if (body.length > rules.limit) throw tooLarge("the body", body.length, "body", rules.limit);
  if (body.length >= rules.compressionThreshold) {
    const smaller = compress(body);
    if (smaller !== undefined) {
      sent = smaller;
      compressed = true;
    }
  }
  writeRaw(packet, sent);
  return compressed;
}

/** Writes the bytes of a body as they are, in a frame of their own if they are many. */
export function writeRaw<T>(packet: Packet<T>, body: Buffer): void {
  if (body.length >= OWN_FRAME) {
    packet.bodies.push(body);
    packet.writer.int(packet.bodies.length);
  } else {
    packet.writer.bin(body);
  }
}

/** Where a body of a packet that arrived is, and how it is written. */
export class BodyPlace {
  /** Undefined: no body at all. */
  buf: Buffer | undefined;
  start = 0;
  end = 0;
  codec: number = Codec.msgpack;
  compressed = false;

  /** No body. */
  clear(): void {
    this.buf = undefined;
    this.codec = Codec.msgpack;
    this.compressed = false;
  }

  /** Reads a record's reference to its body: binary, the number of a frame, or nil. */
  locate(reader: Reader, frames: Buffer[]): void {
    this.codec = Codec.msgpack;
    this.compressed = false;
    const b = reader.peek();
    if (b === 0xc0) {
      reader.pos++;
      this.buf = undefined;
    } else if (b >= 0xc4 && b <= 0xc6) {
      const length = reader.bin();
      this.buf = reader.buf;
      this.end = reader.pos;
      this.start = reader.pos - length;
    } else {
      const n = reader.int();
      const frame = n > 0 ? frames[n] : undefined;
      if (frame === undefined) throw new BodyError(`body frame ${n} is not in the packet`);
      this.buf = frame;
      this.start = 0;
      this.end = frame.length;
    }
  }

  /**
   * The value; null if there is no body.
   *
   * @throws BodyError if it breaks a rule of BODY.md or may be over `limit` bytes
   */
  read(limit: number): unknown {
    if (this.buf === undefined) return null;
    return readValue(this.buf, this.start, this.end, this.codec, this.compressed, limit);
  }
}

const valueReader = new Reader(Buffer.alloc(0));

/** The value of the body between `start` and `end`. @throws BodyError */
export function readValue(
  buf: Buffer,
  start: number,
  end: number,
  codec: number,
  compressed: boolean,
  limit: number,
): unknown {
  if (compressed) {
    const content = decompress(buf.subarray(start, end), limit);
    return readValue(content, 0, content.length, codec, false, limit);
  }
  if (end - start > limit) {
    throw new BodyError(`a body of ${end - start} bytes; the limit body is ${limit}`);
  }
  if (codec === Codec.bytes) return new Uint8Array(buf.subarray(start, end));
  if (codec === Codec.json) return readJson(buf.subarray(start, end));
  if (codec !== Codec.msgpack) throw new BodyError(`the codec ${codec} is unknown here`);
  valueReader.reset(buf, start, end);
  const value = valueReader.value();
  const left = valueReader.end - valueReader.pos;
  if (left > 0) throw new BodyError(`${left} bytes behind the value`);
  return value;
}

function readJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw new BodyError("text that is not UTF-8");
  const text = bytes.toString("utf8");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new BodyError((error as Error).message);
  }
  // JSON.parse rounds integers beyond 2^53 in silence.
  const numbers = text.replace(/"(?:[^"\\]|\\.)*"/g, "").match(/-?\d[\d.eE+-]*/g) ?? [];
  for (const number of numbers) {
    if (/^-?\d{16,}$/.test(number) && !Number.isSafeInteger(Number(number))) {
      throw new BodyError(`the JSON number ${number} is beyond 2^53 - 1`);
    }
  }
  return value;
}

/** The attributes of a record that arrived, as far as this package knows them. */
export class Attributes {
  codec: number = Codec.msgpack;
  compressed = false;
  error: Record<string, unknown> | undefined;
  attempt: number | undefined;
  worker: string | undefined;
  noRetry = false;
  crashed = false;
  /** Of a task: ms that the run may take. */
  timeLeft: number | undefined;
  /** Of a task: a copy of what an earlier run saved. */
  checkpoint: Buffer | undefined;
  /** Of a task: a copy of the map, as msgpack. */
  labels: Buffer | undefined;
  /** Of a task: chunks that it may send, if its stream is wanted. */
  stream: number | undefined;
  /** Of a chunk: its number in the stream. */
  index: number | undefined;
  /** Of an ending: how many chunks were sent. */
  chunks: number | undefined;
  /** Of an event: how many of its topic were lost before it, and whether the topic had kept it. */
  missed = 0;
  retained = false;
  /** Of a cancel. */
  reason: string | undefined;
  /** Of an ending. */
  history: unknown;
  /** Of an ending: the id of the task whose it is, if it may be another than was asked for. */
  task: string | undefined;
  /** The first odd key that is unknown here: a promise that cannot be kept. */
  unsupported: number | undefined;

  clear(): void {
    this.codec = Codec.msgpack;
    this.compressed = false;
    this.error = undefined;
    this.attempt = undefined;
    this.worker = undefined;
    this.noRetry = false;
    this.crashed = false;
    this.timeLeft = undefined;
    this.checkpoint = undefined;
    this.labels = undefined;
    this.stream = undefined;
    this.index = undefined;
    this.chunks = undefined;
    this.missed = 0;
    this.retained = false;
    this.reason = undefined;
    this.history = undefined;
    this.task = undefined;
    this.unsupported = undefined;
  }

  /** Reads the map; `reader` is then behind it. @throws BodyError */
  read(reader: Reader): void {
    this.clear();
    for (let n = reader.map(); n > 0; n--) {
      const key = reader.int();
      switch (key) {
        case Attribute.codec:
          this.codec = reader.int();
          break;
        case Attribute.compression: {
          const compression = reader.int();
          if (compression > 1) this.unsupported ??= key;
          this.compressed = compression === 1;
          break;
        }
        case Attribute.error:
          this.error = reader.value() as Record<string, unknown>;
          break;
        case Attribute.attempt:
          this.attempt = reader.int();
          break;
        case Attribute.worker:
          this.worker = reader.str();
          break;
        case Attribute.noRetry:
          this.noRetry = reader.bool();
          break;
        case Attribute.crashed:
          this.crashed = reader.bool();
          break;
        case Attribute.timeLeft:
          this.timeLeft = reader.int();
          break;
        case Attribute.checkpoint: {
          const length = reader.bin();
          this.checkpoint = Buffer.from(reader.buf.subarray(reader.pos - length, reader.pos));
          break;
        }
        case Attribute.stream:
          this.stream = reader.int();
          break;
        case Attribute.index:
          this.index = reader.int();
          break;
        case Attribute.chunks:
          this.chunks = reader.int();
          break;
        case Attribute.missed:
          this.missed = reader.int();
          break;
        case Attribute.retained:
          this.retained = reader.bool();
          break;
        case Attribute.labels: {
          const at = reader.pos;
          reader.skip(2);
          this.labels = Buffer.from(reader.buf.subarray(at, reader.pos));
          break;
        }
        case Attribute.reason:
          this.reason = reader.str();
          break;
        case Attribute.history:
          this.history = reader.value();
          break;
        case Attribute.task: {
          const length = reader.bin();
          if (length === 16) this.task = idText(reader.buf, reader.pos - length);
          break;
        }
        default:
          if (key % 2 !== 0) this.unsupported ??= key;
          reader.skip(2);
      }
    }
  }
}
