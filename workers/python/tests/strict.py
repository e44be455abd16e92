"""A strict reader of packets to the broker, as SPEC has it: what an SDK sends must pass it.

Written from SPEC and not from the SDK; the vectors of malformed packets hold it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

MAX = 2**53 - 1
KNOWN_ODD = {15, 17, 27, 29, 53, 55, 57, 59}
YEARS = 100 * 365 * 86_400_000

# Elements behind the kind: u unsigned, i integer, d id, D id or nil, s text, b body, m map,
# a attributes, l list of unsigned, I list of ids, * anything. Behind "?" they may be left out.
SHAPES = {
    0: "uuu",
    1: "um",
    3: "i",
    4: "i",
    5: "uss?m",
    6: "?s",
    8: "ub?a",
    16: "udsb?a",
    17: "ud?a",
    18: "us?m",
    19: "ud?ab",
    20: "usb?a",
    21: "us?a",
    22: "us",
    24: "uDsb?a",
    26: "us?m",
    29: "ud?a",
    32: "uu?ba",
    33: "ul",
    35: "uI?u",
    36: "u?ba",
    37: "uis?a",
    38: "ub",
    40: "u",
    41: "uu",
    42: "uu",
    45: "udu",
    51: "ss",
    67: "u",
}


def _is_time(value: Any, least: int = 0) -> bool:
    return type(value) is int and least <= value <= YEARS


def _is_real(value: Any, least: float, most: float) -> bool:
    return type(value) in (int, float) and least <= value <= most


def _is_key(value: Any) -> bool:
    return type(value) is str and 1 <= len(value.encode()) <= 255


def _is_label_map(value: Any, most: int, *, texts: bool = True, amounts: int | None = None) -> bool:
    """amounts: the least that they may be; None: there are none."""

    def fits(v: Any) -> bool:
        if amounts is not None and type(v) is int:
            return amounts <= v <= 10**9
        return texts and _is_key(v)

    return (
        isinstance(value, dict)
        and len(value) <= most
        and all(_is_key(k) and fits(v) for k, v in value.items())
    )


def _is_needs(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_label_map(v, 16, texts=False, amounts=1)
        if k == "consumes"
        else k in ("requires", "prefers") and _is_label_map(v, 16, amounts=0)
        for k, v in value.items()
    )


# What only a submit may have (some of it others, too, see TERMS_OF), and what is then right.
TERMS: dict[int, Callable[[Any], bool]] = {
    1: _is_time,
    3: _is_time,
    5: lambda v: _is_time(v, 1),
    7: lambda v: type(v) is int and 1 <= v <= 1000,
    9: lambda v: (
        isinstance(v, list)
        and len(v) == 4
        and _is_time(v[0])
        and _is_time(v[1])
        and _is_real(v[2], 1, 100)
        and _is_real(v[3], 0, 1)
    ),
    13: _is_time,
    16: _is_key,
    18: lambda v: _is_label_map(v, 16),
    19: _is_key,
    21: lambda v: type(v) is int and 0 <= v <= 4,
    23: _is_key,
    25: _is_needs,
    49: lambda v: type(v) is int and 0 <= v <= 10**9,
    51: lambda v: type(v) is int and -100 <= v <= 100,
    61: _is_key,
    63: lambda v: type(v) is bytes and len(v) == 16,
    65: lambda v: _is_time(v, 1),
    67: lambda v: (
        isinstance(v, list)
        and len(v) <= 32
        and all(type(t) is str and len(t.encode()) <= 255 for t in v)
    ),
    69: lambda v: type(v) is int and 0 <= v <= 3,
    71: _is_time,
    73: _is_key,
    75: lambda v: type(v) is int and 1 <= v <= 1024,
    77: lambda v: v in (0, 1) and type(v) is int,
}
TERMS_OF = {16: TERMS.keys() - {77}, 19: {1, 51}, 21: {77}, 29: {69}, 32: {49}}

TEXT = {37: 16 << 10}  # bytes; a name has 255


class Refused(Exception):
    def __init__(self, code: str, record: int | None) -> None:
        super().__init__(f"{code} at record {record}")
        self.code = code
        self.record = record


class _Ext(Exception):
    pass


def _ext(code: int, data: bytes) -> Any:
    raise _Ext


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level:
        containers = [v for v in level if isinstance(v, (list, tuple, dict))]
        if not containers:
            break
        deepest += 1
        level = [
            x for c in containers for x in ([*c.keys(), *c.values()] if isinstance(c, dict) else c)
        ]
    return deepest


def _records(first: bytes) -> list[Any]:
    at = 0
    out: list[Any] = []
    while at < len(first):
        unpacker = msgpack.Unpacker(
            strict_map_key=False,
            ext_hook=_ext,
            object_pairs_hook=_Pairs,
            timestamp=0,
        )
        unpacker.feed(first[at:])
        try:
            record = unpacker.unpack()
        except Exception:
            raise Refused("malformed", len(out)) from None
        at += unpacker.tell()
        if not isinstance(record, list) or not record or type(record[0]) is not int:
            raise Refused("malformed", len(out))
        if not 0 <= record[0] <= MAX or _depth(record) > 8 or _has_timestamp(record):
            raise Refused("malformed", len(out))
        out.append(record)
    return out


class _Pairs(dict[Any, Any]):
    """A map that remembers whether a key was there twice."""

    def __init__(self, pairs: list[tuple[Any, Any]]) -> None:
        super().__init__(pairs)
        self.twice = len(self) != len(pairs)


def _has_timestamp(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_timestamp, value))
    if isinstance(value, dict):
        return any(map(_has_timestamp, [*value.keys(), *value.values()]))
    return isinstance(value, msgpack.Timestamp)


def _fits(letter: str, value: Any) -> bool:
    if letter == "u":
        return type(value) is int and 0 <= value <= MAX
    if letter == "i":
        return type(value) is int and -MAX <= value <= MAX
    if letter == "d":
        return type(value) is bytes and len(value) == 16
    if letter == "D":
        return value is None or (type(value) is bytes and len(value) == 16)
    if letter == "s":
        return type(value) is str
    if letter == "m":
        return isinstance(value, dict) and all(type(k) is str for k in value)
    if letter == "a":
        return (
            isinstance(value, _Pairs)
            and not value.twice
            and all(type(k) is int and 0 <= k <= MAX for k in value)
        )
    if letter == "l":
        return isinstance(value, list) and all(_fits("u", v) for v in value)
    if letter == "I":
        return isinstance(value, list) and all(_fits("d", v) for v in value)
    if letter == "b":
        return value is None or type(value) in (bytes, int)
    return True


def read(frames: list[bytes]) -> list[list[Any]]:
    """The records, bodies in place. Raises Refused as the broker would answer first."""
    if not frames or not frames[0]:
        raise Refused("malformed", None)
    records = _records(frames[0])
    if any(not f for f in frames[1:]):
        raise Refused("malformed", None)
    named: set[int] = set()
    alone: Refused | None = None
    for index, record in enumerate(records):
        kind = record[0]
        if kind == 0 and index:
            raise Refused("malformed", index)
        if kind not in SHAPES:
            if kind < 128:
                alone = alone or Refused("unsupported", index)
            continue
        needed, _, optional = SHAPES[kind].partition("?")
        if len(record) - 1 < len(needed):
            raise Refused("malformed", index)
        for at, letter in enumerate((needed + optional)[: len(record) - 1], 1):
            value = record[at]
            if not _fits(letter, value):
                raise Refused("malformed", index)
            if letter == "b" and type(value) is int:
                if not 1 <= value < len(frames) or value in named:
                    raise Refused("malformed", index)
                named.add(value)
                record[at] = frames[value]
            elif letter == "s" and kind != 5 and len(value.encode()) > TEXT.get(kind, 255):
                alone = alone or Refused("too_large", index)
            elif letter == "a":
                if len(value) > 64:
                    alone = alone or Refused("too_large", index)
                known = KNOWN_ODD | TERMS_OF.get(kind, set())
                if any(k & 1 and k not in known for k in value):
                    alone = alone or Refused("unsupported", index)
                elif any(k in TERMS and not TERMS[k](v) for k, v in value.items()):
                    alone = alone or Refused("invalid", index)
        if kind == 37 and not 1 <= record[2] <= 4:
            alone = alone or Refused("invalid", index)
        if kind in (41, 42) and record[2] > YEARS:
            alone = alone or Refused("invalid", index)
        if kind == 45 and not 1 <= record[3] <= 1024:
            alone = alone or Refused("invalid", index)
        if kind == 35:
            count = record[3] if len(record) > 3 else len(record[2])
            if not (1 <= len(record[2]) <= 1000 and 1 <= count <= len(record[2])):
                alone = alone or Refused("invalid", index)
    if len(named) != len(frames) - 1 and all(r[0] < 128 for r in records):
        raise Refused("malformed", None)
    if alone is not None:
        raise alone
    return records
