"""A world of all four languages for the tests of this folder, and a matrix of what they showed.

A test says by `@pytest.mark.shows("feature")` what it is about. Its parameters `client`, `worker`
or `language` say for which languages; at the end of the run a table has a mark for each.
"""

from collections.abc import Iterator

import pytest

from .fixtures import Programs, World, built, make_world, programs, wait_for_workers
from .programs import LANGUAGES

__all__ = ["built", "programs"]

TOPICS = [f"from-{language}" for language in LANGUAGES]
STAGES = [f"{kind}-{language}" for language in LANGUAGES for kind in ("mark", "batch")]
CONFIG = f"""
[ipc_patterns]
request_reply:
  timeout_ms: 60000
publish_subscribe:
  topics: [{", ".join(f'"{topic}"' for topic in TOPICS)}]
pipeline:
  stages: [{", ".join(f'"{stage}"' for stage in STAGES)}]
[types]
""" + "".join(
    f"""
flaky-limited-{language}: {{order_on_dead: block}}
sleep-limited-{language}: {{concurrency: 2}}
stopping-limited-{language}: {{key_concurrency: 1}}
echo-limited-{language}: {{rate: 10/s, burst: 1}}
count-limited-{language}: {{key_rate: 10/s, key_burst: 1}}
deferring-limited-{language}: {{rate: 1/s, burst: 1}}
costing-limited-{language}: {{rate: 1/s, burst: 1}}
"""
    for language in LANGUAGES
)
CONFIG += "[topics]\n" + "".join(
    f"""
"state-{language}.door": {{retain: true}}
"state-{language}.window": {{}}
"rated-{language}": {{rate: 1/s, burst: 1}}
"""
    for language in LANGUAGES
)
KEYS = """
compression_threshold: 64B
max_body: 20MB
unserved_grace: 200ms
"""


@pytest.fixture(scope="session")
def world(built: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from make_world(tmp_path_factory.mktemp("world"), CONFIG, KEYS)


@pytest.fixture(scope="session")
def plain_world(built: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Nothing is compressed here."""
    config = CONFIG + '[ipc_config]\ncompression: "none"\n'
    yield from make_world(tmp_path_factory.mktemp("plain"), config, KEYS)


@pytest.fixture(scope="session")
def limited(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world, and workers of all languages for the types that have limits in CONFIG: names with
    `-limited-LANGUAGE` behind them."""
    programs = Programs(tmp_path_factory.mktemp("limited"))
    try:
        for language in LANGUAGES:
            programs.worker(
                language,
                world.broker.url,
                name=f"limited-{language}",
                TUSK_TEST_SUFFIX=f"-limited-{language}",
                TUSK_TEST_COUNTS=str(world.counts),
            )
        wait_for_workers(world.broker, *(f"limited-{language}" for language in LANGUAGES))
        yield world
    finally:
        programs.end()


# ---- the matrix ----

MARKS = {"passed": "yes", "failed": "NO", "skipped": "skipped"}
outcomes: dict[str, dict[tuple[str, ...], str]] = {}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shows(feature): a row of the matrix of features")


def languages_of(item: pytest.Item) -> tuple[str, ...]:
    parameters = getattr(item, "callspec", None)
    values = parameters.params if parameters else {}
    return tuple(values[name] for name in ("client", "worker", "language") if name in values)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    report = yield
    marker = item.get_closest_marker("shows")
    if marker and (report.when == "call" or report.outcome != "passed"):
        row = outcomes.setdefault(marker.args[0], {})
        for languages in [languages_of(item)] if languages_of(item) else [(x,) for x in LANGUAGES]:
            if row.get(languages) != "failed":
                row[languages] = report.outcome
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A whole run with a hole in its matrix has not passed."""
    chosen = session.config.option.keyword or any("::" in arg for arg in session.config.args)
    holes = [
        feature
        for feature, row in outcomes.items()
        if len(row) < len(LANGUAGES) ** len(next(iter(row)))
    ]
    if holes and not chosen and exitstatus == pytest.ExitCode.OK:
        print(f"\nno word about some language: {', '.join(holes)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def table(rows: dict[str, dict[str, str]], corner: str) -> list[str]:
    width = max(len(name) for name in [corner, *rows]) + 2
    head = f"{corner:{width}}" + "".join(f"{language:12}" for language in LANGUAGES)
    return [
        head,
        *(
            f"{name:{width}}"
            + "".join(f"{MARKS.get(row.get(lang, ''), '-'):12}" for lang in LANGUAGES)
            for name, row in rows.items()
        ),
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    features: dict[str, dict[str, str]] = {}
    for feature, row in outcomes.items():
        if any(len(key) == 2 for key in row):
            pairs: dict[str, dict[str, str]] = {}
            for (client, worker), outcome in row.items():
                pairs.setdefault(client, {})[worker] = outcome
            terminalreporter.section(f"{feature}: client (row) to worker (column)")
            for line in table(pairs, ""):
                terminalreporter.write_line(line)
        else:
            features[feature] = {key[0]: outcome for key, outcome in row.items()}
    if features:
        terminalreporter.section("what every SDK does")
        for line in table(features, "feature"):
            terminalreporter.write_line(line)
