"""What a run says of itself, and what it is told, against a scripted broker."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ID, Running
from fake_broker import FakeBroker

import tuskd
from tuskd import Context, Defer, Worker
from tuskd.values import decode, encode


def talking(url: str, **options: Any) -> Worker:
    """A worker whose handlers speak of themselves. `go` lets the ones that wait go on."""
    worker = Worker(url, **options)

    @worker.task("speak")
    def speak(context: Context) -> list[Any]:
        context.progress({"done": 1})
        context.log("info", "half \u00fc")
        context.heartbeat()
        context.checkpoint([1, 2])
        context.clear_checkpoint()
        context.pause_type(1.5)
        return [context.last_checkpoint, context.time_left, context.cancel_reason]

    @worker.task("cost")
    def cost(then: str, context: Context) -> str:
        context.set_cost(3)
        context.set_cost(10**9 if then == "large" else 7)
        if then == "fail":
            raise ValueError(then)
        if then == "stop":
            context.progress("begun")
            while not context.cancelled:
                time.sleep(0.001)
        if then == "defer":
            raise Defer(0)
        return "x" * 5000 if then == "large" else then

    @worker.task("acost")
    async def acost(then: str, context: Context) -> str:
        context.set_cost(0)
        context.progress("begun")
        await asyncio.sleep(60 if then == "stop" else 0)
        return then

    @worker.task("async")
    async def later(context: Context) -> str:
        context.progress(1)
        await asyncio.sleep(0)
        context.progress(2)
        return "end"

    @worker.task("large")
    def large(context: Context) -> list[str]:
        out = []
        context.log("error", "ä" * 10_000)
        context.checkpoint(bytes(9000))
        for what in (
            lambda: context.checkpoint(bytes(300_000)),
            lambda: context.progress(bytes(2 << 20)),
            lambda: context.checkpoint({1, 2}),
            lambda: context.progress(object()),
            lambda: context.log("loud", "x"),
            lambda: context.pause_type(-1),
            lambda: context.set_cost(-1),
            lambda: context.set_cost(10**9 + 1),
            lambda: context.set_cost(1.5),  # type: ignore[arg-type]
            lambda: Defer(-1),
            lambda: Defer(float("inf")),
        ):
            try:
                what()
            except Exception as error:
                out.append(f"{type(error).__name__}: {error}")
        return out

    @worker.task("defer")
    def defer(after: float) -> None:
        raise Defer(after)

    @worker.task("adefer")
    async def adefer(after: float) -> None:
        raise Defer(after=after)

    @worker.stage("batch", batch=2, wait=60)
    def batch(items: list[Any]) -> list[Any]:
        raise Defer(0.25)

    @worker.task("stop")
    def stop(value: Any, context: Context) -> Any:
        context.progress("begun")
        while context.cancel_reason is None:
            time.sleep(0.001)
        context.progress(context.cancel_reason)
        if value == "defer":
            raise Defer(1)
        if value == "check":
            context.check()
        return value

    @worker.task("astop")
    async def astop(value: Any, context: Context) -> Any:
        context.progress("begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            context.progress(context.cancel_reason)
            if value == "raise":
                raise
        return value

    return worker


KINDS = {
    "async": ["async", "acost", "adefer", "astop"],
    "plain": ["speak", "cost", "large", "defer", "stop"],
}


@pytest.fixture(params=["threads", "loop"])
def worker(request: pytest.FixtureRequest, url: str) -> Worker:
    """With async handlers in it, all are run by a loop; without, in threads."""
    worker = talking(url)
    if request.param == "threads":
        for name in KINDS["async"]:
            del worker._tasks[name]
    return worker


def next_records(broker: FakeBroker, count: int) -> list[list[Any]]:
    broker.until(lambda: len(broker.records) >= count)
    out = list(broker.records)
    broker.records.clear()
    return out


def test_a_run_speaks_in_order_and_before_its_result(
    broker: FakeBroker, worker: Worker, running: Running
) -> None:
    running(worker)
    broker.greet()
    broker.say([64, 5, ID, "speak", 1, None])
    # The checkpoint that was taken back at once may not have been sent at all.
    broker.until(lambda: any(r[0] == 32 for r in broker.records))
    records = list(broker.records)
    assert [r for r in records if r[0] != 38] == [
        [36, 5, encode({"done": 1})],
        [37, 5, 2, "half \u00fc"],
        [36, 5],
        [42, 5, 1500],
        [32, 5, 1, encode([None, None, None])],
    ]
    assert [r for r in records if r[0] == 38][-1] == [38, 5, None]


def test_a_run_is_told_its_time_and_its_checkpoint(
    broker: FakeBroker, worker: Worker, running: Running
) -> None:
    running(worker)
    broker.greet()
    broker.say([64, 5, ID, "speak", 2, None, {24: 2000, 33: encode({"at": 7})}])
    last, left, reason = decode(broker.expect(32)[3])
    assert last == {"at": 7} and 1.0 < left <= 2.0 and reason is None
    for handle, checkpoint in enumerate((b"\xc1", "text", 7), 6):
        broker.say([64, handle, ID, "speak", 2, None, {24: 0, 33: checkpoint}])
        failed = broker.expect(32)
        assert failed[2] == 2 and failed[4][2]["type"] == "BodyError"
    broker.say([64, 9, ID, "speak", 2, None, {24: "soon"}])
    assert decode(broker.expect(32)[3]) == [None, None, None]


def test_async_handlers_speak(broker: FakeBroker, url: str, running: Running) -> None:
    running(talking(url))
    broker.greet()
    broker.say([64, 5, ID, "async", 1, None])
    assert next_records(broker, 3) == [
        [36, 5, encode(1)],
        [36, 5, encode(2)],
        [32, 5, 1, encode("end")],
    ]


def test_what_is_too_large_or_no_value_is_told_to_the_handler(
    make_broker: Callable[..., FakeBroker], worker: Worker, running: Running
) -> None:
    broker = make_broker(limits={"body": 1 << 20, "checkpoint": 100_000})
    running(worker)
    broker.greet()
    broker.say([64, 5, ID, "large", 1, None])
    log, checkpoint, result = next_records(broker, 3)
    assert log[:3] == [37, 5, 4] and log[3].endswith("ä [cut]")
    assert len(log[3].encode()) <= 16384
    assert checkpoint == [38, 5, encode(bytes(9000))], "in a frame of its own"
    told = decode(result[3])
    assert len(told) == 11
    assert told[0].startswith("TooLarge: ") and "limit checkpoint of 100000" in told[0]
    assert told[1].startswith("TooLarge: ") and "limit body of 1048576" in told[1]
    assert told[2].startswith("BodyError") and told[3].startswith("BodyError")
    assert told[4].startswith("ValueError") and "debug, info, warning, error" in told[4]
    assert told[5].startswith("ValueError") and "100 years" in told[5]
    assert told[6] == "ValueError: a run's cost is 0 to 1,000,000,000 units, not -1"
    assert told[7].startswith("ValueError") and told[8].startswith("TypeError")
    assert all(t.startswith("ValueError") and "100 years" in t for t in told[9:])


def test_the_limit_of_a_checkpoint_that_no_broker_states(
    broker: FakeBroker, worker: Worker, running: Running
) -> None:
    running(worker)
    broker.greet()
    broker.say([64, 5, ID, "large", 1, None])
    assert "limit checkpoint of 262144" in decode(broker.expect(32)[3])[0]


def test_defer(broker: FakeBroker, url: str, running: Running) -> None:
    running(talking(url, slots=4))
    broker.greet()
    broker.say([64, 1, ID, "defer", 1, encode(0.25)])
    assert broker.expect(41) == [41, 1, 250]
    broker.say([64, 2, ID, "adefer", 1, encode(0)])
    assert broker.expect(41) == [41, 2, 0]
    broker.say([65, 3, ID, "batch", 1, encode(1)], [65, 4, ID, "batch", 1, encode(2)])
    assert sorted([broker.expect(41), broker.expect(41)]) == [[41, 3, 250], [41, 4, 250]]
    broker.say([64, 5, ID, "speak", 1, None])
    broker.expect(32)


def test_a_worker_of_threads_defers(broker: FakeBroker, worker: Worker, running: Running) -> None:
    running(worker)
    broker.greet()
    broker.say([64, 1, ID, "defer", 1, encode(100 * 365 * 86400)])
    assert broker.expect(41) == [41, 1, 3_153_600_000_000]


REASONS: list[tuple[str | None, str, int]] = [
    # (the reason, what the handler makes of it, the state of the answer)
    (None, "check", 4),
    ("cancelled", "success", 4),
    ("moved", "success", 4),
    ("something new", "check", 4),
    ("deadline", "check", 4),
    ("run_timeout", "success", 1),
    ("deadline", "success", 1),
    ("heartbeat_timeout", "success", 1),
    ("run_timeout", "defer", 4),
]


@pytest.mark.parametrize(("reason", "then", "state"), REASONS)
def test_a_run_is_told_why_it_is_to_stop(
    broker: FakeBroker, worker: Worker, running: Running, reason: str | None, then: str, state: int
) -> None:
    """A success in spite of a time that is up counts; what somebody cancelled is cancelled."""
    running(worker)
    broker.greet()
    broker.say([64, 1, ID, "stop", 1, encode(then)])
    assert broker.expect(36)[2] == encode("begun")
    broker.say([17, 1, ID] if reason is None else [17, 1, ID, {26: reason}])
    told = "cancelled" if reason in (None, "something new") else reason
    assert decode(broker.expect(36)[2]) == told
    assert broker.expect(32)[:3] == [32, 1, state]


@pytest.mark.parametrize(("then", "state"), [("raise", 4), ("success", 1)])
def test_an_async_run_is_told_why(
    broker: FakeBroker, url: str, running: Running, then: str, state: int
) -> None:
    running(talking(url))
    broker.greet()
    broker.say([64, 1, ID, "astop", 1, encode(then)])
    broker.expect(36)
    broker.say([17, 1, ID, {26: "heartbeat_timeout"}])
    assert decode(broker.expect(36)[2]) == "heartbeat_timeout"
    assert broker.expect(32)[:3] == [32, 1, state]


def test_a_run_says_what_it_cost(broker: FakeBroker, worker: Worker, running: Running) -> None:
    """The last word counts, however the run ends."""
    running(worker)
    broker.greet(compression="lz4", compression_threshold=4096)
    broker.say([64, 1, ID, "cost", 1, encode("end")])
    assert broker.expect(32) == [32, 1, 1, encode("end"), {49: 7}]
    broker.say([64, 2, ID, "cost", 1, encode("large")])
    assert broker.expect(32)[4] == {29: 1, 49: 10**9}
    broker.say([64, 3, ID, "cost", 1, encode("fail")])
    failed = broker.expect(32)
    assert failed[2] == 2 and set(failed[4]) == {2, 49} and failed[4][49] == 7
    broker.say([64, 4, ID, "cost", 1, encode("defer")])
    assert broker.expect(41) == [41, 4, 0]
    broker.say([64, 5, ID, "cost", 1, encode("stop")])
    broker.expect(36)
    broker.say([17, 5, ID])
    assert broker.expect(32) == [32, 5, 4, None, {49: 7}]


def test_an_async_run_says_what_it_cost(broker: FakeBroker, url: str, running: Running) -> None:
    running(talking(url))
    broker.greet()
    broker.say([64, 1, ID, "acost", 1, encode("end")])
    assert broker.expect(32) == [32, 1, 1, encode("end"), {49: 0}]
    broker.say([64, 2, ID, "acost", 1, encode("stop")])
    broker.expect(36)
    broker.say([17, 2, ID])
    assert broker.expect(32) == [32, 2, 4, None, {49: 0}]


class Held:
    """A worker with one handler that does what the test says, step by step."""

    def __init__(self, url: str) -> None:
        self.worker = Worker(url)
        self.contexts: list[Context] = []
        self.begun = threading.Semaphore(0)
        self.end = threading.Semaphore(0)

        @self.worker.task("hold")
        def hold(value: Any, context: Context) -> Any:
            self.contexts.append(context)
            self.begun.release()
            self.end.acquire()
            return value


def test_words_go_under_the_handle_of_the_session(
    broker: FakeBroker, url: str, running: Running
) -> None:
    held = Held(url)
    running(held.worker)
    broker.greet()
    broker.say([64, 1, ID, "hold", 1, None])
    held.begun.acquire()
    context = held.contexts[0]
    context.progress(1)
    assert broker.expect(36) == [36, 1, encode(1)]
    broker.cut()
    broker.hello()
    context.progress(2)  # there is no session; it waits for one
    broker.welcome(resumed=True)
    assert broker.expect(36) == [36, 1, encode(2)]
    # A broker that starts anew knows no checkpoint: it is told the last one, under the new handle.
    context.checkpoint("a")
    context.checkpoint("b")
    broker.until(lambda: [38, 1, encode("b")] in broker.records)
    broker.ack()
    broker.cut()
    hello = broker.hello()
    assert [claim[0] for claim in hello["claims"]] == [ID]
    context.log("warning", "between")
    broker.welcome(claims=[[ID, 77]])
    records = next_records(broker, 2)
    assert sorted(records) == [[37, 77, 3, "between"], [38, 77, encode("b")]]
    held.end.release()
    assert broker.expect(32)[1] == 77


def test_a_checkpoint_that_was_given_is_told_to_a_broker_that_forgot_it(
    broker: FakeBroker, url: str, running: Running
) -> None:
    held = Held(url)
    running(held.worker)
    broker.greet()
    broker.say([64, 1, ID, "hold", 2, None, {33: encode("mine")}])
    held.begun.acquire()
    broker.cut()
    broker.hello()
    broker.welcome(claims=[[ID, 9]])
    assert broker.expect(38) == [38, 9, encode("mine")]
    held.end.release()
    broker.expect(32)


def test_a_run_that_is_over_says_nothing(broker: FakeBroker, url: str, running: Running) -> None:
    held = Held(url)
    running(held.worker)
    broker.greet()
    broker.say([64, 1, ID, "hold", 1, None], [64, 2, ID, "hold", 1, None])
    held.begun.acquire()
    held.end.release()
    assert broker.expect(32)[1] == 1
    held.begun.acquire()
    over, moved = held.contexts
    over.progress(1)
    over.checkpoint(1)
    over.log("info", "x")
    broker.cut()
    broker.hello()
    broker.welcome(claims=[[ID, None]])  # the second runs elsewhere now
    broker.until(lambda: moved.cancel_reason == "moved")
    moved.progress(2)
    moved.heartbeat()
    held.end.release()
    broker.say([3, 7], [64, 3, ID, "hold", 1, encode("on")])
    held.begun.acquire()
    held.end.release()
    broker.until(lambda: any(r[0] == 32 for r in broker.records))
    assert list(broker.records) == [[4, 7], [32, 3, 1, encode("on")]]


def test_without_a_broker_words_are_bounded(broker: FakeBroker, url: str, running: Running) -> None:
    held = Held(url)
    running(held.worker)
    broker.greet()
    broker.say([64, 1, ID, "hold", 1, None])
    held.begun.acquire()
    broker.cut()
    broker.hello()
    context = held.contexts[0]
    for n in range(3000):
        context.progress(n)
        context.checkpoint([n] * 1000)
    context.progress(bytes(10_000))
    broker.welcome(resumed=True)
    held.end.release()
    broker.until(lambda: any(r[0] == 32 for r in broker.records))
    kinds = [r[0] for r in broker.records]
    assert kinds.count(38) == 1 and 900 < kinds.count(36) <= 1000
    assert next(r for r in broker.records if r[0] == 38) == [38, 1, encode([2999] * 1000)]


PROGRAM = """
import time
from tuskd import Context, Defer, Worker

