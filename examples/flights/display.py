"""What run.py shows: a progress bar with the busiest routes while rows flow, a table at the end."""

import time
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from tuskd import Subscription, Timeout

LINE_EVERY = 5.0  # s, where the output is no terminal
REFRESH = 0.25  # s
LATE = 15  # minutes

console = Console(highlight=False)
Stages = list[dict[str, Any]]


class Course:
    """How far the rows are, from `query stages`, and how fast they came."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.ingested = self.dropped = self.stored = self.dead = 0
        self.idle = False
        self._began = self._seen = time.monotonic()
        self._ingested_at = self._ended_at = self._began

    def take(self, stages: Stages) -> bool:
        """Takes the counters of now; whether they have changed."""
        now = time.monotonic()
        before = (self.ingested, self.dropped, self.stored)
        _, transformation, _, storage = stages
        self.ingested = transformation["pushed"]
        self.dropped = transformation["dropped"]
        self.stored = storage["done"]
        self.dead = sum(stage["dead"] for stage in stages)
        self.idle = not any(s["waiting"] or s["running"] or s["parked"] for s in stages)
        if before[0] == 0:
            self._began = self._seen  # nothing had come the time before
        if before[0] < self.rows:
            self._ingested_at = now
        self._seen = self._ended_at = now
        return before != (self.ingested, self.dropped, self.stored)

    @property
    def through(self) -> int:
        return self.dropped + self.stored

    @property
    def seconds(self) -> float:
        return max(self._ended_at - self._began, 1e-3)

    @property
    def ingest_rate(self) -> float:
        return self.rows / max(self._ingested_at - self._began, 1e-3)

    @property
    def rate(self) -> float:
        return self.through / self.seconds


class Display:
    """The live part. Without a terminal it prints a line now and then."""

    def __init__(self, rows: int, top: Subscription) -> None:
        self._top = top
        self._routes: list[tuple[str, int]] = []
        self._line_due = time.monotonic() + LINE_EVERY
        self._bar = Progress(
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} rows"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]:,.0f}/s"),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task("", total=rows, rate=0)
        self._live: Live | None = None

    def __enter__(self) -> "Display":
        if console.is_terminal:
            self._live = Live(self._picture(), console=console, refresh_per_second=1 / REFRESH)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
            self._live.stop()

    def update(self, course: Course) -> None:
        self._bar.update(self._task, completed=course.through, rate=course.rate)
        try:
            while True:
                self._routes = self._top.get(timeout=0).body
        except Timeout:
            pass
        if self._live is not None:
            self._live.update(self._picture())
        elif time.monotonic() >= self._line_due:
            self._line_due += LINE_EVERY
            busiest = self._routes[0][0] if self._routes else "-"
            say(f"{course.through:,} rows through, {course.rate:,.0f}/s; busiest so far: {busiest}")

    def _picture(self) -> Group:
        table = Table("busiest routes so far", "flights", box=None)
        for route, flights in self._routes:
            table.add_row(route, f"{flights:,}")
        return Group(table, self._bar)


def say(text: str) -> None:
    console.print(f"flights: {text}", markup=False, soft_wrap=True)


def summary(
    course: Course, aggregates: dict[str, Any], goal: int, cpu_seconds: dict[str, float]
) -> None:
    """The table of what was stored, and the rates against what the config asks for."""
    table = Table("", "flights", "mean delay, min", "late, %", "mean distance, miles")
    routes = sorted(aggregates["route"].items(), key=lambda item: -item[1][0])[:10]
    for key, (flights, delay, miles, late, *_) in [*aggregates["all"].items(), *routes]:
        numbers = (delay / flights, 100 * late / flights, miles / flights)
        table.add_row(key, f"{flights:,}", *(f"{number:,.1f}" for number in numbers))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
    stored = sum(measures[0] for measures in aggregates["all"].values())
    say(
        f"{course.rows:,} rows in {course.seconds:.1f} s: {course.dropped:,} dropped by the rules, "
        f"{stored:,} stored; late is over {LATE} minutes"
    )
    for name, rate in (("ingest", course.ingest_rate), ("end to end", course.rate)):
        say(f"{name}: {rate:,.0f} rows/s; the config asks for {goal:,}/s")
        if rate < goal:
            say(f"warning: {name} is below it, at {100 * rate / goal:.0f} %")
    if not cpu_seconds:
        return
    shares = (f"{name} {1e6 * t / course.rows:.1f}" for name, t in cpu_seconds.items())
    say(f"CPU time per row in µs: {', '.join(shares)}")
