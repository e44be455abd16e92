"""The client and worker programs of the four languages, and how a test talks to them.

Every language has the same two programs beside this file, so that one test serves all of them.

**worker** serves the types below, with `-LANGUAGE` behind their names, or with $TUSK_TEST_SUFFIX
("" too). URL, name and slots come from the environment, as under tuskd's supervisor.

    echo            returns its body
    fail            raises the body as a plain error of the language
    noretry         the same, as the SDK's NoRetry
    panic           fails in the worst way that a handler survives (a Go panic; else as fail)
    crash           {"signal", "attempts"}: kills its process in so many first runs, then echo
    sleep           so many ms, unless it is cancelled; returns the body
    count           appends "ID ATTEMPT N TYPE" to the file $TUSK_TEST_COUNTS; N is body["n"]; echo
    unserialisable  returns what has no form in a body
    flaky           {"fails": n, ["type"]}: so many first runs fail, with an error of that type
                    (default "Flaky"); then the number of the attempt
    deferring       {"times": n, "after": ms}: defers so many first runs; then the attempt
    pausing         {"pause": ms}: pauses its type for so long, returns at once
    progressing     {"steps": n, ["pause": ms]}: progress 1 to n, each with an info line "step N";
                    returns n
    checkpointed    {"fails": n, "value": v, ["hang": ms]}: returns [attempt, the checkpoint that it
                    was given]; but so many first runs make a checkpoint of v, sleep and fail
    beating         {"beats": n, "every": ms}: so many heartbeats, then sleeps "silent" ms or until
                    it is cancelled; returns n
    time_left       the ms that the run may take, or null
    costing         {"cost": n}: tells that the run really cost so many units, returns n
    stubborn        sleeps so many ms whatever anybody asks; returns the body
    stopping        sleeps until it is cancelled, appends "ID ATTEMPT REASON TYPE" to
                    $TUSK_TEST_COUNTS, ends as cancelled
    streaming       {"chunks": n, ["fails": k], ["pause": ms]}: sends 1 to n as chunks, with a pause
                    behind each, and returns n; but so many first runs send 1 to n // 2 and fail
    labelled        returns the labels of its task
    parenting       {"type": t, "bodies": [...]}: calls t for each, as its children, all at once;
                    returns their results
    nesting         {"depth": d, "width": w, "type": t}: of depth 0 returns 1; else calls t w times
                    at once, as its children, with depth d - 1; returns the sum of their results
                    and 1
    whereami        returns the worker's name, $TUSK_WORKER
    batching        for lists of up to 3, or what came within 200 ms: each task gets [its body,
                    how many they were]
    mark, batch     stage handlers for one item and for lists of up to 8: append their name to
                    body["path"], and drop the item if body["drop"] is their name

A worker of fewer slots than a list could have takes lists of so many. Its labels come from
$TUSK_LABELS.

With $TUSK_TEST_PRINT it prints "line 1", "line 2", ... at that interval in ms. The Python worker
with $TUSK_TEST_FORK has a forked child that outlives it for a while and keeps its sockets open.

**client** reads commands from stdin, one JSON object a line, and answers each with one line, as
soon as it can: {"n": 1, "op": "call", ...} with {"n": 1, "ok": ...} or {"n": 1, "error": {...}}.
Values are tagged JSON (BODY.md); times are in ms; ids are 32 hexadecimal digits.

    call         type, body, [timeout, id, resent]   the result
    submit       as call                             the id, at once; `result` with id waits
    post         as call                             the id, when it is accepted
                 What a task may ask for goes with call, submit and post: priority (a name or a
                 number), delay, not_before (ms from now, given to the SDK as a point in time),
                 deadline, run_timeout, heartbeat_timeout, attempts, backoff ([first, most, factor,
                 jitter]), no_retry_on, unique, unique_policy (join, refuse, replace, debounce or
                 follow_up), unique_for, retention, order_key, limit_key, group, cost, labels,
                 requires, prefers, consumes, sticky_key
    stream       as call, [window, take]             {"chunks", "result", "attempts"}: the chunks in
                                                     order, and between them {"restarted": attempt}
                                                     for each attempt that begins the stream anew;
                                                     attempts: those, again. take: leaves behind so
                                                     many chunks; then there is {"chunks"} only
    follow       as call                             {"result", "progress": [...], "logs": [[level,
                                                     text], ...]}
    await        id, [timeout]                       the result of a task that anybody submitted
    await_all    ids, [timeout]                      a list of {"ok"} or {"error"}, in order
    update       id, [priority, delay, body]         {"state", "updated"}
    task         id                                  what the broker knows of it: {"state", "type",
                                                     "attempts", "failures", "crashes", "priority",
                                                     "age", "worker", "history", "error"}, a key
                                                     only if it is known
    tasks        filter, [limit]                     all that fit: a list of {"id", "type", "state",
                                                     "labels"}. limit: so many are asked for at once
    job          what, filter, [priority, dry_run]   waits for it: {"matched", "changed", "failed"};
                                                     what: cancel, retry or reprioritise. In a
                                                     filter ids are hexadecimal and age is in ms
    control      what, arguments                     pause or unblock: whether something was done
    cancel       id                                  the state, as text
    many         type, bodies                        a list of {"ok"} or {"error"}, in order
    roundtrip    type, size, noise                   whether bytes of that size came back the same
    load         types, count or seconds, in_flight  calls types that echo with {"n", "from"}, by
                 [clients]                           so many clients; see Load. `stop` ends it early
    publish      topic, body
    clear        topic
    subscribe    topic, [slow, buffer]               when the broker has the subscription
    events       topic, count                        waits for so many: {"topic", "body",
                                                     "sequence", "missed", "retained"}
    push         stage, body
    push_many    stage, bodies                       how many
    query        what                                the answer
    close        closes the client; the program ends

At the end of stdin the program ends without a word, as a script does. An error is {"class", "code",
"text"} and what else there is of: type, message, language, stack, attempt, worker, retry, limit,
value, url, id and state (of the task that has a unique key), history (a list of {"attempt",
"worker", "started", "ended", "type", "message"}).
"""

