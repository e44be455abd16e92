"""Reading a body as it came: its compression, its codec, its value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import compression, values, wire
from .errors import BodyError


def read_body(body: bytes | None, attributes: Mapping[int, Any] | None, limit: int) -> Any:
    """The value of a body as it came, by its codec and compression. Raises BodyError."""
    if body is None:
        return None
    if attributes:
        compressed = attributes.get(wire.A_COMPRESSION, 0)
        if compressed == 1:
            body = compression.decompress(body, limit)
        elif compressed != 0:
            raise BodyError(f"compression {compressed} is not known")
        codec = attributes.get(wire.A_CODEC, 0)
        if codec == 2:
            return body
        if codec == 1:
            return values.decode_json(body)
        if codec != 0:
            raise BodyError(f"codec {codec} is not known")
    if len(body) > limit:
        raise BodyError(f"the body has {len(body)} bytes, the limit is {limit}")
    return values.decode(body)
