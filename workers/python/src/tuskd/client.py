"""The plain client: every call blocks its own thread and nobody else's."""

from __future__ import annotations

import inspect
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from queue import SimpleQueue
from typing import Any, Unpack

from .calls import KEEP, NO_BODY, Calls, Id, wait_at_most
from .errors import Busy, TuskError, id_that_counts
from .feeds import Slow
from .finding import Finds
from .ids import KnownId, known_id
from .request import Request
from .requests import Requests
from .status import TaskStatus, Updated, read_done, read_status, read_updated
from .streams import Chunks, Stream, read_window
from .subscription import Subscription
from .terms import FollowedTerms, Priority, Terms, Wanted, refuse_callbacks, wanted

_BURST = 128  # requests that a loop posts before it has them sent


class Task:
    """A task that was submitted. `id` is its 16 bytes; see `joined_id` if it has a unique key."""

    def __init__(self, client: Client, request: Request, requests: Requests) -> None:
        self._client = client
        self._request = request
        self._requests = requests
        self.id = request.id
        self.type = request.name

    def __repr__(self) -> str:
        return f"<Task {self.type} {self.id.hex()} {'done' if self.done() else 'waiting'}>"

    def done(self) -> bool:
        """Whether `result` would answer at once."""
        return self._request.done

    @property
    def joined_id(self) -> bytes:
        """The id that counts, once it is `done`: of the task that it joined by its unique key.

        It is `id` before, and for a task that joined none.
        """
        return joined_id(self._request)

    def result(self, timeout: float | None = None) -> Any:
        """What the handler returned; waits as long as it takes, or `timeout` seconds.

        Raises TaskFailed, TaskDead, TaskCancelled or TaskExpired for the endings that are no
        success, Timeout when the time passes (it may be asked again), Unavailable when no broker
        was found to take the task.
        """
        wait_at_most(self._request, timeout)
        return self._requests.decode(self._request)

    def cancel(self, timeout: float | None = None) -> str:
        """Asks the broker to cancel it; the state it answers ("cancelled", "cancelling", ...)."""
        return self._client.cancel(self.id, timeout=timeout)


