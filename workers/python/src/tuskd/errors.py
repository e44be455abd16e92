"""The errors that a caller can catch. All of them are `TuskError`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .durations import milliseconds


class TuskError(Exception):
    """What every error of tuskd has.

    code: for programs, never changes ("timeout", "unserved", "failed", ...).
    reason: for people.
    task_id: the 16 bytes of the task's id, or None where there is no task.
    """

    code = "error"

    def __init__(self, reason: str, *, task_id: bytes | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.task_id = task_id

    def __str__(self) -> str:
        if self.task_id is None:
            return self.reason
        return f"{self.reason} (task {self.task_id.hex()})"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run that failed, in the `history` of an error or a TaskStatus.

    attempt: from 1. worker: its name. started, ended: seconds before the task's ending; in a
    TaskStatus, before now. type, message, stack, language: of the error, shortened; stack may be
    empty.
    """

    attempt: int
    worker: str
    started: float
    ended: float
    type: str
    message: str
    stack: str
    language: str


class _NoSuccess(TuskError):
    """An ending that is no success. history: the runs that failed before it, the last 16."""

    def __init__(
        self, reason: str, *, task_id: bytes | None = None, history: Sequence[Attempt] = ()
    ) -> None:
        super().__init__(reason, task_id=task_id)
        self.history = list(history)


class TaskFailed(_NoSuccess):
    """The handler failed. The fields tell what the worker's own language said.

    language, type, message, stack: of the exception there; stack may be empty.
    attempt: which run this was, from 1. worker: the name of the worker, or "".
    retry_makes_sense: False when the worker said that another run makes no sense.
    history: every run that failed, this one too; empty if only one was allowed.
    """

    code = "failed"

    def __init__(
        self,
        reason: str,
        *,
        task_id: bytes | None = None,
        language: str = "",
        type: str = "",
        message: str = "",
        stack: str = "",
        attempt: int = 0,
        worker: str = "",
        retry_makes_sense: bool = True,
        history: Sequence[Attempt] = (),
    ) -> None:
        super().__init__(reason, task_id=task_id, history=history)
        self.language = language
        self.type = type
        self.message = message
        self.stack = stack
        self.attempt = attempt
        self.worker = worker
        self.retry_makes_sense = retry_makes_sense


class TaskDead(TaskFailed):
    """Every allowed run failed, or too many workers died of it."""

    code = "dead"


class TaskCancelled(_NoSuccess):
    """Somebody cancelled the task."""

    code = "cancelled"


class TaskExpired(_NoSuccess):
    """The task's deadline passed before it ended."""

    code = "expired"


class Timeout(TuskError, TimeoutError):
    """The caller's time passed. The task goes on: ask again by its id."""

    code = "timeout"


class Unavailable(TuskError, ConnectionError):
    """No broker answered in time at `url`."""

    code = "unavailable"

    def __init__(self, reason: str, *, url: str, task_id: bytes | None = None) -> None:
        super().__init__(reason, task_id=task_id)
        self.url = url


class Closed(TuskError):
    """The client was closed before the answer came."""

    code = "closed"


class SlowSubscriber(TuskError):
    """A subscription with `slow="disconnect"` was read too slowly, and ended."""

    code = "slow_subscriber"


class BodyError(TuskError, ValueError):
    """A value that cannot be a body (see BODY.md), or bytes that are no body."""

    code = "body"


