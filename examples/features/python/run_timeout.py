"""A bound for each run. The next one starts when the one before has stopped, never earlier."""

import threading
import time

from tuskd import Backoff, Client, Context, TaskDead, Worker

worker = Worker(slots=1)


@worker.task("run_timeout-python")
def wait(context: Context) -> None:
    while not context.cancelled:
        time.sleep(0.01)
    print("told to stop:", context.cancel_reason, flush=True)
    context.check()


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    try:
        client.call("run_timeout-python", run_timeout=0.2, attempts=2, backoff=Backoff(0.05, 1))
    except TaskDead as error:
        types = ", ".join(run.type for run in error.history)
        print(f"dead after {len(error.history)} runs: {types}")
worker.stop()
running.join()
