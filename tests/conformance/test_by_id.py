"""What is asked of a task by its id, by whoever has it, language by language."""

import time

import pytest
from conftest import wait_for
from peer import task_id

from .fixtures import (
    LONG,
    SOON,
    Programs,
    World,
    clients,
    fails,
    other,
    state,
    wait_for_workers,
    wait_until_it_runs,
)
from .programs import LANGUAGES, ProgramError, tag, untag

# ---- by id, from anywhere ----


@pytest.mark.shows("retention, for a client that comes later")
@clients
def test_a_result_waits_for_who_comes_later(world: World, programs: Programs, client: str) -> None:
    first = programs.client(client, world.broker.url)
    options = {"retention": LONG, "attempts": 1}
    ran = first.do("post", type=f"echo-{client}", body=tag({"a": [1]}), **options)
    failed = first.do("post", type=f"fail-{client}", body=tag("sorry"), **options)
    assert first.close() == 0
    later = programs.client(other(client, 1), world.broker.url)
    for _ in range(2):
        assert untag(later.do("await", id=ran)) == {"a": [1]}
        error = fails(later, "await", id=failed)
        assert (error.code, error.language) == ("failed", client)
        assert "sorry" in error.message


@pytest.mark.shows("await of a task of somebody else")
@clients
def test_anybody_awaits_a_task(world: World, client: str) -> None:
    program, owner = world.clients[client], world.clients[other(client, 2)]
    id = owner.do("submit", type=f"echo-{client}", body=tag("x"), delay=LONG)
    wait_for(lambda: state(world, id) == "delayed", "the task")
    assert fails(program, "await", id=id, timeout=100).code == "timeout"
    assert state(world, id) == "delayed", "the task goes on"
    answer = program.ask("await", id=id, timeout=LONG)
    program.do("update", id=id, delay=0)
    assert untag(answer.get()) == "x"
    assert untag(owner.do("result", id=id)) == "x"
    assert fails(program, "await", id=task_id().hex()).code == "unknown_task"

    def let_go() -> bool:
        return set(world.broker.query("task", {"id": bytes.fromhex(id)})) == {"state"}

    wait_for(let_go, "the ending to be acknowledged")
    assert fails(program, "await", id=id).code == "already_ended"


@pytest.mark.shows("await of many at once")
@clients
def test_many_are_awaited_at_once(world: World, client: str) -> None:
    program, owner = world.clients[client], world.clients[other(client, 3)]
    ids = [
        owner.do("post", type=f"echo-{language}", body=tag(n), retention=LONG)
        for n, language in enumerate(LANGUAGES)
    ]
    late = owner.do("submit", type=f"echo-{client}", body=tag("late"), delay=300)
    unknown = task_id().hex()
    asked = [late, *ids[:2], unknown, *ids[2:], ids[0]]
    found = program.do("await_all", ids=asked, timeout=LONG)
    assert found.pop(3)["error"]["code"] == "unknown_task"
    assert [untag(outcome["ok"]) for outcome in found] == ["late", 0, 1, 2, 3, 0]
    assert program.do("await_all", ids=[]) == []


@pytest.mark.shows("update of priority, delay and body, and too late")
@clients
def test_a_task_is_changed_while_it_waits(world: World, client: str) -> None:
    program, owner = world.clients[client], world.clients[other(client, 1)]
    type = f"echo-{other(client, 2)}"
    start = time.monotonic()
    id = owner.do("submit", type=type, body=tag("old"), delay=LONG, retention=LONG)
    wait_for(lambda: state(world, id) == "delayed", "the task")
    changed = {"state": "delayed", "updated": True}
    assert program.do("update", id=id, body=tag(["new", 1.5])) == changed
    assert program.do("update", id=id, priority="critical") == changed
    assert program.do("task", id=id)["priority"] == 20
    assert program.do("update", id=id, priority=0, delay=300) == changed
    assert program.do("task", id=id)["priority"] == 0
    assert untag(program.do("await", id=id)) == ["new", 1.5]
    assert time.monotonic() - start >= 0.3
    too_late = {"state": "succeeded", "updated": False}
    assert program.do("update", id=id, body=None, priority=1, delay=0) == too_late
    assert fails(program, "update", id=task_id().hex(), delay=0).code == "unknown_task"


@pytest.mark.shows("update to the body null, and of a task that runs")
@clients
def test_null_is_a_body(world: World, client: str) -> None:
    program = world.clients[client]
    for change, result in (({"body": None}, None), ({}, "old")):
        id = program.do("submit", type=f"echo-{client}", body=tag("old"), delay=LONG)
        program.do("query", what="status")
        assert program.do("update", id=id, **change)["updated"]
        assert program.do("update", id=id, delay=0)["updated"]
        assert untag(program.do("result", id=id)) == result
    id = program.do("submit", type=f"sleep-{client}", body=tag(LONG))
    wait_until_it_runs(world, id)
    assert program.do("update", id=id, priority=1) == {"state": "running", "updated": False}
    program.do("cancel", id=id)


@pytest.mark.shows("the status of a task, with its history")
@clients
def test_what_is_known_of_a_task(world: World, client: str) -> None:
    program, worker = world.clients[client], other(client, 1)
    id = task_id().hex()
    assert program.do("task", id=id) == {"state": "unknown"}
    options = {"attempts": 2, "backoff": SOON, "retention": LONG, "priority": "low"}
    body = tag({"fails": 9, "type": "Broken"})
    fails(program, id=id, type=f"flaky-{worker}", body=body, **options)
    status = program.do("task", id=id)
    assert {name: status[name] for name in ("state", "type", "attempts", "failures")} == {
        "state": "dead",
        "type": f"flaky-{worker}",
        "attempts": 2,
        "failures": 2,
    }
    assert (status["crashes"], status["priority"]) == (0, -10)
    assert 0 <= status["age"] < LONG
    assert [(run["attempt"], run["type"]) for run in status["history"]] == [
        (1, "Broken"),
        (2, "Broken"),
    ]
    for run in status["history"]:
        assert run["worker"] == f"worker-{worker}"
        assert run["started"] >= run["ended"] >= 0
    assert (status["error"]["type"], status["error"]["language"]) == ("Broken", worker)
    running = program.do("submit", type=f"sleep-{worker}", body=tag(LONG))
    wait_until_it_runs(world, running)
    status = program.do("task", id=running)
    assert (status["state"], status["worker"]) == ("running", f"worker-{worker}")
    assert "error" not in status and not status.get("history")
    program.do("cancel", id=running)


@pytest.mark.shows("an await after a restart of the broker: unknown_task")
@clients
def test_an_await_is_asked_again_of_the_next_broker(tuskd, programs: Programs, client: str) -> None:
    broker = tuskd()
    programs.worker(client, broker.url, name="w", TUSK_TEST_SUFFIX="")
    wait_for_workers(broker, "w")
    program = programs.client(client, broker.url)
    id = program.do("post", type="echo", body=tag(1), delay=LONG)
    waiting = program.ask("await", id=id, timeout=LONG)
    several = program.ask("await_all", ids=[id, id], timeout=LONG)
    time.sleep(0.5)  # nobody sees from outside that they are there
    broker.kill()
    broker.start()
    with pytest.raises(ProgramError) as caught:
        waiting.get()
    assert caught.value.code == "unknown_task"
    codes = [outcome["error"]["code"] for outcome in several.get()]
    assert codes == ["unknown_task", "unknown_task"]
