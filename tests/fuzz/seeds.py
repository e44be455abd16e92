"""Writes what a campaign begins with besides the kept corpus: inputs and dictionaries made from the
vectors, the test data and the reference of the keys.

    seeds.py TARGET FOLDER     # inputs into FOLDER/seeds, a dictionary as FOLDER/dict
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def vectors(kind: str) -> list[dict[str, str]]:
    entries: list[dict[str, str]] = json.loads((ROOT / f"proto/vectors/{kind}/v1.json").read_text())
    return entries


def configurations() -> Iterator[bytes]:
    for path in sorted((ROOT / "config").rglob("*.tsk")):
        yield path.read_bytes()


def packets() -> Iterator[bytes]:
    for kind in ("packets", "malformed"):
        for entry in vectors(kind):
            if len(entry["bytes"]) < 8000:
                yield bytes.fromhex(entry["bytes"])


def frames() -> Iterator[bytes]:
    for entry in vectors("lz4"):
        if len(frame := bytes.fromhex(entry["frame"])) < 4000:
            yield b"\0" + frame
            yield b"\2" + frame


def messages() -> Iterator[bytes]:
    bodies = [bytes.fromhex(e["bytes"]) for e in vectors("bodies") if "bytes" in e]
    for body in bodies:
        yield b"\1" + body
    yield b'\0{"a": 1, "b": [2, {"y": null}], "next": {"a": 0.5}, "n_ab": [true, 1e3, "\\u00e9"]}'
    yield b"\2\x08\x01\x12\x02\x08\x02\x1a\x02\x08\x03\x33\x38\x02\x34\x42\x04\x01\x00\x00\x00"
    for path in sorted((ROOT / "config").rglob("*.json")):
        if path.parent.name == "schemas":
            for form in (b"\3", b"\4"):
                yield form + path.read_bytes() + b'\0{"user": {"id": 1}}'
    for path in sorted((ROOT / "config").rglob("*.proto")):
        yield b"\5" + path.read_bytes() + b"\0\x0a\x01x"


def scripts() -> Iterator[bytes]:
    # A worker and a client greet, then what mutation makes of numbers that count up.
    greetings = bytes([0, 0, 5, 3 | 128, 0, 1, 5, 0, 0])
    for start in range(0, 256, 16):
        yield greetings + bytes((start + 7 * n) % 256 for n in range(200))


SEEDS = {
    "tusklang": configurations,
    "config": configurations,
    "packet": packets,
    "lz4": frames,
    "messages": messages,
    "core": scripts,
}


def dictionary(target: str) -> str:
    kept = HERE / f"{target}.dict"
    if target != "config":
        return kept.read_text() if kept.exists() else ""
    keys = (ROOT / "config/KEYS.md").read_text()
    names = re.findall(r"^## (\[\w+\])$", keys, re.M)
    for path in re.findall(r"^\| `([\w.]+)`", keys, re.M):
        names += [f"{name}:" for name in path.split(".") if not name.isupper()]
    words = "".join(f'"{name}"\n' for name in dict.fromkeys(names))
    return (HERE / "tusklang.dict").read_text() + words


def main() -> None:
    target, folder = sys.argv[1], Path(sys.argv[2])
    (folder / "seeds").mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]()):
        (folder / "seeds" / f"{number:04}").write_bytes(seed)
    (folder / "dict").write_text(dictionary(target))


main()