import itertools
import json
import math
import os
import queue
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = Path(os.environ.get("TUSK_BUILD", ROOT / "build" / "release"))
LANGUAGES = ("python", "javascript", "go", "cpp")
# Machines that are busy with other things are slow; nothing here measures speed.
PATIENCE = 60.0


def go_programs() -> Path:
    """Builds the Go programs, once per run; a second when nothing changed."""
    out = ROOT / "build" / "conformance-go"
    out.mkdir(parents=True, exist_ok=True)
    if not shutil.which("go"):
        raise RuntimeError("go is missing; run scripts/setup")
    subprocess.run(
        ["go", "build", "-o", f"{out}/", "./client", "./worker"],
        cwd=HERE / "go",
        check=True,
    )
    return out


def command(language: str, role: str) -> list[str]:
    """What starts a program; role is "client" or "worker"."""
    paths = {
        "python": [sys.executable, str(HERE / "python" / f"{role}.py")],
        "javascript": ["node", str(HERE / "js" / f"{role}.mjs")],
        "go": [str(ROOT / "build" / "conformance-go" / role)],
        "cpp": [str(BUILD / "tests" / "conformance" / f"tusk_conformance_{role}")],
    }
    return paths[language]


def environment(**more: str) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("TUSK_")}
    env["PYTHONPATH"] = str(ROOT / "workers" / "python" / "src")
    return env | more


class ProgramError(Exception):
    """The error of a command, with the fields that the program told."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__(json.dumps(fields))
        self.fields = fields
        self.kind: str = fields["class"]
        self.code: str = fields["code"]

    def __getattr__(self, name: str) -> Any:
        return self.fields.get(name)


class Program:
    """A process of ours, in a group of its own; its output goes to a file."""

    numbers = itertools.count(1)

    def __init__(self, arguments: list[str], folder: Path, name: str, env: dict[str, str]) -> None:
        self.name = name
        self.output = folder / f"{name}-{next(self.numbers)}.log"
        self.process = self._start(arguments, env)

    def _start(self, arguments: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
        with self.output.open("wb") as out:
            return subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=env,
                text=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, timeout: float = PATIENCE) -> int:
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


class WorkerProgram(Program):
    def __init__(
        self,
        language: str,
        url: str,
        folder: Path,
        *,
        name: str | None = None,
        slots: int = 16,
        **env: str,
    ) -> None:
        self.language = language
        name = name or f"worker-{language}"
        super().__init__(
            command(language, "worker"),
            folder,
            name,
            environment(TUSK_URL=url, TUSK_WORKER=name, TUSK_SLOTS=str(slots), **env),
        )


class Answer:
    """What a command will be answered."""

    def __init__(self, client: "ClientProgram", what: str) -> None:
        self._client = client
        self._what = what
        self._queue: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def put(self, line: dict[str, Any]) -> None:
        self._queue.put(line)

    def get(self, timeout: float = PATIENCE) -> Any:
        """Waits for it. Raises ProgramError if it is an error."""
        try:
            line = self._queue.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(
                f"{self._client.name} did not answer {self._what} in {timeout} s; it said:\n"
                + self._client.said()
            ) from None
        if "error" in line:
            raise ProgramError(line["error"])
        return line.get("ok")


class ClientProgram(Program):
    def __init__(self, language: str, url: str, folder: Path, **env: str) -> None:
        self.language = language
        self._numbers = itertools.count(1)
        self._answers: dict[int, Answer] = {}
        self._lock = threading.Lock()
        super().__init__(
            command(language, "client"),
            folder,
            f"client-{language}",
            environment(TUSK_URL=url, **env),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _start(self, arguments: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
        with self.output.open("wb") as err:
            return subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                env=env,
                text=True,
            )

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line = json.loads(text)
            with self._lock:
                answer = self._answers.pop(line["n"])  # a second answer is a KeyError, and seen
            answer.put(line)
        with self._lock:
            left, self._answers = self._answers, {}
        gone = {
            "class": "Gone",
            "code": "gone",
            "text": f"the program ended:\n{self.said()}",
        }
        for answer in left.values():
            answer.put({"error": gone})

    def ask(self, op: str, **fields: Any) -> Answer:
        """Sends a command, and does not wait."""
        assert self.process.stdin is not None
        answer = Answer(self, op)
        with self._lock:
            n = next(self._numbers)
            self._answers[n] = answer
            self.process.stdin.write(json.dumps({"n": n, "op": op, **fields}) + "\n")
            self.process.stdin.flush()
        return answer

    def do(self, op: str, **fields: Any) -> Any:
        return self.ask(op, **fields).get()

    def call(self, type: str, body: Any = None, **fields: Any) -> Any:
        """Calls with a plain value; see tag()."""
        return untag(self.do("call", type=type, body=tag(body), **fields))

    def end(self, timeout: float = PATIENCE) -> int:
        """The end of stdin: the program ends as a script does that leaves its client open."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = self.process.wait(timeout)
        self._reader.join()
        return status

    def close(self) -> int:
        """Closes the client; returns the program's exit status."""
        self.ask("close")
        return self.process.wait(PATIENCE)


