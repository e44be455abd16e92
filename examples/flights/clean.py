"""Transformation, in Python: drops the flights that cannot be true. README.md has the rules."""

from pathlib import Path
from typing import Any

import pandas as pd

import tuskd

FIELDS = ["minute", "delay", "distance", "origin", "destination"]

MOST_EARLY = -60  # minutes: nobody lands more than an hour before the plan
MOST_LATE = 24 * 60  # minutes: after a day it is another flight
SHORTEST = 50  # miles: less is a hop to another airport of the same city

AIRPORTS = Path(__file__).parent / "js/node_modules/vega-datasets/data/airports.csv"
known = pd.Index(pd.read_csv(AIRPORTS, usecols=["iata"], dtype=object)["iata"])

worker = tuskd.Worker(slots=2000)


@worker.stage("data_cleaning", batch=1000, wait=0.002)
def clean(flights: list[list[Any]]) -> list[Any]:
    """Each flight as it came, or DROP in its place."""
    # As Python objects: to find better types for so few rows takes longer than to use them.
    frame = pd.DataFrame(flights, columns=FIELDS, dtype=object)
    plausible = (
        frame["delay"].between(MOST_EARLY, MOST_LATE)
        & (frame["distance"] >= SHORTEST)
        & (frame["origin"] != frame["destination"])
        & (known.get_indexer(frame["origin"]) >= 0)
        & (known.get_indexer(frame["destination"]) >= 0)
    )
    return [flight if keep else tuskd.DROP for flight, keep in zip(flights, plausible, strict=True)]


if __name__ == "__main__":
    worker.run()
