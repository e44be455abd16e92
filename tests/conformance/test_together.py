"""What tasks have to do with each other and with the workers that run them: labels and jobs, needs,
sticky keys, children, streams, lists."""

import itertools
import time
from typing import Any

import pytest
from conftest import wait_for

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
    workers,
)
from .programs import WorkerProgram, tag, untag

numbers = itertools.count(1)


def start_worker(
    world: World, programs: Programs, language: str, suffix: str, *, slots: int, **env: str
) -> WorkerProgram:
    """A worker whose types end in `suffix`; its name has a number of its own."""
    name = f"{language}{suffix}-{next(numbers)}"
    env |= {"TUSK_TEST_SUFFIX": suffix, "TUSK_TEST_COUNTS": str(world.counts)}
    program = programs.worker(language, world.broker.url, name=name, slots=slots, **env)
    wait_for_workers(world.broker, name)
    return program


# ---- labels ----


@pytest.mark.shows("labels reach the handler")
@clients
@workers
def test_a_handler_sees_the_labels_of_its_task(world: World, client: str, worker: str) -> None:
    labels = {"customer": "acme", "b\u00fcild": "7"}
    program = world.clients[client]
    assert program.call(f"labelled-{worker}", labels=labels) == labels
    assert program.call(f"labelled-{worker}") == {}


@pytest.mark.shows("tasks that fit a filter")
@clients
def test_tasks_are_found_by_a_filter(world: World, client: str) -> None:
    program, type = world.clients[client], f"echo-{other(client, 1)}"
    mine = {"found-by": client}
    ids = [program.do("post", type=type, body=tag(n), delay=LONG, labels=mine) for n in range(5)]
    found = program.do("tasks", filter={"labels": mine, "state": "delayed"}, limit=2)
    assert sorted(task["id"] for task in found) == sorted(ids)
    for task in found:
        assert (task["type"], task["state"], task["labels"]) == (type, "delayed", mine)
    assert len(program.do("tasks", filter={"labels": {"found-by": None}, "type": type})) >= 5
    assert program.do("tasks", filter={"labels": mine, "age": LONG}) == []
    program.do("job", what="cancel", filter={"labels": mine})


@pytest.mark.shows("jobs: cancel, retry, reprioritise")
@clients
def test_a_job_changes_all_that_fit(world: World, client: str) -> None:
    program, type = world.clients[client], f"echo-{other(client, 2)}"
    mine = {"job-of": client}
    ids = [program.do("submit", type=type, body=tag(n), delay=LONG, labels=mine) for n in range(4)]
    filter = {"labels": mine}
    none = {"matched": 4, "changed": 0, "failed": 0}
    assert program.do("job", what="cancel", filter=filter, dry_run=True) == none
    assert {state(world, id) for id in ids} == {"delayed"}
    all_of_them = {"matched": 4, "changed": 4, "failed": 0}
    high = {"what": "reprioritise", "priority": "high"}
    assert program.do("job", **high, filter=filter) == all_of_them
    assert {program.do("task", id=id)["priority"] for id in ids} == {10}
    assert program.do("job", what="retry", filter=filter) == all_of_them
    assert [untag(program.do("result", id=id)) for id in ids] == [0, 1, 2, 3], "at once"
    late = program.do("submit", type=type, body=tag(9), delay=LONG, labels={"job-of": client + "2"})
    done = program.do("job", what="cancel", filter={"labels": {"job-of": client + "2"}})
    assert done == {"matched": 1, "changed": 1, "failed": 0}
    assert fails(program, "result", id=late).code == "cancelled"


@pytest.mark.shows("a filter without any entry is told at the caller")
@clients
def test_an_empty_filter(world: World, client: str) -> None:
    program = world.clients[client]
    assert "filter" in fails(program, "tasks", filter={}).text
    assert "filter" in fails(program, "job", what="cancel", filter={}).text


# ---- needs and sticky keys ----


@pytest.mark.shows("needs: requires, prefers, consumes")
@clients
def test_a_task_runs_where_its_needs_are_met(world: World, programs: Programs, client: str) -> None:
    program, worker = world.clients[client], other(client, 1)
    suffix = f"-needed-by-{client}"
    eu = start_worker(
        world, programs, worker, suffix, slots=4, TUSK_LABELS='{"region": "eu", "gpu": 2}'
    )
    us = start_worker(
        world, programs, other(client, 2), suffix, slots=4, TUSK_LABELS='{"region": "us", "gpu": 1}'
    )

    def where(**needs: Any) -> str:
        return str(program.call(f"whereami{suffix}", **needs))

    for _ in range(3):
        assert where(requires={"region": "eu"}) == eu.name
        assert where(requires={"region": "us"}) == us.name
        assert where(requires={"gpu": 2}) == eu.name
        assert where(consumes={"gpu": 2}) == eu.name
        assert where(prefers={"region": "us"}) == us.name
    assert where(prefers={"region": "mars"}) in (eu.name, us.name)
    nobody = {"type": f"whereami{suffix}", "body": None}
    error = fails(program, **nobody, requires={"region": "mars"})
    assert error.code == "unserved" and "region" in error.text
    assert fails(program, **nobody, consumes={"gpu": 3}).code == "unserved"
    held = program.do("submit", type=f"sleep{suffix}", body=tag(LONG), consumes={"gpu": 2})
    wait_until_it_runs(world, held)
    waits = program.do("submit", **nobody, consumes={"gpu": 2})
    assert where(consumes={"gpu": 1}) == us.name, "it does not hold up others"
    assert state(world, waits) == "waiting"
    program.do("cancel", id=held)
    assert untag(program.do("result", id=waits)) == eu.name


