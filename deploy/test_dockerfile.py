"""Carries out a Dockerfile with chroot and overlay mounts, and runs the image that it describes.

    unshare --mount --pid --fork python3 deploy/test_dockerfile.py deploy/docker/Dockerfile CACHE

Knows the instructions that our Dockerfile has, no others. A step is a folder that overlays those of
the steps before it; it is named after all that it depends on.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 20.0  # seconds for the daemon in the container
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(*command: str | Path, **options: object) -> None:
    subprocess.run([str(word) for word in command], check=True, **options)  # type: ignore[call-overload]


@dataclass
class Stage:
    """A FROM and what follows it: an image that grows."""

    layers: list[Path]  # the newest last
    key: str  # of all that it came from
    directory: str = "/"
    user: str = "root"
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH, "HOME": "/root"})
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def extend_key(self, *texts: str) -> None:
        self.key = hashlib.sha256("\0".join((self.key, *texts)).encode()).hexdigest()[:32]


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    text = "\n".join(
        line for line in dockerfile.read_text().splitlines() if not line.startswith("#")
    )
    lines = text.replace("\\\n", " ").splitlines()
    pairs = (line.split(maxsplit=1) for line in lines if line.strip())
    return [(word, rest.strip()) for word, rest in pairs]


# --- the base image ------------------------------------------------------------------------------


def mirror() -> str:
    """The first Debian mirror that this machine's apt uses."""
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Label: Debian"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return said[0] if said else "http://deb.debian.org/debian"


def copy_apt_settings(root: Path) -> None:
    """Debian's sources and the proxy of this machine; other sources may need more than is there."""
    settings = Path("/etc/apt")
    target = root / "etc/apt"
    sources = [settings / "sources.list", settings / "sources.list.d/debian.sources"]
    for source in sources:
        if source.exists():
            shutil.copy(source, target / source.relative_to(settings))
            if source.name == "debian.sources":
                (target / "sources.list").unlink(missing_ok=True)
    said = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    proxy = [line for line in said.splitlines() if "::Proxy" in line and '""' not in line]
    (target / "apt.conf.d/90machine").write_text("\n".join(proxy) + "\n")
    # What the images of an engine have: no downloaded packages in a layer.
    (target / "apt.conf.d/docker-clean").write_text(
        'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };\n'
    )
    for name in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc") / name, root / "etc" / name)


def base(image: str, cache: Path) -> Path:
    suite = image.removeprefix("debian:").removesuffix("-slim")
    root = cache / f"base-{suite}"
    if not root.exists():
        unfinished = root.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        print(f"  debootstrap {suite} from {mirror()}")
        run(
            "debootstrap",
            "--variant=minbase",
            suite,
            unfinished,
            mirror(),
            stdout=subprocess.DEVNULL,
        )
        unfinished.rename(root)
    copy_apt_settings(root)
    return root


# --- steps ---------------------------------------------------------------------------------------


class Mounted:
    """A stage's layers as one tree below `at`; changes go to `top`."""

    def __init__(self, stage: Stage, top: Path, at: Path) -> None:
        self.stage, self.top, self.at = stage, top, at

    def __enter__(self) -> Path:
        work = self.at.with_suffix(".work")
        for folder in (self.top, work, self.at):
            folder.mkdir(parents=True, exist_ok=True)
        lower = ":".join(str(layer) for layer in reversed(self.stage.layers))
        options = f"lowerdir={lower},upperdir={self.top},workdir={work}"
        run("mount", "-t", "overlay", "overlay", "-o", options, self.at)
        run("mount", "-t", "proc", "proc", self.at / "proc")
        for device in ("null", "zero", "full", "random", "urandom", "tty"):
            target = self.at / "dev" / device
            if not target.is_char_device():
                target.touch()
                run("mount", "--bind", Path("/dev") / device, target)
        return self.at

    def __exit__(self, *_: object) -> None:
        run("umount", "--recursive", self.at)
        shutil.rmtree(self.at.with_suffix(".work"))


