"""Tagged JSON (BODY.md) to and from the values of the Python SDK."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from tuskd import Timestamp

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_tagged(tagged: Any) -> Any:
    if not isinstance(tagged, dict):
        return tagged
    ((kind, inner),) = tagged.items()
    if kind == "int":
        return int(inner)
    if kind == "float":
        return float(inner)
    if kind == "bytes":
        return bytes.fromhex(inner)
    if kind == "list":
        return [from_tagged(v) for v in inner]
    if kind == "map":
        return {k: from_tagged(v) for k, v in inner}
    if kind == "timestamp":
        seconds, nanoseconds = int(inner[0]), inner[1]
        if nanoseconds % 1000:
            return Timestamp(seconds, nanoseconds)
        return EPOCH + timedelta(seconds=seconds, microseconds=nanoseconds // 1000)
    return inner


def to_tagged(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return {"int": str(value)}
    if isinstance(value, float):
        return {"float": "NaN" if math.isnan(value) else repr(value)}
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, list):
        return {"list": [to_tagged(v) for v in value]}
    if isinstance(value, dict):
        return {"map": [[k, to_tagged(v)] for k, v in value.items()]}
    if isinstance(value, Timestamp):
        return {"timestamp": [str(value.seconds), value.nanoseconds]}
    if isinstance(value, datetime):
        since = value - EPOCH
        return {
            "timestamp": [
                str(since.days * 86400 + since.seconds),
                since.microseconds * 1000,
            ]
        }
    raise TypeError(f"{type(value).__name__} is no value of BODY.md")