class Load:
    """What a `load` came to.

    sent: tasks handed over. ok: endings that were a success and had the right value. wrong: the
    same with another value. doubled: second endings of a task. errors: codes and how often.
    """

    def __init__(self, summary: dict[str, Any]) -> None:
        self.sent: int = summary["sent"]
        self.ok: int = summary["ok"]
        self.wrong: int = summary["wrong"]
        self.doubled: int = summary["doubled"]
        self.errors = Counter(summary["errors"])
        self.first: dict[str, Any] | None = summary.get("first")

    def check_all_succeeded(self, name: str = "") -> None:
        assert not self.errors, f"{name}: {dict(self.errors)}, the first: {self.first}"
        assert (self.wrong, self.doubled) == (0, 0), f"{name}: wrong values or second endings"
        assert self.ok == self.sent, f"{name}: {self.sent - self.ok} of {self.sent} had no ending"


def tag(value: Any) -> Any:
    """Tagged JSON of a plain Python value."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return {"int": str(value)}
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, list):
        return {"list": [tag(v) for v in value]}
    return {"map": [[k, tag(v)] for k, v in value.items()]}


def untag(tagged: Any) -> Any:
    if not isinstance(tagged, dict):
        return tagged
    ((kind, inner),) = tagged.items()
    if kind == "int":
        return int(inner)
    if kind == "float":
        return float(inner)
    if kind == "bytes":
        return bytes.fromhex(inner)
    if kind == "list":
        return [untag(v) for v in inner]
    if kind == "map":
        return {k: untag(v) for k, v in inner}
    return inner


def normal(tagged: Any, *, through_javascript: bool = False) -> Any:
    """Tagged JSON that can be compared: floats by their bits, maps in order.

    through_javascript: whole floats that its `number` holds as integers have become integers, the
    one exception of BODY.md.
    """
    if not isinstance(tagged, dict):
        return tagged
    ((kind, inner),) = tagged.items()
    if kind == "float":
        number = float(inner)
        if math.isnan(number):
            return {"float": "NaN"}
        is_minus_zero = number == 0 and math.copysign(1, number) < 0
        if through_javascript and number.is_integer() and abs(number) < 2**53 and not is_minus_zero:
            return {"int": str(int(number))}
        return {"float": struct.pack(">d", number).hex()}
    if kind == "list":
        return {"list": [normal(v, through_javascript=through_javascript) for v in inner]}
    if kind == "map":
        pairs = ([k, normal(v, through_javascript=through_javascript)] for k, v in inner)
        return {"map": sorted(pairs, key=lambda pair: pair[0])}
    return tagged


def end_all(programs: Iterable[Program]) -> None:
    """Ends what still runs, the gentle way first."""
    running = [p for p in programs if p.is_running()]
    for program in running:
        program.process.terminate()
    end = time.monotonic() + 5
    for program in running:
        try:
            program.process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            program.kill()
