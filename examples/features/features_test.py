"""Each program of this folder prints what expected/ says, whatever its language.

A program finds its tuskd by $TUSK_URL and is client and worker in one.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from conftest import BUILD, Tuskd  # noqa: E402

FEATURES = sorted(path.stem for path in (HERE / "expected").glob("*.txt"))
LANGUAGES = ("python", "javascript", "go", "cpp")
# What the examples need of the config: limits and topics stand there.
KEYS = "unserved_grace: 200ms"
CONFIG = (
    "[types]\n"
    + "".join(f"limits-{lang}:\n  key_concurrency: 2\n" for lang in LANGUAGES)
    + "[topics]\n"
    + "".join(
        f'"state-{lang}.door":\n  retain: true\n"state-{lang}.window": {{}}\n' for lang in LANGUAGES
    )
)


def expected(feature: str) -> list[str]:
    lines = (HERE / "expected" / f"{feature}.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("# ")]


@pytest.fixture(scope="session")
def go_programs() -> Path:
    out = ROOT / "build" / "go-features"
    out.mkdir(parents=True, exist_ok=True)
    assert shutil.which("go"), "go is missing; run scripts/setup"
    subprocess.run(["go", "build", "-o", f"{out}/", "./..."], cwd=HERE / "go", check=True)
    return out


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory):
    tuskd = Tuskd(tmp_path_factory.mktemp("features"), CONFIG, KEYS).start()
    yield tuskd
    tuskd.stop()


def command(language: str, feature: str, go: Path) -> list[str]:
    return {
        "python": [sys.executable, str(HERE / "python" / f"{feature}.py")],
        "javascript": ["node", str(HERE / "js" / f"{feature}.mjs")],
        "go": [str(go / feature)],
        "cpp": [str(BUILD / "examples" / f"feature_{feature}")],
    }[language]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("feature", FEATURES)
def test_prints_what_it_shows(
    broker: Tuskd, go_programs: Path, feature: str, language: str
) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("TUSK_")}
    env |= {
        "TUSK_URL": broker.url,
        "PYTHONPATH": str(ROOT / "workers" / "python" / "src"),
    }
    done = subprocess.run(
        command(language, feature, go_programs),
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected(feature), done.stderr
