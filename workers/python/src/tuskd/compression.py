"""One LZ4 frame, bounded before it is decompressed. No state, any thread."""

from __future__ import annotations

import lz4.frame

from .errors import BodyError

_BLOCK_MAX = {4: 1 << 16, 5: 1 << 18, 6: 1 << 20, 7: 1 << 22}


def compress(data: bytes) -> bytes | None:
    """One frame with its content size, or None when that would not be smaller."""
    # Blocks that fit: a reader bounds a frame by blocks times block maximum.
    out: bytes = lz4.frame.compress(data, store_size=True)
    return out if len(out) < len(data) else None


def bound(frame: bytes) -> tuple[int, int]:
    """How much the first frame can decompress to at most, and how many bytes long it is.

    Reads the descriptor and the blocks' sizes only (LZ4 frame format 1.6.4).
    """
    if len(frame) < 7:
        raise BodyError("the LZ4 frame is cut")
    if frame[:4] != b"\x04\x22\x4d\x18":
        raise BodyError("not an LZ4 frame")
    flags, block_id = frame[4], frame[5] >> 4 & 7
    if flags >> 6 != 1 or flags & 2 or frame[5] & 0x8F:
        raise BodyError("not an LZ4 frame of version 1")
    if flags & 1:
        raise BodyError("the LZ4 frame needs a dictionary")
    block_max = _BLOCK_MAX.get(block_id)
    if block_max is None:
        raise BodyError("the LZ4 frame has no such block size")
    at = 6
    size = None
    if flags & 8:
        size = int.from_bytes(frame[6:14], "little")
        at = 14
    at += 1  # checksum of the descriptor
    blocks = 0
    behind_block = 4 if flags & 16 else 0
    while True:
        if at + 4 > len(frame):
            raise BodyError("the LZ4 frame is cut")
        head = int.from_bytes(frame[at : at + 4], "little")
        at += 4
        if head == 0:
            break
        length = head & 0x7FFFFFFF
        if length > block_max:
            if at + length > len(frame):
                raise BodyError("the LZ4 frame is cut")
            raise BodyError("a block of the LZ4 frame is over its maximum")
        at += length + behind_block
        blocks += 1
    if flags & 4:
        at += 4
    if at > len(frame):
        raise BodyError("the LZ4 frame is cut")
    most = blocks * block_max
    return (most if size is None else min(most, size)), at


def decompress(frame: bytes, limit: int) -> bytes:
    """The content of exactly one frame of at most `limit` bytes.

    Raises BodyError before any memory is taken when the frame could hold more.
    """
    most, end = bound(frame)
    if end != len(frame):
        raise BodyError("there is more than one LZ4 frame")
    if most > limit:
        raise BodyError(f"the LZ4 frame may hold {most} bytes, the limit is {limit}")
    try:
        # max_length stops it all the same, should a block hold more than it may.
        reader = lz4.frame.LZ4FrameDecompressor()
        out: bytes = reader.decompress(frame, max_length=limit + 1)
    except RuntimeError as error:
        raise BodyError(f"the LZ4 frame is damaged: {error}") from None
    if len(out) > limit or not reader.eof:
        raise BodyError("the LZ4 frame holds more than it says")
    return out
