/** The attributes of a request, written. */
import { bringsTask } from "./endings.js";
import type { Writer } from "./msgpack/writer.js";
import { NO_ATTRIBUTES, type Pending } from "./pending.js";
import { Attribute, Codec, Reply } from "./wire.js";

/** A map of so many entries has its length in two bytes. */
const LONG_MAP = 16;

/** Writes a request's attributes; false if it has none, and then nothing. */
export function writeAttributes(writer: Writer, pending: Pending): boolean {
  const { attributes: chosen, compressed } = pending;
  const resent = pending.resent || (pending.writtenIn !== 0 && bringsTask(pending.kind));
  const plain = pending.codec === Codec.msgpack && !compressed;
  if (chosen === NO_ATTRIBUTES && !resent && plain) return false;
  const start = writer.pos;
  // With terms they may be more than the short form of a map holds.
  if (chosen.terms === undefined) writer.map(0);
  else writer.map(LONG_MAP);
  let count = chosen.terms?.write(writer) ?? 0;
  const put = (key: number) => {
    writer.int(key);
    count++;
  };
  if (chosen.trace !== undefined) {
    put(Attribute.trace);
    writer.str(chosen.trace);
  }
  if (chosen.baggage !== undefined) {
    put(Attribute.baggage);
    writer.str(chosen.baggage);
  }
  if (chosen.reply !== Reply.result) {
    put(Attribute.reply);
    writer.int(chosen.reply);
  }
  if (chosen.parent !== undefined) {
    put(Attribute.parent);
    writer.bin(chosen.parent);
  }
  if (chosen.stream > 0) {
    put(Attribute.stream);
    writer.int(chosen.stream);
  }
  if (chosen.slow > 0) {
    put(Attribute.slow);
    writer.int(chosen.slow);
  }
  if (resent) {
    put(Attribute.resent);
    writer.bool(true);
  }
  if (pending.codec !== Codec.msgpack) {
    put(Attribute.codec);
    writer.int(pending.codec);
  }
  if (compressed) {
    put(Attribute.compression);
    writer.int(1);
  }
  if (chosen.rerunOk) {
    put(Attribute.rerunOk);
    writer.bool(true);
  }
  if (chosen.tellWait && pending.deadline !== Number.POSITIVE_INFINITY) {
    put(Attribute.wait);
    writer.int(Math.max(1, Math.ceil(pending.deadline - performance.now())));
  }
  if (count === 0) writer.pos = start;
  else if (chosen.terms === undefined) writer.buf[start] = 0x80 | count;
  else writer.buf.writeUInt16BE(count, start + 1);
  return count > 0;
}
