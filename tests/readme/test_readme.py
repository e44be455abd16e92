"""Every block of README.md, run as a stranger would run it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BUILD, ROOT, wait_for

TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.S)


def block(language: str, first: str) -> str:
    """The block of this language that contains `first`."""
    found = [text for lang, text in BLOCKS if lang == language and first in text]
    assert len(found) == 1, f"{len(found)} {language} blocks with {first!r}"
    return found[0]


USED = {
    "sh": ["scripts/demo", "scripts/setup &&", "tuskd\n", "tuskctl workers", "tuskd --check"],
    "python": ["# worker.py", "# client.py"],
    "js": ["// client.mjs", "// worker.mjs"],
    "text": ["1 + 2 = 3"],
    "go": ["// client.go"],
    "cpp": ["// client.cc"],
    "tusklang": ["[orchestration]"],
}


def test_every_block_is_run_here() -> None:
    picture = 1  # drawn without a language
    named = sum(len(firsts) for firsts in USED.values())
    assert len(BLOCKS) == named, "README.md has a block that this test does not run"
    assert TEXT.count("```") == 2 * (named + picture)


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the three terminals, with the daemon and the Python worker running."""
    folder = tmp_path_factory.mktemp("hello")
    setup = block("sh", "scripts/setup &&").replace("/tmp/hello-tusk", str(folder))
    subprocess.run(["bash", "-euc", setup], cwd=ROOT, check=True, timeout=600)
    (folder / "worker.py").write_text(block("python", "# worker.py"))
    environment = shell_environment()
    log = (folder / "log").open("wb")
    daemon = subprocess.Popen(
        ["bash", "-c", "exec " + block("sh", "tuskd\n").strip()],
        cwd=folder,
        env=environment,
        stderr=log,
    )
    worker = subprocess.Popen(["venv/bin/python", "worker.py"], cwd=folder, env=environment)
    text = folder / "log"
    wait_for(lambda: "listens on" in text.read_text() or daemon.poll() is not None)
    assert daemon.poll() is None, text.read_text()
    yield folder
    for process in (worker, daemon):
        process.terminate()
        assert process.wait(30) == 0


def shell_environment() -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if k != "TUSK_URL"}
    path = f"{BUILD / 'daemon'}:{environment['PATH']}"
    return environment | {"PATH": path, "TUSK": str(ROOT)}


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=shell_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_two_commands_are_there() -> None:
    for line in block("sh", "scripts/demo").splitlines():
        assert os.access(ROOT / line.split()[0], os.X_OK)


def test_three_terminals(hello: Path) -> None:
    (hello / "client.mjs").write_text(block("js", "// client.mjs"))
    assert run(hello, "node", "client.mjs") == block("text", "1 + 2")


def test_the_programs_of_three_terminals_have_six_lines() -> None:
    for text in (block("python", "# worker.py"), block("js", "// client.mjs")):
        assert len(text.strip().splitlines()) - 1 <= 6


def test_tuskctl(hello: Path) -> None:
    workers, submit, status = block("sh", "tuskctl workers").strip().splitlines()
    assert "python" in run(hello, "bash", "-c", workers)
    assert run(hello, "bash", "-c", submit) == "42\n"
    assert '"succeeded"' in run(hello, "bash", "-c", status)


def test_the_python_client(hello: Path) -> None:
    (hello / "client.py").write_text(block("python", "# client.py"))
    assert run(hello, "venv/bin/python", "client.py") == "3\n"


def test_the_javascript_worker(hello: Path) -> None:
    text = block("js", "// worker.mjs").replace('"add"', '"add-js"')
    (hello / "worker.mjs").write_text(text)
    worker = subprocess.Popen(["node", "worker.mjs"], cwd=hello, env=shell_environment())
    try:
        assert run(hello, "tuskctl", "submit", "add-js", '{"a": 1, "b": 2}') == "3\n"
    finally:
        worker.terminate()
        assert worker.wait(30) == 0


def test_the_go_client_from_an_empty_project(hello: Path, tmp_path: Path) -> None:
    (tmp_path / "client.go").write_text(block("go", "// client.go"))
    commands = re.search(r"\*\*Go\*\*: `(.*?)`, then\s+`(.*?)`", TEXT)
    assert commands
    run(tmp_path, "go", "mod", "init", "example.com/hello")
    for command in commands.groups():
        run(tmp_path, "bash", "-c", command)
    assert run(tmp_path, "go", "run", "client.go") == "3 <nil>\n"


CMAKE = """cmake_minimum_required(VERSION 3.25)
project(hello CXX)
set(CMAKE_CXX_STANDARD 20)
find_package(tusk REQUIRED)
add_executable(app client.cc)
target_link_libraries(app tusk::tusk)
"""


def test_the_cpp_client_from_an_empty_project(hello: Path, tmp_path: Path) -> None:
    (tmp_path / "client.cc").write_text(block("cpp", "// client.cc"))
    (tmp_path / "CMakeLists.txt").write_text(CMAKE)
    command = re.search(r"`(cmake --install .*?) --prefix /usr/local`", TEXT)
    assert command and "target_link_libraries(app tusk::tusk)" in TEXT
    prefix = tmp_path / "prefix"
    run(ROOT, *command.group(1).split(), "--prefix", str(prefix))
    assert (prefix / "bin" / "tuskd").exists() and (prefix / "bin" / "tuskctl").exists()
    run(tmp_path, "cmake", "-S", ".", "-B", "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run(tmp_path, "cmake", "--build", "build")
    assert run(tmp_path, "build/app") == "3\n"


def test_the_configuration(hello: Path, tmp_path: Path) -> None:
    file = tmp_path / "orchestration.tsk"
    file.write_text(block("tusklang", "[orchestration]"))
    (tmp_path / "venv").symlink_to(hello / "venv")
    shutil.copy(hello / "worker.py", tmp_path)
    check, show = block("sh", "tuskd --check").strip().splitlines()
    assert run(tmp_path, "bash", "-c", check) == "orchestration.tsk: ok\n"
    assert '"sums"' in run(tmp_path, "bash", "-c", show)
    # Not on the ports of the daemon that runs already.
    names = ("events_in", "events_out", "pipeline_in", "pipeline_out")
    edges = "".join(f"{name}: null\n" for name in names)
    file.write_text(
        f'[tuskd]\nendpoint: "ipc://{tmp_path}/router"\nstate: "state"\n{edges}\n{file.read_text()}'
    )
    daemon = subprocess.Popen(["tuskd", file], cwd=tmp_path, env=shell_environment())
    try:
        url = f"ipc://{tmp_path}/router"
        body = '{"a": 1, "b": 2}'
        assert run(tmp_path, "tuskctl", "--url", url, "submit", "add", body) == "3\n"
        wait_for(lambda: run(tmp_path, "tuskctl", "--url", url, "workers").count("sums-") == 2)
    finally:
        daemon.terminate()
        assert daemon.wait(30) == 0


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
