"""The credit of a run: how many chunks it may still send."""

from __future__ import annotations

import threading
from collections.abc import Callable

# What may be said in place of a number of chunks: as many as at first, for the run was adopted; and
# that the broker passes none on.
ANEW, UNWANTED = 0, -1


class Flow:
    """Any thread. Whoever finds no credit has himself woken and asks again."""

    def __init__(self, credit: int) -> None:
        self._credit = self._left = credit
        self.is_unwanted = False
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], object]] = []
        self._is_over = False

    def take(self) -> bool:
        """Whether one more chunk may be sent."""
        with self._lock:
            if self._left <= 0:
                return False
            self._left -= 1
            return True

    def wake_later(self, wake: Callable[[], object]) -> None:
        """Calls `wake`, from any thread, when there is credit or the run is to stop."""
        with self._lock:
            if self._left <= 0 and not self._is_over:
                self._waiting.append(wake)
                return
        wake()

    def add(self, chunks: int) -> None:
        with self._lock:
            if chunks == ANEW:
                self._left = self._credit
            elif chunks == UNWANTED:
                self.is_unwanted = True
                self._left = 1  # so that nobody waits
            else:
                self._left += chunks
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def stop(self) -> None:
        with self._lock:
            self._is_over = True
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()
