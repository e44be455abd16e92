"""A handler yields its results one by one; the caller takes them as they come."""

import threading
from collections.abc import Generator

from tuskd import Client, Worker

worker = Worker()


@worker.task("stream-python")
def count(most: int) -> Generator[str, None, str]:
    for n in range(1, most + 1):
        yield f"chunk {n}"  # waits while the caller has 16 chunks that it did not take
    return f"{most} chunks"


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    stream = client.stream("stream-python", 3, window=16)
    for chunk in stream:
        print(chunk)
    print("result:", stream.result)
worker.stop()
running.join()
