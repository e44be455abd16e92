"""Handlers in processes of their own, against a scripted broker. Each worker is a real program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_broker import FakeBroker

from tuskd import Worker
from tuskd.values import decode, encode

ID = b"0123456789abcdef"
PROGRAM = """
import asyncio, os, signal, sys
from tuskd import Context, DROP, Worker

worker = Worker({url!r}, processes=2)

@worker.task("pid")
def pid(value): return [os.getpid(), os.getppid(), value]

@worker.task("die")
def die(value): os.kill(os.getpid(), signal.SIGKILL)

@worker.task("leave")
def leave(value): os._exit(3)

@worker.task("fail")
def fail(value): raise ValueError(value)

@worker.task("wait")
def wait(value, context: Context):
    import time
    print("begun", flush=True)
    while not context.cancelled: time.sleep(0.001)
    context.check()

@worker.task("async")
async def sleeps(value):
    print("begun", flush=True)
    await asyncio.sleep(value)
    return "slept"

@worker.stage("list", batch=2, wait=0.01)
def some(items): return [DROP if i == "drop" else [i, os.getpid()] for i in items]

if __name__ == "__main__":
    worker.run()
"""


@pytest.fixture
def worker(url: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(url=url))
    process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    yield process
    if process.poll() is None:
        process.kill()
    process.wait(10)
    assert process.stdout is not None
    process.stdout.close()


def ask(broker: FakeBroker, handle: int, type: str, body: Any) -> list[Any]:
    broker.say([64, handle, ID, type, 1, encode(body)])
    return broker.expect(32, 30.0)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_runs_happen_in_children_and_a_dead_child_is_replaced(
    broker: FakeBroker, worker: subprocess.Popen[str]
) -> None:
    hello = broker.greet()
    assert hello["slots"] == 2 and hello["pid"] == worker.pid
    assert "capabilities" not in hello, "it has a list handler, so nothing ahead of the slots"
    first, parent, value = decode(ask(broker, 1, "pid", "v")[3])
    assert (parent, value) == (worker.pid, "v") and first != worker.pid
    died = ask(broker, 2, "die", 1)
    assert died[2] == 2 and died[4][59] is True
    assert died[4][2]["type"] == "Crashed" and "signal 9" in died[4][2]["message"]
    left = ask(broker, 3, "leave", 1)
    assert left[4][59] is True and "status 3" in left[4][2]["message"]
    assert 57 not in left[4], "whether it runs again is the broker's affair"
    again, _, _ = decode(ask(broker, 4, "pid", 1)[3])
    assert again != worker.pid
    failed = ask(broker, 5, "fail", "no")
    assert failed[2] == 2 and failed[4][2]["type"] == "ValueError"
    assert "in fail" in failed[4][2]["stack"]


def test_cancel_reaches_the_child(broker: FakeBroker, worker: subprocess.Popen[str]) -> None:
    broker.greet()
    assert worker.stdout is not None
    for handle, (type, body) in enumerate((("wait", None), ("async", 60)), 1):
        broker.say([64, handle, ID, type, 1, encode(body)])
        assert worker.stdout.readline() == "begun\n"
        broker.say([17, handle, ID])
        assert broker.expect(32)[1:3] == [handle, 4]
    assert decode(ask(broker, 5, "async", 0)[3]) == "slept"


def test_batches_run_in_a_child(broker: FakeBroker, worker: subprocess.Popen[str]) -> None:
    broker.greet()
    broker.say(*[[65, n, ID, "list", 1, encode(v)] for n, v in ((1, "a"), (2, "drop"))])
    first, second = broker.expect(32, 30.0), broker.expect(32)
    value, pid = decode(first[3])
    assert value == "a" and pid != worker.pid
    assert second[2:4] == [1, None]


def test_children_die_with_the_worker(broker: FakeBroker, worker: subprocess.Popen[str]) -> None:
    broker.greet()
    child, _, _ = decode(ask(broker, 1, "pid", 1)[3])
    assert alive(child)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait(10)
    broker.until(lambda: not alive(child))


def test_stop_by_signal(broker: FakeBroker, worker: subprocess.Popen[str]) -> None:
    broker.greet()
    child, _, _ = decode(ask(broker, 1, "pid", 1)[3])
    broker.ack()
    worker.terminate()
    broker.expect(40)
    broker.ack()
    broker.expect(6)
    assert worker.wait(10) == 0
    broker.until(lambda: not alive(child))


def test_handlers_that_another_process_cannot_find() -> None:
    worker = Worker("ipc:///nowhere", processes=1)
    worker.task("t")(lambda v: v)
    with pytest.raises(TypeError, match="top level"):
        worker.run()


# Its processes submit children to a broker of their own.
FAMILY = """
import asyncio
from tuskd import AsyncContext, Context, Worker, processes

