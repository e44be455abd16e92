"""Results that wait for somebody who comes later and asks by id."""

import threading

from tuskd import Client, UnknownTask, Worker, new_id

worker = Worker()


@worker.task("results-python")
def handle(n: int) -> int:
    return 10 * n


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    ids = [client.send("results-python", n, retention=60) for n in (1, 2)]
with Client() as later:
    for result in later.await_all(ids):
        print(result)
    print("state:", later.task(ids[0]).state)
    try:
        later.await_task(new_id())
    except UnknownTask as error:
        print("unknown:", error.code)
worker.stop()
running.join()
