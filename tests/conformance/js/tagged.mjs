// Tagged JSON (BODY.md) to and from the values of the JavaScript SDK.
import { Float, Timestamp } from "../../../workers/js/dist/index.js";

export function fromTagged(tagged) {
  if (tagged === null || typeof tagged === "boolean") return tagged;
  const [[kind, inner]] = Object.entries(tagged);
  switch (kind) {
    case "int": {
      const value = BigInt(inner);
      const number = Number(value);
      return Number.isSafeInteger(number) ? number : value;
    }
    case "float":
      return new Float(Number(inner));
    case "text":
      return inner;
    case "bytes":
      return new Uint8Array(Buffer.from(inner, "hex"));
    case "list":
      return inner.map(fromTagged);
    case "map": // not an object: one with the key "__proto__" is made otherwise
      return new Map(inner.map(([key, value]) => [key, fromTagged(value)]));
    case "timestamp": {
      const timestamp = new Timestamp(Number(inner[0]), inner[1]);
      return timestamp.isWholeMilliseconds ? timestamp.toDate() : timestamp;
    }
    default:
      throw new Error(`tag ${kind}`);
  }
}

const floatText = (value) => (Object.is(value, -0) ? "-0.0" : String(value));

export function toTagged(value) {
  if (value === null || typeof value === "boolean") return value;
  if (typeof value === "bigint") return { int: String(value) };
  if (typeof value === "number") {
    const isInteger = Number.isSafeInteger(value) && !Object.is(value, -0);
    return isInteger ? { int: String(value) } : { float: floatText(value) };
  }
  if (typeof value === "string") return { text: value };
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString("hex") };
  if (Array.isArray(value)) return { list: value.map(toTagged) };
  if (value instanceof Date) value = Timestamp.fromDate(value);
  if (value instanceof Timestamp) {
    return { timestamp: [String(value.seconds), value.nanoseconds] };
  }
  return { map: Object.entries(value).map(([key, inner]) => [key, toTagged(inner)]) };
}
