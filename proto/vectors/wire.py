"""What the definitions share: frames in one buffer, and names for kinds and attributes."""

from __future__ import annotations

import struct
from typing import Any

import msgpack

KINDS = {
    "header": 0, "hello": 1, "welcome": 2, "ping": 3, "pong": 4, "error": 5, "bye": 6, "goaway": 7,
    "chunk": 8, "submit": 16, "cancel": 17, "query": 18, "update": 19, "publish": 20,
    "subscribe": 21, "unsubscribe": 22, "push": 24, "control": 26, "await": 29, "result": 32,
    "returned": 33, "suspend": 35, "progress": 36, "log": 37, "checkpoint": 38, "slots": 40,
    "defer": 41, "pause": 42, "credit": 45, "accepted": 48, "answer": 49, "event": 50,
    "unsubscribed": 51, "task": 64, "item": 65, "recall": 66, "resume": 67, "drain": 68,
}  # fmt: skip
KIND_NAMES = {number: name for name, number in KINDS.items()}

ATTRIBUTES = {
    15: "reply", 17: "resent", 27: "codec", 29: "compression", 53: "rerun_ok", 55: "wait",
    57: "no_retry", 59: "crashed", 2: "error", 4: "attempt", 6: "worker", 8: "trace", 10: "baggage",
    1: "delay", 3: "deadline", 5: "run_timeout", 7: "attempts", 9: "backoff", 33: "checkpoint",
    51: "priority", 65: "heartbeat_timeout", 67: "no_retry_on", 69: "follow", 24: "time_left",
    26: "reason", 28: "history", 13: "retention", 19: "unique", 21: "unique_policy", 30: "task",
    71: "unique_for", 16: "group", 23: "order_key", 49: "cost", 73: "limit_key", 18: "labels",
    25: "needs",
    38: "missed", 40: "retained", 77: "slow",
    32: "index", 34: "chunks", 61: "sticky_key", 63: "parent", 75: "stream",
}  # fmt: skip

# Where a record of this kind has its attributes.
ATTRIBUTES_AT = {
    8: 3,
    16: 5,
    17: 3,
    19: 3,
    29: 3,
    20: 4,
    21: 3,
    24: 5,
    32: 4,
    36: 3,
    37: 4,
    50: 4,
    64: 6,
    65: 6,
}

MAX = 2**53 - 1
ID = bytes.fromhex("018f3c2a7b1e7000800000000000002a")
ID2 = bytes.fromhex("018f3c2a7b1f7fffbfffffffffffffff")


def one_buffer(frames: list[bytes]) -> str:
    return b"".join(struct.pack(">I", len(f)) + f for f in frames).hex()


def pack(value: Any) -> bytes:
    packed = msgpack.packb(value)
    assert isinstance(packed, bytes)
    return packed


def to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    return value


def record_json(record: list[Any]) -> list[Any]:
    kind = record[0]
    at = ATTRIBUTES_AT.get(kind)
    out: list[Any] = [KIND_NAMES.get(kind, kind)]
    for index, element in enumerate(record[1:], 1):
        if index == at and isinstance(element, dict):
            out.append({ATTRIBUTES.get(k, str(k)): to_json(v) for k, v in element.items()})
        else:
            out.append(to_json(element))
    return out
