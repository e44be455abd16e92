"""What a worker announces, how its handlers are called and what their failures become, against a
scripted broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lz4.frame
import msgpack
import pytest
from conftest import ID, Running, answers
from fake_broker import FakeBroker
from sample_workers import plain

import tuskd
from tuskd import DROP, Context, Worker
from tuskd.values import decode, encode


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
