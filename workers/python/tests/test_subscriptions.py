"""Subscriptions against a scripted broker: patterns, lost and retained events, slow readers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Start
from fake_broker import FakeBroker

import tuskd
from tuskd import AsyncClient, Client
from tuskd.feeds import matches
from tuskd.values import encode


def seen(broker: FakeBroker, client: Client, start: Start) -> None:
    """Returns when the client has dealt with all that the broker said."""
    asked = start(client.query, "status")
    broker.say([49, broker.expect(18)[1], {}])
    asked.result(5)


def subscribed(
    broker: FakeBroker, client: Client, start: Start, name: str, **options: Any
) -> tuskd.Subscription:
    subscribing = start(client.subscribe, name, **options)
    if not broker.hellos:
        broker.greet()
    broker.say([48, broker.expect(21)[1]])
    subscription: tuskd.Subscription = subscribing.result(5)
    return subscription


def test_subscription_counts_what_it_missed(
    broker: FakeBroker, client: Client, start: Start
) -> None:
    subscribing = start(client.subscribe, "prices", buffer=3)
    broker.greet()
    _, request, topic = broker.expect(21)
    assert topic == "prices"
    broker.say([48, request])
    subscription = subscribing.result(5)
    broker.say([50, 5, "prices", encode("a")], [50, 6, "prices", encode("b"), {8: "trace"}])
    broker.say([50, 9, "prices", encode("c")])
    events = [subscription.get(5) for _ in range(3)]
    assert [(e.body, e.sequence, e.missed, e.trace) for e in events] == [
        ("a", 5, 0, None),
        ("b", 6, 0, "trace"),
        ("c", 9, 2, None),
    ]
    broker.say(*[[50, n, "prices", encode(n)] for n in range(10, 20)], [50, 1, "other", None])
    asked = start(client.query, "status")
    broker.say([49, broker.expect(18)[1], {}])
    asked.result(5)
    event = subscription.get(5)
    assert (event.body, event.missed) == (17, 7), "the oldest go first"
    subscription.close()
    assert broker.expect(22)[2] == "prices"
    assert list(subscription) != [0]
    with pytest.raises(tuskd.Closed):
        subscription.get(1)


def test_subscribe_to_an_unknown_topic(broker: FakeBroker, client: Client, start: Start) -> None:
    subscribing = start(client.subscribe, "prizes")
    broker.greet()
    broker.say([5, broker.expect(21)[1], "unknown_topic", "did you mean prices?"])
    with pytest.raises(tuskd.UnknownTopic, match="prices"):
        subscribing.result(5)


@pytest.mark.parametrize(
    ("pattern", "topic", "whether"),
    [
        ("prices", "prices", True),
        ("prices", "prices.eu", False),
        ("prices.*", "prices.eu", True),
        ("prices.*", "prices", False),
        ("prices.*", "prices.eu.paris", False),
        ("*.eu", "prices.eu", True),
        ("*.eu", "prices.us", False),
        ("prices.>", "prices.eu.paris", True),
        ("prices.>", "prices.eu", True),
        ("prices.>", "prices", False),
        (">", "prices", True),
        ("*", "prices.eu", False),
        ("a.*.c", "a.b.c", True),
        ("prices.e*", "prices.eu", False),
    ],
)
def test_pattern(pattern: str, topic: str, whether: bool) -> None:
    assert matches(pattern, topic) == whether


def test_events_go_to_each_subscription_that_matches(
    broker: FakeBroker, client: Client, start: Start
) -> None:
    all_of = subscribed(broker, client, start, "prices.>")
    one = subscribed(broker, client, start, "prices.eu")
    broker.say(
        [50, 7, "prices.eu", encode("a")],
        [50, 1, "prices.us.ny", encode("b")],
        [50, 9, "prices.eu", encode("c")],
        [50, 2, "prices.us.ny", encode("d")],
        [50, 1, "other", encode("e")],
    )
    got = [all_of.get(5) for _ in range(4)]
    assert [(e.topic, e.body, e.missed) for e in got] == [
        ("prices.eu", "a", 0),
        ("prices.us.ny", "b", 0),
        ("prices.eu", "c", 1),
        ("prices.us.ny", "d", 0),
    ], "each topic has numbers of its own"
    assert [one.get(5).body for _ in range(2)] == ["a", "c"]
    with pytest.raises(tuskd.Timeout):
        one.get(0)


def test_what_the_broker_dropped_before_the_first_event(
    broker: FakeBroker, client: Client, start: Start
) -> None:
    subscription = subscribed(broker, client, start, "prices", buffer=1)
    broker.say([50, 5, "prices", encode("a"), {38: 4}])
    assert subscription.get(5).missed == 4
    broker.say([50, 9, "prices", encode("b"), {38: 3}])
    broker.say([50, 10, "prices", encode("c")])
    seen(broker, client, start)
    event = subscription.get(5)
    assert (event.body, event.missed) == ("c", 4), "the gap says what the attribute does"


def test_first_events_that_were_dropped_here_are_missed(
    broker: FakeBroker, client: Client, start: Start
) -> None:
    subscription = subscribed(broker, client, start, "*", buffer=2)
    broker.say(*[[50, n, "a", encode(n)] for n in range(1, 6)], [50, 1, "b", encode("b")])
    seen(broker, client, start)
    got = [subscription.get(5) for _ in range(2)]
    assert [(e.body, e.missed) for e in got] == [(5, 4), ("b", 0)]


def test_a_retained_event_comes_once_to_each_subscription(
    broker: FakeBroker, client: Client, start: Start
) -> None:
    first = subscribed(broker, client, start, "door")
    broker.say([50, 8, "door", encode("shut"), {40: True}])
    event = first.get(5)
    assert (event.body, event.retained, event.missed) == ("shut", True, 0)
    second = subscribed(broker, client, start, "door")
    broker.say([50, 8, "door", encode("shut"), {40: True}])
    broker.say([50, 9, "door", encode("open")])
    assert [(e.body, e.retained) for e in (second.get(5), second.get(5))] == [
        ("shut", True),
        ("open", False),
    ]
    event = first.get(5)
    assert (event.body, event.missed) == ("open", 0), "what the other asked for is not given twice"


def test_a_retained_event_comes_again_in_a_new_session(
    make_broker: Callable[..., FakeBroker], client: Client, start: Start
) -> None:
    broker = make_broker()
    subscription = subscribed(broker, client, start, "door", slow="disconnect")
    broker.say([50, 8, "door", encode("shut"), {40: True}])
    assert subscription.get(5).body == "shut"
    broker.close()
    again = make_broker()
    again.greet(epoch=8)
    record = again.expect(21)
    assert record[2:] == ["door", {77: 1}], "the wish is said again"
    again.say([48, record[1]], [50, 8, "door", encode("shut"), {40: True}])
    event = subscription.get(5)
    assert (event.body, event.retained, event.missed) == ("shut", True, 0)


def test_a_slow_subscription_that_wants_to_be_disconnected_ends(
    broker: FakeBroker, client: Client, start: Start
) -> None:
    subscribing = start(client.subscribe, "prices", buffer=2, slow="disconnect")
    broker.greet()
    record = broker.expect(21)
    assert record[2:] == ["prices", {77: 1}]
    broker.say([48, record[1]])
    subscription = subscribing.result(5)
    broker.say(*[[50, n, "prices", encode(n)] for n in range(1, 5)])
    assert broker.expect(22)[2] == "prices", "nobody reads it any more"
    assert [subscription.get(5).body for _ in range(2)] == [1, 2], "what it had is there"
    for _ in range(2):
        with pytest.raises(tuskd.SlowSubscriber, match="2 events of prices") as raised:
            subscription.get(5)
    assert raised.value.code == "slow_subscriber"
    subscription.close()


def test_one_that_keeps_up_stays_when_another_ends(
    broker: FakeBroker, client: Client, start: Start
) -> None:
    slow = subscribed(broker, client, start, "prices", buffer=1, slow="disconnect")
    subscribing = start(client.subscribe, "prices")
    record = broker.expect(21)
    assert record[2:] == ["prices"], "the milder wish counts"
    broker.say([48, record[1]])
    other = subscribing.result(5)
    broker.say(*[[50, n, "prices", encode(n)] for n in (1, 2)])
    assert [other.get(5).body for _ in range(2)] == [1, 2]
    assert slow.get(5).body == 1
    with pytest.raises(tuskd.SlowSubscriber):
        slow.get(5)
    broker.say([50, 3, "prices", encode(3)])
    assert other.get(5).body == 3
    assert not any(record[0] == 22 for record in broker.records)


def test_the_broker_ends_a_slow_subscription(
    make_broker: Callable[..., FakeBroker], client: Client, start: Start
) -> None:
    broker = make_broker()
    ended = [subscribed(broker, client, start, "p.*", slow="disconnect") for _ in range(2)]
    other = subscribed(broker, client, start, "p.eu")
    subscribing = start(client.subscribe, "p.*")
    request = broker.expect(21)[1]
    broker.say([50, 1, "p.eu", encode(1)], [51, "p.*", "too slow, it said"], [48, request])
    late = subscribing.result(5)
    for subscription in ended:
        assert subscription.get(5).body == 1
        with pytest.raises(tuskd.SlowSubscriber, match="too slow, it said"):
            subscription.get(5)
    broker.say([50, 2, "p.eu", encode(2)])
    assert [other.get(5).body for _ in range(2)] == [1, 2]
    assert late.get(5).body == 1 and late.get(5).body == 2, "it subscribed behind the end"
    late.close()
    broker.expect(22)
    broker.close()
    again = make_broker()
    again.greet(epoch=8)
    again.say([48, again.expect(21)[1]])
    seen(again, client, start)
    assert not any(record[0] == 21 for record in again.records), "what ended is forgotten"


def test_clear_publishes_without_a_body(broker: FakeBroker, client: Client, start: Start) -> None:
    subscription = subscribed(broker, client, start, "door")
    clearing = start(client.clear, "door", trace="t")
    record = broker.expect(20)
    assert record[2:] == ["door", None, {8: "t"}]
    broker.say([50, 3, "door", None], [48, record[1]])
    clearing.result(5)
    assert subscription.get(5).body is None
    publishing = start(client.publish, "door")
    record = broker.expect(20)
    assert record[3] == encode(None), "null is a body"
    broker.say([48, record[1]])
    publishing.result(5)


def test_a_loop_subscribes_and_clears(broker: FakeBroker, url: str, start: Start) -> None:
    async def run() -> list[Any]:
        async with AsyncClient(url) as client:
            await client.clear("door")
            subscription = await client.subscribe("*", buffer=1, slow="disconnect")
            got: list[Any] = []
            try:
                async for event in subscription:
                    got.append(event.body)
            except tuskd.SlowSubscriber as error:
                got.append(error.code)
            return got

    running = start(lambda: asyncio.run(run()))
    broker.greet()
    broker.say([48, broker.expect(20)[1]])
    record = broker.expect(21)
    broker.say([48, record[1]], [50, 1, "a", encode(1)], [50, 2, "b", encode(2)])
    assert running.result(10) == [1, "slow_subscriber"]


@pytest.mark.parametrize("options", [{"buffer": 0}, {"slow": "wait"}])
def test_options_that_are_none(client: Client, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="buffer" if "buffer" in options else "slow"):
        client.subscribe("prices", **options)
