"""What the `count` handlers wrote down: which task ran, how often, and where."""

from collections import Counter
from pathlib import Path


class Counts:
    def __init__(self, file: Path) -> None:
        self.file = file

    def lines(self) -> list[list[str]]:
        """[id, attempt, n, type] of each run."""
        if not self.file.exists():
            return []
        return [line.split() for line in self.file.read_text().splitlines()]

    def total(self) -> int:
        return self.file.read_bytes().count(b"\n") if self.file.exists() else 0

    def runs(self) -> Counter[str]:
        """How often each task ran, by its id."""
        return Counter(line[0] for line in self.lines())

    def check_each_ran_once(self, tasks: int) -> None:
        runs = self.runs()
        twice = [line for line in self.lines() if runs[line[0]] > 1]
        assert not twice, f"{len(twice)} runs of tasks that ran more than once: {twice[:6]}"
        assert len(runs) == tasks, f"{tasks} tasks, and {len(runs)} of them ran"
