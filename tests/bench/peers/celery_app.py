"""Celery as its documentation starts: Redis as broker and result store, everything else default."""

import os
import time

from celery import Celery

app = Celery("bench", broker=os.environ["CELERY_URL"], backend=os.environ["CELERY_URL"])


@app.task
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
