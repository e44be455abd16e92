"""Message types: bodies in JSON, compressed and checked, from every language to every other."""

from collections.abc import Iterator
from typing import Any

import pytest

from .fixtures import World, make_world
from .programs import LANGUAGES, ProgramError, normal
from .test_pairs import ACCEPTED, pairs

CONFIG = """
[message_types]
checked:
  format: json
  compression: true
  validation: true
  schema: '{"not": {"const": "forbidden"}}'
[types]
""" + "".join(f"echo-{language}:\n  message: checked\n" for language in LANGUAGES)


@pytest.fixture(scope="module")
def json_world(built: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from make_world(tmp_path_factory.mktemp("json"), CONFIG, "")


def in_json(tagged: Any, javascript: bool) -> bool:
    """Whether JSON holds the value exactly; in JavaScript whole numbers below 2^53 only."""
    if not isinstance(tagged, dict):
        return True
    ((kind, inner),) = tagged.items()
    if kind == "list":
        return all(in_json(value, javascript) for value in inner)
    if kind == "map":
        return all(in_json(value, javascript) for _, value in inner)
    if kind == "float":
        return inner not in ("NaN", "Infinity", "-Infinity")
    if kind == "int":
        return not javascript or abs(int(inner)) < 2**53
    return kind == "text"


@pytest.mark.shows("bodies as the broker's message types say")
@pairs
def test_bodies_in_json_come_back_as_they_went(json_world: World, client: str, worker: str) -> None:
    javascript = "javascript" in (client, worker)
    vectors = [vector for vector in ACCEPTED if in_json(vector["value"], javascript)]
    assert len(vectors) > 60
    bodies = [vector["value"] for vector in vectors]
    found = json_world.clients[client].do("many", type=f"echo-{worker}", bodies=bodies)
    wrong = [
        (vector["name"], outcome)
        for vector, outcome in zip(vectors, found, strict=True)
        if "error" in outcome
        or normal(outcome["ok"], through_javascript=javascript)
        != normal(vector["value"], through_javascript=javascript)
    ]
    assert not wrong
    with pytest.raises(ProgramError) as caught:
        json_world.clients[client].call(f"echo-{worker}", "forbidden")
    assert caught.value.code == "invalid"
    assert "fits the schema of not" in caught.value.text
