"""What a caller may ask for its task, against a scripted broker."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from conftest import Start
from fake_broker import FakeBroker

import tuskd
from tuskd import AsyncClient, Backoff, Client, terms
from tuskd.values import encode

ERROR = {"type": "Flaky", "message": "no", "language": "go", "stack": "s"}


@pytest.fixture
def met(broker: FakeBroker, client: Client, start: Start) -> FakeBroker:
    """A broker that has welcomed the client."""
    asked = start(client.query, "status")
    broker.greet()
    broker.say([49, broker.expect(18)[1], {}])
    asked.result(5)
    return broker


def submitted(broker: FakeBroker) -> dict[int, Any]:
    record = broker.expect(16)
    attributes: dict[int, Any] = dict(record[5]) if len(record) > 5 else {}
    attributes.pop(55, None)
    broker.say([32, record[1], 1, None])
    return attributes


TERMS: list[tuple[dict[str, Any], dict[int, Any]]] = [
    ({}, {}),
    ({"priority": "low"}, {51: -10}),
    ({"priority": "normal"}, {51: 0}),  # a type may have another default
    ({"delay": 0}, {1: 0}),
    ({"priority": "high"}, {51: 10}),
    ({"priority": "critical"}, {51: 20}),
    ({"priority": -100}, {51: -100}),
    ({"priority": 100}, {51: 100}),
    ({"priority": None, "delay": None, "not_before": None, "backoff": None}, {}),
    ({"run_timeout": 2.3, "heartbeat_timeout": 0.0001}, {5: 2300, 65: 1}),
    ({"run_timeout": 100 * 365 * 86400}, {5: 3_153_600_000_000}),
    ({"attempts": 1}, {7: 1}),
    ({"attempts": 1000}, {7: 1000}),
    ({"backoff": Backoff(0.1, 30)}, {9: [100, 30_000, 2, 0.25]}),
    ({"backoff": Backoff(0, 0, 1.5, jitter=0)}, {9: [0, 0, 1.5, 0]}),
    (
        {"no_retry_on": [ValueError, "NotFound", tuskd.BodyError]},
        {67: ["ValueError", "NotFound", "BodyError"]},
    ),
    ({"no_retry_on": []}, {67: []}),
    ({"retention": 600}, {13: 600_000}),
    ({"retention": 0}, {13: 0}),
    ({"unique": "k"}, {19: "k"}),
    ({"unique": "ä" * 127 + "x"}, {19: "ä" * 127 + "x"}),
    ({"unique": "k", "unique_policy": "join", "unique_for": 0.5}, {19: "k", 71: 500}),
    ({"unique": "k", "unique_policy": "refuse"}, {19: "k", 21: 1}),
    ({"unique": "k", "unique_policy": "replace"}, {19: "k", 21: 2}),
    ({"unique": "k", "unique_policy": "debounce"}, {19: "k", 21: 3}),
    ({"unique": "k", "unique_policy": "follow_up"}, {19: "k", 21: 4}),
    (
        {"order_key": "a", "limit_key": "b", "group": "c", "cost": 5},
        {23: "a", 73: "b", 16: "c", 49: 5},
    ),
    ({"order_key": "ä" * 127 + "x", "cost": 0}, {23: "ä" * 127 + "x", 49: 0}),
    ({"cost": 10**9}, {49: 10**9}),
    ({"order_key": None, "limit_key": None, "group": None, "cost": None}, {}),
    ({"unique": None, "unique_policy": None, "unique_for": None, "retention": None}, {}),
    (
        {"labels": {"customer": "acme", "ä" * 127: "x" * 255}},
        {18: {"customer": "acme", "ä" * 127: "x" * 255}},
    ),
    ({"labels": {str(n): "x" for n in range(16)}}, {18: {str(n): "x" for n in range(16)}}),
    (
        {"requires": {"region": "eu", "gpu": 0}, "prefers": {"ssd": 10**9}, "consumes": {"gpu": 1}},
        {
            25: {
                "requires": {"region": "eu", "gpu": 0},
                "prefers": {"ssd": 10**9},
                "consumes": {"gpu": 1},
            }
        },
    ),
    ({"requires": {}}, {25: {"requires": {}}}),  # takes the place of the type's own
    ({"sticky_key": "k"}, {61: "k"}),
    (dict.fromkeys(("labels", "requires", "prefers", "consumes", "sticky_key")), {}),
]


@pytest.mark.parametrize(("terms", "attributes"), TERMS)
def test_terms_become_attributes(
    met: FakeBroker, client: Client, start: Start, terms: dict[str, Any], attributes: dict[int, Any]
) -> None:
    called = start(client.call, "t", **terms)
    assert submitted(met) == attributes
    called.result(5)
    task = client.submit("t", **terms)
    assert submitted(met) == attributes
    task.result(5)
    sent = start(client.send, "t", **terms)
    assert submitted(met) == {15: 1} | attributes
    sent.result(5)
    mapped = start(lambda: list(client.map("t", [1], **terms)))
    assert submitted(met) == attributes
    assert mapped.result(5) == [None]


YEARS = 101 * 365 * 86400
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"priority": "urgent"}, ValueError, r"urgent.*low.*normal.*high.*critical"),
    ({"priority": 101}, ValueError, "priority is -100 to 100, not 101"),
    ({"priority": -101}, ValueError, "priority"),
    ({"priority": 1.5}, TypeError, "priority"),
    ({"priority": True}, TypeError, "priority"),
    ({"delay": -1}, ValueError, "delay is 0 to"),
    ({"delay": YEARS}, ValueError, "delay.*100 years"),
    ({"delay": float("nan")}, ValueError, "delay"),
    ({"delay": "1s"}, TypeError, "delay is a number of seconds"),
    ({"delay": 1, "not_before": datetime.now(UTC)}, ValueError, "delay and not_before"),
    ({"not_before": datetime.now()}, ValueError, "not_before has no time zone"),
    ({"not_before": 1e9}, TypeError, "not_before is a datetime"),
    ({"not_before": datetime(9999, 1, 1, tzinfo=UTC)}, ValueError, "not_before.*100 years"),
    ({"deadline": -0.1}, ValueError, "deadline"),
    ({"run_timeout": 0}, ValueError, "run_timeout is at least 0.001"),
    ({"run_timeout": float("inf")}, ValueError, "run_timeout"),
    ({"heartbeat_timeout": 0}, ValueError, "heartbeat_timeout"),
    ({"attempts": 0}, ValueError, "attempts is 1 to 1,000, not 0"),
    ({"attempts": 1001}, ValueError, "attempts"),
    ({"attempts": 2.0}, TypeError, "attempts"),
    ({"backoff": (1, 2)}, TypeError, "backoff"),
    ({"backoff": Backoff(-1, 2)}, ValueError, "backoff's first"),
    ({"backoff": Backoff(1, YEARS)}, ValueError, "backoff's most"),
    ({"backoff": Backoff(1, 2, 0.5)}, ValueError, "backoff's factor is 1 to 100"),
    ({"backoff": Backoff(1, 2, jitter=1.1)}, ValueError, "backoff's jitter is 0 to 1"),
    ({"backoff": Backoff(1, 2, jitter=float("nan"))}, ValueError, "jitter"),
    ({"no_retry_on": "ValueError"}, TypeError, "no_retry_on is a list"),
    ({"no_retry_on": ValueError}, TypeError, "no_retry_on is a list"),
    ({"no_retry_on": [1]}, TypeError, "no_retry_on"),
    ({"no_retry_on": [int]}, TypeError, "no_retry_on"),
    ({"no_retry_on": ["x"] * 33}, ValueError, "at most 32"),
    ({"no_retry_on": ["ä" * 128]}, ValueError, "255 bytes"),
    ({"retention": -1}, ValueError, "retention is 0 to"),
    ({"retention": YEARS}, ValueError, "retention.*100 years"),
    ({"unique": ""}, ValueError, "unique has 1 to 255 bytes, not 0"),
    ({"unique": "ä" * 128}, ValueError, "unique has 1 to 255 bytes, not 256"),
    ({"unique": b"k"}, TypeError, "unique is text"),
    ({"unique": "k", "unique_policy": "merge"}, ValueError, "'merge'.*'join'.*'follow_up'"),
    ({"unique": "k", "unique_policy": ""}, ValueError, "no unique_policy ''"),
    ({"unique": "k", "unique_policy": 1}, ValueError, "no unique_policy 1"),
    ({"unique": "k", "unique_for": -1}, ValueError, "unique_for is 0 to"),
    ({"unique": "k", "unique_for": "1s"}, TypeError, "unique_for is a number of seconds"),
    ({"unique_policy": "join"}, ValueError, "unique_policy without unique"),
    ({"unique_for": 1}, ValueError, "unique_for without unique"),
    ({"order_key": ""}, ValueError, "order_key has 1 to 255 bytes, not 0"),
    ({"order_key": 7}, TypeError, "order_key is text, not int"),
    ({"limit_key": "ä" * 128}, ValueError, "limit_key has 1 to 255 bytes, not 256"),
    ({"limit_key": b"k"}, TypeError, "limit_key is text"),
    ({"group": ""}, ValueError, "group has 1 to 255 bytes"),
    ({"cost": -1}, ValueError, "cost is 0 to 1,000,000,000 units, not -1"),
    ({"cost": 10**9 + 1}, ValueError, "cost is 0 to"),
    ({"cost": 1.0}, TypeError, "cost is an integer, not float"),
    ({"cost": True}, TypeError, "cost is an integer"),
    ({"labels": ["a"]}, TypeError, "labels is a map of names, not list"),
    (
        {"labels": {str(n): "x" for n in range(17)}},
        ValueError,
        "labels has at most 16 entries, not 17",
    ),
    ({"labels": {"": "x"}}, ValueError, "a name in labels has 1 to 255 bytes, not 0"),
    ({"labels": {1: "x"}}, TypeError, "a name in labels is text"),
    ({"labels": {"a": ""}}, ValueError, r"labels\['a'\] has 1 to 255 bytes"),
    ({"labels": {"a": "ä" * 128}}, ValueError, r"labels\['a'\] has 1 to 255 bytes, not 256"),
    ({"labels": {"a": 1}}, TypeError, r"labels\['a'\] is text, not int"),
    ({"requires": "gpu"}, TypeError, "requires is a map"),
    ({"requires": {"gpu": -1}}, ValueError, r"requires\['gpu'\] is 0 to 1,000,000,000, not -1"),
    ({"requires": {"gpu": 1.5}}, TypeError, r"requires\['gpu'\] is text or a whole number"),
    ({"requires": {"gpu": True}}, TypeError, r"requires\['gpu'\]"),
    ({"requires": {str(n): 1 for n in range(17)}}, ValueError, "requires has at most 16"),
    ({"prefers": {"gpu": 10**9 + 1}}, ValueError, r"prefers\['gpu'\] is 0 to"),
    ({"prefers": {"x": ""}}, ValueError, r"prefers\['x'\] has 1 to 255"),
    ({"consumes": {"gpu": 0}}, ValueError, r"consumes\['gpu'\] is 1 to 1,000,000,000, not 0"),
    ({"consumes": {"gpu": "2"}}, TypeError, r"consumes\['gpu'\] is a whole number, not str"),
    ({"sticky_key": ""}, ValueError, "sticky_key has 1 to 255 bytes, not 0"),
    ({"sticky_key": 7}, TypeError, "sticky_key is text"),
    ({"dealy": 1}, TypeError, "no option 'dealy'"),
    ({"trace": "x" * 8193}, ValueError, "trace has at most 8,192 bytes"),
    ({"baggage": "ä" * 4097}, ValueError, "baggage"),
]


@pytest.mark.parametrize(("terms", "kind", "text"), BAD)
def test_what_is_out_of_bounds_is_told_before_anything_is_sent(
    url: str, terms: dict[str, Any], kind: type[Exception], text: str
) -> None:
    client = Client(url)
    for function in (client.call, client.submit, client.send):
        with pytest.raises(kind, match=text):
            function("t", **terms)
    if terms.keys() & {"trace", "baggage"}:
        return
    with pytest.raises(kind, match=text):
        client.map("t", [1], **terms)


def test_callbacks_are_for_one_task_of_a_plain_client(url: str) -> None:
    client = Client(url)

    async def later(*_: Any) -> None: ...

    with pytest.raises(TypeError, match="AsyncClient"):
        client.call("t", on_progress=later)
    functions: list[Any] = [client.send, lambda *a, **o: client.map("t", [], **o)]
    for function in functions:
        with pytest.raises(TypeError, match="does not follow"):
            function("t", on_log=print)


def test_times_pass_before_a_submit_and_between_sessions(
    broker: FakeBroker, client: Client
) -> None:
    """A packet that is sent again says the same; a submit in a new session what is left."""
    task = client.submit("t", delay=5, deadline=10)
    soon = client.submit("t", not_before=datetime.now(UTC) + timedelta(seconds=0.2))
    past = client.submit("t", not_before=datetime(2001, 1, 1, tzinfo=UTC), deadline=0.25)
    time.sleep(0.3)
    broker.greet()
    first, second, third = (broker.expect(16) for _ in range(3))
    assert 4000 < first[5][1] <= 4700 and first[5][3] - first[5][1] in (4999, 5000, 5001)
    assert second[5] == {1: 0}, "its time has come"
    assert third[5] == {1: 0, 3: 0}
    time.sleep(0.2)
    broker.hold = 0
    broker.cut()
    broker.hello()
    broker.welcome(resumed=True, ack=0)
    broker.received = 0
    assert broker.expect(16) == first, "a packet of a resumed session goes unchanged"
    broker.cut()
    broker.hello()
    broker.hold = None
    broker.welcome()
    again = broker.expect(16)
    assert again[5][17] is True
    assert again[5][1] <= first[5][1] - 200 and again[5][3] <= first[5][3] - 200
    for request in (task, soon, past):
        assert not request.done()


class Clocks(ModuleType):
    """Both clocks of a machine, which both go on whenever somebody looks at one of them."""

    def __init__(self, step: int) -> None:
        super().__init__("time")
        self.now, self.step = 0, step  # in microseconds

    def look(self) -> int:
        self.now += self.step
        return self.now

    def monotonic(self) -> float:
        return 1e6 + self.look() / 1e6

    def at(self, microseconds: int) -> datetime:
        return datetime(2031, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)

    def __call__(self, _zone: Any) -> datetime:
        return self.at(self.look())


@pytest.mark.parametrize("step", [0, 1, 7, 333, 999, 1000, 1001, 2500])
def test_no_rounding_lets_a_task_begin_before_its_point_in_time(
    monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    clocks = Clocks(step)

    class Day(datetime):
        now = clocks  # type: ignore[assignment]

    monkeypatch.setattr(terms, "datetime", Day)
    monkeypatch.setattr(terms, "time", clocks)
    for wait in (0, 1, 499, 500, 999, 1000, 1001, 5123, 300_000, 300_001, 299_999, 86_400_000_001):
        begun = clocks.now
        asked = terms.Wanted({"not_before": Day.fromisoformat(str(clocks.at(begun + wait)))})
        each = asked.renewed()  # of many, at a later time: the point stays where it is
        for wanted in (asked, each):
            starts = wanted.left()[1] * 1000 + clocks.now  # at the earliest, from the last look
            assert starts >= begun + wait
            assert starts < max(begun + wait, clocks.now) + 2000 + step
    asked = terms.Wanted({"delay": 0.3})
    begun = clocks.now
    assert asked.left()[1] * 1000 + clocks.now >= begun + 300_000


def test_a_followed_task_tells_in_order_and_before_its_result(
    met: FakeBroker, client: Client, start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[Any] = []

    def on_progress(value: Any, attempt: int) -> None:
        heard.append((value, attempt))
        if value == "bad":
            raise KeyError("mine")
        time.sleep(0.05)

    def on_log(level: str, text: str, attempt: int) -> None:
        heard.append((level, text, attempt))

    called = start(client.call, "t", on_progress=on_progress, on_log=on_log)
    record = met.expect(16)
    assert record[5][69] == 3
    request = record[1]
    met.say(
        [36, request, encode(1), {4: 1}],
        [37, request, 4, "no", {4: 1}],
        [36, request, encode("bad"), {4: 2}],
        [36, request, b"\xc1", {4: 2}],
        [36, request, encode([2]), {4: 2}],
        [37, request, 1, "fine"],
        [36, 999, encode(0)],
        [32, request, 1, encode("done")],
    )
    assert called.result(5) == "done"
    assert heard == [(1, 1), ("error", "no", 1), ("bad", 2), ([2], 2), ("debug", "fine", 0)]
    told = capfd.readouterr().err
    assert "on_progress of task" in told and "KeyError: 'mine'" in told and "BodyError" in told
    # Only what was asked for; and the client goes on.
    task = client.submit("t", on_log=on_log)
    record = met.expect(16)
    assert record[5][69] == 2
    met.say([36, record[1], encode(9)], [32, record[1], 2, None, {2: ERROR}])
    with pytest.raises(tuskd.TaskFailed):
        task.result(5)
    assert len(heard) == 5


def test_a_callback_may_use_its_client(met: FakeBroker, client: Client, start: Start) -> None:
    inner: list[Any] = []
    called = start(client.call, "t", on_progress=lambda v, _: inner.append(client.call("inner", v)))
    request = met.expect(16)[1]
    met.say([36, request, encode(7)], [32, request, 1, encode("outer")])
    record = met.expect(16)
    assert record[3:5] == ["inner", encode(7)] and not called.done()
    met.say([32, record[1], 1, encode("seen")])
    assert called.result(5) == "outer" and inner == ["seen"]


def test_the_async_client_awaits_callbacks(broker: FakeBroker, url: str) -> None:
    heard: list[Any] = []

    async def on_progress(value: Any, attempt: int) -> None:
        await asyncio.sleep(0.02)
        heard.append((value, attempt))
        if value == 1:
            raise KeyError("mine")

    async def run() -> None:
        async with AsyncClient(url) as client:
            result = await client.call(
                "t", on_progress=on_progress, on_log=lambda *line: heard.append(line), priority=7
            )
            heard.append(result)
            with pytest.raises(tuskd.TaskDead) as dead:
                await client.submit("t", on_progress=on_progress)
            assert [a.attempt for a in dead.value.history] == [1]
            with pytest.raises(ValueError, match="attempts"):
                await client.call("t", attempts=0)
            with pytest.raises(TypeError, match="does not follow"):
                await client.send("t", on_log=print)  # type: ignore[call-arg]
            assert [r async for r in client.map("t", [1], priority=5, delay=1)] == [None]

    def serve() -> None:
        broker.greet()
        record = broker.expect(16)
        assert record[5][69] == 3 and record[5][51] == 7
        number = record[1]
        broker.say([36, number, encode(0), {4: 1}], [37, number, 2, "line", {4: 1}])
        broker.say([36, number, encode(1), {4: 1}], [36, number, encode(2), {4: 2}])
        broker.say([32, number, 1, encode("end")])
        number = broker.expect(16)[1]
        run = {"attempt": 1, "worker": "w", "started": 900, "ended": 0, "error": ERROR}
        broker.say([36, number, encode(3), {4: 1}])
        broker.say([32, number, 5, None, {2: ERROR, 28: [run]}])
        assert submitted(broker) == {51: 5, 1: 1000}

    thread = threading.Thread(target=serve)
    thread.start()
    asyncio.run(run())
    thread.join()
    assert heard == [(0, 1), ("info", "line", 1), (1, 1), (2, 2), "end", (3, 1)]


def test_endings_have_a_history(met: FakeBroker, client: Client) -> None:
    runs = [
        {"attempt": 1, "worker": "w1", "started": 900, "ended": 700, "error": ERROR},
        {"attempt": 2, "worker": "w2", "started": 500, "ended": 0, "error": {"type": "Other"}},
        "nonsense",
    ]
    kinds = {2: tuskd.TaskFailed, 3: tuskd.TaskExpired, 4: tuskd.TaskCancelled, 5: tuskd.TaskDead}
    for state, kind in kinds.items():
        for told in (runs, None):
            task = client.submit("t")
            number = met.expect(16)[1]
            met.say([32, number, state, None, {2: ERROR} | ({28: told} if told else {})])
            with pytest.raises(kind) as caught:
                task.result(5)
            assert type(caught.value) is kind
            history = caught.value.history  # type: ignore[attr-defined]
            if told is None:
                assert history == []
                continue
            assert history == [
                tuskd.Attempt(1, "w1", 0.9, 0.7, "Flaky", "no", "s", "go"),
                tuskd.Attempt(2, "w2", 0.5, 0.0, "Other", "", "", ""),
            ]
