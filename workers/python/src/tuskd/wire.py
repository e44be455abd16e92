"""TUSK/1 records: their numbers, and reading what the broker sends."""

from __future__ import annotations

from typing import Any, Final

import msgpack

VERSION: Final = 1
MAX_INT: Final = 2**53 - 1

HEADER: Final = 0
HELLO: Final = 1
WELCOME: Final = 2
PING: Final = 3
PONG: Final = 4
ERROR: Final = 5
BYE: Final = 6
GOAWAY: Final = 7
CHUNK: Final = 8
SUBMIT: Final = 16
CANCEL: Final = 17
QUERY: Final = 18
UPDATE: Final = 19
PUBLISH: Final = 20
SUBSCRIBE: Final = 21
UNSUBSCRIBE: Final = 22
PUSH: Final = 24
CONTROL: Final = 26
AWAIT: Final = 29
RESULT: Final = 32
RETURNED: Final = 33
SUSPEND: Final = 35
PROGRESS: Final = 36
LOG: Final = 37
CHECKPOINT: Final = 38
SLOTS: Final = 40
DEFER: Final = 41
PAUSE: Final = 42
CREDIT: Final = 45
ACCEPTED: Final = 48
ANSWER: Final = 49
EVENT: Final = 50
UNSUBSCRIBED: Final = 51
TASK: Final = 64
ITEM: Final = 65
RECALL: Final = 66
RESUME: Final = 67
DRAIN: Final = 68

# Attributes; odd ones are promises.
A_DELAY: Final = 1
A_ERROR: Final = 2
A_DEADLINE: Final = 3
A_ATTEMPT: Final = 4
A_RUN_TIMEOUT: Final = 5
A_WORKER: Final = 6
A_ATTEMPTS: Final = 7
A_TRACE: Final = 8
A_BACKOFF: Final = 9
A_BAGGAGE: Final = 10
A_RETENTION: Final = 13
A_REPLY: Final = 15
A_GROUP: Final = 16
A_RESENT: Final = 17
A_LABELS: Final = 18
A_UNIQUE: Final = 19
A_UNIQUE_POLICY: Final = 21
A_ORDER_KEY: Final = 23
A_TIME_LEFT: Final = 24
A_NEEDS: Final = 25
A_REASON: Final = 26
A_CODEC: Final = 27
A_HISTORY: Final = 28
A_COMPRESSION: Final = 29
A_TASK: Final = 30
A_INDEX: Final = 32
A_CHECKPOINT: Final = 33
A_CHUNKS: Final = 34
A_MISSED: Final = 38
A_RETAINED: Final = 40
A_COST: Final = 49
A_PRIORITY: Final = 51
A_RERUN_OK: Final = 53
A_WAIT: Final = 55
A_NO_RETRY: Final = 57
A_CRASHED: Final = 59
A_STICKY_KEY: Final = 61
A_PARENT: Final = 63
A_HEARTBEAT_TIMEOUT: Final = 65
A_NO_RETRY_ON: Final = 67
A_FOLLOW: Final = 69
A_UNIQUE_FOR: Final = 71
A_LIMIT_KEY: Final = 73
A_STREAM: Final = 75
A_SLOW: Final = 77

SUCCEEDED: Final = 1
FAILED: Final = 2
CANCELLED: Final = 4

# A body of so many bytes gets a frame of its own.
FRAME_BODY: Final = 8192

LIMITS: Final = {
    "frame": 1 << 20,
    "body": 64 << 20,
    "records": 1024,
    "frames": 256,
    "session_bytes": 256 << 20,
    "push_window": 1024,
    "checkpoint": 256 << 10,
}

# Odd attributes that an SDK carries out in what it is sent.
_KNOWN_ODD: Final = frozenset(
    {A_CODEC, A_COMPRESSION, A_CHECKPOINT, A_NO_RETRY, A_CRASHED, A_RESENT, A_RERUN_OK, A_STREAM}
)


class Malformed(Exception):
    """A packet that does not decode; `record` is the index of the record to blame."""

    def __init__(self, why: str, record: int | None = None) -> None:
        super().__init__(why)
        self.record = record


