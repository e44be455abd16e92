"""Tasks of one sticky key go to one worker, which may keep something for them."""

import threading
from collections import defaultdict

from tuskd import Client, Worker

seen: defaultdict[str, set[str]] = defaultdict(set)  # by key, the workers that ran it


def start(name: str) -> tuple[Worker, threading.Thread]:
    worker = Worker(slots=2, name=name)
    worker.task("sticky-python")(lambda key: seen[key].add(name))
    running = threading.Thread(target=worker.run, daemon=True)
    running.start()
    worker.wait_until_ready()
    return worker, running


workers = [start("sticky-python-1"), start("sticky-python-2")]
with Client() as client:
    keys = ["a", "b"] * 10
    for task in [client.submit("sticky-python", key, sticky_key=key) for key in keys]:
        task.result()
for key in ("a", "b"):
    print(f'workers that ran key "{key}":', len(seen[key]))
for worker, running in workers:
    worker.stop()
    running.join()
