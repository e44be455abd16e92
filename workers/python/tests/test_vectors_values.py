"""The vectors of bodies and LZ4 frames."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lz4.frame
import pytest

from tuskd import BodyError, Timestamp
from tuskd.compression import compress, decompress
from tuskd.values import decode, decode_json, encode

VECTORS = Path(__file__).parents[3] / "proto" / "vectors"


def load(kind: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((VECTORS / kind / "v1.json").read_text())
    return entries


def cases(kind: str, refuse: bool) -> list[Any]:
    return [
        pytest.param(e, id=e["name"]) for e in load(kind) if bool(e.get("refuse", False)) == refuse
    ]


def data(entry: dict[str, Any]) -> bytes:
    if "repeat" in entry:
        return bytes.fromhex(entry["repeat"]["hex"]) * int(entry["repeat"]["count"])
    return bytes.fromhex(entry["bytes"])


def tagged(value: Any) -> Any:
    """Tagged JSON of a value that `decode` made."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return {"int": str(value)}
    if isinstance(value, float):
        return {"float": struct.pack(">d", value).hex() if not math.isnan(value) else "NaN"}
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, list):
        return {"list": [tagged(v) for v in value]}
    if isinstance(value, dict):
        return {"map": sorted([k, tagged(v)] for k, v in value.items())}
    if isinstance(value, Timestamp):
        return {"timestamp": [str(value.seconds), value.nanoseconds]}
    assert isinstance(value, datetime) and value.tzinfo is UTC
    delta = value - datetime(1970, 1, 1, tzinfo=UTC)
    return {"timestamp": [str(delta.days * 86400 + delta.seconds), delta.microseconds * 1000]}


def normal(value: Any) -> Any:
    """Tagged JSON with floats by their bits and maps in order, so that == is exact."""
    if not isinstance(value, dict):
        return value
    ((tag, inner),) = value.items()
    if tag == "float":
        number = float(inner)
        return {"float": "NaN" if math.isnan(number) else struct.pack(">d", number).hex()}
    if tag == "list":
        return {"list": [normal(v) for v in inner]}
    if tag == "map":
        return {"map": sorted([k, normal(v)] for k, v in inner)}
    return value


@pytest.mark.parametrize("entry", cases("bodies", refuse=False))
def test_body_is_read_and_written(entry: dict[str, Any]) -> None:
    value = decode(data(entry))
    assert tagged(value) == normal(entry["value"])
    if entry.get("canonical", True):
        assert encode(value) == data(entry)


@pytest.mark.parametrize("entry", cases("bodies", refuse=True))
def test_body_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(BodyError):
        decode(data(entry))


@pytest.mark.parametrize("entry", cases("lz4", refuse=False))
def test_frame_is_decompressed(entry: dict[str, Any]) -> None:
    content = decompress(bytes.fromhex(entry["frame"]), entry["limit"])
    assert len(content) == entry["size"]
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]


@pytest.mark.parametrize("entry", cases("lz4", refuse=True))
def test_frame_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(BodyError):
        decompress(bytes.fromhex(entry["frame"]), entry["limit"])


def test_compression_is_used_only_when_smaller() -> None:
    packed = compress(b"a" * 5000)
    assert packed is not None
    assert decompress(packed, 5000) == b"a" * 5000
    assert compress(bytes(range(256))) is None


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        {1: 2},
        {b"a": 2},
        {"a": {1: 2}},
        [{None: 1}],
        {1, 2},
        [{1}],
        object(),
        2**64,
        -(2**63) - 1,
        [2**64],
        "\ud800",
        {"\ud800": 1},
        datetime(2020, 1, 1),
        [datetime(2020, 1, 1)],
        1j,
        deep(65),
        {"a": deep(64)},
    ],
    ids=repr,
)
def test_value_that_cannot_be_sent(value: Any) -> None:
    with pytest.raises(BodyError):
        encode(value)


def test_encoder_works_after_an_error() -> None:
    from tuskd.values import Encoder

    encoder = Encoder()
    with pytest.raises(BodyError):
        encoder.encode([1, 2, [object()]])
    assert encoder.encode(7) == b"\x07"


def test_tuples_and_subclasses_are_written_as_what_they_are() -> None:
    from collections import OrderedDict
    from enum import IntEnum

    class Colour(IntEnum):
        RED = 3

    assert decode(encode((1, (2,)))) == [1, [2]]
    assert decode(encode({"c": Colour.RED})) == {"c": 3}
    assert decode(encode([OrderedDict(a=1)])) == [{"a": 1}]
    assert decode(encode(bytearray(b"x"))) == b"x"


def test_large_list_of_texts_and_wide_map() -> None:
    value = {"k" * 70: ["x" * 100] * 100, "floats": [n / 7 for n in range(1000)]}
    assert decode(encode(value)) == value


def test_json_bodies() -> None:
    assert decode_json(b'{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
    for bad in (b"{", b'{"a":1,"a":2}', b"\xff", b"[" * 100_000, b"[" * 65 + b"]" * 65):
        with pytest.raises(BodyError):
            decode_json(bad)


def test_key_twice_is_refused_in_a_map_whose_length_looks_like_that_of_a_short_one() -> None:
    # de 00 5f: 95 pairs, of which one is there twice, so that 0xde - 0x80 = 94 are left.
    keys = [bytes([0xA1, 0x20 + n]) for n in range(94)]
    with pytest.raises(BodyError, match="twice"):
        decode(b"\xde\x00\x5f" + b"".join(key + b"\x01" for key in [*keys, keys[0]]))


def test_stored_block_without_bytes_does_not_end_an_lz4_frame() -> None:
    frame = lz4.frame.compress(b"content", store_size=False)
    assert decompress(frame[:-4] + b"\0\0\0\x80" + frame[-4:], 1 << 20) == b"content"
