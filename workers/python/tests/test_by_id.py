"""Unique keys, and what a client does with tasks by their ids, against a scripted broker."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import Start
from fake_broker import FakeBroker

import tuskd
from tuskd import AsyncClient, Attempt, Client, Failure, TaskStatus, Updated, new_id
from tuskd.values import encode

ERROR = {"type": "Flaky", "message": "no", "language": "go", "stack": "s"}
HOLDER = bytes(range(16))


@pytest.fixture
def met(broker: FakeBroker, client: Client, start: Start) -> FakeBroker:
    """A broker that has welcomed the client."""
    asked = start(client.query, "status")
    broker.greet()
    broker.say([49, broker.expect(18)[1], {}])
    asked.result(5)
    return broker


# -- unique keys


def test_a_duplicate_names_the_task_that_has_the_key(met: FakeBroker, client: Client) -> None:
    for details, id, state in (
        ({"id": HOLDER.hex(), "state": "running"}, HOLDER, "running"),
        ({"id": "no id", "state": "waiting"}, None, "waiting"),
        ({"id": "00"}, None, ""),
        ({"id": 7}, None, ""),
        (None, None, ""),
    ):
        task = client.submit("t", unique="k", unique_policy="refuse")
        number = met.expect(16)[1]
        met.say([5, number, "duplicate", "taken", *([details] if details is not None else [])])
        with pytest.raises(tuskd.Duplicate, match="taken") as caught:
            task.result(5)
        assert (caught.value.id, caught.value.state) == (id, state)
        assert (caught.value.code, caught.value.task_id) == ("duplicate", task.id)
        assert task.joined_id == task.id


def test_an_ending_names_the_id_that_counts(met: FakeBroker, client: Client) -> None:
    joined = client.submit("t", unique="k")
    number = met.expect(16)[1]
    assert joined.joined_id == joined.id
    met.say([32, number, 1, encode(7), {30: HOLDER}])
    assert joined.result(5) == 7
    assert joined.joined_id == HOLDER != joined.id
    failed = client.submit("t", unique="k")
    met.say([32, met.expect(16)[1], 2, None, {2: ERROR, 30: HOLDER}])
    with pytest.raises(tuskd.TaskFailed) as caught:
        failed.result(5)
    assert caught.value.task_id == failed.joined_id == HOLDER
    for told in ({}, {30: b"short"}, {30: "text"}):
        task = client.submit("t", unique="k")
        met.say([32, met.expect(16)[1], 1, encode(7), told])
        assert task.result(5) == 7 and task.joined_id == task.id


# -- await


def test_await_is_answered_as_a_submit_is(met: FakeBroker, client: Client, start: Start) -> None:
    waiting = start(client.await_task, HOLDER, timeout=60)
    record = met.expect(29)
    assert record[2] == HOLDER
    assert record[3].keys() == {55} and 59_000 < record[3][55] <= 60_000
    met.say([32, record[1], 1, encode([1, None])])
    assert waiting.result(5) == [1, None]
    for id in (uuid.UUID(bytes=HOLDER), str(uuid.UUID(bytes=HOLDER))):
        waiting = start(client.await_task, id)
        record = met.expect(29)
        assert record[2] == HOLDER and record[3][55] <= 5000, "the broker's time"
        met.say([32, record[1], 5, None, {2: ERROR, 6: "w"}])
        with pytest.raises(tuskd.TaskDead) as caught:
            waiting.result(5)
        assert caught.value.task_id == HOLDER and caught.value.worker == "w"
    waiting = start(client.await_task, HOLDER, timeout=float("inf"))
    record = met.expect(29)
    assert len(record) == 3
    met.say([32, record[1], 1])
    assert waiting.result(5) is None
    for code, kind in (
        ("unknown_task", tuskd.UnknownTask),
        ("already_ended", tuskd.AlreadyEnded),
        ("timeout", tuskd.Timeout),
    ):
        waiting = start(client.await_task, HOLDER)
        met.say([5, met.expect(29)[1], code, "so it is", {"state": "failed"}])
        with pytest.raises(kind, match="so it is") as error:
            waiting.result(5)
        assert error.value.task_id == HOLDER


def test_await_follows(met: FakeBroker, client: Client, start: Start) -> None:
    heard: list[Any] = []
    waiting = start(
        client.await_task,
        HOLDER,
        on_progress=lambda *told: heard.append(told),
        on_log=lambda *told: heard.append(told),
    )
    record = met.expect(29)
    assert record[3][69] == 3
    number = record[1]
    met.say([36, number, encode(5), {4: 2}], [37, number, 2, "line", {4: 2}])
    met.say([32, number, 1, encode("end")])
    assert waiting.result(5) == "end"
    assert heard == [(5, 2), ("info", "line", 2)]


def test_await_gives_up_and_the_task_goes_on(met: FakeBroker, client: Client, start: Start) -> None:
    waiting = start(client.await_task, HOLDER, timeout=0.05)
    met.expect(29)
    with pytest.raises(tuskd.Timeout, match="the task goes on"):
        waiting.result(5)


def test_await_all_asks_in_one_packet_and_keeps_the_order(
    met: FakeBroker, client: Client, start: Start
) -> None:
    ids = [new_id() for _ in range(4)]
    waiting = start(client.await_all, (id for id in [*ids, ids[0]]), timeout=60)
    records = []
    while not records:
        records = met.packet()
    assert [(r[0], r[2]) for r in records] == [(29, id) for id in [*ids, ids[0]]]
    assert all(59_000 < r[3][55] <= 60_000 for r in records)
    first, second, third, fourth, fifth = (r[1] for r in records)
    met.say(
        [32, fifth, 1, encode("first")],
        [5, second, "unknown_task", "no such task"],
        [32, fourth, 3],
        [32, third, 1, b"\xc1"],
    )
    met.say([32, first, 1, encode("first")])
    found = waiting.result(5)
    assert found[0] == found[4] == "first"
    kinds = [tuskd.UnknownTask, tuskd.BodyError, tuskd.TaskExpired]
    assert [type(error) for error in found[1:4]] == kinds
    assert found[1].task_id == ids[1]
    assert client.await_all([]) == []
    waiting = start(client.await_all, ids, timeout=0.05)
    assert [type(error) for error in waiting.result(5)] == [tuskd.Timeout] * 4


def test_more_awaits_than_a_packet_holds(
    make_broker: Any, url: str, start: Start, client: Client
) -> None:
    broker = make_broker(limits={"records": 10})
    ids = [new_id() for _ in range(25)]
    waiting = start(client.await_all, ids, timeout=60)
    broker.greet()
    seen = []
    for _ in ids:
        record = broker.expect(29)
        seen.append(record[2])
        broker.say([32, record[1], 1, encode(record[2])])
    assert seen == ids == waiting.result(5)
    with pytest.raises(TypeError, match="not None"):
        client.await_all([ids[0], None])  # type: ignore[list-item]


def test_awaits_are_asked_again_in_another_session(
    met: FakeBroker, client: Client, start: Start
) -> None:
    """The broker that does not know the task any more says so."""
    waiting = start(client.await_task, HOLDER, timeout=60, on_progress=print)
    several = start(client.await_all, [HOLDER, bytes(16)], timeout=60)
    first = [met.expect(29) for _ in range(3)]
    met.cut()
    met.hello()
    met.welcome()
    again = [met.expect(29) for _ in range(3)]
    assert [r[2] for r in again] == [r[2] for r in first]
    assert all(17 not in r[3] for r in again), "resent is a submit's affair"
    assert all(new[3][55] < old[3][55] for new, old in zip(again, first, strict=True))
    met.say([5, again[0][1], "shutting_down", "going"], [7, "going"], [6, "going"])
    met.hello()
    met.welcome()
    third = [met.expect(29) for _ in range(3)]
    for record in third:
        met.say([5, record[1], "unknown_task", "no such task"])
    with pytest.raises(tuskd.UnknownTask):
        waiting.result(5)
    assert [type(error) for error in several.result(5)] == [tuskd.UnknownTask] * 2


# -- update


CHANGES: list[tuple[dict[str, Any], dict[int, Any] | None, Any]] = [
    ({}, None, None),
    ({"priority": "high"}, {51: 10}, None),
    ({"priority": "normal"}, {51: 0}, None),
    ({"delay": 0}, {1: 0}, None),
    ({"not_before": datetime(2001, 1, 1, tzinfo=UTC)}, {1: 0}, None),
    ({"body": None}, {}, encode(None)),
    ({"body": [1], "priority": -7}, {51: -7}, encode([1])),
    ({"body": "x" * 9000}, {}, encode("x" * 9000)),
    ({"priority": None, "delay": None, "not_before": None}, None, None),
]


@pytest.mark.parametrize(("change", "attributes", "body"), CHANGES)
def test_update_sends_what_changes(
    met: FakeBroker,
    client: Client,
    start: Start,
    change: dict[str, Any],
    attributes: dict[int, Any] | None,
    body: bytes | None,
) -> None:
    updating = start(client.update, HOLDER, **change)
    record = met.expect(19)
    expected: list[Any] = [19, record[1], HOLDER]
    if attributes is not None:
        expected.append(attributes)
    if body is not None:
        expected.append(body)
    assert record == expected
    met.say([49, record[1], {"state": "running", "updated": False, "more": 1}])
    assert updating.result(5) == Updated("running", False)


def test_update_is_compressed_as_any_body_and_its_time_passes(
    broker: FakeBroker, client: Client, start: Start
) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.1)
    first = start(client.update, HOLDER, delay=5, timeout=30)
    second = start(client.update, HOLDER, not_before=soon, timeout=30)
    time.sleep(0.3)
    broker.greet(compression="lz4", compression_threshold=64)
    by_delay = sorted((broker.expect(19) for _ in range(2)), key=lambda r: -r[3][1])
    assert 4000 < by_delay[0][3][1] <= 4900 and by_delay[1][3] == {1: 0}
    broker.cut()
    broker.hello()
    broker.welcome(compression="lz4", compression_threshold=64)
    again = [broker.expect(19) for _ in range(2)]
    assert {r[1] for r in again} == {r[1] for r in by_delay}
    for record in again:
        broker.say([49, record[1], {"state": "delayed", "updated": True}])
    assert first.result(5) == second.result(5) == ("delayed", True)
    third = start(client.update, HOLDER, body="x" * 5000)
    record = broker.expect(19)
    assert record[3] == {29: 1} and len(record[4]) < 1000
    broker.say([5, record[1], "unknown_task", "no such task"])
    with pytest.raises(tuskd.UnknownTask):
        third.result(5)


def test_what_is_out_of_bounds_is_told_before_anything_is_sent(url: str) -> None:
    client = Client(url)
    changes: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"priority": "urgent"}, ValueError, "urgent.*critical"),
        ({"priority": 101}, ValueError, "priority"),
        ({"delay": -1}, ValueError, "delay"),
        ({"delay": 1, "not_before": datetime.now(UTC)}, ValueError, "delay and not_before"),
        ({"not_before": datetime.now()}, ValueError, "time zone"),
        ({"body": object()}, tuskd.BodyError, "object"),
        ({"deadline": 1}, TypeError, "deadline"),
    ]
    for change, kind, text in changes:
        with pytest.raises(kind, match=text):
            client.update(HOLDER, **change)
    functions: list[Any] = [client.update, client.await_task, client.task, client.cancel]
    for function in functions:
        for id, kind in ((None, TypeError), (b"short", ValueError), ("no id", ValueError)):
            with pytest.raises(kind):
                function(id)

    async def later(*_: Any) -> None: ...

    with pytest.raises(TypeError, match="AsyncClient"):
        client.await_task(HOLDER, on_log=later)
    with pytest.raises(TypeError, match="priority"):
        client.await_task(HOLDER, priority=1)  # type: ignore[call-arg]
    client.close(0.0)
    closed: list[Any] = [lambda: client.await_all([HOLDER]), lambda: client.update(HOLDER)]
    for function in closed:
        with pytest.raises(tuskd.Closed):
            function()


# -- task


def test_the_status_of_a_task(met: FakeBroker, client: Client, start: Start) -> None:
    run = {"attempt": 1, "worker": "w1", "started": 900, "ended": 700, "error": ERROR}
    told = {"state": "dead", "type": "t", "attempts": 2, "failures": 1, "crashes": 1}
    told |= {"priority": -5, "age": 1500, "worker": "w2", "history": [run], "error": ERROR}
    attempt = Attempt(1, "w1", 0.9, 0.7, "Flaky", "no", "s", "go")
    failure = Failure("Flaky", "no", "go", "s")
    cases: list[tuple[Any, TaskStatus]] = [
        (told, TaskStatus("dead", "t", 2, 1, 1, -5, 1.5, "w2", [attempt], failure)),
        ({"state": "unknown"}, TaskStatus("unknown")),
        ({"state": "waiting", "type": 7, "age": "old", "history": 1, "error": 2, "later": 1},) * 2,
        (None, TaskStatus("unknown")),
    ]
    cases[2] = (cases[2][0], TaskStatus("waiting"))
    for answer, status in cases:
        asking = start(client.task, HOLDER)
        record = met.expect(18)
        assert record[2:] == ["task", {"id": HOLDER}]
        met.say([49, record[1], answer])
        assert asking.result(5) == status


# -- control


def test_a_client_pauses_a_type_and_unblocks_a_key(
    met: FakeBroker, client: Client, start: Start
) -> None:
    for duration, ms, answer, done in (
        (1.5, 1500, {"done": True}, True),
        (0, 0, {"done": False}, False),
        (100 * 365 * 86400, 3_153_600_000_000, {}, False),
        (1, 1000, None, False),
    ):
        asking = start(client.pause_type, "t", duration)
        record = met.expect(26)
        assert record[2:] == ["pause", {"type": "t", "ms": ms}]
        met.say([49, record[1], answer])
        assert asking.result(5) is done
    asking = start(client.unblock, "t", "k")
    record = met.expect(26)
    assert record[2:] == ["unblock", {"type": "t", "key": "k"}]
    met.say([49, record[1], {"done": True}])
    assert asking.result(5) is True
    asking = start(client.unblock, "none", "k")
    met.say([5, met.expect(26)[1], "invalid", "there is no type", {"field": "type"}])
    with pytest.raises(tuskd.Invalid, match="no type"):
        asking.result(5)


def test_what_no_control_can_be_about_is_told_before_anything_is_sent(url: str) -> None:
    client = Client(url)
    bad: list[tuple[Any, type[Exception], str]] = [
        (lambda: client.pause_type("t", -1), ValueError, "duration is 0 to"),
        (lambda: client.pause_type("t", 1e12), ValueError, "100 years"),
        (lambda: client.pause_type("t", "1s"), TypeError, "number of seconds"),  # type: ignore[arg-type]
        (lambda: client.pause_type("", 1), ValueError, "type has 1 to 255 bytes"),
        (lambda: client.unblock("t", ""), ValueError, "key has 1 to 255 bytes, not 0"),
        (lambda: client.unblock("t", "ä" * 128), ValueError, "key has 1 to 255 bytes, not 256"),
        (lambda: client.unblock("t", 7), TypeError, "key is text"),  # type: ignore[arg-type]
    ]
    for function, kind, text in bad:
        with pytest.raises(kind, match=text):
            function()
    client.close(0.0)
    with pytest.raises(tuskd.Closed):
        client.unblock("t", "k")


# -- asyncio


def test_the_async_client_does_the_same(broker: FakeBroker, url: str) -> None:
    heard: list[Any] = []
    ids = [bytes([n]) * 16 for n in range(3)]

    async def on_progress(value: Any, attempt: int) -> None:
        await asyncio.sleep(0.01)
        heard.append((value, attempt))

    async def run() -> None:
        async with AsyncClient(url) as client:
            assert await client.await_task(HOLDER, on_progress=on_progress) == "end"
            assert heard == [(1, 1), (2, 1)]
            with pytest.raises(tuskd.UnknownTask):
                await client.await_task(HOLDER)
            found = await client.await_all(ids)
            assert found[0] == 0 and found[2] == 2
            assert isinstance(found[1], tuskd.TaskCancelled)
            assert await client.await_all([]) == []
            waiting = asyncio.ensure_future(client.await_all(ids))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await client.update(HOLDER, body=None) == ("waiting", True)
            assert await client.task(HOLDER) == TaskStatus("running", type="t")
            assert await client.pause_type("t", 2) is True
            assert await client.unblock("t", "k") is False
            task = client.submit("t", unique="k")
            assert task.joined_id == task.id
            assert await task == 7
            assert task.joined_id == HOLDER
            with pytest.raises(tuskd.Duplicate) as caught:
                await client.call("t", unique="k", unique_policy="refuse")
            assert caught.value.id == HOLDER

    def serve() -> None:
        broker.greet()
        number = broker.expect(29)[1]
        broker.say([36, number, encode(1), {4: 1}], [36, number, encode(2), {4: 1}])
        broker.say([32, number, 1, encode("end")])
        broker.say([5, broker.expect(29)[1], "unknown_task", "no such task"])
        first, second, third = (broker.expect(29)[1] for _ in ids)
        broker.say([32, third, 1, encode(2)], [32, second, 4], [32, first, 1, encode(0)])
        record = broker.expect(19)
        assert record[3:] == [{}, encode(None)]
        broker.say([49, record[1], {"state": "waiting", "updated": True}])
        broker.say([49, broker.expect(18)[1], {"state": "running", "type": "t"}])
        record = broker.expect(26)
        assert record[2:] == ["pause", {"type": "t", "ms": 2000}]
        broker.say([49, record[1], {"done": True}])
        record = broker.expect(26)
        assert record[2:] == ["unblock", {"type": "t", "key": "k"}]
        broker.say([49, record[1], {"done": False}])
        broker.say([32, broker.expect(16)[1], 1, encode(7), {30: HOLDER}])
        record = broker.expect(16)
        assert record[5][21] == 1
        details = {"id": HOLDER.hex(), "state": "running"}
        broker.say([5, record[1], "duplicate", "taken", details])

    thread = threading.Thread(target=serve)
    thread.start()
    asyncio.run(run())
    thread.join()
