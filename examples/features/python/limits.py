"""The config lets two tasks of a limit key run at a time; the keys do not hold each other up."""

import threading
import time
from collections import Counter

from tuskd import Client, Worker

worker = Worker(slots=6)
lock = threading.Lock()
now: Counter[str] = Counter()
seen: list[tuple[int, int]] = []  # how many of one key ran at a time, and how many of all


@worker.task("limits-python")
def crawl(host: str) -> None:
    with lock:
        now[host] += 1
        seen.append((now[host], now.total()))
    time.sleep(0.2)
    with lock:
        now[host] -= 1


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    hosts = ["one.example"] * 6 + ["two.example"] * 6
    for task in [client.submit("limits-python", host, limit_key=host) for host in hosts]:
        task.result()
print("at most at a time:", max(of_one for of_one, _ in seen))
print("both keys at once:", max(of_all for _, of_all in seen))
worker.stop()
running.join()
