"""What a task may ask for, and what its runs may say, shown language by language.

The parameter `client` is the language that asks, `worker` the one whose handler runs; the other
side is a language that changes from case to case.
"""

import re
import time
from typing import Any

import pytest
from conftest import wait_for
from peer import task_id

from .fixtures import Programs, World, wait_for_workers
from .programs import LANGUAGES, ClientProgram, ProgramError, tag, untag

clients = pytest.mark.parametrize("client", LANGUAGES)
workers = pytest.mark.parametrize("worker", LANGUAGES)

SOON = [20, 20, 1, 0]  # a back-off of 20 ms
# A busy machine is late with everything; only what must not be too early is measured closely.
LONG = 60_000


def other(language: str, by: int) -> str:
    """The language `by` places behind this one, in a circle."""
    return LANGUAGES[(LANGUAGES.index(language) + by) % len(LANGUAGES)]


def fails(program: ClientProgram, op: str = "call", **fields: Any) -> ProgramError:
    with pytest.raises(ProgramError) as caught:
        program.do(op, **fields)
    return caught.value


def state(world: World, id: str) -> str:
    return str(world.broker.query("task", {"id": bytes.fromhex(id)})["state"])


def wait_until_it_runs(world: World, id: str) -> None:
    wait_for(lambda: state(world, id) == "running", "the task to run")


def stops(world: World, id: str) -> list[list[str]]:
    """Attempt and reason of the runs of `stopping`."""
    lines = [line.split() for line in world.counts.read_text().splitlines()]
    return [[attempt, reason] for found, attempt, reason, _ in lines if found == id]


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
