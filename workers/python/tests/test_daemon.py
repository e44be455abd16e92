"""The SDK against the real daemon: TUSKD names it, else the release build; skipped without one.

What is killed here is killed with SIGKILL.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tuskd
from tuskd import AsyncClient, Client

DAEMON = Path(os.environ.get("TUSKD", Path(__file__).parents[3] / "build/release/daemon/tuskd"))
pytestmark = pytest.mark.skipif(not DAEMON.exists(), reason=f"no daemon at {DAEMON}")

CONFIG = """
[tuskd]
endpoint: "{url}"
events_in: null
events_out: null
pipeline_in: null
pipeline_out: null
log_level: "warning"
unserved_grace: "2s"

[topics]
prices: {{}}

[ipc_patterns]
pipeline: {{ pattern: "push_pull", stages: ["clean", "store"] }}
"""

WORKER = """
import asyncio, os, time
from tuskd import Context, DROP, NoRetry, Worker

worker = Worker(slots={slots})

@worker.task("add")
def add(a, b): return a + b

@worker.task("echo")
def echo(value): return value

@worker.task("fail")
def fail(value): raise ValueError(value)

@worker.task("pid")
def pid(): return os.getpid()

@worker.task("crash once")
def crash_once(path):
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), 9)
    return "second run"

@worker.task("until cancelled")
def until_cancelled(value, context: Context):
    while not context.cancelled: time.sleep(0.001)

@worker.stage("clean")
def clean(item): return DROP if item < 0 else item * 2

@worker.stage("store")
def store(item):
    with open(os.environ["STORE"], "a") as file: file.write(f"{{item}}\\n")

