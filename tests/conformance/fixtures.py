"""What tests of real programs share: the built programs, and a broker with all of them."""

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
    WorkerProgram,
    command,
    end_all,
    go_programs,
)


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
