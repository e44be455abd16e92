"""A run that does not stop when told to: its worker is replaced, and nobody else pays for it."""

import pytest
from conformance.fixtures import wait_for_workers
from conformance.programs import LANGUAGES
from conftest import wait_for
from peer import FAILED, SUCCEEDED

from .supervised import entry, processes_of

RUN_TIMEOUT, ATTEMPTS, FOLLOW_ERROR, ATTEMPT = 5, 7, 2, 4
TIMES = "cancel_grace: 300ms\nhang_kill: 400ms"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_hung_worker_of_tuskd_is_replaced(tuskd, built, language: str) -> None:
    broker = tuskd("[workers]\n" + entry(language, more="  slots: 2"), TIMES)
    (worker,) = wait_for_workers(broker, language)
    client = broker.peer()
    hung, _ = client.submit(
        f"stubborn-{language}", 600_000, attributes={RUN_TIMEOUT: 200, ATTEMPTS: 1}
    )
    innocent, _ = client.submit(f"sleep-{language}", 2500)
    ended = client.result(hung)
    assert ended[2] == FAILED
    assert ended[4][FOLLOW_ERROR]["type"] == "RunTimeout"
    # The other run was on the process that was killed: it runs again elsewhere, and succeeds.
    assert client.result(innocent)[2] == SUCCEEDED
    (after,) = wait_for(
        lambda: [w for w in broker.query("workers") if w["pid"] != worker["pid"]], "another"
    )
    assert list(processes_of(broker).values()) == [language]
    counters = broker.query("status")["counters"]
    assert (counters["hung"], counters["crashed"]) == (1, 0)
    assert counters["requeued"] >= 1
    broker.wait_log(r"kills worker .*, of which a run hangs; it is started again")
    assert after["pid"] in processes_of(broker)


def test_somebody_elses_worker_keeps_its_run_and_its_slot(tuskd) -> None:
    broker = tuskd("", TIMES)
    client, worker = broker.peer(), broker.peer(role="worker", types=["add"], slots=2)
    hung, _ = client.submit("add", attributes={RUN_TIMEOUT: 100, ATTEMPTS: 1})
    run = worker.task()
    broker.wait_log(r"a run of type add on worker .* hangs")
    assert broker.query("workers")[0]["running"] == 1
    number, _ = client.submit("add")
    worker.answer(worker.task(), 1)
    assert client.result(number)[2] == SUCCEEDED
    worker.answer(run, 2)
    assert client.result(hung)[2] == SUCCEEDED, "late, but it is the first word on the task"
