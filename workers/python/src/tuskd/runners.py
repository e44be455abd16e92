"""Runs plain handlers in threads, at most `most` at once.

One thread takes what there is, run after run, and sends the results of many with one packet: no
switch between threads per task. More threads join when runs take long (over FAST), or when nothing
has started for a while although something waits.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

from .children import Refusal
from .context import Outcome, RunContext
from .handlers import Executor, Handler
from .link import NEVER
from .runs import NAME, TICKET, Batch, Run, Runs, take
from .wire import TASK

FAST = 100e-6  # a run that is shorter does not hold up the results before it
SLOW = 2 * FAST
FLUSH_EVERY = 300e-6
STALL = 0.01
STALL_TICK = 0.002


class Executes(Protocol):
    """What runs a handler for one thread: in place, or in a process of its own."""

    def run(self, handler: Handler, record: Run, context: RunContext | None) -> Outcome: ...
    def run_batch(self, handler: Handler, records: list[Run]) -> list[Outcome]: ...


class Runners:
    """See above. `put`, `notify`, `tick` and `cancel` on the I/O thread."""

    def __init__(self, runs: Runs, most: int, make: Callable[[], Executes]) -> None:
        self._runs = runs
        self._most = most
        self._make = make
        self._queue: deque[Run | Batch] = deque()
        self.put = self._queue.append
        self._idle: list[Any] = []
        self._threads = 0
        self._lent = 0  # of them are held by runs that wait for their children
        self._count = threading.Lock()  # of both
        self._cost = 0.0
        self._started = 0
        self._seen = -1
        self._seen_at = 0.0
        self._wanted = 1
        self._stopped = False
        self.busy: dict[int, Executes] = {}  # by id(run), for those that can be cancelled

    def notify(self) -> None:
        waiting = len(self._queue)
        if waiting:
            wanted = 1 if self._cost < FAST else min(waiting, self._most)
            active = self._threads - self._lent - len(self._idle)
            # Slow runs keep the threads that are active; each that waits gets one more.
            if wanted > 1:
                wanted += active
            while active < wanted and self._more():
                active += 1

    def _more(self) -> bool:
        try:
            self._idle.pop().release()
        except IndexError:
            with self._count:
                if self._threads >= self._most + self._lent:
                    return False
                self._threads += 1
            threading.Thread(
                target=self._work, name=f"tuskd-run-{self._threads}", daemon=True
            ).start()
        return True

    def cancel(self, run: Run, reason: str) -> None:
        executes = self.busy.get(id(run))
        stop = getattr(executes, "cancel", None)
        if stop is not None:
            stop(reason)

    def lend(self) -> None:
        """A thread waits and takes no slot: another may take its place meanwhile."""
        with self._count:
            self._lent += 1

    def regain(self) -> None:
        with self._count:
            self._lent -= 1
        if self._threads > self._most + self._lent:
            with contextlib.suppress(IndexError):
                self._idle.pop().release()  # it ends

    def resume(self, run: Run, refusal: Refusal | None) -> bool:
        tell = getattr(self.busy.get(id(run)), "resume", None)
        if tell is not None:
            tell(refusal)
        return tell is not None

    def credit(self, run: Run, chunks: int) -> bool:
        tell = getattr(self.busy.get(id(run)), "credit", None)
        if tell is not None:
            tell(chunks)
        return tell is not None

    def _is_spare(self) -> bool:
        """Whether the thread that asks is one too many; it then ends."""
        with self._count:
            if self._threads <= self._most + self._lent:
                return False
            self._threads -= 1
            return True

    def tick(self, now: float) -> float:
        if not self._queue or (not self._idle and self._threads >= self._most + self._lent):
            self._wanted = 1
            return NEVER
        if self._started != self._seen:
            self._seen, self._seen_at, self._wanted = self._started, now, 1
        elif now - self._seen_at >= STALL:
            # Doubling, for it may have been the interpreter that was slow, and not the runs.
            for _ in range(self._wanted):
                if not self._more():
                    break
            self._wanted *= 2
        return now + STALL_TICK

    def stop(self) -> None:
        """Lets idle threads end."""
        self._stopped = True
        while self._idle:
            self._idle.pop().release()

    def _work(self) -> None:
        link, queue, idle = self._runs.link, self._queue, self._idle
        tasks, stages = self._runs.tasks, self._runs.stages
        answer = link.outbox.append
        executes = self._make()
        in_place, run = type(executes) is Executor, executes.run
        mine = threading.Lock()
        mine.acquire()
        flushed = last = perf_counter()
        while True:
            try:
                unit = queue.popleft()
            except IndexError:
                link.flush()
                if self._stopped or self._is_spare():
                    break
                idle.append(mine)
                if queue or self._stopped:  # it came after we looked and before we were idle
                    try:
                        idle.remove(mine)
                    except ValueError:
                        mine.acquire()  # somebody has taken us from there and releases us
                    continue
                mine.acquire()
                flushed = last = perf_counter()
                continue
            if type(unit) is list:
                # As `take` and `_run`, without the calls: this is the path of short runs.
                try:
                    unit.pop(TICKET)
                except IndexError:
                    continue
                handler = (tasks if unit[0] == TASK else stages)[unit[NAME]]
                if in_place and not handler.has_context:
                    answer((unit, run(handler, unit, None)))
                else:
                    self._run(executes, handler, unit)
            else:
                self._run_batch(executes, unit)  # type: ignore[arg-type]
            now = perf_counter()
            took = now - last
            last = now
            self._started += 1
            # Bounded: one run that the system interrupted does not make a type slow.
            self._cost += ((took if took < SLOW else SLOW) - self._cost) * 0.0625
            if took > FAST or now - flushed > FLUSH_EVERY:
                link.flush()
                flushed = last = perf_counter()
            elif not link.watching:
                # The next run may be long; then the I/O thread sends what is left there.
                link.watch()
        close = getattr(executes, "close", None)
        if close is not None:
            close()

    def _run(self, executes: Executes, handler: Handler, run: Run) -> None:
        runs = self._runs
        self.busy[id(run)] = executes
        context = runs.begin(run, handler)
        outcome = executes.run(handler, run, context)
        self.busy.pop(id(run), None)
        if context is not None:
            outcome = context.with_cost(outcome)
        runs.answer(run, outcome)

    def _run_batch(self, executes: Executes, batch: Batch) -> None:
        mine = [run for run in batch.runs if take(run)]
        if mine:
            outcomes = executes.run_batch(batch.handler, mine)
            self._runs.link.outbox.extend(zip(mine, outcomes, strict=True))
