"""A task that does not run before its time."""

import threading
import time
from datetime import UTC, datetime, timedelta

from tuskd import Client, Worker

worker = Worker()


@worker.task("delay-python")
def now() -> float:
    return time.monotonic()


running = threading.Thread(target=worker.run, daemon=True)
running.start()
with Client() as client:
    begun = time.monotonic()
    ran = client.call("delay-python", delay=0.3)
    print("delay:", "in time" if ran - begun >= 0.3 else "too early")

    begun = time.monotonic()
    ran = client.call("delay-python", not_before=datetime.now(UTC) + timedelta(seconds=0.3))
    print("not_before:", "in time" if ran - begun >= 0.3 else "too early")
worker.stop()
running.join()
