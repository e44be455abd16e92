"""What plain and async handlers may ask for their runs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any, Unpack

from .calls import Id
from .children import Born, Waiter
from .context import RunContext, SomeChild
from .terms import Terms


class Child(SomeChild):
    """A child of a plain handler's run."""

    def __init__(self, context: Context, born: Born) -> None:
        super().__init__(born)
        self._context = context

    def result(self) -> Any:
        """What its handler returned; waits as Context.call does."""
        return self._context.gather([self])[0]


class AsyncChild(SomeChild):
    """A child of an async handler's run. Await it for its result."""

    def __init__(self, context: AsyncContext, born: Born) -> None:
        super().__init__(born)
        self._context = context

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result().__await__()

    async def _result(self) -> Any:
        return (await self._context.gather([self]))[0]


class Context(RunContext):
    """Give a parameter this type and the handler gets it: `def add(a, b, context: Context)`.

    id: 16 bytes. type: of the task, or the stage handler's name. attempt: from 1. trace, baggage:
    the W3C texts that the caller sent, or None. Any thread. What a run says of itself (progress,
    heartbeat, log, checkpoint, pause_type) waits for nobody, arrives in order and before the
    result, and is nothing any more when the run is over.

    A run may have children: tasks that it submits and waits for. While it waits its slot is lent
    out, so that they may run on this worker. They are cancelled with it, and end by its deadline
    at the latest. For async handlers there is AsyncContext.
    """

    __slots__ = ()

    def call(
        self,
        type: str,
        body: Any = None,
        *,
        id: Id = None,
        rerun_ok: bool = False,
        trace: str | None = None,
        baggage: str | None = None,
        **terms: Unpack[Terms],
    ) -> Any:
        """Runs a task as a child of this run and returns what its handler returned.

        Waits as long as it takes. Options and errors are those of Client.call; raises Cancelled
        when this run is to stop.
        """
        child = self.submit(
            type, body, id=id, rerun_ok=rerun_ok, trace=trace, baggage=baggage, **terms
        )
        return child.result()

    def submit(
        self,
        type: str,
        body: Any = None,
        *,
        id: Id = None,
        rerun_ok: bool = False,
        trace: str | None = None,
        baggage: str | None = None,
        **terms: Unpack[Terms],
    ) -> Child:
        """Submits a child and returns at once; see `gather` to wait for many."""
        return Child(self, self.bear(type, body, id, rerun_ok, trace, baggage, terms))

    def send(self, value: Any) -> None:
        """Sends a chunk to the caller, if it asked for the stream of this task (Client.stream).

        Waits until the caller is ready for it. Raises Cancelled when the run is to stop, BodyError,
        TooLarge.
        """
        while (flow := self.chunk(value)) is not None:
            _refuse_on_a_loop()
            there = threading.Event()
            flow.wake_later(there.set)
            there.wait()

    def gather(self, children: Iterable[Child], *, return_errors: bool = False) -> list[Any]:
        """The results of children, in their order, when all have ended.

        Raises the first error; with return_errors it stands in the place of a result.
        """
        all_of_them = list(children)
        _refuse_on_a_loop()
        there = threading.Event()
        waiter = Waiter([child.born for child in all_of_them], there.set)
        if self._suspension is not None:
            self._suspension.wait_for(waiter)
            there.wait()
        return self.outcomes(all_of_them, waiter, return_errors)


class AsyncContext(RunContext):
    """As Context, for async handlers: what waits is awaited."""

    __slots__ = ()

    async def send(self, value: Any) -> None:
        """As Context.send."""
        while (flow := self.chunk(value)) is not None:
            there, wake = _awaited()
            flow.wake_later(wake)
            await there

    async def call(
        self,
        type: str,
        body: Any = None,
        *,
        id: Id = None,
        rerun_ok: bool = False,
        trace: str | None = None,
        baggage: str | None = None,
        **terms: Unpack[Terms],
    ) -> Any:
        """As Context.call."""
        child = self.submit(
            type, body, id=id, rerun_ok=rerun_ok, trace=trace, baggage=baggage, **terms
        )
        return await child

    def submit(
        self,
        type: str,
        body: Any = None,
        *,
        id: Id = None,
        rerun_ok: bool = False,
        trace: str | None = None,
        baggage: str | None = None,
        **terms: Unpack[Terms],
    ) -> AsyncChild:
        """Submits a child; await what it returns, or gather many."""
        return AsyncChild(self, self.bear(type, body, id, rerun_ok, trace, baggage, terms))

    async def gather(
        self, children: Iterable[AsyncChild], *, return_errors: bool = False
    ) -> list[Any]:
        """As Context.gather."""
        all_of_them = list(children)
        there, wake = _awaited()
        waiter = Waiter([child.born for child in all_of_them], wake)
        if self._suspension is not None:
            self._suspension.wait_for(waiter)
            try:
                await there
            except asyncio.CancelledError:
                self._suspension.leave(waiter)
                raise
        return self.outcomes(all_of_them, waiter, return_errors)


def _refuse_on_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "waiting here would hold up the event loop: annotate the handler's parameter with"
        " tuskd.AsyncContext, and await"
    )


def _awaited() -> tuple[asyncio.Future[None], Callable[[], None]]:
    """A future of the running loop, and what any thread may call to have it done."""
    loop = asyncio.get_running_loop()
    there: asyncio.Future[None] = loop.create_future()

    def done() -> None:
        if not there.done():
            there.set_result(None)

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(done)

    return there, wake
