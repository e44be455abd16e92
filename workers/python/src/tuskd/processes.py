"""Runs handlers in processes of their own, one run (or one batch) at a time in each.

The children are spawned, never forked, and die with the thread that made them, hence with the
worker. One that dies is replaced, and what it ran has failed with `crashed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
from collections.abc import Callable
from typing import Any

from .children import Family, Refusal
from .context import Bounds, Outcome, RunContext
from .handlers import Executor, Handler, refusal
from .process import die_with_parent
from .runs import Run

# What a pickle begins with. A message to a child that does not is one of the words below, and more.
_PICKLED = b"\x80"
_CANCEL, _RESUME, _REFUSED, _CREDIT = "cancel", "resume", "refused", "credit"
_spawn = multiprocessing.get_context("spawn")


def check_handlers(handlers: list[Handler]) -> None:
    """Raises TypeError for a handler that another process could not find by its name."""
    for handler in handlers:
        try:
            pickle.dumps(handler.function)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                f"handler {handler.name}: with processes=, a handler must be a function at the top "
                f"level of a module: {error}"
            ) from None


class Child:
    """One process, for one thread of Runners. Only `cancel` may come from another thread."""

    def __init__(self, handlers: list[Handler], bounds: Bounds, url: str) -> None:
        self._handlers = handlers
        self._url = url
        self._bounds = bounds
        self._write = threading.Lock()
        self._number = 0
        self._has_run = False  # the child has been given one; before, credit for it is kept
        self._early = 0
        self._start()

    def _start(self) -> None:
        here, there = _spawn.Pipe()
        self._process = _spawn.Process(
            target=_serve,
            args=(there, os.getpid(), self._handlers, self._url),
            name="tuskd-child",
            daemon=True,
        )
        self._process.start()
        there.close()
        self._pipe = here

    def run(self, handler: Handler, record: Run, context: RunContext | None) -> Outcome:
        return self._ask(handler, [record], context, batch=False)[0]

    def run_batch(self, handler: Handler, records: list[Run]) -> list[Outcome]:
        return self._ask(handler, records, None, batch=True)

    def _ask(
        self, handler: Handler, records: list[Run], context: RunContext | None, *, batch: bool
    ) -> list[Outcome]:
        # Without the handle: it may change meanwhile and is nothing to the child.
        plain = [[r[0], None, *r[2:7]] for r in records]
        self._number += 1
        asked = (self._number, handler.name, handler.is_item, batch, plain, self._bounds)
        request = pickle.dumps(asked)
        try:
            with self._write:
                self._pipe.send_bytes(request)
                self._has_run = True
                if self._early:
                    self._pipe.send_bytes(f"{_CREDIT} {self._early}".encode())
                if context is not None and context.cancel_reason is not None:
                    # It came before the child had the run.
                    self._pipe.send_bytes(f"{_CANCEL} {context.cancel_reason}".encode())
            while True:
                said: list[Outcome] | tuple[int, int, Any] = pickle.loads(self._pipe.recv_bytes())
                if isinstance(said, list):
                    return said
                # Of a run before this one: from a thread that its handler left behind.
                if context is not None and said[0] == self._number:
                    context.relay(*said[1:])
        except (EOFError, OSError):
            return [self._died()] * len(records)
        finally:
            with self._write:
                self._has_run, self._early = False, 0

    def _died(self) -> Outcome:
        self._process.join(5.0)
        code = self._process.exitcode
        self._pipe.close()
        how = f"with status {code}" if code is None or code >= 0 else f"by signal {-code}"
        with self._write:
            self._start()
        return refusal(
            "Crashed", f"the process that ran it ended {how}", crashed=True, no_retry=False
        )

    def cancel(self, reason: str) -> None:
        """Tells the handler that runs there, if it looks at its context."""
        self._tell(_CANCEL, reason)

    def resume(self, refusal: Refusal | None) -> None:
        """Tells the handler that its run has a slot again, or that it has kept it."""
        if refusal is None:
            self._tell(_RESUME)
        else:
            self._tell(_REFUSED, *refusal)

    def credit(self, chunks: int) -> None:
        with self._write:
            if not self._has_run:
                self._early += chunks
                return
        self._tell(_CREDIT, str(chunks))

    def _tell(self, *words: str) -> None:
        with self._write, contextlib.suppress(OSError, ValueError):
            self._pipe.send_bytes(" ".join(words).encode())

    def close(self) -> None:
        self._pipe.close()
        self._process.join(1.0)
        if self._process.is_alive():
            self._process.kill()


def make(handlers: list[Handler], bounds: Bounds, url: str) -> Callable[[], Child]:
    return lambda: Child(handlers, bounds, url)


def _serve(
    pipe: multiprocessing.connection.Connection[Any, Any],
    parent: int,
    handlers: list[Handler],
    url: str,
) -> None:
    """The child's main: one request, one reply, until the pipe ends."""
    die_with_parent(parent)
    # Ctrl-C reaches the whole group; the parent decides when a run is over.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    by_name = {(handler.name, handler.is_item): handler for handler in handlers}
    bounds = Bounds()
    family = Family(url)
    executor = Executor(bounds)
    requests: list[bytes] = []
    there = threading.Semaphore(0)
    current: list[RunContext] = []
    loop = asyncio.new_event_loop()
    tasks: list[asyncio.Task[Any]] = []
    changing = threading.Lock()  # what is current, and the credit that came before
    early: list[int] = []
    told: list[str] = []  # the reason of a cancel, for a run that may not have begun
    write = threading.Lock()

    def tell(said: Any) -> None:
        with write, contextlib.suppress(BrokenPipeError):
            pipe.send_bytes(pickle.dumps(said))

    def say(number: int, kind: int, said: Any) -> None:
        tell((number, kind, said))

    def listen() -> None:
        while True:
            try:
                message = pipe.recv_bytes()
            except (EOFError, OSError):
                family.close(0.0)
                os._exit(0)
            if message.startswith(_PICKLED):
                told.clear()
                early.clear()
                requests.append(message)
                there.release()
                continue
            what, *more = message.decode().split(" ", 2)
            if what == _CANCEL:
                told.append(more[0])
                for task in list(tasks):
                    loop.call_soon_threadsafe(task.cancel)
            if what == _CREDIT:
                with changing:
                    early.append(int(more[0]))
                    for context in current:
                        context.credit(early.pop())
                continue
            for context in list(current):
                if what == _CANCEL:
                    context.cancel(more[0])
                else:
                    context.resumed(None if what == _RESUME else (more[0], more[1]))

    threading.Thread(target=listen, name="tuskd-pipe", daemon=True).start()

    async def watched(work: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        if told:
            task.cancel()
        try:
            return await work
        finally:
            tasks.clear()

    while True:
        there.acquire()
        number, name, is_item, batch, records, given = pickle.loads(requests.pop(0))
        for field in dataclasses.fields(Bounds):
            setattr(bounds, field.name, getattr(given, field.name))
        handler = by_name[name, is_item]
        outcomes: list[Outcome]
        try:
            if batch and handler.is_async:
                outcomes = loop.run_until_complete(
                    watched(executor.run_batch_async(handler, records))
                )
            elif batch:
                outcomes = executor.run_batch(handler, records)
            else:
                context = handler.context(records[0])
                if context is not None:
                    context.connect(functools.partial(say, number), bounds, family)
                    with changing:
                        current.append(context)
                        context.credit(sum(early))
                    for reason in list(told):
                        context.cancel(reason)
                if handler.is_async:
                    outcomes = [
                        loop.run_until_complete(
                            watched(executor.run_async(handler, records[0], context))
                        )
                    ]
                else:
                    outcomes = [executor.run(handler, records[0], context)]
        except asyncio.CancelledError:
            outcomes = [(4, None, None)] * len(records)
        for context in current:  # none, or that of the only run
            outcomes = [context.with_cost(outcomes[0])]
            context.close()
        current.clear()
        tell(outcomes)
