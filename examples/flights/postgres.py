"""A PostgreSQL cluster of our own: no port, a socket in a folder that only its owner can enter."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

START_TIMEOUT = 30.0  # s
STOP_TIMEOUT = 30.0
SUPERUSER = "flights"


def programs() -> Path:
    """Where the newest initdb is; Debian has it in no PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    if not found:
        raise SystemExit("PostgreSQL is missing: run scripts/setup")
    return found[-1].parent


def _version(initdb: Path) -> float:
    return float(initdb.parts[-3])


class Cluster:
    """Runs while the `with` block does; nothing is left of it afterwards."""

    def __init__(self) -> None:
        self._bin = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="tuskd-flights-"))
        # It ends with us, and it is not root, which PostgreSQL refuses.
        self._as_owner = ["setpriv", "--pdeathsig", "INT"]
        if os.getuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._as_owner += ["--reuid=postgres", "--regid=postgres", "--init-groups"]
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def connection(self) -> str:
        return f"host={self._folder} user={SUPERUSER} dbname=postgres"

    def __enter__(self) -> "Cluster":
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def run(self, sql: str) -> str:
        """One statement; what psql prints of it, bare."""
        command = [str(self._bin / "psql"), "-XqAt", "-d", self.connection, "-c", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def _start(self) -> None:
        data = self._folder / "data"
        with (self._folder / "log").open("wb") as log:
            subprocess.run(
                [*self._as_owner, self._bin / "initdb", "--pgdata", data, "--auth=trust",
                 "--username", SUPERUSER, "--encoding=UTF8", "--no-locale", "--no-sync"],
                check=True, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
            self._server = subprocess.Popen(
                [*self._as_owner, self._bin / "postgres", "-D", data, "-k", self._folder,
                 "-c", "listen_addresses=", "-c", "max_wal_size=4GB"],
                cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + START_TIMEOUT
        ready = [str(self._bin / "pg_isready"), "-q", "-h", str(self._folder)]
        while subprocess.run(ready, check=False).returncode != 0:
            if self._server.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"PostgreSQL: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def _stop(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)  # fast: SIGTERM would wait for its clients
            try:
                self._server.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