def odd_unknown(attributes: dict[Any, Any] | None) -> int | None:
    """The first promise in here that this SDK does not know."""
    if attributes:
        for key in attributes:
            if key & 1 and key not in _KNOWN_ODD:
                return int(key)
    return None


def _refuse_ext(code: int, _data: bytes) -> Any:
    raise ValueError(f"extension type {code}")


# What the values of attributes are, and of other maps that this SDK looks into. What is looked at
# when its call or run gets it is not here: there it fails that alone.
_ATTRIBUTE_TYPES: Final[dict[Any, type]] = {
    A_ERROR: dict,
    A_ATTEMPT: int,
    A_WORKER: str,
    A_TRACE: str,
    A_BAGGAGE: str,
    A_LABELS: dict,
    A_REASON: str,
    A_CODEC: int,
    A_HISTORY: list,
    A_COMPRESSION: int,
    A_INDEX: int,
    A_CHUNKS: int,
    A_MISSED: int,
    A_RETAINED: bool,
    A_NO_RETRY: bool,
    A_CRASHED: bool,
    A_STREAM: int,
}
_FIELD_TYPES: Final[dict[Any, type]] = {
    "session": int,
    "ack": int,
    "limits": dict,
    "timeout": int,
    "compression": str,
    "compression_threshold": int,
    "adopt_grace": int,
    "messages": dict,
    "claims": list,
}
_DETAIL_TYPES: Final[dict[Any, type]] = {"expected": int}


def _check_values(map: dict[Any, Any], types: dict[Any, type], at: int) -> None:
    for key, value in map.items():
        wanted = types.get(key)
        if wanted is not None and type(value) is not wanted:
            raise Malformed(f"{key} is not {wanted.__name__}", at)


def _check_attributes(attributes: Any, at: int) -> None:
    if type(attributes) is not dict:
        raise Malformed("attributes are not a map", at)
    for key in attributes:
        if type(key) is not int or key < 0:
            raise Malformed("the key of an attribute is not a number", at)
    _check_values(attributes, _ATTRIBUTE_TYPES, at)


# Elements behind the kind; the last may be left out from the first "?".
_SHAPES: dict[int, tuple[tuple[type, ...], int]] = {
    HEADER: ((int, int, int), 3),
    WELCOME: ((int, dict), 2),
    PING: ((int,), 1),
    PONG: ((int,), 1),
    ERROR: ((int, str, str, dict), 3),
    BYE: ((str,), 0),
    GOAWAY: ((str, list), 1),
    ACCEPTED: ((int,), 1),
    ANSWER: ((int, object), 2),
    UNSUBSCRIBED: ((str, str), 2),
    CANCEL: ((int, bytes, dict), 2),
    LOG: ((int, int, str, dict), 3),
    CREDIT: ((int, int), 2),
    RECALL: ((int, list), 2),
    RESUME: ((int,), 1),
    DRAIN: ((str,), 0),
}


def _check_shape(record: list[Any], at: int) -> None:
    shape = _SHAPES.get(record[0])
    if shape is None:
        return
    types, needed = shape
    if len(record) <= needed:
        raise Malformed("an element is missing", at)
    for value, wanted in zip(record[1:], types, strict=False):
        if wanted is object:
            continue
        if type(value) is not wanted:
            raise Malformed(f"an element is not {wanted.__name__}", at)
        if isinstance(value, int) and not -MAX_INT <= value <= MAX_INT:
            raise Malformed("an integer is over 2^53 - 1", at)
    kind = record[0]
    if kind in (CANCEL, LOG):
        if len(record) > len(types):
            _check_attributes(record[len(types)], at)
    elif kind == WELCOME:
        _check_values(record[2], _FIELD_TYPES, at)
    elif kind == ERROR:
        if len(record) > 4:
            _check_values(record[4], _DETAIL_TYPES, at)
    elif kind == RECALL and not {int}.issuperset(map(type, record[2])):
        raise Malformed("a handle is not a number", at)


RUNS: Final = frozenset({TASK, ITEM})
_FOR_CALLERS: Final = frozenset({RESULT, EVENT})
_OF_RUNS: Final = frozenset({PROGRESS, CHUNK})
# What a task or item has behind its body when it has no attributes, and behind those.
_NO_ATTRIBUTES: Final = (None, True)
_TICKET: Final = (True,)


