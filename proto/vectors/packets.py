"""Packets that every reader accepts."""

# ruff: noqa: E501  (tables: a case is a line)

from __future__ import annotations

from typing import Any

from wire import ATTRIBUTES, ID, ID2, KINDS, MAX, one_buffer, pack, record_json, to_json

BODY = pack({"a": 1, "b": 2})
BIG = bytes(range(256)) * 2  # stands for a large body: a frame of its own
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ERROR = {
    "type": "ValueError",
    "message": "no \u00fcber",
    "language": "python",
    "stack": "Traceback (most recent call last):\n  ...",
}
FULL_HELLO = {
    "role": "worker",
    "instance": ID2,
    "language": "python",
    "acks": True,
    "session": MAX,
    "ack": 17,
    "name": "python-4711",
    "pool": "gpu",
    "pid": 4711,
    "pid_ns": 4026531836,
    "boot_id": "1f6c9a9e-6f0f-4e0e-9b5e-3f1d6a7d3c11",
    "sdk": "tuskd-python 1.0.0",
    "types": ["add", "resize.image"],
    "handlers": ["clean"],
    "slots": 8,
    "claims": [[ID, 2, "add", False], [ID2, 1, "clean", True]],
    "capabilities": ["lookahead"],
    "require": [],
}
FULL_WELCOME = {
    "session": 123456789012345,
    "epoch": 987654321,
    "resumed": False,
    "ack": 0,
    "limits": {
        "frame": 1048576,
        "body": 67108864,
        "records": 1024,
        "frames": 256,
        "session_bytes": 268435456,
        "push_window": 1024,
        "checkpoint": 262144,
    },
    "endpoints": {
        "router": "tcp://127.0.0.1:7420",
        "events_in": "tcp://127.0.0.1:7422",
        "events_out": "tcp://127.0.0.1:7423",
        "pipeline_in": "tcp://127.0.0.1:7424",
        "pipeline_out": "tcp://127.0.0.1:7425",
    },
    "timeout": 5000,
    "compression": "lz4",
    "compression_threshold": 4096,
    "session_ttl": 60000,
    "adopt_grace": 10000,
    "kinds": sorted(KINDS.values()),
    "attributes": sorted(ATTRIBUTES),
    "claims": [[ID, 7], [ID2, None]],
    "server": "tuskd 1.0.0",
}
UP, DOWN, BOTH = "to_broker", "from_broker", "both"
H = [0, 123456789012345, 3, 2]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


