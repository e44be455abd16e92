"""The client for asyncio. Its I/O has its own thread; a busy loop delays nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from datetime import datetime
from typing import Any, Unpack, cast

from . import follow
from .calls import KEEP, NO_BODY, Calls, Id
from .client import joined_id
from .errors import Busy, TuskError
from .feeds import Slow
from .finding import AsyncFinds
from .ids import KnownId, known_id
from .request import Request
from .requests import Requests
from .status import TaskStatus, Updated, read_done, read_status, read_updated
from .streams import AsyncStream, Chunks, read_window
from .subscription import AsyncSubscription
from .terms import FollowedTerms, Priority, Terms, Wanted, refuse_callbacks, wanted

Told = tuple[Request, list[Any]]  # progress or a log line of a task that is followed


class AsyncTask:
    """A task that was submitted. Await it for its result; `id` is its 16 bytes."""

    def __init__(self, client: AsyncClient, request: Request, future: asyncio.Future[Any]) -> None:
        self._client = client
        self._request = request
        self._future = future
        # An error that nobody awaits is nobody's business.
        future.add_done_callback(lambda f: f.cancelled() or f.exception())
        self.id = request.id
        self.type = request.name

    def done(self) -> bool:
        return self._future.done()

    @property
    def joined_id(self) -> bytes:
        """As Task.joined_id."""
        return joined_id(self._request) if self._future.done() else self.id

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.shield(self._future).__await__()

    async def cancel(self, timeout: float | None = None) -> str:
        """Asks the broker to cancel it; the state it answers."""
        return await self._client.cancel(self.id, timeout=timeout)


class AsyncClient(AsyncFinds):
    """As `Client`, for one event loop: the one that first used it.

    url, timeout, name: as for Client. Cancelling an await gives the answer up, not the task.
    """

    def __init__(
        self, url: str | None = None, *, timeout: float | None = None, name: str | None = None
    ) -> None:
        self._calls = Calls(url, timeout, name)
        self.url = self._calls.url
        self._loop: asyncio.AbstractEventLoop | None = None
        self._requests: Requests | None = None
        self._futures: dict[int, asyncio.Future[Any]] = {}
        self._ended: deque[Request | Told] = deque()
        # What is to be told of followed tasks, by number; a coroutine for each works it off.
        self._telling: dict[int, deque[Told | None]] = {}
        self._tellers: set[asyncio.Task[None]] = set()
        self._flush_due = False

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, linger: float = 1.0) -> None:
        """As Client.close; the loop runs on meanwhile."""
        await asyncio.get_running_loop().run_in_executor(None, self._calls.close, linger)

    def _ready(self) -> Requests:
        loop = asyncio.get_running_loop()
        requests = self._calls.requests()
        if requests is not self._requests:  # the first use, or the first in a forked child
            self._requests = requests
            self._loop = loop
            self._futures = {}
            self._ended = deque()
            self._telling = {}
            requests.after_records = self._tell
            requests.hear = lambda request, record: self._ended.append((request, record))
        elif loop is not self._loop:
            raise RuntimeError("an AsyncClient belongs to the event loop that first used it")
        return requests

    def _tell(self) -> None:
        """On the I/O thread, after a batch: one wake-up of the loop for all that ended."""
        if self._ended and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        requests = self._requests
        assert requests is not None
        ended = self._ended
        while ended:
            item = ended.popleft()
            if type(item) is tuple:
                self._hear(item)
                continue
            request = cast(Request, item)
            telling = self._telling.get(request.number)
            if telling is not None:
                telling.append(None)  # the ending comes behind what is still to be told
            else:
                self._settle(requests, request)

    def _settle(self, requests: Requests, request: Request) -> None:
        future = self._futures.pop(request.number, None)
        if future is None or future.done():
            return
        try:
            future.set_result(requests.decode(request))
        except Exception as error:
            future.set_exception(error)

    def _hear(self, told: Told) -> None:
        number = told[0].number
        telling = self._telling.get(number)
        if telling is None:
            telling = self._telling[number] = deque()
            assert self._loop is not None
            task = self._loop.create_task(self._call_back(told[0], telling))
            self._tellers.add(task)
            task.add_done_callback(self._tellers.discard)
        if len(telling) < follow.MOST_WAITING:
            telling.append(told)

    async def _call_back(self, request: Request, telling: deque[Told | None]) -> None:
        """Calls back for one task, in order, until all is told that has come."""
        requests = self._requests
        assert requests is not None
        while telling:
            told = telling.popleft()
            if told is None:
                self._settle(requests, request)
            elif request.number in self._futures:  # else its caller gave it up
                try:
                    result = follow.call(*told, requests.limit("body"))
                    if inspect.isawaitable(result):
                        await result
                except Exception as error:
                    follow.complain(*told, error)
        self._telling.pop(request.number, None)

    def _flush(self) -> None:
        self._flush_due = False
        if self._requests is not None:
            self._requests.link.flush()

    def _future(self, request: Request) -> asyncio.Future[Any]:
        loop = self._loop
        assert loop is not None
        future: asyncio.Future[Any] = loop.create_future()
        self._futures[request.number] = future
        if request.done:  # before the loop came to know it; delivering twice does no harm
            self._ended.append(request)
            loop.call_soon(self._deliver)
        if not self._flush_due:
            # Behind all that this turn of the loop has to say.
            self._flush_due = True
            loop.call_soon(self._flush)
        return future

    async def _control(self, what: str, arguments: dict[str, Any], timeout: float | None) -> Any:
        self._ready()
        request = self._calls.control(what, arguments, timeout, self._ended.append)
        return await self._answer(request)

    async def _answer(self, request: Request) -> Any:
        future = self._future(request)
        try:
            return await future
        except asyncio.CancelledError:
            self._give_up(request)
            raise

    def _give_up(self, request: Request) -> None:
        self._futures.pop(request.number, None)
        if self._requests is not None:
            self._requests.forget(request)

    async def call(
        self,
        type: str,
        body: Any = None,
        *,
        timeout: float | None = None,
        id: Id = None,
        resent: bool = False,
        rerun_ok: bool = False,
        trace: str | None = None,
        baggage: str | None = None,
        **terms: Unpack[FollowedTerms],
    ) -> Any:
        """As Client.call; on_progress and on_log may be coroutine functions, and are awaited."""
        self._ready()
        request = self._calls.submit(
            type,
            body,
            timeout=timeout,
            id=id,
            resent=resent,
            rerun_ok=rerun_ok,
            trace=trace,
            baggage=baggage,
            wanted=wanted(terms),
            notify=self._ended.append,
        )
        return await self._answer(request)

    def submit(
        self,
        type: str,
        body: Any = None,
        *,
        id: Id = None,
        resent: bool = False,
        rerun_ok: bool = False,
        trace: str | None = None,
        baggage: str | None = None,
        **terms: Unpack[FollowedTerms],
    ) -> AsyncTask:
        """As Client.submit; await the task for its result. Call it on the loop."""
        self._ready()
        request = self._calls.submit(
            type,
            body,
            until_sent=True,
            id=id,
            resent=resent,
            rerun_ok=rerun_ok,
            trace=trace,
            baggage=baggage,
            wanted=wanted(terms),
            notify=self._ended.append,
        )
        return AsyncTask(self, request, self._future(request))

    def stream(
        self,
        type: str,
        body: Any = None,
        *,
        window: int = 16,
        id: Id = None,
        resent: bool = False,
        rerun_ok: bool = False,
        trace: str | None = None,
        baggage: str | None = None,
        **terms: Unpack[FollowedTerms],
    ) -> AsyncStream:
        """As Client.stream: `async for chunk in client.stream(...)`. Call it on the loop."""
        self._ready()
        loop, there = self._loop, asyncio.Event()
        assert loop is not None

        def ready() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(there.set)

        chunks = Chunks(read_window(window), ready)
        request = self._calls.submit(
            type,
            body,
            until_sent=True,
            id=id,
            resent=resent,
            rerun_ok=rerun_ok,
            trace=trace,
            baggage=baggage,
            wanted=wanted(terms),
            chunks=chunks,
            window=window,
            notify=chunks.ended,
        )
        requests = self._calls.requests()
        requests.link.flush()
        return AsyncStream(self._calls, requests, request, there)

    async def send(
        self,
        type: str,
        body: Any = None,
        *,
        timeout: float | None = None,
        id: Id = None,
        resent: bool = False,
        rerun_ok: bool = False,
        trace: str | None = None,
        baggage: str | None = None,
        **terms: Unpack[Terms],
    ) -> bytes:
        """As Client.send: returns the id when the task is accepted."""
        refuse_callbacks("send", terms)
        self._ready()
        request = self._calls.submit(
            type,
            body,
            timeout=timeout,
            id=id,
            accepted=True,
            resent=resent,
            rerun_ok=rerun_ok,
            trace=trace,
            baggage=baggage,
            wanted=wanted(terms),
            notify=self._ended.append,
        )
        await self._answer(request)
        return request.id

    def _submit(self, type: str, body: Any, rerun_ok: bool, each: Wanted | None) -> AsyncTask:
        """One task of many."""
        self._ready()
        request = self._calls.submit(
            type,
            body,
            until_sent=True,
            rerun_ok=rerun_ok,
            wanted=None if each is None else each.renewed(),
            notify=self._ended.append,
        )
        return AsyncTask(self, request, self._future(request))

    async def map(
        self,
        type: str,
        bodies: Iterable[Any] | AsyncIterable[Any],
        *,
        in_flight: int = 1000,
        ordered: bool = True,
        return_errors: bool = False,
        rerun_ok: bool = False,
        **terms: Unpack[Terms],
    ) -> AsyncIterator[Any]:
        """As Client.map."""
        refuse_callbacks("map", terms)
        each = wanted(terms)
        source = aiter(bodies) if isinstance(bodies, AsyncIterable) else _async(bodies)
        tickets = itertools.count()
        flying: dict[int, asyncio.Future[Any]] = {}
        ended: deque[int] = deque()
        there = asyncio.Event()
        more = True

        def note(ticket: int) -> Callable[[object], None]:
            def done(_: object) -> None:
                ended.append(ticket)
                there.set()

            return done

        try:
            while more or flying:
                while more and len(flying) < in_flight:
                    try:
                        body = await anext(source)
                    except StopAsyncIteration:
                        more = False
                        break
                    try:
                        task = self._submit(type, body, rerun_ok, each)
                    except Busy:
                        await asyncio.sleep(0.05)
                        task = self._submit(type, body, rerun_ok, each)
                    ticket = next(tickets)
                    flying[ticket] = task._future
                    if not ordered:
                        task._future.add_done_callback(note(ticket))
                if not flying:
                    return
                if ordered:
                    ticket = next(iter(flying))
                else:
                    while not ended:
                        there.clear()
                        await there.wait()
                    ticket = ended.popleft()
                future = flying[ticket]
                try:
                    result = await future
                except TuskError as error:
                    if not return_errors:
                        raise
                    result = error
                del flying[ticket]
                yield result
        finally:
            for future in flying.values():
                future.cancel()

    async def await_task(
        self,
        id: KnownId,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Any, int], object] | None = None,
        on_log: Callable[[str, str, int], object] | None = None,
    ) -> Any:
        """As Client.await_task; cancelling it ends only the waiting."""
        self._ready()
        found = wanted(FollowedTerms(on_progress=on_progress, on_log=on_log))
        follow = found if found is not None and found.follows else None
        return await self._answer(self._calls.await_task(id, timeout, follow, self._ended.append))

    async def await_all(self, ids: Iterable[KnownId], *, timeout: float | None = None) -> list[Any]:
        """As Client.await_all."""
        self._ready()
        each = self._calls.await_all(ids, timeout, self._ended.append)
        futures = [self._future(request) for request in each]
        try:
            found = await asyncio.gather(*futures, return_exceptions=True)
        except asyncio.CancelledError:
            for request in each:
                self._give_up(request)
            raise
        for outcome in found:
            if isinstance(outcome, BaseException) and not isinstance(outcome, TuskError):
                raise outcome
        return found

    async def update(
        self,
        id: KnownId,
        *,
        priority: Priority | None = None,
        delay: float | None = None,
        not_before: datetime | None = None,
        body: Any = KEEP,
        timeout: float | None = None,
    ) -> Updated:
        """As Client.update."""
        self._ready()
        change = Terms(priority=priority, delay=delay, not_before=not_before)
        request = self._calls.update(id, change, body, timeout, self._ended.append)
        return read_updated(await self._answer(request))

    async def task(self, id: KnownId, *, timeout: float | None = None) -> TaskStatus:
        """As Client.task."""
        return read_status(await self.query("task", {"id": known_id(id)}, timeout=timeout))

    async def cancel(self, id: KnownId, *, timeout: float | None = None) -> str:
        """As Client.cancel."""
        self._ready()
        answer = await self._answer(self._calls.cancel(id, timeout, self._ended.append))
        return str(answer["state"]) if isinstance(answer, dict) else str(answer)

    async def query(
        self, what: str, arguments: dict[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """As Client.query."""
        self._ready()
        return await self._answer(self._calls.query(what, arguments, timeout, self._ended.append))

    async def pause_type(self, type: str, duration: float, *, timeout: float | None = None) -> bool:
        """As Client.pause_type."""
        self._ready()
        request = self._calls.pause_type(type, duration, timeout, self._ended.append)
        return read_done(await self._answer(request))

    async def unblock(self, type: str, key: str, *, timeout: float | None = None) -> bool:
        """As Client.unblock."""
        self._ready()
        request = self._calls.unblock(type, key, timeout, self._ended.append)
        return read_done(await self._answer(request))

    async def publish(
        self,
        topic: str,
        body: Any = None,
        *,
        timeout: float | None = None,
        trace: str | None = None,
    ) -> None:
        """As Client.publish."""
        self._ready()
        notify = self._ended.append
        await self._answer(
            self._calls.publish(topic, body, timeout=timeout, trace=trace, notify=notify)
        )

    async def clear(
        self, topic: str, *, timeout: float | None = None, trace: str | None = None
    ) -> None:
        """As Client.clear."""
        await self.publish(topic, NO_BODY, timeout=timeout, trace=trace)

    async def subscribe(
        self,
        topic: str,
        *,
        buffer: int = 10_000,
        slow: Slow = "drop_oldest",
        timeout: float | None = None,
    ) -> AsyncSubscription:
        """As Client.subscribe; `async for event in subscription`."""
        requests = self._ready()
        assert self._loop is not None
        subscription = AsyncSubscription(
            topic, buffer, slow, lambda: requests.limit("body"), self._loop
        )
        subscription.on_close(lambda: self._calls.unsubscribe(subscription.feed))
        notify = self._ended.append
        try:
            await self._answer(self._calls.subscribe(subscription.feed, timeout, notify))
        except BaseException:
            self._calls.unsubscribe(subscription.feed)
            raise
        return subscription

    async def push(
        self,
        stage: str,
        body: Any = None,
        *,
        timeout: float | None = None,
        id: Id = None,
        resent: bool = False,
        rerun_ok: bool = False,
    ) -> None:
        """As Client.push."""
        self._ready()
        await self._answer(
            self._calls.push(
                stage,
                body,
                timeout=timeout,
                id=id,
                resent=resent,
                rerun_ok=rerun_ok,
                notify=self._ended.append,
            )
        )

    async def push_many(
        self,
        stage: str,
        bodies: Iterable[Any] | AsyncIterable[Any],
        *,
        rerun_ok: bool = False,
    ) -> int:
        """As Client.push_many."""
        requests = self._ready()
        source = aiter(bodies) if isinstance(bodies, AsyncIterable) else _async(bodies)
        window: deque[asyncio.Future[Any]] = deque()
        accepted = 0
        try:
            async for body in source:
                request = self._calls.push(
                    stage,
                    body,
                    rerun_ok=rerun_ok,
                    notify=self._ended.append,
                )
                window.append(self._future(request))
                while len(window) >= requests.limit("push_window"):
                    await window.popleft()
                    accepted += 1
            while window:
                await window.popleft()
                accepted += 1
        finally:
            for future in window:
                future.cancel()
        return accepted


async def _async(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item
