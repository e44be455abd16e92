"""The errors that a caller can catch. All of them are `TuskError`."""

from __future__ import annotations

from typing import Any


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


class TaskFailed(TuskError):
    """The handler failed. The fields tell what the worker's own language said.

    language, type, message, stack: of the exception there; stack may be empty.
    attempt: which run this was, from 1. worker: the name of the worker, or "".
    retry_makes_sense: False when the worker said that another run makes no sense.
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
    ) -> None:
        super().__init__(reason, task_id=task_id)
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


class TaskCancelled(TuskError):
    """Somebody cancelled the task."""

    code = "cancelled"


class TaskExpired(TuskError):
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
    """The task ended and its ending was acknowledged; `details["state"]`."""


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
    """The exception for an ending that is not a success."""
    if state == 3:
        return TaskExpired("the task expired", task_id=task_id)
    if state == 4:
        return TaskCancelled("the task was cancelled", task_id=task_id)
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
    )


class NoRetry(Exception):
    """Raise this in a handler to say that another run makes no sense.

    `raise NoRetry("no such account")`, or `raise NoRetry from error` to report `error` itself.
    """


class Cancelled(Exception):
    """Raise this in a plain handler that saw `Context.cancelled`."""
