"""Bodies: one value as msgpack, exactly as BODY.md says. No state, any thread."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import Any

import msgpack

from .errors import BodyError

MAX_DEPTH = 64
FIRST_SECOND = -62_135_596_800  # year 1
LAST_SECOND = 253_402_300_799  # the last of year 9999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, order=True, slots=True)
class Timestamp:
    """An instant in UTC that `datetime` cannot hold: it has nanoseconds.

    seconds: since 1970, from year 1 to 9999. nanoseconds: 0 to 999,999,999.
    """

    seconds: int
    nanoseconds: int = 0

    def __post_init__(self) -> None:
        if not FIRST_SECOND <= self.seconds <= LAST_SECOND:
            raise BodyError(f"timestamp of {self.seconds} s is not within years 1 to 9999")
        if not 0 <= self.nanoseconds < 1_000_000_000:
            raise BodyError(f"timestamp with {self.nanoseconds} ns: not within one second")

    def to_datetime(self) -> datetime:
        """The instant in UTC, cut to microseconds."""
        return _EPOCH + timedelta(seconds=self.seconds, microseconds=self.nanoseconds // 1000)


# Types that hold no other value. Subclasses (IntEnum, namedtuple) go the slow way.
_READ_FLAT = frozenset({int, str, float, bool, NoneType, bytes})
_WRITE_FLAT = _READ_FLAT | {bytearray, memoryview, datetime, Timestamp}
_issuperset_read = _READ_FLAT.issuperset
_issuperset_write = _WRITE_FLAT.issuperset
_SLOW_FLAT = (int, str, float, bytes, datetime)

# A list or map nests 65 deep only if so many of these bytes are in it.
_NOT_CONTAINERS = bytes(b for b in range(256) if not (0x80 <= b <= 0x9F or 0xDC <= b <= 0xDF))
# First bytes of values that are neither containers nor extensions.
_SCALARS = frozenset(_NOT_CONTAINERS) - {0xC1, 0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)}
_TIMESTAMP = re.compile(rb"[\xd4-\xd8]\xff|\xc7.\xff|\xc8..\xff|\xc9....\xff", re.DOTALL)
# Over this many bytes a body is first skipped through, so that lengths that lie allocate nothing.
_SKIP_FIRST = 4096
_TRY_FLAT = 512
_KEEP_BUFFER = 1 << 20


def _refuse_ext(code: int, _data: bytes) -> Any:
    raise BodyError(f"extension type {code} is not a value")


def _pairs(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise BodyError("a map has the same key twice")
    "".join(made)  # a TypeError if a key is bytes
    return made


def _timestamp(value: Any) -> datetime | Timestamp:
    exact = Timestamp(value.seconds, value.nanoseconds)
    return exact if exact.nanoseconds % 1000 else exact.to_datetime()


def _with_datetimes(value: Any) -> Any:
    if type(value) is msgpack.Timestamp:
        return _timestamp(value)
    if type(value) is list:
        return [_with_datetimes(v) for v in value]
    if type(value) is dict:
        return {k: _with_datetimes(v) for k, v in value.items()}
    return value


def _too_deep(value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for container in level:
            items = container.values() if type(container) is dict else container
            kinds = set(map(type, items))
            if list in kinds or dict in kinds:
                below += [v for v in items if type(v) is list or type(v) is dict]
        level = below
        if not level:
            return False
    return True


def decode(data: bytes) -> Any:
    """The value of a body. Raises BodyError for bytes that BODY.md refuses."""
    try:
        if len(data) <= _TRY_FLAT or data[0] in _SCALARS:
            # Short and flat is by far the most frequent: what holds only flat values nests once,
            # and shows a key that is there twice in its length. Not flat, it is read again.
            value = msgpack.unpackb(data, ext_hook=_refuse_ext)
            kind = type(value)
            if kind in _READ_FLAT:
                return value
            if kind is dict:
                if (
                    data[0] < 0x90
                    and len(value) == data[0] - 0x80
                    and _issuperset_read(map(type, value.values()))
                ):
                    "".join(value)
                    return value
            elif kind is list and _issuperset_read(map(type, value)):
                return value
        return _decode_strictly(data)
    except BodyError:
        raise
    except RecursionError:
        raise BodyError(f"lists and maps nest over {MAX_DEPTH} deep") from None
    except Exception as error:
        raise BodyError(_why(error)) from None


def _decode_strictly(data: bytes) -> Any:
    if len(data) > _SKIP_FIRST:
        skipper = msgpack.Unpacker(max_buffer_size=len(data))
        skipper.feed(data)
        skipper.skip()
        if skipper.tell() != len(data):
            raise BodyError("there are bytes behind the value")
    value = msgpack.unpackb(data, object_pairs_hook=_pairs, ext_hook=_refuse_ext)
    if (type(value) is list or type(value) is dict) and (
        len(data.translate(None, _NOT_CONTAINERS)) > MAX_DEPTH and _too_deep(value)
    ):
        raise BodyError(f"lists and maps nest over {MAX_DEPTH} deep")
    if b"\xff" in data and _TIMESTAMP.search(data):
        value = _with_datetimes(value)
    return value


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "a text is not UTF-8"
    if isinstance(error, msgpack.ExtraData):
        return "there are bytes behind the value"
    if isinstance(error, msgpack.OutOfData):
        return "the body is cut"
    if isinstance(error, msgpack.StackError):
        return f"lists and maps nest over {MAX_DEPTH} deep"
    if isinstance(error, TypeError):
        return "a key of a map is not text"
    return f"not msgpack: {error}" if str(error) else "not msgpack"


def _no_value(value: Any) -> Any:
    if isinstance(value, Timestamp):
        return msgpack.Timestamp(value.seconds, value.nanoseconds)
    raise BodyError(f"a {type(value).__name__} cannot be sent")


def _check(value: Any, depth: int) -> None:
    """Refuses what msgpack would write and BODY.md does not allow: keys, depth, extensions."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise BodyError(f"a key of a map is {type(key).__name__}, not text")
        items: Any = value.values()
    elif isinstance(value, (list, tuple)) and not isinstance(value, msgpack.ExtType):
        items = value
    elif isinstance(value, _SLOW_FLAT) or type(value) in _WRITE_FLAT:
        return
    else:
        raise BodyError(f"a {type(value).__name__} cannot be sent")
    if depth >= MAX_DEPTH:
        raise BodyError(f"lists and maps nest over {MAX_DEPTH} deep")
    for kind in set(map(type, items)) - _WRITE_FLAT:
        for item in items:
            if type(item) is kind:
                _check(item, depth + 1)


