"""A run that gives no sign of life is told to stop."""

import threading
import time

from tuskd import Client, Context, TaskFailed, Worker

worker = Worker()


@worker.task("heartbeat-python")
def handle(what: str, context: Context) -> str:
    if what == "speak":
        for _ in range(12):
            time.sleep(0.05)
            context.heartbeat()
        return "done"
    while not context.cancelled:
        time.sleep(0.01)
    print("told to stop:", context.cancel_reason, flush=True)
    context.check()
    return "never"


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    print("spoke:", client.call("heartbeat-python", "speak", heartbeat_timeout=0.3))
    try:
        client.call("heartbeat-python", "be silent", heartbeat_timeout=0.3, attempts=1)
    except TaskFailed as error:
        print("silent:", error.type)
worker.stop()
running.join()