@pytest.mark.shows("sticky keys")
@clients
def test_tasks_of_a_sticky_key_go_to_one_worker(
    world: World, programs: Programs, client: str
) -> None:
    program, suffix = world.clients[client], f"-sticky-{client}"
    both = [start_worker(world, programs, other(client, n), suffix, slots=2).name for n in (1, 2)]
    type = f"whereami{suffix}"

    def where(key: str) -> set[str]:
        ids = [program.do("submit", type=type, body=None, sticky_key=key) for _ in range(6)]
        return {untag(program.do("result", id=id)) for id in ids}

    found = [where(f"key {n}") for n in range(20)]
    assert all(len(workers) == 1 for workers in found)
    assert set().union(*found) == set(both), "keys are spread"
    assert [where(f"key {n}") for n in range(20)] == found


# ---- children ----


@pytest.mark.shows("children, on the slot that their parent lends")
@clients
@workers
def test_children_run_while_their_parent_waits(
    world: World, programs: Programs, client: str, worker: str
) -> None:
    suffix = f"-children-of-{client}-{worker}"
    start_worker(world, programs, worker, suffix, slots=1)
    program = world.clients[client]
    bodies = [1, "two", {"three": 3}]
    body = {"type": f"echo{suffix}", "bodies": bodies}
    assert program.call(f"parenting{suffix}", body) == bodies
    nested = {"type": f"nesting{suffix}", "depth": 4, "width": 2}
    assert program.call(f"nesting{suffix}", nested) == 31
    across = {"type": f"echo-{other(worker, 1)}", "bodies": list(range(50))}
    assert program.call(f"parenting{suffix}", across) == list(range(50))


@pytest.mark.shows("a parent's cancel reaches its children")
@workers
def test_a_cancel_reaches_the_children(world: World, programs: Programs, worker: str) -> None:
    suffix = f"-cancelled-children-of-{worker}"
    start_worker(world, programs, worker, suffix, slots=1)
    program = world.clients[other(worker, 1)]
    body = {"type": f"stopping{suffix}", "bodies": [1]}
    parent = program.do("submit", type=f"parenting{suffix}", body=tag(body))

    def child() -> str | None:
        found = program.do("tasks", filter={"parent": parent, "state": "running"})
        return str(found[0]["id"]) if found else None

    id = wait_for(child, "the child to run")
    program.do("cancel", id=parent)
    assert fails(program, "result", id=parent).code == "cancelled"

    def stops() -> list[str]:
        lines = [line.split() for line in world.counts.read_text().splitlines()]
        return [reason for found, _, reason, _ in lines if found == id]

    wait_for(lambda: stops() == ["parent"], "the child to stop")


@pytest.mark.shows("a child's failure is its parent's error")
@workers
def test_the_error_of_a_child(world: World, worker: str) -> None:
    body = {"type": f"noretry-{other(worker, 1)}", "bodies": ["broken"]}
    error = fails(world.clients[other(worker, 2)], type=f"parenting-{worker}", body=tag(body))
    assert "broken" in error.message


# ---- streams ----


@pytest.mark.shows("streams, in order, with back-pressure")
@clients
@workers
def test_chunks_come_in_order_and_before_the_result(world: World, client: str, worker: str) -> None:
    program, type = world.clients[client], f"streaming-{worker}"
    for window in (1, 4, 1024):
        told = program.do("stream", type=type, body=tag({"chunks": 60}), window=window)
        assert [untag(chunk) for chunk in told["chunks"]] == list(range(1, 61))
        assert (untag(told["result"]), told["attempts"]) == (60, [])
    assert program.call(type, {"chunks": 60}) == 60, "nobody wants the stream"
    assert program.do("stream", type=f"echo-{worker}", body=tag(7))["chunks"] == []


@pytest.mark.shows("another attempt begins its stream anew")
@clients
@workers
def test_another_attempt_is_told(world: World, client: str, worker: str) -> None:
    told = world.clients[client].do(
        "stream",
        type=f"streaming-{worker}",
        body=tag({"chunks": 4, "fails": 1}),
        attempts=2,
        backoff=SOON,
    )
    seen = [chunk if "restarted" in chunk else untag(chunk) for chunk in told["chunks"]]
    assert seen == [1, 2, {"restarted": 2}, 1, 2, 3, 4]
    assert (untag(told["result"]), told["attempts"]) == (4, [2])


@pytest.mark.shows("who leaves a stream cancels its task")
@clients
def test_who_leaves_a_stream_cancels_its_task(world: World, client: str) -> None:
    program, id = world.clients[client], f"{time.time_ns():032x}"
    body = tag({"chunks": 10_000, "pause": 5})
    type = f"streaming-{other(client, 1)}"
    told = program.do("stream", type=type, body=body, take=3, id=id, window=2)
    assert [untag(chunk) for chunk in told["chunks"]] == [1, 2, 3]
    wait_for(lambda: state(world, id) in ("cancelled", "unknown"), "the task to be cancelled")


# ---- lists ----


@pytest.mark.shows("a handler that takes lists of tasks")
@workers
def test_tasks_are_handed_over_in_lists(world: World, programs: Programs, worker: str) -> None:
    suffix = f"-batches-of-{worker}"
    start_worker(world, programs, worker, suffix, slots=3)
    program, type = world.clients[other(worker, 1)], f"batching{suffix}"
    ids = [program.do("submit", type=type, body=tag(n)) for n in range(3)]
    found = [untag(program.do("result", id=id)) for id in ids]
    assert [body for body, _ in found] == [0, 1, 2]
    assert program.call(type, "alone") == ["alone", 1], "after its wait"