make = processes.make
processes.make = lambda handlers, bounds, url: make(handlers, bounds, url + "-children")
worker = Worker({url!r}, processes=1)

@worker.task("one")
def one(value, context: Context): return context.call("child", value)

@worker.task("async")
async def one_async(value, context: AsyncContext): return await context.call("child", value)

@worker.task("count")
def count(n):
    for i in range(1, n + 1): yield i
    return "end"

if __name__ == "__main__":
    worker.run()
"""


@pytest.fixture
def family(url: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    program = tmp_path / "family.py"
    program.write_text(FAMILY.format(url=url))
    process = subprocess.Popen([sys.executable, str(program)], text=True)
    yield process
    process.kill()
    process.wait(10)


@pytest.mark.parametrize("type", ["one", "async"])
def test_runs_in_processes_have_children(
    broker: FakeBroker,
    make_broker: Callable[..., FakeBroker],
    family: subprocess.Popen[str],
    type: str,
) -> None:
    parents = make_broker("-children")
    broker.greet()
    for handle, outcome in enumerate(("resumed", "full", "cancelled"), 1):
        broker.say([64, handle, ID, type, 1, encode(handle)])
        if handle == 1:
            parents.greet()
        child = parents.expect(16)
        assert child[5] == {63: ID, 15: 2}
        parents.say([48, child[1]])
        assert broker.expect(35) == [35, handle, [child[2]]]
        if outcome == "cancelled":
            broker.say([17, handle, ID, {26: "parent"}])
            assert broker.expect(32)[1:3] == [handle, 4]
            continue
        if outcome == "full":
            broker.say([5, handle, "full", "too many are suspended", {}])
        parents.say([32, child[1], 1, encode(outcome)])
        if outcome == "resumed":
            broker.say([67, handle])
        assert broker.expect(32)[1:] == [handle, 1, encode(outcome)]


def test_another_process_runs_what_comes_while_a_run_waits(
    broker: FakeBroker, make_broker: Callable[..., FakeBroker], family: subprocess.Popen[str]
) -> None:
    parents = make_broker("-children")
    broker.greet()
    broker.say([64, 1, ID, "one", 1, encode(1)])
    parents.greet()
    child = parents.expect(16)
    parents.say([48, child[1]])
    broker.expect(35)
    assert decode(ask(broker, 2, "count", 3)[3]) == "end"
    parents.say([32, child[1], 1, encode("late")])
    broker.say([67, 1])
    assert decode(broker.expect(32)[3]) == "late"


def test_chunks_of_a_process_wait_for_credit(
    broker: FakeBroker, family: subprocess.Popen[str]
) -> None:
    broker.greet()
    broker.say([64, 1, ID, "count", 1, encode(4), {75: 1}], [45, 1, 1])
    assert [broker.expect(8, 30.0)[2] for _ in range(2)] == [encode(1), encode(2)]
    with pytest.raises(TimeoutError):
        broker.expect(8, 0.1)
    broker.say([45, 1, 5])
    assert [broker.expect(8)[2] for _ in range(2)] == [encode(3), encode(4)]
    assert broker.expect(32)[1:] == [1, 1, encode("end")]
