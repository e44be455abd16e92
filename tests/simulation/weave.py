#!/usr/bin/env python3
"""Makes a copy of the core with faults woven in, each behind a switch chosen at run time.

    weave.py faults  CORE OUT faults.txt     the deliberate faults of faults.txt
    weave.py mutants CORE OUT 200            so many machine-made ones, chosen by a fixed seed

OUT gets daemon/core/*.{h,cc} and table.cc, which names the faults. The switch is `tusk_fault`; 0 is
the core as it is. Nothing of this is in what ships.
"""

from __future__ import annotations

import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Fault:
    name: str
    says: str
    where: str


def fail(why: str) -> None:
    sys.exit(f"weave.py: {why}")


def core_files(core: Path) -> dict[str, str]:
    skipped = re.compile(r"_test\.cc$|broker_harness|broker_inspector")
    files = sorted(core.glob("*.h")) + sorted(core.glob("*.cc"))
    return {f.name: f.read_text() for f in files if not skipped.search(f.name)}


def write(out: Path, files: dict[str, str], faults: list[Fault]) -> None:
    folder = out / "daemon" / "core"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)

    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    rows = "".join(
        f"    {{{quoted(f.name)}, {quoted(f.says)}, {quoted(f.where)}}},\n" for f in faults
    )
    (out / "table.cc").write_text(
        '#include "tests/simulation/faults.h"\n\nint tusk_fault = 0;\n\n'
        "namespace tusk::simulation {\nstd::span<const Fault> all_faults() {\n"
        f"  static const Fault kFaults[] = {{\n{rows}  }};\n  return kFaults;\n}}\n"
        "}  // namespace tusk::simulation\n"
    )


# --- deliberate faults ----------------------------------------------------------------------------


def read_faults(path: Path) -> list[dict[str, str]]:
    faults: list[dict[str, str]] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, _, value = line.partition(" ")
        if key == "fault":
            faults.append({"fault": value.strip()})
        elif key in ("says", "in", "behind", "was", "is") and faults:
            faults[-1][key] = value.strip()
        else:
            fail(f"{path}:{number}: expected fault, says, in, behind, was or is, not {key!r}")
    return faults


def switch(number: int, was: str, instead: str) -> str:
    """Both, and a choice between them at run time."""
    if was.endswith(";"):
        return f"{{ if (tusk_fault == {number}) {{ {instead} }} else {{ {was} }} }}"
    return f"(tusk_fault == {number} ? ({instead}) : ({was}))"


# Comments may stand between the parts of what is sought.
GAP = r"\s*(?://[^\n]*\n\s*)*"


def loose(text: str) -> str:
    return GAP.join(re.escape(part) for part in text.split())


def weave_faults(files: dict[str, str], path: Path) -> list[Fault]:
    table: list[Fault] = []
    for number, fault in enumerate(read_faults(path), 1):
        missing = [key for key in ("says", "in", "was") if not fault.get(key)]
        if missing:
            fail(f"{path}: fault {fault['fault']} has no {missing[0]!r}")
        name, was = fault["in"], fault["was"]
        if name not in files:
            fail(f"{path}: fault {fault['fault']}: there is no daemon/core/{name}")
        behind = fault.get("behind", "")
        pattern = f"({loose(was)})" if not behind else f"{loose(behind)}{GAP}({loose(was)})"
        found = list(re.finditer(pattern, files[name]))
        if len(found) != 1:
            fail(
                f"{path}: fault {fault['fault']}: what it changes stands {len(found)} times in "
                f"daemon/core/{name}, not once: {was}"
            )
        start, end = found[0].span(1)
        woven = switch(number, found[0].group(1), fault.get("is", ""))
        files[name] = files[name][:start] + woven + files[name][end:]
        line = files[name][:start].count("\n") + 1
        table.append(Fault(fault["fault"], fault["says"], f"{name}:{line}"))
    return table


# --- mutants --------------------------------------------------------------------------------------

