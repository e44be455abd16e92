"""Flights through tuskd: C++, Python, JavaScript and Go, one stage each.

Starts tuskd with the config (tuskd starts the workers), hands it the rows, shows how far they are,
and compares what was stored with a computation of one process. Exit status 0: every number is
right. README.md tells the rest.
"""

import argparse
import contextlib
import fcntl
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import postgres
import prepare
from display import Course, Display, say, summary

from tuskd import Client, TuskError

HERE = prepare.HERE
TUSKD = prepare.ROOT / "build/release/daemon/tuskd"
CONFIGS = {"sqlite": HERE / "flights.tsk", "postgresql": HERE / "flights-postgresql.tsk"}
AIRPORTS = HERE / "js/node_modules/vega-datasets/data/airports.csv"
LANGUAGES = {"cpp", "python", "javascript", "go"}
POLL = 0.05  # s
START_TIMEOUT = 30.0
STALL_TIMEOUT = 60.0
AGGREGATE_TIMEOUT = 300.0
LOG_LINES = 15
# With --kill: who is killed when so much of the rows is through.
KILLS = [(0.05, "client"), (0.2, "cpp"), (0.35, "python"), (0.5, "javascript"), (0.65, "go")]


class Failure(Exception):
    """What went wrong, in a line for a person."""


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One run at a time in a folder: each begins with an empty database."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(f"another run is under way in {folder}") from None
        yield


@contextlib.contextmanager
def database(kind: str, folder: Path) -> Iterator[tuple[str, Callable[[str], object]]]:
    """An empty database: what FLIGHTS_DATABASE says of it, and how to run a statement in it."""
    if kind == "postgresql":
        say("starts a PostgreSQL cluster of its own")
        with postgres.Cluster() as cluster:
            yield f"postgresql:{cluster.connection}", cluster.run
        return
    file = folder / "flights.db"
    for old in folder.glob("flights.db*"):
        old.unlink()

    def run(sql: str) -> None:
        with contextlib.closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(sql)

    yield f"sqlite:{file}", run


@contextlib.contextmanager
def daemon(config: Path, url: str, database: str, folder: Path) -> Iterator[tuple[Client, int]]:
    """tuskd and, through it, the workers: a client of it, and its pid. Its log is in the folder."""
    environment = os.environ | {
        "FLIGHTS_URL": url,
        "FLIGHTS_STATE": str(folder / "state"),
        "FLIGHTS_DATABASE": database,
    }
    log_file = folder / "tuskd.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", TUSKD, config],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        with Client(url) as client:
            wait_for_workers(client, process)
            yield client, process.pid
    except (TuskError, Failure) as error:
        print(*log_file.read_text(errors="replace").splitlines()[-LOG_LINES:], sep="\n")
        raise Failure(str(error)) from error
    finally:
        process.terminate()
        process.wait()


def wait_for_workers(client: Client, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_TIMEOUT
    missing = LANGUAGES
    while missing:
        if process.poll() is not None:
            raise Failure(f"tuskd ended with status {process.returncode}")
        if time.monotonic() > end:
            raise Failure(f"no worker in {', '.join(sorted(missing))} after {START_TIMEOUT:.0f} s")
        with contextlib.suppress(TuskError):
            missing = LANGUAGES - {w["language"] for w in client.query("workers", timeout=1)}
        time.sleep(POLL)


class Pusher:
    """The child process that is tuskd's client: push.py."""

    def __init__(self, url: str, rows: int, folder: Path) -> None:
        progress = folder / "pushed"
        progress.unlink(missing_ok=True)
        self._command = [
            "setpriv", "--pdeathsig", "KILL",
            sys.executable, str(HERE / "push.py"),
            str(prepare.ROWS), str(rows), new_run().hex(), str(progress),
        ]  # fmt: skip
        self._environment = os.environ | {"TUSK_URL": url}
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, env=self._environment)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def ended(self) -> bool:
        status = self._process.poll()
        if status:
            raise Failure(f"push.py ended with status {status}")
        return status is not None


def new_run() -> bytes:
    """The first ten bytes of every id of this run, as UUIDv7 has them: its time, and chance."""
    chance = secrets.token_bytes(4)
    head = bytes([0x70 | chance[0] & 0x0F, chance[1], 0x80 | chance[2] & 0x3F, chance[3]])
    return int(time.time() * 1000).to_bytes(6, "big") + head


def kill(victim: str, client: Client, pusher: Pusher) -> None:
    if victim == "client":
        if pusher.ended():
            raise Failure("tuskd's client had ended before it could be killed: take more rows")
        pusher.kill()
        pusher.start()
        say("killed tuskd's client (-9) and started it again")
        return
    worker = next((w for w in client.query("workers") if w["language"] == victim), None)
    if worker is None:
        raise Failure(f"there is no worker in {victim} to kill")
    os.kill(worker["pid"], signal.SIGKILL)
    say(f"killed the worker in {victim} (-9)")


