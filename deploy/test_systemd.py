"""Runs the unit's ExecStart and ExecReload lines as systemd would, and listens on NOTIFY_SOCKET.

python3 deploy/test_systemd.py deploy/systemd/tuskd.service build/release/daemon/tuskd
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE = 20.0  # seconds; only a broken daemon takes them


def unit_lines(path: Path) -> dict[str, str]:
    """The assignments of the unit; each key that matters here stands there once."""
    lines = path.read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {key: value for key, value in pairs}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def speaks_zmtp(port: int) -> bool:
    """Whether a ZeroMQ socket listens there: its greeting begins with 0xff."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        return connection.recv(1) == b"\xff"


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Service:
    """The unit, started by a stand-in for systemd."""

    def __init__(self, unit: dict[str, str], tuskd: str, folder: Path) -> None:
        self.unit = unit
        self.paths = {
            "/usr/bin/tuskd": tuskd,
            "/etc/tuskd/orchestration.tsk": f"{folder}/c.tsk",
        }
        self.folder = folder
        self.state = folder / "state"
        self.port = free_port()
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(folder / "notify"))
        self.notify.settimeout(PATIENCE)
        self.main: subprocess.Popen[bytes] | None = None

    def configure(self, more: str = "") -> None:
        edges = "".join(
            f"{key}: null\n" for key in ("events_in", "events_out", "pipeline_in", "pipeline_out")
        )
        text = f'[tuskd]\nendpoint: "tcp://127.0.0.1:{self.port}"\n{edges}{more}'
        (self.folder / "c.tsk").write_text(text)

    def command(self, key: str) -> list[str]:
        words = shlex.split(self.unit[key])
        pid = str(self.main.pid) if self.main else ""
        return [pid if word == "$MAINPID" else self.paths.get(word, word) for word in words]

    def start(self) -> None:
        environment = os.environ | {
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "STATE_DIRECTORY": str(self.state),
        }
        self.main = None
        self.main = subprocess.Popen(self.command("ExecStart"), env=environment)

    def expect(self, *wanted: str) -> dict[str, str]:
        """The next notification that is not a mere status; it must hold these assignments."""
        while True:
            text = self.notify.recv(4096).decode()
            if text.startswith("STATUS="):
                continue
            print("  notified:", text.replace("\n", " | "))
            lines = text.split("\n")
            for want in wanted:
                assert want in lines, f"wanted {want}, got {text!r}"
            return dict(line.split("=", 1) for line in lines)

    def expect_silence(self) -> None:
        self.notify.settimeout(0)
        try:
            raise AssertionError(f"did not expect {self.notify.recv(4096)!r}")
        except BlockingIOError:
            self.notify.settimeout(PATIENCE)

    def reload(self) -> None:
        before = time.monotonic_ns() // 1000
        subprocess.run(self.command("ExecReload"), check=True)
        said = self.expect("RELOADING=1")
        assert before <= int(said["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        self.expect("READY=1")
        assert speaks_zmtp(self.port), "the endpoint is gone after a reload"

    def stop(self) -> None:
        assert self.main
        self.main.terminate()
        self.expect("STOPPING=1")
        status = self.main.wait(PATIENCE)
        assert status == 0, f"exit status {status} after SIGTERM"

    def worker(self) -> int:
        """The pid of the one worker, when it has written it."""
        file = self.folder / "pid"
        deadline = time.monotonic() + PATIENCE
        while not (file.exists() and file.read_text().endswith("\n")):
            assert time.monotonic() < deadline, "the worker did not start"
            time.sleep(0.01)
        return int(file.read_text())


WORKER = """
[workers]
idle:
  language: python
  command: "sh -c 'echo $$ > pid; exec sleep 1000'"
"""


def ready_reload_stop(service: Service) -> None:
    service.configure()
    service.start()
    service.expect("READY=1")
    assert speaks_zmtp(service.port), "ready, but the endpoint is not bound"
    service.configure('log_level: "debug"\n')
    service.reload()
    service.configure("no such thing\n")
    service.reload()
    service.stop()


def workers_outlive_a_kill_and_end_with_a_stop(service: Service) -> None:
    service.configure(WORKER)
    service.start()
    service.expect("READY=1")
    worker = service.worker()
    assert service.main and service.unit["KillMode"] == "process"
    service.main.kill()
    service.main.wait()
    assert alive(worker), "the worker died with tuskd"
    (service.folder / "pid").unlink()
    service.start()
    service.expect("READY=1")
    assert alive(worker)
    assert not (service.folder / "pid").exists(), "a second worker was started"
    service.stop()
    deadline = time.monotonic() + PATIENCE
    while alive(worker):
        assert time.monotonic() < deadline, "the worker outlived an orderly stop"
        time.sleep(0.01)


def a_wrong_config_is_never_ready(service: Service) -> None:
    service.configure("no such thing\n")
    service.start()
    assert service.main
    status = service.main.wait(PATIENCE)
    assert str(status) == service.unit["RestartPreventExitStatus"], f"exit status {status}"
    service.expect_silence()


def main() -> None:
    unit, tuskd = unit_lines(Path(sys.argv[1])), sys.argv[2]
    assert unit["Type"] == "notify"
    for test in (
        ready_reload_stop,
        workers_outlive_a_kill_and_end_with_a_stop,
        a_wrong_config_is_never_ready,
    ):
        with tempfile.TemporaryDirectory() as folder:
            service = Service(unit, tuskd, Path(folder))
            try:
                test(service)
            finally:
                if service.main and service.main.poll() is None:
                    service.main.send_signal(signal.SIGKILL)
        print(f"{test.__name__}: ok")


if __name__ == "__main__":
    main()
