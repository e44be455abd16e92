from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from fake_broker import FakeBroker

from tuskd import Client, Worker

# For the programs that tests start.
SOURCE = str(Path(__file__).parents[1] / "src")
os.environ["PYTHONPATH"] = os.pathsep.join([SOURCE, *filter(None, [os.environ.get("PYTHONPATH")])])

Start = Callable[..., Future[Any]]

ID = b"0123456789abcdef"
Running = Callable[[Worker], Any]


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    client = Client(url)
    yield client
    client.close(0.0)


@pytest.fixture
def start() -> Start:
    """Runs a call that blocks in a thread of its own."""

    def begin(function: Callable[..., Any], *args: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(function(*args, **options))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return future

    return begin


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/router"


@pytest.fixture
def make_broker(url: str) -> Iterator[Callable[..., FakeBroker]]:
    made: list[FakeBroker] = []

    def make(where: str = "", **welcome: Any) -> FakeBroker:
        made.append(FakeBroker(url + where, **welcome))
        return made[-1]

    yield make
    for broker in made:
        if not broker.context.closed:
            broker.close()


@pytest.fixture
def broker(make_broker: Callable[..., FakeBroker]) -> FakeBroker:
    return make_broker()


@pytest.fixture
def running(start: Start) -> Iterator[Running]:
    """Runs workers in threads and stops them at the end."""
    started: list[tuple[Worker, Any]] = []

    def begin(worker: Worker) -> Any:
        started.append((worker, start(worker.run)))
        return started[-1][1]

    yield begin
    for worker, future in started:
        if not future.done():
            worker.stop(0.0)
            future.exception(10)


def answers(broker: FakeBroker, *tasks: list[Any], frames: list[bytes] | None = None) -> list[Any]:
    broker.say(*tasks, frames=frames)
    return [broker.expect(32) for _ in tasks]
