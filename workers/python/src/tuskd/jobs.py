"""Many tasks at once: finding those that fit a filter, and jobs that change them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypedDict

from .durations import milliseconds
from .errors import TuskError
from .ids import KnownId, known_id, new_id
from .labels import MOST_TASK_LABELS, key_text
from .status import TaskStatus, status_fields
from .terms import Priority, priority

MOST_LISTED = 1000
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5  # seconds between two looks at a job

JobKind = Literal["cancel", "retry", "reprioritise"]


class Filter(TypedDict, total=False):
    """Which tasks: those that fit each entry that is there. At least one is.

    type: of this type. state: as in TaskStatus. labels: with all of these; None fits any text.
    parent: children of this task. age: accepted so many seconds ago or longer. all: True, all.
    """

    type: str
    state: str
    labels: Mapping[str, str | None]
    parent: KnownId
    age: float
    all: bool


@dataclass(frozen=True, slots=True)
class ListedTask(TaskStatus):
    """A TaskStatus that a filter has found. parent: the id of its parent, if it is a child."""

    id: bytes = b""
    labels: dict[str, str] = field(default_factory=dict)
    parent: bytes | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How far a job is. what: "cancel", "retry" or "reprioritise". state: "running" or "done".

    total: tasks to look at; looked: at how many it has. matched: those that fit. changed, failed:
    what came of them; with dry_run neither is counted. age: seconds since it began.
    """

    job: int
    what: str
    state: str
    dry_run: bool
    total: int
    looked: int
    matched: int
    changed: int
    failed: int
    age: float


class JobDone(NamedTuple):
    """What a job came to. matched: tasks that fitted. changed, failed: what came of those."""

    matched: int
    changed: int
    failed: int


def read_filter(given: Filter) -> dict[str, Any]:
    """As it is sent. Raises TypeError or ValueError."""
    if not isinstance(given, Mapping):
        raise TypeError(f"a filter is a map, not {type(given).__name__}")
    unknown = given.keys() - Filter.__optional_keys__
    if unknown:
        names = ", ".join(sorted(Filter.__optional_keys__))
        raise ValueError(f"a filter has no {min(map(str, unknown))!r}; it has {names}")
    found: dict[str, Any] = {}
    for name in ("type", "state"):
        if name in given:
            found[name] = key_text(f"the filter's {name}", given[name])
    if "labels" in given:
        found["labels"] = _read_labels(given["labels"])
    if "parent" in given:
        found["parent"] = known_id(given["parent"])
    if "age" in given:
        found["age"] = milliseconds("the filter's age", given["age"])
    if "all" in given:
        if given["all"] is not True:
            raise ValueError("the filter's all is True or not there")
        found["all"] = True
    if not found:
        raise ValueError('a filter without any entry; {"all": True} fits all tasks')
    return found


def _read_labels(labels: Mapping[str, str | None]) -> dict[str, str | None]:
    if not isinstance(labels, Mapping):
        raise TypeError(f"the filter's labels are a map, not {type(labels).__name__}")
    if len(labels) > MOST_TASK_LABELS:
        raise ValueError(f"the filter's labels are at most {MOST_TASK_LABELS}, not {len(labels)}")
    for name, text in labels.items():
        key_text("a name in the filter's labels", name)
        if text is not None:
            key_text(f"the filter's labels[{name!r}]", text)
    return dict(labels)


def read_limit(limit: int) -> int:
    if type(limit) is not int:
        raise TypeError(f"limit is an integer, not {type(limit).__name__}")
    if not 1 <= limit <= MOST_LISTED:
        raise ValueError(f"limit is 1 to {MOST_LISTED:,} tasks, not {limit}")
    return limit


def read_page(answer: Any) -> tuple[list[ListedTask], Any]:
    """The tasks of one answer, and what asks for those behind them; None: there are none."""
    told: dict[str, Any] = answer if isinstance(answer, dict) else {}
    tasks = told.get("tasks")
    return [_read_listed(task) for task in (tasks if isinstance(tasks, list) else [])], told.get(
        "next"
    )


def _read_listed(told: Any) -> ListedTask:
    found = status_fields(told)
    told = told if isinstance(told, dict) else {}
    id, parent, group, labels = (told.get(name) for name in ("id", "parent", "group", "labels"))
    return ListedTask(
        **found,
        id=id if isinstance(id, bytes) else b"",
        labels=labels if isinstance(labels, dict) else {},
        parent=parent if isinstance(parent, bytes) else None,
        group=group if isinstance(group, str) else None,
    )


def read_job(
    what: JobKind, filter: Filter, dry_run: bool, given: Priority | None
) -> dict[str, Any]:
    """The arguments of a control. Raises TypeError or ValueError."""
    arguments: dict[str, Any] = {"filter": read_filter(filter)}
    if dry_run:
        arguments["dry_run"] = True
    if what == "retry":
        arguments["id"] = new_id()
    elif what == "reprioritise":
        if given is None:
            raise ValueError("reprioritise without a priority")
        arguments["priority"] = priority(given)
    elif what != "cancel":
        raise ValueError(f"there is no job {what!r}; there are cancel, retry and reprioritise")
    if given is not None and what != "reprioritise":
        raise ValueError(f"{what} has no priority")
    return arguments


def read_job_number(answer: Any) -> int:
    number = answer.get("job") if isinstance(answer, dict) else None
    if type(number) is not int:
        raise TuskError("the broker did not say the number of the job")
    return number


def read_jobs(answer: Any) -> list[JobStatus]:
    return [_read_job_status(job) for job in answer] if isinstance(answer, list) else []


def _read_job_status(told: Any) -> JobStatus:
    told = told if isinstance(told, dict) else {}

    def number(name: str) -> int:
        value = told.get(name)
        return value if type(value) is int else 0

    return JobStatus(
        job=number("job"),
        what=str(told.get("what", "")),
        state=str(told.get("state", "")),
        dry_run=told.get("dry_run") is True,
        total=number("total"),
        looked=number("looked"),
        matched=number("matched"),
        changed=number("changed"),
        failed=number("failed"),
        age=number("age") / 1000,
    )


def find_job(jobs: list[JobStatus], number: int) -> JobStatus:
    """Raises TuskError when the broker no longer knows it."""
    found = next((job for job in jobs if job.job == number), None)
    if found is None:
        raise TuskError(
            f"the broker does not know job {number}: it was started again, or more than 64 jobs"
            " have ended since; look at the tasks"
        )
    return found


def longer(pause: float) -> float:
    """The pause behind this one."""
    return min(pause * 2, LONGEST_PAUSE)
