"""Changing a task while it waits: its body, and when it is its turn."""

import threading

from tuskd import Client, Worker

worker = Worker(slots=1)
busy, all_said = threading.Event(), threading.Event()


@worker.task("update-python")
def handle(name: str) -> None:
    if name == "first":
        busy.set()
        all_said.wait()
    else:
        print("ran:", name, flush=True)


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    client.send("update-python", "first")
    busy.wait()
    plain = client.submit("update-python", "plain")
    changed = client.submit("update-python", "original")
    state, updated = client.update(changed.id, body="changed")
    if updated:
        print("updated:", state)
    client.update(changed.id, priority="high")
    all_said.set()
    plain.result()
    state, updated = client.update(changed.id, priority="low")
    if not updated:
        print("too late:", state)
worker.stop()
running.join()
