"""The connection: a socket, its session and the thread that reads it.

The socket is used under `_lock` by whoever has something to say, so that a result or a call goes
out from the thread that made it, without a switch to another. Only the I/O thread receives. It
sleeps on the socket's descriptor, not on the socket. libzmq signals that descriptor once, and a
send may take the signal; so whoever sends looks for input afterwards and wakes the reader.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from collections import deque
from typing import Any, Protocol

import msgpack
import zmq

from . import wire
from .errors import BrokerError, TuskError, from_error_record
from .session import LONE_ACK_PACKETS, Filled, Packet, Session
from .sockets import connect, readable

ACK_DELAY = 0.05
GREET_AGAIN = 1.0
REOPEN_EVERY = 0.2
ELSEWHERE_AFTER = 5.0  # with no welcome here, when a broker named others
ELSEWHERE_MOST = 16  # of the others that it names
# Who puts things to say one by one need not send each: the I/O thread looks every WATCH_TICK.
WATCH_FOR = 0.02
WATCH_TICK = 0.001
BLOCKED_TICK = 0.02
COMPLAIN_AFTER = 2.0
COMPLAIN_EVERY = 30.0
TURN = 64  # packets that are read before what they caused is sent
NEVER = float("inf")
DEFAULT_URL = "tcp://127.0.0.1:7420"

DOWN, GREETING, READY = "down", "greeting", "ready"
# Errors that answer a hello and will not change.
FATAL = {"malformed", "unsupported", "invalid", "version", "refused", "too_large"}


# Kinds that are the role's affair, and not the link's.
_FOR_ROLES = frozenset(
    {wire.CANCEL, wire.RESULT, wire.ACCEPTED, wire.ANSWER, wire.EVENT, wire.PROGRESS, wire.LOG}
    | {wire.TASK, wire.ITEM, wire.RECALL, wire.DRAIN, wire.CHUNK, wire.CREDIT, wire.RESUME}
    | {wire.UNSUBSCRIBED}
)


class Role(Protocol):
    """What a link asks of the client or worker that uses it. Called with the link's lock held."""

    def hello(self) -> dict[str, Any]: ...
    def fill(self, outbox: deque[Any], limits: dict[str, int]) -> Filled: ...
    def records(self, records: list[list[Any]]) -> None: ...
    def acknowledged(self, items: list[Any]) -> None: ...
    def welcome(self, fields: dict[str, Any], lost: list[Packet] | None) -> None: ...
    def too_large(self, items: list[Any]) -> None: ...
    # The broker could not read this packet. Whether somebody was told who had asked in it.
    def refused_packet(self, packet: int, message: str, details: dict[str, Any]) -> bool: ...
    def failed(self, error: TuskError) -> None: ...
    def tick(self, now: float) -> float: ...


def url_or_default(url: str | None) -> str:
    return url or os.environ.get("TUSK_URL") or DEFAULT_URL


