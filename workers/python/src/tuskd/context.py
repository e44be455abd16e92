"""What a handler may know about its run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from . import compression, values, wire
from .calls import Id
from .children import Born, Family, Refusal, Suspension, Waiter
from .durations import milliseconds
from .errors import BodyError, Cancelled, TuskError, too_large
from .flow import Flow
from .terms import Terms, whole_units

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


class RunContext:
    """What Context and AsyncContext have in common.

    id: 16 bytes. type: of the task, or the stage handler's name. attempt: from 1. trace, baggage:
    the W3C texts that the caller sent, or None. Any thread. What a run says of itself (progress,
    heartbeat, log, checkpoint, pause_type) waits for nobody, arrives in order and before the
    result, and is nothing any more when the run is over.
    """

    __slots__ = (
        "_attributes",
        "_bounds",
        "_cost",
        "_family",
        "_flow",
        "_reason",
        "_say",
        "_suspension",
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
        self._family: Family | None = None
        self._suspension: Suspension | None = None
        self._flow: Flow | None = None

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
            if self._suspension is not None:
                self._suspension.stop()
            if self._flow is not None:
                self._flow.stop()

    def connect(self, say: Say, bounds: Bounds, family: Family | None = None) -> None:
        """What the run says goes to `say`, within `bounds`; its children to `family`."""
        self._say = say
        self._bounds = bounds
        self._family = family
        credit = self._attributes.get(wire.A_STREAM)
        if credit is not None:
            self._flow = Flow(credit)

    def resumed(self, refusal: Refusal | None) -> None:
        """The run has its slot again; with a refusal it has kept it."""
        if self._suspension is not None:
            self._suspension.resumed(refusal)

    def credit(self, chunks: int) -> None:
        """So many further chunks may be sent."""
        if self._flow is not None:
            self._flow.add(chunks)

    def chunk(self, value: Any) -> Flow | None:
        """Sends a chunk, if there is credit; else what to wait for before it is tried again.

        Raises Cancelled, BodyError, TooLarge.
        """
        flow = self._flow
        if flow is None or flow.is_unwanted:
            return None
        self.check()
        if not flow.take():
            return flow
        body = values.encode(value)
        bounds = self._bounds
        if len(body) > bounds.body:
            raise too_large("body", len(body), bounds.body, self.id)
        packed = compression.compress(body) if len(body) >= bounds.compress_from else None
        if packed is None:
            self._say(wire.CHUNK, (body, None))
        else:
            self._say(wire.CHUNK, (packed, {wire.A_COMPRESSION: 1}))
        return None

    def close(self) -> None:
        """The run is over."""
        self._say = _to_nobody

    def relay(self, kind: int, said: Any) -> None:
        """Says what the run said in another process."""
        self._say(kind, said)

    def bear(
        self,
        type: str,
        body: Any,
        id: Id,
        rerun_ok: bool,
        trace: str | None,
        baggage: str | None,
        terms: Terms,
    ) -> Born:
        """Submits a child. Raises Cancelled, and what Client.submit raises."""
        self.check()
        if self._family is None:
            raise RuntimeError("a run has children while its worker runs it, and only then")
        if self._suspension is None:
            self._suspension = Suspension(lambda ids: self._say(wire.SUSPEND, ids))
        born = Born(self._suspension)
        self._family.submit(
            self.id,
            type,
            body,
            id=id,
            rerun_ok=rerun_ok,
            trace=trace,
            baggage=baggage,
            terms=terms,
            child=born,
        )
        return born

    def _result(self, born: Born, waiter: Waiter) -> Any:
        """Of a child that was waited for. Raises its error, Cancelled, or why waiting failed."""
        self.check()
        if waiter.error is not None:
            raise waiter.error
        assert self._family is not None
        return self._family.decode(born.request)

    def outcomes(
        self, children: Sequence[SomeChild], waiter: Waiter, return_errors: bool
    ) -> list[Any]:
        found: list[Any] = []
        for child in children:
            try:
                found.append(self._result(child.born, waiter))
            except TuskError as error:
                if waiter.error is not None or not return_errors:
                    raise
                found.append(error)
        return found


class SomeChild:
    """A task that a run has submitted. `id` is its 16 bytes."""

    def __init__(self, born: Born) -> None:
        self.born = born
        self.id = born.request.id
        self.type = born.request.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.type} {self.id.hex()}>"

    def done(self) -> bool:
        """Whether it has ended."""
        return self.born.request.done
