"""What every SDK does, shown language by language."""

import contextlib
import re
import socket
import time

import pytest
import zmq
from conftest import wait_for
from peer import (
    ITEM,
    NO_RETRY,
    RESULT,
    SUBMIT,
    SUCCEEDED,
    TASK,
    records_of,
    task_id,
    unpack,
)

from .conftest import STAGES
from .fixtures import Programs, World, fails, languages, wait_for_workers
from .programs import LANGUAGES, Load, ProgramError, normal, tag, untag
from .test_pairs import VECTORS

COMPRESSION = 29


TOO_SOON = ("unavailable", "timeout")  # what the end of a time of 1 ms may be called


def nobody() -> str:
    """A URL where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"tcp://127.0.0.1:{taken.getsockname()[1]}"


# ---- errors ----


@pytest.mark.shows("Unserved names the nearest type")
@languages
def test_unserved(world: World, language: str) -> None:
    error = fails(world.clients[language], "call", type="echo-pyton", body=None)
    assert (error.kind, error.code) == ("Unserved", "unserved")
    assert "echo-python" in error.text


@pytest.mark.shows("IdConflict")
@languages
def test_another_body_under_the_same_id(world: World, language: str) -> None:
    program = world.clients[language]
    id = program.do("submit", type="sleep-go", body=tag(400))
    error = fails(program, "call", type="sleep-go", body=tag(401), id=id)
    assert (error.kind, error.code) == ("IdConflict", "id_conflict")
    joined = program.do("call", type="sleep-go", body=tag(400), id=id, resent=True)
    assert untag(joined) == 400


@pytest.mark.shows("AlreadyEnded")
@languages
def test_an_id_whose_ending_was_told(world: World, language: str) -> None:
    program = world.clients[language]
    id = program.do("submit", type="echo-cpp", body=tag(1))
    program.do("result", id=id)

    def ended_before() -> bool:
        # Until the ending is acknowledged it is told again.
        try:
            program.do("call", type="echo-cpp", body=tag(1), id=id, resent=True)
        except ProgramError as error:
            assert (error.kind, error.code) == ("AlreadyEnded", "already_ended")
            return True
        return False

    wait_for(ended_before, "the ending to be acknowledged")


@pytest.mark.shows("TooLarge says which limit")
@languages
def test_a_body_over_the_limit(world: World, language: str) -> None:
    program = world.clients[language]
    error = fails(program, "roundtrip", type="echo-cpp", size=21 << 20, noise=True)
    assert (error.kind, error.code, error.limit) == ("TooLarge", "too_large", "body")
    assert error.value == 20 << 20
    assert program.call("echo-cpp", "on it goes") == "on it goes"


@pytest.mark.shows("UnknownTopic, UnknownStage, UnknownTask")
@languages
def test_names_that_nobody_knows(world: World, language: str) -> None:
    program = world.clients[language]
    unknown = {
        "unknown_topic": fails(program, "publish", topic="from-pyton", body=None),
        "unknown_stage": fails(program, "push", stage="mark-pyton", body=None),
        "unknown_task": fails(program, "cancel", id=task_id().hex()),
    }
    for code, error in unknown.items():
        assert error.code == code
        classes = {"".join(word.title() for word in code.split("_")), "Unknown"}
        assert error.kind in classes, "JavaScript has one class for all three"
    assert "from-python" in unknown["unknown_topic"].text
    assert "mark-python" in unknown["unknown_stage"].text
    error = fails(program, "subscribe", topic="from-pyton")
    assert error.code == "unknown_topic"


@pytest.mark.shows("no broker: Unavailable within 5 s")
def test_no_broker_there(programs: Programs) -> None:
    url = nobody()
    clients = [programs.client(language, url) for language in LANGUAGES]
    for program in clients:  # a program has started when it answers
        assert fails(program, "call", type="echo", body=None, timeout=1).code in TOO_SOON
    start = time.monotonic()
    answers = [program.ask("call", type="echo", body=None) for program in clients]
    for answer in answers:
        with pytest.raises(ProgramError) as caught:
            answer.get()
        error = caught.value
        assert (error.kind, error.code, error.url) == (
            "Unavailable",
            "unavailable",
            url,
        )
        assert url in error.text
    assert time.monotonic() - start < 5 + 2, "a busy machine gets 2 s more"


@pytest.mark.shows("a script's end says what is unsent")
@languages
def test_the_end_of_a_script_says_how_many_tasks_are_left(
    programs: Programs, language: str
) -> None:
    program = programs.client(language, nobody())
    for n in range(3):
        program.do("submit", type="echo", body=tag(n), timeout=60_000)
    assert program.end() == 0
    assert re.search(r"tusk.*\b3\b", program.said()), program.said()


# ---- tasks ----


@pytest.mark.shows("many at once, in order")
@languages
def test_submit_many(world: World, language: str) -> None:
    bodies = [tag({"n": n}) for n in range(3000)]
    for worker in LANGUAGES:
        found = world.clients[language].do("many", type=f"echo-{worker}", bodies=bodies)
        assert [normal(f["ok"]) for f in found] == [normal(body) for body in bodies]


@pytest.mark.shows("post: accepted, no result")
@languages
def test_post_returns_when_it_is_accepted(world: World, language: str) -> None:
    program = world.clients[language]
    id = bytes.fromhex(program.do("post", type="sleep-cpp", body=tag(300)))
    assert world.broker.query("task", {"id": id})["state"] in ("waiting", "running")
    wait_for(
        lambda: world.broker.query("task", {"id": id})["state"] == "succeeded",
        "the end",
    )


@pytest.mark.shows("submit, result later, query")
@languages
def test_submit_and_query(world: World, language: str) -> None:
    program = world.clients[language]
    id = program.do("submit", type="echo-go", body=tag([1, "two"]))
    assert untag(program.do("result", id=id)) == [1, "two"]
    names = {worker["name"] for worker in untag(program.do("query", what="workers"))}
    assert {f"worker-{language}" for language in LANGUAGES} <= names
    assert untag(program.do("query", what="status"))["counters"]["submitted"] > 0


@pytest.mark.shows("a client compresses")
@languages
def test_a_client_compresses_what_gets_smaller(tuskd, programs: Programs, language: str) -> None:
    broker = tuskd("", "compression_threshold: 1KB")
    worker = broker.peer(role="worker", types=["echo"])
    program = programs.client(language, broker.url)
    program.do("query", what="status")  # before that it does not know the threshold
    for noise, size, is_compressed in (
        (False, 64 << 10, True),
        (True, 64 << 10, False),
    ):
        answer = program.ask("roundtrip", type="echo", size=size, noise=noise)
        task, bodies = worker.receive(TASK)
        attributes = task[6] if len(task) > 6 else {}
        assert (attributes.get(COMPRESSION) == 1) is is_compressed
        assert len(bodies) == (0 if is_compressed else 1), "large bodies are frames of their own"
        worker.send([RESULT, task[1], SUCCEEDED, task[5], attributes], bodies=bodies)
        assert answer.get() is True


@pytest.mark.shows("a worker compresses")
@languages
def test_a_worker_compresses_what_gets_smaller(world: World, language: str) -> None:
    client = world.broker.peer()
    number, _ = client.submit(f"echo-{language}", "tusk" * 10_000)
    record = client.result(number)
    assert record[4][COMPRESSION] == 1 and len(record[3]) < 4000
    number, _ = client.submit(f"echo-{language}", "tusk")
    record = client.result(number)
    assert unpack(record[3]) == "tusk" and len(record) == 4


@pytest.mark.shows("a worker refuses broken bodies")
@languages
def test_a_worker_refuses_bodies_that_break_a_rule(world: World, language: str) -> None:
    client = world.broker.peer()
    broken = [v for v in VECTORS if v.get("refuse") and v.get("bytes")]
    assert len(broken) > 40
    for vector in broken:
        number = client.request()
        body = bytes.fromhex(vector["bytes"])
        client.send([SUBMIT, number, task_id(), f"echo-{language}", body])
        record = client.result(number)
        assert record[2] == 2 and record[4][NO_RETRY] is True, vector["name"]
        assert record[4][2]["language"] == language


@pytest.mark.shows("a client refuses broken results")
@languages
def test_a_client_refuses_results_that_break_a_rule(
    tuskd, programs: Programs, language: str
) -> None:
    broker = tuskd()
    worker = broker.peer(role="worker", types=["broken"])
    program = programs.client(language, broker.url)
    for vector in (v for v in VECTORS if v.get("refuse") and v.get("bytes")):
        answer = program.ask("call", type="broken", body=None, timeout=60_000)
        worker.send([RESULT, worker.task()[1], SUCCEEDED, bytes.fromhex(vector["bytes"])])
        with pytest.raises(ProgramError) as caught:
            answer.get()
        assert caught.value.kind in ("BodyError", "ValueError"), vector["name"]


# ---- pipelines ----


@contextlib.contextmanager
def pipeline_out(world: World):
    """A PULL socket at the end of the pipeline."""
    with zmq.Context.instance().socket(zmq.PULL) as pull:
        pull.setsockopt(zmq.RCVTIMEO, 60_000)
        pull.setsockopt(zmq.LINGER, 0)
        pull.connect(world.broker.edges["pipeline_out"])
        yield pull


def items_of(pull: zmq.Socket, count: int) -> list:
    found: list = []
    while len(found) < count:
        frames = pull.recv_multipart()
        for record in records_of(frames[0]):
            assert record[0] == ITEM
            body = record[5] if isinstance(record[5], bytes) else frames[record[5]]
            found.append(unpack(body))
    return found


@pytest.mark.shows("push through stages in all languages")
@languages
def test_items_go_through_every_stage_in_order(world: World, language: str) -> None:
    program = world.clients[language]
    with pipeline_out(world) as pull:
        one = {"n": 0, "drop": None, "path": []}
        done = {s["name"]: s["done"] for s in world.broker.query("stages")}
        # Until the PULL socket is connected, the edge drops.
        program.do("push", stage=STAGES[0], body=tag(one))
        wait_for(
            lambda: world.broker.query("stages")[-1]["done"] == done[STAGES[-1]] + 1,
            "one item",
        )
        many = [{"n": n, "drop": None, "path": []} for n in range(1, 201)]
        pushed = program.do("push_many", stage=STAGES[0], bodies=[tag(item) for item in many])
        assert pushed == len(many)
        items = [item for item in items_of(pull, len(many)) if item["n"]]
        while len(items) < len(many):
            items += items_of(pull, 1)
    assert sorted(item["n"] for item in items) == [item["n"] for item in many]
    assert all(item["path"] == STAGES for item in items)


@pytest.mark.shows("stage handlers: one item, lists, DROP")
@languages
def test_stage_handlers_drop_items(world: World, language: str) -> None:
    program = world.clients[language]

    def numbers(stage: str) -> tuple[int, int]:
        """Done and dropped items, when no item is on its way."""

        def quiet() -> list | None:
            found = world.broker.query("stages")
            return None if any(s["waiting"] or s["running"] for s in found) else found

        found = next(s for s in wait_for(quiet, "the items to leave") if s["name"] == stage)
        return found["done"], found["dropped"]

    for stage in (f"mark-{language}", f"batch-{language}"):
        done, dropped = numbers(stage)
        bodies = [{"n": n, "drop": stage if n % 2 else None, "path": []} for n in range(40)]
        program.do("push_many", stage=stage, bodies=[tag(body) for body in bodies])
        assert numbers(stage) == (done + 20, dropped + 20)


# ---- workers that end ----


@pytest.mark.shows("SIGTERM: nothing lost, exit 0")
@languages
def test_a_worker_stops_gracefully_under_load(
    tuskd, programs: Programs, tmp_path, language: str
) -> None:
    broker = tuskd()
    counts = tmp_path / "counts"
    workers = [
        programs.worker(
            language,
            broker.url,
            name=name,
            slots=8,
            TUSK_TEST_COUNTS=str(counts),
            TUSK_TEST_SUFFIX="",
        )
        for name in ("first", "second")
    ]
    wait_for_workers(broker, "first", "second")
    client = programs.client("cpp", broker.url)
    load = client.ask("load", types=["count"], count=4000, in_flight=200)
    sleepers = [client.do("submit", type="sleep", body=tag(700)) for _ in range(6)]
    wait_for(counts.exists, "the load")
    assert workers[0].stop() == 0, workers[0].said()
    for id in sleepers:
        assert untag(client.do("result", id=id)) == 700
    Load(load.get()).check_all_succeeded()
    runs = [line.split()[0] for line in counts.read_text().splitlines()]
    assert len(runs) == len(set(runs)) == 4000, "a graceful stop makes nothing run twice"
    counters = broker.query("status")["counters"]
    assert (counters["crashed"], counters["errors_unknown_handle"]) == (0, 0)


@pytest.mark.shows("a worker that dies in a run")
@languages
def test_a_task_whose_worker_exits_half_way_runs_elsewhere(
    tuskd, programs: Programs, language: str
) -> None:
    broker = tuskd()
    for name in ("first", "second"):
        programs.worker(language, broker.url, name=name, TUSK_TEST_SUFFIX="")
    wait_for_workers(broker, "first", "second")
    client = programs.client(language, broker.url)
    body = {"signal": 9, "attempts": 1}
    assert client.call("crash", body, timeout=60_000) == body
    assert broker.counter("crashed") == 1
    # A second death of the same task's worker is its end, with a reason for people.
    body = {"signal": 9, "attempts": 9}
    programs.worker(language, broker.url, name="third", TUSK_TEST_SUFFIX="")
    wait_for_workers(broker, "third")
    error = fails(client, "call", type="crash", body=tag(body), timeout=60_000)
    assert (error.kind, error.code) == ("TaskDead", "dead")
    assert error.attempt == 2 and error.worker in ("first", "second", "third")
    assert error.message
