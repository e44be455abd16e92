"""What a run says, what it is told, and what it does when it cannot go on, language by language."""

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
    wait_for_workers,
    wait_until_it_runs,
    workers,
)
from .programs import tag, untag


def stops(world: World, id: str) -> list[list[str]]:
    """Attempt and reason of the runs of `stopping`."""
    lines = [line.split() for line in world.counts.read_text().splitlines()]
    return [[attempt, reason] for found, attempt, reason, _ in lines if found == id]


# ---- what a run says ----


@pytest.mark.shows("progress and logs, in order, before the result")
@clients
@workers
def test_what_a_run_says_comes_in_order_and_before_its_result(
    world: World, client: str, worker: str
) -> None:
    for body in ({"steps": 30}, {"steps": 3, "pause": 20}):
        steps = range(1, body["steps"] + 1)
        told = world.clients[client].do("follow", type=f"progressing-{worker}", body=tag(body))
        assert untag(told["result"]) == body["steps"]
        assert [untag(value) for value in told["progress"]] == list(steps)
        assert told["logs"] == [["info", f"step {n}"] for n in steps]


@pytest.mark.shows("a run speaks on after a restart of the broker")
@workers
def test_a_followed_run_outlives_the_broker(tuskd, programs: Programs, worker: str) -> None:
    """The worker goes on under a new handle, and the client follows the same task again."""
    broker = tuskd()
    programs.worker(worker, broker.url, name="w", TUSK_TEST_SUFFIX="")
    wait_for_workers(broker, "w")
    program = programs.client(other(worker, 1), broker.url)
    steps = 40
    body = tag({"steps": steps, "pause": 100})
    answer = program.ask("follow", type="progressing", body=body, timeout=LONG, priority="high")
    wait_for(lambda: any(t["running"] for t in broker.query("types")), "the run")
    time.sleep(0.5)
    broker.kill()
    broker.start()
    told = answer.get()
    assert untag(told["result"]) == steps
    seen = [untag(value) for value in told["progress"]]
    assert seen == sorted(set(seen)), "in order, none twice"
    assert seen[0] == 1 and seen[-1] == steps, "before the restart, and behind it"
    assert told["logs"][-1] == ["info", f"step {steps}"]


@pytest.mark.shows("a checkpoint survives a failed run")
@workers
def test_the_next_run_gets_the_checkpoint(world: World, worker: str) -> None:
    value = {"at": [1, 2.5, "\u00e4", None], "bytes": b"\x00\xff"}
    body = {"fails": 2, "value": value}
    program, type = world.clients[other(worker, 1)], f"checkpointed-{worker}"
    assert program.call(type, body, attempts=3, backoff=SOON) == [3, value]
    assert program.call(type, {"fails": 0, "value": value}) == [1, None]


@pytest.mark.shows("a checkpoint survives kill -9 of the worker")
@workers
def test_a_checkpoint_outlives_its_worker(world: World, programs: Programs, worker: str) -> None:
    """The next run is in another language, and goes on from there."""
    suffix = f"-killed-{worker}"
    first = programs.worker(
        worker, world.broker.url, name=f"first-{worker}", TUSK_TEST_SUFFIX=suffix
    )
    wait_for_workers(world.broker, f"first-{worker}")
    program = world.clients[other(worker, 2)]
    body = {"fails": 1, "value": "so far", "hang": LONG}
    answer = program.ask("follow", type=f"checkpointed{suffix}", body=tag(body), attempts=1)

    def running() -> bool:
        types = {t["name"]: t for t in world.broker.query("types")}
        return bool(types.get(f"checkpointed{suffix}", {}).get("running"))

    wait_for(running, "the first run")
    time.sleep(0.5)  # nobody sees from outside that the checkpoint is there
    first.kill()
    programs.worker(other(worker, 1), world.broker.url, TUSK_TEST_SUFFIX=suffix)
    assert untag(answer.get()["result"]) == [2, "so far"]


@pytest.mark.shows("heartbeats, and a run that gives none")
@workers
def test_a_run_that_is_silent_is_told_to_stop(world: World, worker: str) -> None:
    program = world.clients[other(worker, 3)]
    body = {"beats": 12, "every": 100, "silent": 0}
    assert program.call(f"beating-{worker}", body, heartbeat_timeout=700, attempts=1) == 12
    id = task_id().hex()
    options = {"id": id, "heartbeat_timeout": 300, "attempts": 1}
    error = fails(program, type=f"stopping-{worker}", body=None, timeout=LONG, **options)
    assert (error.code, error.type) == ("failed", "HeartbeatTimeout")
    assert stops(world, id) == [["1", "heartbeat_timeout"]]


