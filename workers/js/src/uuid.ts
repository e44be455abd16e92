/** Ids of tasks: UUIDv7 (RFC 9562), whose first six bytes are the time in milliseconds. */
import { randomFillSync } from "node:crypto";

/** Random bytes are fetched for this many ids at once; one system call for each would cost more. */
const BATCH = 512;
const RANDOM_PER_ID = 10;

const random = Buffer.allocUnsafeSlow(BATCH * RANDOM_PER_ID);
let used = random.length;

/** Writes a new id of 16 bytes to `buf` at `pos`. */
export function writeUuid7(buf: Buffer, pos: number): void {
  if (used === random.length) {
    randomFillSync(random);
    used = 0;
  }
  const now = Date.now();
  buf.writeUIntBE(now, pos, 6);
  for (let i = 6; i < 16; i++) buf[pos + i] = random[used++]!;
  buf[pos + 6] = 0x70 | (buf[pos + 6] & 0x0f);
  buf[pos + 8] = 0x80 | (buf[pos + 8] & 0x3f);
}

/** A new id as UUID text. */
export function uuid7(): string {
  const id = Buffer.allocUnsafe(16);
  writeUuid7(id, 0);
  return idText(id, 0);
}

/** The 16 bytes at `pos` as UUID text. */
export function idText(buf: Buffer, pos: number): string {
  const hex = buf.toString("hex", pos, pos + 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** A task id as callers write it: UUID text, or its 16 bytes. */
export type TaskId = string | Uint8Array;

/** @throws RangeError, TypeError if it is not an id */
export function idBytes(id: TaskId): Buffer {
  if (typeof id !== "string") {
    if (!(id instanceof Uint8Array)) throw new TypeError("a task id is UUID text or 16 bytes");
    if (id.length !== 16) throw new RangeError(`a task id has 16 bytes, not ${id.length}`);
    return Buffer.from(id);
  }
  if (!/^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$|^[0-9a-f]{32}$/i.test(id)) {
    throw new RangeError(`"${id}" is not a UUID`);
  }
  return Buffer.from(id.replaceAll("-", ""), "hex");
}