CASES: list[tuple[str, str, list[list[Any]], list[bytes]]] = [
    ("lone header", BOTH, [[0, 123456789012345, 0, 64]], []),
    ("header at its bounds", BOTH, [[0, MAX, MAX, MAX]], []),
    ("header with more elements", BOTH, [[0, 1, 2, 3, "new", {"x": 1}]], []),
    ("hello minimal client", UP, [[1, 1, {"role": "client", "instance": ID, "language": "go"}]], []),
    ("hello minimal worker", UP,
     [[1, 1, {"role": "worker", "instance": ID, "language": "cpp", "types": ["add"], "slots": 1}]], []),
    ("hello full", UP, [[1, 1, FULL_HELLO]], []),
    ("hello of both roles", UP, [[1, 1, {"role": "both", "instance": ID, "language": "x", "acks": True}]], []),
    ("hello with unknown fields", UP,
     [[1, 1, {"role": "client", "instance": ID, "language": "go", "colour": ["blue", {"deep": 1}]}]], []),
    ("welcome minimal", DOWN,
     [[2, 1, {"session": 1, "epoch": 1, "resumed": False, "ack": 0}]], []),
    ("welcome full", DOWN, [[2, 1, FULL_WELCOME]], []),
    ("welcome resumed", DOWN, [[2, 1, {**FULL_WELCOME, "resumed": True, "ack": MAX, "claims": []}]], []),
    ("ping", BOTH, [H, [3, 1]], []),
    ("ping with a negative token", BOTH, [[3, -MAX]], []),
    ("pong", BOTH, [H, [4, MAX]], []),
    ("error minimal", BOTH, [[5, 0, "stale_session", "no hello on this connection"]], []),
    ("error with details", DOWN,
     [H, [5, 12, "too_large", "the body has 70000000 bytes, the limit is 67108864",
          {"limit": "body", "value": 67108864}]], []),
    ("error malformed names the record", DOWN, [[5, 0, "malformed", "record 3", {"record": 3}]], []),
    ("bye", BOTH, [H, [6]], []),
    ("bye with a reason", BOTH, [H, [6, "done"]], []),
    ("goaway", DOWN, [H, [7, "restart"]], []),
    ("goaway with endpoints", DOWN, [H, [7, "moved", ["tcp://10.0.0.2:7420", "ipc:///run/tusk"]]], []),
    # clients
    ("submit minimal, a REQ peer's single record", UP, [[16, 1, ID, "add", BODY]], []),
    ("submit with header", UP, [H, [16, 1, ID, "add", BODY]], []),
    ("submit with an empty map of attributes", UP, [[16, 1, ID, "add", BODY, {}]], []),
    ("submit with every attribute", UP,
     [H, [16, MAX, ID2, "add", BODY,
          {15: 2, 17: True, 27: 0, 29: 0, 53: True, 55: 30000, 8: TRACE, 10: "user=7"}]], []),
    ("submit with every term", UP,
     [H, [16, 3, ID2, "add", BODY,
          {1: 1500, 3: 60000, 5: 2000, 7: 4, 9: [100, 30000, 2, 0.25], 51: 20, 65: 500,
           67: ["ValueError", "NotFound"], 69: 3, 13: 3600000, 19: "report 7", 21: 4, 71: 1000,
           16: "tenant 7", 23: "account 12", 49: 5, 73: "api.example.com"}]], []),
    ("submit with terms at their bounds", UP,
     [H, [16, 3, ID, "add", BODY, {1: 0, 3: 0, 5: 1, 7: 1000, 9: [0, 0, 100, 1], 51: -100, 67: [], 69: 0}],
      [16, 4, ID, "add", BODY, {1: 3153600000000, 7: 1, 9: [1, 1, 1.5, 0.5], 51: 100}]], []),
    ("submit accepted only", UP, [H, [16, 2, ID, "add", BODY, {15: 1}]], []),
    ("submit with a body in a frame", UP, [H, [16, 2, ID, "resize.image", 1]], [BIG]),
    ("submit without a body", UP, [H, [16, 2, ID, "tick", None]], []),
    ("submit with an empty bin", UP, [H, [16, 2, ID, "raw", b"", {27: 2}]], []),
    ("submit with a codec and compression", UP, [H, [16, 2, ID, "j", b"{}", {27: 1, 29: 1}]], []),
    ("submit with unknown even attributes", UP,
     [H, [16, 2, ID, "add", BODY, {1000: "kept", 1002: [1, {"x": b"\x00"}], 12: ID}]], []),
    ("submit with 64 attributes", UP, [H, [16, 2, ID, "add", BODY, {2000 + 2 * i: i for i in range(64)}]], []),
    ("submit with a name of 255 bytes", UP, [H, [16, 2, ID, "n" * 255, BODY]], []),
    ("submit with a name that is not ASCII", UP, [H, [16, 2, ID, "\u00e4dd\u2192\U0001f418", BODY]], []),
    ("submit with more elements", UP, [H, [16, 2, ID, "add", BODY, {}, "more", [1, 2], {"x": 1}]], []),
    ("cancel", UP, [H, [17, 5, ID]], []),
    ("cancel with attributes", UP, [H, [17, 5, ID, {8: TRACE}]], []),
    ("control", UP, [H, [26, 5, "pause", {"type": "add", "ms": 60000}]], []),
    ("result with what it cost", UP, [H, [32, 1, 1, BODY, {49: 0}]], []),
    ("await", UP, [H, [29, 5, ID]], []),
    ("submit of a child with labels, needs and a stream", UP, [H, [16, 7, ID, "add", BODY, {18: {"customer": "acme"}, 25: {"requires": {"region": "eu", "gpu": 1}, "consumes": {"gpu": 1}, "prefers": {"disk": "ssd"}}, 61: "k", 63: ID2, 75: 16}]], []),
    ("credit of a client", UP, [H, [45, 7, ID, 8]], []),
    ("chunk of a worker", UP, [H, [8, 7, BODY]], []),
    ("chunk of a worker in a frame", UP, [H, [8, 7, 1, {29: 1}]], [BIG]),
    ("suspend", UP, [H, [35, 7, [ID, ID2]]], []),
    ("suspend until one has ended", UP, [H, [35, 7, [ID, ID2], 1]], []),
    ("chunk to a client", DOWN, [H, [8, 7, BODY, {4: 1, 32: 2}]], []),
    ("credit to a worker", DOWN, [H, [45, 7, 4]], []),
    ("resume", DOWN, [H, [67, 7]], []),
    ("task with a stream", DOWN, [H, [64, 7, ID, "add", 1, BODY, {18: {"customer": "acme"}, 75: 16}]], []),
    ("result of a stream", DOWN, [H, [32, 7, 1, BODY, {34: 3}]], []),
    ("await with attributes", UP, [H, [29, 5, ID, {55: 30000, 69: 3}]], []),
    ("update", UP, [H, [19, 5, ID, {1: 0, 51: -10}]], []),
    ("update with a body", UP, [H, [19, 5, ID, {}, BODY]], []),
    ("update with a body in a frame", UP, [H, [19, 5, ID, {27: 2}, 1]], [BIG]),
    ("update to no body", UP, [H, [19, 5, ID, {}, None]], []),
    ("query", UP, [H, [18, 6, "status"]], []),
    ("query with arguments", UP, [H, [18, 6, "task", {"id": ID}]], []),
    ("publish", UP, [H, [20, 7, "prices", BODY]], []),
    ("publish, only errors wanted", UP, [H, [20, 0, "prices", BODY, {8: TRACE, 10: "k=v"}]], []),
    ("publish with a body in a frame", UP, [H, [20, 0, "prices", 1]], [BIG]),
    ("subscribe", UP, [H, [21, 8, "prices"]], []),
    ("subscribe with attributes", UP, [H, [21, 8, "prices", {1000: 1}]], []),
    ("subscribe to a pattern, or be disconnected", UP, [H, [21, 8, "prices.*", {77: 1}]], []),
    ("unsubscribe", UP, [H, [22, 9, "prices"]], []),
    ("push", UP, [H, [24, 10, ID, "clean", BODY]], []),
    ("push with attributes", UP, [H, [24, 10, ID, "clean", BODY, {17: True, 53: True, 8: TRACE}]], []),
    ("push on the edge, without an id", UP, [[24, 0, None, "clean", BODY]], []),
    # workers
    ("result succeeded", UP, [H, [32, 1, 1, BODY]], []),
    ("result succeeded, no body", UP, [H, [32, 1, 1]], []),
    ("result succeeded, nil body", UP, [H, [32, 1, 1, None]], []),
    ("result succeeded with a body in a frame", UP, [H, [32, 1, 1, 1, {29: 1}]], [BIG]),
    ("result failed", UP, [H, [32, MAX, 2, None, {2: ERROR}]], []),
    ("result failed, never again", UP, [H, [32, 2, 2, None, {2: ERROR, 57: True}]], []),
    ("result failed, a pool's process died", UP,
     [H, [32, 2, 2, None, {59: True, 2: {"type": "Crashed", "message": "signal 11", "language": "python"}}]], []),
    ("result cancelled", UP, [H, [32, 3, 4]], []),
    ("returned", UP, [H, [33, 4, [1, 2, MAX]]], []),
    ("returned, nothing", UP, [H, [33, 4, []]], []),
    ("returned unasked", UP, [H, [33, 0, [9]]], []),
    ("slots", UP, [H, [40, 16]], []),
    ("progress of a run", UP, [H, [36, 1, BODY]], []),
    ("progress, a sign of life", UP, [H, [36, 1]], []),
    ("progress with a codec", UP, [H, [36, 1, b"{}", {27: 1}]], []),
    ("log of a run", UP, [H, [37, 1, 2, "half \u00fcber"]], []),
    ("checkpoint", UP, [H, [38, 1, BODY]], []),
    ("checkpoint in a frame", UP, [H, [38, 1, 1]], [BIG]),
    ("checkpoint taken away", UP, [H, [38, 1, None]], []),
    ("defer", UP, [H, [41, 1, 1500]], []),
    ("pause", UP, [H, [42, 1, 60000]], []),
    # to clients
    ("result to a client", DOWN, [H, [32, 1, 1, BODY]], []),
    ("result dead to a client", DOWN,
     [H, [32, 1, 5, None, {2: ERROR, 4: 3, 6: "python-4711"}]], []),
    ("result expired to a client", DOWN, [H, [32, 1, 3]], []),
    ("result dead to a client, with its history", DOWN,
     [H, [32, 1, 5, None, {2: ERROR, 4: 2, 6: "python-4711",
          28: [{"attempt": 1, "worker": "python-4711", "started": 900, "ended": 700, "error": ERROR},
               {"attempt": 2, "worker": "go-12", "started": 500, "ended": 0, "error": ERROR}]}]], []),
    ("result of a task that was joined under another id", DOWN, [H, [32, 1, 1, BODY, {30: ID2}]], []),
    ("error duplicate", DOWN,
     [H, [5, 1, "duplicate", "task has the key", {"id": ID.hex(), "state": "running"}]], []),
    ("progress to a client", DOWN, [H, [36, 1, BODY, {4: 1}]], []),
    ("log to a client", DOWN, [H, [37, 1, 4, "it broke", {4: 2}]], []),
    ("accepted", DOWN, [H, [48, MAX]], []),
    ("answer, a map", DOWN, [H, [49, 5, {"state": "cancelling"}]], []),
    ("answer, a list", DOWN, [H, [49, 6, [{"name": "add", "waiting": 0}, {"name": "mul", "waiting": 2}]]], []),
    ("answer, nil", DOWN, [H, [49, 6, None]], []),
    ("answer, a float and bytes", DOWN, [H, [49, 6, {"load": 0.25, "id": ID}]], []),
    ("event", DOWN, [H, [50, 1, "prices", BODY]], []),
    ("event with attributes and a frame", DOWN, [H, [50, MAX, "prices", 1, {8: TRACE, 29: 1}]], [BIG]),
    ("event behind some that were missed", DOWN, [H, [50, 9, "prices", BODY, {38: 3}]], []),
    ("event from before", DOWN, [H, [50, 9, "prices", BODY, {40: True}]], []),
    ("unsubscribed", DOWN, [H, [51, "prices.>", "too slow"]], []),
    # to workers
    ("task", DOWN, [H, [64, 1, ID, "add", 1, BODY]], []),
    ("task with attributes", DOWN, [H, [64, MAX, ID, "add", 3, BODY, {8: TRACE, 10: "k=v", 27: 0, 1000: "kept"}]], []),
    ("task with a body in a frame", DOWN, [H, [64, 2, ID, "add", 1, 1, {29: 1}]], [BIG]),
    ("task without a body", DOWN, [H, [64, 2, ID, "tick", 1, None]], []),
    ("item", DOWN, [H, [65, 3, ID, "clean", 1, BODY]], []),
    ("item with attributes", DOWN, [H, [65, 3, ID, "clean", 2, None, {8: TRACE}]], []),
    ("cancel of a run", DOWN, [H, [17, 3, ID]], []),
    ("cancel of a run, with its reason", DOWN, [H, [17, 3, ID, {26: "run_timeout"}]], []),
    ("task with time left and a checkpoint", DOWN, [H, [64, 2, ID, "add", 2, BODY, {24: 2000, 33: BODY}]], []),
    ("item with time left and a checkpoint", DOWN, [H, [65, 3, ID, "clean", 2, BODY, {24: 2000, 33: BODY}]], []),
    ("recall", DOWN, [H, [66, 1, [1, 2, 3]]], []),
    ("recall of nothing", DOWN, [H, [66, 2, []]], []),
    ("drain", DOWN, [H, [68, "reload"]], []),
    # growth
    ("kinds that may be ignored", BOTH, [H, [128, {"rss": 1}], [200], [65535, "x", [1, {"y": None}]], [3, 1]], []),
    ("a body frame beside a kind that may be ignored", BOTH, [[200, 1]], [b"x"]),
    ("nested 8 deep", BOTH, [H, [200, nested(7)]], []),
    ("more elements behind every record", DOWN,
     [[*H, 1], [48, 1, "more"], [49, 2, {}, 3], [66, 1, [], None], [68, "r", 2.5], [17, 1, ID, {}, 1], [6, "r", 1]], []),
    # many records
    ("many results", UP, [H, *[[32, n, 1, pack(n)] for n in range(1, 101)]], []),
    ("many tasks", DOWN, [H, *[[64, n, ID, "add", 1, pack([n, n])] for n in (1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32)]], []),
    ("many submits, bodies in frames, bins and nil", UP,
     [H, [16, 1, ID, "a", 2], [16, 2, ID2, "a", 1], [16, 3, ID, "b", BODY], [16, 4, ID, "c", None], [24, 5, ID, "d", 3]],
     [BIG, BIG[::-1], b"\xc0"]),
    ("a peer of the minimal profile: no header", UP, [[32, 1, 1, BODY], [4, 1], [33, 1, []]], []),
]  # fmt: skip

