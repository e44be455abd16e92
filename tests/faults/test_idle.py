"""What tuskd costs when nobody wants anything of it."""

import time
from pathlib import Path

import pytest
from conformance.fixtures import Programs, wait_for_workers
from conformance.programs import LANGUAGES

PEERS = 20


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads: as utime + stime of stat, but in nanoseconds."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def idle_share(tuskd, programs: Programs, seconds: float) -> float:
    broker = tuskd()
    for language in LANGUAGES:
        programs.worker(language, broker.url)
    wait_for_workers(broker, *(f"worker-{language}" for language in LANGUAGES))
    for language in LANGUAGES:
        client = programs.client(language, broker.url)
        assert client.call(f"echo-{language}", 1) == 1
    for _ in range(PEERS - 2 * len(LANGUAGES)):
        broker.peer()
    assert broker.query("status")["sessions"] == PEERS
    time.sleep(1)  # what the start leaves behind: acknowledgements, spinning
    before, start = cpu_seconds(broker.pid), time.monotonic()
    time.sleep(seconds)  # this is a measurement: the one place that waits for time
    share = (cpu_seconds(broker.pid) - before) / (time.monotonic() - start)
    print(f"{share:.3%} of a core over {seconds} s with {PEERS} idle peers")
    return share


def test_idle_for_five_seconds(tuskd, programs: Programs) -> None:
    assert idle_share(tuskd, programs, 5) < 0.005


def test_idle_for_half_a_minute(tuskd, programs: Programs, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--long"):
        pytest.skip("--long")
    assert idle_share(tuskd, programs, 30) < 0.002