worker = Worker({url!r}, processes=1)

@worker.task("speak")
def speak(context: Context):
    context.progress(1)
    context.log("info", "line")
    context.checkpoint([2])
    context.pause_type(1)
    return [context.last_checkpoint, context.time_left]

@worker.task("cost")
def cost(fails: bool, context: Context):
    context.set_cost(9)
    assert not fails

@worker.task("aspeak")
async def aspeak(context: Context):
    context.progress(2)

@worker.task("defer")
def defer(after): raise Defer(after)

@worker.task("large")
def large(context: Context): context.checkpoint(bytes(2000))

@worker.task("stop")
def stop(context: Context):
    context.progress("begun")
    while not context.cancelled: time.sleep(0.001)
    context.progress(context.cancel_reason)

if __name__ == "__main__":
    worker.run()
"""


def test_runs_in_processes_speak(
    make_broker: Callable[..., FakeBroker], url: str, tmp_path: Path
) -> None:
    broker = make_broker(limits={"checkpoint": 1000})
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(url=url))
    process = subprocess.Popen([sys.executable, str(program)])
    try:
        broker.greet()
        broker.say([64, 1, ID, "speak", 2, None, {24: 60_000, 33: encode("saved")}])
        broker.until(lambda: any(r[0] == 32 for r in broker.records), 30.0)
        *words, result = broker.records
        assert words == [
            [36, 1, encode(1)],
            [37, 1, 2, "line"],
            [38, 1, encode([2])],
            [42, 1, 1000],
        ]
        last, left = decode(result[3])
        assert last == "saved" and 20 < left <= 60
        broker.records.clear()
        broker.say([64, 8, ID, "cost", 1, encode(False)])
        assert broker.expect(32) == [32, 8, 1, encode(None), {49: 9}]
        broker.say([64, 9, ID, "cost", 1, encode(True)])
        assert broker.expect(32)[4][49] == 9
        broker.say([64, 2, ID, "aspeak", 1, None])
        assert broker.expect(36) == [36, 2, encode(2)]
        broker.expect(32)
        broker.say([64, 3, ID, "defer", 1, encode(2)])
        assert broker.expect(41) == [41, 3, 2000]
        broker.say([64, 4, ID, "large", 1, None])
        failed = broker.expect(32)
        assert failed[2] == 2 and failed[4][2]["type"] == "TooLarge"
        broker.say([64, 5, ID, "stop", 1, None])
        assert broker.expect(36) == [36, 5, encode("begun")]
        broker.say([17, 5, ID, {26: "run_timeout"}])
        assert broker.expect(36) == [36, 5, encode("run_timeout")]
        assert broker.expect(32)[:3] == [32, 5, 1]
    finally:
        process.kill()
        process.wait(10)


def test_a_context_of_nobody() -> None:
    """As a test of a handler makes one."""
    context = Context(ID, "t", 1, None)
    context.progress(1)
    context.log("info", "x")
    context.checkpoint(2)
    assert (context.last_checkpoint, context.time_left, context.cancel_reason) == (None, None, None)
    context.check()
    context.set_cost(2)
    context.cancel("deadline")
    context.cancel()
    assert context.cancel_reason == "deadline"
    with pytest.raises(tuskd.Cancelled, match="deadline"):
        context.check()
