"""What an operator tells a running tuskd with tuskctl."""

import json
import subprocess

from conftest import TUSKD, Tuskd, wait_for
from peer import FAILED, RESULT, SUCCEEDED

ORDER_KEY = 23


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
