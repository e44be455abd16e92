"""Streams: what a handler sends one by one, as the caller takes it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgpack

from . import wire
from .bodies import read_body
from .calls import Calls
from .errors import StreamBroken, StreamRestarted, TuskError
from .request import Request
from .requests import Requests

MOST_WINDOW = 1024


def read_window(window: int) -> int:
    if type(window) is not int:
        raise TypeError(f"window is an integer, not {type(window).__name__}")
    if not 1 <= window <= MOST_WINDOW:
        raise ValueError(f"window is 1 to {MOST_WINDOW:,} chunks, not {window}")
    return window


class End(Exception):
    """There are no further chunks."""


class Chunks:
    """The chunks of one request, in order. `chunk`, `ended` and `again` on the I/O thread.

    ready: called when there is something new to take.
    """

    def __init__(self, window: int, ready: Callable[[], object]) -> None:
        self._half = max(1, window // 2)
        self._ready = ready
        self._records: deque[list[Any]] = deque()
        self._old = 0  # of them came in an earlier session, which has credit of its own
        self._taken = 0  # since credit was given
        self._attempt = 0
        self._index = 0
        self._has_given = False  # the program has chunks of this attempt

    def chunk(self, record: list[Any]) -> None:
        self._records.append(record)
        self._ready()

    def ended(self, _request: Request) -> None:
        self._ready()

    def again(self) -> None:
        """A new session, in which the task is submitted again."""
        self._old, self._taken = len(self._records), 0

    def take(self, requests: Requests, request: Request) -> tuple[Any] | None:
        """The next chunk, None if it is not there yet.

        Raises End, StreamRestarted, StreamBroken, BodyError, and the error of the task.
        """
        is_over = request.done  # looked at before the records: they come first
        if not self._records:
            if is_over:
                self._check_end(request)
            return None
        record = self._records[0]
        attributes = record[3] or {}
        attempt, index = attributes.get(wire.A_ATTEMPT, 1), attributes.get(wire.A_INDEX, 0)
        if attempt != self._attempt or index <= self._index:
            self._begin(attempt, request)
        missing = index - self._index - 1
        self._index = index if missing <= 0 else index - 1
        if missing > 0:
            raise StreamBroken(missing, task_id=request.id)
        self._records.popleft()
        self._has_given = True
        self._took(requests, request)
        return (read_body(record[2], attributes, requests.limit("body")),)

    def _begin(self, attempt: int, request: Request) -> None:
        had, self._has_given = self._has_given, False
        self._attempt, self._index = attempt, 0
        if had:
            raise StreamRestarted(attempt, task_id=request.id)

    def _took(self, requests: Requests, request: Request) -> None:
        if self._old:
            self._old -= 1
            return
        self._taken += 1
        if self._taken >= self._half and not request.done:
            credit = (wire.CREDIT, request.number, request.id, self._taken)
            self._taken = 0
            requests.link.outbox.append(msgpack.packb(credit))
            requests.link.flush()

    def _check_end(self, request: Request) -> None:
        if request.error is not None:
            raise request.error
        attributes = request.value_attributes or {}
        sent = attributes.get(wire.A_CHUNKS)
        if type(sent) is int and sent < self._index:
            # Of an attempt whose result this is not.
            self._begin(attributes.get(wire.A_ATTEMPT, self._attempt + 1), request)
        if type(sent) is int and sent > self._index:
            missing, self._index = sent - self._index, sent
            raise StreamBroken(missing, task_id=request.id)
        raise End


class _Stream:
    """`id` is the 16 bytes of the task."""

    def __init__(self, calls: Calls, requests: Requests, request: Request) -> None:
        self._calls = calls
        self._requests = requests
        self._request = request
        self._chunks = request.chunks
        self._has_ended = False
        self.id = request.id
        self.type = request.name

    @property
    def result(self) -> Any:
        """What the handler returned, once all chunks were taken.

        Raises RuntimeError before, and the error of a task that did not succeed.
        """
        if not self._has_ended:
            raise RuntimeError("the stream has not ended: its result comes behind its chunks")
        return self._requests.decode(self._request)

    def _take(self) -> tuple[Any] | None:
        assert self._chunks is not None
        try:
            return self._chunks.take(self._requests, self._request)
        except (StreamRestarted, StreamBroken):
            raise
        except (End, TuskError):
            self._has_ended = self._request.done and not self._chunks._records
            raise

    def _leave(self) -> None:
        if not self._request.done:
            self._requests.forget(self._request)
            with contextlib.suppress(TuskError):
                self._calls.cancel(self.id, None)
                self._requests.link.flush()
        self._has_ended = True


class Stream(_Stream):
    """The chunks of a task, in order: iterate over it. One thread at a time.

    Leaving the loop early, or `close`, cancels the task. StreamRestarted says that another attempt
    begins; iterating again goes on with its chunks. StreamBroken: some are missing.
    """

    def __init__(
        self, calls: Calls, requests: Requests, request: Request, there: threading.Event
    ) -> None:
        super().__init__(calls, requests, request)
        self._there = there

    def __iter__(self) -> Iterator[Any]:
        try:
            while not self._has_ended:
                self._there.clear()
                found = self._take()
                if found is not None:
                    yield found[0]
                else:
                    self._there.wait()
        except End:
            return
        except TuskError:
            raise
        except BaseException:  # the loop was left
            self.close()
            raise

    def close(self) -> None:
        """Cancels the task if it has not ended; there are no further chunks."""
        self._leave()
        self._there.set()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncStream(_Stream):
    """As Stream, for a loop: `async for chunk in stream`."""

    def __init__(
        self, calls: Calls, requests: Requests, request: Request, there: asyncio.Event
    ) -> None:
        super().__init__(calls, requests, request)
        self._there = there

    def __aiter__(self) -> AsyncIterator[Any]:
        return _Iterator(self)

    async def _next(self) -> Any:
        while not self._has_ended:
            self._there.clear()
            try:
                found = self._take()
            except End:
                break
            if found is not None:
                return found[0]
            await self._there.wait()
        raise StopAsyncIteration

    async def close(self) -> None:
        """As Stream.close."""
        self._leave()
        self._there.set()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Iterator:
    """One loop over a stream. An async generator would be closed later than the loop was left."""

    def __init__(self, stream: AsyncStream) -> None:
        self._stream = stream
        self._is_through = False

    def __aiter__(self) -> _Iterator:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream._next()
        except (TuskError, StopAsyncIteration):
            self._is_through = True
            raise

    def __del__(self) -> None:
        if not self._is_through:
            self._stream._leave()
