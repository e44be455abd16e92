"""A handler that knows that no task of its type can run now pauses the type."""

import threading
import time

from tuskd import Client, Context, Worker

worker = Worker()


@worker.task("pause-python")
def handle(what: str, context: Context) -> float:
    started = time.monotonic()
    if what == "pause":
        context.pause_type(0.4)
    return started


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    first = client.call("pause-python", "pause")
    second = client.call("pause-python", "run")
    print("paused:", "yes" if second - first >= 0.4 else "no")
worker.stop()
running.join()
