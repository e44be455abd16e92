"""The worker: register handlers, then run()."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from . import processes
from .bell import Bell
from .durations import milliseconds
from .errors import TuskError
from .handlers import Executor, Handler
from .labels import worker_labels
from .link import url_or_default
from .looprunner import LoopRunner
from .runners import Runners
from .runs import Runs

F = TypeVar("F", bound=Callable[..., Any])
STOP_GRACE = 10.0
ACKNOWLEDGED_WITHIN = 1.0  # seconds, at least, that a worker that stops waits for it
BATCH_WAIT = 0.01
NAME_BYTES = 255


class Worker:
    """Runs tasks and stages for a broker.

    url: default the environment's TUSK_URL, else tcp://127.0.0.1:7420.
    slots: runs at once; default TUSK_SLOTS, else the largest batch, else `processes`, else 1.
    processes: run handlers in so many processes of their own, for work that keeps a CPU busy.
    labels: what this worker has, for tasks that need it: at most 32 texts and whole numbers (0 to
    10**9) by name; beside those of the JSON object TUSK_LABELS, of which these take the place.
    pool, name: default TUSK_POOL and TUSK_WORKER; else the broker's ("python", "python-<pid>").
    lookahead: let the broker send runs ahead of the slots (it takes them back when another worker
    is free); the default is yes with `processes`. Say yes without only when no handler ever holds
    the interpreter for a millisecond.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        slots: int | None = None,
        processes: int = 0,
        pool: str | None = None,
        name: str | None = None,
        labels: Mapping[str, str | int] | None = None,
        lookahead: bool | None = None,
    ) -> None:
        self.url = url_or_default(url)
        self._slots = slots
        self._processes = processes
        self._pool = pool or os.environ.get("TUSK_POOL")
        self._name = name or os.environ.get("TUSK_WORKER")
        self.labels = worker_labels(labels)
        self._lookahead = lookahead
        self._tasks: dict[str, Handler] = {}
        self._stages: dict[str, Handler] = {}
        self._bell = Bell()
        self._reason = ""
        self._error: TuskError | None = None
        self._grace = STOP_GRACE
        self._runs: Runs | None = None
        self._settled = threading.Event()  # it is ready, or never will be
        self._is_ready = False

    def task(
        self, type: str, *, batch: int | None = None, wait: float = BATCH_WAIT
    ) -> Callable[[F], F]:
        """Decorator: this function, plain or async, runs tasks of `type`.

        batch: it gets a list of up to so many bodies, or of those that came within `wait` seconds
        of the first, and returns a list of as many results. At most `slots`, which is what a worker
        has at a time; raises ValueError beyond. wait: 0 to 100 years.
        """

        def register(function: F) -> F:
            self._add(
                self._tasks, Handler(type, function, batch=self._batch(batch, wait), wait=wait)
            )
            return function

        return register

    def stage(
        self, name: str, *, batch: int | None = None, wait: float = BATCH_WAIT
    ) -> Callable[[F], F]:
        """Decorator: this function handles items of a stage; `name` is the handler's in the config.

        batch, wait: as of `task`. tuskd.DROP in place of a value ends an item.
        """

        def register(function: F) -> F:
            size = self._batch(batch, wait)
            self._add(self._stages, Handler(name, function, is_item=True, batch=size, wait=wait))
            return function

        return register

    def _batch(self, batch: int | None, wait: float) -> int:
        """The size of a list handler; 0: it is none. Raises TypeError or ValueError."""
        milliseconds("wait", wait)
        if batch is None:
            return 0
        if type(batch) is not int:
            raise TypeError(f"batch is an integer, not {type(batch).__name__}")
        if batch < 1:
            raise ValueError(f"batch is at least 1, not {batch}")
        slots = self._slots_given()
        if slots is not None and batch > slots:
            raise ValueError(
                f"a batch of {batch} is larger than the {slots} slots of this worker, which never"
                " has more at a time; give it more slots, or make the batch smaller"
            )
        return batch

    def _add(self, where: dict[str, Handler], handler: Handler) -> None:
        if self._runs is not None:
            raise RuntimeError("handlers are registered before run()")
        if not handler.name or len(handler.name.encode()) > NAME_BYTES:
            raise ValueError(f"a name has 1 to {NAME_BYTES} bytes")
        if handler.name in where:
            raise ValueError(f"{handler.name} has a handler already")
        where[handler.name] = handler

    @property
    def slots(self) -> int:
        """How many runs at once."""
        slots = self._slots_given()
        if slots is None:
            slots = max([self._processes, 1, *(h.batch for h in self._handlers())])
        if slots < 1:
            raise ValueError(f"a worker has at least 1 slot, not {slots}")
        return slots

    def _slots_given(self) -> int | None:
        """By the program, or by who started it."""
        told = os.environ.get("TUSK_SLOTS")
        return int(told) if self._slots is None and told else self._slots

    def _handlers(self) -> list[Handler]:
        return [*self._tasks.values(), *self._stages.values()]

    def stop(self, grace: float = STOP_GRACE) -> None:
        """Gives back what has not started and lets `run` end when what runs has, at most `grace`
        seconds later. Any thread; also in a signal handler."""
        self._grace = grace
        self._end("stop", None)

    def wait_until_ready(self, timeout: float | None = None) -> bool:
        """Waits until a broker has taken this worker for the first time: from then on what it runs
        is served. For programs that run worker and client, and for tests.

        False: that did not come in `timeout` seconds, or `run` ended before. Any thread but the one
        that runs it, also before `run`.
        """
        self._settled.wait(timeout)
        return self._is_ready

    def _taken(self) -> None:
        self._is_ready = True
        self._settled.set()

    def _end(self, reason: str, error: TuskError | None) -> None:
        if not self._reason:
            self._reason = reason
            self._error = error
        self._bell.ring()

    def run(self) -> None:
        """Works until `stop`, SIGTERM, SIGINT or the broker's drain, then returns.

        In the main thread it handles these signals: what has not started is given back, what runs
        may end within 10 seconds; a second signal ends at once. Raises the broker's refusal. When
        tuskd started this worker and is gone for longer than its adopt_grace, exits with status 0.
        """
        handlers = self._handlers()
        if not handlers:
            raise RuntimeError("a worker without a handler; register one with @worker.task(...)")
        if self._processes:
            processes.check_handlers(handlers)
        if any(h.is_async for h in handlers) and not self._processes:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._on_loop(signals=True))
        else:
            self._in_threads(handlers)
        self._finish()

    async def serve(self) -> None:
        """As `run`, on the event loop that runs already and without handling signals."""
        if self._processes:
            raise RuntimeError("a worker with processes has no use for a loop; call run()")
        await self._on_loop(signals=False)
        self._finish()

    def _finish(self) -> None:
        reason, error = self._reason, self._error
        self._runs = None
        self._settled.set()
        self._reason, self._error = "", None
        self._bell.hush()
        if error is not None:
            raise error
        if reason == "gone":
            print(f"tuskd: the broker at {self.url} is gone; this worker ends", file=sys.stderr)
            sys.stderr.flush()
            raise SystemExit(0)

    def _make_runs(self) -> Runs:
        lookahead = self._lookahead
        if lookahead is None:
            # A handler in this process may hold the interpreter for longer than a millisecond.
            lookahead = self._processes > 0
        if any(h.batch for h in self._handlers()):
            lookahead = False  # a batch starts as a whole, so it must not be over the slots
        return Runs(
            self.url,
            self._tasks,
            self._stages,
            name=self._name,
            pool=self._pool,
            slots=self.slots,
            labels=self.labels,
            lookahead=lookahead,
            on_ready=self._taken,
            on_end=self._end,
        )

    def _in_threads(self, handlers: list[Handler]) -> None:
        runs = self._runs = self._make_runs()
        if self._processes:
            most = min(runs.slots, self._processes)
            runner = Runners(runs, most, processes.make(handlers, runs.bounds, self.url))
        else:
            runner = Runners(runs, runs.slots, lambda: Executor(runs.bounds))
        runs.runner = runner
        restore = self._take_signals()
        try:
            runs.link.start()
            while not self._reason:
                self._bell.wait()
            self._drain(runs)
        finally:
            runner.stop()
            restore()

    async def _on_loop(self, *, signals: bool) -> None:
        loop = asyncio.get_running_loop()
        runs = self._runs = self._make_runs()
        runner = LoopRunner(runs, runs.slots, loop)
        runs.runner = runner
        stopped = asyncio.Event()
        end = self._end

        def tell(reason: str, error: TuskError | None) -> None:
            end(reason, error)
            loop.call_soon_threadsafe(stopped.set)

        runs._on_end = tell
        self._end = tell  # type: ignore[method-assign]
        restore = self._take_signals() if signals else _nothing
        loop.add_reader(self._bell, self._bell.hush)  # so that a signal wakes the loop
        try:
            runs.link.start()
            if not self._reason:
                await stopped.wait()
            await loop.run_in_executor(None, self._drain, runs)
        except asyncio.CancelledError:
            self._grace = 0.0
            await asyncio.shield(loop.run_in_executor(None, self._drain, runs))
            raise
        finally:
            self._end = end  # type: ignore[method-assign]
            loop.remove_reader(self._bell)
            runner.stop()
            restore()

    def _drain(self, runs: Runs) -> None:
        """Gives back, waits for what runs, sends the results, says bye."""
        if self._reason in ("gone", "refused"):
            runs.link.close(0.0)
            runs.family.close(0.0)
            return
        runs.drain()
        end = time.monotonic() + self._grace
        while not runs.idle() and time.monotonic() < end and self._reason != "now":
            runs.link.flush()
            with runs.link.changed:
                runs.link.changed.wait(0.02)
        # Results that are not acknowledged when it ends have others run their tasks again: a broker
        # that is slow has the whole grace, one that is not there a second.
        left = 0.0 if self._reason == "now" else end - time.monotonic()
        least = min(ACKNOWLEDGED_WITHIN, self._grace)
        runs.link.close(max(left, least), away=least)
        runs.family.close(least)

    def _take_signals(self) -> Callable[[], None]:
        if threading.current_thread() is not threading.main_thread():
            return _nothing

        def handle(number: int, _frame: Any) -> None:
            if self._reason:
                self._reason = "now"  # the second one
                self._bell.ring()
            else:
                self._end(signal.Signals(number).name, None)

        before = {n: signal.signal(n, handle) for n in (signal.SIGTERM, signal.SIGINT)}
        woken_before = signal.set_wakeup_fd(self._bell.rope(), warn_on_full_buffer=False)

        def restore() -> None:
            signal.set_wakeup_fd(woken_before)
            for number, old in before.items():
                signal.signal(number, old)

        return restore


def _nothing() -> None:
    pass


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