def inside(root: Path, stage: Stage, command: list[str]) -> list[str]:
    """The command line that runs `command` in the root as the image says."""
    assignments = [f"{name}={value}" for name, value in stage.environment.items()]
    change = f'cd {stage.directory} && exec "$@"'
    user = ["--userspec", stage.user] if stage.user != "root" else []
    environment = ["env", "-i", *assignments]
    return [
        "chroot",
        *user,
        str(root),
        *environment,
        "sh",
        "-c",
        change,
        "sh",
        *command,
    ]


def files_of(context: Path, sources: list[str], ignored: list[str]) -> list[Path]:
    """The files below the context that a COPY takes, relative to it."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", *sources],
        cwd=context,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    skip = [entry.removeprefix("**/") for entry in ignored]
    return [
        Path(name)
        for name in sorted(listed)
        if (context / name).is_file() and not any(part in skip for part in Path(name).parts)
    ]


def copy(root: Path, context: Path, files: list[Path], sources: list[str], target: str) -> None:
    destination = root / target.lstrip("/")
    for file in files:
        # A file goes to the target, the content of a folder into it.
        whole = sources == [str(file)]
        place = destination if whole else destination / file
        if whole and target.endswith("/"):
            place = destination / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(context / file, place)


class Builder:
    def __init__(self, dockerfile: Path, cache: Path) -> None:
        self.dockerfile = dockerfile
        self.cache = cache
        self.context = Path.cwd()
        self.stages: dict[str, Stage] = {}
        self.used: set[Path] = set()
        ignore = dockerfile.with_name(dockerfile.name + ".dockerignore")
        lines = ignore.read_text().splitlines()
        self.ignored = [line for line in lines if line and not line.startswith("#")]

    def build(self) -> Stage:
        stage: Stage | None = None
        for word, rest in instructions(self.dockerfile):
            print(f"{word} {rest}", flush=True)
            started = time.monotonic()
            if word == "FROM":
                image, _, name = rest.partition(" AS ")
                stage = Stage([base(image, self.cache)], image)
                self.stages[name] = stage
                continue
            assert stage, f"{word} before FROM"
            self.step(stage, word, rest)
            if word in ("RUN", "COPY"):
                print(f"  {time.monotonic() - started:.1f} s", flush=True)
        assert stage
        return stage

    def step(self, stage: Stage, word: str, rest: str) -> None:
        match word:
            case "RUN":
                self.run(stage, rest)
            case "COPY":
                self.copy(stage, rest)
            case "ENV":
                name, _, value = rest.partition("=")
                stage.environment[name] = value.strip('"')
            case "WORKDIR":
                stage.directory = rest

                def make_folder(root: Path) -> None:
                    (root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)

                self.layer(stage, make_folder, word, rest)
            case "USER":
                stage.user = rest
            case "ENTRYPOINT":
                stage.entrypoint = json.loads(rest)
            case "CMD":
                stage.command = json.loads(rest)
            case "VOLUME" | "EXPOSE":
                pass
            case _:
                raise SystemExit(f"this test does not know {word}")
        stage.extend_key(word, rest)

    def run(self, stage: Stage, script: str) -> None:
        keep = ""
        if script.startswith("--mount="):
            option, script = script.split(maxsplit=1)
            keep = option.removeprefix("--mount=type=cache,target=")
            assert keep.startswith("/"), f"this test does not know {option}"

        def action(root: Path) -> None:
            if keep:  # unmounted with the root
                store, place = self.cache / "kept" / keep[1:], root / keep[1:]
                store.mkdir(parents=True, exist_ok=True)
                place.mkdir(parents=True, exist_ok=True)
                run("mount", "--bind", store, place)
            log = self.cache / "step.log"
            with log.open("wb") as output:
                done = subprocess.run(
                    inside(root, stage, ["sh", "-c", script]),
                    check=False,
                    stdout=output,
                    stderr=output,
                )
            if done.returncode != 0:
                tail = log.read_text(errors="replace").splitlines()[-40:]
                failed = f"exit status {done.returncode}: {script}"
                raise SystemExit("\n".join([*tail, failed]))

        self.layer(stage, action, script)

    def copy_from_stage(self, stage: Stage, origin: Stage, source: str, target: str) -> None:
        def action(root: Path) -> None:
            top, other = self.cache / "other.top", self.cache / "other"
            with Mounted(origin, top, other) as tree:
                shutil.copytree(
                    tree / source.lstrip("/"),
                    root / target.lstrip("/"),
                    dirs_exist_ok=True,
                )
            shutil.rmtree(top)

        self.layer(stage, action, origin.key, source, target)

    def copy(self, stage: Stage, rest: str) -> None:
        words = rest.split()
        if words[0].startswith("--from="):
            origin = self.stages[words[0].removeprefix("--from=")]
            self.copy_from_stage(stage, origin, words[1], words[2])
            return
        *sources, target = words
        files = files_of(self.context, sources, self.ignored)
        assert files, f"nothing to copy: {rest}"
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{file}\0".encode() + (self.context / file).read_bytes())
        target = os.path.join(stage.directory, target)
        target = os.path.normpath(target) + ("/" if target.endswith(("/", ".")) else "")
        self.layer(
            stage,
            lambda root: copy(root, self.context, files, sources, target),
            rest,
            digest.hexdigest(),
        )

    def layer(self, stage: Stage, action: Callable[[Path], None], *depends: str) -> None:
        """Does it on top of the stage, or takes what came out the last time."""
        stage.extend_key(*depends)
        done = self.cache / "layers" / stage.key
        if done.exists():
            print("  kept")
        else:
            top = self.cache / "top"
            shutil.rmtree(top, ignore_errors=True)
            with Mounted(stage, top, self.cache / "root") as root:
                action(root)
            done.parent.mkdir(exist_ok=True)
            top.rename(done)
        self.used.add(done)
        stage.layers.append(done)

    def forget_unused(self) -> None:
        for layer in (self.cache / "layers").iterdir():
            if layer not in self.used:
                shutil.rmtree(layer)


# --- the image at work ---------------------------------------------------------------------------


def leave_network() -> None:
    """A new network namespace, so that the ports are free. (os.unshare is of Python 3.12.)"""
    clone_newnet = 0x40000000
    if ctypes.CDLL(None, use_errno=True).unshare(clone_newnet) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def raise_loopback() -> None:
    """The loopback device of a new network namespace is down."""
    with socket.socket() as control:
        up = struct.pack("16sh", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(control, 0x8914, up)  # SIOCSIFFLAGS


def greeting(port: int) -> bytes:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
                return connection.recv(1)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nobody listens on {port}"
            time.sleep(0.02)


def listeners() -> set[str]:
    """Addresses of listening TCP sockets in this network namespace, as in /proc/net/tcp."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {line.split()[1] for line in lines if line.split()[3] == "0A"}


