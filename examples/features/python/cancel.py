"""Cancelling a task that waits, one that runs, one that is over, and one that never was."""

import threading
import time

from tuskd import Client, Context, TaskCancelled, UnknownTask, Worker, new_id

worker = Worker(slots=1)
begun = threading.Event()


@worker.task("cancel-python")
def handle(what: str, context: Context) -> None:
    if what == "return":
        return
    begun.set()
    while not context.cancelled:
        time.sleep(0.01)
    print("told to stop:", context.cancel_reason, flush=True)
    context.check()


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    tasks = {"running": client.submit("cancel-python", "wait")}
    begun.wait()
    tasks["waiting"] = client.submit("cancel-python", "wait")
    for name in ("waiting", "running"):
        tasks[name].cancel()
        try:
            tasks[name].result()
        except TaskCancelled as error:
            print(f"{name}: {error.code}")
    ended = client.submit("cancel-python", "return")
    ended.result()
    print("ended:", ended.cancel())
    try:
        client.cancel(new_id())
    except UnknownTask as error:
        print("unknown:", error.code)
worker.stop()
running.join()