def stream(client: Client, pusher: Pusher, kills: bool, course: Course, show: Display) -> None:
    """Watches the stages until every row has left them."""
    due = list(KILLS) if kills else []
    moved = time.monotonic()
    while True:
        ended = pusher.ended()  # asked first: what it pushed last is then in the stages
        stages = client.query("stages")
        if course.take(stages):
            moved = time.monotonic()
        elif time.monotonic() - moved > STALL_TIMEOUT:
            raise Failure(f"nothing has moved for {STALL_TIMEOUT:.0f} s: {stages}")
        show.update(course)
        if due and course.through >= due[0][0] * course.rows:
            kill(due.pop(0)[1], client, pusher)
        elif ended and course.idle:
            return
        time.sleep(POLL)


def cpu_seconds(pid: int) -> float:
    """What a process and its threads have used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_times(client: Client, tuskd: int) -> dict[str, float]:
    """CPU seconds by part: where the time goes."""
    pids = {"tuskd": tuskd} | {w["language"]: w["pid"] for w in client.query("workers")}
    return {name: cpu_seconds(pid) for name, pid in pids.items()}


def goal(config: Path) -> int:
    """The events per second that the config asks of ingestion."""
    printed = subprocess.run([TUSKD, "--print", config], check=True, capture_output=True)
    return int(json.loads(printed.stdout)["data_pipeline"]["ingestion"]["throughput"])


def check(aggregates: dict[str, Any], rows: int) -> bool:
    say("check: pandas computes the same from the Parquet file, in one process")
    command = [
        sys.executable,
        str(HERE / "check.py"),
        str(prepare.PARQUET),
        str(AIRPORTS),
        str(rows),
    ]
    text = json.dumps(aggregates).encode()
    return subprocess.run(command, input=text, check=False).returncode == 0


def run(args: argparse.Namespace) -> bool:
    folder: Path = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    config = CONFIGS[args.database]
    with contextlib.ExitStack() as stack:
        stack.enter_context(alone(folder))
        prepare.prepare()
        where, run_sql = stack.enter_context(database(args.database, folder))
        # A socket's path may have 107 bytes, so it is not in the folder.
        socket = stack.enter_context(tempfile.TemporaryDirectory(prefix="tuskd-flights-"))
        url = f"ipc://{socket}/tuskd"
        say(f"starts tuskd with {config.name}; its log is {folder / 'tuskd.log'}")
        client, tuskd = stack.enter_context(daemon(config, url, where, folder))
        before = cpu_times(client, tuskd)
        course = Course(args.rows)
        with Display(args.rows, client.subscribe("flights.top")) as show:
            pusher = Pusher(url, args.rows, folder)
            stack.callback(pusher.kill)
            stream(client, pusher, args.kill, course, show)
        spent = {}
        if not args.kill:  # what a killed worker has used is not known
            after = cpu_times(client, tuskd)
            spent = {name: after[name] - before[name] for name in before}
        if course.dead:
            raise Failure(f"{course.dead} items failed for good; see tuskd.log")
        if args.alter is not None:
            say(f"alters the stored delay of row {args.alter}")
            run_sql(f"UPDATE flights SET delay = delay + 1 WHERE row_number = {args.alter}")
        say("Go computes the aggregates from the stored rows")
        aggregates = client.call("flights.aggregate", timeout=AGGREGATE_TIMEOUT)
        summary(course, aggregates, goal(config), spent)
    return check(aggregates, args.rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Real flights through four languages.")
    parser.add_argument("--rows", type=int, default=3_000_000, help="the first so many")
    parser.add_argument(
        "--postgresql", dest="database", action="store_const", const="postgresql",
        default="sqlite", help="store in PostgreSQL, not in SQLite",
    )  # fmt: skip
    parser.add_argument("--kill", action="store_true", help="kill -9 each part on the way")
    parser.add_argument("--alter", type=int, metavar="ROW", help="change a stored row: must fail")
    parser.add_argument("--folder", type=Path, default=prepare.ROOT / "build/flights/run")
    args = parser.parse_args()
    if not 0 < args.rows <= prepare.ROWS_IN_ALL:
        parser.error(f"--rows is 1 to {prepare.ROWS_IN_ALL}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # cleans up as well
    try:
        return 0 if run(args) else 1
    except KeyboardInterrupt:
        say("interrupted")
        return 128 + signal.SIGINT
    except Failure as failure:
        say(f"error: {failure}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
