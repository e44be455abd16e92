"""What the broker knows of a task, and what it says to a change of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .errors import Attempt, history_of


class Updated(NamedTuple):
    """What came of an update. state: of the task now. updated: whether it was changed."""

    state: str
    updated: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """The error of a task that ended without success. stack: as the language prints it, or ""."""

    type: str
    message: str
    language: str
    stack: str


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """What the broker knows of a task.

    state: "delayed", "waiting", "running", "succeeded", "failed", "expired", "cancelled", "dead",
    or "unknown". With that, or once the ending was let go, the rest is None. attempts: runs that
    were begun. failures: runs that failed. crashes: workers that died of it. age: seconds since it
    was accepted or became due; once it ended: since then. worker: that runs it. history: the last
    16 runs that failed. error: once it ended without success.
    """

    state: str
    type: str | None = None
    attempts: int | None = None
    failures: int | None = None
    crashes: int | None = None
    priority: int | None = None
    age: float | None = None
    worker: str | None = None
    history: list[Attempt] = field(default_factory=list)
    error: Failure | None = None


def read_status(answer: Any) -> TaskStatus:
    return TaskStatus(**status_fields(answer))


def status_fields(answer: Any) -> dict[str, Any]:
    """By the names of TaskStatus; what makes no sense is left out."""
    told: dict[str, Any] = answer if isinstance(answer, dict) else {}

    def number(name: str) -> int | None:
        value = told.get(name)
        return value if type(value) is int else None

    def text(name: str) -> str | None:
        value = told.get(name)
        return value if isinstance(value, str) else None

    age = number("age")
    return {
        "state": text("state") or "unknown",
        "type": text("type"),
        "attempts": number("attempts"),
        "failures": number("failures"),
        "crashes": number("crashes"),
        "priority": number("priority"),
        "age": None if age is None else age / 1000,
        "worker": text("worker"),
        "history": history_of(told.get("history")),
        "error": _failure(told.get("error")),
    }


def _failure(told: Any) -> Failure | None:
    if not isinstance(told, dict):
        return None
    return Failure(*(str(told.get(name, "")) for name in ("type", "message", "language", "stack")))


def read_done(answer: Any) -> bool:
    """Of a control: whether there was anything to do."""
    return isinstance(answer, dict) and answer.get("done") is True


def read_updated(answer: Any) -> Updated:
    told: dict[str, Any] = answer if isinstance(answer, dict) else {}
    return Updated(str(told.get("state", "")), told.get("updated") is True)
