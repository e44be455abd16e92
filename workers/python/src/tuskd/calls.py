"""Making requests: what the plain and the async client have in common."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from . import wire
from .durations import milliseconds
from .errors import Timeout
from .ids import KnownId, as_id, known_id
from .labels import key_text
from .link import url_or_default
from .request import Request
from .requests import Requests
from .terms import Terms, Wanted, wanted

if TYPE_CHECKING:
    from .feeds import Feed
    from .streams import Chunks

TRACE_BYTES = 8192  # of a trace, of a baggage
KEEP: Any = object()  # an update that leaves the body as it is
NO_BODY: Any = object()
Id = KnownId | None


class Calls:
    """Keeps a `Requests` per process: a client that was made before a fork works in both."""

    def __init__(self, url: str | None, timeout: float | None, name: str | None) -> None:
        self.url = url_or_default(url)
        self._timeout = timeout
        self._name = name
        self._requests: Requests | None = None
        self._lock = threading.Lock()
        self._closed = False
        _all.add(self)

    def requests(self) -> Requests:
        """This process's connection; opened when first asked for."""
        found = self._requests
        if found is not None:
            return found
        with self._lock:
            if self._requests is None:
                self._requests = Requests(self.url, self._name, self._timeout)
                self._requests.closed = self._closed
            return self._requests

    def forked(self) -> None:
        """In a child: the parent's socket, session and lock stay the parent's."""
        self._lock = threading.Lock()
        parents, self._requests = self._requests, None
        if parents is not None:
            _parents.append(parents)  # never collected: closing its socket is not ours to do
            parents.orphaned()

    def close(self, linger: float) -> None:
        self._closed = True
        if self._requests is not None:
            self._requests.close(linger)

    def submit(
        self,
        type: str,
        body: Any,
        *,
        timeout: float | None = None,
        until_sent: bool = False,
        id: Id = None,
        accepted: bool = False,
        resent: bool = False,
        rerun_ok: bool = False,
        trace: str | None = None,
        baggage: str | None = None,
        wanted: Wanted | None = None,
        parent: bytes | None = None,
        on_accepted: Callable[[bool], None] | None = None,
        chunks: Chunks | None = None,
        window: int = 0,
        notify: Callable[[Request], None] | None = None,
    ) -> Request:
        """A submit that is posted and not yet flushed. on_accepted, chunks: see Request."""
        requests = self.requests()
        attributes: dict[int, Any] = {} if wanted is None else dict(wanted.attributes)
        if accepted:
            attributes[wire.A_REPLY] = 1
        elif on_accepted is not None:
            attributes[wire.A_REPLY] = 2
        if parent is not None:
            attributes[wire.A_PARENT] = parent
        if window:
            attributes[wire.A_STREAM] = window
        if rerun_ok:
            attributes[wire.A_RERUN_OK] = True
        if trace is not None:
            attributes[wire.A_TRACE] = bounded("trace", trace)
        if baggage is not None:
            attributes[wire.A_BAGGAGE] = bounded("baggage", baggage)
        early = not requests.link.fields
        data = requests.body(body, attributes, wire.SUBMIT, type)
        deadline = time.monotonic() + requests.timeout(timeout)
        request = requests.request(wire.SUBMIT, as_id(id), type, data, attributes or None, deadline)
        request.early = early
        request.until_sent = until_sent
        request.notify = notify
        request.resent = resent
        request.wanted = wanted
        request.on_accepted = on_accepted
        request.chunks = chunks
        requests.post(request)
        return request

    def push(
        self,
        stage: str,
        body: Any,
        *,
        timeout: float | None = None,
        id: Id = None,
        resent: bool = False,
        rerun_ok: bool = False,
        notify: Callable[[Request], None] | None = None,
    ) -> Request:
        requests = self.requests()
        attributes: dict[int, Any] = {wire.A_RERUN_OK: True} if rerun_ok else {}
        early = not requests.link.fields
        data = requests.body(body, attributes, wire.PUSH, stage)
        deadline = time.monotonic() + requests.timeout(timeout)
        request = requests.request(wire.PUSH, as_id(id), stage, data, attributes or None, deadline)
        request.early = early
        request.until_sent = timeout is None
        request.notify = notify
        request.resent = resent
        requests.post(request)
        return request

    def publish(
        self,
        topic: str,
        body: Any,
        *,
        timeout: float | None,
        trace: str | None,
        notify: Callable[[Request], None] | None = None,
    ) -> Request:
        """body: NO_BODY for an event that clears the topic; None is a body, null."""
        requests = self.requests()
        attributes: dict[int, Any] = {}
        if trace is not None:
            attributes[wire.A_TRACE] = bounded("trace", trace)
        early = body is not NO_BODY and not requests.link.fields
        data = None
        if body is not NO_BODY:
            data = requests.body(body, attributes, wire.PUBLISH, topic)
        return self._post(
            wire.PUBLISH, b"", topic, data, attributes or None, timeout, notify, early
        )

    def cancel(
        self, id: KnownId, timeout: float | None, notify: Callable[[Request], None] | None = None
    ) -> Request:
        return self._post(wire.CANCEL, known_id(id), "", None, None, timeout, notify)

    def await_task(
        self,
        id: KnownId,
        timeout: float | None,
        follow: Wanted | None,
        notify: Callable[[Request], None] | None = None,
    ) -> Request:
        requests = self.requests()
        request = self._await(requests, id, timeout, follow, notify)
        requests.post(request)
        return request

    def await_all(
        self,
        ids: Iterable[KnownId],
        timeout: float | None,
        notify: Callable[[Request], None] | None = None,
    ) -> list[Request]:
        """One request for each; they are posted at once, so that they share their packets."""
        requests = self.requests()
        each = [self._await(requests, id, timeout, None, notify) for id in ids]
        requests.post_all(each)
        return each

    def _await(
        self,
        requests: Requests,
        id: KnownId,
        timeout: float | None,
        follow: Wanted | None,
        notify: Callable[[Request], None] | None,
    ) -> Request:
        attributes = None if follow is None else follow.attributes
        deadline = time.monotonic() + requests.timeout(timeout)
        request = requests.request(wire.AWAIT, known_id(id), "", None, attributes, deadline)
        request.wanted = follow
        request.notify = notify
        return request

    def update(
        self,
        id: KnownId,
        change: Terms,
        body: Any,
        timeout: float | None,
        notify: Callable[[Request], None] | None = None,
    ) -> Request:
        """body: KEEP to leave it as it is; None is a body, null."""
        requests = self.requests()
        terms = wanted(change)
        attributes: dict[int, Any] = {} if terms is None else dict(terms.attributes)
        data = None if body is KEEP else requests.body(body, attributes)
        deadline = time.monotonic() + requests.timeout(timeout)
        request = requests.request(
            wire.UPDATE, known_id(id), "", data, attributes or None, deadline
        )
        request.notify = notify
        request.wanted = terms
        requests.post(request)
        return request

    def query(
        self,
        what: str,
        arguments: dict[str, Any] | None,
        timeout: float | None,
        notify: Callable[[Request], None] | None = None,
    ) -> Request:
        return self._post(wire.QUERY, b"", what, arguments, None, timeout, notify)

    def control(
        self,
        what: str,
        arguments: dict[str, Any],
        timeout: float | None,
        notify: Callable[[Request], None] | None = None,
    ) -> Request:
        return self._post(wire.CONTROL, b"", what, arguments, None, timeout, notify)

    def pause_type(
        self,
        type: str,
        duration: float,
        timeout: float | None,
        notify: Callable[[Request], None] | None = None,
    ) -> Request:
        key_text("type", type)
        ms = milliseconds("duration", duration)
        return self.control("pause", {"type": type, "ms": ms}, timeout, notify)

    def unblock(
        self,
        type: str,
        key: str,
        timeout: float | None,
        notify: Callable[[Request], None] | None = None,
    ) -> Request:
        key_text("type", type)
        arguments = {"type": type, "key": key_text("key", key)}
        return self.control("unblock", arguments, timeout, notify)

    def subscribe(
        self,
        feed: Feed,
        timeout: float | None,
        notify: Callable[[Request], None] | None = None,
    ) -> Request:
        """Adds a feed and tells the broker, which may know: it gets the last events once more."""
        feeds = self.requests().feeds
        feeds.add(feed)
        asked = feeds.attributes(feed.name)
        return self._post(wire.SUBSCRIBE, b"", feed.name, None, asked, timeout, notify, feed=feed)

    def unsubscribe(self, feed: Feed) -> None:
        requests = self._requests
        if requests is not None and not requests.closed:
            requests.feeds.remove(feed)
            requests.link.flush()

    def _post(
        self,
        kind: int,
        id: bytes,
        name: str,
        body: Any,
        attributes: dict[int, Any] | None,
        timeout: float | None,
        notify: Callable[[Request], None] | None = None,
        early: bool = False,
        feed: Feed | None = None,
    ) -> Request:
        requests = self.requests()
        deadline = time.monotonic() + requests.timeout(timeout)
        request = requests.request(kind, id, name, body, attributes, deadline)
        request.notify = notify
        request.early = early
        request.feed = feed
        requests.post(request)
        return request


def bounded(name: str, text: str) -> str:
    """A trace or baggage as it may be sent. Raises ValueError."""
    if len(text) > TRACE_BYTES // 4 and len(text.encode()) > TRACE_BYTES:
        raise ValueError(f"{name} has at most {TRACE_BYTES:,} bytes, not {len(text.encode()):,}")
    return text


def wait_at_most(request: Request, timeout: float | None) -> None:
    """Raises Timeout when the request is not done after `timeout` seconds."""
    if not request.wait(-1 if timeout is None else timeout):
        raise Timeout(f"no result in {timeout} s; the task goes on", task_id=request.id)


_all: weakref.WeakSet[Calls] = weakref.WeakSet()
_parents: list[Requests] = []


def _after_fork() -> None:
    for calls in list(_all):
        calls.forked()


os.register_at_fork(after_in_child=_after_fork)
