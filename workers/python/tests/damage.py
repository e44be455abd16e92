"""Input for tests of readers: the shared vectors, broken as attackers break them, and noise."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

VECTORS = Path(__file__).parents[3] / "proto" / "vectors"

# Heads of msgpack that announce more than there is.
LIES = (
    b"\xdd\xff\xff\xff\xff",
    b"\xdd\x05\xff\xff\xff",
    b"\xdf\x7f\xff\xff\xff",
    b"\xc6\xff\xff\xff\xf0",
    b"\xdb\xff\xff\xff\xff",
    b"\xdc\xff\xff",
    b"\xc9\xff\xff\xff\xff\xff",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
)


def vectors(kind: str, key: str = "bytes") -> list[bytes]:
    entries = json.loads((VECTORS / kind / "v1.json").read_text())
    return [bytes.fromhex(e[key]) for e in entries if key in e]


def damaged(choose: random.Random, known: Sequence[bytes]) -> bytes:
    """One of `known` with one to four faults, or random bytes."""
    if choose.randrange(8) == 0:
        return choose.randbytes(choose.randrange(64))
    data = choose.choice(known)
    for _ in range(choose.randint(1, 4)):
        data = _once(choose, data, known)
    return data


def _once(choose: random.Random, data: bytes, known: Sequence[bytes]) -> bytes:
    if not data:
        return choose.randbytes(1)
    at = choose.randrange(len(data))
    match choose.randrange(6):
        case 0:
            return data[:at] + bytes([data[at] ^ 1 << choose.randrange(8)]) + data[at + 1 :]
        case 1:
            return data[:at] + choose.randbytes(1) + data[at + 1 :]
        case 2:
            return data[:at]
        case 3:
            return data[:at] + choose.randbytes(1) + data[at:]
        case 4:
            lie = choose.choice(LIES)
            return data[:at] + lie + data[at + choose.choice((0, len(lie))) :]
        case _:
            other = choose.choice(known)
            return data[:at] + other[choose.randrange(len(other) + 1) :]
