"""Writes README.md beside this file: every feature, in the four languages, side by side.

    workers/make_readme.py            writes it
    workers/make_readme.py --check    says whether it is as it would be written

The code is that of examples/features, whose output is held against examples/features/expected.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
FEATURES = HERE.parent / "examples" / "features"
PAGE = HERE / "README.md"

# In the order of the page; a feature that is not named here comes behind them.
TITLES = {
    "delay": "A task for later",
    "priority": "Priority",
    "deadline": "A deadline for all of it",
    "run_timeout": "A time-out for each run",
    "heartbeat": "Signs of life",
    "retries": "Retries",
    "defer": "Not now",
    "pause": "Nobody now",
    "cancel": "Cancelling",
    "progress": "Progress and logs",
    "checkpoint": "Checkpoints",
    "unique": "One at a time",
    "update": "Changing a task that waits",
    "results": "Results by id",
    "order": "In order",
    "limits": "Limits",
    "groups": "Fair to everybody",
    "labels": "Many at once, by their labels",
    "needs": "What a task needs of its worker",
    "sticky": "The same worker again",
    "children": "Tasks of tasks",
    "stream": "Results as they come",
    "batches": "Many tasks in one call",
    "topics": "Events: patterns, the last one, slow readers",
}
WHOLE = "delay"  # is shown with all that stands around each of the programs

INTRO = """\
<!-- Written by make_readme.py from examples/features: change those. -->

# One page, four languages

What a task may ask for and what a run may say, in each language that has an SDK:
[Python](python/README.md), [JavaScript](js/README.md), [Go](go/README.md), [C++](cpp/README.md).
Every program here is in [examples/features](../examples/features/README.md), runs in the tests, and
prints the same in all four. The first is shown whole; the others without what stands around each of
them.
"""


@dataclass
class Language:
    name: str
    fence: str
    path: str  # of a program, in examples/features
    frame: tuple[str, ...]  # patterns of what the programs have around them, whole lines
    comment: str = ""  # begins the lines at the top that say what the program shows
    main: str = ""  # the line that begins the body of the program's function, if it has one

    def file(self, feature: str) -> Path:
        return FEATURES / self.path.format(feature)

    def shorten(self, code: str) -> str:
        """The part of a program that shows its feature."""
        if self.comment:
            code = re.sub(rf"\A(?:{self.comment}.*\n)+", "", code)
        for pattern in self.frame:
            code = re.sub(rf"^{pattern}\n", "", code, flags=re.MULTILINE)
        if self.main:
            before, body = code.split(self.main)
            body, after = body.split("\n}\n", 1)
            body = re.sub(r"^(\t|  )", "", body, flags=re.MULTILINE)
            code = before + body + "\n" + after
        return re.sub(r"\n{3,}", "\n\n", code).strip("\n")


LANGUAGES = [
    Language(
        "Python",
        "python",
        "python/{}.py",
        (
            r'"""[^"]*"""',
            r"from .* import \((?:\n .*)+\n\)",
            r"(?:import|from) .*",
            r"running = threading\.Thread\(.*",
            r"running\.(?:start|join)\(\)",
            r"worker\.(?:wait_until_ready|stop)\(\)",
        ),
    ),
    Language(
        "JavaScript",
        "js",
        "js/{}.mjs",
        (
            r"import \{(?:\n .*)+\n\} from .*",
            r"import .*",
            r"const \w+ = worker\.run\(\);",
            r"await worker\.ready;",
            r"worker\.stop\(\);",
            r"await (?:running|stopped);",
        ),
        comment="//",
    ),
    Language(
        "Go",
        "go",
        "go/{}/main.go",
        (
            r"package main",
            r"import \((?:\n.*)+?\n\)",
            r"\tctx := context\.Background\(\)",
            r"\tgo worker\.Run\(ctx\)",
            r"\t<-worker\.Ready\(\)",
            r"\tclient, err := tusk\.NewClient\(tusk\.Options\{\}\)\n\tif err != nil \{\n"
            r"\t\tlog\.Fatal\(err\)\n\t\}\n\tdefer client\.Close\(\)",
        ),
        comment="//",
        main="func main() {\n",
    ),
    Language(
        "C++",
        "cpp",
        "cpp/{}.cc",
        (
            r"#include .*",
            r"using namespace .*",
            r"  std::jthread serving\(.*",
            r"  worker\.(?:wait_until_ready\(10s\)|stop\(\));",
        ),
        comment="//",
        main="int main() {\n",
    ),
]


def features() -> list[str]:
    """Those that have a program, in the order of the page."""
    expected = {path.stem for path in (FEATURES / "expected").glob("*.txt")}
    found = {name for name in expected if any(one.file(name).exists() for one in LANGUAGES)}
    return [name for name in TITLES if name in found] + sorted(found - TITLES.keys())


def title(feature: str) -> str:
    return TITLES.get(feature, feature.replace("_", " ").capitalize())


def anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def section(feature: str) -> str:
    lines = (FEATURES / "expected" / f"{feature}.txt").read_text().splitlines()
    told = " ".join(line.removeprefix("# ") for line in lines if line.startswith("# "))
    printed = "\n".join(line for line in lines if not line.startswith("# "))
    parts = [f"## {title(feature)}", told, f"```\n{printed}\n```"]
    for language in LANGUAGES:
        file = language.file(feature)
        if not file.exists():
            parts.append(f"**{language.name}**: not yet.")
            continue
        code = file.read_text()
        code = code.strip("\n") if feature == WHOLE else language.shorten(code)
        parts.append(f"**[{language.name}](../{file.relative_to(HERE.parent)})**")
        parts.append(f"```{language.fence}\n{code}\n```")
    return "\n\n".join(parts)


def page() -> str:
    names = features()
    contents = " · ".join(f"[{title(name)}](#{anchor(title(name))})" for name in names)
    return "\n\n".join([INTRO + "\n" + contents, *(section(name) for name in names)]) + "\n"


def main() -> int:
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text)
        return 0
    if PAGE.exists() and PAGE.read_text() == text:
        return 0
    print("workers/README.md is not what the examples say: run workers/make_readme.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