class BrokerError(TuskError):
    """The broker refused. `code` is one of SPEC's errors, `details` its map."""

    def __init__(
        self,
        reason: str,
        *,
        code: str = "error",
        task_id: bytes | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(reason, task_id=task_id)
        self.code = code
        self.details = details or {}


class Unserved(BrokerError):
    """No worker runs this type and none is configured; the nearest name is in the reason."""


class Full(BrokerError):
    """A queue or table of the broker is full; `details["limit"]` names it. Try later."""


class Busy(BrokerError):
    """This peer has too much unanswered or unacknowledged. Try later."""


class TooLarge(BrokerError):
    """Over a limit: `details["limit"]` is its name, `details["value"]` the bound."""


class IdConflict(BrokerError):
    """The id belongs to a task of another type or body."""


class AlreadyEnded(BrokerError):
    """The task ended and its ending was not kept; `details["state"]`. See `retention`."""


class Duplicate(BrokerError):
    """Another task has the unique key. `task_id` is the id of the submit that was refused."""

    @property
    def id(self) -> bytes | None:
        """Of the task that has the key; None if the broker did not say it."""
        told = self.details.get("id")
        try:
            found = bytes.fromhex(told) if isinstance(told, str) else b""
        except ValueError:
            return None
        return found if len(found) == 16 else None

    @property
    def state(self) -> str:
        """Of that task: "waiting", "delayed", "running", or how it ended."""
        return str(self.details.get("state", ""))


class UnknownOutcome(BrokerError):
    """The task may have run before. The caller decides whether to run it again."""


class UnknownTask(BrokerError):
    """No such task."""


class UnknownTopic(BrokerError):
    """The topic is not in the config; the nearest name is in the reason."""


class UnknownStage(BrokerError):
    """The stage is not in the config; the nearest name is in the reason."""


class Refused(BrokerError):
    """The config does not allow this worker."""


class Malformed(BrokerError):
    """The broker could not read the packet that this was asked in; nothing of it was done."""


class Invalid(BrokerError):
    """A value out of its range; `details["field"]`."""


class Unsupported(BrokerError):
    """The broker does not carry this kind or attribute out."""


_BY_CODE: dict[str, type[BrokerError]] = {
    "unserved": Unserved,
    "full": Full,
    "busy": Busy,
    "too_large": TooLarge,
    "id_conflict": IdConflict,
    "already_ended": AlreadyEnded,
    "duplicate": Duplicate,
    "unknown_outcome": UnknownOutcome,
    "unknown_task": UnknownTask,
    "unknown_topic": UnknownTopic,
    "unknown_stage": UnknownStage,
    "refused": Refused,
    "malformed": Malformed,
    "invalid": Invalid,
    "unsupported": Unsupported,
}


def from_error_record(
    code: str, message: str, details: dict[str, Any] | None, task_id: bytes | None
) -> TuskError:
    """The exception for an error record of the broker."""
    if code == "timeout":
        return Timeout(message, task_id=task_id)
    kind = _BY_CODE.get(code, BrokerError)
    return kind(message, code=code, task_id=task_id, details=details)


def from_ending(state: int, attributes: dict[int, Any], task_id: bytes) -> TuskError:
    """The exception for an ending that is not a success. task_id: as it was asked for."""
    task_id = id_that_counts(attributes, task_id)
    history = history_of(attributes.get(28))
    if state == 3:
        return TaskExpired("the task expired", task_id=task_id, history=history)
    if state == 4:
        return TaskCancelled("the task was cancelled", task_id=task_id, history=history)
    told = attributes.get(2)
    error: dict[str, Any] = told if isinstance(told, dict) else {}
    type_ = str(error.get("type", ""))
    message = str(error.get("message", ""))
    worker = str(attributes.get(6, ""))
    attempt = attributes.get(4, 0)
    reason = f"{type_}: {message}" if type_ else message or "the task failed"
    if worker:
        reason += f" [on {worker}]"
    kind = TaskDead if state == 5 else TaskFailed
    return kind(
        reason,
        task_id=task_id,
        language=str(error.get("language", "")),
        type=type_,
        message=message,
        stack=str(error.get("stack", "")),
        attempt=attempt if isinstance(attempt, int) else 0,
        worker=worker,
        retry_makes_sense=attributes.get(57) is not True,
        history=history,
    )


def id_that_counts(attributes: Mapping[int, Any] | None, asked: bytes) -> bytes:
    """The id of the task whose ending this is: by its unique key it may be another one."""
    told = attributes.get(30) if attributes else None
    return told if isinstance(told, bytes) and len(told) == 16 else asked


def history_of(told: Any) -> list[Attempt]:
    """What is told of runs that failed; whatever makes no sense is left out."""
    out = []
    for run in told if isinstance(told, list) else []:
        if not isinstance(run, dict):
            continue
        error = run.get("error")
        error = error if isinstance(error, dict) else {}
        texts = [str(error.get(name, "")) for name in ("type", "message", "stack", "language")]
        number, started, ended = (
            value if isinstance(value := run.get(name), int) else 0
            for name in ("attempt", "started", "ended")
        )
        worker = str(run.get("worker", ""))
        out.append(Attempt(number, worker, started / 1000, ended / 1000, *texts))
    return out


def too_large(limit: str, size: int, bound: int, id: bytes | None = None) -> TooLarge:
    return TooLarge(
        f"{size} bytes are over the limit {limit} of {bound}",
        code="too_large",
        task_id=id or None,
        details={"limit": limit, "value": bound},
    )


class StreamRestarted(TuskError):
    """Another attempt begins its stream anew: what came before is to be forgotten.

    attempt: its number. Iterating over the stream again goes on with its chunks.
    """

    code = "stream_restarted"

    def __init__(self, attempt: int, *, task_id: bytes | None = None) -> None:
        super().__init__(f"attempt {attempt} begins the stream anew", task_id=task_id)
        self.attempt = attempt


class StreamBroken(TuskError):
    """Chunks of a stream are missing here: `missing` of them. What follows may be taken all the
    same, by iterating over it again."""

    code = "stream_broken"

    def __init__(self, missing: int, *, task_id: bytes | None = None) -> None:
        super().__init__(f"{missing} chunks of the stream are missing", task_id=task_id)
        self.missing = missing


class NoRetry(Exception):
    """Raise this in a handler to say that another run makes no sense.

    `raise NoRetry("no such account")`, or `raise NoRetry from error` to report `error` itself.
    """


class Defer(Exception):
    """Raise this in a handler that cannot run now: the task runs again in `after` seconds.

    It neither fails nor succeeds, and none of its attempts is used up. In a list handler: each of
    its items. Raises ValueError when `after` is not 0 to 100 years.
    """

    def __init__(self, after: float) -> None:
        self.after_ms = milliseconds("after", after)
        super().__init__(after)  # the arguments, so that it can be pickled
        self.after = after

    def __str__(self) -> str:
        return f"not now; again in {self.after} s"


class Cancelled(Exception):
    """Raise this in a plain handler that saw `Context.cancelled`."""
