"""One request of a client, and waiting for its answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import TuskError
from .terms import Wanted

if TYPE_CHECKING:
    from .feeds import Feed
    from .streams import Chunks


class Request:
    """One request. It is `done` when `error` or the answer is there; then it never changes."""

    __slots__ = (
        "attributes",
        "body",
        "chunks",
        "deadline",
        "done",
        "early",
        "error",
        "feed",
        "id",
        "kind",
        "name",
        "notify",
        "number",
        "on_accepted",
        "packet",
        "queued",
        "resent",
        "size",
        "until_sent",
        "value",
        "value_attributes",
        "waiters",
        "wanted",
    )

    def __init__(
        self,
        kind: int,
        number: int,
        id: bytes,
        name: str,
        body: Any,
        attributes: dict[int, Any] | None,
        deadline: float,
    ) -> None:
        self.kind = kind
        self.number = number
        self.id = id
        self.name = name
        self.body = body
        self.attributes = attributes
        self.deadline = deadline
        self.until_sent = False  # the deadline is for its sending only
        self.packet = 0  # the number of the one that it went out in; 0: not sent
        self.queued = False  # a push that waits for the window
        self.resent = False
        # Its body was written before the broker could say how.
        self.early = False
        self.size = 128
        self.wanted: Wanted | None = None
        self.done = False
        self.error: TuskError | None = None
        self.value: Any = None
        self.value_attributes: dict[int, Any] | None = None
        self.waiters: list[Any] = []
        self.feed: Feed | None = None  # of a subscribe: who asks
        self.chunks: Chunks | None = None  # of a submit that asks for the stream of its task
        # Called by the I/O thread: True when the broker has accepted it and answers later, False
        # when a new session begins and it is submitted again.
        self.on_accepted: Callable[[bool], None] | None = None
        self.notify: Callable[[Request], None] | None = None

    def wait(self, timeout: float = -1) -> bool:
        """Blocks until it is done, at most `timeout` seconds (negative: for ever)."""
        if not self.done:
            lock = threading.Lock()
            lock.acquire()
            self.waiters.append(lock)
            # Looked at again behind the append: finish() sets done before it reads the waiters.
            if not self.done:
                lock.acquire(timeout=timeout)
        return self.done

    def finish(self, error: TuskError | None) -> None:
        self.error = error
        self.body = None
        self.done = True
        for lock in self.waiters:
            lock.release()
        if self.notify is not None:
            self.notify(self)
