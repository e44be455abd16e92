"""Runs that wait for their children, against a scripted broker for the worker and one for what it
submits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from conftest import ID, Running, answers
from fake_broker import FakeBroker

import tuskd
from tuskd import AsyncContext, Context, Worker
from tuskd.children import Family
from tuskd.values import decode, encode

KINDS = pytest.mark.parametrize("kind", ["plain", "async"])


@pytest.fixture
def parents(make_broker: Callable[..., FakeBroker], monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    """The broker that children are submitted to."""
    broker = make_broker("-children")
    monkeypatch.setattr("tuskd.runs.Family", lambda url: Family(url + "-children"))
    return broker


def parenting(url: str, kind: str, **options: Any) -> Worker:
    worker = Worker(url, **options)

    @worker.task("other")
    def other(value: Any) -> Any:
        return value

    if kind == "plain":

        @worker.task("parent")
        def parent(bodies: list[Any], context: Context) -> Any:
            try:
                return context.gather([context.submit("child", body) for body in bodies])
            finally:
                context.progress(context.cancel_reason)

        @worker.task("one")
        def one(body: Any, context: Context) -> Any:
            return context.call("child", body, priority="high", trace="t")

        return worker

    @worker.task("parent")
    async def parent_async(bodies: list[Any], context: AsyncContext) -> Any:
        try:
            return list(await asyncio.gather(*(context.call("child", body) for body in bodies)))
        finally:
            context.progress(context.cancel_reason)

    @worker.task("one")
    async def one_async(body: Any, context: AsyncContext) -> Any:
        return await context.call("child", body, priority="high", trace="t")

    return worker


def children(broker: FakeBroker, count: int, *, accept: bool = True) -> list[list[Any]]:
    found = [broker.expect(16) for _ in range(count)]
    if accept:
        broker.say(*[[48, record[1]] for record in found])
    return found


@pytest.fixture
def child(
    broker: FakeBroker, parents: FakeBroker, url: str, running: Running, kind: str
) -> list[Any]:
    """The submit of the one child that run 1 waits for; the broker's next record is its suspend."""
    running(parenting(url, kind))
    broker.greet()
    broker.say([64, 1, ID, "one", 1, encode(1)])
    parents.greet()
    return children(parents, 1)[0]


@KINDS
def test_a_run_that_waits_lends_its_slot(
    broker: FakeBroker, parents: FakeBroker, url: str, running: Running, kind: str
) -> None:
    running(parenting(url, kind))
    broker.greet()
    broker.say([64, 1, ID, "parent", 1, encode([1, 2])])
    parents.greet()
    first, second = children(parents, 2, accept=False)
    assert first[3] == "child" and first[5] == {63: ID, 15: 2}
    parents.say([48, first[1]])
    with pytest.raises(TimeoutError):
        broker.expect(35, 0.1)  # the broker may not know the second
    parents.say([48, second[1]])
    suspend = broker.expect(35)
    assert suspend[1] == 1 and sorted(suspend[2]) == sorted([first[2], second[2]])
    (other,) = answers(broker, [64, 2, ID, "other", 1, encode("meanwhile")])
    assert decode(other[3]) == "meanwhile", "on the slot that was lent"
    parents.say([32, second[1], 1, encode("b")], [32, first[1], 1, encode("a")])
    with pytest.raises(TimeoutError):
        broker.expect(36, 0.1)  # it has no slot yet
    broker.say([67, 1])
    assert decode(broker.expect(32)[3]) == ["a", "b"]


@KINDS
def test_a_result_that_is_there_needs_no_suspend(
    broker: FakeBroker, parents: FakeBroker, url: str, running: Running, kind: str
) -> None:
    running(parenting(url, kind))
    broker.greet()
    broker.say([64, 1, ID, "one", 1, encode(1)])
    parents.greet()
    (child,) = children(parents, 1, accept=False)
    assert child[5] == {63: ID, 15: 2, 51: 10, 8: "t"}
    parents.say([32, child[1], 1, encode("at once")])
    broker.until(lambda: any(record[0] == 32 for record in broker.records))
    assert [record[0] for record in broker.records] == [32]


@KINDS
def test_a_run_that_may_not_lend_its_slot_keeps_it(
    broker: FakeBroker, parents: FakeBroker, child: list[Any]
) -> None:
    broker.expect(35)
    broker.say([5, 1, "full", "too many are suspended", {"limit": "max_suspended"}])
    parents.say([32, child[1], 1, encode("kept")])
    assert decode(broker.expect(32)[3]) == "kept"


@KINDS
def test_waiting_for_oneself_is_told(
    broker: FakeBroker, parents: FakeBroker, child: list[Any]
) -> None:
    broker.expect(35)
    broker.say([5, 1, "invalid", "it would wait for itself", {}])
    failed = broker.expect(32)
    assert failed[2] == 2 and failed[4][2]["type"] == "Invalid"


@KINDS
def test_the_error_of_a_child_is_the_handlers(
    broker: FakeBroker, parents: FakeBroker, child: list[Any]
) -> None:
    broker.expect(35)
    parents.say([32, child[1], 2, None, {2: {"type": "Broken", "message": "no"}}])
    broker.say([67, 1])
    failed = broker.expect(32)
    assert failed[2] == 2 and failed[4][2]["type"] == "TaskFailed"


