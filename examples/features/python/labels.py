"""Tasks are found by their labels, and many are cancelled at once."""

import threading

from tuskd import Client, Worker

worker = Worker()


@worker.task("labels-python")
def bill(_: int) -> None: ...


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    for customer in ["acme"] * 4 + ["other"] * 2:
        client.send("labels-python", 1, labels={"customer": customer}, delay=3600)
    of_acme = {"type": "labels-python", "labels": {"customer": "acme"}}
    print("acme:", len(list(client.tasks(of_acme))), "tasks")
    print("would cancel:", client.cancel_all(of_acme, dry_run=True).matched)
    print("cancelled:", client.cancel_all(of_acme).changed)
    left = {"type": "labels-python", "state": "delayed"}
    print("left:", len(list(client.tasks(left))))
    client.cancel_all(left)
worker.stop()
running.join()
