"""Events: patterns, the last one that a topic keeps, slow subscribers, rates."""

from typing import Any

import pytest
from conftest import wait_for

from .conftest import TOPICS
from .fixtures import Programs, World, fails, languages
from .programs import ProgramError, tag, untag


def event(topic: str, body: Any, sequence: int, missed: int = 0, retained: bool = False) -> Any:
    return {
        "topic": topic,
        "body": tag(body),
        "sequence": sequence,
        "missed": missed,
        "retained": retained,
    }


@pytest.mark.shows("publish, to subscribers in all languages")
@languages
def test_events_reach_every_language(world: World, language: str) -> None:
    topic = f"from-{language}"
    assert topic in TOPICS
    for program in world.clients.values():
        program.do("subscribe", topic=topic)
    bodies = [{"n": n, "text": "ä€", "bytes": b"\x00\xff"} for n in range(20)]
    for body in bodies:
        world.clients[language].do("publish", topic=topic, body=tag(body))
    for program in world.clients.values():
        events = program.do("events", topic=topic, count=len(bodies))
        assert [untag(event["body"]) for event in events] == bodies, program.name
        assert [event["sequence"] for event in events] == list(range(1, len(bodies) + 1))


@pytest.mark.shows("subscribe survives a restart of the broker")
@languages
def test_a_subscription_lasts_over_a_restart(tuskd, programs: Programs, language: str) -> None:
    broker = tuskd('[ipc_patterns]\npublish_subscribe: {topics: ["news"]}')
    program = programs.client(language, broker.url)
    program.do("subscribe", topic="news")
    program.do("publish", topic="news", body=tag("before"))
    assert untag(program.do("events", topic="news", count=1)[0]["body"]) == "before"
    broker.kill()
    broker.start()
    wait_for(lambda: broker.query("topics")[0]["subscribers"] == 1, "the subscription")
    program.do("publish", topic="news", body=tag("after"))
    assert untag(program.do("events", topic="news", count=1)[0]["body"]) == "after"


@pytest.mark.shows("a pattern of topics; the last event kept; clear")
@languages
def test_a_pattern_and_what_a_topic_keeps(world: World, programs: Programs, language: str) -> None:
    door, window, pattern = (f"state-{language}.{name}" for name in ("door", "window", "*"))
    publisher = world.clients[language]
    reader = programs.client(language, world.broker.url)
    publisher.do("publish", topic=door, body=tag("shut"))
    reader.do("subscribe", topic=pattern)
    assert reader.do("events", topic=pattern, count=1) == [event(door, "shut", 1, retained=True)]
    publisher.do("publish", topic=window, body=tag("open"))
    publisher.do("publish", topic=door, body=tag("open"))
    reader.do("subscribe", topic=door)
    assert reader.do("events", topic=door, count=1) == [event(door, "open", 2, retained=True)]
    publisher.do("clear", topic=door)
    publisher.do("publish", topic=door, body=tag(None))
    assert reader.do("events", topic=pattern, count=4) == [
        event(window, "open", 1),
        event(door, "open", 2),
        event(door, None, 3),
        event(door, None, 4),
    ], "what another subscription asked for is not given twice"
    publisher.do("clear", topic=door)
    late = programs.client(language, world.broker.url)
    late.do("subscribe", topic=pattern)
    publisher.do("publish", topic=window, body=tag("shut"))
    assert late.do("events", topic=pattern, count=1) == [event(window, "shut", 2)], (
        "it is forgotten"
    )


@pytest.mark.shows("a slow subscriber is told what it missed, or ends")
@languages
def test_a_slow_subscriber(world: World, programs: Programs, language: str) -> None:
    topic = f"from-{language}"
    program = programs.client(language, world.broker.url)
    program.do("subscribe", topic=topic, buffer=2)
    for number in range(5):
        program.do("publish", topic=topic, body=tag(number))
    # A client reads its own events before the answer to the publish that comes behind them.
    (first,) = program.do("events", topic=topic, count=1)
    assert (untag(first["body"]), first["missed"]) == (3, 3)
    (second,) = program.do("events", topic=topic, count=1)
    assert (untag(second["body"]), second["missed"]) == (4, 0)

    program = programs.client(language, world.broker.url)
    program.do("subscribe", topic=topic, buffer=2, slow="disconnect")
    for number in range(5):
        program.do("publish", topic=topic, body=tag(number))
    events = program.do("events", topic=topic, count=2)
    assert [untag(event["body"]) for event in events] == [0, 1]
    error = fails(program, "events", topic=topic, count=1)
    assert (error.kind, error.code) == ("SlowSubscriber", "slow_subscriber")


@pytest.mark.shows("a topic's rate; patterns that are none")
@languages
def test_what_is_refused(world: World, language: str) -> None:
    program = world.clients[language]
    error = None
    for _ in range(3):
        try:
            program.do("publish", topic=f"rated-{language}", body=tag(1))
        except ProgramError as caught:
            error = caught
    assert error is not None, "three in a second are more than the rate allows"
    assert (error.kind, error.code) == ("Busy", "busy")
    assert fails(program, "subscribe", topic="a..*").code == "invalid"
    assert fails(program, "subscribe", topic="nothing.>").code == "unknown_topic"
