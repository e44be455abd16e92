"""A task that does not run before its time."""

import threading
from datetime import UTC, datetime, timedelta

from tuskd import Client, Worker

worker = Worker()


@worker.task("delay-python")
def handle(earliest: datetime) -> str:
    return "in time" if datetime.now(UTC) >= earliest else "too early"


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    earliest = datetime.now(UTC) + timedelta(seconds=0.3)
    print("delay:", client.call("delay-python", earliest, delay=0.3))
    earliest = datetime.now(UTC) + timedelta(seconds=0.3)
    print("not_before:", client.call("delay-python", earliest, not_before=earliest))
worker.stop()
running.join()
