"""Reading a subscription, in plain programs and on a loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

from .errors import Closed, Timeout
from .feeds import Event, Feed, Slow


class Subscription:
    """Events of a topic or pattern for a plain program. Iterate over it, or call `get`.

    Any thread. Holds at most `buffer` events; when there are more, it does as `slow` says.
    """

    def __init__(self, name: str, buffer: int, slow: Slow, limit: Callable[[], int]) -> None:
        self._waiting = threading.Semaphore(0)
        self.feed = Feed(name, buffer, slow, self._waiting.release)
        self._limit = limit
        self._on_close: Callable[[], None] = lambda: None

    def on_close(self, action: Callable[[], None]) -> None:
        self._on_close = action

    def get(self, timeout: float | None = None) -> Event:
        """The next event. Raises Timeout after `timeout` seconds; Closed, SlowSubscriber or what
        the broker said when the subscription has ended."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            # One token for each event, so those that were dropped leave some too many.
            left = None if end is None else max(0.0, end - time.monotonic())
            if not self._waiting.acquire(timeout=left):
                raise Timeout(f"no event of {self.feed.name} in {timeout} s")
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
    """Events of a topic or pattern for a loop: `async for event in subscription`."""

    def __init__(
        self,
        name: str,
        buffer: int,
        slow: Slow,
        limit: Callable[[], int],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._loop = loop
        self._there = asyncio.Event()
        self._told = False
        self.feed = Feed(name, buffer, slow, self._tell)
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
        """As Subscription.get, without a timeout."""
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
