"""What a caller may ask for its task: when and how often it runs, and word of how it goes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, TypedDict, cast

from . import wire
from .durations import milliseconds
from .labels import consumed, key_text, required, task_labels

PRIORITIES = {"low": -10, "normal": 0, "high": 10, "critical": 20}
MOST_PRIORITY = 100
MOST_ATTEMPTS = 1000
MOST_FACTOR = 100
NO_RETRY_TYPES = 32
NO_RETRY_BYTES = 255
MOST_COST = 10**9
POLICIES = ("join", "refuse", "replace", "debounce", "follow_up")
FOLLOW_PROGRESS, FOLLOW_LOG = 1, 2

Priority = Literal["low", "normal", "high", "critical"] | int
UniquePolicy = Literal["join", "refuse", "replace", "debounce", "follow_up"]


class Backoff(NamedTuple):
    """The pauses between runs. The one behind failure n has `first * factor ** (n - 1)` seconds, at
    most `most`, times a random number between `1 - jitter` and `1 + jitter`.

    factor: 1 to 100. jitter: 0 to 1.
    """

    first: float
    most: float
    factor: float = 2
    jitter: float = 0.25


class Terms(TypedDict, total=False):
    """Options of call, submit, send and map. Times are in seconds, at most 100 years; what is left
    out or None is the broker's affair. TypeError or ValueError for what is out of its bounds.

    priority: "low" (-10), "normal" (0), "high" (10), "critical" (20), or -100 to 100; the highest
    is next. delay: how long the task waits before it may run; not_before: the same as a point in
    time, with a time zone. The clock of the day is read once, at the call. deadline: how long the
    task may take in all, then it is TaskExpired. run_timeout: how long one run may take.
    heartbeat_timeout: how long a run may say nothing (see Context.heartbeat). attempts: how many
    runs may fail, 1 to 1,000. backoff: the pauses between them. no_retry_on: at most 32 types of
    errors after which another run makes no sense: names, or classes of exceptions.

    unique: a key of 1 to 255 bytes; of the tasks of one type with this key only one lives, from its
    acceptance to its end and for unique_for behind it. unique_policy: what this submit does when
    another task has the key. "join" (default) gets that task's ending; "refuse" raises Duplicate;
    "replace" gives that task this body and these terms, and gets its ending; "debounce" does that
    and begins its delay anew; "follow_up" joins it as long as it waits. While the other runs, the
    last three become the one task that runs behind it. During unique_for all raise Duplicate.
    retention: how long the ending is kept, once it is there, for await_task.

    order_key: tasks of one type with this key run one at a time, in the order of their acceptance,
    through retries and delays. limit_key: they share the type's limits of keys. group: groups of a
    type take turns, so that a million tasks of one tenant delay another's first by one turn. Each
    is text of 1 to 255 bytes. cost: units that a run takes from the type's rates, 0 to 10**9,
    default 1; see Context.set_cost.

    requires, prefers, consumes: what a worker must have (a text is a fact, a whole number an
    amount, 0 to 10**9), should rather have, and has free for as long as the run takes (amounts, 1
    to 10**9); at most 16 entries each, their names and texts of 1 to 255 bytes. sticky_key: tasks
    of one type with this key go to one worker for as long as it lives. labels: at most 16 texts
    by name, 1 to 255 bytes each, for people and for Client.tasks.
    """

    priority: Priority | None
    delay: float | None
    not_before: datetime | None
    deadline: float | None
    run_timeout: float | None
    heartbeat_timeout: float | None
    attempts: int | None
    backoff: Backoff | None
    no_retry_on: Iterable[str | type[BaseException]] | None
    unique: str | None
    unique_policy: UniquePolicy | None
    unique_for: float | None
    retention: float | None
    order_key: str | None
    limit_key: str | None
    group: str | None
    cost: int | None
    requires: Mapping[str, str | int] | None
    prefers: Mapping[str, str | int] | None
    consumes: Mapping[str, int] | None
    sticky_key: str | None
    labels: Mapping[str, str] | None


class FollowedTerms(Terms, total=False):
    """`Terms`, and what is called while the task runs, in order and before its result is there.

    on_progress(value, attempt): for each Context.progress of a run. on_log(level, text, attempt):
    for each Context.log; level is "debug", "info", "warning" or "error". Both may miss some while
    the connection is away. What they raise goes to stderr, and the task goes on.
    """

    on_progress: Callable[[Any, int], object] | None
    on_log: Callable[[str, str, int], object] | None


class Wanted:
    """Terms that were checked: `attributes` that never change, and times that pass.

    due, end: of time.monotonic, or None; what is left of them is written when the submit is.
    """

    __slots__ = ("_deadline", "_delay", "attributes", "due", "end", "on_log", "on_progress")

    def __init__(self, terms: FollowedTerms) -> None:
        unknown = terms.keys() - _KNOWN
        if unknown:
            raise TypeError(f"there is no option {min(unknown)!r}")
        self.attributes: dict[int, Any] = {}
        self._delay = self._deadline = 0.0
        self.due: float | None = None
        self.end: float | None = None
        self.on_progress, self.on_log = terms.get("on_progress"), terms.get("on_log")
        self._read_times(terms)
        self._read_retries(terms)
        self._read_unique(terms)
        self._read_shares(terms)
        self._read_workers(terms)
        if (given := terms.get("priority")) is not None:
            self.attributes[wire.A_PRIORITY] = priority(given)
        follow = FOLLOW_PROGRESS * (self.on_progress is not None)
        follow += FOLLOW_LOG * (self.on_log is not None)
        if follow:
            self.attributes[wire.A_FOLLOW] = follow

    def _read_times(self, terms: Terms) -> None:
        delay, not_before = terms.get("delay"), terms.get("not_before")
        if delay is not None and not_before is not None:
            raise ValueError("delay and not_before are two ways to say the same; give one")
        wait = None if not_before is None else until(not_before)
        now = time.monotonic()  # behind the clock of the day: what passed in between is no wait
        if delay is not None:
            self._delay = milliseconds("delay", delay) / 1000
            self.due = now + self._delay
        elif wait is not None:
            self.due = now + wait
        if (deadline := terms.get("deadline")) is not None:
            self._deadline = milliseconds("deadline", deadline) / 1000
            self.end = now + self._deadline
        if (given := terms.get("run_timeout")) is not None:
            self.attributes[wire.A_RUN_TIMEOUT] = milliseconds("run_timeout", given, least=1)
        if (given := terms.get("heartbeat_timeout")) is not None:
            ms = milliseconds("heartbeat_timeout", given, least=1)
            self.attributes[wire.A_HEARTBEAT_TIMEOUT] = ms
        if (given := terms.get("retention")) is not None:
            self.attributes[wire.A_RETENTION] = milliseconds("retention", given)

    def _read_retries(self, terms: Terms) -> None:
        attempts = terms.get("attempts")
        if attempts is not None:
            if type(attempts) is not int:
                raise TypeError(f"attempts is an integer, not {type(attempts).__name__}")
            if not 1 <= attempts <= MOST_ATTEMPTS:
                raise ValueError(f"attempts is 1 to {MOST_ATTEMPTS:,}, not {attempts}")
            self.attributes[wire.A_ATTEMPTS] = attempts
        backoff = terms.get("backoff")
        if backoff is not None:
            self.attributes[wire.A_BACKOFF] = pauses(backoff)
        no_retry_on = terms.get("no_retry_on")
        if no_retry_on is not None:
            self.attributes[wire.A_NO_RETRY_ON] = type_names(no_retry_on)

    def _read_unique(self, terms: Terms) -> None:
        key = terms.get("unique")
        if key is None:
            for name in ("unique_policy", "unique_for"):
                if terms.get(name) is not None:
                    raise ValueError(f"{name} without unique, the key that it is about")
            return
        self.attributes[wire.A_UNIQUE] = key_text("unique", key)
        policy = terms.get("unique_policy")
        if policy is not None and policy not in POLICIES:
            names = ", ".join(map(repr, POLICIES))
            raise ValueError(f"there is no unique_policy {policy!r}; there are {names}")
        if policy is not None and policy != POLICIES[0]:
            self.attributes[wire.A_UNIQUE_POLICY] = POLICIES.index(policy)
        if (given := terms.get("unique_for")) is not None:
            self.attributes[wire.A_UNIQUE_FOR] = milliseconds("unique_for", given)

    def _read_shares(self, terms: Terms) -> None:
        if (given := terms.get("order_key")) is not None:
            self.attributes[wire.A_ORDER_KEY] = key_text("order_key", given)
        if (given := terms.get("limit_key")) is not None:
            self.attributes[wire.A_LIMIT_KEY] = key_text("limit_key", given)
        if (given := terms.get("group")) is not None:
            self.attributes[wire.A_GROUP] = key_text("group", given)
        if (cost := terms.get("cost")) is not None:
            self.attributes[wire.A_COST] = whole_units("cost", cost)

    def _read_workers(self, terms: Terms) -> None:
        needs: dict[str, Any] = {}
        for name in ("requires", "prefers"):
            if (given := terms.get(name)) is not None:
                needs[name] = required(name, cast(Mapping[str, str | int], given))
        if (consumes := terms.get("consumes")) is not None:
            needs["consumes"] = consumed(consumes)
        if needs:
            self.attributes[wire.A_NEEDS] = needs
        if (key := terms.get("sticky_key")) is not None:
            self.attributes[wire.A_STICKY_KEY] = key_text("sticky_key", key)
        if (labels := terms.get("labels")) is not None:
            self.attributes[wire.A_LABELS] = task_labels(labels)

    def renewed(self) -> Wanted:
        """The same for a task that is submitted now; a point in time stays where it is."""
        other = object.__new__(Wanted)
        other.attributes = self.attributes
        other._delay, other._deadline = self._delay, self._deadline
        other.on_progress, other.on_log = self.on_progress, self.on_log
        now = time.monotonic()
        other.due = now + self._delay if self._delay else self.due
        other.end = None if self.end is None else now + self._deadline
        return other

    def left(self) -> dict[int, Any]:
        """The attributes of the times that pass, as of now."""
        out: dict[int, Any] = {}
        now = time.monotonic()
        if self.due is not None:  # also 0: a type may have a delay of its own
            out[wire.A_DELAY] = max(0, math.ceil((self.due - now) * 1000))
        if self.end is not None:
            out[wire.A_DEADLINE] = max(0, math.ceil((self.end - now) * 1000))
        return out

    @property
    def follows(self) -> bool:
        return self.on_progress is not None or self.on_log is not None


_KNOWN = FollowedTerms.__optional_keys__


def priority(given: Priority) -> int:
    if isinstance(given, str):
        found = PRIORITIES.get(given)
        if found is None:
            names = ", ".join(f'"{name}" ({value})' for name, value in PRIORITIES.items())
            raise ValueError(f"there is no priority {given!r}; there are {names} and numbers")
        return found
    if type(given) is not int:
        raise TypeError(f"priority is an integer or a name, not {type(given).__name__}")
    if not -MOST_PRIORITY <= given <= MOST_PRIORITY:
        raise ValueError(f"priority is -{MOST_PRIORITY} to {MOST_PRIORITY}, not {given}")
    return given


def whole_units(name: str, given: int) -> int:
    """Of the rates of a type."""
    if type(given) is not int:
        raise TypeError(f"{name} is an integer, not {type(given).__name__}")
    if not 0 <= given <= MOST_COST:
        raise ValueError(f"{name} is 0 to {MOST_COST:,} units, not {given}")
    return given


def until(point: datetime) -> float:
    """Seconds from now, in whole milliseconds that are never too few; 0 if it is past."""
    if not isinstance(point, datetime):
        raise TypeError(f"not_before is a datetime, not {type(point).__name__}")
    if point.utcoffset() is None:
        raise ValueError("not_before has no time zone; say datetime.now(UTC) + ..., for example")
    left = max(timedelta(0), point - datetime.now(UTC))
    ms = -(-left // timedelta(milliseconds=1))  # rounded up, and not by way of a float
    return milliseconds("not_before, from now,", ms / 1000) / 1000


def pauses(backoff: Backoff) -> list[float]:
    """The attribute."""
    if not isinstance(backoff, Backoff):
        name = type(backoff).__name__
        raise TypeError(f"backoff is a tuskd.Backoff(first, most, factor, jitter), not {name}")
    first, most, factor, jitter = backoff
    bounds = (("factor", factor, 1, MOST_FACTOR), ("jitter", jitter, 0, 1))
    for name, value, least, greatest in bounds:
        if type(value) is bool or not isinstance(value, (int, float)):
            raise TypeError(f"backoff's {name} is a number, not {type(value).__name__}")
        if not least <= value <= greatest:
            raise ValueError(f"backoff's {name} is {least} to {greatest}, not {value}")
    return [
        milliseconds("backoff's first", first),
        milliseconds("backoff's most", most),
        factor,
        jitter,
    ]


def type_names(given: Iterable[str | type[BaseException]]) -> list[str]:
    if isinstance(given, (str, type)):
        raise TypeError("no_retry_on is a list, also of one")
    names: list[str] = []
    for item in given:
        if isinstance(item, type) and issubclass(item, BaseException):
            names.append(item.__qualname__)
        elif isinstance(item, str):
            names.append(item)
        else:
            raise TypeError(f"no_retry_on has names and classes of exceptions, not {item!r}")
    if len(names) > NO_RETRY_TYPES:
        raise ValueError(f"no_retry_on has at most {NO_RETRY_TYPES} types, not {len(names)}")
    for name in names:
        if len(name.encode()) > NO_RETRY_BYTES:
            raise ValueError(f"no_retry_on has names of at most {NO_RETRY_BYTES} bytes: {name:.40}")
    return names


def wanted(terms: FollowedTerms | Terms) -> Wanted | None:
    """The terms of a call, checked; None if there are none."""
    return Wanted(cast(FollowedTerms, terms)) if terms else None


def refuse_callbacks(function: str, terms: Terms) -> None:
    """For what has no one task whose course could be told. Raises TypeError."""
    for name in ("on_progress", "on_log"):
        if name in terms:
            raise TypeError(f"{function} does not follow its tasks: no {name}")