def serve(root: Path, stage: Stage) -> None:
    raise_loopback()
    command = inside(root, stage, [*stage.entrypoint, *stage.command])
    daemon = subprocess.Popen(command)
    try:
        for port in (7420, 7422, 7423, 7424, 7425):
            assert greeting(port) == b"\xff", f"no ZeroMQ on {port}"
            assert f"00000000:{port:04X}" in listeners(), f"{port} is not open to the outside"
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        assert "\nUid:\t0" not in status, "it runs as root"
        daemon.send_signal(signal.SIGHUP)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(PATIENCE) == 0, f"exit status {daemon.returncode}"
    finally:
        daemon.kill()


def main() -> None:
    dockerfile, cache = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    builder = Builder(dockerfile, cache)
    image = builder.build()
    builder.forget_unused()
    print("running", *image.entrypoint, *image.command, flush=True)
    top = cache / "container"
    shutil.rmtree(top, ignore_errors=True)
    with Mounted(image, top, cache / "root") as root:
        child = os.fork()
        if child == 0:
            leave_network()
            serve(root, image)
            os._exit(0)
        _, status = os.waitpid(child, 0)
    shutil.rmtree(top)
    if status != 0:
        raise SystemExit("the container does not work")
    print("the container's steps: ok")


if __name__ == "__main__":
    main()
