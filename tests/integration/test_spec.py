"""The programs in proto/SPEC.md work as they stand, and SPEC names what the code has."""

import re
import subprocess
import sys

from conftest import ROOT, wait_for

SPEC = (ROOT / "proto" / "SPEC.md").read_text()
REQ, WORKER, CLIENT = re.findall(r"```python\n(.*?)```", SPEC, re.S)


def test_the_programs_of_the_spec_work(tuskd):
    broker = tuskd()

    def start(program):
        text = program.replace("tcp://127.0.0.1:7420", broker.url)
        return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)

    worker = start(WORKER)
    try:
        wait_for(lambda: broker.query("workers"), "the worker")
        assert start(REQ).communicate(timeout=60)[0] == "True 3\n"
        lines = start(CLIENT).communicate(timeout=60)[0].splitlines()
        assert sorted(int(line.split()[1]) for line in lines) == [n + 1 for n in range(1, 101)]
    finally:
        worker.kill()
        worker.wait()


def test_the_programs_of_the_spec_are_short():
    assert all(len(text.splitlines()) < 40 for text in (REQ, WORKER, CLIENT))


def test_every_error_code_of_the_code_stands_in_the_spec():
    header = (ROOT / "proto" / "wire.h").read_text()
    codes = set(re.findall(r'string_view k\w+ = "(\w+)"', header))
    documented = set(re.findall(r"`(\w+)`", SPEC[SPEC.index("## Errors") : SPEC.index("## REQ")]))
    assert codes and codes <= documented


def test_every_kind_of_the_code_stands_in_the_spec():
    header = (ROOT / "proto" / "wire.h").read_text()
    enum = header[header.index("enum class Kind") : header.index("kUnknown")]
    kinds = {int(n) for n in re.findall(r"= (\d+),", enum)}
    documented = {int(n) for n in re.findall(r"^\| (\d+) \| `\[", SPEC, re.M)}
    assert kinds == documented
