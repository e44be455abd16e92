"""The runs that a worker holds: the part that speaks with the broker.

A run is the record as it came, a list: kind, handle, id, name, attempt, body, attributes, ticket.
Who pops the ticket owns the run: a runner that starts it, a recall that gives it back, a cancel.
The pop is atomic, so none of them needs a lock. A handle of None says that the broker no longer
wants the result.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgpack

from . import wire
from .children import Family, Refusal
from .context import STACK_BYTES, Bounds, Outcome, RunContext
from .errors import TuskError
from .flow import ANEW, UNWANTED
from .handlers import Handler, refusal
from .link import READY, Link
from .process import identity
from .session import Filled, Packet
from .version import SDK

HANDLE, ID, NAME, ATTEMPT, BODY, ATTRIBUTES, TICKET = range(1, 8)
ADOPT_GRACE = 10.0

Run = list[Any]
# A result without attributes, its body within the record: at most so many bytes beside the body.
Short = tuple[int, int, int, bytes | None]
SHORT_BYTES = 16


def take(run: Run) -> bool:
    """Whether the caller is now the one who deals with this run."""
    try:
        run.pop(TICKET)
    except IndexError:
        return False
    return True


class Instead(NamedTuple):
    """The outcome in place of one that the broker could not read."""

    state: int
    body: bytes | None
    attributes: dict[int, Any] | None


# Why a run may be told to stop; else somebody cancelled it, or it is not this worker's any more.
TIMES_UP = ("deadline", "run_timeout", "heartbeat_timeout")
REASONS = (*TIMES_UP, "cancelled", "moved", "parent")
# Without a connection so many words of runs may wait, each up to NOTE_BYTES; they are at most once.
MOST_NOTES = 1000
NOTE_BYTES = 8 << 10


class Note:
    """Something that a run says of itself while it goes on: the record's kind, and what is said.

    The handle is put in when it is sent.
    """

    __slots__ = ("kind", "run", "said", "waits")

    def __init__(self, run: Run, kind: int, said: Any) -> None:
        self.run = run
        self.kind = kind
        self.said = said
        self.waits = True  # to be sent


class Batch:
    """Items that a list handler gets together."""

    __slots__ = ("due", "handler", "most", "runs")

    def __init__(self, handler: Handler, due: float, most: int) -> None:
        self.handler = handler
        self.due = due
        self.most = most
        self.runs: list[Run] = []


class Runner(Protocol):
    """Where runs go to be run. `put` and `notify` on the I/O thread."""

    def put(self, unit: Run | Batch) -> None: ...
    def notify(self) -> None: ...
    def cancel(self, run: Run, reason: str) -> None: ...
    # A run waits for its children, and its slot is lent out; and it has one again. Any thread.
    def lend(self) -> None: ...
    def regain(self) -> None: ...
    # Of a run in another process: whether it was told.
    def resume(self, run: Run, refusal: Refusal | None) -> bool: ...
    def credit(self, run: Run, chunks: int) -> bool: ...
    def tick(self, now: float) -> float: ...


class Runs:
    """The role of a worker on its link."""

    def __init__(
        self,
        url: str,
        tasks: dict[str, Handler],
        stages: dict[str, Handler],
        *,
        name: str | None,
        pool: str | None,
        slots: int,
        labels: dict[str, str | int],
        lookahead: bool,
        on_ready: Callable[[], None],
        on_end: Callable[[str, TuskError | None], None],
    ) -> None:
        self.link = Link(url, self, name="tuskd-worker", complain=True)
        self.family = Family(url)
        self.bounds = Bounds()
        self.slots = slots
        self.held: dict[int, Run] = {}
        self.contexts: dict[int, RunContext] = {}
        self.cancelled: dict[int, tuple[Run, str]] = {}
        self._suspended: dict[int, Note] = {}  # what runs that wait have said, by id(run)
        self._checkpoints: dict[int, Note] = {}  # the last of each run that has one, by id(run)
        self.draining = False
        self.runner: Runner
        self.tasks = tasks
        self.stages = stages
        self._name = name
        self._pool = pool
        self._labels = labels
        self._lookahead = lookahead
        self._on_ready = on_ready
        self._on_end = on_end
        self._pack = msgpack.Packer(buf_size=4096).pack
        self._claimed: list[Run] = []
        self._collecting: dict[Handler, Batch] = {}
        self._supervised = os.environ.get("TUSK_SUPERVISED") == "1"
        self._gone = False

    # -- any thread

    def handler(self, run: Run) -> Handler | None:
        return (self.tasks if run[0] == wire.TASK else self.stages).get(run[NAME])

    def answer(self, run: Run, outcome: Outcome) -> None:
        """Puts a result to what is to be said. `link.flush` or `link.watch` must follow."""
        self.link.outbox.append((run, outcome))

    def begin(self, run: Run, handler: Handler) -> RunContext | None:
        """The context of a run that starts, if its handler wants one."""
        context = handler.context(run)
        if context is not None:
            context.connect(lambda kind, said: self._say(run, kind, said), self.bounds, self.family)
            self.contexts[id(run)] = context
            told = self.cancelled.get(id(run)) if self.cancelled else None
            if told is not None:
                context.cancel(told[1])
        return context

    def _say(self, run: Run, kind: int, said: Any) -> None:
        """Puts what a run says to what is to be sent, which it is within a millisecond or so."""
        link = self.link
        if kind == wire.CHECKPOINT:
            # One per run waits at most. `said` is written before `waits` is read, and `fill` does
            # it the other way round, so that none is lost.
            note = self._checkpoints.get(id(run))
            if note is not None:
                note.said = said
                if note.waits:
                    return
                note.waits = True
            else:
                note = self._checkpoints[id(run)] = Note(run, kind, said)
        elif kind == wire.SUSPEND:
            note = self._suspended[id(run)] = Note(run, kind, said)
            self.runner.lend()
        elif kind == wire.CHUNK:
            note = Note(run, kind, said)  # no more of them wait than there is credit
        else:
            away = link.state is not READY or link.session.full()
            if away and (
                said is None
                or len(link.outbox) >= MOST_NOTES
                or (type(said) is bytes and len(said) > NOTE_BYTES)
            ):
                return
            note = Note(run, kind, said)
        link.outbox.append(note)
        if kind == wire.SUSPEND:
            link.flush()
        link.watch()

    def drain(self) -> None:
        """Gives back what has not started; nothing new is started from now on."""
        with self.link.locked():
            self._drain()
        self.link.flush()

    def idle(self) -> bool:
        """Whether every run was answered."""
        return not self.held

    # -- under the link's lock

    def hello(self) -> dict[str, Any]:
        claimed = list(self.held.values())
        for packet in self.link.session.unacked:
            for item in packet.items:
                if type(item) is tuple and item[0][HANDLE] is not None:
                    claimed.append(item[0])
        self._claimed = claimed
        fields: dict[str, Any] = {
            "role": "worker",
            "sdk": SDK,
            "types": sorted(self.tasks),
            "handlers": sorted(self.stages),
            "slots": self.slots,
            "claims": [[r[ID], r[ATTEMPT], r[NAME], r[0] == wire.ITEM] for r in claimed],
            **identity(),
        }
        if self._name:
            fields["name"] = self._name
        if self._pool:
            fields["pool"] = self._pool
        if self._labels:
            fields["labels"] = self._labels
        if self._lookahead:
            fields["capabilities"] = ["lookahead"]
        return fields

    def fill(self, outbox: deque[Any], limits: dict[str, int]) -> Filled:
        soft = limits["frame"] // 2  # no single record is over half a frame
        most, most_frames = limits["records"], limits["frames"]
        held, contexts, cancelled = self.held, self.contexts, self.cancelled
        parts: list[bytes] = []
        bodies: list[bytes] = []
        items: list[Any] = []
        short: list[Short] = []  # packed together, in a third of the time
        size = 0
        while outbox and len(items) < most and size < soft and len(bodies) < most_frames:
            item = outbox.popleft()
            if type(item) is not tuple:
                record = item if type(item) is bytes else self._noted(item, bodies)
                if not record:
                    continue
            else:
                run, (state, body, attributes) = item
                handle = run[HANDLE]
                if contexts:
                    self._over(run)
                if handle is None:
                    continue
                held.pop(handle, None)
                told = cancelled.pop(id(run), None) if cancelled else None
                # A success counts although the time is up; all else says that the run has stopped.
                if told is not None and (state != wire.SUCCEEDED or told[1] not in TIMES_UP):
                    cost = attributes.get(wire.A_COST) if attributes else None
                    state, body = wire.CANCELLED, None
                    attributes = None if cost is None else {wire.A_COST: cost}
                length = 0 if body is None else len(body)
                if attributes is None and length < wire.FRAME_BODY:
                    short.append((wire.RESULT, handle, state, body))
                    items.append(item)
                    size += SHORT_BYTES + length
                    continue
                if length >= wire.FRAME_BODY:
                    bodies.append(body)
                    body = len(bodies)
                    size += length >> 4  # so that packets of large bodies end too
                if state == wire.DEFER:
                    record = self._pack((wire.DEFER, handle, attributes[wire.DEFER]))
                else:
                    head = (wire.RESULT, handle, state, body)
                    record = self._pack((*head, attributes) if attributes else head)
            if short:
                parts.append(self._packed(short))
                short = []
            parts.append(record)
            items.append(item)
            size += len(record)
        if short:
            parts.append(self._packed(short))
        return parts, bodies, items

    def _noted(self, note: Note, bodies: list[bytes]) -> bytes:
        """The record of a note; empty if its run is over."""
        run, kind = note.run, note.kind
        note.waits = False
        handle, said = run[HANDLE], note.said
        if handle is None or self.held.get(handle) is not run:
            self._checkpoints.pop(id(run), None)  # it may have come a moment after the end
            return b""
        if kind == wire.SUSPEND and self._suspended.get(id(run)) is not note:
            return b""  # it was told to stop meanwhile
        if kind == wire.CHUNK:
            body, attributes = said
            if len(body) >= wire.FRAME_BODY:
                bodies.append(body)
                body = len(bodies)
            head = (kind, handle, body)
            chunk: bytes = self._pack((*head, attributes) if attributes else head)
            return chunk
        if type(said) is bytes and len(said) >= wire.FRAME_BODY:
            bodies.append(said)
            said = len(bodies)
        record: tuple[Any, ...] = (kind, handle, said)
        if kind == wire.LOG:
            record = (kind, handle, *said)
        elif kind == wire.PROGRESS and said is None:
            record = (kind, handle)
        packed: bytes = self._pack(record)
        return packed

    def _over(self, run: Run) -> None:
        """What a run says is nothing any more."""
        context = self.contexts.pop(id(run), None)
        if context is not None:
            context.close()
        self._regained(run)
        self._checkpoints.pop(id(run), None)

    def _regained(self, run: Run) -> bool:
        """A run has its slot again; whether it had lent it out."""
        if self._suspended.pop(id(run), None) is None:
            return False
        self.runner.regain()
        return True

    def _resumed(self, run: Run, refusal: Refusal | None) -> None:
        if not self._regained(run) or self.runner.resume(run, refusal):
            return
        context = self.contexts.get(id(run))
        if context is not None:
            context.resumed(refusal)

    def _credit(self, run: Run, chunks: int) -> None:
        if self.runner.credit(run, chunks):
            return
        context = self.contexts.get(id(run))
        attributes = run[ATTRIBUTES]
        if context is not None:
            context.credit(chunks)
        elif attributes is not None and wire.A_STREAM in attributes:
            attributes[wire.A_STREAM] += chunks  # it has not begun

    def _packed(self, records: list[Short]) -> bytes:
        count = len(records)
        data: bytes = self._pack(records)
        return data[1 if count < 16 else 3 if count < 1 << 16 else 5 :]  # without the list's head

    def records(self, records: list[list[Any]]) -> None:
        held, put = self.held, self.runner.put
        tasks, stages = self.tasks, self.stages
        for record in records:
            kind = record[0]
            if kind in wire.RUNS:
                held[record[HANDLE]] = record
                handler = (tasks if kind == wire.TASK else stages).get(record[NAME])
                if handler is None or record[ATTRIBUTES] is not None:
                    self._dispatch(record, handler)
                elif handler.batch == 0:
                    put(record)
                else:
                    self._collect(record, handler)
            elif kind == wire.CANCEL:
                attributes = record[3] if len(record) > 3 else {}
                reason = attributes.get(wire.A_REASON)
                self._cancel(record[1], reason if reason in REASONS else "cancelled")
            elif kind == wire.RESUME:
                run = held.get(record[1])
                if run is not None:
                    self._resumed(run, None)
            elif kind == wire.CREDIT:
                run = held.get(record[1])
                if run is not None:
                    self._credit(run, record[2])
            elif kind == wire.RECALL:
                self._recall(record[1], record[2])
            elif kind == wire.DRAIN:
                self._drain()
                self._on_end(record[1] if len(record) > 1 else "drain", None)
            elif kind == wire.ERROR and (
                self._refused_suspend(record) or self._refused_chunk(record)
            ):
                pass
            elif kind == wire.ERROR and record[2] != "unknown_handle":
                # A result that the broker refused has ended its run all the same.
                told = f"{record[2]} for run {record[1]}: {record[3]}"
                print(f"tuskd: the broker at {self.link.url} says {told}", file=sys.stderr)
        if self.draining:
            self._give_back(0)
        self.runner.notify()

    def _refused_suspend(self, error: list[Any]) -> bool:
        """Whether this is about a run that wanted to lend its slot; it keeps it, then."""
        run = self.held.get(error[1])
        if run is None or id(run) not in self._suspended or error[2] in ("unknown_handle", "busy"):
            return False
        self._resumed(run, (error[2], error[3]))
        return True

    def _refused_chunk(self, error: list[Any]) -> bool:
        """Whether this is about a chunk that nobody asked for: the broker was started again, and
        heard of the run before it heard of who wants its stream."""
        run = self.held.get(error[1])
        details = error[4] if len(error) > 4 else {}
        if run is None or (error[2], details.get("field")) != ("invalid", "stream"):
            return False
        self._credit(run, UNWANTED)
        return True

    def _dispatch(self, run: Run, handler: Handler | None) -> None:
        """Takes a run that has attributes or no handler."""
        if handler is None:
            what = "stage handler" if run[0] == wire.ITEM else "task type"
            self._refuse(run, refusal("Unserved", f"this worker has no {what} {run[NAME]!r}"))
            return
        odd = wire.odd_unknown(run[ATTRIBUTES])
        if odd is not None:
            reason = f"this SDK does not carry out attribute {odd}"
            self._refuse(run, refusal("Unsupported", reason))
            return
        left = run[ATTRIBUTES].pop(wire.A_TIME_LEFT, None)
        if type(left) is int:
            # As a point of time.monotonic(), which all processes here share.
            run[ATTRIBUTES][wire.A_TIME_LEFT] = time.monotonic() + left / 1000
        if handler.batch == 0:
            self.runner.put(run)
        else:
            self._collect(run, handler)

    def _collect(self, run: Run, handler: Handler) -> None:
        batch = self._collecting.get(handler)
        if batch is None:
            most = min(handler.batch, self.slots)
            batch = Batch(handler, time.monotonic() + handler.wait, most)
            self._collecting[handler] = batch
        runs = batch.runs
        runs.append(run)
        if run[ATTEMPT] > 1:
            # The broker runs what may have killed its worker one at a time: nothing joins it.
            batch.due = 0.0
        if len(runs) >= batch.most:
            del self._collecting[handler]
            self.runner.put(batch)

    def _refuse(self, run: Run, outcome: Outcome) -> None:
        if take(run):
            self.answer(run, outcome)

    def _cancel(self, handle: int, reason: str) -> None:
        run = self.held.get(handle)
        if run is None:
            return
        if take(run):
            self.answer(run, (wire.CANCELLED, None, None))
        else:
            self._stop_running(run, reason)

    def _stop_running(self, run: Run, reason: str) -> None:
        self.cancelled[id(run)] = (run, reason)
        self._regained(run)
        context = self.contexts.get(id(run))
        if context is not None:
            context.cancel(reason)
        self.runner.cancel(run, reason)

    def _recall(self, recall: int, handles: list[Any]) -> None:
        back = []
        for handle in handles:
            run = self.held.get(handle)
            if run is not None and take(run):
                del self.held[handle]
                back.append(handle)
        self.link.outbox.append(self._pack((wire.RETURNED, recall, back)))

    def _give_back(self, recall: int) -> None:
        back = [h for h, run in list(self.held.items()) if take(run)]
        if back:
            for handle in back:
                del self.held[handle]
            self.link.outbox.append(self._pack((wire.RETURNED, recall, back)))

    def _drain(self) -> None:
        if self.draining:
            return
        self.draining = True
        # No slots: else what is given back would come again.
        self.link.outbox.append(self._pack((wire.SLOTS, 0)))
        self._collecting.clear()
        self._give_back(0)

    def acknowledged(self, items: list[Any]) -> None:
        pass  # a result that was acknowledged is simply no longer in a packet

    def welcome(self, fields: dict[str, Any], lost: list[Packet] | None) -> None:
        limits = self.link.session.limits
        self.bounds.body = limits["body"]
        self.bounds.checkpoint = limits["checkpoint"]
        self.bounds.stack = min(STACK_BYTES, limits["frame"] // 8)
        if fields.get("compression") == "lz4":
            self.bounds.compress_from = int(fields.get("compression_threshold", 1 << 62))
        if lost is not None:
            self._rename(fields.get("claims") or [], lost)
        if self.draining:
            self.draining = False
            self._drain()
        self._on_ready()

    def _rename(self, granted: list[Any], lost: list[Packet]) -> None:
        """A new session: what it still wants has new handles, the rest is dropped."""
        outbox = self.link.outbox
        for item in list(outbox):
            if type(item) is bytes:
                outbox.remove(item)  # it named handles or a recall of the old session
        handles: dict[bytes, list[Any]] = {}
        for entry in granted:
            if isinstance(entry, list) and len(entry) >= 2:
                handles.setdefault(entry[0], []).append(entry[1])
        self.held.clear()
        for run in self._claimed:
            mine = handles.get(run[ID])
            handle = mine.pop(0) if mine else None
            run[HANDLE] = handle
            if handle is not None:
                self.held[handle] = run
                self._save_again(run)
                if wire.A_STREAM in (run[ATTRIBUTES] or {}):
                    self._credit(run, ANEW)
            elif not take(run):
                self._stop_running(run, "moved")
                self.cancelled.pop(id(run), None)
                self._over(run)
        for packet in lost:
            outbox.extend(i for i in packet.items if type(i) is tuple and i[0][HANDLE] is not None)

    def _save_again(self, run: Run) -> None:
        """Tells a broker that did not know the run what it awaits and what its next one gets."""
        note = self._checkpoints.get(id(run))
        given = (run[ATTRIBUTES] or {}).get(wire.A_CHECKPOINT)
        suspended = self._suspended.get(id(run))
        if suspended is not None and not suspended.waits:
            suspended.waits = True
            self.link.outbox.append(suspended)
        if note is not None:
            note.waits = True
            self.link.outbox.append(note)
        elif given is not None:
            self.link.outbox.append(Note(run, wire.CHECKPOINT, given))

    def refused_packet(self, packet: int, message: str, details: dict[str, Any]) -> bool:
        """Answers the runs of a packet that the broker could not read again, as failures."""
        refused = self.link.session.packet(packet)
        answers = [item for item in refused.items if type(item) is tuple] if refused else []
        if refused is None or all(type(outcome) is Instead for _, outcome in answers):
            return False  # nothing but such answers: they are not the cure
        refused.items = []
        reason = f"the broker refused the packet with the result: {message}"
        for run, _ in answers:
            self.held[run[HANDLE]] = run
            self.answer(run, Instead(*refusal("Malformed", reason)))
        return True

    def too_large(self, items: list[Any]) -> None:
        for item in items:
            if type(item) is tuple:
                run = item[0]
                self.held[run[HANDLE]] = run
                reason = "the connection broke each time the result was sent; too large"
                self.answer(run, refusal("TooLarge", reason))

    def failed(self, error: TuskError) -> None:
        self._on_end("refused", error)

    def tick(self, now: float) -> float:
        until = self.runner.tick(now)
        if self._collecting:
            for handler, batch in list(self._collecting.items()):
                if batch.due <= now:
                    del self._collecting[handler]
                    self.runner.put(batch)
                    self.runner.notify()
                else:
                    until = min(until, batch.due)
        if self._supervised and self.link.state is not READY and not self._gone:
            grace = self.link.fields.get("adopt_grace", ADOPT_GRACE * 1000) / 1000
            end = self.link.down_since + grace
            if now >= end:
                self._gone = True
                self._on_end("gone", None)
            else:
                until = min(until, end)
        return until
