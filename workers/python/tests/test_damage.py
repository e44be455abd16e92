"""Any bytes are a packet, a body or an LZ4 frame, or the error that says so: never another
exception, and never memory for lengths that lie."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import pytest
from damage import damaged, vectors

from tuskd import BodyError, wire
from tuskd.compression import bound, decompress
from tuskd.values import decode, decode_json, encode

MOST_MEMORY = 32 << 20


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


def run(cases: int, known: list[bytes], takes: Callable[[bytes], bool]) -> None:
    """Both ways have to be gone, or the test says nothing."""
    choose = random.Random(1)
    with little_memory():
        taken = sum(takes(damaged(choose, known)) for _ in range(cases))
    assert cases / 100 < taken < cases * 0.9


def frames(buffer: bytes) -> list[bytes]:
    """The one-buffer form taken apart; what is behind a length that lies is the last frame."""
    found = []
    while len(buffer) >= 4:
        (size,) = struct.unpack_from(">I", buffer)
        found.append(buffer[4 : 4 + size])
        buffer = buffer[4 + size :]
    return found or [b""]


def test_any_bytes_are_a_packet_or_malformed() -> None:
    reader = wire.PacketReader()

    def takes(data: bytes) -> bool:
        packet = frames(data)
        wire.header_of(packet[0])
        try:
            records = reader.read(packet)
        except wire.Malformed as error:
            assert str(error)
            return False
        assert all(type(r) is list and type(r[0]) is int for r in records)
        for record in records:
            if record[0] in wire.RUNS:
                wire.odd_unknown(record[6])
        return True

    run(5000, vectors("packets") + vectors("malformed"), takes)
    assert reader.read([b"\x92\x03\x05"]) == [[3, 5]]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ([32, 1, 1, b"", {4: "one"}], "4 is not int"),
        ([32, 1, 2, None, {2: "an error"}], "2 is not dict"),
        ([32, 1, 1, b"", {"attempt": 1}], "key of an attribute"),
        ([64, 1, bytes(16), "add", 1, b"", {"a": 1}], "key of an attribute"),
        ([64, 1, bytes(16), "add", 1, b"", {27: None}], "27 is not int"),
        ([8, 1, b"", {32: [1]}], "32 is not int"),
        ([50, 1, "news", b"", {-1: 1}], "key of an attribute"),
        ([17, 1, bytes(16), {26: [1]}], "26 is not str"),
        ([37, 1, 1, "line", {4: {}}], "4 is not int"),
        ([66, 1, [[]]], "a handle is not a number"),
        ([2, 1, {"session": 1, "limits": 5}], "limits is not dict"),
        ([5, 0, "gap", "a packet is missing", {"expected": "1"}], "expected is not int"),
    ],
)
def test_record_with_a_value_of_another_type_is_malformed(record: list[Any], why: str) -> None:
    with pytest.raises(wire.Malformed, match=why) as malformed:
        wire.PacketReader().read([msgpack.packb([3, 1]) + msgpack.packb(record)])
    assert malformed.value.record == 1


def test_any_bytes_are_a_value_or_a_body_error() -> None:
    def takes(data: bytes) -> bool:
        try:
            value = decode(data)
        except BodyError:
            return False
        written = encode(value)
        assert encode(decode(written)) == written
        return True

    run(5000, vectors("bodies"), takes)


def test_any_bytes_are_json_or_a_body_error() -> None:
    known = [b'{"a": [1, 2.5, "x\\u00e9"], "b": {"c": null}}', b"[" * 60 + b"]" * 60, b"1e400"]

    def takes(data: bytes) -> bool:
        try:
            decode_json(data)
        except BodyError:
            return False
        return True

    run(3000, known, takes)


def test_any_bytes_are_a_frame_or_a_body_error() -> None:
    limit = 1 << 20

    def takes(data: bytes) -> bool:
        try:
            content = decompress(data, limit)
        except BodyError:
            return False
        assert len(content) <= bound(data)[0] <= limit
        return True

    run(2000, vectors("lz4", "frame"), takes)
