"""Writes the vectors of TUSK/1 from definitions made by hand. See README.md.

Independent of tuskd's codec and of the SDKs on purpose.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import bodies
import lz4_frames
import malformed
import packets

HERE = Path(__file__).parent


def text(entries: list[dict[str, Any]]) -> str:
    """One entry a line, so that a change shows as a line."""
    lines = ",\n".join(json.dumps(entry, ensure_ascii=True) for entry in entries)
    return f"[\n{lines}\n]\n"


def main() -> int:
    files = {
        "packets/v1.json": packets.entries(),
        "malformed/v1.json": malformed.entries(),
        "bodies/v1.json": bodies.entries(),
        "lz4/v1.json": lz4_frames.entries(),
    }
    check = sys.argv[1:] == ["--check"]
    bad = 0
    for name, entries in files.items():
        names = [entry["name"] for entry in entries]
        twice = {n for n in names if names.count(n) > 1}
        if twice:
            print(f"{name}: the same name twice: {sorted(twice)}", file=sys.stderr)
            return 2
        path = HERE / name
        wanted = text(entries)
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted)
            print(f"{name}: {len(entries)}")
        elif not path.exists() or path.read_text() != wanted:
            print(f"{name} differs from what make.py writes", file=sys.stderr)
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
