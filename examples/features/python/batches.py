"""A handler takes up to three tasks at once, or those that came within the time."""

import threading

from tuskd import Client, Worker

worker = Worker(slots=3)
sizes: list[int] = []


@worker.task("batches-python", batch=3, wait=0.5)
def square(numbers: list[int]) -> list[int]:
    sizes.append(len(numbers))
    return [n * n for n in numbers]


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    results = list(client.map("batches-python", range(1, 8)))
print("sizes of the batches:", *sizes)
print("results:", *results)
worker.stop()
running.join()
