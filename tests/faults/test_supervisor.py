"""tuskd and the worker processes that it starts: its death, its end, and theirs."""

import os
import signal

import pytest
from conformance.fixtures import wait_for_workers
from conformance.programs import LANGUAGES
from conftest import Tuskd, wait_for
from peer import SUCCEEDED

from .supervised import all_languages, entry, lines_of, printed, processes_of

PAUSE = "20"  # ms between two lines that a worker prints
LOGGED_TWICE = 100  # lines of up to two seconds (one, and a busy machine) may be


def stop(broker: Tuskd) -> None:
    """SIGTERM ends tuskd and all that it started, and nobody has to be killed."""
    assert broker.stop() == 0
    assert processes_of(broker) == {}
    assert "did not end within" not in broker.log_text()


def test_workers_print_on_while_tuskd_is_dead_and_are_adopted(tuskd, built) -> None:
    broker = tuskd(all_languages(TUSK_TEST_PRINT=PAUSE), "adopt_grace: 60s")
    wait_for_workers(broker, *LANGUAGES)
    wait_for(lambda: all(len(lines_of(broker, x)) > 20 for x in LANGUAGES), "lines in the log")
    before = processes_of(broker)
    assert sorted(before.values()) == sorted(LANGUAGES)

    broker.kill()
    place = len(broker.log_text())
    at_kill = {language: printed(broker, language)[-1] for language in LANGUAGES}
    wait_for(
        lambda: all(printed(broker, x)[-1] > at_kill[x] + 50 for x in LANGUAGES),
        "lines that are printed while there is no tuskd",
    )
    assert processes_of(broker) == before, "they live on"

    broker.start()
    wait_for_workers(broker, *LANGUAGES)
    back = {language: printed(broker, language)[-1] for language in LANGUAGES}
    wait_for(
        lambda: all(lines_of(broker, x, place)[-1:] > [back[x] + 20] for x in LANGUAGES),
        "the lines in the log of the next tuskd",
    )
    assert processes_of(broker) == before, "adopted, none doubled"
    assert sorted(w["name"] for w in broker.query("workers")) == sorted(LANGUAGES)
    for language in LANGUAGES:
        everything = lines_of(broker, language)
        assert sorted(set(everything)) == list(range(1, max(everything) + 1)), "none is missing"
        later = lines_of(broker, language, place)
        assert later == list(range(later[0], later[-1] + 1)), "in order, each once"
        twice = [n for n in later if n <= at_kill[language]]
        assert len(twice) <= LOGGED_TWICE, f"{len(twice)} lines from before the kill again"
    stop(broker)


def test_workers_end_when_no_tuskd_comes_back(tuskd, built) -> None:
    broker = tuskd(all_languages(TUSK_TEST_PRINT=PAUSE), "adopt_grace: 1s")
    client = broker.peer()
    for language in LANGUAGES:  # one that answers has read what adopt_grace is
        number, _ = client.submit(f"echo-{language}")
        assert client.result(number)[2] == SUCCEEDED
    assert len(processes_of(broker)) == 4
    broker.kill()
    assert len(processes_of(broker)) == 4
    wait_for(lambda: not processes_of(broker), "all workers to end by themselves", 60)


def test_sigterm_ends_all_workers(tuskd, built) -> None:
    broker = tuskd(all_languages())
    wait_for_workers(broker, *LANGUAGES)
    assert len(processes_of(broker)) == 4
    stop(broker)


def test_a_worker_that_is_killed_is_started_again(tuskd, built) -> None:
    broker = tuskd("[workers]\n" + entry("cpp"))
    (first,) = wait_for_workers(broker, "cpp")
    os.kill(first["pid"], signal.SIGKILL)
    wait_for(lambda: [w for w in broker.query("workers") if w["pid"] != first["pid"]], "another")
    assert list(processes_of(broker).values()) == ["cpp"]
    broker.wait_log(r"worker cpp ended by itself, .*; starts again in")


def test_a_command_that_does_not_exist_is_said_and_harms_nobody(tuskd, built) -> None:
    config = "[workers]\nmissing:\n  language: go\n  command: /nowhere/at-all --now\n" + entry(
        "cpp"
    )
    broker = tuskd(config)
    said = broker.wait_log(r"worker missing .*").group(0)
    assert "/nowhere/at-all" in said and "No such file" in said
    wait_for_workers(broker, "cpp")
    client, worker = broker.peer(), broker.peer(role="worker", types=["add"])
    number, _ = client.submit("add", 1)
    worker.answer(worker.task(), 2)
    assert client.result(number)[2] == 1
    assert broker.stop() == 0


def test_a_worker_that_always_fails_is_given_up_with_its_last_words(tuskd, request) -> None:
    # Nine pauses, from 100 ms, each twice the one before: 51 s.
    if not request.config.getoption("--long"):
        pytest.skip("--long")
    broker = tuskd(
        "[workers]\nhopeless:\n  language: go\n"
        """  command: ["sh", "-c", "echo cannot open the database; echo bye; exit 3"]\n"""
    )
    broker.wait_log(r"worker hopeless is given up until the next reload, after 10 deaths", 120)
    assert "it printed last:\n    cannot open the database\n    bye" in broker.log_text()
    assert broker.stop() == 0
