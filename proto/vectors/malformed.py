"""Packets to the broker that it refuses, whole or in part."""

# ruff: noqa: E501  (tables: a case is a line)

from __future__ import annotations

from typing import Any

from wire import ID, MAX, one_buffer, pack

H = [0, 123456789012345, 3, 2]
BODY = pack({"a": 1})
SUBMIT = [16, 1, ID, "add", BODY]
ACCEPTED_ONLY = pack([16, 1, ID, "add", BODY, {15: 1}])


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def submit(**other: Any) -> list[Any]:
    elements = {"request": 1, "id": ID, "type": "add", "body": BODY, **other}
    return [16, *elements.values()]


def raw_submit(
    type_hex: str = "a3616464", body_hex: str = "c401c0", attributes_hex: str = ""
) -> bytes:
    count = "96" if attributes_hex else "95"
    return bytes.fromhex(count + "1001c410" + ID.hex() + type_hex + body_hex + attributes_hex)


# name, frame 0 (bytes, or records), body frames, the record to blame
MALFORMED: list[tuple[str, Any, list[bytes], int | None]] = [
    ("empty frame 0", b"", [], None),
    ("empty frame 0 before a body", b"", [b"x"], None),
    ("not an array: integer", b"\x01", [], 0),
    ("not an array: map", pack({1: 2}), [], 0),
    ("not an array: nil behind a good record", pack(H) + b"\xc0", [], 1),
    ("not an array: text behind a good record", pack([3, 1]) + pack("x"), [], 1),
    ("never used byte", b"\xc1", [], 0),
    ("never used byte inside a record", b"\x92\x03\xc1", [], 0),
    ("empty array", [[]], [], 0),
    ("kind is text", [["submit", 1]], [], 0),
    ("kind is nil", [[None, 1]], [], 0),
    ("kind is a float", [[3.0, 1]], [], 0),
    ("kind is true", [[True, 1]], [], 0),
    ("kind is negative", [[-1, 1]], [], 0),
    ("kind over 2^53 - 1", [[2**53, 1]], [], 0),
    ("array32 lies", bytes.fromhex("ddffffffff03"), [], 0),
    ("array16 lies", bytes.fromhex("dcffff0301"), [], 0),
    ("map32 lies", raw_submit(attributes_hex="dfffffffff0f01"), [], 0),
    ("map16 lies", raw_submit(attributes_hex="deffff0f01"), [], 0),
    ("str32 lies", raw_submit(type_hex="dbffffffff616464"), [], 0),
    ("bin32 lies", raw_submit(body_hex="c6ffffffffc0"), [], 0),
    ("nested 9 deep", [H, [200, nested(8)]], [], 1),
    ("nested 9 deep in an attribute", [[16, 1, ID, "add", BODY, {1000: nested(7)}]], [], 0),
    ("nested 10,000 deep", b"\x91" * 10_000, [], 0),
    ("ext in a record", bytes.fromhex("9203d40100"), [], 0),
    ("timestamp in a record", bytes.fromhex("9203d6ff00000000"), [], 0),
    ("ext in a kind that may be ignored", bytes.fromhex("92ccc8d40100"), [], 0),
    ("ext in an attribute", raw_submit(attributes_hex="81cd03e8d40100"), [], 0),
    # header
    ("header too short", [[0, 1, 2]], [], 0),
    ("header of text", [[0, "1", 2, 3]], [], 0),
    ("header of floats", [[0, 1.0, 2.0, 3.0]], [], 0),
    ("header negative", [[0, 1, -1, 0]], [], 0),
    ("header session over 2^53 - 1", [[0, MAX + 1, 1, 0]], [], 0),
    ("header seq over 2^53 - 1", [[0, 1, MAX + 1, 0]], [], 0),
    ("header ack at 2^64 - 1", [[0, 1, 1, 2**64 - 1]], [], 0),
    ("header behind another record", [[3, 1], H], [], 1),
    ("header twice", [H, H], [], 1),
    # hello
    ("hello without fields", [[1, 1]], [], 0),
    ("hello with a list for fields", [[1, 1, []]], [], 0),
    ("hello with a text for its version", [[1, "1", {}]], [], 0),
    # elements
    ("ping without a token", [H, [3]], [], 1),
    ("ping with a text", [H, [3, "x"]], [], 1),
    ("ping token over 2^53 - 1", [H, [3, MAX + 1]], [], 1),
    ("pong without a token", [[4]], [], 0),
    ("error too short", [[5, 0, "invalid"]], [], 0),
    ("error with a number for its code", [[5, 0, 7, "x"]], [], 0),
    ("error with a list for its details", [[5, 0, "invalid", "x", []]], [], 0),
    ("bye with a number", [[6, 1]], [], 0),
    ("submit too short", [H, [16, 1, ID, "add"]], [], 1),
    ("submit of its kind only", [[16]], [], 0),
    ("submit request is text", [submit(request="1")], [], 0),
    ("submit request is negative", [submit(request=-1)], [], 0),
    ("submit request over 2^53 - 1", [submit(request=MAX + 1)], [], 0),
    ("submit request is nil", [submit(request=None)], [], 0),
    ("submit id of 15 bytes", [submit(id=ID[:15])], [], 0),
    ("submit id of 17 bytes", [submit(id=ID + b"x")], [], 0),
    ("submit id of no bytes", [submit(id=b"")], [], 0),
    ("submit id is text", [submit(id="0123456789abcdef")], [], 0),
    ("submit id is nil", [submit(id=None)], [], 0),
    ("submit type is bytes", [submit(type=b"add")], [], 0),
    ("submit type is a number", [submit(type=1)], [], 0),
    ("submit type is not UTF-8", raw_submit(type_hex="a3c32841"), [], 0),
    ("submit type is a lone surrogate", raw_submit(type_hex="a3eda080"), [], 0),
    ("submit type is an overlong slash", raw_submit(type_hex="a2c0af"), [], 0),
    ("submit type is cut UTF-8", raw_submit(type_hex="a2e282"), [], 0),
    ("submit attributes are a list", [[*SUBMIT, []]], [], 0),
    ("submit attributes are nil", [[*SUBMIT, None]], [], 0),
    ("submit attribute key is text", raw_submit(attributes_hex="81a57265706c7901"), [], 0),
    ("submit attribute key is negative", raw_submit(attributes_hex="81fe01"), [], 0),
    ("submit attribute key is nil", raw_submit(attributes_hex="81c001"), [], 0),
    ("submit attribute key over 2^53 - 1", raw_submit(attributes_hex="81cf002000000000000001"), [], 0),
    ("submit attribute twice", raw_submit(attributes_hex="820f000f01"), [], 0),
    ("submit attribute twice, in two widths", raw_submit(attributes_hex="820f00cd000f01"), [], 0),
    ("submit unknown even attribute twice", raw_submit(attributes_hex="82cd03e800cd03e801"), [], 0),
    ("cancel too short", [[17, 1]], [], 0),
    ("cancel id of 4 bytes", [[17, 1, b"1234"]], [], 0),
    ("await without an id", [[29, 1]], [], 0),
    ("update without attributes", [[19, 1, ID, None]], [], 0),
    ("update with a text for its body", [[19, 1, ID, {}, "x"]], [], 0),
    ("control without what", [[26, 1]], [], 0),
    ("query without what", [[18, 1]], [], 0),
    ("query what is a number", [[18, 1, 2]], [], 0),
    ("publish without a body", [[20, 1, "prices"]], [], 0),
    ("publish topic is a number", [[20, 1, 2, BODY]], [], 0),
    ("subscribe without a topic", [[21, 1]], [], 0),
    ("unsubscribe topic is nil", [[22, 1, None]], [], 0),
    ("unsubscribed without a message", [[51, "prices"]], [], 0),
    ("push without a body", [[24, 1, ID, "clean"]], [], 0),
    ("push id of 3 bytes", [[24, 1, b"abc", "clean", BODY]], [], 0),
    ("result without a state", [[32, 1]], [], 0),
    ("result state is text", [[32, 1, "succeeded", BODY]], [], 0),
    ("result handle over 2^53 - 1", [[32, MAX + 1, 1, BODY]], [], 0),
    ("result handle at 2^64 - 1", [[32, 2**64 - 1, 1, BODY]], [], 0),
    ("result handle is negative", [[32, -5, 1, BODY]], [], 0),
    ("result handle is a float", [[32, 5.0, 1, BODY]], [], 0),
    ("returned without handles", [[33, 1]], [], 0),
    ("returned handles are a number", [[33, 1, 2]], [], 0),
    ("returned handles are texts", [[33, 1, ["2"]]], [], 0),
    ("returned handle is negative", [[33, 1, [1, -2]]], [], 0),
    ("returned handle over 2^53 - 1", [[33, 1, [MAX + 1]]], [], 0),
    ("slots is text", [[40, "8"]], [], 0),
    ("progress without a handle", [[36]], [], 0),
    ("progress of text", [[36, 1, "half"]], [], 0),
    ("log without a text", [[37, 1, 2]], [], 0),
    ("log of bytes", [[37, 1, 2, b"x"]], [], 0),
    ("log level is text", [[37, 1, "info", "x"]], [], 0),
    ("checkpoint without a body", [[38, 1]], [], 0),
    ("defer without a time", [[41, 1]], [], 0),
    ("defer of a negative time", [[41, 1, -5]], [], 0),
    ("pause for text", [[42, 1, "1s"]], [], 0),
    ("slots without a number", [[40]], [], 0),
    ("chunk without a body", [[8, 1]], [], 0),
    ("credit without chunks", [[45, 1, ID]], [], 0),
    ("credit of a short id", [[45, 1, b"x", 1]], [], 0),
    ("suspend without ids", [[35, 1]], [], 0),
    ("suspend with a number for an id", [[35, 1, [5]]], [], 0),
    ("suspend with a text for its count", [[35, 1, [ID], "all"]], [], 0),
    ("resume without a handle", [[67]], [], 0),
    # bodies
    ("body is text", [submit(body="x")], [], 0),
    ("body is true", [submit(body=True)], [], 0),
    ("body is a map", [submit(body={"a": 1})], [], 0),
    ("body is a list", [submit(body=[1])], [], 0),
    ("body is a float", [submit(body=1.0)], [b"x"], 0),
    ("body is negative", [submit(body=-1)], [b"x"], 0),
    ("body index 0", [submit(body=0)], [b"x"], 0),
    ("body index beyond the frames", [submit(body=2)], [b"x"], 0),
    ("body index without frames", [H, submit(body=1)], [], 1),
    ("body index at 2^32", [submit(body=2**32)], [b"x"], 0),
    ("body frame named twice", [H, submit(body=1), submit(body=1)], [b"x"], 2),
    ("body frame unnamed", [submit()], [b"x"], None),
    ("body frame unnamed behind a named one", [submit(body=1)], [b"x", b"y"], None),
    ("empty body frame", [submit(body=1)], [b""], None),
    ("empty body frame behind a good one", [submit(body=1), submit(body=2)], [b"x", b""], None),
    # nothing of a packet is applied
    ("good records before a bad one", [H, submit(), submit(request=2), [16, 3, ID]], [], 3),
    ("good records behind a bad one", [H, [16, 3, ID], submit()], [], 1),
    ("unsupported before malformed", [H, [77], [16, 3, ID]], [], 2),
]  # fmt: skip

