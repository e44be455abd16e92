"""The input: three million flights as a Parquet file, and what ingest.cc reads, 16 bytes a row."""

import hashlib
import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PARQUET = HERE / "js/node_modules/vega-datasets/data/flights-3m.parquet"
ROWS = ROOT / "build/data/flights-3m.rows"
ROWS_IN_ALL = 3_000_000
# The layout is described at the top of ingest.cc.
LAYOUT = [
    ("minute", "<u4"),
    ("delay", "<i2"),
    ("distance", "<u2"),
    ("origin", "S4"),
    ("destination", "S4"),
]


def prepare() -> Path:
    """The file of rows; made anew only when the Parquet file or this program changed."""
    if not PARQUET.is_file():
        raise SystemExit(f"{PARQUET} is missing: run scripts/setup")
    stamp = ROWS.with_suffix(".stamp")
    digest = hashlib.sha256(PARQUET.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    if ROWS.is_file() and stamp.is_file() and stamp.read_text() == digest:
        return ROWS
    ROWS.parent.mkdir(parents=True, exist_ok=True)
    # Written beside it and renamed: whoever finds the file finds all of it.
    fresh = ROWS.with_suffix(f".{os.getpid()}")
    _convert(fresh)
    os.replace(fresh, ROWS)
    stamp.write_text(digest)
    return ROWS


def _convert(target: Path) -> None:
    import numpy as np
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(PARQUET)
    rows = np.empty(len(table), LAYOUT)
    since = table["date"].to_numpy() - np.datetime64("2001-01-01")
    rows["minute"] = since // np.timedelta64(1, "m")
    for name in ("delay", "distance"):
        column = table[name].to_numpy()
        rows[name] = column
        if not (rows[name] == column).all():
            raise ValueError(f"a {name} does not fit 16 bits")
    for name in ("origin", "destination"):
        column = table[name].combine_chunks().dictionary_encode()
        codes = column.dictionary.to_pylist()
        if any(len(code) != 3 or not code.isascii() for code in codes):
            raise ValueError(f"an airport of {name} has no code of three letters")
        rows[name] = np.array(codes, "S4")[column.indices.to_numpy()]
    rows.tofile(target)


if __name__ == "__main__":
    print(prepare())
