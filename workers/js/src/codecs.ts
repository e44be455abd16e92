/** Bodies in other codecs than msgpack, as the broker's message types ask for. */
import { readValue } from "./body.js";
import { BodyError } from "./errors.js";
import { Codec } from "./wire.js";

/**
 * The body, which is msgpack, in another codec. `name` is the type, stage or topic that it is for.
 *
 * @throws BodyError if the value has no exact form in it
 */
export function inCodec(codec: number, body: Buffer, name: string): Buffer {
  const value = readValue(body, 0, body.length, Codec.msgpack, false, Number.POSITIVE_INFINITY);
  if (codec === Codec.json) return Buffer.from(jsonOf(value), "utf8");
  if (codec !== Codec.bytes) {
    throw new BodyError(`bodies of "${name}" are of codec ${codec}, which is unknown here`);
  }
  if (value instanceof Uint8Array) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }
  const found = value === null ? "null" : typeof value;
  throw new BodyError(
    `bodies of "${name}" are plain bytes, such as a message of protobuf: expected a Uint8Array, found ${found}`,
  );
}

/** A value of a body as JSON; JSON.stringify would round or leave out. */
function jsonOf(value: unknown): string {
  switch (typeof value) {
    case "string":
    case "boolean":
      return JSON.stringify(value);
    case "bigint":
      return value.toString();
    case "number":
      if (!Number.isFinite(value)) {
        throw new BodyError("NaN and infinities cannot be sent as JSON");
      }
      if (Object.is(value, -0)) return "-0.0";
      // Whole floats that large are no integers.
      if (Number.isInteger(value) && !Number.isSafeInteger(value)) return value.toExponential();
      return String(value);
  }
  if (value === null) return "null";
  if (Array.isArray(value)) return `[${value.map(jsonOf).join(",")}]`;
  if (Object.getPrototypeOf(value) !== Object.prototype) {
    throw new BodyError("bytes and timestamps cannot be sent as JSON");
  }
  const entries = Object.entries(value as object);
  return `{${entries.map(([key, inner]) => `${JSON.stringify(key)}:${jsonOf(inner)}`).join(",")}}`;
}