REFUSED_ALONE: list[tuple[str, str, list[list[Any]], int]] = [
    ("unknown kind 77", "unsupported", [[77, 1]], 0),
    ("unknown kind 127", "unsupported", [H, [127]], 1),
    ("unknown kind 77 between good ones", "unsupported", [H, SUBMIT, [77, 1], [3, 1]], 2),
    *[(f"reserved kind {k}", "unsupported", [H, [k, 1, 2]], 1)
      for k in (23, 25, 27, 28, 34, 43, 44)],
    ("unknown odd attribute 999", "unsupported", [H, [*SUBMIT, {999: 1}]], 1),
    ("unknown odd attribute behind an even one", "unsupported", [H, [*SUBMIT, {1000: 1, 999: 1}]], 1),
    ("unknown odd attribute of a result", "unsupported", [H, [32, 1, 1, BODY, {999: 1}]], 1),
    *[(f"reserved odd attribute {k}", "unsupported", [H, [*SUBMIT, {k: 1}]], 1)
      for k in (11, 31, 33, 35, 37, 39, 41, 43, 45, 47)],
    *[(f"a push with attribute {k}, which belongs to a submit", "unsupported", [H, [24, 1, ID, "clean", BODY, {k: 1}]], 1)
      for k in (1, 3, 5, 7, 9, 13, 19, 21, 23, 25, 49, 51, 61, 63, 65, 67, 69, 71, 73, 75)],
    *[(f"an update with attribute {k}, which belongs to a submit", "unsupported", [H, [19, 1, ID, {k: 1}]], 1)
      for k in (3, 19, 69)],
    *[(f"{name} of {value!r}", "invalid", [H, [*SUBMIT, {k: value}]], 1) for k, name, values in (
        (1, "delay", (-1, 1.5, "1s", 3153600000001)),
        (3, "deadline", (-1, None, 3153600000001)),
        (5, "run_timeout", (0, "2s")),
        (7, "attempts", (0, 1001, "three")),
        (9, "backoff", ([1, 2, 3], 100, [1, 2, 0.5, 0], [1, 2, 2, 1.5], [-1, 2, 2, 0], [1, 2, "x", 0], [1, 2, 101, 0])),
        (51, "priority", (101, -101, 1.5, "urgent", 2**63)),
        (65, "heartbeat_timeout", (0, True)),
        (67, "no_retry_on", ("ValueError", [1], ["x"] * 33, ["x" * 256])),
        (69, "follow", (4, True)),
        (13, "retention", (-1, "1h")),
        (19, "unique", ("", 7, "x" * 256)),
        (21, "unique_policy", (5, "join")),
        (71, "unique_for", (-1, None)),
        (23, "order_key", ("", 5)),
        (73, "limit_key", ("", b"x")),
        (49, "cost", (-1, 1.5, 10**9 + 1)),
        (16, "group", ("", 7)),
        (18, "labels", ("x", [1], {"a": 1}, {1: "a"}, {"": "x"}, {"a": ""}, {"a": "x" * 256}, {str(n): "x" for n in range(17)})),
        (25, "needs", (1, {"require": {}}, {"requires": "gpu"}, {"consumes": {"gpu": "two"}}, {"consumes": {"gpu": 0}}, {"consumes": {"gpu": 10**9 + 1}}, {"prefers": {"x": 1.5}}, {"requires": {str(n): 1 for n in range(17)}})),
        (61, "sticky_key", ("", 5)),
        (63, "parent", (b"short", "x" * 16, None)),
        (75, "stream", (0, 1025, "all")),
    ) for value in values],
    ("credit of no chunks", "invalid", [H, [45, 1, ID, 0]], 1),
    ("credit of 1025 chunks", "invalid", [H, [45, 1, ID, 1025]], 1),
    ("suspend until nothing has ended", "invalid", [H, [35, 1, []]], 1),
    ("suspend until 0 have ended", "invalid", [H, [35, 1, [ID], 0]], 1),
    ("suspend until more have ended than there are", "invalid", [H, [35, 1, [ID], 2]], 1),
    ("suspend until 1001 have ended", "invalid", [H, [35, 1, [ID] * 1001]], 1),
    ("log of level 0", "invalid", [H, [37, 1, 0, "x"]], 1),
    ("log of level 5", "invalid", [H, [37, 1, 5, "x"]], 1),
    ("log of more than 16 KiB", "too_large", [H, [37, 1, 2, "x" * 16385]], 1),
    ("defer for more than 100 years", "invalid", [H, [41, 1, 3153600000001]], 1),
    ("65 attributes", "too_large", [H, [*SUBMIT, {2000 + 2 * i: i for i in range(65)}]], 1),
    ("type of 256 bytes", "too_large", [H, submit(type="n" * 256)], 1),
    ("type of 128 letters in 256 bytes", "too_large", [H, submit(type="\u00e4" * 128)], 1),
    ("topic of 256 bytes", "too_large", [H, [20, 1, "n" * 256, BODY]], 1),
    ("subscribe to a topic of 256 bytes", "too_large", [H, [21, 1, "n" * 256]], 1),
    ("subscribe with a policy that is none", "invalid", [H, [21, 1, "prices", {77: 2}]], 1),
    ("publish with a subscriber's wish", "unsupported", [H, [20, 1, "prices", BODY, {77: 1}]], 1),
    ("stage of 256 bytes", "too_large", [H, [24, 1, ID, "n" * 256, BODY]], 1),
]  # fmt: skip


def entries() -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for cut in range(1, len(ACCEPTED_ONLY)):
        out.append({
            "name": f"submit cut to {cut} bytes",
            "bytes": one_buffer([ACCEPTED_ONLY[:cut]]),
            "error": "malformed",
            "record": 0,
        })  # fmt: skip
    for name, first, frames, record in MALFORMED:
        packed = first if isinstance(first, bytes) else b"".join(pack(r) for r in first)
        out.append({
            "name": name,
            "bytes": one_buffer([packed, *frames]),
            "error": "malformed",
            "record": record,
        })  # fmt: skip
    for name, code, records, index in REFUSED_ALONE:
        out.append({
            "name": name,
            "bytes": one_buffer([b"".join(pack(r) for r in records)]),
            "error": code,
            "record": index,
        })  # fmt: skip
    return out
