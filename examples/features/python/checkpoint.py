"""A run that fails leaves word of how far it came; the next one goes on from there."""

import threading

from tuskd import Backoff, Client, Context, Worker

worker = Worker()


@worker.task("checkpoint-python")
def work(steps: int, context: Context) -> int:
    done = context.last_checkpoint or 0
    print(f"attempt {context.attempt} begins at {done}", flush=True)
    for step in range(done, steps):
        if step == 2 and context.attempt == 1:
            raise RuntimeError("the power went out")
        context.checkpoint(step + 1)
    return steps


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    print(
        "result",
        client.call("checkpoint-python", 4, attempts=2, backoff=Backoff(0.05, 1)),
    )
worker.stop()
running.join()
