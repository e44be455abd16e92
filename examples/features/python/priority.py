"""The task with the highest priority is next."""

import threading

from tuskd import Client, Worker

worker = Worker(slots=1)
busy, all_sent = threading.Event(), threading.Event()


@worker.task("priority-python")
def handle(name: str) -> None:
    if name == "first":
        busy.set()
        all_sent.wait()
    else:
        print(name, flush=True)


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    client.send("priority-python", "first")
    busy.wait()
    names = ("low", "normal", "high", "critical")
    tasks = [client.submit("priority-python", name, priority=name) for name in names]
    client.query("status")  # answered behind the tasks: the broker has them all
    all_sent.set()
    for task in tasks:
        task.result()
worker.stop()
running.join()
