"""What every test of the running system shares: a real tuskd, on sockets and folders of its own.

    def test_adds(tuskd):
        broker = tuskd()                       # defaults, wildcard ports
        peer = broker.peer(role="client")      # speaks TUSK/1 by hand, see peer.py

The binary is build/release/daemon/tuskd, or $TUSKD.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from peer import Peer, ReqPeer

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "release"
TUSKD = Path(os.environ.get("TUSKD", BUILD / "daemon" / "tuskd"))
# Sanitized daemons are slower by an order of magnitude; nothing here is a measurement of speed.
PATIENCE = 30.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="the long runs, too")


def wait_for(
    condition: Callable[[], Any], what: str = "the condition", timeout: float = PATIENCE
) -> Any:
    """Waits until condition() is true, and returns what it returned."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout} s in vain for {what}")
        time.sleep(0.005)


class Tuskd:
    """A tuskd process. `config` is TuskLang text; the endpoints are added to its [tuskd]."""

    def __init__(self, folder: Path, config: str = "", tuskd_keys: str = "") -> None:
        self.folder = folder
        self.file = folder / "orchestration.tsk"
        self.log = folder / "tuskd.log"
        self.config = config
        self.keys = {
            "endpoint": '"tcp://127.0.0.1:*"',
            "events_in": '"tcp://127.0.0.1:*"',
            "events_out": '"tcp://127.0.0.1:*"',
            "pipeline_in": '"tcp://127.0.0.1:*"',
            "pipeline_out": '"tcp://127.0.0.1:*"',
            "state": f'"{folder / "state"}"',
        }
        self.tuskd_keys = tuskd_keys
        self.process: subprocess.Popen[bytes] | None = None
        self.peers: list[Peer | ReqPeer] = []

    def write_config(self) -> None:
        lines = [f"{key}: {value}" for key, value in self.keys.items()]
        self.file.write_text(
            "[tuskd]\n" + "\n".join(lines) + "\n" + self.tuskd_keys + "\n\n" + self.config + "\n"
        )

    def start(self) -> "Tuskd":
        self.write_config()
        start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [TUSKD, self.file], stderr=log, stdout=log, stdin=subprocess.DEVNULL
            )

        def listening() -> re.Match[str] | None:
            assert self.process is not None
            text = self.log_text()[start:]
            found = re.search(r"listens on (.*)", text)
            if not found and self.process.poll() is not None:
                pytest.fail(f"tuskd ended with {self.process.returncode}:\n{text}")
            return found

        line = wait_for(listening, "tuskd to listen").group(1)
        self.url = line.split(",")[0].strip()
        names = ("events in", "events out", "pipeline in", "pipeline out")
        self.edges = {
            name.replace(" ", "_"): found.group(1)
            for name in names
            if (found := re.search(rf"{name} (\S+?)(,|$)", line))
        }
        # A restart listens where it did before.
        self.keys["endpoint"] = f'"{self.url}"'
        for name, endpoint in self.edges.items():
            self.keys[name] = f'"{endpoint}"'
        return self

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_log(self, pattern: str, timeout: float = PATIENCE) -> re.Match[str]:
        return wait_for(  # type: ignore[no-any-return]
            lambda: re.search(pattern, self.log_text()), f"{pattern!r} in the log", timeout
        )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def reload(self, config: str, tuskd_keys: str | None = None) -> None:
        """Writes another config and sends SIGHUP; returns when the log tells the outcome."""
        self.config = config
        if tuskd_keys is not None:
            self.tuskd_keys = tuskd_keys
        self.write_config()
        outcomes = r"reloaded |reload refused"
        before = len(re.findall(outcomes, self.log_text()))
        self.signal(signal.SIGHUP)
        wait_for(lambda: len(re.findall(outcomes, self.log_text())) > before, "the reload")

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, timeout: float = PATIENCE) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout)

    def query(self, what: str, arguments: dict[str, Any] | None = None) -> Any:
        with ReqPeer(self.url) as peer:
            return peer.query(what, arguments)

    def tuskctl(self, *arguments: str) -> Any:
        """What `tuskctl ARGUMENTS --json` prints."""
        done = subprocess.run(
            [TUSKD.parent / "tuskctl", "--url", self.url, "--json", *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def counter(self, name: str) -> int:
        """A counter as an operator reads it."""
        return int(self.tuskctl("status")["counters"][name])

    def peer(self, **hello: Any) -> Peer:
        """A peer that said hello and was welcomed."""
        peer = Peer(self.url, **hello)
        self.peers.append(peer)
        peer.greet()
        return peer

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture
def tuskd(tmp_path: Path) -> Iterator[Callable[..., Tuskd]]:
    """Starts brokers: tuskd(config, keys_of_tuskd)."""
    running: list[Tuskd] = []

    def start(config: str = "", tuskd_keys: str = "", run: bool = True) -> Tuskd:
        folder = tmp_path / f"tuskd{len(running)}"
        folder.mkdir()
        broker = Tuskd(folder, config, tuskd_keys)
        running.append(broker)
        return broker.start() if run else broker

    yield start
    for broker in running:
        broker.close()
