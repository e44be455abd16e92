"""Tasks that share a key, a limit or a group, language by language."""

import time
from typing import Any

import pytest
from conftest import wait_for
from peer import task_id

from .fixtures import (
    LONG,
    Programs,
    World,
    clients,
    fails,
    other,
    state,
    wait_for_workers,
    wait_until_it_runs,
    workers,
)
from .programs import ClientProgram, tag, untag

# ---- unique keys: the asking side ----


class Key:
    """A unique key of a test's own, and a task of another language that has it and waits."""

    def __init__(self, world: World, client: str) -> None:
        self.name = f"key {task_id().hex()}"
        self.type = f"count-{other(client, 2)}"
        self.holder = world.clients[other(client, 1)]
        self.id: str = self.holder.do(
            "submit", type=self.type, body=tag({"n": 1}), unique=self.name, delay=LONG
        )
        wait_for(lambda: state(world, self.id) == "delayed", "the task that has the key")

    def submit(self, program: ClientProgram, **options: Any) -> str:
        """Another task with the key; when this returns, the broker has it."""
        body = tag({"n": 2})
        id: str = program.do("submit", type=self.type, body=body, unique=self.name, **options)
        program.do("query", what="status")  # is answered behind it
        return id

    def let_run(self) -> None:
        assert self.holder.do("update", id=self.id, delay=0)["updated"]

    def results(self, program: ClientProgram, id: str) -> list[Any]:
        """What the holder gets, and what the other submit gets."""
        found = [self.holder.do("result", id=self.id), program.do("result", id=id)]
        return [untag(result) for result in found]


@pytest.mark.shows("unique: a second submit joins")
@clients
def test_a_submit_joins_the_task_with_its_key(world: World, client: str) -> None:
    key, program = Key(world, client), world.clients[client]
    for options in ({}, {"unique_policy": "join"}):
        joined = key.submit(program, **options)
        assert state(world, joined) == "unknown", "it has no task of its own"
    key.let_run()
    assert key.results(program, joined) == [{"n": 1}, {"n": 1}]
    assert program.call(key.type, {"n": 3}, unique=key.name) == {"n": 3}, "the key is free again"


@pytest.mark.shows("unique: a second submit is refused, and told why")
@clients
def test_a_submit_is_refused_while_its_key_is_taken(world: World, client: str) -> None:
    key, program = Key(world, client), world.clients[client]
    refuse = {"unique": key.name, "unique_policy": "refuse"}
    error = fails(program, type=key.type, body=tag({"n": 2}), **refuse)
    assert (error.code, error.id, error.state) == ("duplicate", key.id, "delayed")
    key.let_run()
    assert untag(key.holder.do("result", id=key.id)) == {"n": 1}
    assert program.call(key.type, {"n": 3}, **refuse) == {"n": 3}


@pytest.mark.shows("unique: a second submit replaces")
@clients
def test_a_submit_replaces_the_task_with_its_key(world: World, client: str) -> None:
    key, program = Key(world, client), world.clients[client]
    id = key.submit(program, unique_policy="replace", priority="high")
    status = program.do("task", id=key.id)
    assert (status["state"], status["priority"]) == ("delayed", 10)
    key.let_run()
    assert key.results(program, id) == [{"n": 2}, {"n": 2}]
    assert state(world, id) == "unknown"


@pytest.mark.shows("unique: a second submit debounces")
@clients
def test_a_submit_debounces_the_task_with_its_key(world: World, client: str) -> None:
    key, program = Key(world, client), world.clients[client]
    start = time.monotonic()
    id = key.submit(program, unique_policy="debounce", delay=400)
    assert key.results(program, id) == [{"n": 2}, {"n": 2}]
    assert time.monotonic() - start >= 0.4


@pytest.mark.shows("unique: a follow-up of a task that runs")
@clients
def test_a_submit_leaves_one_follow_up(world: World, client: str) -> None:
    program, type = world.clients[client], f"sleep-{other(client, 1)}"
    key = {"unique": f"key {task_id().hex()}"}
    first = program.do("submit", type=type, body=tag(LONG), **key)
    wait_until_it_runs(world, first)
    error = fails(program, type=type, body=tag(1), unique_policy="refuse", **key)
    assert (error.id, error.state) == (first, "running")
    behind = program.do("submit", type=type, body=tag(2), unique_policy="follow_up", **key)
    wait_for(lambda: state(world, behind) == "waiting", "the follow-up")
    joined = program.do("submit", type=type, body=tag(3), unique_policy="follow_up", **key)
    replaced = program.do("submit", type=type, body=tag(4), unique_policy="replace", **key)
    program.do("query", what="status")
    assert state(world, behind) == "waiting"
    program.do("cancel", id=first)
    assert fails(program, "result", id=first).code == "cancelled"
    assert [untag(program.do("result", id=id)) for id in (behind, joined, replaced)] == [4, 4, 4]


