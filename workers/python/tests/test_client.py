"""The plain client against a scripted broker."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from conftest import Start
from fake_broker import FakeBroker

import tuskd
from tuskd import Client
from tuskd.compression import decompress
from tuskd.values import encode


def test_call_and_its_result(broker: FakeBroker, client: Client, start: Start) -> None:
    result = start(client.call, "add", {"a": 1, "b": 2})
    hello = broker.greet()
    assert hello["role"] == "client" and hello["acks"] is True and len(hello["instance"]) == 16
    assert hello["pid"] == os.getpid() and hello["boot_id"] and hello["pid_ns"]
    kind, request, id, type, body, attributes = broker.expect(16)
    assert (kind, type, body) == (16, "add", encode({"a": 1, "b": 2}))
    assert id[6] >> 4 == 7 and id[8] >> 6 == 2, "a UUIDv7"
    assert 4000 < attributes[55] <= 5000
    broker.say([32, request, 1, encode(3)])
    assert result.result(5) == 3


def test_welcome_gives_the_timeout(broker: FakeBroker, client: Client, start: Start) -> None:
    first = start(client.call, "a")
    broker.greet(timeout=60_000)
    broker.say([32, broker.expect(16)[1], 1, None])
    assert first.result(5) is None
    second = start(client.call, "a")
    _, request, *_, attributes = broker.expect(16)
    assert 55_000 < attributes[55] <= 60_000
    broker.say([32, request, 1, None])
    second.result(5)


ENDINGS: list[tuple[list[Any], type[tuskd.TuskError], dict[str, Any]]] = [
    (
        [2, None, {2: {"type": "E", "message": "m", "language": "go", "stack": "s"}, 4: 2, 6: "w"}],
        tuskd.TaskFailed,
        {"type": "E", "message": "m", "language": "go", "stack": "s", "attempt": 2, "worker": "w"},
    ),
    ([2, None, {57: True}], tuskd.TaskFailed, {"retry_makes_sense": False}),
    ([5, None, {2: {"type": "E"}}], tuskd.TaskDead, {"type": "E", "code": "dead"}),
    ([3], tuskd.TaskExpired, {"code": "expired"}),
    ([4], tuskd.TaskCancelled, {"code": "cancelled"}),
]


@pytest.mark.parametrize(("ending", "kind", "fields"), ENDINGS)
def test_endings_are_typed_errors(
    broker: FakeBroker,
    client: Client,
    start: Start,
    ending: list[Any],
    kind: type[tuskd.TuskError],
    fields: dict[str, Any],
) -> None:
    result = start(client.call, "t")
    broker.greet()
    record = broker.expect(16)
    broker.say([32, record[1], *ending])
    with pytest.raises(kind) as caught:
        result.result(5)
    assert type(caught.value) is kind
    assert caught.value.task_id == record[2]
    assert {name: getattr(caught.value, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("unserved", tuskd.Unserved),
        ("full", tuskd.Full),
        ("busy", tuskd.Busy),
        ("too_large", tuskd.TooLarge),
        ("id_conflict", tuskd.IdConflict),
        ("already_ended", tuskd.AlreadyEnded),
        ("unknown_outcome", tuskd.UnknownOutcome),
        ("timeout", tuskd.Timeout),
        ("something_new", tuskd.BrokerError),
    ],
)
def test_errors_of_the_broker(
    broker: FakeBroker, client: Client, start: Start, code: str, kind: type[tuskd.TuskError]
) -> None:
    result = start(client.call, "t")
    broker.greet()
    broker.say([5, broker.expect(16)[1], code, "told so", {"limit": "x"}])
    with pytest.raises(kind, match="told so") as caught:
        result.result(5)
    assert caught.value.code == code


def test_submit_cancel_query_publish(broker: FakeBroker, client: Client, start: Start) -> None:
    task = client.submit("t", [1])
    broker.greet()
    record = broker.expect(16)
    assert record[2] == task.id and len(record) == 5, "no wait: it may take as long as it takes"
    assert not task.done()
    with pytest.raises(tuskd.Timeout):
        task.result(0.01)
    cancelled = start(task.cancel)
    _, request, id = broker.expect(17)
    assert id == task.id
    broker.say([49, request, {"state": "cancelling"}], [32, record[1], 4])
    assert cancelled.result(5) == "cancelling"
    with pytest.raises(tuskd.TaskCancelled):
        task.result(5)
    asked = start(client.query, "task", {"id": b"x" * 16})
    assert broker.expect(18)[2:] == ["task", {"id": b"x" * 16}]
    broker.say([49, 3, {"state": "unknown"}])
    assert asked.result(5) == {"state": "unknown"}
    published = start(client.publish, "prices", 7)
    _, request, topic, body = broker.expect(20)
    assert (topic, body) == ("prices", b"\x07")
    broker.say([48, request])
    published.result(5)


def test_send_returns_when_accepted(broker: FakeBroker, client: Client, start: Start) -> None:
    sent = start(client.send, "t", 1, id=b"i" * 16, resent=True, rerun_ok=True)
    broker.greet()
    _, request, id, _, _, attributes = broker.expect(16)
    assert id == b"i" * 16 and attributes == {15: 1, 17: True, 53: True}
    broker.say([48, request])
    assert sent.result(5) == b"i" * 16


def test_no_broker_names_the_url(url: str) -> None:
    client = Client(url, timeout=0.05)
    with pytest.raises(tuskd.Unavailable, match=url) as caught:
        client.call("t")
    assert caught.value.url == url and isinstance(caught.value, ConnectionError)
    with pytest.raises(tuskd.Unavailable):
        client.submit("t").result()
    client.close(0.0)


def test_call_given_up_without_broker_is_not_sent_later(
    url: str, make_broker: Callable[..., FakeBroker], start: Start
) -> None:
    client = Client(url, timeout=0.05)
    with pytest.raises(tuskd.Unavailable):
        client.call("late")
    result = start(client.call, "now", timeout=5.0)
    broker = make_broker()
    broker.greet()
    record = broker.expect(16)
    assert record[3] == "now"
    broker.say([32, record[1], 1, None])
    result.result(5)
    client.close(0.0)


def test_timeout_with_a_broker_that_is_silent(
    broker: FakeBroker, client: Client, start: Start
) -> None:
    result = start(client.call, "t", timeout=0.2)
    broker.greet()
    broker.expect(16)
    with pytest.raises(tuskd.Timeout):
        result.result(5)


def test_limits_are_kept_before_sending(
    make_broker: Callable[..., FakeBroker], client: Client, start: Start
) -> None:
    broker = make_broker(limits={"body": 1000, "records": 3, "session_bytes": 5000})
    first = start(client.call, "t")
    broker.greet()
    broker.say([32, broker.expect(16)[1], 1, None])
    first.result(5)
    with pytest.raises(tuskd.TooLarge) as caught:
        client.call("t", b"x" * 1001)
    assert caught.value.details == {"limit": "body", "value": 1000}
    with pytest.raises(tuskd.TooLarge):
        client.call("n" * 256)
    with pytest.raises(tuskd.Busy):
        for _ in range(100):
            client.submit("t", b"x" * 900)


def test_packets_keep_the_number_of_records(
    make_broker: Callable[..., FakeBroker], client: Client, start: Start
) -> None:
    broker = make_broker(limits={"records": 3})
    result = start(list, client.map("t", range(10)))
    broker.greet()
    seen = 0
    while seen < 10:
        packet = broker.packet()
        assert len(packet) <= 3
        seen += len(packet)
        broker.say(*[[32, r[1], 1, r[4]] for r in packet if r[0] == 16])
    assert result.result(5) == list(range(10))


def test_large_bodies_have_frames_and_are_compressed(
    make_broker: Callable[..., FakeBroker], client: Client, start: Start
) -> None:
    broker = make_broker(compression="lz4", compression_threshold=1000)
    first = start(client.call, "t")
    broker.greet()
    broker.say([32, broker.expect(16)[1], 1, None])
    first.result(5)
    noise = os.urandom(20_000)
    results = [start(client.call, "t", value) for value in (b"a" * 50_000, noise, b"small")]
    wanted = {encode(v) for v in (b"a" * 50_000, noise, b"small")}
    got = set()
    for _ in results:
        record = broker.expect(16)
        packed = record[5].get(29) == 1
        got.add(decompress(record[4], 1 << 20) if packed else record[4])
        assert packed == (b"aaaa" in decompress(record[4], 1 << 20) if packed else False)
        broker.say([32, record[1], 1, 1, {29: int(packed)}], frames=[record[4]])
    assert got == wanted
    assert [r.result(5) for r in results] == [b"a" * 50_000, noise, b"small"]


def test_result_that_is_an_lz4_bomb(broker: FakeBroker, client: Client, start: Start) -> None:
    import lz4.frame

    result = start(client.call, "t")
    broker.greet(limits={"body": 1 << 20})
    bomb = lz4.frame.compress(bytes(8 << 20), store_size=False)
    broker.say([32, broker.expect(16)[1], 1, 1, {29: 1}], frames=[bomb])
    with pytest.raises(tuskd.BodyError, match="limit"):
        result.result(5)


def test_map_in_order_and_as_they_end(broker: FakeBroker, client: Client, start: Start) -> None:
    ordered = start(list, client.map("t", range(4), in_flight=4))
    broker.greet()
    records = [broker.expect(16) for _ in range(4)]
    broker.say(*[[32, r[1], 1, r[4]] for r in reversed(records)])
    assert ordered.result(5) == [0, 1, 2, 3]
    loose = start(list, client.map("t", range(4), ordered=False, return_errors=True))
    records = [broker.expect(16) for _ in range(4)]
    for record in reversed(records[1:]):
        broker.say([32, record[1], 1, record[4]])
    broker.say([32, records[0][1], 2])
    *values, error = loose.result(5)
    assert values == [3, 2, 1] and isinstance(error, tuskd.TaskFailed)


def test_map_keeps_its_window(broker: FakeBroker, client: Client, start: Start) -> None:
    result = start(list, client.map("t", range(50), in_flight=5))
    broker.greet()
    open_requests: list[list[Any]] = []
    done = 0
    while done < 50:
        broker.until(lambda: bool(broker.records or open_requests))
        while broker.records:
            open_requests.append(broker.records.popleft())
        assert len(open_requests) <= 5
        record = open_requests.pop(0)
        broker.say([32, record[1], 1, record[4]])
        done += 1
    assert result.result(5) == list(range(50))


def test_push_waits_for_room_and_keeps_the_window(
    make_broker: Callable[..., FakeBroker], client: Client, start: Start
) -> None:
    broker = make_broker(limits={"push_window": 2})
    one = start(client.push, "clean", 0, id=b"p" * 16)
    broker.greet()
    record = broker.expect(24)
    assert record[2:] == [b"p" * 16, "clean", b"\x00"]
    assert not one.done()
    broker.say([48, record[1]])
    one.result(5)
    many = start(client.push_many, "clean", range(7))
    open_requests: list[int] = []
    accepted = 0
    while accepted < 7:
        broker.until(lambda: bool(broker.records or open_requests))
        while broker.records:
            open_requests.append(broker.records.popleft()[1])
        assert len(open_requests) <= 2
        broker.say([48, open_requests.pop(0)])
        accepted += 1
    assert many.result(5) == 7


def test_many_threads_share_a_client(broker: FakeBroker, client: Client, start: Start) -> None:
    results = [start(client.call, "t", n) for n in range(16)]
    broker.greet()
    for _ in range(16):
        record = broker.expect(16)
        broker.say([32, record[1], 1, record[4]])
    assert [r.result(5) for r in results] == list(range(16))


def test_close_says_what_has_no_ending(url: str, make_broker: Callable[..., FakeBroker]) -> None:
    broker = make_broker()
    program = (
        "from tuskd import Client\n"
        f"c = Client({url!r})\n"
        "c.submit('a'); c.submit('b')\n"
        "import sys; sys.stdin.readline()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    broker.greet()
    broker.expect(16)
    broker.expect(16)
    answers = threading.Thread(target=_serve_until_bye, args=(broker,))
    answers.start()
    _, stderr = child.communicate("\n", timeout=20)
    answers.join()
    assert stderr.strip() == f"tuskd: 0 tasks not sent, 2 without an ending ({url})"
    silent = subprocess.run(
        [sys.executable, "-c", f"from tuskd import Client\nClient('{url}x').submit('a')"],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert "1 tasks not sent, 0 without an ending" in silent.stderr


def _serve_until_bye(broker: FakeBroker) -> None:
    while not any(r[0] == 6 for r in broker.records):
        broker.packet()
        broker.ack()


def test_client_made_before_a_fork_works_on_both_sides(
    broker: FakeBroker, client: Client, start: Start
) -> None:
    first = start(client.call, "parent")
    broker.greet()
    parent_peer, parent_session = broker.peer, broker.session
    broker.say([32, broker.expect(16)[1], 1, None])
    first.result(5)
    before = client.submit("before")
    assert broker.expect(16)[3] == "before"
    pid = os.fork()
    if pid == 0:
        try:
            with pytest.raises(tuskd.Closed, match="parent"):
                before.result(10)
            os._exit(client.call("child", timeout=10.0))
        finally:
            os._exit(99)
    hello = broker.greet()
    assert hello["pid"] == pid and hello["instance"] != broker.hellos[0]["instance"]
    assert broker.peer != parent_peer
    record = broker.expect(16)
    assert record[3] == "child"
    broker.say([32, record[1], 1, encode(42)])
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 42
    broker.peer, broker.session = parent_peer, parent_session
    broker.received, broker.sent = 2, 1
    second = start(client.call, "parent again")
    record = broker.expect(16)
    assert record[3] == "parent again"
    broker.say([32, record[1], 1, None])
    second.result(5)


def test_refused_hello_is_told_to_callers(broker: FakeBroker, client: Client, start: Start) -> None:
    result = start(client.call, "t")
    broker.hello()
    broker.raw(msgpack.packb([5, 0, "version", "no common version", {"versions": [2]}]))
    with pytest.raises(tuskd.BrokerError, match="no common version"):
        result.result(5)
    with pytest.raises(tuskd.BrokerError, match="no common version"):
        client.call("t")


MESSAGES = {
    "types": {
        "json": {"codec": 1},
        "plain": {"codec": 2},
        "packed": {"codec": 0, "compress": True},
        "loose": {"compress": False},
    },
    "stages": {"json": {"codec": 1, "compress": True}},
    "topics": {"plain": {"codec": 2}},
}


@pytest.fixture
def told(make_broker: Callable[..., FakeBroker], client: Client, start: Start) -> FakeBroker:
    """A broker that says how bodies are written, and the client knows."""
    broker = make_broker(messages=MESSAGES, compression="lz4", compression_threshold=1000)
    first = start(client.call, "t", 1)
    broker.greet()
    record = broker.expect(16)
    assert record[4] == encode(1) and 27 not in record[5], "a type of which nothing is said"
    broker.say([32, record[1], 1, encode(1)])
    first.result(5)
    return broker


def test_bodies_are_written_as_the_welcome_says(
    told: FakeBroker, client: Client, start: Start
) -> None:
    value = {"text": "äöü", "n": [1, 2.5, None, True]}
    start(client.call, "json", value)
    record = told.expect(16)
    assert record[4] == b'{"text":"\xc3\xa4\xc3\xb6\xc3\xbc","n":[1,2.5,null,true]}'
    assert record[5][27] == 1 and 29 not in record[5]
    start(client.call, "plain", b"\x0a\x01x")
    record = told.expect(16)
    assert record[4] == b"\x0a\x01x" and record[5][27] == 2
    start(client.push, "json", "a" * 100)
    record = told.expect(24)
    assert record[5] == {27: 1, 29: 1} and decompress(record[4], 1000) == b'"' + b"a" * 100 + b'"'
    start(client.publish, "plain", b"")
    record = told.expect(20)
    assert record[3] in (b"", None) and record[4] == {27: 2}


def test_bodies_are_compressed_as_the_welcome_says(
    told: FakeBroker, client: Client, start: Start
) -> None:
    start(client.call, "packed", "a" * 62)  # and two bytes of msgpack: 64
    record = told.expect(16)
    assert record[5][29] == 1 and decompress(record[4], 1000) == encode("a" * 62)
    start(client.call, "packed", "a" * 61)
    assert 29 not in told.expect(16)[5]
    start(client.call, "loose", "a" * 100_000)
    assert 29 not in told.expect(16)[5]
    start(client.call, "t", "a" * 1000)
    assert told.expect(16)[5][29] == 1


@pytest.mark.parametrize(
    ("type", "value", "why"),
    [
        ("json", b"x", "bytes and timestamps cannot be sent as JSON"),
        ("json", [float("nan")], "NaN and infinities cannot be sent as JSON"),
        ("json", {1: 2}, "a key of a map is not text|int, not text"),
        ("plain", {"a": 1}, 'bodies of "plain" are plain bytes.*found dict'),
    ],
)
def test_a_value_that_the_codec_cannot_hold(
    told: FakeBroker, client: Client, type: str, value: Any, why: str
) -> None:
    with pytest.raises(tuskd.BodyError, match=why):
        client.call(type, value)


def test_what_was_asked_before_the_welcome_is_written_as_it_says(
    make_broker: Callable[..., FakeBroker], client: Client, start: Start
) -> None:
    results = [start(client.call, "json", {"a": 1}), start(client.call, "plain", 5)]
    pushed = start(client.push, "json", "b" * 100)
    requests = client._calls.requests()
    end = time.monotonic() + 10
    while len(requests.pending) < 3:
        assert time.monotonic() < end, "three requests wait for a broker"
        time.sleep(0.001)
    broker = make_broker(messages=MESSAGES)
    broker.greet()
    records = {}
    while len(records) < 2:
        for record in broker.packet():
            records[record[0]] = record
    assert records[16][4] == b'{"a":1}' and records[16][5][27] == 1
    assert records[24][5] == {27: 1, 29: 1}
    broker.say([32, records[16][1], 1, encode(2)], [48, records[24][1]])
    assert results[0].result(5) == 2
    pushed.result(5)
    with pytest.raises(tuskd.BodyError, match="expected bytes, found int"):
        results[1].result(5)
