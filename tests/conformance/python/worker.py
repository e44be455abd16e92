"""The Python worker of the conformance tests; ../programs.py says what it serves."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from tuskd import DROP, Context, Defer, NoRetry, Worker

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


@worker.task("flaky" + suffix)
def flaky(body: dict[str, Any], *, context: Context) -> int:
    if context.attempt <= body["fails"]:
        raise type(body.get("type", "Flaky"), (Exception,), {})(f"run {context.attempt}")
    return context.attempt


@worker.task("deferring" + suffix)
def deferring(body: dict[str, Any], *, context: Context) -> int:
    if context.attempt <= body["times"]:
        raise Defer(body["after"] / 1000)
    return context.attempt


@worker.task("pausing" + suffix)
def pausing(body: dict[str, Any], *, context: Context) -> None:
    context.pause_type(body["pause"] / 1000)


@worker.task("progressing" + suffix)
def progressing(body: dict[str, Any], *, context: Context) -> int:
    steps: int = body["steps"]
    for step in range(1, steps + 1):
        context.progress(step)
        context.log("info", f"step {step}")
        time.sleep(body.get("pause", 0) / 1000)
    return steps


@worker.task("checkpointed" + suffix)
def checkpointed(body: dict[str, Any], *, context: Context) -> list[Any]:
    if context.attempt <= body["fails"]:
        context.checkpoint(body["value"])
        time.sleep(body.get("hang", 0) / 1000)
        raise RuntimeError(f"run {context.attempt}")
    return [context.attempt, context.last_checkpoint]


def sleep_unless_cancelled(seconds: float, context: Context) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        context.check()
        time.sleep(0.005)


@worker.task("beating" + suffix)
def beating(body: dict[str, Any], *, context: Context) -> int:
    for _ in range(body["beats"]):
        sleep_unless_cancelled(body["every"] / 1000, context)
        context.heartbeat()
    sleep_unless_cancelled(body.get("silent", 0) / 1000, context)
    beats: int = body["beats"]
    return beats


@worker.task("time_left" + suffix)
def time_left(_body: Any, *, context: Context) -> int | None:
    return None if context.time_left is None else round(context.time_left * 1000)


@worker.task("costing" + suffix)
def costing(body: dict[str, Any], *, context: Context) -> int:
    context.set_cost(body["cost"])
    cost: int = body["cost"]
    return cost


@worker.task("stubborn" + suffix)
def stubborn(ms: int) -> int:
    time.sleep(ms / 1000)
    return ms


@worker.task("stopping" + suffix)
def stopping(_body: Any, *, context: Context) -> None:
    while not context.cancelled:
        time.sleep(0.005)
    line = f"{context.id.hex()} {context.attempt} {context.cancel_reason} {context.type}\n"
    os.write(counts, line.encode())
    context.check()


@worker.task("streaming" + suffix)
def streaming(body: dict[str, Any], context: Context) -> Iterator[int]:
    chunks: int = body["chunks"]
    fails = context.attempt <= body.get("fails", 0)
    for n in range(1, (chunks // 2 if fails else chunks) + 1):
        yield n
        time.sleep(body.get("pause", 0) / 1000)
    if fails:
        raise RuntimeError(f"run {context.attempt}")
    return chunks


@worker.task("labelled" + suffix)
def labelled(_body: Any, *, context: Context) -> dict[str, str]:
    return context.labels


@worker.task("parenting" + suffix)
def parenting(body: dict[str, Any], *, context: Context) -> list[Any]:
    return context.gather([context.submit(body["type"], each) for each in body["bodies"]])


@worker.task("nesting" + suffix)
def nesting(body: dict[str, Any], *, context: Context) -> int:
    if body["depth"] == 0:
        return 1
    below = body | {"depth": body["depth"] - 1}
    children = [context.submit(body["type"], below) for _ in range(body["width"])]
    return sum(context.gather(children)) + 1


@worker.task("whereami" + suffix)
def whereami(_body: Any) -> str:
    return os.environ["TUSK_WORKER"]


def at_most(batch: int) -> int:
    return min(batch, worker.slots)


@worker.task("batching" + suffix, batch=at_most(3), wait=0.2)
def batching(bodies: Any) -> Any:
    return [[body, len(bodies)] for body in bodies]


def marked(item: dict[str, Any], name: str) -> Any:
    if item["drop"] == name:
        return DROP
    return item | {"path": [*item["path"], name]}


@worker.stage("mark" + suffix)
def mark(item: Any) -> Any:
    return marked(item, "mark" + suffix)


@worker.stage("batch" + suffix, batch=at_most(8), wait=0.005)
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
