"""Children: the tasks that a run submits, and waiting for them without taking a slot.

A run that waits says suspend, once the broker has accepted what it waits for: of tasks that the
broker does not know it believes that they have ended. It goes on when the results are there and the
broker has said resume.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from .calls import Calls, Id
from .errors import TuskError, from_error_record
from .request import Request
from .terms import Terms, refuse_callbacks, wanted

MOST_AWAITED = 1000  # tasks in one suspend
Refusal = tuple[str, str]  # the code and the message of an error


class Family:
    """What a process submits children by: a client of its own, opened when first used."""

    def __init__(self, url: str) -> None:
        self._calls = Calls(url, None, None)

    def submit(
        self,
        parent: bytes,
        type: str,
        body: Any,
        *,
        id: Id,
        rerun_ok: bool,
        trace: str | None,
        baggage: str | None,
        terms: Terms,
        child: Born,
    ) -> None:
        """Submits a task for `child`. Raises what Client.submit raises."""
        refuse_callbacks("a run", terms)
        child.request = self._calls.submit(
            type,
            body,
            until_sent=True,
            id=id,
            rerun_ok=rerun_ok,
            trace=trace,
            baggage=baggage,
            wanted=wanted(terms),
            parent=parent,
            on_accepted=child.accepted,
            notify=child.ended,
        )
        self._calls.requests().link.flush()

    def decode(self, request: Request) -> Any:
        """What the handler of a child returned, or its error."""
        return self._calls.requests().decode(request)

    def cancel(self, request: Request) -> None:
        """Asks for it; nobody waits for the answer."""
        self._calls.cancel(request.id, None)
        self._calls.requests().link.flush()

    def close(self, linger: float) -> None:
        self._calls.close(linger)


class Born:
    """A child, as the run that waits for it sees it."""

    __slots__ = ("is_accepted", "request", "sessions", "suspension", "through")

    def __init__(self, suspension: Suspension) -> None:
        self.suspension = suspension
        self.request: Request
        self.is_accepted = False
        self.sessions = 0  # in which it was submitted again
        self.through = False  # the broker has been asked about it, and need not be again

    def accepted(self, known: bool) -> None:
        """By this broker; `known` is False when the client begins a new session."""
        with self.suspension.lock:
            self.is_accepted = known
            if known:
                self.suspension.look()
            else:
                self.sessions += 1
                self.through = False

    def ended(self, _request: Request) -> None:
        with self.suspension.lock:
            self.suspension.look()


class Waiter:
    """Somebody in a handler who waits for children. `wake` may be called by any thread."""

    __slots__ = ("children", "error", "wake")

    def __init__(self, children: Sequence[Born], wake: Callable[[], object]) -> None:
        self.children = children
        self.wake = wake
        self.error: TuskError | None = None


class Suspension:
    """Who waits in a run, and whether its slot is lent out. Any thread; `look` under the lock."""

    def __init__(self, say: Callable[[list[bytes]], object]) -> None:
        self.lock = threading.RLock()
        self._say = say
        self._waiters: list[Waiter] = []
        self._asked: list[tuple[Born, int]] = []  # what this run is suspended for
        self._is_over = False

    def wait_for(self, waiter: Waiter) -> None:
        """Has it woken when its children have ended and the run has a slot, or is to stop."""
        with self.lock:
            self._waiters.append(waiter)
            self.look()

    def leave(self, waiter: Waiter) -> None:
        with self.lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def look(self) -> None:
        if self._is_over:
            self._wake(self._waiters)
            return
        if self._asked:
            return
        self._wake([w for w in self._waiters if all(c.request.done for c in w.children)])
        # Together: what begins to wait meanwhile shares the suspend.
        missing = list(
            dict.fromkeys(
                child
                for waiter in self._waiters
                for child in waiter.children
                if not (child.request.done or child.through)
            )
        )
        if missing and all(child.is_accepted for child in missing):
            del missing[MOST_AWAITED:]
            self._asked = [(child, child.sessions) for child in missing]
            self._say([child.request.id for child in missing])

    def _wake(self, waiters: list[Waiter]) -> None:
        for waiter in list(waiters):
            self._waiters.remove(waiter)
            waiter.wake()

    def resumed(self, refusal: Refusal | None) -> None:
        """The run has a slot again, or kept it because the broker refused."""
        with self.lock:
            asked, self._asked = self._asked, []
            for child, sessions in asked:
                # Of one that was submitted again meanwhile the broker may not have known.
                child.through = child.sessions == sessions
            if refusal is not None and refusal[0] == "invalid":
                mine = {child for child, _ in asked}
                refused = [w for w in self._waiters if not mine.isdisjoint(w.children)]
                for waiter in refused:
                    waiter.error = from_error_record(*refusal, None, None)
                self._wake(refused)
            self.look()

    def stop(self) -> None:
        """The run is to stop: whoever waits goes on."""
        with self.lock:
            self._is_over = True
            self.look()