@KINDS
def test_a_run_that_waits_is_cancelled(
    broker: FakeBroker, parents: FakeBroker, url: str, running: Running, kind: str
) -> None:
    running(parenting(url, kind))
    broker.greet()
    broker.say([64, 1, ID, "parent", 1, encode([1])])
    parents.greet()
    children(parents, 1)
    broker.expect(35)
    broker.say([17, 1, ID, {26: "parent"}])
    assert decode(broker.expect(36)[2]) == "parent"
    assert broker.expect(32)[1:3] == [1, 4]
    (other,) = answers(broker, [64, 2, ID, "other", 1, encode("next")])
    assert decode(other[3]) == "next"


@KINDS
def test_a_run_that_was_adopted_says_again_that_it_waits(
    broker: FakeBroker, parents: FakeBroker, child: list[Any]
) -> None:
    suspend = broker.expect(35)
    broker.cut()
    broker.hello()
    broker.welcome(claims=[[ID, 9]])
    assert broker.expect(35) == [35, 9, suspend[2]]
    parents.say([32, child[1], 1, encode("late")])
    broker.say([67, 9])
    assert broker.expect(32)[1:] == [9, 1, encode("late")]


@KINDS
def test_a_child_that_was_submitted_again_is_awaited_again(
    broker: FakeBroker, parents: FakeBroker, child: list[Any]
) -> None:
    """A broker that was started again may have said resume because it did not know the child."""
    suspend = broker.expect(35)
    broker.say([67, 1])
    parents.cut()
    parents.hello()
    parents.welcome()
    (again,) = children(parents, 1)
    assert again[2] == child[2] and again[5][17] is True
    assert broker.expect(35) == suspend
    parents.say([32, again[1], 1, encode("at last")])
    broker.say([67, 1])
    assert decode(broker.expect(32)[3]) == "at last"


@KINDS
def test_many_runs_wait_on_one_slot(
    broker: FakeBroker, parents: FakeBroker, url: str, running: Running, kind: str
) -> None:
    count = 200
    before = threading.active_count()
    running(parenting(url, kind, slots=1))
    broker.greet()
    for handle in range(1, count + 1):
        broker.say([64, handle, ID, "one", 1, encode(handle)])
        if handle == 1:
            parents.greet()
        children(parents, 1)
        assert broker.expect(35)[1] == handle
    (other,) = answers(broker, [64, 999, ID, "other", 1, encode("free")])
    assert decode(other[3]) == "free"
    for number in range(1, count + 1):
        parents.say([32, number, 1, encode("r")])
        broker.say([67, number])
        assert broker.expect(32)[1:] == [number, 1, encode("r")]
    if kind == "plain":
        broker.until(lambda: threading.active_count() < before + 10)


def test_more_than_a_thousand_children_are_awaited_in_turns(
    broker: FakeBroker, parents: FakeBroker, url: str, running: Running
) -> None:
    running(parenting(url, "plain"))
    broker.greet()
    broker.say([64, 1, ID, "parent", 1, encode([0] * 1001)])
    parents.greet()
    found = children(parents, 1001)
    first = broker.expect(35)
    assert len(first[2]) == 1000
    parents.say(*[[32, record[1], 1, None] for record in found if record[2] in first[2]])
    broker.say([67, 1])
    (last,) = [record for record in found if record[2] not in first[2]]
    assert broker.expect(35)[2] == [last[2]]
    parents.say([32, last[1], 1, None])
    broker.say([67, 1])
    assert decode(broker.expect(32)[3]) == [None] * 1001


def test_a_blocking_wait_on_a_loop_is_told(
    broker: FakeBroker, parents: FakeBroker, url: str, running: Running
) -> None:
    worker = Worker(url)

    @worker.task("blocks")
    async def blocks(context: Context) -> Any:
        return context.call("child")

    running(worker)
    broker.greet()
    (failed,) = answers(broker, [64, 1, ID, "blocks", 1, None])
    assert failed[2] == 2 and "tuskd.AsyncContext" in failed[4][2]["message"]


def test_a_plain_handler_has_no_async_context() -> None:
    with pytest.raises(TypeError, match="a plain function has a Context"):

        @Worker("ipc:///nowhere").task("t")
        def t(context: AsyncContext) -> None: ...


def test_a_child_is_not_followed(
    broker: FakeBroker, parents: FakeBroker, url: str, running: Running
) -> None:
    worker = Worker(url)

    @worker.task("t")
    def t(context: Context) -> Any:
        return context.call("child", on_log=print)  # type: ignore[call-arg]

    running(worker)
    broker.greet()
    (failed,) = answers(broker, [64, 1, ID, "t", 1, None])
    assert failed[4][2]["message"] == "a run does not follow its tasks: no on_log"


def test_a_context_outside_of_a_run_has_no_children() -> None:
    with pytest.raises(RuntimeError, match="while its worker runs it"):
        Context(ID, "t", 1, None).submit("child")
    assert tuskd.Child and tuskd.AsyncChild
