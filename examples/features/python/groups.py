"""Groups take turns: whoever brings much does not hold up whoever brings little."""

import threading

from tuskd import Client, Worker

worker = Worker(slots=1)
busy, all_sent = threading.Event(), threading.Event()


@worker.task("groups-python")
def handle(tenant: str) -> None:
    if tenant == "first":
        busy.set()
        all_sent.wait()
    else:
        print(tenant, flush=True)


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    client.send("groups-python", "first")
    busy.wait()
    tenants = ["big"] * 5 + ["small"]
    tasks = [client.submit("groups-python", tenant, group=tenant) for tenant in tenants]
    client.query("status")  # answered behind the tasks: the broker has them all
    all_sent.set()
    for task in tasks:
        task.result()
worker.stop()
running.join()
