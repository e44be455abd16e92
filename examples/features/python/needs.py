"""A worker says what it has; tasks say what they need, and what they use up while they run."""

import threading
import time

import tuskd
from tuskd import Client, Worker

worker = Worker(slots=4, labels={"gpu": 2, "region": "eu"})
lock = threading.Lock()
now: set[int] = set()
seen: list[int] = []  # how many ran at a time


@worker.task("needs-python")
def train(n: int) -> None:
    with lock:
        now.add(n)
        seen.append(len(now))
    time.sleep(0.2)
    with lock:
        now.remove(n)


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    for task in [client.submit("needs-python", n, consumes={"gpu": 1}) for n in range(4)]:
        task.result()
    print("at most at a time:", max(seen))
    try:
        client.call("needs-python", 0, requires={"region": "mars"}, timeout=60)
    except tuskd.Unserved as error:
        print("region mars:", error.code)
worker.stop()
running.join()
