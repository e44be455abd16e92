"""Workers for tests."""

from __future__ import annotations

import threading
from typing import Any

from tuskd import Context, NoRetry, Worker


def plain(url: str, **options: Any) -> Worker:
    worker = Worker(url, **options)

    @worker.task("add")
    def add(a: int, b: int = 10) -> int:
        return a + b

    @worker.task("echo")
    def echo(value: Any) -> Any:
        return value

    @worker.task("fail")
    def fail(value: str) -> None:
        raise ValueError(value)

    @worker.task("never")
    def never(value: Any) -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise NoRetry from error

    @worker.task("who")
    def who(context: Context, x: int) -> list[Any]:
        return [context.id, context.type, context.attempt, context.trace, x, context.cancelled]

    @worker.task("nothing")
    def nothing() -> str:
        return "nothing"

    @worker.task("rest")
    def rest(**names: Any) -> Any:
        return names

    return worker


class Gate:
    """A handler that waits to be let go, and says when it has begun."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.open = threading.Semaphore(0)
        self.now = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self, value: Any) -> Any:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.begun.release()
        assert self.open.acquire(timeout=20)
        with self._lock:
            self.now -= 1
        return value
