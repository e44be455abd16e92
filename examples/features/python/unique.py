"""Of the tasks with one key only one lives; what a second submit does is its own choice."""

import threading

from tuskd import Client, Duplicate, Worker

worker = Worker(slots=4)
begun, may_end = threading.Event(), threading.Event()
runs = iter(range(1, 10))


@worker.task("unique-python")
def handle(_shop: str) -> str:
    run = next(runs)
    begun.set()
    may_end.wait()
    return f"run {run}"


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    first = client.submit("unique-python", "shop", unique="shop 7")
    begun.wait()
    joined = client.submit("unique-python", "shop", unique="shop 7")
    try:
        client.call("unique-python", "shop", unique="shop 7", unique_policy="refuse")
    except Duplicate as error:
        assert error.id == first.id
        print("refused:", error.code)
    behind = client.submit("unique-python", "shop", unique="shop 7", unique_policy="follow_up")
    client.query("status")  # answered behind the tasks: the broker has them all
    may_end.set()
    print("first:", first.result())
    print("joined:", joined.result())
    assert joined.joined_id == first.id
    print("follow-up:", behind.result())
worker.stop()
running.join()
