"""Listing tasks by a filter, and jobs, against a scripted broker."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Start
from fake_broker import FakeBroker

import tuskd
from tuskd import AsyncClient, Client, JobDone, JobStatus, ListedTask

ID = bytes(range(16))
Call = Callable[..., Any]


@pytest.fixture(params=["plain", "async"])
def call(request: pytest.FixtureRequest, url: str, start: Start) -> Iterator[Call]:
    """Begins a method of a client; a future of what it returns, an iterator's as a list."""
    client = Client(url)

    def plain(name: str, *args: Any, **options: Any) -> Any:
        found = getattr(client, name)(*args, **options)
        return list(found) if isinstance(found, Iterator) else found

    async def on_a_loop(name: str, *args: Any, **options: Any) -> Any:
        async with AsyncClient(url) as other:
            found = getattr(other, name)(*args, **options)
            return [task async for task in found] if name == "tasks" else await found

    if request.param == "plain":
        yield lambda *args, **options: start(plain, *args, **options)
    else:
        yield lambda *args, **options: start(lambda: asyncio.run(on_a_loop(*args, **options)))
    client.close(0.0)


def test_tasks_come_page_by_page(broker: FakeBroker, call: Call) -> None:
    filter: tuskd.Filter = {
        "type": "t",
        "state": "delayed",
        "labels": {"customer": "acme", "build": None},
        "parent": uuid.UUID(bytes=ID),
        "age": 1.5,
        "all": True,
    }
    listed = call("tasks", filter, limit=2)
    broker.greet()
    asked = broker.expect(18)
    sent = {**filter, "parent": ID, "age": 1500}
    assert asked[2:] == ["tasks", {"filter": sent, "limit": 2}]
    first = {"id": ID, "state": "delayed", "type": "t", "priority": 5, "age": 2000}
    more = {"labels": {"customer": "acme"}, "parent": ID, "group": "g"}
    broker.say([49, asked[1], {"tasks": [first | more], "next": b"there"}])
    asked = broker.expect(18)
    assert asked[3] == {"filter": sent, "limit": 2, "after": b"there"}
    broker.say([49, asked[1], {"tasks": [], "next": 7}])  # one answer may be short
    asked = broker.expect(18)
    assert asked[3]["after"] == 7
    broker.say([49, asked[1], {"tasks": [{"id": ID, "state": "running"}]}])
    assert listed.result(5) == [
        ListedTask(
            "delayed",
            "t",
            priority=5,
            age=2.0,
            id=ID,
            labels={"customer": "acme"},
            parent=ID,
            group="g",
        ),
        ListedTask("running", id=ID),
    ]


BAD: list[tuple[str, list[Any], dict[str, Any], type[Exception], str]] = [
    ("tasks", [{}], {}, ValueError, "a filter without any entry"),
    ("tasks", ["t"], {}, TypeError, "a filter is a map, not str"),
    ("tasks", [{"typ": "t"}], {}, ValueError, "a filter has no 'typ'; it has age, all, labels"),
    ("tasks", [{"type": ""}], {}, ValueError, "the filter's type has 1 to 255 bytes"),
    ("tasks", [{"state": 1}], {}, TypeError, "the filter's state is text"),
    ("tasks", [{"labels": ["a"]}], {}, TypeError, "the filter's labels are a map"),
    ("tasks", [{"labels": {"a": 1}}], {}, TypeError, r"the filter's labels\['a'\] is text"),
    ("tasks", [{"labels": {str(n): None for n in range(17)}}], {}, ValueError, "at most 16"),
    ("tasks", [{"parent": b"short"}], {}, ValueError, "16 bytes"),
    ("tasks", [{"age": -1}], {}, ValueError, "the filter's age is 0 to"),
    ("tasks", [{"all": False}], {}, ValueError, "the filter's all is True"),
    ("tasks", [{"all": True}], {"limit": 0}, ValueError, "limit is 1 to 1,000 tasks, not 0"),
    ("tasks", [{"all": True}], {"limit": 1001}, ValueError, "limit is 1 to 1,000 tasks"),
    ("tasks", [{"all": True}], {"limit": 1.5}, TypeError, "limit is an integer"),
    ("cancel_all", [{}], {}, ValueError, "a filter without any entry"),
    ("reprioritise_all", [{"all": True}, 101], {}, ValueError, "priority is -100 to 100"),
    ("start_job", ["reprioritise", {"all": True}], {}, ValueError, "without a priority"),
    ("start_job", ["cancel", {"all": True}], {"priority": 1}, ValueError, "cancel has no priority"),
    ("start_job", ["stop", {"all": True}], {}, ValueError, "no job 'stop'; there are cancel"),
]