# What must not be changed: it changes nothing that a peer could see (words for people, counters,
# speed), or is an assertion.
HARMLESS = re.compile(
    r"\blog\(|counters|prefetch|assert\(|\"|spare|reserve\(|nearest|message|suppressed|last_found"
    r"|name_hash|published|missed|LogLimiter|config::LogLevel|static_assert|constexpr|TUSK_|kAhead"
)
# What the model and the adversary do not know yet: terms of tasks, gates, unique keys, retention,
# changes by id, reports of runs. Whoever teaches them to it takes the words out here.
NOT_MODELLED_FILES = {
    "broker_by_id.cc",
    "broker_control.cc",
    "broker_gate.cc",
    "broker_report.cc",
    "broker_unique.cc",
}
NOT_MODELLED = re.compile(
    r"[tT]erms|retain|[rR]etention|keep_until|gate|unique|paid|checkpoint|paused|rate_timer|free_key"
    r"|too_long|silent|concurrency|RunTimeout|replace_worker|outside|wish\.|not_before|limited|left\b"
)
# Functions that only make words or figures for people.
FOR_PEOPLE = re.compile(
    r"^[\w:<>,&* ]+\b(?:Broker::write_(?:status|workers|types|stages|topics)|Broker::log|"
    r"Broker::count_undelivered_items|Scheduler::nearest|Scheduler::served_names|edit_distance|"
    r"Broker::nearest_topic|text|entry|has_empty|text_or)\("
)
SWAPS = [
    (re.compile(r"(?<=[^<>=!\-+*/&|]) < (?=[^<=])"), " <= "),
    (re.compile(r" <= "), " < "),
    (re.compile(r"(?<=[^\->]) > (?=[^>=])"), " >= "),
    (re.compile(r" >= "), " > "),
    (re.compile(r" == "), " != "),
    (re.compile(r" != "), " == "),
    (re.compile(r" && "), " || "),
    (re.compile(r" \|\| "), " && "),
    (re.compile(r" \+ 1\b"), " - 1"),
    (re.compile(r" - 1\b"), " + 1"),
    (re.compile(r"\btrue\b"), "false"),
    (re.compile(r"\bfalse\b"), "true"),
    (re.compile(r"(?<=[\s(])2(?=[;\s)])"), "3"),
]


@dataclass
class Mutation:
    file: str
    line: int
    start: int
    end: int
    text: str  # what stands there
    instead: str
    says: str


def blank_comments(text: str) -> str:
    return re.sub(r"//[^\n]*", lambda m: " " * len(m.group(0)), text)


