"""Durations: seconds in Python, whole milliseconds on the wire."""

from __future__ import annotations

import math

MOST = 100 * 365 * 86_400.0  # seconds: 100 years


def milliseconds(name: str, seconds: float, *, least: int = 0) -> int:
    """Of `seconds`, rounded up. Raises TypeError, or ValueError that names `name` and the bound.

    least: in milliseconds.
    """
    if type(seconds) is bool or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} is a number of seconds, not {type(seconds).__name__}")
    if not 0 <= seconds <= MOST:
        raise ValueError(f"{name} is 0 to {MOST:,.0f} seconds (100 years), not {seconds}")
    ms = math.ceil(round(seconds * 1000, 3))  # 2.3 * 1000 may be a hair over 2300
    if ms < least:
        raise ValueError(f"{name} is at least {least / 1000} seconds, not {seconds}")
    return ms
