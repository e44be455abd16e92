"""What wakes the main thread of a worker."""

from __future__ import annotations

import contextlib
import select
import socket


class Bell:
    """Rung by any thread, and by signals whose wakeup descriptor it is; one thread waits for it.

    A lock would not do: Python runs signal handlers in the main thread, but the system may give the
    signal to any, and then a main thread that waits for a lock goes on waiting.
    """

    def __init__(self) -> None:
        self._heard, self._rope = socket.socketpair()
        self._heard.setblocking(False)
        self._rope.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._heard, select.POLLIN)

    def ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it rings already
            self._rope.send(b"\0")

    def wait(self) -> None:
        self._poll.poll()
        self.hush()

    def hush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._heard.recv(4096)

    def fileno(self) -> int:
        """Readable while it rings."""
        return self._heard.fileno()

    def rope(self) -> int:
        """For signal.set_wakeup_fd."""
        return self._rope.fileno()
