"""kill -9 of the broker under load, and its return: every caller gets one ending, a success."""

from conformance.fixtures import Programs, wait_for_workers
from conformance.programs import LANGUAGES, Load
from conftest import wait_for

from .counts import Counts

KILLS = 5
PROGRESS = 2000  # tasks between two kills


def test_killed_under_load_all_come_back_and_all_tasks_succeed(
    tuskd, programs: Programs, tmp_path
) -> None:
    broker = tuskd("[ipc_patterns]\nrequest_reply: {timeout_ms: 120000}", "unserved_grace: 60s")
    counts = Counts(tmp_path / "counts")
    names = [f"worker-{language}" for language in LANGUAGES]
    for language in LANGUAGES:
        programs.worker(language, broker.url, TUSK_TEST_COUNTS=str(counts.file))
    wait_for_workers(broker, *names)
    clients = [programs.client(language, broker.url) for language in LANGUAGES]
    for client in clients:
        assert client.call("echo-cpp", "ready") == "ready"
    types = [f"count-{language}" for language in LANGUAGES]
    answers = [client.ask("load", types=types, seconds=600, in_flight=50) for client in clients]
    seen = 0
    for _ in range(KILLS):

        def goes_on(before: int = seen) -> bool:
            return counts.total() > before + PROGRESS

        wait_for(goes_on, "tasks to run", 60)
        broker.kill()
        seen = counts.total()
        broker.start()
        wait_for_workers(broker, *names)
    wait_for(lambda: counts.total() > seen + PROGRESS, "tasks to run", 60)
    for client in clients:
        client.do("stop")
    loads = [Load(answer.get(120)) for answer in answers]
    for client, load in zip(clients, loads, strict=True):
        load.check_all_succeeded(client.name)
        assert load.sent > 100, f"{client.name} got through {load.sent} only: that tests nothing"
    # Execution is at least once; that it is nearly always once, the claims see to.
    runs = counts.runs()
    assert len(runs) == sum(load.sent for load in loads)
    print(f"{len(runs)} tasks, {KILLS} kills, {runs.total() - len(runs)} runs more than tasks")
