"""What a run tells while it runs."""

import threading

from tuskd import Client, Context, Worker

worker = Worker()


@worker.task("progress-python")
def count(upto: int, context: Context) -> int:
    for n in range(1, upto + 1):
        context.progress(n)
        if n == 2:
            context.log("info", "half way")
    return upto


running = threading.Thread(target=worker.run, daemon=True)
running.start()
worker.wait_until_ready()
with Client() as client:
    result = client.call(
        "progress-python",
        3,
        on_progress=lambda value, attempt: print("progress", value),
        on_log=lambda level, text, attempt: print(f"{level}: {text}"),
    )
    print("result", result)
worker.stop()
running.join()
