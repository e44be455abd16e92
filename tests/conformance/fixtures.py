"""What tests of real programs share: the built programs, a broker with all of them, and words for
what is asked of them.

A test's parameter `client` is the language that asks, `worker` the one whose handler runs; the
other side is a language that changes from case to case.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Tuskd, wait_for

from .programs import (
    LANGUAGES,
    ROOT,
    ClientProgram,
    Program,
    ProgramError,
    WorkerProgram,
    command,
    end_all,
    go_programs,
)

clients = pytest.mark.parametrize("client", LANGUAGES)
workers = pytest.mark.parametrize("worker", LANGUAGES)
languages = pytest.mark.parametrize("language", LANGUAGES)

SOON = [20, 20, 1, 0]  # a back-off of 20 ms
# A busy machine is late with everything; only what must not be too early is measured closely.
LONG = 60_000


@pytest.fixture(scope="session")
def built() -> None:
    """The programs of all languages are there."""
    go_programs()
    if not (ROOT / "workers" / "js" / "dist" / "index.js").exists():
        subprocess.run(["npm", "run", "--silent", "build"], cwd=ROOT / "workers" / "js", check=True)
    program = Path(command("cpp", "client")[0])
    if not program.exists():
        pytest.fail(f"{program} is missing: scripts/build release")


class Programs:
    """Starts programs for one test and ends them with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[Program] = []

    def worker(self, language: str, url: str, **options: Any) -> WorkerProgram:
        program = WorkerProgram(language, url, self.folder, **options)
        self.all.append(program)
        return program

    def client(self, language: str, url: str, **env: str) -> ClientProgram:
        program = ClientProgram(language, url, self.folder, **env)
        self.all.append(program)
        return program

    def end(self) -> None:
        end_all(self.all)


@pytest.fixture
def programs(built: None, tmp_path: Path) -> Iterator[Programs]:
    programs = Programs(tmp_path)
    yield programs
    programs.end()


def wait_for_workers(broker: Tuskd, *names: str) -> list[dict[str, Any]]:
    """Waits until workers of these names are there, and returns what is known of all."""

    def there() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = broker.query("workers")
        return found if set(names) <= {w["name"] for w in found} else None

    return wait_for(there, f"the workers {', '.join(names)}", 60)  # type: ignore[no-any-return]


class World:
    """A broker with a worker and a client of every language. Workers are `worker-LANGUAGE`, and
    write what they count to `counts`."""

    def __init__(self, broker: Tuskd, programs: Programs) -> None:
        self.broker = broker
        self.counts = programs.folder / "counts"
        counts = {"TUSK_TEST_COUNTS": str(self.counts)}
        self.workers = {lang: programs.worker(lang, broker.url, **counts) for lang in LANGUAGES}
        self.clients = {lang: programs.client(lang, broker.url) for lang in LANGUAGES}
        wait_for_workers(broker, *(f"worker-{lang}" for lang in LANGUAGES))


def make_world(folder: Path, config: str, keys: str) -> Iterator[World]:
    broker = Tuskd(folder, config, keys)
    programs = Programs(folder)
    try:
        broker.start()
        yield World(broker, programs)
    finally:
        programs.end()
        broker.close()


def other(language: str, by: int) -> str:
    """The language `by` places behind this one, in a circle."""
    return LANGUAGES[(LANGUAGES.index(language) + by) % len(LANGUAGES)]


def fails(program: ClientProgram, op: str = "call", **fields: Any) -> ProgramError:
    with pytest.raises(ProgramError) as caught:
        program.do(op, **fields)
    return caught.value


def state(world: World, id: str) -> str:
    return str(world.broker.query("task", {"id": bytes.fromhex(id)})["state"])


def wait_until_it_runs(world: World, id: str) -> None:
    wait_for(lambda: state(world, id) == "running", "the task to run")
