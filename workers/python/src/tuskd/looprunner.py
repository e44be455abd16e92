"""Runs async handlers on an event loop, at most `slots` at once.

In a worker that has both kinds, plain handlers run in threads, counted with the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import wire
from .children import Refusal
from .context import Outcome
from .handlers import Executor, Handler
from .link import NEVER
from .runs import Batch, Run, Runs, take

MOST_WAITING = 10_000


class LoopRunner:
    """`put`, `notify`, `tick` and `cancel` on the I/O thread; the rest on the loop."""

    def __init__(self, runs: Runs, slots: int, loop: asyncio.AbstractEventLoop) -> None:
        self._runs = runs
        self._slots = slots
        self._loop = loop
        self._queue: deque[Run | Batch] = deque()
        self.put = self._queue.append
        self._executor = Executor(runs.bounds)
        # `_running` is what bounds them: runs that wait for their children hold threads, no slots.
        most = slots + MOST_WAITING
        self._threads = ThreadPoolExecutor(max_workers=most, thread_name_prefix="tuskd-run")
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._running = 0
        self._start_due = False
        self._flush_due = False

    def notify(self) -> None:
        if self._queue and not self._start_due:
            self._start_due = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has ended
                self._loop.call_soon_threadsafe(self._start)

    def tick(self, now: float) -> float:
        return NEVER

    def cancel(self, run: Run, reason: str) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel, id(run))

    def lend(self) -> None:
        self._count(-1)

    def regain(self) -> None:
        self._count(1)

    def _count(self, more: int) -> None:
        def count() -> None:
            self._running += more
            self._start()

        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(count)

    def resume(self, run: Run, refusal: Refusal | None) -> bool:
        return False

    def credit(self, run: Run, chunks: int) -> bool:
        return False

    def _cancel(self, key: int) -> None:
        task = self._tasks.get(key)
        if task is not None:
            task.cancel()

    def stop(self) -> None:
        """Cancels what still runs. Its results are not waited for."""
        for task in list(self._tasks.values()):
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        self._start_due = False
        queue = self._queue
        while queue and self._running < self._slots:
            unit = queue.popleft()
            if isinstance(unit, Batch):
                mine = [run for run in unit.runs if take(run)]
                if mine:
                    self._begin(id(unit), self._run_batch(unit, mine), len(mine))
            elif take(unit):
                self._begin(id(unit), self._run(unit), 1)

    def _begin(self, key: int, work: Any, count: int) -> None:
        self._running += count
        task = self._loop.create_task(work)
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._ended(key, count))

    def _ended(self, key: int, count: int) -> None:
        self._running -= count
        self._tasks.pop(key, None)
        if self._queue:
            self._start()
        if not self._flush_due:
            # Behind all that ends in this turn of the loop.
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        self._runs.link.flush()

    async def _run(self, run: Run) -> None:
        runs = self._runs
        handler = runs.handler(run)
        assert handler is not None
        context = runs.begin(run, handler)
        outcome: Outcome
        try:
            if handler.is_async:
                outcome = await self._executor.run_async(handler, run, context)
            else:
                outcome = await self._in_thread(handler, run, context)
        except asyncio.CancelledError:
            outcome = (wire.CANCELLED, None, None)
        if context is not None:
            outcome = context.with_cost(outcome)
        runs.answer(run, outcome)

    async def _in_thread(self, handler: Handler, run: Run, context: Any) -> Outcome:
        work = self._loop.run_in_executor(
            self._threads, Executor(self._runs.bounds).run, handler, run, context
        )
        while True:
            # A cancel reaches a plain handler by its context only; its slot is taken until it ends.
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                if work.cancelled() or self._loop.is_closed():
                    raise

    async def _run_batch(self, batch: Batch, mine: list[Run]) -> None:
        handler = batch.handler
        outcomes: list[Outcome]
        try:
            if handler.is_async:
                outcomes = await self._executor.run_batch_async(handler, mine)
            else:
                executor = Executor(self._runs.bounds)
                outcomes = await self._loop.run_in_executor(
                    self._threads, executor.run_batch, handler, mine
                )
        except asyncio.CancelledError:
            outcomes = [(wire.CANCELLED, None, None)] * len(mine)
        for run, outcome in zip(mine, outcomes, strict=True):
            self._runs.answer(run, outcome)
