"""tuskd's client: pushes ranges of rows into the stage `ingestion`.

It can be killed at any time and started again: the ids of its items follow from the run and the
row, and how far it came stands in a file. run.py starts it.
"""

import argparse
import os
import time
from pathlib import Path

from tuskd import Client

RANGE = 5000  # rows
AHEAD = 6  # ranges that wait or run in the stage: enough to keep it busy
LOOK_EVERY = 0.02  # s
FIRST_RANGE_ID = 1 << 47  # range ids stand above row ids


def item_id(run: bytes, number: int) -> bytes:
    """16 bytes, a UUIDv7: the run's ten and a number of 48 bits."""
    return run + number.to_bytes(6, "big")


def wait_for_room(client: Client) -> None:
    """Returns when the stage holds less than AHEAD ranges."""
    while True:
        stage = client.query("stages")[0]
        if stage["waiting"] + stage["running"] < AHEAD:
            return
        time.sleep(LOOK_EVERY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="rows, as prepare.py writes them")
    parser.add_argument("rows", type=int, help="push the first so many")
    parser.add_argument("run", type=bytes.fromhex, help="the first ten bytes of every id")
    parser.add_argument("progress", type=Path, help="file that says how many rows are handed over")
    args = parser.parse_args()

    done = int(args.progress.read_text()) if args.progress.exists() else 0
    with Client(timeout=60) as client:
        for start in range(done, args.rows, RANGE):
            wait_for_room(client)
            end = min(start + RANGE, args.rows)
            client.push(
                "ingestion",
                {"file": str(args.file), "from": start, "to": end, "run": args.run},
                id=item_id(args.run, FIRST_RANGE_ID + start),
                resent=True,  # perhaps: by the one before us, that was killed before it noted it
                rerun_ok=True,
            )
            note(args.progress, end)


def note(progress: Path, rows: int) -> None:
    fresh = progress.with_suffix(".new")
    fresh.write_text(str(rows))
    os.replace(fresh, progress)


if __name__ == "__main__":
    main()
