"""What a client has asked and has no answer to: the part that both clients share."""

from __future__ import annotations

import atexit
import itertools
import multiprocessing
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from multiprocessing.util import Finalize
from typing import Any

import msgpack

from . import compression, values, wire
from .bodies import read_body
from .errors import (
    BodyError,
    Busy,
    Closed,
    SlowSubscriber,
    Timeout,
    TuskError,
    Unavailable,
    UnknownOutcome,
    from_ending,
    from_error_record,
    too_large,
)
from .feeds import Feeds
from .follow import Callbacks
from .link import NEVER, READY, Link
from .request import Request
from .session import Filled, Packet

DEFAULT_TIMEOUT = 5.0
NAME_BYTES = 255
_NOTHING: dict[int, Any] = {}
_NOT_TOLD: dict[str, Any] = {}
# What a welcome calls that for which such a request has a body.
_TOLD = {wire.SUBMIT: "types", wire.PUSH: "stages", wire.PUBLISH: "topics"}
COMPRESS_FROM = 64  # bytes, where the broker wants bodies compressed
_ENDING_IN_A_RESULT = (wire.SUBMIT, wire.AWAIT)


class Requests:
    """The role of a client on its link. `post` from any thread; the rest as Link says."""

    def __init__(self, url: str, name: str | None, timeout: float | None) -> None:
        self.pid = os.getpid()
        self.url = url
        self._name = name
        self._timeout = timeout
        self.pending: dict[int, Request] = {}
        self.feeds = Feeds(lambda name: self._say(wire.UNSUBSCRIBE, name))
        self.link = Link(url, self, name="tuskd-client")
        self.closed = False
        self._numbers = itertools.count(1)
        self._next_deadline = NEVER
        self._pack = msgpack.Packer(buf_size=4096).pack
        self._encoders = threading.local()
        # Taken twice when the collector ends a stream that was left in the midst of a post.
        self._admit_lock = threading.RLock()
        self._outstanding = 0
        self._pushes = 0
        self._push_queue: deque[Request] = deque()
        self._push_lock = threading.Lock()
        self.after_records: Callable[[], None] | None = None
        # Who gets word of followed tasks, on the I/O thread; else a thread calls the callers back.
        self.hear: Callable[[Request, list[Any]], None] | None = None
        self._callbacks: Callbacks | None = None
        _open.add(self)
        if multiprocessing.parent_process() is not None:
            # Such children end without the functions of atexit.
            Finalize(None, _at_exit, exitpriority=10)
        self.link.start()

    # -- any thread

    def timeout(self, given: float | None) -> float:
        """The time that a caller waits: what it said, the client said, or the broker said."""
        if given is not None:
            return given
        if self._timeout is not None:
            return self._timeout
        ms = self.link.fields.get("timeout")
        return ms / 1000 if isinstance(ms, int) and ms > 0 else DEFAULT_TIMEOUT

    def limit(self, name: str) -> int:
        return self.link.session.limits[name]

    def encode(self, value: Any) -> bytes:
        try:
            encoder: values.Encoder = self._encoders.encoder
        except AttributeError:
            encoder = self._encoders.encoder = values.Encoder()
        return encoder.encode(value)

    def body(
        self,
        value: Any,
        attributes: dict[int, Any],
        kind: int = wire.UPDATE,
        name: str | None = None,
    ) -> bytes:
        """The bytes of a body, compressed when that pays; its attributes are added.

        The broker may have said how bodies for the type, stage or topic of that name are written.
        """
        told = self._writing(kind, name)
        codec = told.get("codec", 0)
        data = self.encode(value) if codec == 0 else self._encode_as(codec, value, name)
        if len(data) > self.limit("body"):
            raise too_large("body", len(data), self.limit("body"))
        if codec != 0:
            attributes[wire.A_CODEC] = codec
        if len(data) >= self._compress_from(told):
            packed = compression.compress(data)
            if packed is not None:
                attributes[wire.A_COMPRESSION] = 1
                return packed
        return data

    def _writing(self, kind: int, name: str | None) -> Mapping[str, Any]:
        """What the welcome says of such bodies."""
        messages = self.link.fields.get("messages")
        if not messages or kind not in _TOLD:
            return _NOT_TOLD
        found: Mapping[str, Any] = messages.get(_TOLD[kind], _NOT_TOLD).get(name, _NOT_TOLD)
        return found

    def _encode_as(self, codec: int, value: Any, name: str | None) -> bytes:
        if codec == 1:
            self.encode(value)  # what no body may be is said in the same words
            return values.encode_json(value)
        if codec != 2:
            raise BodyError(
                f'bodies of "{name}" are of codec {codec}, which this SDK does not know'
            )
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise BodyError(
                f'bodies of "{name}" are plain bytes, such as a message of protobuf: '
                f"expected bytes, found {type(value).__name__}"
            )
        return bytes(value)

    def _compress_from(self, told: Mapping[str, Any]) -> float:
        """The size from which a body is compressed."""
        compress = told.get("compress")
        if compress is not None:
            return COMPRESS_FROM if compress else NEVER
        fields = self.link.fields
        if fields.get("compression") != "lz4":
            return NEVER
        threshold: int = fields.get("compression_threshold", NEVER)
        return threshold

    def request(
        self,
        kind: int,
        id: bytes,
        name: str,
        body: Any,
        attributes: dict[int, Any] | None,
        deadline: float,
    ) -> Request:
        """A request, not yet posted. Raises TooLarge, Busy and what the broker refused us for."""
        if len(name) > 63 and len(name.encode()) > NAME_BYTES:
            raise too_large("name", len(name.encode()), NAME_BYTES)
        request = Request(kind, next(self._numbers), id, name, body, attributes, deadline)
        if type(body) is bytes:
            request.size += len(body)
        if attributes:
            inline = len(msgpack.packb(attributes))
            if inline > self.limit("frame") // 4:
                raise too_large("frame", inline, self.limit("frame") // 4)
            request.size += inline
        return request

    def post(self, request: Request) -> None:
        """Puts it to what is to be said; `link.flush()` sends it. Raises Busy at the bound."""
        self._check_open()
        link = self.link
        bound = self.limit("session_bytes")
        with self._admit_lock:
            if self._outstanding and self._outstanding + request.size > bound:
                raise self._too_much(bound)
            self._outstanding += request.size
            self.pending[request.number] = request
            sooner = request.deadline < self._next_deadline
            if sooner:
                self._next_deadline = request.deadline
        if request.kind == wire.PUSH:
            with self._push_lock:
                if self._pushes >= self.limit("push_window"):
                    request.queued = True
                    self._push_queue.append(request)
                else:
                    self._pushes += 1
                    link.outbox.append(request)
        else:
            link.outbox.append(request)
        if sooner:
            link.wake()

    def post_all(self, requests: list[Request]) -> None:
        """As `post`, for many that are no pushes: all or none, in as few packets as hold them."""
        self._check_open()
        if not requests:
            return
        bound = self.limit("session_bytes")
        size = sum(request.size for request in requests)
        with self._admit_lock:
            if self._outstanding and self._outstanding + size > bound:
                raise self._too_much(bound)
            self._outstanding += size
            self.pending.update((request.number, request) for request in requests)
            soonest = min(request.deadline for request in requests)
            sooner = soonest < self._next_deadline
            if sooner:
                self._next_deadline = soonest
        self.link.outbox.extend(requests)  # in one step, as the I/O thread sees it
        if sooner:
            self.link.wake()

    def _check_open(self) -> None:
        if self.closed:
            raise Closed("the client is closed")
        if self.link.error is not None and self.link.state is not READY:
            raise self.link.error

    def _too_much(self, bound: int) -> Busy:
        return Busy(
            f"{self._outstanding} bytes wait to be acknowledged, the limit is {bound}",
            code="busy",
            details={"limit": "session_bytes", "value": bound},
        )

    def busy(self, size: int) -> bool:
        return self._outstanding + size > self.limit("session_bytes")

    def forget(self, request: Request) -> None:
        """Nobody waits for this one any more; it is not sent if it has not been."""
        if self.pending.pop(request.number, None) is not None:
            self._answered(request)
            request.finish(Closed("given up", task_id=request.id or None))

    def decode(self, request: Request) -> Any:
        """The value of an answer, or its error. Decodes in the caller's thread."""
        if request.error is not None:
            raise request.error
        if request.kind not in _ENDING_IN_A_RESULT:
            return request.value
        return read_body(request.value, request.value_attributes, self.limit("body"))

    def orphaned(self) -> None:
        """In a forked child: the answers to these go to the parent."""
        error = Closed("it was asked before the fork; its answer goes to the parent")
        for request in self.pending.values():
            request.notify = None
            request.finish(error)
        for feed in self.feeds:
            feed.error = error

    def close(self, linger: float) -> None:
        """Says bye after at most `linger` seconds; what has no ending then fails with Closed."""
        if self.closed:
            return
        self.closed = True
        _open.discard(self)
        if self.pid != os.getpid():
            return
        self.link.close(linger)
        unsent = unfinished = 0
        for request in list(self.pending.values()):
            if request.kind in (wire.SUBMIT, wire.PUSH):
                unsent += request.packet == 0
                unfinished += request.packet != 0
            if self.pending.pop(request.number, None) is not None:
                request.finish(Closed("the client was closed", task_id=request.id or None))
        for feed in self.feeds:
            feed.end(Closed("the client was closed"))
        if self._callbacks is not None:
            self._callbacks.stop()
        if self.after_records is not None:
            self.after_records()
        if unsent or unfinished:
            print(
                f"tuskd: {unsent} tasks not sent, {unfinished} without an ending ({self.url})",
                file=sys.stderr,
            )

    # -- under the link's lock

    def hello(self) -> dict[str, Any]:
        return client_hello(self._name)

    def fill(self, outbox: deque[Any], limits: dict[str, int]) -> Filled:
        soft = limits["frame"] // 2  # no single record is over half a frame
        most, most_frames = limits["records"], limits["frames"]
        parts: list[bytes] = []
        bodies: list[bytes] = []
        items: list[Any] = []
        size = 0
        while outbox and len(items) < most and size < soft and len(bodies) < most_frames:
            item = outbox.popleft()
            if type(item) is bytes:
                record = item
            elif item.done or (item.early and not self._write_again(item)):
                self._released(item)
                continue
            else:
                record = self._write(item, bodies)
                size += item.size >> 4  # so that packets of large bodies end too
            parts.append(record)
            items.append(item)
            size += len(record)
        return parts, bodies, items

    def _write(self, request: Request, bodies: list[bytes]) -> bytes:
        request.packet = self.link.session.sent + 1
        kind = request.kind
        if kind in (wire.SUBMIT, wire.PUSH, wire.PUBLISH):
            return self._write_body(request, bodies)
        if kind == wire.UPDATE:
            return self._write_update(request, bodies)
        if kind == wire.AWAIT:
            attributes = self._waiting(request, request.attributes)
            asked = (kind, request.number, request.id)
            packed: bytes = self._pack((*asked, attributes) if attributes else asked)
        elif kind == wire.CANCEL:
            packed = self._pack((kind, request.number, request.id))
        else:
            head = (kind, request.number, request.name)
            further = request.attributes if kind == wire.SUBSCRIBE else request.body
            packed = self._pack(head if further is None else (*head, further))
        return packed

    def _write_again(self, request: Request) -> bool:
        """Its body as the broker wants it, now that it has said so; False if it cannot be."""
        request.early = False
        attributes = {**(request.attributes or _NOTHING)}
        written = wire.A_CODEC in attributes or wire.A_COMPRESSION in attributes
        if written or not self._writing(request.kind, request.name):
            return True
        try:
            value = values.decode(request.body)
            body = self.body(value, attributes, request.kind, request.name)
        except TuskError as error:
            if self.pending.pop(request.number, None) is not None:
                self._answered(request)
                request.finish(error)
            return False
        with self._admit_lock:
            more = len(body) - len(request.body)
            request.size += more
            self._outstanding += more
        request.body, request.attributes = body, attributes
        return True

    def _write_body(self, request: Request, bodies: list[bytes]) -> bytes:
        kind, attributes = request.kind, request.attributes
        if request.wanted is not None:
            attributes = {**(attributes or _NOTHING), **request.wanted.left()}
        if kind != wire.PUBLISH and request.resent:
            attributes = {**(attributes or _NOTHING), wire.A_RESENT: True}
        if kind == wire.SUBMIT and not (attributes and attributes.get(wire.A_REPLY) == 1):
            attributes = self._waiting(request, attributes)
        body = self._placed(request.body, bodies)
        head: tuple[Any, ...]
        if kind == wire.PUBLISH:
            head = (kind, request.number, request.name, body)
        else:
            head = (kind, request.number, request.id, request.name, body)
        packed: bytes = self._pack((*head, attributes) if attributes else head)
        return packed

    def _write_update(self, request: Request, bodies: list[bytes]) -> bytes:
        attributes = {**(request.attributes or _NOTHING)}
        if request.wanted is not None:
            attributes |= request.wanted.left()
        head = (request.kind, request.number, request.id)
        packed: bytes
        if request.body is not None:
            packed = self._pack((*head, attributes, self._placed(request.body, bodies)))
        else:
            packed = self._pack((*head, attributes) if attributes else head)
        return packed

    def _waiting(
        self, request: Request, attributes: dict[int, Any] | None
    ) -> dict[int, Any] | None:
        """The attributes, and how long the caller waits for the ending."""
        if request.deadline == NEVER or request.until_sent:
            return attributes
        left = max(1, int((request.deadline - time.monotonic()) * 1000))
        return {**(attributes or _NOTHING), wire.A_WAIT: left}

    def _placed(self, body: bytes | None, bodies: list[bytes]) -> bytes | int | None:
        """The body as its record has it: itself, or the number of a frame of its own."""
        if body is None or len(body) < self.inline():
            return body
        bodies.append(body)
        return len(bodies)

    def inline(self) -> int:
        return min(wire.FRAME_BODY, self.limit("frame") // 4)

    def records(self, records: list[list[Any]]) -> None:
        pop = self.pending.pop
        for record in records:
            kind = record[0]
            if kind != wire.RESULT and self._is_no_answer(record):
                continue
            request = pop(record[1], None)
            if request is None:
                continue  # given up meanwhile
            if kind == wire.RESULT:
                if record[2] == wire.SUCCEEDED:
                    request.value = record[3]
                    request.value_attributes = record[4]
                    self._answered(request)
                    ending = None
                else:
                    self._answered(request)
                    ending = from_ending(record[2], record[4] or _NOTHING, request.id)
                if request.wanted is None:
                    request.finish(ending)
                else:
                    self._told_all(request, ending)
            elif kind == wire.ACCEPTED:
                if request.on_accepted is not None:
                    self.pending[request.number] = request
                    request.on_accepted(True)
                    continue
                self._answered(request)
                request.finish(None)
            elif kind == wire.ANSWER:
                request.value = record[2]
                self._answered(request)
                request.finish(None)
            elif kind == wire.ERROR:
                details = record[4] if len(record) > 4 else None
                self._answered(request)
                error = from_error_record(record[2], record[3], details, request.id or None)
                if request.kind == wire.SUBSCRIBE:
                    self.feeds.end(request.name, error)
                request.finish(error)
            else:
                self.pending[request.number] = request  # a worker's record: not for us
        if self.after_records is not None:
            self.after_records()

    def _is_no_answer(self, record: list[Any]) -> bool:
        """Deals with what leaves its request as it is."""
        kind = record[0]
        if kind == wire.EVENT:
            self.feeds.event(record)
        elif kind == wire.UNSUBSCRIBED:
            # Who subscribes at this moment has not been heard yet, and so is not meant.
            asking = [r.feed for r in list(self.pending.values()) if r.feed is not None]
            self.feeds.end(record[1], SlowSubscriber(record[2]), tuple(asking))
        elif kind == wire.CHUNK:
            asked = self.pending.get(record[1])
            if asked is not None and asked.chunks is not None:
                asked.chunks.chunk(record)
        elif kind in (wire.PROGRESS, wire.LOG):
            followed = self.pending.get(record[1])
            if followed is not None and followed.wanted is not None:
                self._told(followed, record)
        else:
            # No ending: it is said again in the next session.
            return bool(kind == wire.ERROR and record[2] == "shutting_down")
        return True

    def _told(self, request: Request, record: list[Any]) -> None:
        """Word of a task that goes on."""
        if self.hear is not None:
            self.hear(request, record)
            return
        if self._callbacks is None:
            self._callbacks = Callbacks(lambda: self.limit("body"))
        self._callbacks.put(request, record)

    def _told_all(self, request: Request, error: TuskError | None) -> None:
        """The ending of a task that somebody follows; it comes behind all word of it."""
        if self._callbacks is None:
            request.finish(error)
        else:
            self._callbacks.end(request, error)

    def refused_packet(self, packet: int, message: str, details: dict[str, Any]) -> bool:
        asked = [number for number, r in list(self.pending.items()) if r.packet == packet]
        self.records([[wire.ERROR, number, "malformed", message, details] for number in asked])
        return bool(asked)

    def _answered(self, request: Request) -> None:
        if request.kind != wire.PUSH:
            return
        with self._push_lock:
            if request.queued:
                self._push_queue.remove(request)
                request.queued = False
                self._released(request)
            elif self._push_queue:
                after = self._push_queue.popleft()
                after.queued = False
                self.link.outbox.append(after)
            else:
                self._pushes -= 1

    def _released(self, request: Request) -> None:
        with self._admit_lock:
            self._outstanding -= request.size

    def acknowledged(self, items: list[Any]) -> None:
        size = 0
        for item in items:
            if type(item) is Request:
                size += item.size
        with self._admit_lock:
            self._outstanding -= size

    def welcome(self, fields: dict[str, Any], lost: list[Packet] | None) -> None:
        if lost is None:
            return
        for packet in lost:
            self.acknowledged(packet.items)
        outbox = self.link.outbox
        # What was said in the old session and has no answer is said again, in its order.
        again = [r for r in list(self.pending.values()) if r.packet]
        kept = [item for item in outbox if type(item) is Request]
        for item in list(outbox):
            if type(item) is bytes:
                outbox.remove(item)  # answers that belonged to the old session
        limit = self.limit("body")
        subscribing = {r.name for r in kept if r.kind == wire.SUBSCRIBE}
        for request in again:
            request.packet = 0
            if request.kind == wire.PUBLISH:
                self.pending.pop(request.number, None)
                request.finish(
                    UnknownOutcome(
                        "the broker went away; the event may be out", code="unknown_outcome"
                    )
                )
            elif request.kind == wire.UNSUBSCRIBE:
                self.pending.pop(request.number, None)
                request.finish(None)
            elif type(request.body) is bytes and len(request.body) > limit:
                self.pending.pop(request.number, None)
                self._answered(request)
                request.finish(too_large("body", len(request.body), limit, request.id))
            else:
                request.resent = True
                if request.on_accepted is not None:
                    request.on_accepted(False)
                if request.chunks is not None:
                    request.chunks.again()
                with self._admit_lock:
                    self._outstanding += request.size
                outbox.append(request)
                if request.kind == wire.SUBSCRIBE:
                    subscribing.add(request.name)
        for feed in self.feeds:
            feed.restarted()
        for name in self.feeds.names():
            if name not in subscribing:
                self._say(wire.SUBSCRIBE, name, self.feeds.attributes(name))

    def _say(self, kind: int, name: str, attributes: dict[int, Any] | None = None) -> None:
        """A request of our own, whose answer nobody waits for."""
        request = Request(kind, next(self._numbers), b"", name, None, attributes, NEVER)
        with self._admit_lock:
            self._outstanding += request.size
        self.pending[request.number] = request
        self.link.outbox.append(request)

    def too_large(self, items: list[Any]) -> None:
        self.acknowledged(items)
        for request in items:
            if type(request) is Request and self.pending.pop(request.number, None) is not None:
                self._answered(request)
                request.finish(too_large("body", request.size, self.limit("body"), request.id))

    def failed(self, error: TuskError) -> None:
        for request in list(self.pending.values()):
            self.pending.pop(request.number, None)
            self._answered(request)
            request.finish(error)
        if self.after_records is not None:
            self.after_records()

    def tick(self, now: float) -> float:
        if now < self._next_deadline:
            return self._next_deadline
        with self._admit_lock:
            self._next_deadline = NEVER
            requests = list(self.pending.values())
        soonest = NEVER
        ready = self.link.state is READY
        for request in requests:
            if request.until_sent and request.deadline <= now and (request.packet or ready):
                # Sent, or kept back by a window: the time for finding a broker is over.
                request.deadline = NEVER if request.packet else now + 1.0
            if request.deadline > now:
                soonest = min(soonest, request.deadline)
            elif self.pending.pop(request.number, None) is not None:
                self._answered(request)
                request.finish(self._too_late(request))
        if self.after_records is not None:
            self.after_records()
        with self._admit_lock:
            self._next_deadline = min(self._next_deadline, soonest)
            return self._next_deadline

    def _too_late(self, request: Request) -> TuskError:
        id = request.id or None
        what = {wire.SUBMIT: "the task", wire.PUSH: "the item"}.get(request.kind, "the request")
        if self.link.state is not READY:
            may = "may have run" if what != "the request" else "has no answer"
            how = f"was sent and {may}" if request.packet else "was not sent"
            return Unavailable(f"no broker at {self.url}; {what} {how}", url=self.url, task_id=id)
        if not request.packet:
            return Timeout(f"{what} could not be sent in time", task_id=id)
        goes_on = "the task" if request.kind == wire.AWAIT else what
        return Timeout(f"no answer in time; {goes_on} goes on", task_id=id)


def client_hello(name: str | None) -> dict[str, Any]:
    from .process import identity
    from .version import SDK

    fields = {"role": "client", "sdk": SDK, **identity()}
    if name:
        fields["name"] = name
    return fields


_open: weakref.WeakSet[Requests] = weakref.WeakSet()


def _at_exit() -> None:
    for requests in list(_open):
        requests.close(1.0)


def _after_fork() -> None:
    # What was open belongs to the parent; the child's clients open their own when first used.
    _open.clear()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