def closing(text: str, at: int) -> int:
    """The place of the parenthesis that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
    return -1


def bodies(text: str) -> list[tuple[int, int]]:
    """The functions, from their first line to their closing brace at the margin."""
    out = []
    for match in re.finditer(r"^[^\s#/}].*\{\n", text, re.M):
        if re.match(r"(namespace|class|struct|enum|using)\b", match.group(0)):
            continue
        end = text.find("\n}", match.end())
        if end > 0 and not FOR_PEOPLE.match(match.group(0)):
            out.append((match.end(), end))
    return out


def expressions(text: str, begin: int, end: int) -> list[tuple[int, int]]:
    """Conditions and returned or assigned expressions: where they stand."""
    out = []
    for match in re.finditer(r"\b(?:if|while) \(", text[begin:end]):
        at = begin + match.end() - 1
        out.append((at + 1, closing(text, at)))
    for match in re.finditer(
        r"(?:\breturn |\bconst bool \w+ =\s|\bconst size_t \w+ =\s)", text[begin:end]
    ):
        at = begin + match.end()
        out.append((at, text.find(";", at)))
    good = []
    for start, stop in out:
        part = text[start:stop]
        plain = ";" not in part and "{" not in part and "[&" not in part and "[this" not in part
        declares = re.match(r"\s*(?:auto|const|uint32_t|Value|Session)\b[^=]*=[^=]", part)
        known = not HARMLESS.search(part) and not NOT_MODELLED.search(part)
        if start < stop <= end and plain and not declares and known:
            good.append((start, stop))
    return good


def mutations_of(name: str, source: str) -> list[Mutation]:
    text = blank_comments(source)
    out: list[Mutation] = []
    if name in NOT_MODELLED_FILES:
        return out

    def add(start: int, end: int, instead: str, says: str) -> None:
        line = text.count("\n", 0, start) + 1
        out.append(Mutation(name, line, start, end, source[start:end], instead, says))

    for begin, end in bodies(text):
        for start, stop in expressions(text, begin, end):
            part = text[start:stop]
            if re.search(r"\b(?:if|while) \($", text[:start][-12:]):
                add(start, stop, f"!({part})", f"!({shorten(part)})")
            for pattern, instead in SWAPS:
                for match in pattern.finditer(part):
                    changed = part[: match.start()] + instead + part[match.end() :]
                    add(start, stop, changed, f"{shorten(part)}  ->  {shorten(changed)}")
        for match in re.finditer(r"^ {2,}(\S[^\n]*;)$", text[begin:end], re.M):
            statement = match.group(1)
            call = re.match(
                r"(?:\+\+|--)?[\w.\->\[\]:]+(?:\(.*\))?(?:\.\w+\(.*\))?( [-+|&]?= .*)?;$", statement
            )
            word = re.match(
                r"(return|break|continue|case|default|using|else|if|for|goto|throw)\b", statement
            )
            if not call or word or HARMLESS.search(statement) or NOT_MODELLED.search(statement):
                continue
            if statement.count("(") != statement.count(")") or statement.count(
                "{"
            ) != statement.count("}"):
                continue
            before = text[: begin + match.start()].rstrip()
            if not before.endswith((";", "{", "}", ":")):
                continue  # the rest of a statement that begins above
            at = begin + match.start(1)
            add(at, at + len(statement), "", f"without {shorten(statement)}")
    return out


def shorten(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip())[:110]


def choose(all_of: dict[str, list[Mutation]], count: int) -> list[Mutation]:
    """`count` of them, from each file as many as it has of all."""
    dice = random.Random(20260101)
    total = sum(len(m) for m in all_of.values())
    chosen: list[Mutation] = []
    for name in sorted(all_of):
        share = round(count * len(all_of[name]) / total)
        chosen += dice.sample(all_of[name], min(share, len(all_of[name])))
    rest = [m for name in sorted(all_of) for m in all_of[name] if m not in chosen]
    while len(chosen) < count and rest:
        chosen.append(rest.pop(dice.randrange(len(rest))))
    return sorted(chosen[:count], key=lambda m: (m.file, m.start, m.end, m.instead))


def weave_mutants(files: dict[str, str], count: int) -> list[Fault]:
    all_of = {n: mutations_of(n, t) for n, t in files.items() if n.endswith(".cc")}
    chosen = choose(all_of, count)
    table: list[Fault] = []
    by_place: dict[tuple[str, int, int], list[tuple[int, Mutation]]] = {}
    for number, m in enumerate(chosen, 1):
        table.append(Fault(f"m{number}", m.says, f"{m.file}:{m.line}"))
        by_place.setdefault((m.file, m.start, m.end), []).append((number, m))
    for (name, start, end), there in sorted(by_place.items(), key=lambda e: -e[0][1]):
        woven = files[name][start:end]
        statement = woven.endswith(";") and there[0][1].instead == ""
        if statement:
            woven = f"{{ if (tusk_fault != {there[0][0]}) {{ {woven} }} }}"
        else:
            # A condition may be of any type that is true or false.
            as_bool = "bool" if re.search(r"\b(?:if|while) \($", files[name][:start][-12:]) else ""
            cases = "".join(f"tusk_fault == {n} ? {as_bool}({m.instead}) : " for n, m in there)
            woven = f"({cases}{as_bool}({woven}))"
        files[name] = files[name][:start] + woven + files[name][end:]
    return table


def main() -> None:
    if len(sys.argv) != 5 or sys.argv[1] not in ("faults", "mutants"):
        fail((__doc__ or "").strip())
    kind, core, out, what = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    files = core_files(core)
    table = weave_faults(files, Path(what)) if kind == "faults" else weave_mutants(files, int(what))
    write(out, files, table)


main()
