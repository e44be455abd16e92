"""Events of a topic, as they come, with what was missed between them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .bodies import read_body
from .errors import Closed, Timeout, TuskError


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    sequence: its number in its topic. missed: how many events were lost before this one, because
    the connection or this program could not keep up, or None when the broker began to count anew.
    """

    topic: str
    body: Any
    sequence: int
    missed: int | None
    trace: str | None = None


class Feed:
    """What the I/O thread puts events into: bounded, the oldest go first."""

    def __init__(self, topic: str, buffer: int, ready: Callable[[], None]) -> None:
        self.topic = topic
        self.records: deque[list[Any]] = deque(maxlen=buffer)
        self.error: TuskError | None = None
        self._last: int | None = None
        self._restarted = False
        self._ready = ready

    def event(self, record: list[Any]) -> None:
        self.records.append(record)
        self._ready()

    def restarted(self) -> None:
        """A new session: what came between is not known, nor where the numbers begin."""
        self.records.append([])
        self._ready()

    def end(self, error: TuskError) -> None:
        self.error = error
        self._ready()

    def take(self, limit: int) -> Event | None:
        """The next event that is there; raises BodyError for one that cannot be read."""
        while True:
            try:
                record = self.records.popleft()
            except IndexError:
                return None
            if record:
                break
            self._restarted = True
        sequence = record[1]
        missed: int | None = 0
        if self._restarted:
            self._restarted = False
            # Numbers that go on say that the broker is the same.
            if self._last is not None:
                missed = sequence - self._last - 1 if sequence > self._last else None
        elif self._last is not None:
            missed = sequence - self._last - 1
        self._last = sequence
        attributes = record[4]
        body = read_body(record[3], attributes, limit)
        trace = attributes.get(8) if attributes else None
        return Event(record[2], body, sequence, missed, trace)


class Subscription:
    """Events of one topic for a plain program. Iterate over it, or call `get`.

    Any thread. Holds at most `buffer` events; older ones are dropped and counted in `missed`.
    """

    def __init__(self, topic: str, buffer: int, limit: Callable[[], int]) -> None:
        self._waiting = threading.Semaphore(0)
        self.feed = Feed(topic, buffer, self._waiting.release)
        self._limit = limit
        self._on_close: Callable[[], None] = lambda: None

    def on_close(self, action: Callable[[], None]) -> None:
        self._on_close = action

    def get(self, timeout: float | None = None) -> Event:
        """The next event. Raises Timeout after `timeout` seconds, Closed when it has ended."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            # One token for each event, so those that were dropped leave some too many.
            left = None if end is None else max(0.0, end - time.monotonic())
            if not self._waiting.acquire(timeout=left):
                raise Timeout(f"no event of {self.feed.topic} in {timeout} s")
            event = self.feed.take(self._limit())
            if event is not None:
                return event
            if self.feed.error is not None:
                self._waiting.release()  # for the next who asks
                raise self.feed.error

    def close(self) -> None:
        """Ends the subscription; a thread that waits in `get` gets Closed."""
        self._on_close()
        self.feed.end(Closed("the subscription was closed"))

    def __iter__(self) -> Iterator[Event]:
        while True:
            try:
                yield self.get()
            except Closed:
                return

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncSubscription:
    """Events of one topic for a loop: `async for event in subscription`."""

    def __init__(
        self, topic: str, buffer: int, limit: Callable[[], int], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._loop = loop
        self._there = asyncio.Event()
        self._told = False
        self.feed = Feed(topic, buffer, self._tell)
        self._limit = limit
        self._on_close: Callable[[], None] = lambda: None

    def on_close(self, action: Callable[[], None]) -> None:
        self._on_close = action

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        self._told = False
        self._there.set()

    async def get(self) -> Event:
        """The next event. Raises Closed when it has ended."""
        while True:
            self._there.clear()
            event = self.feed.take(self._limit())
            if event is not None:
                return event
            if self.feed.error is not None:
                raise self.feed.error
            await self._there.wait()

    async def close(self) -> None:
        """Ends the subscription."""
        self._on_close()
        self.feed.end(Closed("the subscription was closed"))

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            try:
                event = await self.get()
            except Closed:
                return
            yield event

    async def __aenter__(self) -> AsyncSubscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