worker.run()
"""


class Daemon:
    def __init__(self, folder: Path) -> None:
        self.url = f"ipc://{folder}/router"
        self.folder = folder
        self.config = folder / "tuskd.tsk"
        self.config.write_text(CONFIG.format(url=self.url))
        self.children: list[subprocess.Popen[bytes]] = []
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([str(DAEMON), str(self.config)], cwd=self.folder)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def worker(self, slots: int = 4) -> subprocess.Popen[bytes]:
        program = self.folder / f"worker{slots}.py"
        program.write_text(WORKER.format(slots=slots))
        environment = {**os.environ, "TUSK_URL": self.url, "STORE": str(self.folder / "store")}
        child = subprocess.Popen([sys.executable, str(program)], env=environment)
        self.children.append(child)
        with Client(self.url, timeout=30.0) as client:
            until(lambda: child.pid in [w["pid"] for w in client.query("workers")])
        return child

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    daemon.close()


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    client = Client(daemon.url, timeout=30.0)
    yield client
    client.close()


def until(condition: Callable[[], Any], wait: float = 30.0) -> None:
    end = time.monotonic() + wait
    while not condition():
        assert time.monotonic() < end, "the condition did not come"
        time.sleep(0.01)


def test_tasks(daemon: Daemon, client: Client) -> None:
    worker = daemon.worker()
    assert client.call("add", {"a": 1, "b": 2}) == 3
    value = {"t": "\u00e4", "b": b"\0", "n": None, "l": [1, -1, 2**63, 0.5], "big": "x" * 100_000}
    assert client.call("echo", value) == value
    with pytest.raises(tuskd.TaskFailed) as failed:
        client.call("fail", "why")
    error = failed.value
    assert (error.type, error.message, error.language) == ("ValueError", "why", "python")
    assert error.worker == f"python-{worker.pid}" and "in fail" in error.stack
    with pytest.raises(tuskd.Unserved, match="add"):
        client.call("addd", timeout=30.0)
    with pytest.raises(tuskd.UnknownTask):
        client.cancel(os.urandom(16))
    assert len(list(client.map("echo", range(5000)))) == 5000
    (told,) = client.query("workers")
    assert told["pid"] == worker.pid and told["slots"] == 4


def test_cancel(daemon: Daemon, client: Client) -> None:
    daemon.worker()
    task = client.submit("until cancelled")
    until(lambda: client.query("task", {"id": task.id})["state"] == "running")
    assert task.cancel() == "cancelling"
    with pytest.raises(tuskd.TaskCancelled):
        task.result(10)


def test_same_id_runs_once(daemon: Daemon, client: Client) -> None:
    daemon.worker()
    id = tuskd.new_id()
    assert client.call("echo", 1, id=id) == 1
    with pytest.raises((tuskd.AlreadyEnded, tuskd.IdConflict)):
        client.call("echo", 2, id=id)


def test_too_large_is_told_here(daemon: Daemon, client: Client) -> None:
    daemon.worker()
    client.call("echo", 1)
    with pytest.raises(tuskd.TooLarge, match="body"):
        client.call("echo", b"x" * (64 << 20))
    assert client.call("echo", b"x" * (10 << 20)) == b"x" * (10 << 20)


def test_events(daemon: Daemon, client: Client) -> None:
    with client.subscribe("prices") as subscription:
        for n in range(100):
            client.publish("prices", n)
        got = [subscription.get(10) for _ in range(100)]
    assert [(e.body, e.missed) for e in got] == [(n, 0) for n in range(100)]
    with pytest.raises(tuskd.UnknownTopic, match="prices"):
        client.publish("prizes", 1)


def test_pipeline(daemon: Daemon, client: Client) -> None:
    daemon.worker()
    store = daemon.folder / "store"
    items = [n if n % 10 else -1 for n in range(3000)]
    assert client.push_many("clean", items) == 3000
    kept = sorted(2 * n for n in items if n >= 0)
    until(lambda: store.exists() and len(store.read_text().split()) == len(kept))
    assert sorted(map(int, store.read_text().split())) == kept
    with pytest.raises(tuskd.UnknownStage):
        client.push("cleam", 1)


def test_task_of_a_killed_worker_runs_elsewhere(daemon: Daemon, client: Client) -> None:
    daemon.worker(1)
    daemon.worker(2)
    assert client.call("crash once", str(daemon.folder / "crashed")) == "second run"


def test_broker_killed_under_load(daemon: Daemon, client: Client) -> None:
    daemon.worker(100)
    client.call("echo", 0)
    results: list[Any] = []

    def load() -> None:
        results.extend(client.map("echo", range(20_000), in_flight=500))

    loading = threading.Thread(target=load, daemon=True)
    loading.start()
    for part in (2_000, 8_000):
        until(lambda part=part: len(results) > part)  # type: ignore[misc]
        daemon.kill()
        daemon.start()
    loading.join(60)
    assert results == list(range(20_000))


def test_worker_killed_under_load(daemon: Daemon, client: Client) -> None:
    first = daemon.worker(50)
    client.call("echo", 0)
    results: list[Any] = []

    def load() -> None:
        results.extend(client.map("echo", range(10_000), in_flight=500))

    loading = threading.Thread(target=load, daemon=True)
    loading.start()
    until(lambda: len(results) > 1000)
    first.kill()
    daemon.worker(51)
    loading.join(60)
    assert results == list(range(10_000))


def test_worker_stops_on_sigterm_under_load(daemon: Daemon, client: Client) -> None:
    first, _ = daemon.worker(50), daemon.worker(51)
    results: list[Any] = []

    def load() -> None:
        results.extend(client.map("echo", range(10_000), in_flight=500))

    loading = threading.Thread(target=load, daemon=True)
    loading.start()
    until(lambda: len(results) > 1000)
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0
    loading.join(60)
    assert results == list(range(10_000))
    counters = client.query("status")["counters"]
    assert counters["crashed"] == 0


def test_sigterm_counts_whichever_thread_the_system_gives_it(
    daemon: Daemon, client: Client
) -> None:
    """Python runs its handlers in the main thread, which another thread's signal does not wake."""
    worker = daemon.worker(5)
    assert client.call("echo", 1) == 1
    threads = [int(t) for t in os.listdir(f"/proc/{worker.pid}/task")]
    ctypes.CDLL(None).tgkill(worker.pid, max(threads), signal.SIGTERM)
    assert worker.wait(20) == 0


def test_async_client(daemon: Daemon) -> None:
    daemon.worker(100)

    async def main() -> None:
        async with AsyncClient(daemon.url, timeout=30.0) as client:
            got = await asyncio.gather(*[client.call("add", {"a": n, "b": 1}) for n in range(1000)])
            assert got == list(range(1, 1001))
            async with await client.subscribe("prices") as subscription:
                await client.publish("prices", "p")
                event = await subscription.get()
                assert event.body == "p"

    asyncio.run(main())


def _child(client: Client, results: Any) -> None:
    results.put(client.call("add", {"a": 20, "b": 22}))


def test_client_in_a_forked_process(daemon: Daemon, client: Client) -> None:
    daemon.worker()
    assert client.call("add", {"a": 1, "b": 1}) == 2
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    # As an object made before the fork, which fork hands over as it is.
    child = context.Process(target=_child, args=(client, results))
    child.start()
    assert results.get(timeout=30) == 42
    child.join(30)
    assert child.exitcode == 0
    assert client.call("add", {"a": 2, "b": 2}) == 4


def test_supervised_worker_ends_when_the_broker_is_gone(
    daemon: Daemon, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = daemon.config.read_text().replace(
        "unserved_grace", 'adopt_grace: "200ms"\nunserved_grace'
    )
    daemon.config.write_text(config)
    daemon.kill()
    daemon.start()
    monkeypatch.setenv("TUSK_SUPERVISED", "1")
    worker = daemon.worker()
    client.call("pid")
    daemon.kill()
    assert worker.wait(20) == 0
