"""Word of a task that goes on: calling those back who asked for it."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from . import wire
from .bodies import read_body
from .errors import TuskError
from .request import Request

LEVELS = {1: "debug", 2: "info", 3: "warning", 4: "error"}
MOST_WAITING = 10_000  # progress and log lines of slow callbacks; what comes then is left out


def call(request: Request, record: list[Any], limit: int) -> Any:
    """Calls on_progress or on_log; returns what that returned. Raises what it raised."""
    wanted = request.wanted
    assert wanted is not None
    attributes = (record[4] if len(record) > 4 else None) if record[0] == wire.LOG else record[3]
    attempt = attributes.get(wire.A_ATTEMPT, 0) if attributes else 0
    if record[0] == wire.LOG:
        if wanted.on_log is not None:
            return wanted.on_log(LEVELS.get(record[2], "info"), record[3], attempt)
    elif wanted.on_progress is not None:
        return wanted.on_progress(read_body(record[2], attributes, limit), attempt)
    return None


def complain(request: Request, record: list[Any], error: BaseException) -> None:
    """A callback that raised is no reason for anything but a word."""
    what = "on_log" if record[0] == wire.LOG else "on_progress"
    told = "".join(traceback.format_exception(error))
    print(f"tuskd: {what} of task {request.id.hex()} raised:\n{told}", end="", file=sys.stderr)


class Callbacks:
    """A thread that calls back, in the order of what came, and then lets the task end.

    A thread of its own: a callback may use its client, which needs the I/O thread meanwhile.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._queue: SimpleQueue[tuple[Request, Any] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="tuskd-callbacks", daemon=True).start()

    def put(self, request: Request, record: list[Any]) -> None:
        if self._queue.qsize() < MOST_WAITING:
            self._queue.put((request, record))

    def end(self, request: Request, error: TuskError | None) -> None:
        self._queue.put((request, error))

    def stop(self) -> None:
        """Ends the thread when it is through."""
        self._queue.put(None)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            request, said = item
            if type(said) is not list:
                request.finish(said)
            elif not request.done:  # else its caller gave it up
                try:
                    call(request, said, self._limit())
                except Exception as error:
                    complain(request, said, error)
