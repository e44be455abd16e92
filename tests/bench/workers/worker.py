"""A Python worker of the echo benchmark."""

from typing import Any

from tuskd import Worker

worker = Worker(slots=1000)


@worker.task("noop-python")
def noop(body: Any) -> None:
    return None


worker.run()
