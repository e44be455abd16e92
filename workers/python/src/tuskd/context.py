"""What a handler may know about its run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from . import values, wire
from .durations import milliseconds
from .errors import BodyError, Cancelled, too_large
from .terms import whole_units

LOG_BYTES = 16 << 10
STACK_BYTES = 64 << 10
NEVER_COMPRESS = 1 << 62
_CUT = b" [cut]"
_LEVELS = {"debug": 1, "info": 2, "warning": 3, "error": 4}
_NOTHING: dict[int, Any] = {}

# A result: state, body, attributes. A run that was put off: DEFER, None, {DEFER: milliseconds}.
Outcome = tuple[int, bytes | None, dict[int, Any] | None]

# Where a run's word of itself goes: the record's kind, and what is behind the handle.
Say = Callable[[int, Any], None]


@dataclass(slots=True)
class Bounds:
    """What the broker's welcome says about bodies."""

    body: int = wire.LIMITS["body"]
    compress_from: int = NEVER_COMPRESS
    stack: int = STACK_BYTES
    checkpoint: int = wire.LIMITS["checkpoint"]


_DEFAULTS = Bounds()


def _to_nobody(kind: int, said: Any) -> None:
    pass


class _Drop:
    """The type of DROP."""

    _only: _Drop | None = None

    def __new__(cls) -> _Drop:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "tuskd.DROP"

    def __reduce__(self) -> tuple[type[_Drop], tuple[()]]:
        return (_Drop, ())


# A stage handler returns this for an item that ends here.
DROP: Final = _Drop()


class Context:
    """Give a parameter this type and the handler gets it: `def add(a, b, context: Context)`.

    id: 16 bytes. type: of the task, or the stage handler's name. attempt: from 1. trace, baggage:
    the W3C texts that the caller sent, or None. Any thread. What a run says of itself (progress,
    heartbeat, log, checkpoint, pause_type) waits for nobody, arrives in order and before the
    result, and is nothing any more when the run is over.
    """

    __slots__ = (
        "_attributes",
        "_bounds",
        "_cost",
        "_reason",
        "_say",
        "attempt",
        "baggage",
        "id",
        "trace",
        "type",
    )

    def __init__(self, id: bytes, type: str, attempt: int, attributes: dict[int, Any] | None):
        self.id = id
        self.type = type
        self.attempt = attempt
        self.trace: str | None = attributes.get(wire.A_TRACE) if attributes else None
        self.baggage: str | None = attributes.get(wire.A_BAGGAGE) if attributes else None
        self._attributes = attributes or _NOTHING
        self._cost: int | None = None
        self._reason: str | None = None
        self._bounds = _DEFAULTS
        self._say: Say = _to_nobody

    @property
    def cancelled(self) -> bool:
        """Whether this run was told to stop. A plain handler looks now and then."""
        return self._reason is not None

    @property
    def cancel_reason(self) -> str | None:
        """Why: "cancelled" (somebody did), "deadline", "run_timeout", "heartbeat_timeout", "parent"
        (the task whose child this is was cancelled or expired) or "moved" (it was given to another
        worker). None while it was not told to stop."""
        return self._reason

    def check(self) -> None:
        """Raises tuskd.Cancelled if the run was told to stop."""
        if self._reason is not None:
            why = "was cancelled" if self._reason == "cancelled" else f"is over: {self._reason}"
            raise Cancelled(f"the run {why}")

    @property
    def time_left(self) -> float | None:
        """Seconds that this run may still take, by its time-out and the task's deadline: 0 when
        they are over, None without either."""
        until = self._attributes.get(wire.A_TIME_LEFT)
        return None if until is None else max(0.0, until - time.monotonic())

    @property
    def labels(self) -> dict[str, str]:
        """Of the task, by name."""
        labels = self._attributes.get(wire.A_LABELS)
        return dict(labels) if isinstance(labels, dict) else {}

    @property
    def last_checkpoint(self) -> Any:
        """What the last run that made a checkpoint left for this one; None if there is none. Raises
        BodyError."""
        body = self._attributes.get(wire.A_CHECKPOINT)
        if body is not None and type(body) is not bytes:
            raise BodyError("the checkpoint that the broker sent is not bytes")
        return None if body is None else values.decode(body)

    def checkpoint(self, value: Any) -> None:
        """Saves `value` for the next run of this task, should there be one, in place of the one
        before.

        Raises BodyError, or TooLarge beyond the broker's limit `checkpoint` (256 KiB by default).
        """
        body = values.encode(value)
        if len(body) > self._bounds.checkpoint:
            raise too_large("checkpoint", len(body), self._bounds.checkpoint, self.id)
        self._say(wire.CHECKPOINT, body)

    def clear_checkpoint(self) -> None:
        """Takes the checkpoint away: the next run begins anew."""
        self._say(wire.CHECKPOINT, None)

    def progress(self, value: Any) -> None:
        """Tells those who follow the task; also a sign of life. Raises BodyError, TooLarge."""
        body = values.encode(value)
        if len(body) > self._bounds.body:
            raise too_large("body", len(body), self._bounds.body, self.id)
        self._say(wire.PROGRESS, body)

    def heartbeat(self) -> None:
        """A sign of life, for a task with a heartbeat_timeout."""
        self._say(wire.PROGRESS, None)

    def log(self, level: str, text: str) -> None:
        """A line for those who follow the task; also a sign of life.

        level: "debug", "info", "warning" or "error". text: cut, with a mark, at 16 KiB.
        """
        number = _LEVELS.get(level)
        if number is None:
            raise ValueError(f"there is no level {level!r}; there are {', '.join(_LEVELS)}")
        data = text.encode("utf-8", "backslashreplace")
        if len(data) > LOG_BYTES:
            data = data[: LOG_BYTES - len(_CUT)] + _CUT
        self._say(wire.LOG, (number, data.decode("utf-8", "ignore")))

    def pause_type(self, duration: float) -> None:
        """No task of this type starts for so many seconds, on any worker; 0 ends the pause.

        This run goes on. For when a handler knows that none could succeed. Raises ValueError beyond
        100 years.
        """
        self._say(wire.PAUSE, milliseconds("duration", duration))

    def set_cost(self, units: int) -> None:
        """What the run really costs, in units of the type's rates, 0 to 10**9: the broker takes the
        difference to the task's `cost`, or gives it back, however the run ends.

        The last one counts. Raises TypeError or ValueError.
        """
        self._cost = whole_units("a run's cost", units)

    # -- for the worker

    def with_cost(self, outcome: Outcome) -> Outcome:
        """The outcome of this run, with what it cost if that was said."""
        if self._cost is None:
            return outcome
        state, body, attributes = outcome
        return (state, body, {**(attributes or _NOTHING), wire.A_COST: self._cost})

    def cancel(self, reason: str = "cancelled") -> None:
        """The worker calls this when the broker tells the run to stop."""
        if self._reason is None:
            self._reason = reason

    def connect(self, say: Say, bounds: Bounds) -> None:
        """What the run says goes to `say`, within `bounds`."""
        self._say = say
        self._bounds = bounds

    def close(self) -> None:
        """The run is over."""
        self._say = _to_nobody

    def relay(self, kind: int, said: Any) -> None:
        """Says what the run said in another process."""
        self._say(kind, said)
