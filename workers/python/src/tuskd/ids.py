"""Task ids: 16 bytes, UUIDv7 (RFC 9562)."""

from __future__ import annotations

import os
import threading
import time
import uuid

_POOL = 4096
_local = threading.local()
KnownId = bytes | uuid.UUID | str


def new_id() -> bytes:
    """A new id. Any thread; forked children do not repeat their parent's."""
    random: bytes
    try:
        random, at, pid = _local.state
    except AttributeError:
        random, at, pid = b"", _POOL, 0
    if at + 10 > len(random) or pid != os.getpid():
        # One call of the system for 400 ids.
        random, at, pid = os.urandom(_POOL), 0, os.getpid()
    _local.state = (random, at + 10, pid)
    ms = time.time_ns() // 1_000_000
    return b"%b%c%b%c%b" % (
        ms.to_bytes(6, "big"),
        0x70 | (random[at] & 0x0F),
        random[at + 1 : at + 2],
        0x80 | (random[at + 2] & 0x3F),
        random[at + 3 : at + 10],
    )


def as_id(given: KnownId | None) -> bytes:
    """16 bytes of whatever a caller gave: bytes, a UUID, its text, or None for a new one."""
    if given is None:
        return new_id()
    if isinstance(given, uuid.UUID):
        return given.bytes
    if isinstance(given, str):
        return uuid.UUID(given).bytes
    if len(given) != 16:
        raise ValueError(f"a task id has 16 bytes, not {len(given)}")
    return bytes(given)


def known_id(given: KnownId) -> bytes:
    """As as_id, for what is about a task that is there: None is a TypeError and no new id."""
    if given is None:
        raise TypeError("an id is 16 bytes, a UUID or its text, not None")
    return as_id(given)