@pytest.mark.shows("unique_for: the key stays taken")
@clients
def test_a_key_stays_taken_after_the_end(world: World, client: str) -> None:
    program, type = world.clients[client], f"echo-{other(client, 3)}"
    id, key = task_id().hex(), f"key {task_id().hex()}"
    assert program.call(type, 1, id=id, unique=key, unique_for=LONG) == 1
    for policy in ("join", "refuse", "replace", "debounce", "follow_up"):
        error = fails(program, type=type, body=tag(2), unique=key, unique_policy=policy)
        assert (error.code, error.id, error.state) == ("duplicate", id, "succeeded")
    assert program.call(f"echo-{client}", 3, unique=key) == 3, "a key is of a type"


# ---- order keys: the asking side ----


def key() -> str:
    """One that no other test has."""
    return f"key {task_id().hex()}"


def stays_waiting(world: World, *ids: str) -> None:
    """What waits goes on waiting, as far as a moment can show."""
    wait_for(lambda: all(state(world, id) == "waiting" for id in ids), "the tasks to wait")
    time.sleep(0.2)
    assert [state(world, id) for id in ids] == ["waiting"] * len(ids)


@pytest.mark.shows("order_key: one at a time, in order, through a retry")
@clients
def test_tasks_of_an_order_key_run_in_order(world: World, client: str) -> None:
    program, worker = world.clients[client], other(client, 1)
    type, order = f"flaky-{worker}", {"order_key": key()}
    retries = {"attempts": 2, "backoff": [LONG, LONG, 1, 0]}
    first = program.do("submit", type=type, body=tag({"fails": 1}), **retries, **order)
    behind = [program.do("submit", type=type, body=tag({"fails": 0}), **order) for _ in range(3)]
    wait_for(lambda: state(world, first) == "delayed", "the first run to fail")
    assert program.call(type, {"fails": 0}, order_key=key()) == 1, "another key"
    assert program.call(type, {"fails": 0}) == 1, "no key"
    stays_waiting(world, *behind)
    program.do("update", id=first, delay=0)
    assert untag(program.do("result", id=first)) == 2
    assert [untag(program.do("result", id=id)) for id in behind] == [1, 1, 1]


@pytest.mark.shows("order_key: many, in the order of their acceptance")
@clients
def test_many_tasks_of_an_order_key_run_in_order(world: World, client: str) -> None:
    program, type, order = world.clients[client], f"count-{other(client, 2)}", key()
    ids = [program.do("submit", type=type, body=tag({"n": n}), order_key=order) for n in range(50)]
    for id in ids:
        program.do("result", id=id)
    ran = [line.split()[0] for line in world.counts.read_text().splitlines()]
    assert [id for id in ran if id in set(ids)] == ids


@pytest.mark.shows("order_on_dead: block, and unblock by a client")
@clients
def test_a_dead_task_blocks_its_key(limited: World, client: str) -> None:
    program, type, order = limited.clients[client], f"flaky-limited-{other(client, 3)}", key()
    first = program.do("submit", type=type, body=tag({"fails": 9}), attempts=1, order_key=order)
    behind = program.do("submit", type=type, body=tag({"fails": 0}), order_key=order)
    assert fails(program, "result", id=first).type == "Flaky"
    stays_waiting(limited, behind)
    assert program.call(type, {"fails": 0}, order_key=key()) == 1, "another key"
    blocked = {"type": type, "key": order}
    assert program.do("control", what="unblock", arguments=blocked) is True
    assert untag(program.do("result", id=behind)) == 1
    assert program.do("control", what="unblock", arguments=blocked) is False
    unknown = {"type": "nobody knows it", "key": order}
    assert fails(program, "control", what="unblock", arguments=unknown).code == "invalid"


# ---- limits and groups: the asking side ----


@pytest.mark.shows("concurrency of a type")
@clients
def test_so_many_runs_of_a_type_at_a_time(limited: World, client: str) -> None:
    program, type = limited.clients[client], f"sleep-limited-{other(client, 1)}"
    ids = [program.do("submit", type=type, body=tag(LONG)) for _ in range(4)]
    for id in ids[:2]:
        wait_until_it_runs(limited, id)
    stays_waiting(limited, *ids[2:])
    program.do("cancel", id=ids[0])
    wait_until_it_runs(limited, ids[2])
    stays_waiting(limited, ids[3])
    for id in ids[1:]:
        program.do("cancel", id=id)
    for id in ids:
        assert fails(program, "result", id=id).code == "cancelled"


@pytest.mark.shows("limit_key: so many runs of a key at a time")
@clients
def test_so_many_runs_of_a_key_at_a_time(limited: World, client: str) -> None:
    program, type = limited.clients[client], f"stopping-limited-{other(client, 2)}"
    keys = [key()] * 3 + [key()]
    ids = [program.do("submit", type=type, body=None, limit_key=one) for one in keys]
    wait_until_it_runs(limited, ids[0])
    wait_until_it_runs(limited, ids[3])
    stays_waiting(limited, *ids[1:3])
    program.do("cancel", id=ids[0])
    wait_until_it_runs(limited, ids[1])
    stays_waiting(limited, ids[2])
    for id in ids[1:]:
        program.do("cancel", id=id)
    for id in ids:
        assert fails(program, "result", id=id).code == "cancelled"


