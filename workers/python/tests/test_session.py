"""Sessions: what happens when packets and connections are lost. What a real broker seldom does."""

from __future__ import annotations

from collections.abc import Callable

import msgpack
import pytest
from conftest import Start
from fake_broker import FakeBroker

import tuskd
from tuskd import Client, Task
from tuskd.values import encode


def test_lone_ack_comes_by_itself(broker: FakeBroker, client: Client) -> None:
    task = client.submit("t")
    broker.greet()
    broker.say([32, broker.expect(16)[1], 1, None])
    broker.until(lambda: broker.acked == 1)
    assert broker.headers[-1][2] == 0, "there was nothing to say but the ack"
    assert task.result(5) is None


def test_ack_comes_after_64_packets(broker: FakeBroker, client: Client) -> None:
    client.submit("t")
    broker.greet()
    broker.expect(16)
    for n in range(64):
        broker.say([4, n])
    broker.until(lambda: broker.acked >= 64)


def test_pings_are_answered(broker: FakeBroker, client: Client) -> None:
    client.submit("t")
    broker.greet()
    broker.say([3, -5])
    assert broker.expect(4) == [4, -5]


def test_packet_that_arrives_twice_counts_once(
    broker: FakeBroker, client: Client, start: Start
) -> None:
    subscribing = start(client.subscribe, "t")
    broker.greet()
    broker.say([48, broker.expect(21)[1]])
    subscription = subscribing.result(5)
    broker.say([50, 1, "t", encode("once")])
    broker.sent -= 1
    broker.say([50, 1, "t", encode("twice")])
    broker.say([50, 2, "t", encode("next")])
    assert [subscription.get(5).body for _ in range(2)] == ["once", "next"]


def test_skipped_number_is_a_gap(broker: FakeBroker, client: Client) -> None:
    task = client.submit("t")
    broker.greet()
    request = broker.expect(16)[1]
    broker.sent += 1  # a packet that is lost
    broker.say([32, request, 1, encode("too early")])
    error = broker.expect(5)
    assert error[1:3] == [0, "gap"] and error[4] == {"expected": 1}
    broker.sent = 0
    broker.say([32, request, 1, encode("now")])
    assert task.result(5) == "now"


def test_gap_that_the_broker_tells_is_filled_unchanged(broker: FakeBroker, client: Client) -> None:
    task = client.submit("warm up")
    broker.greet()
    broker.say([32, broker.expect(16)[1], 1, None])
    task.result(5)
    broker.drop_next = True
    client.submit("lost")
    broker.until(lambda: not broker.drop_next)
    broker.say([5, 0, "gap", "where is 2?", {"expected": 2}])
    record = broker.expect(16)
    assert record[3] == "lost" and len(record) == 5, "unchanged: it is not marked as resent"


def test_connection_cut_and_session_resumed(broker: FakeBroker, client: Client) -> None:
    first = client.submit("first")
    broker.greet()
    first_request = broker.expect(16)[1]
    broker.ack()
    broker.drop_next = True
    second = client.submit("second")
    broker.until(lambda: not broker.drop_next)
    broker.cut()
    hello = broker.hello()
    assert hello["session"] == broker.session and hello["ack"] == 0
    broker.welcome(resumed=True)
    record = broker.expect(16)
    assert record[3] == "second" and len(record) == 5
    broker.say([32, first_request, 1, encode(1)], [32, record[1], 1, encode(2)])
    assert (first.result(5), second.result(5)) == (1, 2)


def test_broker_restarted_so_all_is_submitted_again(
    make_broker: Callable[..., FakeBroker], client: Client, start: Start
) -> None:
    broker = make_broker()
    subscribing = start(client.subscribe, "prices")
    broker.greet()
    broker.say([48, broker.expect(21)[1]])
    subscription = subscribing.result(5)
    broker.say([50, 1000, "prices", None])
    assert subscription.get(5).sequence == 1000
    tasks = [client.submit("t", n) for n in range(3)]
    records = [broker.expect(16) for _ in range(3)]
    call = start(client.call, "u", timeout=60.0)
    first_wait = broker.expect(16)[5][55]
    pushing = start(client.push, "stage", 1, timeout=60.0)
    broker.expect(24)
    publishing = start(client.publish, "prices", 1)
    broker.expect(20)
    broker.say([32, records[1][1], 1, encode("done before")])
    assert tasks[1].result(5) == "done before"
    broker.close()
    again = make_broker()
    hello = again.greet(epoch=8)
    assert hello["instance"] == broker.hellos[0]["instance"]
    again.until(lambda: sum(r[0] in (16, 24) for r in again.records) == 4)
    got = list(again.records)
    submits = {r[2]: r for r in got if r[0] == 16}
    assert {r[2] for r in records if r is not records[1]} <= set(submits)
    assert all(r[5][17] is True for r in got if r[0] in (16, 24))
    assert len(submits) == 3
    (wait,) = [r[5][55] for r in submits.values() if r[3] == "u"]
    assert wait < first_wait, "what is left of it"
    assert [r[2] for r in got if r[0] == 21] == ["prices"]
    with pytest.raises(tuskd.UnknownOutcome):
        publishing.result(5)
    again.say(*[[32, r[1], 1, encode(r[3])] for r in submits.values()])
    again.say(*[[48, r[1]] for r in got if r[0] in (21, 24)], [50, 1, "prices", encode("new")])
    assert [tasks[0].result(5), tasks[2].result(5), call.result(5)] == ["t", "t", "u"]
    pushing.result(5)
    event = subscription.get(5)
    assert (event.body, event.missed) == ("new", None), "the numbers began anew"


