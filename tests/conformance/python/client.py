"""The Python client that conformance tests drive; ../programs.py says how."""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from tagged import from_tagged, to_tagged

from tuskd import (
    Attempt,
    Backoff,
    BrokerError,
    Client,
    Duplicate,
    StreamRestarted,
    Subscription,
    Task,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TuskError,
    Unavailable,
)

client = Client()
tasks: dict[str, Task] = {}
subscriptions: dict[str, Subscription] = {}
EVENT_FIELDS = ("topic", "sequence", "missed", "retained")
stop = threading.Event()
printing = threading.Lock()


TIMES = (
    "delay",
    "deadline",
    "run_timeout",
    "heartbeat_timeout",
    "unique_for",
    "retention",
)


PLAIN = (
    "priority",
    "attempts",
    "no_retry_on",
    "unique",
    "unique_policy",
    "order_key",
    "limit_key",
    "group",
    "cost",
    "labels",
    "requires",
    "prefers",
    "consumes",
    "sticky_key",
)


def options(command: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "timeout" in command:
        found["timeout"] = command["timeout"] / 1000
    if "id" in command:
        found["id"] = bytes.fromhex(command["id"])
    if "resent" in command:
        found["resent"] = command["resent"]
    for name in TIMES:
        if name in command:
            found[name] = command[name] / 1000
    found |= {name: command[name] for name in PLAIN if name in command}
    if "not_before" in command:
        found["not_before"] = datetime.now(UTC) + timedelta(milliseconds=command["not_before"])
    if "backoff" in command:
        first, most, factor, jitter = command["backoff"]
        found["backoff"] = Backoff(first / 1000, most / 1000, factor, jitter)
    return found


def submit(command: dict[str, Any]) -> str:
    chosen = options(command)
    chosen.pop("timeout", None)  # a Task is waited for as long as one likes
    task = client.submit(command["type"], from_tagged(command["body"]), **chosen)
    tasks[task.id.hex()] = task
    return task.id.hex()


def call(command: dict[str, Any]) -> Any:
    body = from_tagged(command["body"])
    return to_tagged(client.call(command["type"], body, **options(command)))


def follow(command: dict[str, Any]) -> dict[str, Any]:
    progress: list[Any] = []
    logs: list[Any] = []
    result = client.call(
        command["type"],
        from_tagged(command["body"]),
        on_progress=lambda value, _attempt: progress.append(to_tagged(value)),
        on_log=lambda level, text, _attempt: logs.append([level, text]),
        **options(command),
    )
    return {"result": to_tagged(result), "progress": progress, "logs": logs}


def stream(command: dict[str, Any]) -> dict[str, Any]:
    chosen = options(command)
    chosen.pop("timeout", None)
    if "window" in command:
        chosen["window"] = command["window"]
    found = client.stream(command["type"], from_tagged(command["body"]), **chosen)
    chunks: list[Any] = []
    attempts: list[int] = []
    taken = 0
    while True:
        try:
            for chunk in found:
                chunks.append(to_tagged(chunk))
                taken += 1
                if taken == command.get("take"):
                    return {"chunks": chunks}
            return {"chunks": chunks, "result": to_tagged(found.result), "attempts": attempts}
        except StreamRestarted as error:
            chunks.append({"restarted": error.attempt})
            attempts.append(error.attempt)


def filter_of(command: dict[str, Any]) -> Any:
    found = dict(command["filter"])
    if "parent" in found:
        found["parent"] = bytes.fromhex(found["parent"])
    if "age" in found:
        found["age"] /= 1000
    return found


def tasks_of(command: dict[str, Any]) -> list[Any]:
    chosen = {"limit": command["limit"]} if "limit" in command else {}
    return [
        {"id": task.id.hex(), "type": task.type, "state": task.state, "labels": task.labels}
        for task in client.tasks(filter_of(command), **chosen)
    ]


def job(command: dict[str, Any]) -> dict[str, int]:
    filter, dry_run = filter_of(command), command.get("dry_run", False)
    if command["what"] == "cancel":
        return client.cancel_all(filter, dry_run=dry_run)._asdict()
    if command["what"] == "retry":
        return client.retry_all(filter, dry_run=dry_run)._asdict()
    return client.reprioritise_all(filter, command["priority"], dry_run=dry_run)._asdict()


def post(command: dict[str, Any]) -> str:
    body = from_tagged(command["body"])
    return client.send(command["type"], body, **options(command)).hex()


def time_for(command: dict[str, Any]) -> float | None:
    return command["timeout"] / 1000 if "timeout" in command else None


def await_task(command: dict[str, Any]) -> Any:
    return to_tagged(client.await_task(bytes.fromhex(command["id"]), timeout=time_for(command)))


def await_all(command: dict[str, Any]) -> list[Any]:
    ids = map(bytes.fromhex, command["ids"])
    return [outcome(found) for found in client.await_all(ids, timeout=time_for(command))]


def update(command: dict[str, Any]) -> dict[str, Any]:
    chosen = {name: command[name] for name in ("priority",) if name in command}
    if "delay" in command:
        chosen["delay"] = command["delay"] / 1000
    if "body" in command:
        chosen["body"] = from_tagged(command["body"])
    return client.update(bytes.fromhex(command["id"]), **chosen)._asdict()


def status_of(command: dict[str, Any]) -> dict[str, Any]:
    status = client.task(bytes.fromhex(command["id"]))
    found = asdict(status) | {"history": history_of(status.history) or None}
    if status.age is not None:
        found["age"] = status.age * 1000
    return {name: value for name, value in found.items() if value is not None}


def control(command: dict[str, Any]) -> bool:
    given = command["arguments"]
    if command["what"] == "pause":
        return client.pause_type(given["type"], given["ms"] / 1000)
    return client.unblock(given["type"], given["key"])


def outcome(result: Any) -> dict[str, Any]:
    if isinstance(result, TuskError):
        return {"error": describe(result)}
    return {"ok": to_tagged(result)}


def many(command: dict[str, Any]) -> list[Any]:
    bodies = (from_tagged(body) for body in command["bodies"])
    return [outcome(r) for r in client.map(command["type"], bodies, return_errors=True)]


def roundtrip(command: dict[str, Any]) -> bool:
    size = command["size"]
    sent = os.urandom(size) if command["noise"] else b"tusk" * (size // 4)
    return bool(client.call(command["type"], sent, timeout=60) == sent)


class Load:
    def __init__(self, command: dict[str, Any]) -> None:
        self.seconds: float | None = command.get("seconds")
        self.count: int | None = command.get("count")
        self.in_flight: int = command["in_flight"]
        self.types: list[str] = command["types"]
        self.clients: int = command.get("clients", 0)
        self.lock = threading.Lock()
        self.sent = self.ok = self.wrong = self.doubled = 0
        self.errors: dict[str, int] = {}
        self.first: dict[str, Any] | None = None
        self.end = time.monotonic() + (self.seconds or 1e9)

    def bodies(self, type: str) -> Iterator[dict[str, Any]]:
        n = 0
        while not stop.is_set() and time.monotonic() < self.end and n != self.count:
            n += 1
            with self.lock:
                self.sent += 1
            yield {"n": n, "from": type}

    def run_one(self, who: Client, type: str) -> None:
        seen: set[int] = set()
        for result in who.map(
            type,
            self.bodies(type),
            in_flight=self.in_flight,
            ordered=False,
            return_errors=True,
        ):
            with self.lock:
                if isinstance(result, TuskError):
                    self.errors[result.code] = self.errors.get(result.code, 0) + 1
                    self.first = self.first or describe(result)
                elif not isinstance(result, dict) or result.get("from") != type:
                    self.wrong += 1
                elif result["n"] in seen:
                    self.doubled += 1
                else:
                    seen.add(result["n"])
                    self.ok += 1

    def run(self) -> dict[str, Any]:
        clients = [Client() for _ in range(self.clients)] or [client]
        threads = [
            threading.Thread(target=self.run_one, args=(who, type))
            for who in clients
            for type in self.types
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for who in clients[: self.clients]:
            who.close()
        names = ("sent", "ok", "wrong", "doubled", "errors", "first")
        return {name: getattr(self, name) for name in names}


def subscribe(command: dict[str, Any]) -> None:
    options = {key: command[key] for key in ("slow", "buffer") if key in command}
    subscriptions[command["topic"]] = client.subscribe(command["topic"], **options)


def events(command: dict[str, Any]) -> list[Any]:
    subscription = subscriptions[command["topic"]]
    found = [subscription.get(60) for _ in range(command["count"])]
    return [
        {"body": to_tagged(e.body)} | {key: getattr(e, key) for key in EVENT_FIELDS} for e in found
    ]


def push_many(command: dict[str, Any]) -> int:
    return client.push_many(command["stage"], (from_tagged(b) for b in command["bodies"]))


OPERATIONS: dict[str, Any] = {
    "call": call,
    "submit": submit,
    "result": lambda c: to_tagged(tasks[c["id"]].result(c.get("timeout", 60_000) / 1000)),
    "post": post,
    "follow": follow,
    "cancel": lambda c: client.cancel(bytes.fromhex(c["id"])),
    "stream": stream,
    "tasks": tasks_of,
    "job": job,
    "await": await_task,
    "await_all": await_all,
    "update": update,
    "task": status_of,
    "control": control,
    "many": many,
    "roundtrip": roundtrip,
    "load": lambda c: Load(c).run(),
    "stop": lambda c: stop.set(),
    "publish": lambda c: client.publish(c["topic"], from_tagged(c["body"])),
    "clear": lambda c: client.clear(c["topic"]),
    "subscribe": subscribe,
    "events": events,
    "push": lambda c: client.push(c["stage"], from_tagged(c["body"])),
    "push_many": push_many,
    "query": lambda c: to_tagged(client.query(c["what"])),
}


def history_of(runs: list[Attempt]) -> list[dict[str, Any]]:
    names = ("attempt", "worker", "type", "message")
    return [
        {name: getattr(run, name) for name in names}
        | {"started": run.started * 1000, "ended": run.ended * 1000}
        for run in runs
    ]


def describe(error: TuskError) -> dict[str, Any]:
    found = {"class": type(error).__name__, "code": error.code, "text": str(error)}
    if isinstance(error, (TaskFailed, TaskCancelled, TaskExpired)):
        found["history"] = history_of(error.history)
    if isinstance(error, TaskFailed):
        for name in ("type", "message", "language", "stack", "attempt", "worker"):
            found[name] = getattr(error, name)
        found["retry"] = error.retry_makes_sense
    if isinstance(error, BrokerError):
        found["limit"] = error.details.get("limit")
        found["value"] = error.details.get("value")
    if isinstance(error, Duplicate):
        found["id"] = error.id and error.id.hex()
        found["state"] = error.state
    if isinstance(error, Unavailable):
        found["url"] = error.url
    return found


def carry_out(command: dict[str, Any]) -> None:
    try:
        answer = {"ok": OPERATIONS[command["op"]](command)}
    except TuskError as error:
        answer = {"error": describe(error)}
    except Exception as error:
        text = traceback.format_exc()
        answer = {"error": {"class": type(error).__name__, "code": "program", "text": text}}
    with printing:
        print(json.dumps({"n": command["n"], **answer}), flush=True)


for line in sys.stdin:
    command = json.loads(line)
    if command["op"] == "close":
        client.close()
        break
    threading.Thread(target=carry_out, args=(command,), daemon=True).start()
