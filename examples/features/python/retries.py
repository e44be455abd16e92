"""Failed runs are tried again, with a pause between them, unless that makes no sense."""

import threading

from tuskd import Backoff, Client, Context, TaskDead, TaskFailed, Worker

worker = Worker()
pauses = Backoff(first=0.05, most=1)


class Flaky(Exception): ...


class BadInput(Exception): ...


@worker.task("retries-python")
def handle(what: str, context: Context) -> int:
    if what == "hopeless":
        raise BadInput("no use")
    if what == "doomed" or context.attempt < 3:
        raise Flaky("not this time")
    return context.attempt


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    print(
        "flaky: attempt",
        client.call("retries-python", "flaky", attempts=3, backoff=pauses),
    )
    try:
        client.call("retries-python", "hopeless", attempts=5, no_retry_on=[BadInput])
    except TaskFailed as error:
        print(f"hopeless: {error.code} with {error.type} after attempt {error.attempt}")
    try:
        client.call("retries-python", "doomed", attempts=2, backoff=pauses)
    except TaskDead as error:
        runs = ", ".join(f"attempt {run.attempt} {run.type}" for run in error.history)
        print(f"doomed: {error.code}, {runs}")
worker.stop()
running.join()