class Encoder:
    """Writes bodies. Keeps its buffer, so each thread has its own."""

    __slots__ = ("_packer",)

    def __init__(self) -> None:
        self._packer = msgpack.Packer(default=_no_value, datetime=True, buf_size=4096)

    def encode(self, value: Any) -> bytes:
        """The bytes of a body. Raises BodyError naming what cannot be written."""
        try:
            kind = type(value)
            if kind in _WRITE_FLAT or (kind is list and _issuperset_write(map(type, value))):
                pass
            elif kind is dict and _issuperset_write(map(type, value.values())):
                "".join(value)
            else:
                _check(value, 0)
            data: bytes = self._packer.pack(value)
        except BodyError:
            self._renew()
            raise
        except UnicodeEncodeError:
            self._renew()
            raise BodyError("a text has a lone surrogate and cannot be UTF-8") from None
        except OverflowError:
            self._renew()
            raise BodyError("an integer is below -2^63 or above 2^64 - 1") from None
        except TypeError as error:
            self._renew()
            if "tzinfo" in str(error):
                raise BodyError("a datetime without a time zone is not an instant") from None
            if isinstance(value, dict) and any(not isinstance(k, str) for k in value):
                raise BodyError("a key of a map is not text") from None
            raise BodyError(str(error)) from None
        except (ValueError, RecursionError) as error:
            self._renew()
            raise BodyError(str(error)) from None
        if len(data) > _KEEP_BUFFER:
            self._renew()
        return data

    def _renew(self) -> None:
        # After an error a Packer may hold half a value; after a large one it holds its memory.
        self._packer = msgpack.Packer(default=_no_value, datetime=True, buf_size=4096)


def encode(value: Any) -> bytes:
    """The bytes of a body, without a kept buffer."""
    return Encoder().encode(value)


def _json_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise BodyError("a map has the same key twice")
    return made


def encode_json(value: Any) -> bytes:
    """The bytes of a body of codec 1; the value is one that Encoder writes. Raises BodyError."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except TypeError:
        raise BodyError("bytes and timestamps cannot be sent as JSON") from None
    except ValueError:
        raise BodyError("NaN and infinities cannot be sent as JSON") from None
    return text.encode()


def decode_json(data: bytes) -> Any:
    """The value of a body of codec 1."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_json_pairs)
    except RecursionError:
        raise BodyError(f"lists and maps nest over {MAX_DEPTH} deep") from None
    except ValueError as error:
        raise BodyError(f"not JSON: {error}") from None
    if isinstance(value, (list, dict)) and _too_deep(value):
        raise BodyError(f"lists and maps nest over {MAX_DEPTH} deep")
    return value