# Bytes that readers accept and nobody writes.
LONG_FORMS: list[tuple[str, str, str, list[list[Any]]]] = [
    ("kind as uint16", UP, "93" "cd0003" "01" "c0", [[3, 1, None]]),
    ("record as array16", BOTH, "dc0002" "03" "05", [[3, 5]]),
    ("record as array32", BOTH, "dd00000002" "03" "05", [[3, 5]]),
    ("handle as uint64", UP, "93" "20" "cf0000000000000001" "01", [[32, 1, 1]]),
    ("handle as int64", UP, "93" "20" "d30000000000000001" "01", [[32, 1, 1]]),
    ("handle as int8", UP, "93" "20" "d001" "01", [[32, 1, 1]]),
    ("body as bin32", UP, "94" "20" "01" "01" "c600000001" "c0", [[32, 1, 1, b"\xc0"]]),
    ("id as bin16, name as str32", UP, "95" "10" "01" "c50010" + ID.hex() + "db00000003616464" "c401c0",
     [[16, 1, ID, "add", b"\xc0"]]),
    ("attributes as map32 with long keys", UP, "95" "20" "01" "02" "c0" "df00000001" "d20000003b" "c3",
     [[32, 1, 2, None, {59: True}]]),
]  # fmt: skip


def entries() -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for name, direction, records, frames in CASES:
        first = b"".join(pack(r) for r in records)
        out.append({
            "name": name,
            "direction": direction,
            "bytes": one_buffer([first, *frames]),
            "json": {"records": [record_json(r) for r in records], "frames": to_json(frames)},
        })  # fmt: skip
    for name, direction, hexed, records in LONG_FORMS:
        out.append({
            "name": name,
            "direction": direction,
            "canonical": False,
            "bytes": one_buffer([bytes.fromhex(hexed)]),
            "json": {"records": [record_json(r) for r in records], "frames": []},
        })  # fmt: skip
    return out
