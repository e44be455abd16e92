"""What a task may ask for, language by language: time, urgency, retries; and what no SDK sends."""

import re
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
)
from .programs import tag

# ---- time and urgency: the asking side ----


@pytest.mark.shows("priority, by name and by number")
@clients
def test_the_highest_priority_is_next(
    world: World, programs: Programs, tmp_path, client: str
) -> None:
    program, worker = world.clients[client], other(client, 1)
    suffix, counts = f"-priority-of-{client}", tmp_path / "counts"
    programs.worker(
        worker,
        world.broker.url,
        name=f"priority-{client}",
        slots=1,
        TUSK_TEST_SUFFIX=suffix,
        TUSK_TEST_COUNTS=str(counts),
    )
    wait_for_workers(world.broker, f"priority-{client}")
    first = program.do("submit", type=f"sleep{suffix}", body=tag(LONG))
    wait_until_it_runs(world, first)
    given = [-100, "low", "normal", None, 5, "high", "critical", 100, "high"]
    for n, priority in enumerate(given):
        chosen = {} if priority is None else {"priority": priority}
        program.do("post", type=f"count{suffix}", body=tag({"n": n}), **chosen)
    program.do("cancel", id=first)

    def ran() -> list[str]:
        return counts.read_text().splitlines() if counts.exists() else []

    wait_for(lambda: len(ran()) == len(given), "the tasks to run")
    order = [given[int(line.split()[2])] for line in ran()]
    assert order == [100, "critical", "high", "high", 5, "normal", None, "low", -100]


@pytest.mark.shows("delay")
@clients
def test_a_delayed_task_waits(world: World, client: str) -> None:
    program, type = world.clients[client], f"echo-{other(client, 2)}"
    start = time.monotonic()
    assert program.call(type, 1, delay=300) == 1
    assert time.monotonic() - start >= 0.3
    id = program.do("submit", type=type, body=tag(2), delay=LONG)
    wait_for(lambda: state(world, id) == "delayed", "the task")
    assert program.do("cancel", id=id) == "cancelled"
    assert fails(program, "result", id=id).code == "cancelled"


@pytest.mark.shows("not before a point in time")
@clients
def test_a_task_waits_for_a_point_in_time(world: World, client: str) -> None:
    program, type = world.clients[client], f"echo-{other(client, 3)}"
    start = time.monotonic()
    assert program.call(type, 1, not_before=300) == 1
    assert time.monotonic() - start >= 0.298, "a point in time may be cut to milliseconds"
    assert program.call(type, 2, not_before=-1000) == 2
    id = program.do("submit", type=type, body=tag(3), not_before=LONG)
    wait_for(lambda: state(world, id) == "delayed", "the task")
    program.do("cancel", id=id)


@pytest.mark.shows("deadline of a task that waits")
@clients
def test_a_task_that_waits_expires(world: World, client: str) -> None:
    program = world.clients[client]
    start = time.monotonic()
    error = fails(program, type=f"echo-{client}", body=tag(1), delay=LONG, deadline=200)
    assert error.code == "expired" and time.monotonic() - start >= 0.2
    assert program.call(f"echo-{client}", 1, deadline=LONG) == 1


# ---- retries: the asking side ----


@pytest.mark.shows("attempts and back-off")
@clients
def test_failed_runs_are_tried_again(world: World, client: str) -> None:
    program, type = world.clients[client], f"flaky-{other(client, 1)}"
    start = time.monotonic()
    backoff = [100, 1000, 2, 0]
    assert program.call(type, {"fails": 2}, attempts=3, backoff=backoff) == 3
    assert time.monotonic() - start >= 0.3, "100 ms and then 200"
    error = fails(program, type=type, body=tag({"fails": 2}), attempts=2, backoff=SOON)
    assert (error.code, error.attempt, error.type) == ("dead", 2, "Flaky")


@pytest.mark.shows("no_retry_on")
@clients
def test_some_errors_are_not_worth_another_run(world: World, client: str) -> None:
    program, type = world.clients[client], f"flaky-{other(client, 2)}"
    retries = {"attempts": 5, "backoff": SOON, "no_retry_on": ["BadInput", "Hopeless"]}
    error = fails(program, type=type, body=tag({"fails": 4, "type": "Hopeless"}), **retries)
    assert (error.code, error.attempt, error.type) == ("failed", 1, "Hopeless")
    assert program.call(type, {"fails": 1, "type": "Other"}, **retries) == 2


