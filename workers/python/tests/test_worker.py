"""The worker against a scripted broker."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lz4.frame
import msgpack
import pytest
from conftest import Start
from fake_broker import FakeBroker

import tuskd
from tuskd import DROP, Context, NoRetry, Worker
from tuskd.values import decode, encode

ID = b"0123456789abcdef"
Running = Callable[[Worker], Any]


@pytest.fixture
def running(start: Start) -> Iterator[Running]:
    """Runs workers in threads and stops them at the end."""
    started: list[tuple[Worker, Any]] = []

    def begin(worker: Worker) -> Any:
        started.append((worker, start(worker.run)))
        return started[-1][1]

    yield begin
    for worker, future in started:
        if not future.done():
            worker.stop(0.0)
            future.exception(10)


def plain(url: str, **options: Any) -> Worker:
    worker = Worker(url, **options)

    @worker.task("add")
    def add(a: int, b: int = 10) -> int:
        return a + b

    @worker.task("echo")
    def echo(value: Any) -> Any:
        return value

    @worker.task("fail")
    def fail(value: str) -> None:
        raise ValueError(value)

    @worker.task("never")
    def never(value: Any) -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise NoRetry from error

    @worker.task("who")
    def who(context: Context, x: int) -> list[Any]:
        return [context.id, context.type, context.attempt, context.trace, x, context.cancelled]

    @worker.task("nothing")
    def nothing() -> str:
        return "nothing"

    @worker.task("rest")
    def rest(**names: Any) -> Any:
        return names

    return worker


def answers(broker: FakeBroker, *tasks: list[Any], frames: list[bytes] | None = None) -> list[Any]:
    broker.say(*tasks, frames=frames)
    return [broker.expect(32) for _ in tasks]


def test_hello(broker: FakeBroker, url: str, running: Running) -> None:
    worker = plain(url, slots=3, pool="gpu", name="me")
    worker.stage("clean")(lambda item: item)
    running(worker)
    hello = broker.greet()
    assert (hello["role"], hello["slots"], hello["pool"], hello["name"]) == (
        "worker",
        3,
        "gpu",
        "me",
    )
    assert hello["types"] == ["add", "echo", "fail", "never", "nothing", "rest", "who"]
    assert hello["handlers"] == ["clean"] and hello["claims"] == [] and "capabilities" not in hello


def test_a_program_can_wait_until_its_worker_is_taken(
    broker: FakeBroker, url: str, running: Running
) -> None:
    worker = plain(url)
    assert worker.wait_until_ready(0.01) is False
    running(worker)
    broker.hello()
    assert worker.wait_until_ready(0.01) is False
    broker.welcome()
    assert worker.wait_until_ready(10) is True
    refused = plain(url)
    future = running(refused)
    broker.hello()
    broker.raw(msgpack.packb([5, 0, "refused", "not here"]))
    assert refused.wait_until_ready(10) is False
    assert isinstance(future.exception(10), tuskd.Refused)


def test_environment_of_the_supervisor(
    broker: FakeBroker, running: Running, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUSK_URL", url)
    monkeypatch.setenv("TUSK_SLOTS", "7")
    monkeypatch.setenv("TUSK_POOL", "p")
    monkeypatch.setenv("TUSK_WORKER", "w")
    worker = Worker()
    worker.task("t")(lambda v: v)
    running(worker)
    hello = broker.greet()
    assert (hello["slots"], hello["pool"], hello["name"]) == (7, "p", "w")


def test_labels_of_the_environment_and_of_the_program(
    broker: FakeBroker, running: Running, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUSK_LABELS", '{"region": "eu", "gpu": 2}')
    running(plain(url, labels={"gpu": 4, "disk": "ssd"}))
    assert broker.greet()["labels"] == {"region": "eu", "gpu": 4, "disk": "ssd"}


def test_without_labels_none_are_announced(broker: FakeBroker, running: Running, url: str) -> None:
    running(plain(url))
    assert "labels" not in broker.greet()


BAD_LABELS: list[tuple[str, Any, type[Exception], str]] = [
    ("{region: eu}", None, ValueError, "TUSK_LABELS is not JSON"),
    ("[1]", None, ValueError, "TUSK_LABELS is a JSON object"),
    ('{"gpu": 1.5}', None, TypeError, r"TUSK_LABELS\['gpu'\] is text or a whole number"),
    ('{"gpu": -1}', None, ValueError, r"TUSK_LABELS\['gpu'\] is 0 to 1,000,000,000"),
    ('{"region": ""}', None, ValueError, r"TUSK_LABELS\['region'\] has 1 to 255 bytes"),
    ("", {"gpu": None}, TypeError, r"labels\['gpu'\] is text or a whole number"),
    ("", {"x" * 256: 1}, ValueError, "a name in labels has 1 to 255 bytes, not 256"),
    ("", {str(n): n for n in range(33)}, ValueError, "labels has at most 32 entries, not 33"),
    ('{"a": 1}', {str(n): n for n in range(32)}, ValueError, "at most 32 names, not 33"),
    ("", ["gpu"], TypeError, "labels is a map"),
]


@pytest.mark.parametrize(("told", "labels", "kind", "text"), BAD_LABELS)
def test_labels_that_no_worker_may_have_are_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, told: str, labels: Any, kind: type[Exception], text: str
) -> None:
    monkeypatch.setenv("TUSK_LABELS", told)
    with pytest.raises(kind, match=text):
        Worker("ipc:///nowhere", labels=labels)


def test_a_handler_sees_the_labels_of_its_task(
    broker: FakeBroker, running: Running, url: str
) -> None:
    worker = Worker(url)

    @worker.task("labels")
    def labels(context: Context) -> dict[str, str]:
        return context.labels

    running(worker)
    broker.greet()
    given = {"customer": "acme"}
    some, none = answers(
        broker, [64, 1, ID, "labels", 1, None, {18: given}], [64, 2, ID, "labels", 1, None]
    )
    assert (decode(some[3]), decode(none[3])) == (given, {})


CALLS: list[tuple[str, Any, Any]] = [
    ("add", {"a": 1, "b": 2}, 3),
    ("add", {"a": 1}, 11),
    ("echo", {"a": [1, 2.5, None, b"x"]}, {"a": [1, 2.5, None, b"x"]}),
    ("who", {"x": 5}, [ID, "who", 2, "tr", 5, False]),
    ("nothing", None, "nothing"),
    ("nothing", {}, "nothing"),
    ("rest", {"p": 1, "q": 2}, {"p": 1, "q": 2}),
]


@pytest.mark.parametrize(("type", "body", "result"), CALLS)
def test_handlers_get_their_arguments(
    broker: FakeBroker, url: str, running: Running, type: str, body: Any, result: Any
) -> None:
    if type == "who":
        body = 5  # one parameter beside the context: the whole value
    running(plain(url))
    broker.greet()
    (answer,) = answers(broker, [64, 1, ID, type, 2, encode(body), {8: "tr"}])
    assert answer[1:3] == [1, 1]
    assert decode(answer[3]) == result


FAILURES: list[tuple[str, bytes | None, dict[int, Any], str, bool]] = [
    ("fail", encode("no"), {}, "ValueError", False),
    ("never", encode(1), {}, "KeyError", True),
    ("add", encode([1, 2]), {}, "BodyError", True),
    ("add", encode({"a": 1, "c": 2}), {}, "BodyError", True),
    ("add", encode({"b": 1}), {}, "BodyError", True),
    ("add", encode({"a": 1, "b": "x"}), {}, "TypeError", False),
    ("nothing", encode(3), {}, "BodyError", True),
    ("echo", b"\xc1", {}, "BodyError", True),
    ("echo", b"\x81\x01\x02", {}, "BodyError", True),
    ("echo", b"\x01\x02", {}, "BodyError", True),
    ("echo", lz4.frame.compress(bytes(2 << 20), store_size=False), {29: 1}, "BodyError", True),
    ("echo", b"{", {27: 1}, "BodyError", True),
    ("echo", b"x", {27: 9}, "BodyError", True),
    ("echo", b"x", {29: 9}, "BodyError", True),
    ("unknown", None, {}, "Unserved", True),
    ("echo", None, {999: 1}, "Unsupported", True),
]


@pytest.mark.parametrize(("type", "body", "attributes", "error", "no_retry"), FAILURES)
def test_failures_are_results_and_the_worker_goes_on(
    make_broker: Callable[..., FakeBroker],
    url: str,
    running: Running,
    type: str,
    body: bytes | None,
    attributes: dict[int, Any],
    error: str,
    no_retry: bool,
) -> None:
    broker = make_broker(limits={"body": 1 << 20})
    running(plain(url))
    broker.greet()
    apart = body is not None and len(body) > 4000
    broker.say(
        [64, 1, ID, type, 1, 1 if apart else body, attributes],
        [64, 2, ID, "echo", 1, encode("on")],
        frames=[body] if apart and body is not None else None,
    )
    first, second = broker.expect(32), broker.expect(32)
    if first[1] == 2:
        first, second = second, first
    assert first[1:4] == [1, 2, None]
    assert first[4][2]["type"] == error and first[4][2]["language"] == "python"
    assert (first[4].get(57) is True) == no_retry
    assert second[:4] == [32, 2, 1, encode("on")]


def test_one_result_for_what_cannot_be_carried_out_or_is_refused(
    broker: FakeBroker, url: str, running: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    running(plain(url))
    broker.greet()

    def said(results: int) -> list[list[Any]]:
        broker.until(lambda: sum(r[0] == 32 for r in broker.records) == results)
        broker.say([3, 7])
        broker.until(lambda: [4, 7] in broker.records)
        records = [r for r in broker.records if r[0] != 4]
        broker.records.clear()
        return records

    broker.say(
        [64, 1, ID, "echo", 1, encode(1), {999: 1}],
        [64, 2, ID, "echo", 1, b"\xc1"],
        [64, 3, ID, "never", 1, encode(1)],
        [64, 4, ID, "set", 1, encode(1)],
        [65, 5, ID, "echo", 1, encode(1)],
    )
    records = said(results=5)
    assert sorted(r[:3] for r in records) == [[32, n, 2] for n in range(1, 6)]
    assert all(r[4][57] is True for r in records)
    broker.say([5, 1, "too_large", "over 10 bytes", {"limit": "body", "value": 10}])
    broker.say([5, 2, "unknown_handle", "not yours"])
    assert said(results=0) == []
    assert capfd.readouterr().err.count("\n") == 1


def test_results_in_a_packet_that_the_broker_could_not_read_fail(
    broker: FakeBroker, url: str, running: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    running(plain(url))
    broker.greet()

    def refuse() -> None:
        # As a broker does: the same packet acknowledges the one that it refuses.
        details = {"record": 1, "packet": broker.received}
        broker.say([5, 0, "malformed", "no such byte", details], [3, 7])

    for handle, hold in ((1, 0), (2, None)):
        (answer,) = answers(broker, [64, handle, ID, "echo", 1, encode(1)])
        assert answer == [32, handle, 1, encode(1)]
        broker.hold = hold
        refuse()
        instead = broker.expect(32)
        assert instead[1:4] == [handle, 2, None] and instead[4][57] is True
        told = instead[4][2]
        assert told["type"] == "Malformed"
        assert told["message"] == "the broker refused the packet with the result: no such byte"
        broker.hold = None
    assert capfd.readouterr().err == ""
    broker.records.clear()
    refuse()
    broker.until(lambda: [4, 7] in broker.records)
    assert list(broker.records) == [[4, 7]], "such an answer is not answered again"
    assert "malformed" in capfd.readouterr().err


def test_error_has_a_stack_that_begins_in_the_handler(
    broker: FakeBroker, url: str, running: Running
) -> None:
    running(plain(url))
    broker.greet()
    ((*_, attributes),) = answers(broker, [64, 1, ID, "fail", 1, encode("m" * 100_000)])
    error = attributes[2]
    assert error["message"].startswith("mmm") and len(error["message"].encode()) <= 64 << 10
    assert len(error["stack"].encode()) <= 64 << 10
    ((*_, attributes),) = answers(broker, [64, 1, ID, "fail", 1, encode("short")])
    assert "in fail" in attributes[2]["stack"] and "handlers.py" not in attributes[2]["stack"]


def test_value_that_cannot_be_sent_is_a_failure(
    broker: FakeBroker, url: str, running: Running
) -> None:
    worker = Worker(url)
    worker.task("set")(lambda _: {1, 2})
    worker.task("drop")(lambda _: DROP)
    worker.task("large")(lambda n: b"x" * n)
    running(worker)
    broker.greet(limits={"body": 1000})
    for type, body in (("set", 1), ("drop", 1), ("large", 1001)):
        ((_, _, state, _, attributes),) = answers(broker, [64, 1, ID, type, 1, encode(body)])
        assert state == 2 and attributes[57] is True and attributes[2]["message"]


def test_bodies_of_other_codecs(broker: FakeBroker, url: str, running: Running) -> None:
    running(plain(url))
    broker.greet()
    big = encode("y" * 20_000)
    got = answers(
        broker,
        [64, 1, ID, "echo", 1, b'{"j": 1}', {27: 1}],
        [64, 2, ID, "echo", 1, b"\x00\xff", {27: 2}],
        [64, 3, ID, "echo", 1, 1, {29: 1}],
        [64, 4, ID, "echo", 1, 2],
        [64, 5, ID, "echo", 1, None],
        frames=[lz4.frame.compress(big), big],
    )
    assert [decode(a[3]) for a in got] == [{"j": 1}, b"\x00\xff", "y" * 20_000, "y" * 20_000, None]


def test_results_are_compressed_when_the_broker_likes_it(
    broker: FakeBroker, url: str, running: Running
) -> None:
    running(plain(url))
    broker.greet(compression="lz4", compression_threshold=1000)
    (answer,) = answers(broker, [64, 1, ID, "echo", 1, encode("z" * 5000)])
    assert answer[4] == {29: 1} and lz4.frame.decompress(answer[3]) == encode("z" * 5000)


class Gate:
    """A handler that waits to be let go, and says when it has begun."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.open = threading.Semaphore(0)
        self.now = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self, value: Any) -> Any:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.begun.release()
        assert self.open.acquire(timeout=20)
        with self._lock:
            self.now -= 1
        return value


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


def test_registering() -> None:
    worker = Worker("ipc:///nowhere")
    worker.task("t")(lambda v: v)
    with pytest.raises(ValueError, match="already"):
        worker.task("t")(lambda v: v)
    with pytest.raises(ValueError, match="255"):
        worker.task("n" * 256)(lambda v: v)
    with pytest.raises(TypeError, match="list handler"):
        worker.stage("s", batch=5)(lambda a, b: a)
    with pytest.raises(RuntimeError, match="without a handler"):
        Worker("ipc:///nowhere").run()


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
