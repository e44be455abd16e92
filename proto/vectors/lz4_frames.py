"""LZ4 frames that a reader takes, and frames that it refuses, most of them before it decompresses."""

# ruff: noqa: E501  (tables: a case is a line)

from __future__ import annotations

import hashlib
import struct
from typing import Any

import lz4.frame as lz4f

MIB = 1 << 20
LIMIT = 4 * MIB


def xxh32(data: bytes, seed: int = 0) -> int:
    """XXH32 of at most 15 bytes (a frame's descriptor), from the specification of xxHash."""
    assert len(data) < 16
    p2, p3, p4, p5 = 2246822519, 3266489917, 668265263, 374761393
    mask = 0xFFFFFFFF

    def rotated(x: int, r: int) -> int:
        return ((x << r) | (x >> (32 - r))) & mask

    h = (seed + p5 + len(data)) & mask
    while len(data) >= 4:
        h = (rotated((h + struct.unpack("<I", data[:4])[0] * p3) & mask, 17) * p4) & mask
        data = data[4:]
    for byte in data:
        h = (rotated((h + byte * p5) & mask, 11) * 2654435761) & mask
    h = ((h ^ (h >> 15)) * p2) & mask
    h = ((h ^ (h >> 13)) * p3) & mask
    return h ^ (h >> 16)


def frame(
    blocks: bytes,
    *,
    flags: int = 0x60,
    block_id: int = 4,
    extra: bytes = b"",
    end: bool = True,
) -> bytes:
    """A frame by hand. flags 0x60: version 1, independent blocks; block_id 4..7: 64 KiB..4 MiB."""
    descriptor = bytes([flags, block_id << 4]) + extra
    check = bytes([(xxh32(descriptor) >> 8) & 0xFF])
    return b"\x04\x22\x4d\x18" + descriptor + check + blocks + (b"\0\0\0\0" if end else b"")


def stored(data: bytes) -> bytes:
    """One block that is not compressed."""
    return struct.pack("<I", len(data) | 0x80000000) + data


def compress(data: bytes, **options: Any) -> bytes:
    out = lz4f.compress(data, **options)
    assert isinstance(out, bytes)
    return out


