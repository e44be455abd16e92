"""Reloads of every kind while clients in four languages run tasks: no task is lost.

One load runs under all tests of this file. It is checked at its end: every task succeeded, and ran
once.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance.fixtures import Programs, wait_for_workers
from conformance.programs import LANGUAGES, Load
from conftest import Tuskd, wait_for
from peer import (
    ACCEPTED,
    ANSWER,
    CANCEL,
    ERROR,
    EVENT,
    PUBLISH,
    PUSH,
    RESULT,
    SUBMIT,
    SUBSCRIBE,
    SUCCEEDED,
    TASK,
    UNSUBSCRIBE,
    Peer,
    ReqPeer,
    pack,
    task_id,
    unpack,
)

from .counts import Counts
from .supervised import entry, processes_of

PATTERNS = """
[ipc_patterns]
request_reply: {{timeout_ms: {timeout}}}
publish_subscribe: {{topics: [{topics}]}}
pipeline: {{stages: [{stages}]}}
"""


class Busy:
    """A broker under load, whose configuration is put together from parts."""

    def __init__(self, folder: Path) -> None:
        self.counts = Counts(folder / "counts")
        self.programs = Programs(folder)
        self.patterns = {"timeout": "120000", "topics": '"news"', "stages": '"one"'}
        self.sections: dict[str, str] = {}
        self.keys: dict[str, str] = {"unserved_grace": "60s"}
        self.broker = Tuskd(folder, self._config(), self._keys())
        self.broker.start()
        for language in LANGUAGES:
            self.programs.worker(language, self.broker.url, TUSK_TEST_COUNTS=str(self.counts.file))
        wait_for_workers(self.broker, *(f"worker-{language}" for language in LANGUAGES))
        self.clients = [self.programs.client(x, self.broker.url) for x in LANGUAGES]
        self.loads: list[Load] = []
        types = [f"count-{language}" for language in LANGUAGES]
        self.answers = [
            client.ask("load", types=types, seconds=600, in_flight=8) for client in self.clients
        ]
        self.goes_on()

    def _config(self) -> str:
        texts = [f"[{name}]\n{text}\n" for name, text in self.sections.items()]
        return PATTERNS.format(**self.patterns) + "\n".join(texts)

    def _keys(self) -> str:
        return "\n".join(f"{key}: {value}" for key, value in self.keys.items())

    def goes_on(self) -> None:
        so_far = self.counts.total()
        wait_for(lambda: self.counts.total() > so_far + 200, "tasks to go on")

    def reload(self) -> str:
        """Applies the parts as they are now; returns what the log says of it."""
        so_far = len(self.broker.log_text())
        self.broker.reload(self._config(), self._keys())
        said = self.broker.log_text()[so_far:]
        self.goes_on()
        return said

    def apply(self) -> None:
        said = self.reload()
        assert "refused" not in said, said

    def end(self) -> None:
        try:
            for client in self.clients:
                client.do("stop")
            for client, answer in zip(self.clients, self.answers, strict=True):
                load = Load(answer.get(120))
                load.check_all_succeeded(client.name)
                self.loads.append(load)
            self.counts.check_each_ran_once(sum(load.sent for load in self.loads))
            counters = self.broker.query("status")["counters"]
            print(f"{self.counts.total()} tasks, {counters['reloads']} reloads")
        finally:
            self.programs.end()
            self.broker.close()


@pytest.fixture(scope="module")
def busy(built: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    busy = Busy(tmp_path_factory.mktemp("busy"))
    yield busy
    busy.end()


@pytest.fixture(autouse=True)
def as_before(busy: Busy) -> Iterator[None]:
    """Each test leaves the configuration as it found it."""
    before = dict(busy.patterns), dict(busy.sections), dict(busy.keys)
    yield
    busy.patterns, busy.sections, busy.keys = before
    busy.apply()


def running_on(peer: Peer, count: int) -> list[list]:
    return [peer.task() for _ in range(count)]


def test_types(busy: Busy) -> None:
    busy.sections["types"] = "limited: {max_waiting: 2, unserved: wait}"
    busy.apply()
    client = busy.broker.peer()
    tasks = [client.submit("limited", n) for n in range(3)]
    assert client.result(tasks[2][0])[2] == "full"
    # A type that holds something cannot go.
    del busy.sections["types"]
    assert 'type "limited" cannot go: it holds 2 tasks' in busy.reload()
    assert {"limited"} <= {t["name"] for t in busy.broker.query("types")}
    for number, id in tasks[:2]:
        client.send([CANCEL, client.request(), id])
        client.result(number)
    client.close()


def test_pools(busy: Busy) -> None:
    go = busy.broker.peer(role="worker", language="go", types=["pooled"])
    python = busy.broker.peer(role="worker", language="python", types=["pooled"])
    client = busy.broker.peer()
    first, second = client.submit("pooled", 1), client.submit("pooled", 2)
    go.answer(go.task())
    python.answer(python.task())
    for number, _ in (first, second):
        assert client.result(number)[2] == SUCCEEDED
    busy.sections["task_distribution"] = 'python_tasks: ["pooled"]'
    busy.apply()
    for n in range(4):
        number, _ = client.submit("pooled", n)
        python.answer(python.task())
        assert client.result(number)[2] == SUCCEEDED
    assert not any(record[0] == TASK for record, _ in go.inbox) and not go.poll(0)
    for peer in (go, python, client):
        peer.close()


def test_load_balancing(busy: Busy) -> None:
    first = busy.broker.peer(role="worker", types=["balanced"], slots=20)
    client = busy.broker.peer()
    for n in range(4):
        client.submit("balanced", n)
    held = running_on(first, 4)
    second = busy.broker.peer(role="worker", types=["balanced"], slots=20)
    for n in range(4):
        client.submit("balanced", n)
    held += running_on(first, 2)  # in turn
    held_by_second = running_on(second, 2)
    busy.sections["types"] = "balanced: {load_balancing: least_connections}"
    busy.apply()
    for n in range(4):
        client.submit("balanced", n)
    held_by_second += running_on(second, 4)  # 6 against 2: all four go to the second
    for peer, tasks in ((first, held), (second, held_by_second)):
        for task in tasks:
            peer.answer(task)
    for _ in range(12):
        assert client.receive(RESULT)[0][2] == SUCCEEDED
    for peer in (first, second, client):
        peer.close()


def test_topics(busy: Busy) -> None:
    client = busy.broker.peer()
    client.send([PUBLISH, client.request(), "more", pack(1)])
    assert client.receive(ERROR)[0][2] == "unknown_topic"
    busy.patterns["topics"] = '"news", "more"'
    busy.apply()
    client.send([SUBSCRIBE, client.request(), "more"])
    client.receive(ACCEPTED)
    client.send([PUBLISH, client.request(), "more", pack("text")])
    assert unpack(client.receive(EVENT)[0][3]) == "text"
    busy.patterns["topics"] = '"news"'
    assert 'topic "more" cannot go: it has 1 subscribers' in busy.reload()
    client.send([UNSUBSCRIBE, client.request(), "more"])
    client.receive(ACCEPTED)
    client.close()


def test_stages(busy: Busy) -> None:
    client = busy.broker.peer()
    worker = busy.broker.peer(role="worker", handlers=["one", "two"], slots=4)
    client.send([PUSH, client.request(), task_id(), "one", pack(1)])
    client.receive(ACCEPTED)
    worker.answer(worker.task(), 2)  # leaves the pipeline
    busy.patterns["stages"] = '"one", "two"'
    busy.apply()
    client.send([PUSH, client.request(), task_id(), "one", pack(1)])
    worker.answer(worker.task(), 2)
    item = worker.task()
    assert (item[3], unpack(item[5])) == ("two", 2)
    busy.patterns["stages"] = '"one"'
    assert 'stage "two" cannot go: it holds 1 items' in busy.reload()
    worker.answer(item, 3)
    wait_for(lambda: busy.broker.query("stages")[1]["running"] == 0, "the item to leave")
    worker.close()
    client.close()


def test_time_outs(busy: Busy) -> None:
    assert busy.broker.peer().welcome["timeout"] == 120_000
    busy.patterns["timeout"] = "50"
    busy.sections["types"] = "nobody: {unserved: wait}"
    busy.apply()
    assert busy.broker.peer().welcome["timeout"] == 50
    id = task_id()
    with ReqPeer(busy.broker.url) as peer:
        assert peer.ask([SUBMIT, 1, id, "nobody", pack(1)])[2] == "timeout"
    client = busy.broker.peer()
    client.send([CANCEL, client.request(), id])
    client.receive(ANSWER)


def test_limits(busy: Busy) -> None:
    busy.keys["max_body"] = "1MB"
    busy.apply()
    client = busy.broker.peer()
    assert client.welcome["limits"]["body"] == 1 << 20
    client.send([SUBMIT, 1, task_id(), "echo-cpp", 1], bodies=[pack(b"x" * (2 << 20))])
    error = client.result(1)
    assert (error[2], error[4]["limit"], error[4]["value"]) == ("too_large", "body", 1 << 20)


def test_log_level(busy: Busy) -> None:
    def changes() -> int:
        return busy.broker.counter("reloads")

    before = changes()
    busy.keys["log_level"] = "error"
    busy.broker.config, busy.broker.tuskd_keys = busy._config(), busy._keys()
    busy.broker.write_config()
    busy.broker.signal(1)
    wait_for(lambda: changes() == before + 1, "the reload")
    so_far = len(busy.broker.log_text())
    busy.broker.peer().send_raw([b"\xc1 is no msgpack"])
    busy.broker.signal(1)
    wait_for(lambda: changes() == before + 2, "the reload")
    assert busy.broker.log_text()[so_far:] == "", "warnings and less are not logged"
    # as_before waits for a line of level info, so the level is back.


def test_workers_are_added_changed_multiplied_and_removed(busy: Busy) -> None:
    broker = busy.broker
    env = {"TUSK_TEST_SUFFIX": "-extra", "TUSK_TEST_COUNTS": str(busy.counts.file)}

    def names() -> list[str]:
        return sorted(processes_of(broker).values())

    busy.sections["workers"] = entry("cpp", "extra", **env)
    busy.apply()
    wait_for_workers(broker, "extra")
    (first,) = processes_of(broker)
    clients = [busy.programs.client(language, broker.url) for language in LANGUAGES]
    answers = [
        client.ask("load", types=["count-extra"], seconds=600, in_flight=8) for client in clients
    ]
    busy.goes_on()

    busy.sections["workers"] = entry("cpp", "extra", more="  slots: 3", **env)
    busy.apply()  # changed: replaced
    wait_for(lambda: first not in processes_of(broker) and names() == ["extra"], "another process")
    wait_for(lambda: [w["slots"] for w in broker.query("workers") if w["name"] == "extra"] == [3])
    busy.goes_on()

    busy.sections["workers"] = entry("cpp", "extra", more="  slots: 3\n  instances: 3", **env)
    busy.apply()
    wait_for_workers(broker, "extra-1", "extra-2", "extra-3")
    wait_for(lambda: names() == ["extra-1", "extra-2", "extra-3"], "three processes")
    kept = processes_of(broker)
    busy.goes_on()

    busy.sections["workers"] = entry("cpp", "extra", more="  slots: 3\n  instances: 2", **env)
    busy.apply()
    wait_for(lambda: names() == ["extra-1", "extra-2"], "two processes")
    assert processes_of(broker).items() <= kept.items(), "the others stay"
    busy.goes_on()

    for client in clients:
        client.do("stop")
    for client, answer in zip(clients, answers, strict=True):
        load = Load(answer.get(120))
        load.check_all_succeeded(client.name)
        busy.loads.append(load)
    del busy.sections["workers"]
    busy.apply()
    wait_for(lambda: names() == [], "no process")


def test_a_file_that_is_wrong_changes_nothing(busy: Busy) -> None:
    busy.sections["types"] = "limited: {max_waiting: many}"
    said = busy.reload()
    assert re.search(r"reload refused.*", said)
    assert re.search(r"orchestration\.tsk:\d+:\d+", said), said
