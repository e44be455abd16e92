"""Tasks with one order key run one at a time, in their order, through retries too."""

import threading

from tuskd import Backoff, Client, Context, Worker

worker = Worker(slots=4)
booked: list[int] = []


@worker.task("order-python")
def book(entry: int, context: Context) -> None:
    if entry == 1 and context.attempt == 1:
        raise ConnectionError("the ledger is away")
    booked.append(entry)


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    entries = [
        client.submit("order-python", n, order_key="account 7", attempts=2, backoff=Backoff(0.1, 1))
        for n in (1, 2, 3, 4)
    ]
    for entry in entries:
        entry.result()
print(*booked)
worker.stop()
running.join()
