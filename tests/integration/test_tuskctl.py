"""What an operator tells a running tuskd with tuskctl."""

import json
import subprocess

from conftest import TUSKD, Tuskd, wait_for
from peer import FAILED, RESULT, SUCCEEDED

DELAY, RETENTION, LABELS, ORDER_KEY = 1, 13, 18, 23


def run(broker: Tuskd, *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    done = subprocess.run(
        [TUSKD.parent / "tuskctl", "--url", broker.url, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def waiting(broker: Tuskd) -> int:
    return int(broker.query("types")[0]["waiting"])


def test_an_operator_pauses_a_type(tuskd):
    broker = tuskd()
    peer, client = broker.peer(role="worker", types=["add"]), broker.peer()
    assert run(broker, "pause", "add", "0") == (1, "add was not paused\n", "")
    assert run(broker, "pause", "add", "1h") == (0, "add is paused for 1h\n", "")
    number, _ = client.submit("add", 1)
    wait_for(lambda: waiting(broker) == 1, "the task")
    assert run(broker, "pause", "add", "0s") == (0, "add is no longer paused\n", "")
    peer.answer(peer.task(), 2)
    assert client.result(number)[:3] == [RESULT, number, SUCCEEDED]
    status, out, _ = run(broker, "--json", "pause", "add", "1ms")
    assert (status, json.loads(out)) == (0, {"done": True})
    status, out, error = run(broker, "pause", "sub", "1s")
    assert (status, out) == (1, "") and 'no type "sub"' in error
    for duration in ("soon", "5", "1.5s", "40000d"):
        status, out, error = run(broker, "pause", "add", duration)
        assert (status, out) == (1, "") and f'"{duration}" is no duration' in error


def test_an_operator_unblocks_a_key(tuskd):
    broker = tuskd("[types]\nadd:\n  order_on_dead: block\n  attempts: 1")
    peer, client = broker.peer(role="worker", types=["add"], slots=2), broker.peer()
    first, _ = client.submit("add", 1, attributes={ORDER_KEY: "a b"})
    second, _ = client.submit("add", 2, attributes={ORDER_KEY: "a b"})
    peer.send([RESULT, peer.task()[1], FAILED, None, {2: {"type": "Broken", "message": "no"}}])
    assert client.result(first)[2] == FAILED
    assert waiting(broker) == 1
    goes_on = (0, 'the key "a b" of add goes on\n', "")
    assert run(broker, "unblock", "add", "a b") == goes_on
    peer.answer(peer.task(), 3)
    assert client.result(second)[2] == SUCCEEDED
    was_not = (1, 'the key "a b" of add was not blocked\n', "")
    assert run(broker, "unblock", "add", "a b") == was_not
    status, out, _ = run(broker, "--json", "unblock", "add", "a b")
    assert (status, json.loads(out)) == (1, {"done": False})
    status, out, error = run(broker, "unblock", "sub", "a b")
    assert (status, out) == (1, "") and 'no type "sub"' in error


def test_an_operator_finds_and_changes_many_tasks(tuskd):
    broker = tuskd()
    peer, client = broker.peer(role="worker", types=["add"], slots=1), broker.peer()
    ids = {}
    for customer in ("acme", "acme", "else"):
        labels = {LABELS: {"customer": customer}, DELAY: 3_600_000}
        ids.setdefault(customer, []).append(client.submit("add", 1, attributes=labels)[1].hex())
    status, out, _ = run(broker, "tasks", "--label", "customer=acme")
    assert status == 0
    header, *rows = out.splitlines()
    assert header.split()[:3] == ["ID", "TYPE", "STATE"]
    assert [row.split()[0] for row in rows] == ids["acme"]
    assert all(row.endswith("customer=acme") for row in rows)
    status, out, _ = run(broker, "--json", "tasks", "--label", "customer", "--limit", "1")
    assert [task["labels"] for task in json.loads(out)] == [{"customer": "acme"}]
    cancel = ("cancel", "--label", "customer=acme")
    assert run(broker, *cancel, "--dry-run") == (0, "2 tasks fit\n", "")
    assert run(broker, *cancel) == (0, "2 tasks cancelled\n", "")
    assert run(broker, "reprioritise", "20", "--all") == (0, "1 tasks moved\n", "")
    assert run(broker, "retry", "--state", "delayed") == (0, "1 tasks retried\n", "")
    task = peer.task()
    assert task[2].hex() == ids["else"][0]
    status, out, _ = run(broker, "jobs")
    assert [line.split()[1] for line in out.splitlines()[1:]] == [
        "cancel", "cancel", "reprioritise", "retry",
    ]  # fmt: skip


def test_an_operator_runs_again_what_failed(tuskd):
    broker = tuskd("[types]\nadd:\n  retention: 1h\n  attempts: 1")
    peer, client = broker.peer(role="worker", types=["add"]), broker.peer()
    number, id = client.submit("add", 1)
    peer.send([RESULT, peer.task()[1], FAILED, None, {2: {"type": "Broken", "message": "no"}}])
    assert client.result(number)[2] == FAILED
    assert run(broker, "retry", "--state", "failed") == (0, "1 tasks retried\n", "")
    again = peer.task()
    assert again[2] != id and again[5] is not None
    assert run(broker, "retry", "--state", "failed") == (0, "0 tasks retried\n", "")


def test_which_tasks_has_to_be_said(tuskd):
    broker = tuskd()
    status, out, error = run(broker, "cancel")
    assert (status, out) == (1, "") and "which tasks?" in error
    status, _, error = run(broker, "cancel", "0" * 32, "--all")
    assert status == 1 and "either" in error
    status, _, error = run(broker, "tasks", "--state", "asleep")
    assert status == 1 and '"asleep"' in error
    status, _, error = run(broker, "tasks")
    assert status == 1 and "which tasks" in error
    assert run(broker, "reprioritise", "101", "--all")[0] != 0
