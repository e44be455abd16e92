"""The example as a whole, on a part of its rows: every number right, whatever is killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TIMEOUT = 180  # s


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    subprocess.run([HERE / "build.sh"], check=True)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [sys.executable, HERE / "run.py", "--folder", folder, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT / "workers/python/src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    print(ended.stdout)
    return ended


def test_every_number_is_that_of_one_process(tmp_path: Path) -> None:
    ended = run(tmp_path, "--rows", "50000")
    assert ended.returncode == 0
    assert "check: all " in ended.stdout
    assert "50,000 rows" in ended.stdout
    assert " 0 dropped" not in ended.stdout  # the rules have something to drop


def test_the_numbers_are_the_same_when_each_part_is_killed(tmp_path: Path) -> None:
    ended = run(tmp_path, "--rows", "100000", "--kill")
    assert ended.returncode == 0
    assert "check: all " in ended.stdout
    for victim in ("cpp", "python", "javascript", "go"):
        assert f"killed the worker in {victim} (-9)" in ended.stdout
    assert "killed tuskd's client (-9)" in ended.stdout


def test_one_altered_row_fails_the_check(tmp_path: Path) -> None:
    ended = run(tmp_path, "--rows", "20000", "--alter", "777")
    assert ended.returncode == 1
    assert "check: all all, minutes of delay: stored" in ended.stdout
    assert "check: FAILED" in ended.stdout


@pytest.mark.skipif(
    not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")), reason="there is no initdb"
)
def test_postgresql_stores_the_same(tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("tuskd-flights-*"))
    ended = run(tmp_path, "--rows", "20000", "--postgresql")
    assert ended.returncode == 0
    assert "check: all " in ended.stdout
    assert set(Path("/tmp").glob("tuskd-flights-*")) <= before  # the cluster is gone
