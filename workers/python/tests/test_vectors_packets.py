"""The vectors of packets: the SDK's reader, and the strict reader that the other tests rely on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_broker import one_buffer
from strict import Refused, read

from tuskd import wire

VECTORS = Path(__file__).parents[3] / "proto" / "vectors"
KINDS = {
    name.lower(): number
    for name, number in vars(wire).items()
    if type(number) is int and name.isupper() and not name.startswith("A_")
}
ATTRIBUTES = {
    name[2:].lower(): number for name, number in vars(wire).items() if name.startswith("A_")
}
# What SPEC has and this SDK has no use for.
KINDS |= {"control": 26}
ATTRIBUTES |= {"group": 16, "order_key": 23, "cost": 49, "limit_key": 73}
ATTRIBUTES_AT = {
    8: 3,
    16: 5,
    17: 3,
    19: 3,
    20: 4,
    21: 3,
    24: 5,
    29: 3,
    32: 4,
    36: 3,
    37: 4,
    50: 4,
    64: 6,
    65: 6,
}


def load(kind: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((VECTORS / kind / "v1.json").read_text())
    return entries


def packets(direction: str) -> list[Any]:
    return [
        pytest.param(e, id=e["name"])
        for e in load("packets")
        if e["direction"] in (direction, "both")
    ]


def from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"hex"}:
            return bytes.fromhex(value["hex"])
        return {k: from_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [from_json(v) for v in value]
    return value


def records(entry: dict[str, Any]) -> list[list[Any]]:
    """The records of an entry with numbers for names and bodies in place."""
    frames = [b"", *from_json(entry["json"]["frames"])]
    out = []
    for record in entry["json"]["records"]:
        kind = KINDS.get(record[0], record[0])
        made = [kind, *from_json(record[1:])]
        at = ATTRIBUTES_AT.get(kind)
        if at is not None and len(made) > at and isinstance(made[at], dict):
            made[at] = {
                ATTRIBUTES[k] if k in ATTRIBUTES else int(k): v for k, v in made[at].items()
            }
        body = {8: 2, 16: 4, 19: 4, 20: 3, 24: 4, 32: 3, 36: 2, 38: 2, 50: 3, 64: 5, 65: 5}.get(
            kind
        )
        if body is not None and len(made) > body and type(made[body]) is int:
            made[body] = frames[made[body]]
        out.append(made)
    return out


def known(record: list[Any]) -> list[Any]:
    """What the SDK's reader makes of a record: elements that it knows, all of them there."""
    kind = record[0]
    if kind in (64, 65):
        return [*record[:7], *[None] * (7 - len(record)), True]
    if kind in (8, 36):
        return [*record, *[None] * (4 - len(record))]
    if kind in (32, 50):
        return [*record, *[None] * (5 - len(record))]
    return record


@pytest.mark.parametrize("entry", packets("from_broker"))
def test_packet_from_the_broker_is_read(entry: dict[str, Any]) -> None:
    read_records = wire.PacketReader().read(one_buffer(bytes.fromhex(entry["bytes"])))
    assert read_records == [known(r) for r in records(entry)]


@pytest.mark.parametrize("entry", packets("to_broker"))
def test_strict_reader_reads_a_packet_to_the_broker(entry: dict[str, Any]) -> None:
    if any(r[0] in (2,) or (type(r[0]) is int and r[0] < 128) for r in entry["json"]["records"]):
        pytest.skip("not for the broker")
    got = read(one_buffer(bytes.fromhex(entry["bytes"])))
    assert got == records(entry)


@pytest.mark.parametrize("entry", [pytest.param(e, id=e["name"]) for e in load("malformed")])
def test_strict_reader_refuses(entry: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        read(one_buffer(bytes.fromhex(entry["bytes"])))
    assert (refused.value.code, refused.value.record) == (entry["error"], entry["record"])


STRUCTURE = (
    "cut to",
    "not an array",
    "never used",
    "kind is",
    "lies",
    "body frame",
    "ext in",
    "10,000",
)


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(e, id=e["name"])
        for e in load("malformed")
        if e["error"] == "malformed" and any(s in e["name"] for s in STRUCTURE)
    ],
)
def test_reader_refuses_broken_structure_and_reads_on(entry: dict[str, Any]) -> None:
    reader = wire.PacketReader()
    try:
        with pytest.raises(wire.Malformed):
            reader.read(one_buffer(bytes.fromhex(entry["bytes"])))
    finally:
        assert reader.read([b"\x92\x03\x05"]) == [[3, 5]]
