"""Streams, of workers and of clients, against a scripted broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from conftest import ID, Running, Start, answers
from fake_broker import FakeBroker

import tuskd
from tuskd import AsyncClient, AsyncContext, Client, Context, StreamBroken, StreamRestarted, Worker
from tuskd.values import decode, encode

KINDS = pytest.mark.parametrize("kind", ["plain", "generator", "async", "async generator"])


def counting(url: str, kind: str) -> Worker:
    """Its handler sends 1 to n; when it is told to stop it says so by a progress."""
    worker = Worker(url)

    def said(context: Any) -> None:
        context.progress(context.cancel_reason)

    if kind == "plain":

        @worker.task("count")
        def count(n: int, context: Context) -> str:
            try:
                for i in range(1, n + 1):
                    context.send(i)
                return "end"
            finally:
                said(context)

    elif kind == "generator":

        @worker.task("count")
        def generate(n: int, context: Context) -> Iterator[int]:
            try:
                yield from range(1, n + 1)
                return "end"
            finally:
                said(context)

    elif kind == "async":

        @worker.task("count")
        async def count_async(n: int, context: AsyncContext) -> str:
            try:
                for i in range(1, n + 1):
                    await context.send(i)
                return "end"
            finally:
                said(context)

    else:

        @worker.task("count")
        async def generate_async(n: int, context: AsyncContext) -> AsyncIterator[int]:
            try:
                for i in range(1, n + 1):
                    yield i
            finally:
                said(context)

    return worker


def end(kind: str) -> Any:
    return None if kind == "async generator" else "end"


@KINDS
def test_chunks_wait_for_credit_and_come_before_the_result(
    broker: FakeBroker, url: str, running: Running, kind: str
) -> None:
    running(counting(url, kind))
    broker.greet()
    broker.say([64, 1, ID, "count", 1, encode(5), {75: 2}])
    assert [broker.expect(8) for _ in range(2)] == [[8, 1, encode(n)] for n in (1, 2)]
    with pytest.raises(TimeoutError):
        broker.expect(8, 0.1)
    broker.say([45, 1, 1])
    assert broker.expect(8) == [8, 1, encode(3)]
    broker.say([45, 1, 10])
    broker.until(lambda: any(record[0] == 32 for record in broker.records))
    assert [r[0] for r in broker.records] == [8, 8, 36, 32]
    assert broker.records[-1][3] == encode(end(kind))


@KINDS
def test_without_a_stream_nothing_is_sent(
    broker: FakeBroker, url: str, running: Running, kind: str
) -> None:
    running(counting(url, kind))
    broker.greet()
    (result,) = answers(broker, [64, 1, ID, "count", 1, encode(5)])
    assert result[2:] == [1, encode(end(kind))]
    assert not broker.records


@KINDS
def test_a_run_that_waits_for_credit_is_cancelled(
    broker: FakeBroker, url: str, running: Running, kind: str
) -> None:
    running(counting(url, kind))
    broker.greet()
    broker.say([64, 1, ID, "count", 1, encode(5), {75: 1}])
    broker.expect(8)
    broker.say([17, 1, ID, {26: "deadline"}])
    assert decode(broker.expect(36)[2]) == "deadline"
    assert broker.expect(32)[1:3] == [1, 4]


def test_credit_that_comes_before_its_run_begins(
    broker: FakeBroker, url: str, running: Running
) -> None:
    running(counting(url, "plain"))
    broker.greet()
    broker.say([64, 1, ID, "count", 1, encode(3), {75: 1}], [45, 1, 2])
    assert [decode(broker.expect(8)[2]) for _ in range(3)] == [1, 2, 3]


def test_a_run_that_was_adopted_has_credit_anew(
    broker: FakeBroker, url: str, running: Running
) -> None:
    running(counting(url, "plain"))
    broker.greet()
    broker.say([64, 1, ID, "count", 1, encode(4), {75: 2}])
    assert [decode(broker.expect(8)[2]) for _ in range(2)] == [1, 2]
    broker.cut()
    broker.hello()
    broker.welcome(claims=[[ID, 9]])
    assert [broker.expect(8)[1:] for _ in range(2)] == [[9, encode(3)], [9, encode(4)]]
    assert broker.expect(32)[1] == 9


def test_a_run_whose_stream_is_no_longer_wanted_goes_on(
    broker: FakeBroker, url: str, running: Running
) -> None:
    running(counting(url, "plain"))
    broker.greet()
    broker.say([64, 1, ID, "count", 1, encode(100), {75: 1}])
    broker.expect(8)
    broker.say([5, 1, "invalid", "nobody asked for a stream of this task", {"field": "stream"}])
    assert broker.expect(32)[1:] == [1, 1, encode("end")]


def test_large_chunks(broker: FakeBroker, url: str, running: Running) -> None:
    worker = Worker(url)

    @worker.task("large")
    def large(context: Context) -> str:
        context.send("x" * 20_000)
        context.send(bytes(range(256)) * 40)
        try:
            context.send({1})
        except tuskd.BodyError:
            context.send("no set")
        try:
            context.send(bytes(2000_000))
        except tuskd.TooLarge as error:
            return str(error)
        return ""

    running(worker)
    broker.greet(compression="lz4", compression_threshold=15_000, limits={"body": 1 << 20})
    broker.say([64, 1, ID, "large", 1, None, {75: 9}])
    packed, frame, small = (broker.expect(8) for _ in range(3))
    assert packed[3] == {29: 1} and len(packed[2]) < 1000
    assert len(frame) == 3 and decode(frame[2]) == bytes(range(256)) * 40
    assert decode(small[2]) == "no set"
    assert "1048576" in decode(broker.expect(32)[3])


def test_a_chunk_that_cannot_be_sent_fails_a_generator(
    broker: FakeBroker, url: str, running: Running
) -> None:
    worker = Worker(url)

    @worker.task("bad")
    def bad() -> Iterator[Any]:
        yield {1}

    running(worker)
    broker.greet()
    (failed,) = answers(broker, [64, 1, ID, "bad", 1, None, {75: 9}])
    assert failed[2] == 2 and failed[4][57] is True and failed[4][2]["type"] == "BodyError"


def test_generators_that_cannot_be_handlers() -> None:
    worker = Worker("ipc:///nowhere")

    def generate(items: Any) -> Iterator[Any]:
        yield items

    async def plain_context(context: Context) -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="only the handler of a task may be a generator"):
        worker.stage("s")(generate)
    with pytest.raises(TypeError, match="takes no lists"):
        worker.task("t", batch=1)(generate)
    with pytest.raises(TypeError, match="an async generator has an AsyncContext"):
        worker.task("t")(plain_context)


# -- clients


Reading = Callable[..., Any]


async def read_async(url: str, take: int | None, options: dict[str, Any]) -> Any:
    seen: list[Any] = []
    async with AsyncClient(url) as client:
        stream = client.stream("t", 1, **options)
        while True:
            try:
                async for chunk in stream:
                    seen.append(chunk)
                    if len(seen) == take:
                        return seen, None
                return seen, stream.result
            except StreamRestarted as error:
                seen.append(f"restarted {error.attempt}")
            except StreamBroken as error:
                seen.append(f"missing {error.missing}")
            except tuskd.TuskError as error:
                return seen, error


def read_plain(url: str, take: int | None, options: dict[str, Any]) -> Any:
    seen: list[Any] = []
    with Client(url) as client:
        stream = client.stream("t", 1, **options)
        while True:
            try:
                for chunk in stream:
                    seen.append(chunk)
                    if len(seen) == take:
                        return seen, None
                return seen, stream.result
            except StreamRestarted as error:
                seen.append(f"restarted {error.attempt}")
            except StreamBroken as error:
                seen.append(f"missing {error.missing}")
            except tuskd.TuskError as error:
                return seen, error


@pytest.fixture(params=["plain", "async"])
def reading(request: pytest.FixtureRequest, url: str, start: Start) -> Reading:
    """Begins a program that reads a stream: what it saw, and the result or the error."""

    def begin(take: int | None = None, **options: Any) -> Any:
        if request.param == "plain":
            return start(read_plain, url, take, options)
        return start(lambda: asyncio.run(read_async(url, take, options)))

    return begin


def chunk(number: int, index: int, attempt: int = 1, value: Any = None) -> list[Any]:
    return [8, number, encode(index if value is None else value), {4: attempt, 32: index}]


def test_chunks_are_taken_in_order_and_credit_is_given(
    broker: FakeBroker, reading: Reading
) -> None:
    read = reading(window=4, priority="high")
    broker.greet()
    submit = broker.expect(16)
    assert submit[5] == {75: 4, 51: 10}
    n, id = submit[1:3]
    broker.say(chunk(n, 1))
    with pytest.raises(TimeoutError):
        broker.expect(45, 0.1)
    broker.say(chunk(n, 2), chunk(n, 3))
    assert broker.expect(45) == [45, n, id, 2], "when half of the window was taken"
    broker.say(chunk(n, 4), [32, n, 1, encode("end"), {34: 4}])
    assert read.result(5) == ([1, 2, 3, 4], "end")


def test_a_window_of_one(broker: FakeBroker, reading: Reading) -> None:
    read = reading(window=1)
    broker.greet()
    _, n, id, *_ = broker.expect(16)
    for index in (1, 2):
        broker.say(chunk(n, index))
        assert broker.expect(45) == [45, n, id, 1]
    broker.say([32, n, 1, encode("end")])
    assert read.result(5) == ([1, 2], "end")


def test_another_attempt_is_told_once(broker: FakeBroker, reading: Reading) -> None:
    read = reading()
    broker.greet()
    n = broker.expect(16)[1]
    broker.say(chunk(n, 1), chunk(n, 2), chunk(n, 1, 2), chunk(n, 1, 3), chunk(n, 2, 3))
    broker.say([32, n, 1, None, {34: 2}])
    assert read.result(5)[0] == [1, 2, "restarted 2", 1, "restarted 3", 1, 2]


def test_a_first_attempt_without_chunks_is_not_told(broker: FakeBroker, reading: Reading) -> None:
    read = reading()
    broker.greet()
    n = broker.expect(16)[1]
    broker.say(chunk(n, 1, 2), [32, n, 1, None, {34: 1}])
    assert read.result(5)[0] == [1]


def test_a_last_attempt_without_chunks_is_told(broker: FakeBroker, reading: Reading) -> None:
    read = reading()
    broker.greet()
    n = broker.expect(16)[1]
    broker.say(chunk(n, 1), [32, n, 1, encode("end"), {34: 0}])
    assert read.result(5) == ([1, "restarted 2"], "end")


def test_missing_chunks_are_told(broker: FakeBroker, reading: Reading) -> None:
    read = reading()
    broker.greet()
    n = broker.expect(16)[1]
    broker.say(chunk(n, 1), chunk(n, 4), [32, n, 1, encode("end"), {34: 6}])
    assert read.result(5) == ([1, "missing 2", 4, "missing 2"], "end")


def test_the_error_of_a_run_comes_behind_its_chunks(broker: FakeBroker, reading: Reading) -> None:
    read = reading()
    broker.greet()
    n = broker.expect(16)[1]
    broker.say(chunk(n, 1), [32, n, 2, None, {2: {"type": "Broken", "message": "no"}}])
    seen, error = read.result(5)
    assert seen == [1] and type(error) is tuskd.TaskFailed and error.type == "Broken"


def test_who_leaves_cancels(broker: FakeBroker, reading: Reading) -> None:
    read = reading(take=1)
    broker.greet()
    _, n, id, *_ = broker.expect(16)
    broker.say(chunk(n, 1), chunk(n, 2))
    cancel = broker.expect(17)
    assert cancel[2] == id
    broker.say([49, cancel[1], {"state": "cancelling"}])
    assert read.result(5) == ([1], None)


def test_a_new_session_asks_for_the_stream_again(broker: FakeBroker, reading: Reading) -> None:
    read = reading(window=2)
    broker.greet()
    n = broker.expect(16)[1]
    broker.say(chunk(n, 1))
    broker.expect(45)
    broker.cut()
    broker.hello()
    broker.welcome()
    again = broker.expect(16)
    assert again[5] == {75: 2, 17: True}
    broker.say(chunk(n, 2), [32, n, 1, encode("end"), {34: 2}])
    assert read.result(5) == ([1, 2], "end")


@pytest.mark.parametrize("window", [0, 1025, 1.5])
def test_bad_windows(url: str, window: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="window is"):
        Client(url).stream("t", window=window)


def test_a_result_before_the_end_is_an_error(url: str) -> None:
    client = Client(url)
    with client.stream("t") as stream, pytest.raises(RuntimeError, match="has not ended"):
        _ = stream.result
    assert list(stream) == []
    client.close(0.0)


def test_a_client_that_is_closed_ends_its_streams(
    broker: FakeBroker, url: str, start: Start
) -> None:
    client = Client(url)
    stream = client.stream("t")
    reading = start(list, stream)
    broker.greet()
    broker.expect(16)
    client.close(0.0)
    with pytest.raises(tuskd.Closed):
        reading.result(5)