# ---- what a run is told ----


@pytest.mark.shows("deadline of a task that runs")
@workers
def test_a_run_is_told_of_the_deadline(world: World, worker: str) -> None:
    id = task_id().hex()
    options = {"id": id, "deadline": 300, "timeout": LONG, "attempts": 3}
    error = fails(world.clients[other(worker, 1)], type=f"stopping-{worker}", body=None, **options)
    assert error.code == "expired"
    assert stops(world, id) == [["1", "deadline"]]


@pytest.mark.shows("run time-out: told to stop, then the next run")
@workers
def test_a_run_takes_too_long(world: World, worker: str) -> None:
    id = task_id().hex()
    options = {
        "id": id,
        "run_timeout": 200,
        "attempts": 2,
        "backoff": SOON,
        "timeout": LONG,
    }
    error = fails(world.clients[other(worker, 2)], type=f"stopping-{worker}", body=None, **options)
    assert (error.code, error.type) == ("dead", "RunTimeout")
    assert stops(world, id) == [["1", "run_timeout"], ["2", "run_timeout"]]
    first, second = error.history
    assert (first["type"], second["type"]) == ("RunTimeout", "RunTimeout")
    assert first["started"] - first["ended"] >= 199
    assert first["ended"] >= second["started"], "never two runs at once"


@pytest.mark.shows("run time-out: a success that comes late counts")
@workers
def test_a_run_that_takes_too_long_and_succeeds(world: World, worker: str) -> None:
    program = world.clients[other(worker, 3)]
    options = {"run_timeout": 200, "attempts": 2, "backoff": SOON, "timeout": LONG}
    start = time.monotonic()
    assert program.call(f"stubborn-{worker}", 600, **options) == 600
    assert time.monotonic() - start >= 0.6


@pytest.mark.shows("the reason of a cancel")
@workers
def test_a_run_is_told_that_it_was_cancelled(world: World, worker: str) -> None:
    program = world.clients[other(worker, 1)]
    id = program.do("submit", type=f"stopping-{worker}", body=None)
    wait_until_it_runs(world, id)
    assert program.do("cancel", id=id) == "cancelling"
    assert fails(program, "result", id=id).code == "cancelled"
    assert stops(world, id) == [["1", "cancelled"]]


@pytest.mark.shows("the time that is left")
@workers
def test_a_run_knows_its_time(world: World, worker: str) -> None:
    program, type = world.clients[other(worker, 2)], f"time_left-{worker}"
    assert program.call(type) is None
    assert 20_000 < program.call(type, run_timeout=40_000) <= 40_000
    assert 10_000 < program.call(type, run_timeout=40_000, deadline=20_000) <= 20_000
    assert 10_000 < program.call(type, deadline=20_000) <= 20_000


# ---- handlers that cannot run now ----


@pytest.mark.shows("defer: put off, no attempt used up")
@workers
def test_a_handler_puts_its_task_off(world: World, worker: str) -> None:
    program = world.clients[other(worker, 3)]
    start = time.monotonic()
    body = {"times": 2, "after": 150}
    assert program.call(f"deferring-{worker}", body, attempts=1) == 3
    assert time.monotonic() - start >= 0.3


@pytest.mark.shows("pause of a type")
@workers
def test_a_handler_pauses_its_type(world: World, worker: str) -> None:
    program, type = world.clients[other(worker, 1)], f"pausing-{worker}"
    start = time.monotonic()
    assert program.call(type, {"pause": 500}) is None
    assert program.call(f"echo-{worker}", "another type") == "another type"
    assert program.call(type, {"pause": 0}) is None
    assert time.monotonic() - start >= 0.5


@pytest.mark.shows("errors of the language's own types, in a history")
@workers
def test_a_worker_names_the_type_of_its_error(world: World, worker: str) -> None:
    program = world.clients[other(worker, 2)]
    body = tag({"fails": 9})
    error = fails(program, type=f"flaky-{worker}", body=body, attempts=2, backoff=SOON)
    assert (error.code, error.type, error.language) == ("dead", "Flaky", worker)
    assert [run["type"] for run in error.history] == ["Flaky", "Flaky"]
