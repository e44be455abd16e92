"""A scripted broker: a real ROUTER socket that says what the test tells it to.

Every packet that it receives passes the strict reader, and the headers are checked.
"""

from __future__ import annotations

import itertools
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgpack
import zmq
from strict import read

WAIT = 10.0
NUMBERS = itertools.count(1000)


class FakeBroker:
    """One peer at a time. `expect` reads until a record of the kind comes."""

    def __init__(self, url: str, **welcome: Any) -> None:
        self.url = url
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(url)
        self.fields = welcome
        self.peer = b""
        self.session = 0
        self.sent = 0
        self.received = 0
        self.acked = 0  # of ours, by the peer
        self.hellos: list[dict[str, Any]] = []
        self.records: deque[list[Any]] = deque()
        self.hold: int | None = None  # acknowledge up to here only
        self.drop_next = False
        self.headers: list[list[int]] = []

    def close(self) -> None:
        self.socket.close(0)
        self.context.term()

    # -- reading

    def packet(self, wait: float = WAIT) -> list[list[Any]]:
        """The next packet's records without its header. Raises TimeoutError."""
        if not self.socket.poll(int(wait * 1000)):
            raise TimeoutError("nothing came")
        peer, *frames = self.socket.recv_multipart()
        records = read(frames)
        if records[0][0] == 1:
            self.peer = peer
            self.hellos.append(records[0][2])
            return records
        assert records[0][0] == 0, "with acks every packet has a header"
        header = records.pop(0)
        self.headers.append(header)
        assert header[1] == self.session or self.drop_next
        self.acked = max(self.acked, header[3])
        if header[2] == 0:
            assert not records, "a lone header has number 0"
        elif self.drop_next:
            self.drop_next = False
            return []
        else:
            if header[2] <= self.received:
                return []
            assert header[2] == self.received + 1, "the peer skipped a number"
            self.received = header[2]
        self.records.extend(records)
        return records

    def until(self, condition: Callable[[], bool], wait: float = WAIT) -> None:
        end = time.monotonic() + wait
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the condition did not come")
            try:
                self.packet(0.05)
            except TimeoutError:
                continue

    def expect(self, kind: int, wait: float = WAIT) -> list[Any]:
        """The next record of this kind; those before it are dropped."""
        end = time.monotonic() + wait
        while True:
            while self.records:
                record = self.records.popleft()
                if record[0] == kind:
                    return record
            self.packet(max(0.0, end - time.monotonic()))

    def hello(self) -> dict[str, Any]:
        """Waits for a hello."""
        known = len(self.hellos)
        while len(self.hellos) == known:
            self.packet()
        return self.hellos[-1]

    # -- writing

    def raw(self, *frames: bytes) -> None:
        self.socket.send_multipart([self.peer, *frames])

    def say(self, *records: list[Any], frames: list[bytes] | None = None) -> None:
        """A numbered packet."""
        self.sent += 1
        first = [[0, self.session, self.sent, self._ack()], *records]
        self.raw(b"".join(msgpack.packb(r) for r in first), *(frames or []))

    def _ack(self) -> int:
        return self.received if self.hold is None else self.hold

    def ack(self) -> None:
        self.raw(msgpack.packb([0, self.session, 0, self._ack()]))

    def welcome(self, *, resumed: bool = False, **fields: Any) -> None:
        if not resumed:
            self.session = next(NUMBERS)
            self.sent = self.received = self.acked = 0
            self.records.clear()
        told = {
            "session": self.session,
            "epoch": 7,
            "resumed": resumed,
            "ack": self.received,
            "limits": {},
            "timeout": 5000,
            **self.fields,
            **fields,
        }
        self.raw(msgpack.packb([2, 1, told]))

    def greet(self, **fields: Any) -> dict[str, Any]:
        """Waits for hello and welcomes the peer."""
        hello = self.hello()
        self.welcome(**fields)
        return hello

    def cut(self) -> None:
        """Ends every connection; the peer comes back to the same place."""
        self.socket.close(0)
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        end = time.monotonic() + WAIT
        while True:
            try:
                self.socket.bind(self.url)
                return
            except zmq.ZMQError:
                if time.monotonic() > end:
                    raise


def one_buffer(data: bytes) -> list[bytes]:
    frames = []
    while data:
        (length,) = struct.unpack(">I", data[:4])
        frames.append(data[4 : 4 + length])
        data = data[4 + length :]
    return frames