class Client(Finds):
    """Calls tasks, publishes, subscribes and pushes. Any thread; works on both sides of a fork.

    url: of the broker; default the environment's TUSK_URL, else tcp://127.0.0.1:7420.
    timeout: seconds that a call waits; default what the broker says, 5 before it has.
    Nothing is opened before the first call.
    """

    def __init__(
        self, url: str | None = None, *, timeout: float | None = None, name: str | None = None
    ) -> None:
        self._calls = Calls(url, timeout, name)
        self.url = self._calls.url

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, linger: float = 1.0) -> None:
        """Sends what is unsent, for at most `linger` seconds, and ends the session.

        Says on stderr how many tasks were not sent or have no ending.
        """
        self._calls.close(linger)

    def call(
        self,
        type: str,
        body: Any = None,
        *,
        timeout: float | None = None,
        id: Id = None,
        resent: bool = False,
        rerun_ok: bool = False,
        trace: str | None = None,
        baggage: str | None = None,
        **terms: Unpack[FollowedTerms],
    ) -> Any:
        """Runs a task and returns what its handler returned.

        timeout: in seconds. id: 16 bytes or a UUID when it must not run twice however often it is
        called; `resent` when this id may have been sent before. rerun_ok: a second run does no
        harm. terms: priority, delay, deadline, attempts, on_progress, ...: see FollowedTerms; the
        callbacks come from a thread of the client and must not wait for another followed task.
        Raises Timeout (the task goes on), Unavailable, TaskFailed, TaskDead, TaskCancelled,
        TaskExpired, BodyError, TooLarge, Busy, Unserved and the other BrokerErrors.
        """
        request = self._calls.submit(
            type,
            body,
            timeout=timeout,
            id=id,
            resent=resent,
            rerun_ok=rerun_ok,
            trace=trace,
            baggage=baggage,
            wanted=_plain(terms),
        )
        return self._answer(request)

    def submit(
        self,
        type: str,
        body: Any = None,
        *,
        id: Id = None,
        resent: bool = False,
        rerun_ok: bool = False,
        trace: str | None = None,
        baggage: str | None = None,
        **terms: Unpack[FollowedTerms],
    ) -> Task:
        """Submits a task and returns at once. `Task.result()` waits for it; options as of `call`.

        It has no time limit, once a broker took it; with no broker it fails with Unavailable.
        """
        request = self._calls.submit(
            type,
            body,
            until_sent=True,
            id=id,
            resent=resent,
            rerun_ok=rerun_ok,
            trace=trace,
            baggage=baggage,
            wanted=_plain(terms),
        )
        requests = self._calls.requests()
        requests.link.flush()
        return Task(self, request, requests)

    def stream(
        self,
        type: str,
        body: Any = None,
        *,
        window: int = 16,
        id: Id = None,
        resent: bool = False,
        rerun_ok: bool = False,
        trace: str | None = None,
        baggage: str | None = None,
        **terms: Unpack[FollowedTerms],
    ) -> Stream:
        """Submits a task and returns what its handler sends, chunk by chunk, to iterate over.

        window: how many chunks may be on their way, 1 to 1,024: the handler waits for a program
        that is slow. The other options are those of `call`; there is no time limit, once a broker
        took it. Its error comes behind the chunks.
        """
        there = threading.Event()
        chunks = Chunks(read_window(window), there.set)
        request = self._calls.submit(
            type,
            body,
            until_sent=True,
            id=id,
            resent=resent,
            rerun_ok=rerun_ok,
            trace=trace,
            baggage=baggage,
            wanted=_plain(terms),
            chunks=chunks,
            window=window,
            notify=chunks.ended,
        )
        requests = self._calls.requests()
        requests.link.flush()
        return Stream(self._calls, requests, request, there)

    def send(
        self,
        type: str,
        body: Any = None,
        *,
        timeout: float | None = None,
        id: Id = None,
        resent: bool = False,
        rerun_ok: bool = False,
        trace: str | None = None,
        baggage: str | None = None,
        **terms: Unpack[Terms],
    ) -> bytes:
        """Submits a task whose result nobody wants; waits until it is accepted. Returns its id."""
        refuse_callbacks("send", terms)
        request = self._calls.submit(
            type,
            body,
            timeout=timeout,
            id=id,
            accepted=True,
            resent=resent,
            rerun_ok=rerun_ok,
            trace=trace,
            baggage=baggage,
            wanted=wanted(terms),
        )
        self._answer(request)
        return request.id

    def map(
        self,
        type: str,
        bodies: Iterable[Any],
        *,
        in_flight: int = 1000,
        ordered: bool = True,
        return_errors: bool = False,
        rerun_ok: bool = False,
        **terms: Unpack[Terms],
    ) -> Iterator[Any]:
        """Runs one task per body, at most `in_flight` at once, and yields their results.

        ordered: in the order of `bodies`, else as they end. return_errors: a task that did not
        succeed yields its exception instead of raising it. terms: of each task, see Terms.
        """
        refuse_callbacks("map", terms)
        return self._map(type, bodies, in_flight, ordered, return_errors, rerun_ok, wanted(terms))

    def _map(
        self,
        type: str,
        bodies: Iterable[Any],
        in_flight: int,
        ordered: bool,
        return_errors: bool,
        rerun_ok: bool,
        each: Wanted | None,
    ) -> Iterator[Any]:
        requests = self._calls.requests()
        source = iter(bodies)
        window: deque[Request] = deque()
        ended: SimpleQueue[Request] = SimpleQueue()
        flying = 0
        refill_below = in_flight - min(_BURST, in_flight // 4 or 1) + 1
        more = True
        try:
            while more or flying:
                if more and flying < refill_below:
                    posted = 0
                    while flying < in_flight:
                        try:
                            body = next(source)
                        except StopIteration:
                            more = False
                            break
                        notify = None if ordered else ended.put
                        request = self._post_when_free(type, body, rerun_ok, each, notify)
                        flying += 1
                        if ordered:
                            window.append(request)
                        posted += 1
                        requests.link.watch()
                        if posted % _BURST == 0:
                            requests.link.flush()
                    requests.link.flush()
                    if not flying:
                        return
                if ordered:
                    request = window.popleft()
                    request.wait()
                else:
                    request = ended.get()
                flying -= 1
                try:
                    result = requests.decode(request)
                except TuskError as error:
                    if not return_errors:
                        raise
                    result = error
                yield result
        finally:
            for request in window:
                requests.forget(request)

    def _post_when_free(
        self,
        type: str,
        body: Any,
        rerun_ok: bool,
        each: Wanted | None,
        notify: Callable[[Request], None] | None,
    ) -> Request:
        requests = self._calls.requests()
        while True:
            try:
                return self._calls.submit(
                    type,
                    body,
                    until_sent=True,
                    rerun_ok=rerun_ok,
                    wanted=None if each is None else each.renewed(),
                    notify=notify,
                )
            except Busy:
                requests.link.flush()
                with requests.link.changed:
                    requests.link.changed.wait(0.05)

    def await_task(
        self,
        id: KnownId,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Any, int], object] | None = None,
        on_log: Callable[[str, str, int], object] | None = None,
    ) -> Any:
        """What the handler of a task returned that anybody submitted; waits until it has ended.

        timeout: in seconds, as of `call`. on_progress, on_log: see FollowedTerms. Raises
        UnknownTask, AlreadyEnded when the ending was not kept (see `retention`), and what `call`
        raises.
        """
        follow = FollowedTerms(on_progress=on_progress, on_log=on_log)
        return self._answer(self._calls.await_task(id, timeout, _followed(follow)))

    def await_all(self, ids: Iterable[KnownId], *, timeout: float | None = None) -> list[Any]:
        """As await_task for many at once: for each id, in their order, the result or the error.

        They are asked for together. timeout: in seconds, for all of them.
        """
        requests = self._calls.requests()
        each = self._calls.await_all(ids, timeout)
        requests.link.flush()
        try:
            for request in each:
                request.wait()
        except BaseException:
            for request in each:
                requests.forget(request)
            raise
        return [_outcome(requests, request) for request in each]

    def update(
        self,
        id: KnownId,
        *,
        priority: Priority | None = None,
        delay: float | None = None,
        not_before: datetime | None = None,
        body: Any = KEEP,
        timeout: float | None = None,
    ) -> Updated:
        """Changes a task that waits or is delayed: what is given, and nothing else.

        delay: seconds from now; 0: it may run at once. body: None is one, null. A task whose
        priority changes stands behind those of its new priority. It is no error when the task runs
        or has ended; then `updated` is False. Raises UnknownTask.
        """
        change = Terms(priority=priority, delay=delay, not_before=not_before)
        return read_updated(self._answer(self._calls.update(id, change, body, timeout)))

    def task(self, id: KnownId, *, timeout: float | None = None) -> TaskStatus:
        """What the broker knows of a task. It is no error if that is nothing: state "unknown"."""
        return read_status(self.query("task", {"id": known_id(id)}, timeout=timeout))

    def cancel(self, id: KnownId, *, timeout: float | None = None) -> str:
        """Cancels a task by its id; its state now. Raises UnknownTask."""
        answer = self._answer(self._calls.cancel(id, timeout))
        return str(answer["state"]) if isinstance(answer, dict) else str(answer)

    def query(
        self, what: str, arguments: dict[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """Asks the broker: status, workers, types, stages, topics, or task with {"id": bytes}."""
        return self._answer(self._calls.query(what, arguments, timeout))

    def pause_type(self, type: str, duration: float, *, timeout: float | None = None) -> bool:
        """No task of a type starts for so many seconds, on any worker; what runs goes on.

        duration: at most 100 years; 0 ends the pause. False: there was nothing to do. Raises
        Invalid for a type that the broker does not know.
        """
        return read_done(self._answer(self._calls.pause_type(type, duration, timeout)))

    def unblock(self, type: str, key: str, *, timeout: float | None = None) -> bool:
        """Lets the next task of an order key begin that a dead or failed one blocks (a type with
        order_on_dead: block). False: nothing was blocked."""
        return read_done(self._answer(self._calls.unblock(type, key, timeout)))

    def publish(
        self,
        topic: str,
        body: Any = None,
        *,
        timeout: float | None = None,
        trace: str | None = None,
    ) -> None:
        """Publishes an event; returns when the broker has it. Raises UnknownTopic, Busy beyond the
        topic's rate, Full."""
        self._answer(self._calls.publish(topic, body, timeout=timeout, trace=trace))

    def clear(self, topic: str, *, timeout: float | None = None, trace: str | None = None) -> None:
        """Makes a topic forget the last event that it kept. Who subscribed gets an event without a
        body. As `publish` else."""
        self._answer(self._calls.publish(topic, NO_BODY, timeout=timeout, trace=trace))

    def subscribe(
        self,
        topic: str,
        *,
        buffer: int = 10_000,
        slow: Slow = "drop_oldest",
        timeout: float | None = None,
    ) -> Subscription:
        """Subscribes to a topic, or to all that a pattern matches: `prices.*` is prices.eu,
        `prices.>` also prices.eu.paris. From when it returns, every event comes or is counted
        missed. A topic that keeps its last event gives that first, with `retained`.

        buffer: events that it holds for a program that does not read them. slow: what happens
        when there are more, here or at the broker: "drop_oldest" drops the oldest and counts
        them in `missed`, "disconnect" ends the subscription; reading it then raises
        SlowSubscriber. Raises UnknownTopic when no topic matches, Invalid for a pattern that is
        none, Busy with too many subscriptions.
        """
        requests = self._calls.requests()
        subscription = Subscription(topic, buffer, slow, lambda: requests.limit("body"))
        subscription.on_close(lambda: self._calls.unsubscribe(subscription.feed))
        try:
            self._answer(self._calls.subscribe(subscription.feed, timeout))
        except BaseException:
            self._calls.unsubscribe(subscription.feed)
            raise
        return subscription

    def push(
        self,
        stage: str,
        body: Any = None,
        *,
        timeout: float | None = None,
        id: Id = None,
        resent: bool = False,
        rerun_ok: bool = False,
    ) -> None:
        """Pushes an item into a stage; returns when there was room for it: back-pressure."""
        request = self._calls.push(
            stage, body, timeout=timeout, id=id, resent=resent, rerun_ok=rerun_ok
        )
        self._answer(request)

    def push_many(self, stage: str, bodies: Iterable[Any], *, rerun_ok: bool = False) -> int:
        """Pushes items, as many at once as the broker allows; how many were accepted."""
        requests = self._calls.requests()
        window: deque[Request] = deque()
        accepted = 0
        try:
            for body in bodies:
                window.append(self._calls.push(stage, body, rerun_ok=rerun_ok))
                requests.link.watch()
                most = requests.limit("push_window")
                if len(window) % _BURST == 0 or len(window) >= most:
                    requests.link.flush()
                while len(window) >= most or (window and window[0].done):
                    self._answer(window.popleft())
                    accepted += 1
            requests.link.flush()
            while window:
                self._answer(window.popleft())
                accepted += 1
        finally:
            for request in window:
                requests.forget(request)
        return accepted

    def _control(self, what: str, arguments: dict[str, Any], timeout: float | None) -> Any:
        return self._answer(self._calls.control(what, arguments, timeout))

    def _answer(self, request: Request) -> Any:
        requests = self._calls.requests()
        requests.link.flush()
        try:
            request.wait()
        except BaseException:
            requests.forget(request)
            raise
        return requests.decode(request)


def joined_id(request: Request) -> bytes:
    """Of a submit: the id of the task whose ending it got, or its own."""
    if request.error is not None:
        return request.error.task_id or request.id
    return id_that_counts(request.value_attributes, request.id)


def _outcome(requests: Requests, request: Request) -> Any:
    try:
        return requests.decode(request)
    except TuskError as error:
        return error


def _plain(terms: FollowedTerms) -> Wanted | None:
    """The terms of a call from a thread that has no loop for callbacks that are coroutines."""
    if not terms:
        return None
    for name in ("on_progress", "on_log"):
        if inspect.iscoroutinefunction(terms.get(name)):
            raise TypeError(f"{name} is a coroutine function; only AsyncClient can await it")
    return wanted(terms)


def _followed(follow: FollowedTerms) -> Wanted | None:
    """As _plain, for what has no other terms."""
    found = _plain(follow)
    return found if found is not None and found.follows else None