@pytest.mark.parametrize(("name", "args", "options", "kind", "text"), BAD)
def test_what_is_out_of_bounds_is_told_before_anything_is_sent(
    call: Call, name: str, args: list[Any], options: dict[str, Any], kind: Any, text: str
) -> None:
    with pytest.raises(kind, match=text):
        call(name, *args, **options).result(5)


def status(state: str, **fields: int) -> dict[str, Any]:
    return {"job": 7, "what": "cancel", "state": state, "dry_run": False, "total": 9} | fields


def look(broker: FakeBroker, *told: dict[str, Any]) -> None:
    asked = broker.expect(18)
    assert asked[2] == "jobs"
    broker.say([49, asked[1], list(told)])


JOBS: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("cancel", [], {}),
    ("retry", [], {}),
    ("reprioritise", ["high"], {"priority": 10}),
]


@pytest.mark.parametrize(("what", "given", "sent"), JOBS)
def test_a_job_is_waited_for(
    broker: FakeBroker, call: Call, what: str, given: list[Any], sent: dict[str, Any]
) -> None:
    seen: list[JobStatus] = []
    done = call(f"{what}_all", {"type": "t"}, *given, dry_run=True, on_progress=seen.append)
    broker.greet()
    control = broker.expect(26)
    arguments = dict(control[3])
    id = arguments.pop("id", None)
    assert control[2] == what and (type(id) is bytes and len(id) == 16) == (what == "retry")
    assert arguments == {"filter": {"type": "t"}, "dry_run": True} | sent
    broker.say([49, control[1], {"done": True, "job": 7}])
    other = status("done") | {"job": 6}
    look(broker, other, status("running", looked=3, matched=2))
    look(broker, status("done", looked=9, matched=5, changed=4, failed=1, age=1500), other)
    assert done.result(5) == JobDone(matched=5, changed=4, failed=1)
    assert [(one.state, one.looked, one.total) for one in seen] == [
        ("running", 3, 9),
        ("done", 9, 9),
    ]
    assert seen[1].age == 1.5


def test_a_job_that_the_broker_forgot(broker: FakeBroker, call: Call) -> None:
    waiting = call("wait_for_job", 7)
    broker.greet()
    look(broker, status("running"))
    look(broker)
    with pytest.raises(tuskd.TuskError, match="does not know job 7"):
        waiting.result(5)


def test_the_broker_refuses_a_job(broker: FakeBroker, call: Call) -> None:
    started = call("start_job", "cancel", {"all": True})
    broker.greet()
    control = broker.expect(26)
    assert control[2:] == ["cancel", {"filter": {"all": True}}]
    broker.say([5, control[1], "full", "16 jobs run", {"limit": "jobs"}])
    with pytest.raises(tuskd.Full, match="16 jobs"):
        started.result(5)


def test_callbacks_may_be_coroutines_of_an_async_client(
    broker: FakeBroker, url: str, start: Start
) -> None:
    seen: list[str] = []

    async def on_progress(job: JobStatus) -> None:
        await asyncio.sleep(0)
        seen.append(job.state)

    async def main() -> JobDone:
        async with AsyncClient(url) as client:
            return await client.wait_for_job(7, on_progress)

    done = start(lambda: asyncio.run(main()))
    broker.greet()
    look(broker, status("done"))
    assert done.result(5) == (0, 0, 0) and seen == ["done"]