def header_of(frame: bytes) -> list[int] | None:
    """The header of a packet that may be malformed behind it, if there is one."""
    unpacker = msgpack.Unpacker(strict_map_key=False, ext_hook=_refuse_ext)
    try:
        unpacker.feed(frame)
        record: list[int] = unpacker.unpack()
        if record[0] != HEADER:
            return None
        _check_shape(record, 0)
    except Exception:  # whatever it is, it is no header
        return None
    return record


class PacketReader:
    """Reads packets from the broker. One thread at a time."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._unpacker = msgpack.Unpacker(strict_map_key=False, ext_hook=_refuse_ext)

    def read(self, frames: list[bytes]) -> list[list[Any]]:
        """The records of a packet, bodies in place of references to frames.

        Tasks and items come with 8 elements (the last is the ticket, see worker), results and
        events with 5, progress and chunks with 4. Raises Malformed; then nothing of the packet
        counts.
        """
        first = frames[0]
        records: list[list[Any]] = []
        try:
            self._unpacker.feed(first)
            # A nil behind the packet: it is there as a value only if the packet was whole.
            self._unpacker.feed(b"\xc0")
            records.extend(self._unpacker)
        except Exception as error:
            self._renew()
            raise Malformed(str(error) or type(error).__name__, len(records)) from None
        if not records or records[-1] is not None:
            self._renew()
            raise Malformed("the packet is cut", len(records))
        records.pop()
        if not records:
            raise Malformed("the packet is empty")
        used = 0
        at = -1
        try:
            for at, record in enumerate(records):
                kind = record[0]
                if kind in RUNS:
                    if len(record) == 6:
                        record += _NO_ATTRIBUTES
                    else:
                        _check_attributes(record[6], at)
                        record[7:] = _TICKET
                    _, handle, id, name, attempt, body, _, _ = record
                    if not (
                        type(handle) is int
                        and type(id) is bytes
                        and len(id) == 16
                        and type(name) is str
                        and type(attempt) is int
                    ):
                        raise Malformed("a task's elements are of other types", at)
                    if type(body) is int:
                        used += 1
                        record[5] = _frame(frames, body, at)
                    elif type(body) is not bytes and body is not None:
                        raise Malformed("a body is neither bytes nor a frame", at)
                elif kind in _FOR_CALLERS:
                    if len(record) < 3 + (kind == EVENT):
                        raise Malformed("an element is missing", at)
                    while len(record) < 5:
                        record.append(None)
                    if type(record[1]) is not int or type(record[2]) is not (
                        int if kind == RESULT else str
                    ):
                        raise Malformed("an element is of another type", at)
                    body = record[3]
                    if type(body) is int:
                        used += 1
                        record[3] = _frame(frames, body, at)
                    elif body is not None and type(body) is not bytes:
                        raise Malformed("a body is neither bytes nor a frame", at)
                    if record[4] is not None:
                        _check_attributes(record[4], at)
                elif kind in _OF_RUNS:
                    while len(record) < 4:
                        record.append(None)
                    body = record[2]
                    if type(record[1]) is not int:
                        raise Malformed("an element is of another type", at)
                    if type(body) is int:
                        used += 1
                        record[2] = _frame(frames, body, at)
                    elif body is not None and type(body) is not bytes:
                        raise Malformed("a body is neither bytes nor a frame", at)
                    if record[3] is not None:
                        _check_attributes(record[3], at)
                elif type(record) is not list or type(kind) is not int or kind < 0:
                    raise Malformed("a record is not an array that begins with its kind", at)
                else:
                    _check_shape(record, at)
        except (TypeError, IndexError, KeyError, AttributeError):
            raise Malformed("a record is not an array that begins with its kind", at) from None
        if used != len(frames) - 1 and all(record[0] < 128 for record in records):
            raise Malformed("a body frame is not named by exactly one record")
        return records


def _frame(frames: list[bytes], number: int, at: int) -> bytes:
    if not 1 <= number < len(frames):
        raise Malformed("a record names a body frame that is not there", at)
    body = frames[number]
    if not body:
        raise Malformed("a body frame is empty, or named twice", at)
    frames[number] = b""  # so that a second record that names it is found
    return body
