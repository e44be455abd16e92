"""A handler that cannot run now puts its task off; that uses up no attempt."""

import threading

from tuskd import Client, Context, Defer, Worker

worker = Worker()


@worker.task("defer-python")
def handle(context: Context) -> int:
    if context.attempt < 3:
        raise Defer(after=0.1)
    return context.attempt


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    print("ran as attempt", client.call("defer-python", attempts=1))
worker.stop()
running.join()