def entries() -> list[dict[str, Any]]:
    words = b"".join(b"%d elephants " % (n % 97) for n in range(1000))
    noise = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(64))
    zeros = bytes(MIB)
    size_flag = 0x68
    good: list[tuple[str, bytes, int]] = [
        ("with its content size", compress(words, store_size=True), LIMIT),
        ("without a content size", compress(words, store_size=False), LIMIT),
        ("with a content checksum", compress(words, store_size=False, content_checksum=True), LIMIT),
        ("with block checksums", compress(words, store_size=False, block_checksum=True), LIMIT),
        ("with all checksums and its size", compress(words, content_checksum=True, block_checksum=True), LIMIT),
        ("high compression", compress(words, compression_level=9, store_size=False), LIMIT),
        ("several blocks of 64 KiB, linked", compress(words * 12, store_size=False, block_linked=True,
                                                     block_size=lz4f.BLOCKSIZE_MAX64KB), LIMIT),
        ("several blocks of 64 KiB, independent", compress(words * 12, store_size=False, block_linked=False,
                                                           block_size=lz4f.BLOCKSIZE_MAX64KB), LIMIT),
        ("blocks of 256 KiB", frame(stored(words), block_id=5), LIMIT),
        ("blocks of 1 MiB", compress(zeros + words, store_size=False, block_size=lz4f.BLOCKSIZE_MAX1MB), LIMIT),
        ("blocks of 4 MiB", frame(stored(words), block_id=7), LIMIT),
        ("noise, which is stored", compress(noise, store_size=False), LIMIT),
        ("by hand: one stored block", frame(stored(b"hello")), LIMIT),
        ("by hand: three stored blocks", frame(stored(b"he") + stored(b"ll") + stored(b"o")), LIMIT),
        ("by hand: stored, with its size", frame(stored(b"hello"), flags=size_flag, extra=struct.pack("<Q", 5)), LIMIT),
        ("empty content", compress(b"", store_size=False), LIMIT),
        ("a mebibyte of zeros, its size equal to the limit", compress(zeros), MIB),
        ("blocks of 4 MiB, size tells that it fits",
         frame(stored(words), flags=size_flag, block_id=7, extra=struct.pack("<Q", len(words))), MIB),
        ("one block of 64 KiB at a limit of 64 KiB", frame(stored(b"x" * 100)), 65536),
    ]  # fmt: skip
    plain = compress(words, store_size=False)
    checked = compress(words, store_size=False, content_checksum=True)
    block_checked = compress(words, store_size=False, block_checksum=True)
    sized = compress(words, store_size=True)
    bad: list[tuple[str, bytes, int, str]] = [
        ("nothing", b"", LIMIT, "cut"),
        ("bad magic", b"\x05" + plain[1:], LIMIT, "not an LZ4 frame"),
        ("legacy frame", b"\x02\x21\x4c\x18" + plain[4:], LIMIT, "not an LZ4 frame"),
        ("plain text", b"hello, hello, hello, hello", LIMIT, "not an LZ4 frame"),
        ("cut in the magic", plain[:3], LIMIT, "cut"),
        ("cut in the descriptor", plain[:6], LIMIT, "cut"),
        ("cut in the content size", sized[:9], LIMIT, "cut"),
        ("cut in a block's size", plain[:9], LIMIT, "cut"),
        ("cut in a block", plain[:-20], LIMIT, "cut"),
        ("cut in the end mark", plain[:-1], LIMIT, "cut"),
        ("without its end mark", plain[:-4], LIMIT, "cut"),
        ("cut in the content checksum", checked[:-1], LIMIT, "cut"),
        ("descriptor checksum wrong", plain[:6] + bytes([plain[6] ^ 1]) + plain[7:], LIMIT, "checksum"),
        ("content checksum wrong", checked[:-1] + bytes([checked[-1] ^ 1]), LIMIT, "checksum"),
        ("block checksum wrong", block_checked[:-5] + bytes([block_checked[-5] ^ 1]) + block_checked[-4:], LIMIT, "checksum"),
        ("version 2", frame(stored(b"hello"), flags=0xA0), LIMIT, "version"),
        ("reserved bit set", frame(stored(b"hello"), flags=0x62), LIMIT, "reserved"),
        ("block size id 3", frame(stored(b"hello"), block_id=3), LIMIT, "block size"),
        ("with a dictionary", frame(stored(b"hello"), flags=0x61, extra=struct.pack("<I", 7)), LIMIT, "dictionary"),
        ("block over the block maximum", frame(stored(b"x" * 65537)), LIMIT, "block size"),
        ("block size lies", frame(struct.pack("<I", 0x7FFFFFFF) + b"xx"), LIMIT, "cut"),
        ("garbage in a block", frame(struct.pack("<I", 8) + b"\xff" * 8), LIMIT, "not an LZ4 frame"),
        ("two frames", plain + plain, LIMIT, "more than one frame"),
        ("a byte behind the frame", plain + b"\0", LIMIT, "more than one frame"),
        ("a skippable frame alone", b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"skip", LIMIT, "not an LZ4 frame"),
        ("a skippable frame before the frame", b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"skip" + plain, LIMIT, "not an LZ4 frame"),
        ("a skippable frame behind the frame", plain + b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"skip", LIMIT, "more than one frame"),
        ("bomb: blocks beyond the limit", compress(zeros, store_size=False), MIB - 1, "limit"),
        ("bomb: size beyond the limit", compress(zeros), MIB - 1, "limit"),
        ("bomb: 1,000 empty-looking blocks of 4 MiB", frame(stored(b"x") * 1000, block_id=7), LIMIT, "limit"),
        ("bomb: the size lies low, the content is larger", frame(stored(b"x" * 2000), flags=size_flag, extra=struct.pack("<Q", 10)), 1000, "limit"),
        ("bomb: the size lies high, the blocks count", frame(stored(b"x"), flags=size_flag, extra=struct.pack("<Q", 2**63)), 65535, "limit"),
        ("one block of 4 MiB at a limit of 1 MiB", frame(stored(words), block_id=7), MIB, "limit"),
        ("one block of 64 KiB at a limit of 65,535", frame(stored(b"x" * 100)), 65535, "limit"),
        ("the size lies low", frame(stored(b"hello"), flags=size_flag, extra=struct.pack("<Q", 4)), LIMIT, "size"),
        ("the size lies high", frame(stored(b"hello"), flags=size_flag, extra=struct.pack("<Q", 6)), LIMIT, "size"),
    ]  # fmt: skip
    out: list[dict[str, Any]] = []
    for name, data, limit in good:
        content = lz4f.decompress(data)
        digest = hashlib.sha256(content).hexdigest()
        out.append({"name": name, "frame": data.hex(), "limit": limit, "size": len(content), "sha256": digest})  # fmt: skip
    for name, data, limit, why in bad:
        out.append(
            {
                "name": name,
                "frame": data.hex(),
                "limit": limit,
                "refuse": True,
                "why": why,
            }
        )
    return out
