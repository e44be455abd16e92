/**
 * Bodies in one LZ4 frame.
 *
 * The library neither writes nor limits the content size (4 MB may become 1 GiB), so the frame's own
 * structure is read first, and what could grow beyond the limit is not decompressed at all.
 */
import { compressFrameSync, decompressFrameSync } from "lz4-napi";
import { BodyError } from "./errors.js";

const MAGIC = 0x184d2204;
const STORED = 0x8000_0000;

/** One LZ4 frame of `bytes`, or undefined if that is not smaller. */
export function compress(bytes: Buffer): Buffer | undefined {
  const frame = compressFrameSync(bytes);
  return frame.length < bytes.length ? frame : undefined;
}

/**
 * The content of one LZ4 frame of at most `limit` bytes.
 *
 * @throws BodyError if it is not exactly one whole frame, or might hold more than `limit`
 */
export function decompress(frame: Buffer, limit: number): Buffer {
  const { bound, contentSize } = measure(frame);
  if (bound > limit) {
    throw new BodyError(`an LZ4 frame of up to ${bound} bytes; the limit body is ${limit}`);
  }
  let content: Buffer;
  try {
    content = decompressFrameSync(frame);
  } catch (error) {
    throw new BodyError(`an LZ4 frame that does not decompress: ${(error as Error).message}`);
  }
  if (content.length > limit) {
    throw new BodyError(`an LZ4 frame of ${content.length} bytes; the limit body is ${limit}`);
  }
  if (contentSize !== undefined && content.length !== contentSize) {
    throw new BodyError(`an LZ4 frame that says ${contentSize} bytes and has ${content.length}`);
  }
  return content;
}

/** How much a frame can hold at most, from its descriptor and the sizes of its blocks. */
function measure(frame: Buffer): { bound: number; contentSize: number | undefined } {
  const cut = () => new BodyError("an LZ4 frame that is cut off");
  if (frame.length < 7) throw cut();
  if (frame.readUInt32LE(0) !== MAGIC) throw new BodyError("not an LZ4 frame");
  const flags = frame[4];
  if (flags >>> 6 !== 1) throw new BodyError("an LZ4 frame of another version");
  if ((flags & 0x02) !== 0) throw new BodyError("an LZ4 frame with a reserved flag");
  if ((flags & 0x01) !== 0) throw new BodyError("an LZ4 frame with a dictionary");
  const descriptor = frame[5];
  const sizeId = (descriptor >>> 4) & 7;
  if (sizeId < 4 || (descriptor & 0x8f) !== 0) {
    throw new BodyError("an LZ4 frame with a block size that does not exist");
  }
  const blockMax = 1 << (8 + 2 * sizeId);
  const blockChecksum = (flags & 0x10) !== 0 ? 4 : 0;
  const hasContentSize = (flags & 0x08) !== 0;
  const contentChecksum = (flags & 0x04) !== 0 ? 4 : 0;

  let pos = 6 + (hasContentSize ? 8 : 0) + 1;
  if (frame.length < pos) throw cut();
  const contentSize = hasContentSize ? Number(frame.readBigUInt64LE(6)) : undefined;
  let blocks = 0;
  for (;;) {
    if (frame.length < pos + 4) throw cut();
    const header = frame.readUInt32LE(pos);
    pos += 4;
    if (header === 0) break;
    const size = header & ~STORED;
    if (size > blockMax) throw new BodyError("an LZ4 frame with a block over its maximum");
    pos += size + blockChecksum;
    blocks++;
  }
  pos += contentChecksum;
  if (pos > frame.length) throw cut();
  if (pos < frame.length) throw new BodyError("bytes behind the LZ4 frame");
  const bound = blocks * blockMax;
  return { bound: contentSize === undefined ? bound : Math.min(bound, contentSize), contentSize };
}
