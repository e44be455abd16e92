"""The check: one process, pandas, no code of the pipeline, the same numbers.

    check.py FLIGHTS.parquet AIRPORTS.csv ROWS < aggregates.json

Computes from the Parquet file what storage computed from its table, and compares every number.
Exit status 0: all are equal; 1: not, with the first that differ.
"""

import json
import sys
from collections.abc import Iterator

import pandas as pd

Groups = dict[str, dict[str, list[int]]]

MEASURES = [
    "flights",
    "minutes of delay",
    "miles",
    "flights over 15 minutes late",
    "sum of row numbers",
    "sum of row number x minute",
    "sum of row number x delay",
    "sum of row number x distance",
]
SHOWN = 10


def expected(parquet: str, airports: str, rows: int) -> Groups:
    flights = pd.read_parquet(parquet).head(rows)
    codes = set(pd.read_csv(airports, dtype=str)["iata"].dropna())
    too_early = flights["delay"] < -60
    too_late = flights["delay"] > 1440
    too_short = flights["distance"] < 50
    nowhere = ~(flights["origin"].isin(codes) & flights["destination"].isin(codes))
    loop = flights["origin"] == flights["destination"]
    true = flights[~(too_early | too_late | too_short | nowhere | loop)].copy()

    row = true.index.to_series()
    true["route"] = true["origin"] + "-" + true["destination"]
    true["hour"] = true["date"].dt.hour
    true["all"] = "all"
    true["late"] = (true["delay"] > 15).astype("int64")
    true["row"] = row
    true["row x minute"] = row * ((true["date"] - pd.Timestamp(2001, 1, 1)) // pd.Timedelta("1min"))
    true["row x delay"] = row * true["delay"]
    true["row x distance"] = row * true["distance"]
    summed = ["delay", "distance", "late", "row", "row x minute", "row x delay", "row x distance"]
    groups: Groups = {}
    for name in ("all", "hour", "origin", "destination", "route"):
        by = true.groupby(name, observed=True)
        table = pd.concat([by.size(), by[summed].sum()], axis=1)
        groups[name] = {str(k): [int(n) for n in v] for k, *v in table.itertuples(name=None)}
    return groups


def differences(want: Groups, got: Groups) -> Iterator[str]:
    for name in sorted(want.keys() | got.keys()):
        ours, theirs = want.get(name, {}), got.get(name, {})
        for key in sorted(ours.keys() | theirs.keys()):
            a, b = ours.get(key), theirs.get(key)
            if a is None or b is None:
                yield f"{name} {key}: {'is not stored' if b is None else 'is not in the file'}"
            elif len(a) != len(b):
                yield f"{name} {key}: {len(b)} numbers are stored, not {len(a)}"
            else:
                for measure, x, y in zip(MEASURES, a, b, strict=True):
                    if x != y:
                        yield f"{name} {key}, {measure}: stored {y:,}, pandas says {x:,}"


def main() -> int:
    parquet, airports, rows = sys.argv[1:]
    want = expected(parquet, airports, int(rows))
    found = list(differences(want, json.load(sys.stdin)))
    for line in found[:SHOWN]:
        print(f"check: {line}")
    if found:
        print(f"check: FAILED, {len(found):,} differences")
        return 1
    numbers = sum(len(measures) for group in want.values() for measures in group.values())
    print(f"check: all {numbers:,} numbers are those of pandas on the Parquet file")
    return 0


if __name__ == "__main__":
    sys.exit(main())