def test_shutting_down_is_no_ending(make_broker: Callable[..., FakeBroker], client: Client) -> None:
    broker = make_broker()
    task = client.submit("t")
    broker.greet()
    request = broker.expect(16)[1]
    broker.say([7, "restart"], [5, request, "shutting_down", "not run"])
    broker.until(lambda: broker.acked == 1)
    assert not task.done()
    broker.say([6, "bye"])
    broker.until(lambda: len(broker.hellos) == 2)
    assert "session" not in broker.hellos[1], "bye ended it"
    broker.welcome()
    record = broker.expect(16)
    assert record[2] == task.id and record[5] == {17: True}
    broker.say([32, record[1], 1, encode("at last")])
    assert task.result(5) == "at last"


def submit_and_move(broker: FakeBroker, client: Client, *urls: str) -> Task:
    """A task that the broker has when it leaves and names these."""
    task = client.submit("t")
    broker.greet()
    broker.expect(16)
    broker.say([7, "moved", list(urls)], [6])
    return task


def test_goaway_names_another_place(
    broker: FakeBroker, client: Client, make_broker: Callable[..., FakeBroker]
) -> None:
    other = make_broker("other")
    task = submit_and_move(broker, client, "nonsense://", other.url)
    assert "session" not in other.greet()
    record = other.expect(16)
    other.say([32, record[1], 1, encode("there")])
    assert task.result(5) == "there"


def test_goaway_lets_what_runs_end_and_the_end_of_the_connection_is_a_bye(
    broker: FakeBroker, client: Client, make_broker: Callable[..., FakeBroker]
) -> None:
    other = make_broker("other")
    first, second = client.submit("first"), client.submit("second")
    broker.greet()
    requests = [broker.expect(16)[1] for _ in range(2)]
    broker.say([7, "moved", [other.url]])
    broker.say([32, requests[0], 1, encode("here")])
    assert first.result(5) == "here"
    broker.close()
    assert "session" not in other.greet()
    record = other.expect(16)
    other.say([32, record[1], 1, encode("there")])
    assert second.result(5) == "there"


def test_broker_that_leaves_and_names_nobody_means_itself(
    broker: FakeBroker, client: Client, make_broker: Callable[..., FakeBroker]
) -> None:
    other = make_broker("other")
    task = submit_and_move(broker, client, other.url)
    other.greet()
    other.expect(16)
    other.say([7, "restart"], [6])
    other.greet()
    other.say([32, other.expect(16)[1], 1, encode("there")])
    assert task.result(5) == "there"
    with pytest.raises(TimeoutError):
        broker.packet(0.0)


