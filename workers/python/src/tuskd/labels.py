"""Labels of tasks and workers, and what a task needs a worker to have."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

KEY_BYTES = 255
MOST_TASK_LABELS = 16
MOST_NEEDS = 16  # of each kind
MOST_WORKER_LABELS = 32
MOST_AMOUNT = 10**9
ENVIRONMENT = "TUSK_LABELS"


def key_text(name: str, given: str) -> str:
    """Text of 1 to 255 bytes. Raises TypeError, or ValueError that names `name` and the bound."""
    if not isinstance(given, str):
        raise TypeError(f"{name} is text, not {type(given).__name__}")
    size = len(given.encode())
    if not 1 <= size <= KEY_BYTES:
        raise ValueError(f"{name} has 1 to {KEY_BYTES} bytes, not {size}: {given:.40}")
    return given


def task_labels(given: Mapping[str, str]) -> dict[str, str]:
    return {
        key: key_text(f"labels[{key!r}]", text)
        for key, text in _entries("labels", given, MOST_TASK_LABELS).items()
    }


def required(name: str, given: Mapping[str, str | int]) -> dict[str, str | int]:
    """What a worker must or should have: `requires` or `prefers`."""
    return _texts_and_amounts(name, given, MOST_NEEDS)


def consumed(given: Mapping[str, int]) -> dict[str, int]:
    return {
        key: _amount(f"consumes[{key!r}]", amount, 1)
        for key, amount in _entries("consumes", given, MOST_NEEDS).items()
    }


def worker_labels(given: Mapping[str, str | int] | None) -> dict[str, str | int]:
    """What a worker announces: those of the environment, and `given`, which wins.

    Raises TypeError or ValueError, also for an environment that is no JSON object.
    """
    told = os.environ.get(ENVIRONMENT)
    found: dict[str, str | int] = {}
    if told:
        try:
            value = json.loads(told)
        except ValueError as error:
            raise ValueError(f"{ENVIRONMENT} is not JSON: {error}: {told:.80}") from None
        if not isinstance(value, dict):
            raise ValueError(f"{ENVIRONMENT} is a JSON object of names, not {told:.80}")
        found = _texts_and_amounts(ENVIRONMENT, value, MOST_WORKER_LABELS)
    found |= _texts_and_amounts("labels", given or {}, MOST_WORKER_LABELS)
    if len(found) > MOST_WORKER_LABELS:
        raise ValueError(
            f"labels and {ENVIRONMENT} have at most {MOST_WORKER_LABELS} names, not {len(found)}"
        )
    return found


def _texts_and_amounts(
    name: str, given: Mapping[str, str | int], most: int
) -> dict[str, str | int]:
    def read(key: str, value: str | int) -> str | int:
        where = f"{name}[{key!r}]"
        return key_text(where, value) if isinstance(value, str) else _amount(where, value, 0)

    return {key: read(key, value) for key, value in _entries(name, given, most).items()}


def _entries(name: str, given: Mapping[str, Any], most: int) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} is a map of names, not {type(given).__name__}")
    if len(given) > most:
        raise ValueError(f"{name} has at most {most} entries, not {len(given)}")
    for key in given:
        key_text(f"a name in {name}", key)
    return given


def _amount(name: str, value: Any, least: int) -> int:
    if type(value) is not int:
        what = "a whole number" if least else "text or a whole number"
        raise TypeError(f"{name} is {what}, not {type(value).__name__}")
    if not least <= value <= MOST_AMOUNT:
        raise ValueError(f"{name} is {least} to {MOST_AMOUNT:,}, not {value}")
    return value
