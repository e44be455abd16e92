"""Slots, recalls, cancels, async handlers and lists of a worker, against a scripted broker."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from conftest import ID, Running, answers
from fake_broker import FakeBroker
from sample_workers import Gate, plain

from tuskd import DROP, Context, Worker
from tuskd.values import decode, encode


def test_io_answers_while_handlers_run_and_recall_takes_back(
    broker: FakeBroker, url: str, running: Running
) -> None:
    gate = Gate()
    worker = Worker(url, slots=1)
    worker.task("gate")(gate)
    running(worker)
    broker.greet()
    broker.say(*[[64, n, ID, "gate", 1, encode(n)] for n in (1, 2, 3)])
    assert gate.begun.acquire(timeout=10)
    broker.say([3, 77])
    assert broker.expect(4) == [4, 77]
    broker.say([66, 5, [1, 3, 99]], [66, 6, [3]])
    assert broker.expect(33) == [33, 5, [3]], "1 runs, 99 is not ours"
    assert broker.expect(33) == [33, 6, []]
    gate.open.release()
    assert broker.expect(32)[1:] == [1, 1, encode(1)]
    gate.open.release()
    assert broker.expect(32)[1:] == [2, 1, encode(2)]
    broker.say([3, 78])
    broker.until(lambda: [4, 78] in broker.records)
    assert not any(r[0] == 32 for r in broker.records) and gate.most == 1


def test_as_many_runs_as_slots(broker: FakeBroker, url: str, running: Running) -> None:
    gate = Gate()
    worker = Worker(url, slots=4)
    worker.task("gate")(gate)
    running(worker)
    broker.greet()
    broker.say(*[[64, n, ID, "gate", 1, encode(n)] for n in range(1, 7)])
    for _ in range(4):
        assert gate.begun.acquire(timeout=10)
    for _ in range(6):
        gate.open.release()
    assert {broker.expect(32)[1] for _ in range(6)} == set(range(1, 7))
    assert gate.most == 4


def test_result_does_not_wait_for_the_next_run(
    broker: FakeBroker, url: str, running: Running
) -> None:
    gate = Gate()
    worker = plain(url)
    worker.task("gate")(gate)
    running(worker)
    broker.greet()
    broker.say([64, 1, ID, "echo", 1, encode(1)], [64, 2, ID, "gate", 1, encode(2)])
    assert broker.expect(32)[1] == 1, "sent although the one thread is in the next handler"
    gate.open.release()
    assert broker.expect(32)[1] == 2


def test_cancel_of_a_waiting_and_of_a_running_handler(
    broker: FakeBroker, url: str, running: Running
) -> None:
    begun = threading.Event()
    worker = Worker(url)

    @worker.task("long")
    def long(value: Any, context: Context) -> None:
        begun.set()
        while not context.cancelled:
            begun.wait(0.001)
        context.check()

    running(worker)
    broker.greet()
    broker.say([64, 1, ID, "long", 1, None], [64, 2, ID, "long", 1, None])
    assert begun.wait(10)
    broker.say([17, 2, ID])
    assert broker.expect(32)[1:3] == [2, 4]
    broker.say([17, 1, ID])
    assert broker.expect(32)[1:3] == [1, 4]


def test_async_handlers(broker: FakeBroker, url: str, running: Running) -> None:
    worker = Worker(url, slots=3)
    cleaned = threading.Event()

    @worker.task("double")
    async def double(value: int) -> int:
        await asyncio.sleep(0)
        return 2 * value

    @worker.task("for ever")
    async def for_ever(value: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    @worker.task("fail")
    async def fail(value: Any) -> None:
        raise RuntimeError("async")

    @worker.task("plain")
    def in_thread(value: Any, context: Context) -> Any:
        return [value, threading.current_thread() is not threading.main_thread(), context.attempt]

    running(worker)
    broker.greet()
    broker.say([64, 1, ID, "for ever", 1, None], [64, 2, ID, "double", 1, encode(4)])
    assert broker.expect(32)[1:] == [2, 1, encode(8)]
    broker.say([17, 1, ID])
    assert broker.expect(32)[1:3] == [1, 4]
    assert cleaned.is_set(), "cancelled as asyncio does it"
    failed, in_a_thread = answers(
        broker, [64, 3, ID, "fail", 1, None], [64, 4, ID, "plain", 1, encode(5)]
    )
    if failed[1] == 4:
        failed, in_a_thread = in_a_thread, failed
    assert failed[2] == 2 and failed[4][2]["type"] == "RuntimeError"
    assert decode(in_a_thread[3]) == [5, True, 1]


def test_stages(broker: FakeBroker, url: str, running: Running) -> None:
    worker = Worker(url)

    @worker.stage("odd")
    def odd(item: int) -> Any:
        return item if item % 2 else DROP

    running(worker)
    broker.greet()
    got = answers(broker, *[[65, n, ID, "odd", 1, encode(n)] for n in (1, 2, 3)])
    assert [a[1:] for a in got] == [[1, 1, b"\x01"], [2, 1, None], [3, 1, b"\x03"]]


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_list_handlers(broker: FakeBroker, url: str, running: Running, kind: str) -> None:
    worker = Worker(url)
    batches: list[list[Any]] = []

    def work(items: list[Any]) -> list[Any]:
        batches.append(items)
        if "bad" in items:
            raise ValueError("bad")
        if "short" in items:
            return []
        return [DROP if item == "drop" else item for item in items]

    async def work_async(items: list[Any]) -> list[Any]:
        return work(items)

    worker.stage("list", batch=3, wait=0.01)(work if kind == "plain" else work_async)
    assert worker.slots == 3
    running(worker)
    broker.greet()
    broker.say(*[[65, n, ID, "list", 1, encode(v)] for n, v in ((1, "a"), (2, "drop"), (3, "c"))])
    got = [broker.expect(32) for _ in range(3)]
    assert [a[1:4] for a in got] == [[1, 1, encode("a")], [2, 1, None], [3, 1, encode("c")]]
    assert batches == [["a", "drop", "c"]]
    (alone,) = answers(broker, [65, 4, ID, "list", 1, encode("alone")])
    assert alone[3] == encode("alone"), "what came within the wait, though fewer"
    broker.say(
        *[[65, n, ID, "list", 1, b] for n, b in ((5, encode("x")), (6, b"\xc1"), (7, b"\x05"))]
    )
    by_handle = {a[1]: a for a in (broker.expect(32) for _ in range(3))}
    assert [by_handle[n][2] for n in (5, 6, 7)] == [1, 2, 1], "only the one that cannot be read"
    broker.say(*[[65, n, ID, "list", 1, encode(v)] for n, v in ((8, "bad"), (9, 1), (10, 2))])
    assert all(broker.expect(32)[2] == 2 for _ in range(3))
    broker.say(*[[65, n, ID, "list", 1, encode(v)] for n, v in ((11, "short"), (12, 1), (13, 2))])
    for _ in range(3):
        answer = broker.expect(32)
        assert answer[2] == 2 and "must return a list" in answer[4][2]["message"]


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_list_handlers_of_tasks(broker: FakeBroker, url: str, running: Running, kind: str) -> None:
    worker = Worker(url)

    def work(bodies: list[Any]) -> list[Any]:
        return [[body, len(bodies)] for body in bodies]

    async def work_async(bodies: list[Any]) -> list[Any]:
        return work(bodies)

    worker.task("list", batch=3, wait=60)(work if kind == "plain" else work_async)
    worker.stage("list", batch=2, wait=60)(work)
    assert worker.slots == 3
    running(worker)
    broker.greet()
    broker.say(*[[64, n, ID, "list", 1, encode(n)] for n in (1, 2)], [65, 4, ID, "list", 1, None])
    got = answers(broker, [65, 5, ID, "list", 1, None], [64, 3, ID, "list", 1, encode(3)])
    got += [broker.expect(32) for _ in range(3)]
    assert {a[1]: decode(a[3]) for a in got} == {
        **{n: [n, 3] for n in (1, 2, 3)},
        **{n: [None, 2] for n in (4, 5)},
    }, "a stage of the same name has batches of its own"


BAD_BATCHES: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    ({"batch": 0}, {}, ValueError, "batch is at least 1, not 0"),
    ({"batch": -1}, {}, ValueError, "batch is at least 1, not -1"),
    ({"batch": 1.5}, {}, TypeError, "batch is an integer, not float"),
    ({"batch": 2, "wait": -0.1}, {}, ValueError, "wait is 0 to .* seconds"),
    ({"batch": 2, "wait": "1s"}, {}, TypeError, "wait is a number of seconds"),
    ({"batch": 5}, {"slots": 4}, ValueError, "a batch of 5 is larger than the 4 slots"),
]


@pytest.mark.parametrize("register", ["task", "stage"])
@pytest.mark.parametrize(("given", "options", "kind", "text"), BAD_BATCHES)
def test_batches_that_cannot_be_are_told_at_registration(
    register: str, given: dict[str, Any], options: dict[str, Any], kind: Any, text: str
) -> None:
    worker = Worker("ipc:///nowhere", **options)
    with pytest.raises(kind, match=text):
        getattr(worker, register)("x", **given)(lambda bodies: bodies)


def test_a_batch_larger_than_the_slots_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUSK_SLOTS", "4")
    worker = Worker("ipc:///nowhere")
    worker.task("fits", batch=4)(lambda bodies: bodies)
    with pytest.raises(ValueError, match="a batch of 5 is larger than the 4 slots"):
        worker.task("x", batch=5)(lambda bodies: bodies)


def test_item_that_ran_before_does_not_wait_for_its_batch(
    broker: FakeBroker, url: str, running: Running
) -> None:
    worker = Worker(url)
    batches: list[list[Any]] = []

    @worker.stage("list", batch=10, wait=60.0)
    def work(items: list[Any]) -> list[Any]:
        batches.append(items)
        return items

    running(worker)
    broker.greet()
    (alone,) = answers(broker, [65, 1, ID, "list", 2, encode("suspect")])
    assert alone[1:3] == [1, 1]
    answers(
        broker,
        [65, 2, ID, "list", 1, encode("waits")],
        [65, 3, ID, "list", 3, encode("again")],
        [65, 4, ID, "list", 1, encode("with it")],
    )
    assert batches == [["suspect"], ["waits", "again", "with it"]]
