"""Workers of all languages in [workers], and what the machine knows of their processes."""

import json
import re
from pathlib import Path

from conformance.programs import LANGUAGES, ROOT, command
from conftest import Tuskd


def entry(language: str, name: str | None = None, more: str = "", **env: str) -> str:
    """One entry of [workers]; keys of `more` stand behind it."""
    env = {"PYTHONPATH": str(ROOT / "workers" / "python" / "src")} | env
    environment = ", ".join(f"{key}: {json.dumps(value)}" for key, value in env.items())
    return f"""{name or language}:
  language: {language}
  command: {json.dumps(command(language, "worker"))}
  environment: {{{environment}}}
{more}
"""


def all_languages(**env: str) -> str:
    return "[workers]\n" + "".join(entry(language, **env) for language in LANGUAGES)


def processes_of(broker: Tuskd) -> dict[int, str]:
    """Pids and names of the worker processes that some tuskd with this URL started."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue  # it ended, or is somebody else's
        values = dict(v.decode(errors="replace").split("=", 1) for v in variables if b"=" in v)
        if values.get("TUSK_URL") == broker.url and "TUSK_LAUNCH" in values and state != "Z":
            found[int(folder.name)] = values["TUSK_WORKER"]
    return found


def lines_of(broker: Tuskd, name: str, since: int = 0) -> list[int]:
    """The numbers in "line N" that the log has from a worker, from this place of the log on."""
    return [int(n) for n in re.findall(rf"\[{name}\] line (\d+)$", broker.log_text()[since:], re.M)]


def printed(broker: Tuskd, name: str) -> list[int]:
    """The same from the worker's own output file."""
    text = (broker.folder / "state" / "workers" / f"{name}.log").read_text()
    return [int(n) for n in re.findall(r"^line (\d+)$", text, re.M)]
