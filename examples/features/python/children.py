"""A worker of one slot: its runs lend the slot out while they wait for their children."""

import threading

from tuskd import Client, Context, Worker

worker = Worker(slots=1)


@worker.task("square-python")
def square(n: int) -> int:
    return n * n


@worker.task("children-python")
def sum_of_squares(numbers: list[int], context: Context) -> int:
    children = [context.submit("square-python", n) for n in numbers]
    return sum(context.gather(children))  # the three run meanwhile


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    print("sum of squares of 1, 2, 3:", client.call("children-python", [1, 2, 3]))
    print("sum of squares of 4, 5, 6:", client.call("children-python", [4, 5, 6]))
worker.stop()
running.join()