def test_without_an_answer_elsewhere_it_comes_back(
    broker: FakeBroker, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuskd.link.ELSEWHERE_AFTER", 0.5)
    task = submit_and_move(broker, client, f"{broker.url}-nobody")
    broker.greet()
    broker.say([32, broker.expect(16)[1], 1, encode("back")])
    assert task.result(5) == "back"


def test_what_was_asked_in_a_packet_that_the_broker_could_not_read_fails(
    broker: FakeBroker, client: Client, start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    fine = client.submit("fine")
    broker.greet()
    request = broker.expect(16)[1]
    read = broker.received
    task = client.submit("bad")
    broker.expect(16)
    subscribing = start(client.subscribe, "prices")
    broker.expect(21)
    assert broker.received == read + 2
    for packet in (read + 1, read + 2):
        details = {"record": 1, "packet": packet}
        broker.say([5, 0, "malformed", "cannot be read", details])
    for waiting in (task, subscribing):
        with pytest.raises(tuskd.Malformed) as caught:
            waiting.result(5)
        assert caught.value.code == "malformed" and caught.value.details["record"] == 1
    broker.say([32, request, 1, encode("on")])
    assert fine.result(5) == "on"
    assert capfd.readouterr().err == ""
    broker.say([5, 0, "malformed", "cannot be read", {"packet": 99}], [3, 1])
    broker.expect(4)
    assert "malformed" in capfd.readouterr().err


def test_stale_session_makes_it_greet_again(broker: FakeBroker, client: Client) -> None:
    client.submit("t")
    broker.greet()
    broker.expect(16)
    broker.raw(msgpack.packb([5, 0, "stale_session", "who are you?"]))
    hello = broker.hello()
    assert hello["session"] == broker.session
    broker.welcome()
    record = broker.expect(16)
    assert record[5] == {17: True}


def test_second_welcome_of_the_same_session_changes_nothing(
    broker: FakeBroker, client: Client
) -> None:
    task = client.submit("t")
    broker.greet()
    request = broker.expect(16)[1]
    broker.welcome(resumed=True, ack=0)
    broker.raw(
        msgpack.packb([2, 1, {"session": broker.session, "epoch": 7, "resumed": False, "ack": 0}])
    )
    broker.say([32, request, 1, encode(1)])
    assert task.result(5) == 1
    client.submit("u")
    assert broker.expect(16)[3] == "u"


def test_packets_of_another_session_are_dropped(broker: FakeBroker, client: Client) -> None:
    task = client.submit("t")
    broker.greet()
    request = broker.expect(16)[1]
    broker.raw(
        msgpack.packb([0, broker.session + 1, 1, 0]) + msgpack.packb([32, request, 1, b"\x01"])
    )
    broker.raw(msgpack.packb([32, request, 1, b"\x02"]))
    broker.say([32, request, 1, b"\x03"])
    assert task.result(5) == 3


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"\xc1"],
        [b"\x93\x20"],
        [b"\x01"],
        [b"\x90"],
        [b"\xdd\xff\xff\xff\xff"],
        [b"\x91" * 5000],
    ],
)
def test_garbage_is_refused_and_the_session_lives(
    broker: FakeBroker, client: Client, frames: list[bytes]
) -> None:
    task = client.submit("t")
    broker.greet()
    request = broker.expect(16)[1]
    broker.raw(*frames)
    error = broker.expect(5)
    assert error[1:3] == [0, "malformed"]
    broker.say([32, request, 1, encode(1)])
    assert task.result(5) == 1


def test_number_of_a_refused_packet_counts(broker: FakeBroker, client: Client) -> None:
    task = client.submit("t")
    broker.greet()
    request = broker.expect(16)[1]
    broker.sent += 1
    broker.raw(msgpack.packb([0, broker.session, broker.sent, broker.received]) + b"\x93\x20")
    error = broker.expect(5)
    assert error[1:3] == [0, "malformed"] and error[4] == {"record": 1}
    broker.say([32, request, 1, encode(1)])
    assert task.result(5) == 1


def test_unknown_kinds(broker: FakeBroker, client: Client) -> None:
    client.submit("t")
    broker.greet()
    broker.expect(16)
    broker.say([200, "may be ignored"], [77, "may not"])
    error = broker.expect(5)
    assert error[2] == "unsupported" and error[4] == {"kind": 77}


def test_large_packet_that_breaks_the_connection_is_given_up(
    broker: FakeBroker, client: Client
) -> None:
    small = client.submit("small")
    broker.greet()
    small_request = broker.expect(16)[1]
    broker.ack()
    broker.drop_next = True
    large = client.submit("large", b"x" * (2 << 20))
    for _ in range(3):
        broker.until(lambda: not broker.drop_next)
        broker.cut()
        broker.hello()
        broker.drop_next = True
        broker.welcome(resumed=True)
    broker.drop_next = False
    with pytest.raises(tuskd.TooLarge):
        large.result(5)
    broker.until(lambda: broker.received == 2)
    broker.say([32, small_request, 1, encode("fine")])
    assert small.result(5) == "fine"
    client.submit("after")
    assert broker.expect(16)[3] == "after"


def test_unacknowledged_bytes_are_bounded(
    make_broker: Callable[..., FakeBroker], client: Client
) -> None:
    broker = make_broker(limits={"session_bytes": 20_000})
    warm = client.submit("t")
    broker.greet()
    broker.say([32, broker.expect(16)[1], 1, None])
    warm.result(5)
    with pytest.raises(tuskd.Busy):
        for _ in range(100):
            client.submit("t", b"x" * 3000)
    broker.until(lambda: sum(r[0] == 16 for r in broker.records) >= 5)
    broker.ack()
    broker.records.clear()
    broker.until(lambda: _submitted(client))
    while broker.expect(16)[3] != "again":
        pass


def _submitted(client: Client) -> bool:
    try:
        client.submit("again", b"x" * 3000)
    except tuskd.Busy:
        return False
    return True