@pytest.mark.shows("rate of a type, and of a limit key")
@clients
def test_so_many_runs_in_a_second(limited: World, client: str) -> None:
    """By SPEC at most burst + rate * d + the largest cost: six take 0.4 s."""
    program, worker = limited.clients[client], other(client, 3)
    start = time.monotonic()
    ids = [program.do("submit", type=f"echo-limited-{worker}", body=tag(n)) for n in range(6)]
    assert [untag(program.do("result", id=id)) for id in ids] == [0, 1, 2, 3, 4, 5]
    assert time.monotonic() - start >= 0.39
    start = time.monotonic()
    type, one = f"count-limited-{worker}", key()
    ids = [program.do("submit", type=type, body=tag({"n": n}), limit_key=one) for n in range(6)]
    assert program.call(type, {"n": 9}, limit_key=key()) == {"n": 9}, "another key"
    assert [untag(program.do("result", id=id))["n"] for id in ids] == [0, 1, 2, 3, 4, 5]
    assert time.monotonic() - start >= 0.39


@pytest.mark.shows("cost of a task")
@clients
def test_a_task_takes_what_it_costs(limited: World, client: str) -> None:
    """A unit a second. What is dear goes once there is one, and leaves a debt of days."""
    program, type = limited.clients[client], f"deferring-limited-{other(client, 1)}"
    body = {"times": 0, "after": 0}
    for _ in range(5):
        assert program.call(type, body, cost=0) == 1
    assert program.call(type, body, cost=1_000_000, timeout=LONG) == 1
    id = program.do("submit", type=type, body=tag(body), cost=0)
    stays_waiting(limited, id)
    program.do("cancel", id=id)
    assert fails(program, "result", id=id).code == "cancelled"


@pytest.mark.shows("groups take turns")
@clients
def test_groups_take_turns(world: World, programs: Programs, tmp_path, client: str) -> None:
    program, worker = world.clients[client], other(client, 2)
    suffix, counts = f"-groups-of-{client}", tmp_path / "counts"
    programs.worker(
        worker,
        world.broker.url,
        name=f"groups-{client}",
        slots=1,
        TUSK_TEST_SUFFIX=suffix,
        TUSK_TEST_COUNTS=str(counts),
    )
    wait_for_workers(world.broker, f"groups-{client}")
    first = program.do("submit", type=f"sleep{suffix}", body=tag(LONG))
    wait_until_it_runs(world, first)
    given = ["big"] * 5 + ["small"] * 2 + [None] * 2
    for n, group in enumerate(given):
        chosen = {} if group is None else {"group": group}
        program.do("post", type=f"count{suffix}", body=tag({"n": n}), **chosen)
    program.do("cancel", id=first)

    def ran() -> list[str]:
        return counts.read_text().splitlines() if counts.exists() else []

    wait_for(lambda: len(ran()) == len(given), "the tasks to run")
    assert [int(line.split()[2]) for line in ran()] == [0, 5, 7, 1, 6, 8, 2, 3, 4]


@pytest.mark.shows("pause of a type by a client")
@clients
def test_a_client_pauses_a_type(world: World, client: str) -> None:
    program, worker = world.clients[client], other(client, 3)
    type = f"echo-{worker}"
    assert program.do("control", what="pause", arguments={"type": type, "ms": LONG}) is True
    id = program.do("submit", type=type, body=tag(1))
    stays_waiting(world, id)
    assert program.call(f"count-{worker}", {"n": 1}) == {"n": 1}, "another type"
    assert program.do("control", what="pause", arguments={"type": type, "ms": 0}) is True
    assert untag(program.do("result", id=id)) == 1
    unknown = {"type": "nobody knows it", "ms": 1}
    assert fails(program, "control", what="pause", arguments=unknown).code == "invalid"
    bad = {"type": type, "ms": -1}
    assert fails(program, "control", what="pause", arguments=bad).code != "invalid", "told here"


@pytest.mark.shows("what a run really cost")
@workers
def test_a_run_says_what_it_cost(limited: World, worker: str) -> None:
    """A unit a second: a debt that was not given back would last for days."""
    program, type = limited.clients[other(worker, 1)], f"costing-limited-{worker}"
    for _ in range(3):
        assert program.call(type, {"cost": 0}, cost=1_000_000, timeout=LONG) == 0
    assert program.call(type, {"cost": 10**9}, timeout=LONG) == 10**9
    id = program.do("submit", type=type, body=tag({"cost": 0}))
    stays_waiting(limited, id)
    program.do("cancel", id=id)
    assert fails(program, "result", id=id).code == "cancelled"
