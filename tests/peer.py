"""A peer of tuskd written from proto/SPEC.md alone, for tests: it can also misbehave.

It shares no code with the Python SDK, on purpose.
"""

import os
import time
from types import TracebackType
from typing import Any

import msgpack
import zmq

HEADER, HELLO, WELCOME, PING, PONG, ERROR, BYE, GOAWAY = range(8)
SUBMIT, CANCEL, QUERY = 16, 17, 18
PUBLISH, SUBSCRIBE, UNSUBSCRIBE, PUSH = 20, 21, 22, 24
RESULT, RETURNED, SLOTS = 32, 33, 40
ACCEPTED, ANSWER, EVENT, UNSUBSCRIBED = 48, 49, 50, 51
TASK, ITEM, RECALL, DRAIN = 64, 65, 66, 68
SUCCEEDED, FAILED, EXPIRED, CANCELLED, DEAD = range(1, 6)

REPLY, RESENT, CODEC, COMPRESSION = 15, 17, 27, 29
RERUN_OK, WAIT, NO_RETRY, CRASHED = 53, 55, 57, 59

PATIENCE_MS = 30_000


def task_id() -> bytes:
    """A UUIDv7."""
    now = int(time.time() * 1000).to_bytes(6, "big")
    tail = bytearray(os.urandom(10))
    tail[0] = tail[0] & 0x0F | 0x70
    tail[2] = tail[2] & 0x3F | 0x80
    return now + bytes(tail)


def pack(value: Any) -> bytes:
    return msgpack.packb(value)  # type: ignore[no-any-return]


def unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, strict_map_key=False)


def records_of(frame: bytes) -> list[Any]:
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=0)
    unpacker.feed(frame)
    return list(unpacker)


class Peer:
    """A DEALER with a session. With `acks` (the default) it keeps the books of SPEC's headers."""

    def __init__(self, url: str, **hello: Any) -> None:
        self.url = url
        self.hello: dict[str, Any] = {
            "role": "client",
            "instance": os.urandom(16),
            "language": "python",
            "acks": True,
        } | hello
        self.acks = bool(self.hello["acks"])
        self.session = self.sent = self.received = 0
        self.welcome: dict[str, Any] = {}
        self.packets: list[tuple[int, list[bytes]]] = []  # not acknowledged
        self.inbox: list[tuple[list[Any], list[bytes]]] = []
        self.requests = 0
        self.connect()

    def connect(self) -> None:
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
        self.socket.connect(self.url)

    def greet(self) -> dict[str, Any]:
        """Says hello; returns the fields of welcome. An error is raised as AssertionError."""
        self.send_raw([pack([HELLO, 1, self.hello])])
        record, _ = self.receive(WELCOME)
        self.welcome = record[2]
        if not self.welcome["resumed"]:
            self.sent = self.received = 0
            self.packets.clear()
        self.session = self.welcome["session"]
        return self.welcome

    def reconnect(self) -> dict[str, Any]:
        """A new connection for the same session."""
        self.socket.close()
        self.connect()
        self.hello |= {"session": self.session, "ack": self.received}
        self.greet()
        if self.welcome["resumed"]:
            for seq, frames in self.packets:
                if seq > self.welcome["ack"]:
                    self.send_raw(frames)
        return self.welcome

    def send_raw(self, frames: list[bytes]) -> None:
        self.socket.send_multipart(frames)

    def send(self, *records: list[Any], bodies: list[bytes] | None = None) -> None:
        """One packet."""
        head = b""
        if self.acks:
            self.sent += 1
            head = pack([HEADER, self.session, self.sent, self.received])
        frames = [head + b"".join(pack(record) for record in records), *(bodies or [])]
        if self.acks:
            self.packets.append((self.sent, frames))
        self.send_raw(frames)

    def acknowledge(self) -> None:
        self.send_raw([pack([HEADER, self.session, 0, self.received])])

    def poll(self, timeout_ms: int) -> bool:
        """Reads what comes within the time; whether there is anything unread."""
        if not self.inbox and self.socket.poll(timeout_ms):
            self._read()
        return bool(self.inbox)

    def _read(self) -> None:
        frames = self.socket.recv_multipart()
        for record in records_of(frames[0]):
            if record[0] == HEADER:
                _, session, seq, ack = record[:4]
                assert session == self.session, "a packet of another session"
                self.packets = [p for p in self.packets if p[0] > ack]
                if seq and seq <= self.received:
                    return  # arrived already
                assert seq in (0, self.received + 1), f"packet {seq} behind {self.received}"
                self.received = max(self.received, seq)
            else:
                self.inbox.append((record, frames[1:]))

    def receive(self, *kinds: int) -> tuple[list[Any], list[bytes]]:
        """The next record (of one of these kinds; an error otherwise fails the test)."""
        while True:
            while not self.inbox:
                self._read()
            record, bodies = self.inbox.pop(0)
            if not kinds or record[0] in kinds:
                return record, bodies
            if record[0] == ERROR and ERROR not in kinds:
                raise AssertionError(f"{record[2]}: {record[3]}")

    def request(self) -> int:
        self.requests += 1
        return self.requests

    def submit(
        self, type: str, body: Any = None, id: bytes | None = None, attributes: Any = None
    ) -> tuple[int, bytes]:
        """Submits a task; returns its request number and id."""
        number, id = self.request(), id or task_id()
        self.send([SUBMIT, number, id, type, pack(body), *([attributes] if attributes else [])])
        return number, id

    def result(self, number: int) -> list[Any]:
        """The ending of this request; other records are left for later."""
        while True:
            for i, (record, _) in enumerate(self.inbox):
                if record[0] in (RESULT, ERROR) and record[1] == number:
                    del self.inbox[i]
                    return record
            self._read()

    def task(self) -> list[Any]:
        return self.receive(TASK, ITEM)[0]

    def answer(self, task: list[Any], value: Any = None, state: int = SUCCEEDED) -> None:
        self.send([RESULT, task[1], state, pack(value)])

    def close(self) -> None:
        self.socket.close()


class ReqPeer:
    """A plain REQ socket: one record there, one back."""

    def __init__(self, url: str) -> None:
        self.socket = zmq.Context.instance().socket(zmq.REQ)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
        self.socket.connect(url)

    def ask(self, record: list[Any], bodies: list[bytes] | None = None) -> list[Any]:
        self.socket.send_multipart([pack(record), *(bodies or [])])
        frames = self.socket.recv_multipart()
        records = records_of(frames[0])
        assert len(records) == 1
        return records[0]  # type: ignore[no-any-return]

    def query(self, what: str, arguments: dict[str, Any] | None = None) -> Any:
        record = self.ask([QUERY, 1, what, *([arguments] if arguments else [])])
        assert record[0] == ANSWER, record
        return record[2]

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "ReqPeer":
        return self

    def __exit__(
        self,
        type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
