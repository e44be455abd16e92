"""A session's numbers and what it keeps until it is acknowledged. No socket, no clock, no lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgpack

from . import wire

# Records, the bodies that have frames of their own, and the things that they say.
Filled = tuple[list[bytes], list[bytes], list[Any]]
# Takes from an outbox, within the limits, what one packet holds.
Fill = Callable[[deque[Any], dict[str, int]], Filled]

LONE_ACK_PACKETS = 64
# A packet this large that was sent so often, each time followed by a disconnect, is the reason.
SUSPECT_BYTES = 1 << 20
SUSPECT_LOSSES = 3


class Packet:
    """A numbered packet as it went out, and the things it says."""

    __slots__ = ("frames", "items", "losses", "seq", "size")

    def __init__(self, seq: int, frames: list[bytes], items: list[Any]) -> None:
        self.seq = seq
        self.frames = frames
        self.items = items
        self.size = sum(map(len, frames))
        self.losses = 0


class Session:
    """Counts packets of both directions and keeps those not yet acknowledged."""

    def __init__(self) -> None:
        self.number = 0
        self.limits: dict[str, int] = dict(wire.LIMITS)
        self._pack = msgpack.Packer(buf_size=1024).pack
        self.restart(0)

    def restart(self, number: int) -> list[Packet]:
        """Begins session `number`; returns what the old one did not deliver."""
        lost = list(self.unacked) if self.number else []
        self.number = number
        self.sent = 0
        self.received = 0
        self.unacked: deque[Packet] = deque()
        self.unacked_bytes = 0
        self.arrived_now: list[Packet] = []  # acknowledged by the packet that is being read
        self.to_ack = 0  # packets received since we last said so
        return lost

    def full(self) -> bool:
        return self.unacked_bytes >= self.limits["session_bytes"]

    def next_packet(self, outbox: deque[Any], fill: Fill) -> Packet | None:
        """The next packet from what is ready, within the limits; None if nothing need be said."""
        parts, bodies, items = fill(outbox, self.limits)
        if not items:
            return None
        self.sent += 1
        header = self._pack((wire.HEADER, self.number, self.sent, self.received))
        self.to_ack = 0
        packet = Packet(self.sent, [b"".join((header, *parts)), *bodies], items)
        self.unacked.append(packet)
        self.unacked_bytes += packet.size
        return packet

    def lone_header(self) -> bytes:
        self.to_ack = 0
        header: bytes = self._pack((wire.HEADER, self.number, 0, self.received))
        return header

    def acknowledged(self, ack: int) -> list[Any]:
        """Forgets what `ack` covers; returns the things that these packets said."""
        done: list[Any] = []
        unacked = self.unacked
        while unacked and unacked[0].seq <= ack:
            packet = unacked.popleft()
            self.arrived_now.append(packet)
            self.unacked_bytes -= packet.size
            done += packet.items
        return done

    def packet(self, seq: int) -> Packet | None:
        """The packet `seq`, if it is unacknowledged or what is being read acknowledges it."""
        return next((p for p in (*self.arrived_now, *self.unacked) if p.seq == seq), None)

    def arrived(self, seq: int) -> bool | None:
        """True: apply the packet. False: it arrived before. None: a number was skipped."""
        if seq == self.received + 1:
            self.received = seq
            self.to_ack += 1
            return True
        if seq <= self.received:
            self.to_ack += 1
            return False
        return None

    def give_up_suspect(self) -> list[Any]:
        """After a disconnect: what a large packet said that is taken to be the reason.

        Its number is kept by a ping, for the broker counts on it.
        """
        given_up: list[Any] = []
        for packet in self.unacked:
            packet.losses += 1
            if packet.size > SUSPECT_BYTES and packet.losses >= SUSPECT_LOSSES:
                given_up += packet.items
                self.unacked_bytes -= packet.size
                header = self._pack((wire.HEADER, self.number, packet.seq, self.received))
                packet.frames = [header + self._pack((wire.PING, 0))]
                packet.items = []
                packet.size = len(packet.frames[0])
                self.unacked_bytes += packet.size
        return given_up
