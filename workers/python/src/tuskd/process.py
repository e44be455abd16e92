"""What the broker is told about this process, and dying with one's parent. Linux."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

_PR_SET_PDEATHSIG = 1


def identity() -> dict[str, Any]:
    """pid, pid_ns and boot_id for hello, as far as the system tells them."""
    out: dict[str, Any] = {"pid": os.getpid()}
    try:
        out["pid_ns"] = os.stat("/proc/self/ns/pid").st_ino
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            out["boot_id"] = file.read().strip()
    except OSError:
        return {"pid": os.getpid()}  # another system: the broker goes by the connection alone
    return out


def die_with_parent(parent: int) -> None:
    """Makes the kernel kill this process when the thread that made it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
