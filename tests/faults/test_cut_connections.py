"""Connections that are reset in the middle of traffic: nobody may notice."""

import random
import time
from collections.abc import Iterator

import pytest
from conformance.fixtures import Programs, wait_for_workers
from conformance.programs import LANGUAGES, Load

from .counts import Counts
from .proxy import Proxy

CUTTING = 6.0  # seconds


@pytest.fixture
def proxies() -> Iterator[list[Proxy]]:
    proxies: list[Proxy] = []
    yield proxies
    for proxy in proxies:
        proxy.close()


def test_cut_again_and_again_nothing_is_lost_and_nothing_runs_twice(
    tuskd, programs: Programs, proxies: list[Proxy], tmp_path
) -> None:
    # A busy machine may take longer than a second to connect again.
    broker = tuskd("[ipc_patterns]\nrequest_reply: {timeout_ms: 120000}", "reconnect_grace: 60s")
    proxy = Proxy(broker.url)
    proxies.append(proxy)
    counts = Counts(tmp_path / "counts")
    for language in LANGUAGES:
        programs.worker(language, proxy.url, TUSK_TEST_COUNTS=str(counts.file))
    wait_for_workers(broker, *(f"worker-{language}" for language in LANGUAGES))
    clients = [programs.client(language, proxy.url) for language in LANGUAGES]
    for client in clients:
        assert client.call("echo-cpp", "ready") == "ready"
    types = [f"count-{language}" for language in LANGUAGES]
    answers = [
        client.ask("load", types=types, seconds=CUTTING, in_flight=100) for client in clients
    ]
    end = time.monotonic() + CUTTING
    while time.monotonic() < end:
        time.sleep(random.uniform(0.05, 0.3))
        proxy.cut(share=random.choice((0.3, 1.0)))
    loads = [Load(answer.get(120)) for answer in answers]
    for client, load in zip(clients, loads, strict=True):
        load.check_all_succeeded(client.name)
        assert load.sent > 100, f"{client.name} got through {load.sent} only: that tests nothing"
    counts.check_each_ran_once(sum(load.sent for load in loads))
    assert {(line[1]) for line in counts.lines()} == {"1"}, "attempts"
    counters = broker.query("status")["counters"]
    assert (counters["dead"], counters["crashed"], counters["failed"]) == (0, 0, 0)
    assert counters["sessions_resumed"] > 20 and proxy.cuts > 20
    print(
        f"{sum(load.sent for load in loads)} tasks, {proxy.cuts} connections cut, "
        f"{counters['sessions_resumed']} resumed, {counters['packets_duplicate']} packets twice"
    )
