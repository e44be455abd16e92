"""The Python worker of the conformance tests; ../programs.py says what it serves."""

import os
import signal
import threading
import time
from typing import Any

from tuskd import DROP, Context, NoRetry, Worker

worker = Worker()
suffix = os.environ.get("TUSK_TEST_SUFFIX", "-python")


@worker.task("echo" + suffix)
def echo(body: Any) -> Any:
    return body


@worker.task("fail" + suffix)
def fail(message: str) -> None:
    raise ValueError(message)


@worker.task("panic" + suffix)
def panic(message: str) -> None:
    raise ValueError(message)


@worker.task("noretry" + suffix)
def noretry(message: str) -> None:
    raise NoRetry(message)


@worker.task("crash" + suffix)
def crash(body: Any, *, context: Context) -> Any:
    if context.attempt <= body["attempts"]:
        os.kill(os.getpid(), body["signal"])
        time.sleep(60)
    return body


@worker.task("sleep" + suffix)
def sleep(ms: int, *, context: Context) -> int:
    end = time.monotonic() + ms / 1000
    while time.monotonic() < end:
        context.check()
        time.sleep(0.005)
    return ms


@worker.task("count" + suffix)
def count(body: Any, *, context: Context) -> Any:
    line = f"{context.id.hex()} {context.attempt} {body['n']} {context.type}\n"
    os.write(counts, line.encode())
    return body


@worker.task("unserialisable" + suffix)
def unserialisable(_body: Any) -> Any:
    return object()


def marked(item: dict[str, Any], name: str) -> Any:
    if item["drop"] == name:
        return DROP
    return item | {"path": [*item["path"], name]}


@worker.stage("mark" + suffix)
def mark(item: Any) -> Any:
    return marked(item, "mark" + suffix)


@worker.stage("batch" + suffix, batch=8, wait=0.005)
def batch(items: Any) -> Any:
    assert isinstance(items, list) and len(items) <= 8
    return [marked(item, "batch" + suffix) for item in items]


def print_lines(pause: float) -> None:
    n = 0
    while True:
        n += 1
        print(f"line {n}", flush=True)
        time.sleep(pause)


def fork_child() -> None:
    """The child keeps the sockets of its parent open, and is still there when that was killed."""
    while not os.listdir("/proc/self/task")[1:]:  # the SDK's threads: the sockets are there
        time.sleep(0.01)
    time.sleep(0.2)
    parent = os.getpid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        while os.getppid() == parent:
            time.sleep(0.1)
        time.sleep(5)
        os._exit(0)


counts = -1
if "TUSK_TEST_COUNTS" in os.environ:
    counts = os.open(os.environ["TUSK_TEST_COUNTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
if "TUSK_TEST_PRINT" in os.environ:
    pause = int(os.environ["TUSK_TEST_PRINT"]) / 1000
    threading.Thread(target=print_lines, args=(pause,), daemon=True).start()
if "TUSK_TEST_FORK" in os.environ:
    threading.Thread(target=fork_child, daemon=True).start()
worker.run()
