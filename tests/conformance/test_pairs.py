"""Every client language to every worker language: the same values, the same errors."""

import json

import pytest
from conftest import wait_for

from .fixtures import World
from .programs import LANGUAGES, ROOT, ProgramError, normal, tag

MiB = 1 << 20
PAIRS = [pytest.param(c, w, id=f"{c}-{w}") for c in LANGUAGES for w in LANGUAGES]
VECTORS = json.loads((ROOT / "proto" / "vectors" / "bodies" / "v1.json").read_text())
ACCEPTED = [vector for vector in VECTORS if not vector.get("refuse")]
pairs = pytest.mark.parametrize(("client", "worker"), PAIRS)


@pytest.mark.shows("bodies of the vectors")
@pairs
def test_every_body_comes_back_as_it_went(world: World, client: str, worker: str) -> None:
    bodies = [vector["value"] for vector in ACCEPTED]
    assert len(bodies) > 100
    found = world.clients[client].do("many", type=f"echo-{worker}", bodies=bodies)
    javascript = "javascript" in (client, worker)
    wrong = [
        (vector["name"], outcome)
        for vector, outcome in zip(ACCEPTED, found, strict=True)
        if "error" in outcome
        or normal(outcome["ok"], through_javascript=javascript)
        != normal(vector["value"], through_javascript=javascript)
    ]
    assert not wrong


@pytest.mark.shows("bodies of 0 B to 16 MiB")
@pairs
def test_bodies_of_all_sizes(world: World, plain_world: World, client: str, worker: str) -> None:
    def roundtrip(where: World, size: int, noise: bool) -> bool:
        fields = {"type": f"echo-{worker}", "size": size, "noise": noise}
        return bool(where.clients[client].do("roundtrip", **fields))

    for size in (0, 100, 64 << 10, 16 * MiB):
        assert roundtrip(world, size, noise=False), f"{size} bytes, compressed"
        assert roundtrip(plain_world, size, noise=False), f"{size} bytes, not compressed"
    # What does not get smaller travels as it is.
    assert roundtrip(world, 64 << 10, noise=True)


@pytest.mark.shows("a handler's error")
@pairs
def test_an_error_has_the_same_fields_from_everywhere(
    world: World, client: str, worker: str
) -> None:
    message = "no such thing: ä€\U0001f418"
    with pytest.raises(ProgramError) as caught:
        world.clients[client].call(f"fail-{worker}", message)
    error = caught.value
    assert (error.kind, error.code) == ("TaskFailed", "failed")
    assert (error.message, error.language) == (message, worker)
    assert (error.attempt, error.worker) == (1, f"worker-{worker}")
    assert error.retry is True
    types = {
        "python": "ValueError",
        "javascript": "RangeError",
        "go": "*errors.errorString",
        "cpp": "std::runtime_error",
    }
    assert error.type == types[worker]
    # Go and C++ errors have no stack of their own; a Go panic has.
    with pytest.raises(ProgramError) as caught:
        world.clients[client].call(f"panic-{worker}", message)
    assert message in caught.value.message and caught.value.language == worker
    names = {
        "python": "worker.py",
        "javascript": "worker.mjs",
        "go": "main.go",
        "cpp": "",
    }
    assert names[worker] in (caught.value.stack or "")
    with pytest.raises(ProgramError) as caught:
        world.clients[client].call(f"noretry-{worker}", message)
    assert (caught.value.message, caught.value.retry) == (message, False)


@pytest.mark.shows("a result without a form")
@pairs
def test_what_does_not_serialise_is_an_error_of_the_handler(
    world: World, client: str, worker: str
) -> None:
    with pytest.raises(ProgramError) as caught:
        world.clients[client].call(f"unserialisable-{worker}")
    error = caught.value
    assert error.kind == "TaskFailed"
    assert (error.language, error.worker, error.retry) == (
        worker,
        f"worker-{worker}",
        False,
    )
    assert error.message
    assert world.clients[client].call(f"echo-{worker}", "on it goes") == "on it goes"


@pytest.mark.shows("cancel")
@pairs
def test_cancel_ends_a_run_in_the_worker(world: World, client: str, worker: str) -> None:
    program = world.clients[client]
    id = program.do("submit", type=f"sleep-{worker}", body=tag(300_000))
    wait_for(
        lambda: world.broker.query("task", {"id": bytes.fromhex(id)})["state"] == "running",
        "the run",
    )
    ending = program.ask("result", id=id)
    assert program.do("cancel", id=id) == "cancelling"
    with pytest.raises(ProgramError) as caught:
        ending.get()
    assert (caught.value.kind, caught.value.code) == ("TaskCancelled", "cancelled")
    # The handler has ended: it did not just lose its caller.
    wait_for(
        lambda: (
            not any(w["running"] for w in world.broker.query("workers") if w["language"] == worker)
        ),
        "the handler to end",
    )


@pytest.mark.shows("time-out")
@pairs
def test_a_time_out_ends_the_wait_and_not_the_task(world: World, client: str, worker: str) -> None:
    program = world.clients[client]
    id = f"0190{LANGUAGES.index(client):02x}{LANGUAGES.index(worker):02x}".ljust(32, "7")
    fields = {"type": f"sleep-{worker}", "body": tag(600), "id": id}
    with pytest.raises(ProgramError) as caught:
        program.do("call", **fields, timeout=50)
    assert (caught.value.kind, caught.value.code) == ("Timeout", "timeout")
    # It goes on, and whoever asks by the same id gets its ending.
    assert program.do("call", **fields, resent=True) == {"int": "600"}
