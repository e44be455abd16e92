"""A task that must end within a time: one that waits expires, one that runs is told to stop."""

import threading
import time

from tuskd import Client, Context, TaskExpired, Worker

worker = Worker(slots=1)


@worker.task("deadline-python")
def handle(what: str, context: Context) -> None:
    if what == "sleep":
        time.sleep(0.6)
        return
    while not context.cancelled:
        time.sleep(0.01)
    print("told to stop:", context.cancel_reason, flush=True)
    context.check()


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    before = client.submit("deadline-python", "sleep")
    try:
        client.call("deadline-python", "wait", deadline=0.2)
    except TaskExpired as error:
        print("waiting:", error.code)
    before.result()
    try:
        client.call("deadline-python", "wait", deadline=0.2)
    except TaskExpired as error:
        print("running:", error.code)
worker.stop()
running.join()
