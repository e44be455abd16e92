"""How a worker's session ends, breaks and goes on, against a scripted broker."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ID, Running, Start, answers
from fake_broker import FakeBroker
from sample_workers import Gate, plain

import tuskd
from tuskd import Context, Worker
from tuskd.values import decode, encode


def test_drain_gives_back_and_ends(broker: FakeBroker, url: str, running: Running) -> None:
    gate = Gate()
    worker = Worker(url)
    worker.task("gate")(gate)
    done = running(worker)
    broker.greet()
    broker.say(*[[64, n, ID, "gate", 1, encode(n)] for n in (1, 2, 3)])
    assert gate.begun.acquire(timeout=10)
    broker.say([68, "reload"])
    assert broker.expect(40) == [40, 0]
    assert broker.expect(33) == [33, 0, [2, 3]]
    broker.say([64, 4, ID, "gate", 1, None])
    assert broker.expect(33) == [33, 0, [4]], "came after the drain"
    gate.open.release()
    assert broker.expect(32)[1:3] == [1, 1]
    broker.ack()
    broker.expect(6)
    assert done.result(10) is None


def test_stop_is_bounded(broker: FakeBroker, url: str, running: Running) -> None:
    gate = Gate()
    worker = Worker(url)
    worker.task("gate")(gate)
    done = running(worker)
    broker.greet()
    broker.say([64, 1, ID, "gate", 1, None])
    assert gate.begun.acquire(timeout=10)
    worker.stop(0.01)
    done.result(10)
    gate.open.release()


def test_refused_worker_raises(broker: FakeBroker, url: str, running: Running) -> None:
    import msgpack

    done = running(plain(url))
    broker.hello()
    broker.raw(msgpack.packb([5, 0, "refused", "python is not allowed"]))
    with pytest.raises(tuskd.Refused, match="not allowed"):
        done.result(10)


def test_claims_after_a_restart(
    make_broker: Callable[..., FakeBroker], url: str, running: Running
) -> None:
    gate = Gate()
    worker = plain(url, slots=1)
    worker.task("gate")(gate)
    running(worker)
    broker = make_broker()
    broker.greet()
    ids = [bytes([n]) * 16 for n in range(6)]
    # 0 is answered and acknowledged, 1 answered only, 2 runs, 3 and 4 wait.
    broker.say([64, 10, ids[0], "echo", 1, encode(0)])
    broker.expect(32)
    broker.ack()
    broker.hold = broker.received
    broker.say([64, 11, ids[1], "echo", 2, encode(1)])
    broker.expect(32)
    broker.say(*[[64, 10 + n, ids[n], "gate", n, encode(n)] for n in (2, 3, 4)])
    assert gate.begun.acquire(timeout=10)
    broker.until(lambda: broker.acked == broker.sent)
    broker.close()
    again = make_broker()
    hello = again.hello()
    assert sorted(hello["claims"]) == [
        [ids[1], 2, "echo", False],
        [ids[2], 2, "gate", False],
        [ids[3], 3, "gate", False],
        [ids[4], 4, "gate", False],
    ]
    again.welcome(claims=[[ids[4], 94], [ids[3], None], [ids[2], 92], [ids[1], 91]])
    assert again.expect(32)[1:] == [91, 1, encode(1)], "the answer that was not acknowledged"
    gate.open.release()
    assert again.expect(32)[1:] == [92, 1, encode(2)]
    gate.open.release()
    assert again.expect(32)[1:] == [94, 1, encode(4)], "3 runs elsewhere"


def test_claim_that_is_dropped_while_it_runs(
    make_broker: Callable[..., FakeBroker], url: str, running: Running
) -> None:
    worker = plain(url)
    begun, seen = threading.Event(), threading.Event()

    @worker.task("long")
    def long(value: Any, context: Context) -> None:
        begun.set()
        while not context.cancelled:
            begun.wait(0.001)
        seen.set()

    running(worker)
    broker = make_broker()
    broker.greet()
    broker.say([64, 1, ID, "long", 1, None])
    assert begun.wait(10)
    broker.close()
    again = make_broker()
    again.greet(claims=[[ID, None]])
    assert seen.wait(10), "it is told to stop"
    (answer,) = answers(again, [64, 1, ID, "echo", 1, encode("new")])
    assert answer[1:] == [1, 1, encode("new")], "and nothing was answered for it"


def test_resumed_session_repeats_results(broker: FakeBroker, url: str, running: Running) -> None:
    running(plain(url))
    broker.greet()
    broker.drop_next = True
    broker.say([64, 1, ID, "echo", 1, encode("r")])
    broker.until(lambda: not broker.drop_next)
    broker.cut()
    hello = broker.hello()
    assert hello["session"] == broker.session and hello["ack"] == 1
    broker.welcome(resumed=True)
    assert broker.expect(32)[1:] == [1, 1, encode("r")]


# A result that nobody acknowledged would make another worker run the task again.
def test_a_slow_broker_is_given_time_to_acknowledge_the_last_results(
    broker: FakeBroker, url: str, running: Running
) -> None:
    ended = running(plain(url))
    broker.greet()
    broker.hold = 0
    broker.say([64, 1, ID, "echo", 1, encode("v")])
    broker.expect(32)
    broker.say([68, "reload"])
    with pytest.raises(TimeoutError):
        broker.expect(6, 1.5)
    broker.hold = None
    broker.ack()
    broker.expect(6)
    ended.result(5)


def test_a_broker_that_is_gone_is_not_waited_for(
    broker: FakeBroker, url: str, running: Running
) -> None:
    worker = plain(url)
    ended = running(worker)
    broker.greet()
    broker.hold = 0
    broker.say([64, 1, ID, "echo", 1, encode("v")])
    broker.expect(32)
    broker.close()
    worker.stop(60.0)
    ended.result(20)


ASYNC_PROGRAM = """
import asyncio
from tuskd import Worker

worker = Worker({url!r}, slots=2)

@worker.task("for ever")
async def for_ever(value):
    await asyncio.Event().wait()

@worker.task("echo")
async def echo(value):
    return value

worker.run()
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_async_worker_and_signals(
    broker: FakeBroker, url: str, tmp_path: Path, signals: int
) -> None:
    program = tmp_path / "program.py"
    program.write_text(ASYNC_PROGRAM.format(url=url))
    process = subprocess.Popen([sys.executable, str(program)])
    try:
        broker.greet()
        if signals == 2:  # one that does not end by itself: the second signal ends the worker
            broker.say([64, 1, ID, "for ever", 1, None])
        broker.say([64, 2, ID, "echo", 1, encode("v")])
        assert broker.expect(32)[1:] == [2, 1, encode("v")]
        process.terminate()
        assert broker.expect(40) == [40, 0]
        broker.ack()
        if signals == 2:
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
        broker.expect(6)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_serve_on_a_loop_that_runs_already(broker: FakeBroker, url: str, start: Start) -> None:
    async def main() -> None:
        worker = plain(url)
        serving = asyncio.create_task(worker.serve())
        await asyncio.wrap_future(start(broker.greet))
        answer = await asyncio.wrap_future(
            start(answers, broker, [64, 1, ID, "add", 1, encode({"a": 1, "b": 1})])
        )
        assert decode(answer[0][3]) == 2
        worker.stop()
        await asyncio.wrap_future(start(broker.expect, 40))
        broker.ack()
        await serving

    asyncio.run(asyncio.wait_for(main(), 30))