@pytest.mark.shows("the history of an error")
@clients
def test_an_error_has_the_history_of_its_task(world: World, client: str) -> None:
    program, worker = world.clients[client], other(client, 3)
    body = tag({"fails": 9, "type": "Broken"})
    error = fails(program, type=f"flaky-{worker}", body=body, attempts=3, backoff=SOON)
    assert error.code == "dead"
    assert [run["attempt"] for run in error.history] == [1, 2, 3]
    for run in error.history:
        assert (run["worker"], run["type"]) == (f"worker-{worker}", "Broken")
        assert isinstance(run["message"], str)
        assert run["started"] >= run["ended"] >= 0
    first, second, third = error.history
    assert first["ended"] >= second["started"] + 19, "the back-off, cut to milliseconds"
    assert second["ended"] >= third["started"] + 19
    assert not fails(program, type=f"fail-{worker}", body=tag("once"), attempts=1).history


# ---- what no SDK sends ----

BAD: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "a priority that there is not",
        {"priority": "urgent"},
        ["urgent", "low", "critical"],
    ),
    ("a priority over 100", {"priority": 101}, ["priority", "100"]),
    ("no attempts", {"attempts": 0}, ["attempts", "1000"]),
    ("too many attempts", {"attempts": 1001}, ["attempts", "1000"]),
    ("delay and not_before", {"delay": 1, "not_before": 1}, ["delay", "notbefore"]),
    ("a negative delay", {"delay": -1}, ["delay"]),
    ("a delay of 200 years", {"delay": 200 * 365 * 86_400_000}, ["delay", "100"]),
    ("a negative deadline", {"deadline": -1}, ["deadline"]),
    ("no run time-out", {"run_timeout": 0}, ["runtimeout"]),
    ("no heartbeat time-out", {"heartbeat_timeout": 0}, ["heartbeattimeout"]),
    ("a factor below 1", {"backoff": [1, 2, 0.5, 0]}, ["factor"]),
    ("a jitter over 1", {"backoff": [1, 2, 2, 1.5]}, ["jitter"]),
    ("33 types of errors", {"no_retry_on": ["x"] * 33}, ["noretryon", "32"]),
    ("a type of 256 bytes", {"no_retry_on": ["x" * 256]}, ["noretryon", "255"]),
    ("an empty unique key", {"unique": ""}, ["unique", "255"]),
    ("a unique key of 256 bytes", {"unique": "\u00e4" * 128}, ["unique", "255"]),
    (
        "a policy that there is not",
        {"unique": "k", "unique_policy": "merge"},
        ["uniquepolicy", "merge", "join", "refuse", "replace", "debounce", "followup"],
    ),
    ("a policy without a key", {"unique_policy": "join"}, ["uniquepolicy", "unique"]),
    ("unique_for without a key", {"unique_for": 1}, ["uniquefor", "unique"]),
    ("a negative unique_for", {"unique": "k", "unique_for": -1}, ["uniquefor"]),
    ("a negative retention", {"retention": -1}, ["retention"]),
    ("an empty order key", {"order_key": ""}, ["orderkey", "255"]),
    ("an order key of 256 bytes", {"order_key": "\u00e4" * 128}, ["orderkey", "255"]),
    ("an empty limit key", {"limit_key": ""}, ["limitkey", "255"]),
    ("a limit key of 256 bytes", {"limit_key": "x" * 256}, ["limitkey", "255"]),
    ("an empty group", {"group": ""}, ["group", "255"]),
    ("a group of 256 bytes", {"group": "x" * 256}, ["group", "255"]),
    ("a negative cost", {"cost": -1}, ["cost"]),
    ("17 labels", {"labels": {str(n): "x" for n in range(17)}}, ["labels", "16"]),
    ("an empty label", {"labels": {"a": ""}}, ["labels", "255"]),
    ("a label without a name", {"labels": {"": "x"}}, ["labels", "255"]),
    ("a need below 0", {"requires": {"gpu": -1}}, ["requires", "gpu", "1000000000"]),
    ("17 needs", {"prefers": {str(n): 1 for n in range(17)}}, ["prefers", "16"]),
    ("a need of an empty text", {"prefers": {"disk": ""}}, ["prefers", "255"]),
    ("nothing consumed", {"consumes": {"gpu": 0}}, ["consumes", "gpu", "1000000000"]),
    ("an empty sticky key", {"sticky_key": ""}, ["stickykey", "255"]),
    ("a sticky key of 256 bytes", {"sticky_key": "\u00e4" * 128}, ["stickykey", "255"]),
    ("a cost over 10^9", {"cost": 10**9 + 1}, ["cost"]),
]


@pytest.mark.shows("what is out of bounds is told at the caller")
@pytest.mark.parametrize(("options", "words"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
@clients
def test_options_out_of_bounds(
    world: World, client: str, options: dict[str, Any], words: list[str]
) -> None:
    """Named as the language writes them: not_before, notBefore, NotBefore; 1000 or 1,000."""
    before = world.broker.query("status")["counters"]["submitted"]
    error = fails(world.clients[client], type="echo-go", body=tag(1), **options)
    text = re.sub(r"[_, ]", "", error.text).lower()
    for word in words:
        assert word in text, error.text
    assert world.broker.query("status")["counters"]["submitted"] == before