class Link:
    """One DEALER socket and its session. `start` once, `close` once; the rest from any thread."""

    def __init__(self, url: str, role: Role, *, name: str, complain: bool = False) -> None:
        self.url = url
        self.session = Session()
        self.outbox: deque[Any] = deque()
        self.state = DOWN
        self.down_since = time.monotonic()
        self.fields: dict[str, Any] = {}  # of the last welcome
        self.error: TuskError | None = None
        self.watching = False  # whether the I/O thread looks at the outbox by itself
        self._role = role
        self._lock = threading.Lock()
        self._instance = os.urandom(16)
        self._reader = wire.PacketReader()
        self._packer = msgpack.Packer()
        self._urls = [url]
        self._stop = False
        self._ack_at = NEVER
        self._greet_at = NEVER
        self._tick_at = 0.0
        self._opened_at = 0.0
        self._reopen_at = NEVER
        self._watch_until = 0.0
        self._ended = False  # by a bye, so that its number is no longer ours
        self._leaving = False  # the broker goes and has named others
        self._resend: deque[Packet] = deque()
        self._gap_told = 0
        self._complain = complain
        self._complain_at = self.down_since + COMPLAIN_AFTER
        self._woken = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.changed = threading.Condition()  # state, session or acknowledgements moved

    # -- any thread

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Makes the I/O thread look around soon."""
        if not self._woken:
            self._woken = True
            with contextlib.suppress(OSError):  # closed meanwhile
                os.eventfd_write(self._wake_fd, 1)

    def watch(self) -> None:
        """After an append without `flush`: sees to it that it is sent within a millisecond or so.

        For those who have more to say at once and will flush when they are through.
        """
        if not self.watching:
            self.watching = True
            self.wake()

    def flush(self) -> None:
        """Sends what is in the outbox, unless another thread is about to."""
        lock = self._lock
        while self.outbox and self.state is READY and lock.acquire(False):
            try:
                moved = self._send_ready()
                if moved and readable(self._socket):
                    self.wake()
            finally:
                lock.release()
            if not moved:
                return

    def locked(self) -> threading.Lock:
        """The lock that `Role` is called under."""
        return self._lock

    def close(self, linger: float, away: float = 0.0) -> None:
        """Waits up to `linger` seconds for what is unsent or unacknowledged, then says bye.

        away: so many of them without a connection.
        """
        begun = time.monotonic()
        self.flush()
        with self.changed:
            while (self.outbox or self.session.unacked) and self._thread.is_alive():
                end = begun + linger
                if self.state is not READY:
                    end = min(end, max(begun, self.down_since) + away)
                left = end - time.monotonic()
                if left <= 0:
                    break
                self.wake()
                self.changed.wait(min(left, 0.05))
        self._stop = True
        self.wake()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(linger + 1.0)

    # -- under the lock

    def _send(self, frames: list[bytes]) -> bool:
        try:
            if len(frames) == 1:
                self._socket.send(frames[0], zmq.DONTWAIT)
            else:
                self._socket.send_multipart(frames, zmq.DONTWAIT)
        except zmq.ZMQError:
            # No connection. What was numbered is kept; the monitor will tell when to greet.
            return False
        return True

    def _send_ready(self) -> bool:
        """Sends what may be sent; whether anything went out."""
        moved = False
        session = self.session
        while self.state is READY:
            if self._resend:
                packet: Packet | None = self._resend.popleft()
            elif self.outbox and not session.full():
                packet = session.next_packet(self.outbox, self._role.fill)
                if packet is None:
                    continue
            else:
                break
            assert packet is not None
            if not self._send(packet.frames):
                self._lost()
                break
            moved = True
            self._ack_at = NEVER
        return moved

    def _lost(self) -> None:
        if self.state is not DOWN:
            self.state = DOWN
            self.down_since = time.monotonic()
            self._complain_at = self.down_since + COMPLAIN_AFTER
        self._greet_at = NEVER
        self._resend.clear()

    def _greet(self) -> None:
        fields: dict[str, Any] = {
            **self._role.hello(),
            "instance": self._instance,
            "language": "python",
            "acks": True,
        }
        if self.session.number and not self._ended:
            fields["session"] = self.session.number
            fields["ack"] = self.session.received
        if self.state is READY:
            self.down_since = time.monotonic()
        self.state = GREETING
        # libzmq looks for a new pipe only now and then while it sends; this makes it look.
        readable(self._socket)
        hello = self._packer.pack((wire.HELLO, wire.VERSION, fields))
        sent = self._send([hello])
        self._greet_at = time.monotonic() + (GREET_AGAIN if sent else 0.01)

    def _receive(self) -> None:
        """Reads a turn's packets."""
        socket = self._socket
        for _ in range(TURN):
            if not readable(socket):
                return
            try:
                frames = socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._packet(frames)
            self.session.arrived_now = []

    def _packet(self, frames: list[bytes]) -> None:
        try:
            records = self._reader.read(frames)
        except wire.Malformed as error:
            # It has been received all the same, and its number counts.
            header = wire.header_of(frames[0])
            mine = header is not None and header[1] == self.session.number
            if self.state is READY and (header is None or (mine and self._header(header))):
                self._refuse(error)
            return
        first = records[0]
        if first[0] == wire.HEADER:
            if self.state is not READY or first[1] != self.session.number:
                return  # of a session that is over
            if not self._header(first):
                return
            del records[0]
        elif first[0] == wire.WELCOME:
            self._welcome(first[2])
            return
        elif first[0] != wire.ERROR:
            return  # with acks nothing else comes without a header
        rest: list[list[Any]] = []
        for record in records:
            kind = record[0]
            if kind >= wire.CHUNK and kind in _FOR_ROLES:
                rest.append(record)
            else:
                self._own(record)
        if rest:
            self._role.records(rest)

    def _header(self, header: list[Any]) -> bool:
        """Takes note of a header; whether its packet is to be applied."""
        session = self.session
        _, _, seq, ack = header[:4]
        if session.unacked and session.unacked[0].seq <= ack:
            self._role.acknowledged(session.acknowledged(ack))
        if seq == 0:
            return False
        new = session.arrived(seq)
        if new is None:
            if self._gap_told != session.received + 1:
                self._gap_told = session.received + 1
                details = {"expected": self._gap_told}
                self.outbox.append(
                    self._packer.pack((wire.ERROR, 0, "gap", "a packet is missing", details))
                )
            return False
        self._gap_told = 0
        if session.to_ack >= LONE_ACK_PACKETS:
            self._ack_at = 0.0
        elif self._ack_at == NEVER:
            self._ack_at = time.monotonic() + ACK_DELAY
        return new

    def _refuse(self, error: wire.Malformed) -> None:
        details = {} if error.record is None else {"record": error.record}
        self.outbox.append(
            self._packer.pack((wire.ERROR, 0, "malformed", f"from the broker: {error}", details))
        )

    def _own(self, record: list[Any]) -> None:
        """A record that is the link's own affair."""
        kind = record[0]
        if kind == wire.PING:
            self.outbox.append(self._packer.pack((wire.PONG, record[1])))
        elif kind == wire.ERROR:
            self._error(record)
        elif kind == wire.BYE:
            self._bye()
        elif kind == wire.GOAWAY:
            self._goaway(record[2] if len(record) > 2 else [])
        elif kind >= 128 or kind == wire.PONG:
            pass
        else:
            message = f"this SDK does not know kind {kind}"
            self.outbox.append(
                self._packer.pack((wire.ERROR, 0, "unsupported", message, {"kind": kind}))
            )

    def _error(self, record: list[Any]) -> None:
        _, ref, code, message = record[:4]
        details = record[4] if len(record) > 4 else {}
        if ref:
            self._role.records([record])
        elif code == "gap":
            expected = details.get("expected", 0)
            self._resend = deque(p for p in self.session.unacked if p.seq >= expected)
        elif code == "stale_session":
            if self.state is READY:
                self._greet()
        elif self.state is GREETING:
            if code in FATAL:
                self.error = from_error_record(code, message, details, None)
                self._role.failed(self.error)
                self._lost()
            elif code == "duplicate_hello":
                self._instance = os.urandom(16)
                self._reconnect(elsewhere=False)
        elif not (
            code == "malformed"
            and type(details.get("packet")) is int
            and self._role.refused_packet(details["packet"], message, details)
        ):
            print(f"tuskd: the broker at {self.url} says {code}: {message}", file=sys.stderr)

    def _goaway(self, endpoints: list[Any]) -> None:
        """The broker leaves; what runs may still end, so that its bye is waited for."""
        elsewhere = [url for url in endpoints if isinstance(url, str)][:ELSEWHERE_MOST]
        if elsewhere:
            self._leaving = True
            # The URL that it was given comes last: for when none of these answers.
            urls = [self._urls[0], *elsewhere, self.url]
            self._urls = list(dict.fromkeys(urls))

    def _bye(self) -> None:
        """The broker ended the session; begin another, with the next broker if it named others."""
        self._lost()
        for packet in self.session.unacked:
            packet.losses = 0
        self._ended = True
        self._reconnect(elsewhere=self._leaving)

    def _welcome(self, fields: dict[str, Any]) -> None:
        if self.state is READY:
            return  # the answer to a hello that was sent twice
        session = self.session
        limits = fields.get("limits", {})
        session.limits = {
            name: limits[name] if isinstance(limits.get(name), int) else default
            for name, default in wire.LIMITS.items()
        }
        number = fields.get("session")
        if not isinstance(number, int) or number < 1:
            self.error = BrokerError("the broker's welcome has no session", code="malformed")
            self._role.failed(self.error)
            return
        self.fields = fields
        self.error = None
        self._greet_at = NEVER
        self._gap_told = 0
        self._resend.clear()
        ended, self._ended = self._ended, False
        self._leaving = False
        self.state = READY
        if number == session.number and not ended:
            # By its number, not by `resumed`: a hello sent twice is answered as the first was.
            ack = fields.get("ack", 0)
            self._role.acknowledged(session.acknowledged(ack))
            given_up = session.give_up_suspect()
            if given_up:
                self._role.too_large(given_up)
            self._resend.extend(session.unacked)
            self._role.welcome(fields, None)
        else:
            self._role.welcome(fields, session.restart(number))
        with self.changed:
            self.changed.notify_all()

    # -- the I/O thread

    def _open(self) -> None:
        self._socket, self._monitor = connect(self._context, self._urls[0])
        self._opened_at = time.monotonic()
        self._poll = select.poll()
        for fd in (self._wake_fd, self._socket.get(zmq.FD), self._monitor.get(zmq.FD)):
            self._poll.register(int(fd), select.POLLIN)

    def _open_next(self) -> None:
        while True:
            try:
                self._open()
                return
            except zmq.ZMQError:
                if len(self._urls) == 1:
                    raise
                self._urls.pop(0)  # it makes no sense to libzmq; the first one did

    def _shut(self, linger: int) -> None:
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(linger)

    def _reconnect(self, *, elsewhere: bool) -> None:
        """A new connection soon; `elsewhere`: to the next broker, if one has named others."""
        if elsewhere:
            self._urls.append(self._urls.pop(0))
        self._leaving = False
        self._reopen_at = self._opened_at + REOPEN_EVERY
        self._lost()

    def _run(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._open()
        except zmq.ZMQError as error:
            self.error = BrokerError(f"cannot connect to {self._urls[0]}: {error}", code="invalid")
            with self._lock:
                self._role.failed(self.error)
            return
        try:
            while not self._stop:
                self._turn()
            self._part()
        except BaseException as error:
            # A defect. Whoever waits is told, instead of waiting for ever.
            self.error = TuskError(f"the I/O thread of tuskd ended: {error!r}")
            self._role.failed(self.error)
            raise
        finally:
            self.state = DOWN
            self._shut(1000)
            self._context.term()
            fd, self._wake_fd = self._wake_fd, -1
            os.close(fd)

    def _turn(self) -> None:
        self._sleep()
        with self._lock:
            self._monitored()
            self._receive()
            now = time.monotonic()
            self._timers(now)
            self._send_ready()
            self._tick_at = self._role.tick(now)
            if readable(self._socket):
                self.wake()
        self.flush()
        if self.changed.acquire(False):
            self.changed.notify_all()
            self.changed.release()

    def _part(self) -> None:
        with self._lock:
            if self.state is READY:
                self._send_ready()
                self.outbox.append(self._packer.pack((wire.BYE, "closed")))
                self._send_ready()

    def _sleep(self) -> None:
        now = time.monotonic()
        until = min(self._tick_at, self._ack_at, self._greet_at, self._reopen_at, now + 1.0)
        if self.outbox:
            self._watch_until = now + WATCH_FOR
        self.watching = now < self._watch_until
        if self.outbox:  # looked at again behind `watching`, as `watch` does it the other way round
            self.watching = True
        if self.watching:
            blocked = self.state is not READY or self.session.full()
            until = min(until, now + (BLOCKED_TICK if blocked else WATCH_TICK))
        left = until - now
        self._poll.poll(int(left * 1000 + 0.999) if left > 0 else 0)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)
        self._woken = False  # before the turn, so that who comes later wakes us again

    def _monitored(self) -> None:
        monitor = self._monitor
        while readable(monitor):
            event = int.from_bytes(monitor.recv_multipart()[0][:2], sys.byteorder)
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                if self.state is READY:
                    self._lost()
                self._greet()
            elif self._leaving:
                self._bye()
            else:
                self._lost()

    def _timers(self, now: float) -> None:
        if self._ack_at <= now:
            self._ack_at = NEVER
            if self.state is READY and self.session.to_ack and not self.outbox:
                self._send([self.session.lone_header()])
        if self._reopen_at <= now:
            self._reopen_at = NEVER
            self._shut(1000)
            self._open_next()
        if self._greet_at <= now and self.state is GREETING:
            self._greet()
        if self.state is READY:
            return
        if (
            len(self._urls) > 1
            and now - max(self._opened_at, self.down_since) > ELSEWHERE_AFTER
            and self._reopen_at == NEVER
        ):
            self._reconnect(elsewhere=True)
        if self._complain and now >= self._complain_at:
            self._complain_at = now + COMPLAIN_EVERY
            reason = f": {self.error}" if self.error else ""
            print(f"tuskd: no broker at {self._urls[0]}, trying on{reason}", file=sys.stderr)
