"""kill -9 of workers: at random under load, and by a task that takes its worker down."""

import itertools
import random
import signal
import statistics
import subprocess
import time
from pathlib import Path

import pytest
from conformance.fixtures import Programs, wait_for_workers
from conformance.programs import LANGUAGES, Load, ProgramError, WorkerProgram, tag
from conftest import Tuskd, wait_for

from .counts import Counts

CLIENTS, WORKERS = 100, 20


def rss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def has_child(pid: int) -> bool:
    found = subprocess.run(["pgrep", "-P", str(pid)], check=False, capture_output=True)
    return found.returncode == 0


class Crew:
    """Workers of all languages in turn, for plain type names. One of them forks a child."""

    def __init__(self, broker: Tuskd, programs: Programs, size: int) -> None:
        self.broker = broker
        self.programs = programs
        self.numbers = itertools.count()
        self.kills = 0
        self.workers = [self.start(LANGUAGES[n % 4]) for n in range(size)]
        wait_for_workers(broker, *(worker.name for worker in self.workers))
        wait_for(lambda: has_child(self.workers[0].pid), "the forked child")

    def start(self, language: str) -> WorkerProgram:
        n = next(self.numbers)
        env = {"TUSK_TEST_SUFFIX": ""}
        if language == "python" and n % WORKERS == 0:
            env["TUSK_TEST_FORK"] = "1"
        return self.programs.worker(
            language, self.broker.url, name=f"{language}-{n}", slots=8, **env
        )

    def kill_one(self) -> None:
        at = random.randrange(len(self.workers)) if self.kills else 0  # first: the one with a child
        killed = self.workers[at]
        killed.kill()
        self.kills += 1
        self.workers[at] = self.start(killed.language)


def chaos(tuskd, programs: Programs, seconds: float) -> tuple[Tuskd, list[tuple[float, int]]]:
    """Load and kills for so long; everything has ended when it returns. RSS by time."""
    # Random kills may hit a task often; here no task is bad, so none may be given up.
    broker = tuskd(
        "[ipc_patterns]\nrequest_reply: {timeout_ms: 120000}",
        "max_crashes: 1000\nunserved_grace: 60s\nended_window: 20000",
    )
    crew = Crew(broker, programs, WORKERS)
    clients = [programs.client(language, broker.url) for language in LANGUAGES]
    for client in clients:
        assert client.call("echo", "ready") == "ready"
    load = {"types": ["echo"], "seconds": seconds, "in_flight": 5, "clients": CLIENTS // 4}
    answers = [client.ask("load", **load) for client in clients]
    start = time.monotonic()
    rss: list[tuple[float, int]] = []
    next_kill = start + 0.5
    while (now := time.monotonic()) < start + seconds:
        rss.append((now - start, rss_kib(broker.pid)))
        if now > next_kill:
            crew.kill_one()
            next_kill = now + random.uniform(0.3, 1.0)
        time.sleep(0.1)
    loads = [Load(answer.get(180)) for answer in answers]
    for client, found in zip(clients, loads, strict=True):
        found.check_all_succeeded(client.name)
        assert found.sent > 100, f"{client.name} got through {found.sent} only: that tests nothing"
    counters = broker.query("status")["counters"]
    assert counters["crashed"] > 0
    assert counters["succeeded"] >= sum(found.sent for found in loads)
    assert (counters["dead"], counters["failed"], counters["cancelled"]) == (0, 0, 0)
    print(
        f"{sum(found.sent for found in loads)} tasks, {crew.kills} workers killed, "
        f"{counters['crashed']} runs lost with them, {counters['requeued']} given to others"
    )
    return broker, rss


def test_ten_seconds_of_killed_workers_every_task_ends_once(tuskd, programs: Programs) -> None:
    chaos(tuskd, programs, 10)


def test_a_minute_of_killed_workers_and_memory_stays(
    tuskd, programs: Programs, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--long"):
        pytest.skip("--long")
    _, rss = chaos(tuskd, programs, 60)
    second = statistics.median(kib for at, kib in rss if 20 <= at < 40)
    last = statistics.median(kib for at, kib in rss if at >= 40)
    print(f"RSS of tuskd: {second} KiB in the second 20 s, {last} KiB in the last")
    assert abs(last - second) <= 0.02 * second


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL], ids=["segfault", "kill"])
def test_a_bad_task_takes_two_workers_down_and_no_more(
    tuskd, programs: Programs, tmp_path, number: signal.Signals
) -> None:
    broker = tuskd("[ipc_patterns]\nrequest_reply: {timeout_ms: 120000}")
    counts = Counts(tmp_path / "counts")
    workers = [
        programs.worker(
            language,
            broker.url,
            name=f"{language}-{n}",
            slots=4,
            TUSK_TEST_SUFFIX="",
            TUSK_TEST_COUNTS=str(counts.file),
        )
        for language in LANGUAGES
        for n in range(2)
    ]
    wait_for_workers(broker, *(worker.name for worker in workers))
    clients = [programs.client(language, broker.url) for language in LANGUAGES]
    answers = [client.ask("load", types=["count"], seconds=600, in_flight=20) for client in clients]
    wait_for(lambda: counts.total() > 500, "tasks to run")
    bad = tag({"signal": int(number), "attempts": 1000})
    with pytest.raises(ProgramError) as caught:
        clients[0].do("call", type="crash", body=bad, timeout=120_000)
    error = caught.value
    assert (error.kind, error.code, error.attempt) == ("TaskDead", "dead", 2)
    names = [worker.name for worker in workers]
    assert error.worker in names and error.worker in error.message, error.message
    so_far = counts.total()
    wait_for(lambda: counts.total() > so_far + 500, "tasks to go on")
    for client in clients:
        client.do("stop")
    for client, answer in zip(clients, answers, strict=True):
        Load(answer.get(120)).check_all_succeeded(client.name)
    dead = [worker.name for worker in workers if not worker.is_running()]
    assert len(dead) == 2, f"{dead} died of one task"
    counters = broker.query("status")["counters"]
    assert (counters["dead"], counters["failed"]) == (1, 0)
    broker.wait_log(r"(?i)crash|died")
