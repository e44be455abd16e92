"""The local subscriptions of a client: which events go to which, and what each holds."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from . import wire
from .bodies import read_body
from .errors import SlowSubscriber, TuskError

Slow = Literal["drop_oldest", "disconnect"]


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    body: None, too, for the event of `clear`. sequence: its number in its topic. missed: how many
    events of the topic were lost before this one, because the connection, the broker or this
    program could not keep up, or None when the broker began to count anew. retained: it is the
    last event that the topic kept from before the subscription.
    """

    topic: str
    body: Any
    sequence: int
    missed: int | None
    trace: str | None = None
    retained: bool = False


class Feed:
    """What the I/O thread puts the events of one subscription into; bounded."""

    def __init__(self, name: str, buffer: int, slow: Slow, ready: Callable[[], None]) -> None:
        """name: a topic or a pattern. Raises ValueError."""
        if buffer < 1:
            raise ValueError(f"a subscription buffers at least 1 event, not {buffer}")
        if slow not in get_args(Slow):
            raise ValueError(f'slow is "drop_oldest" or "disconnect", not {slow!r}')
        self.name = name
        self.slow = slow
        self.error: TuskError | None = None
        self._buffer = buffer
        self._ready = ready
        self._lock = threading.Lock()
        # Records, and how many events of their topic were missed before them.
        self._events: deque[tuple[list[Any], int | None]] = deque()
        self._dropped: dict[str, int | None] = {}  # before the next event of a topic, by us
        self._last: dict[str, tuple[int, int]] = {}  # by topic: its session and number
        self._session = 0

    def event(self, record: list[Any]) -> bool:
        """Takes an event in. False: there was no room, and so the subscription has ended."""
        _, sequence, topic, _, attributes = record
        last = self._last.get(topic)
        retained = _retained(attributes)
        if retained and last is not None and last[0] == self._session:
            return True  # for another subscription that asked later
        self._last[topic] = (self._session, sequence)
        missed: int | None
        if last is None:
            missed = attributes.get(wire.A_MISSED, 0) if attributes else 0
        elif sequence > last[1]:
            # Numbers that go on say, in a new session, that the broker is the same.
            missed = sequence - last[1] - 1
        else:
            missed = 0 if retained and sequence == last[1] else None
        with self._lock:
            if self.error is not None:
                return True
            if len(self._events) >= self._buffer:
                if self.slow == "disconnect":
                    self.error = SlowSubscriber(
                        f"{self._buffer} events of {self.name} were not read when the next came; "
                        "read them faster, or subscribe with a larger buffer"
                    )
                    self._ready()
                    return False
                old, before = self._events.popleft()
                self._dropped[old[2]] = _sum(self._dropped.get(old[2], 0), before, 1)
            self._events.append((record, missed))
        self._ready()
        return True

    def restarted(self) -> None:
        """A new session: what came between is not known, nor where the numbers begin."""
        self._session += 1

    def end(self, error: TuskError) -> None:
        """What is there can be read before the error is. The first error stays."""
        with self._lock:
            if self.error is None:
                self.error = error
        self._ready()

    def take(self, limit: int) -> Event | None:
        """The next event that is there; raises BodyError for one that cannot be read."""
        with self._lock:
            if not self._events:
                return None
            record, missed = self._events.popleft()
            missed = _sum(missed, self._dropped.pop(record[2], 0))
        _, sequence, topic, data, attributes = record
        body = read_body(data, attributes, limit)
        trace = attributes.get(wire.A_TRACE) if attributes else None
        return Event(topic, body, sequence, missed, trace, _retained(attributes))


class Feeds:
    """The feeds of a client by what they subscribed to. Any thread; `event` on the I/O thread."""

    def __init__(self, left: Callable[[str], None]) -> None:
        """left: called by `remove` and `event` with a name that nobody reads any more."""
        self._left = left
        self._lock = threading.Lock()
        self._by_name: dict[str, tuple[Feed, ...]] = {}
        self._patterns: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Feed]:
        return iter([feed for feeds in self._by_name.copy().values() for feed in feeds])

    def names(self) -> list[str]:
        return list(self._by_name)

    def add(self, feed: Feed) -> None:
        with self._lock:
            self._set(feed.name, (*self._by_name.get(feed.name, ()), feed))

    def remove(self, feed: Feed) -> None:
        """Calls `left` if it was the last of its name, before another can subscribe to that."""
        with self._lock:
            feeds = self._by_name.get(feed.name, ())
            if feed in feeds:
                self._set(feed.name, tuple(f for f in feeds if f is not feed))
                if feed.name not in self._by_name:
                    self._left(feed.name)

    def attributes(self, name: str) -> dict[int, Any] | None:
        """Of a subscribe: the mildest wish that a feed of the name has."""
        feeds = self._by_name.get(name, ())
        if feeds and all(feed.slow == "disconnect" for feed in feeds):
            return {wire.A_SLOW: 1}
        return None

    def event(self, record: list[Any]) -> None:
        """Gives an event to each feed whose topic or pattern matches."""
        topic = record[2]
        found = self._by_name.get(topic, ())
        for pattern in self._patterns:
            if matches(pattern, topic):
                found += self._by_name.get(pattern, ())
        for feed in found:
            if not feed.event(record):
                self.remove(feed)

    def end(self, name: str, error: TuskError, but: tuple[Feed, ...] = ()) -> None:
        """Ends all feeds of a name except those of `but`."""
        with self._lock:
            feeds = self._by_name.get(name, ())
            self._set(name, tuple(feed for feed in feeds if feed in but))
        for feed in feeds:
            if feed not in but:
                feed.end(error)

    def _set(self, name: str, feeds: tuple[Feed, ...]) -> None:
        if feeds:
            self._by_name[name] = feeds
        else:
            self._by_name.pop(name, None)
        self._patterns = tuple(name for name in self._by_name if is_pattern(name))


def is_pattern(name: str) -> bool:
    return any(token in ("*", ">") for token in name.split("."))


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic is one of a pattern's: `*` stands for a token, a last `>` for one or more."""
    wanted, tokens = pattern.split("."), topic.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
    elif len(tokens) != len(wanted):
        return False
    return all(w in ("*", t) for w, t in zip(wanted, tokens, strict=False))


def _retained(attributes: dict[int, Any] | None) -> bool:
    return bool(attributes and attributes.get(wire.A_RETAINED))


def _sum(*counts: int | None) -> int | None:
    """None, which stands for a number that nobody knows, makes the sum one."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
