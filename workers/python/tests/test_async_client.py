"""The async client against a scripted broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from conftest import Start
from fake_broker import FakeBroker

import tuskd
from tuskd import AsyncClient
from tuskd.values import encode


def serve(broker: FakeBroker, count: int) -> None:
    """Greets, then answers so many requests with what they sent."""
    broker.greet()
    while count:
        for record in [r for r in broker.packet() if r[0] in (16, 18, 20, 21, 24)]:
            count -= 1
            if record[0] == 16:
                failed = record[3] == "fail"
                broker.say([32, record[1], 2 if failed else 1, None if failed else record[4]])
            elif record[0] == 18:
                broker.say([49, record[1], {"what": record[2]}])
            else:
                broker.say([48, record[1]])


async def numbers(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


def test_calls(broker: FakeBroker, url: str, start: Start) -> None:
    async def main() -> None:
        async with AsyncClient(url) as client:
            assert await client.call("echo", {"a": 1}) == {"a": 1}
            together = await asyncio.gather(*[client.call("echo", n) for n in range(20)])
            assert together == list(range(20))
            task = client.submit("echo", "task")
            assert await task == "task" and task.done()
            with pytest.raises(tuskd.TaskFailed):
                await client.call("fail")
            assert len(await client.send("echo")) == 16
            assert await client.query("status") == {"what": "status"}
            await client.publish("topic", 1)
            await client.push("stage", 1)
            assert await client.push_many("stage", range(5)) == 5
            got = [v async for v in client.map("echo", range(30), in_flight=7)]
            assert got == list(range(30))
            loose = [v async for v in client.map("echo", numbers(30), ordered=False)]
            assert sorted(loose) == list(range(30))

    served = start(serve, broker, 1 + 20 + 1 + 1 + 1 + 1 + 1 + 1 + 5 + 30 + 30)
    asyncio.run(asyncio.wait_for(main(), 20))
    served.result(5)


def test_calls_of_one_turn_go_together(broker: FakeBroker, url: str, start: Start) -> None:
    async def main() -> None:
        async with AsyncClient(url) as client:
            assert await client.call("echo", 1) == 1
            await asyncio.gather(*[client.call("echo", n) for n in range(100)])

    def script() -> int:
        serve(broker, 1)
        answered = packets = 0
        while answered < 100:
            packet = broker.packet()
            if packet:
                packets += 1
                answered += len(packet)
                broker.say(*[[32, r[1], 1, r[4]] for r in packet])
        return packets

    served = start(script)
    asyncio.run(asyncio.wait_for(main(), 20))
    # Mostly one. The I/O thread may come between, but not a hundred times.
    assert served.result(5) < 50


def test_unavailable_and_cancelled_await(url: str) -> None:
    async def main() -> None:
        client = AsyncClient(url, timeout=0.05)
        with pytest.raises(tuskd.Unavailable, match=url):
            await client.call("t")
        slow = AsyncClient(url)
        waiting = asyncio.create_task(slow.call("t"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await slow.close(0.0)
        await client.close(0.0)

    asyncio.run(asyncio.wait_for(main(), 20))


def test_subscription(broker: FakeBroker, url: str, start: Start) -> None:
    async def main() -> None:
        async with AsyncClient(url) as client, await client.subscribe("prices") as subscription:
            got = []
            async for event in subscription:
                got.append((event.body, event.missed))
                if len(got) == 3:
                    break
            assert got == [("a", 0), ("b", 0), ("c", 4)]

    def script() -> None:
        serve(broker, 1)
        broker.say([50, 1, "prices", encode("a")], [50, 2, "prices", encode("b")])
        broker.say([50, 7, "prices", encode("c")])

    served = start(script)
    asyncio.run(asyncio.wait_for(main(), 20))
    served.result(5)


def test_a_client_belongs_to_one_loop(url: str) -> None:
    client = AsyncClient(url, timeout=0.01)

    async def call() -> None:
        await client.call("t")

    with pytest.raises(tuskd.Unavailable):
        asyncio.run(call())
    with pytest.raises(RuntimeError, match="event loop"):
        asyncio.run(call())
