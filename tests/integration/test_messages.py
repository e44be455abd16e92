"""[message_types] as a user writes it: bodies that are checked, and what peers are told."""

import shutil
import subprocess
from pathlib import Path

import lz4.frame
import pytest
from conftest import ROOT, TUSKD, Tuskd
from peer import (
    ACCEPTED,
    COMPRESSION,
    ERROR,
    PUBLISH,
    SUBMIT,
    SUBSCRIBE,
    ReqPeer,
    task_id,
)

CODEC = 27
JSON, PLAIN = 1, 2
EVENT = 50

# The user's own block.
CONFIG = """
[message_types]
data_request:
  format: "json"
  schema: "@file.read('schemas/data_request.json')"
  validation: true

ml_task:
  format: "msgpack"
  compression: true
  priority: "high"

system_event:
  format: "protobuf"
  schema: "@file.read('schemas/system_event.proto')"
  routing: "fanout"
"""


@pytest.fixture
def broker(tuskd):
    broker = tuskd(CONFIG, run=False)
    shutil.copytree(ROOT / "config" / "schemas", broker.folder / "schemas")
    return broker.start()


def test_welcome_tells_how_bodies_are_written(broker):
    assert broker.peer().welcome["messages"] == {
        "types": {
            "data_request": {"codec": 1},
            "ml_task": {"codec": 0, "compress": True},
            "system_event": {"codec": 2},
        },
        "stages": {},
        "topics": {"system_event": {"codec": 2}},
    }


def test_a_wrong_body_is_refused_with_its_place(broker):
    worker = broker.peer(role="worker", types=["data_request"], slots=4)
    client = broker.peer()
    wrong = b'{"source": "sales", "limit": 0}'
    client.send([SUBMIT, 1, task_id(), "data_request", wrong, {CODEC: JSON}])
    error = client.receive(ERROR)[0]
    assert error[1:3] == [1, "invalid"]
    assert error[3] == (
        'body of "data_request" is wrong at /limit: must be at least 1 '
        '(schema of message type "data_request")'
    )
    assert error[4] == {"field": "body", "path": "/limit"}
    good = b'{"source": "sales", "limit": 1}'
    client.send([SUBMIT, 2, task_id(), "data_request", good, {CODEC: JSON}])
    assert worker.task()[5] == good
    assert broker.query("status")["counters"]["submitted"] == 1


def test_a_compressed_body_and_one_in_another_codec(broker):
    client = broker.peer()
    body = lz4.frame.compress(b'{"limit": 5}')
    attributes = {CODEC: JSON, COMPRESSION: 1}
    client.send([SUBMIT, 1, task_id(), "data_request", body, attributes])
    assert 'has no "source"' in client.receive(ERROR)[0][3]
    with ReqPeer(broker.url) as req:
        reply = req.ask([SUBMIT, 1, task_id(), "data_request", b"\x80"])
        assert reply[2] == "invalid" and "expected JSON (codec 1)" in reply[3]


def test_a_reload_changes_what_is_checked_or_nothing(broker):
    client, subscriber = broker.peer(), broker.peer()
    subscriber.send([SUBSCRIBE, 1, "system_event"])
    subscriber.receive(ACCEPTED)
    wrong = [PUBLISH, 2, "system_event", b"\xff", {CODEC: PLAIN}]
    client.send(wrong)
    client.receive(ACCEPTED)
    assert subscriber.receive(EVENT)[0][1] == 1
    checked = CONFIG.replace('"fanout"', '"fanout"\n  validation: true')
    broker.reload(checked)
    client.send(wrong)
    error = client.receive(ERROR)[0]
    assert error[2] == "invalid" and error[4] == {"field": "body", "path": ""}

    (broker.folder / "schemas" / "system_event.proto").write_text(
        'syntax = "proto3";\nmessage SystemEvent {\n  string source 1;\n}\n'
    )
    broker.reload(checked)
    broker.wait_log(
        r"reload refused.*orchestration.tsk:\d+:11: \[message_types\] system_event.schema: "
        r"schemas/system_event.proto:3:17: "
    )
    client.send([PUBLISH, 3, "system_event", b"\x0a\x01x", {CODEC: PLAIN}])
    client.receive(ACCEPTED)
    assert subscriber.receive(EVENT)[0][1] == 2, "the old schema, and no number for the refused one"


SCHEMAS = {
    "broken.json": '{\n  "type" "object"\n}\n',
    "several.proto": 'syntax = "proto3";\nmessage First {}\nmessage Second {}\n',
}


@pytest.mark.parametrize(
    ("entry", "place", "why"),
    [
        ("format: xml", "3:11", "expected json, msgpack or protobuf"),
        ("format: json\n  validation: true", "4:15", "needs a schema"),
        (
            "format: json\n  schema: @file.read('broken.json')",
            "4:11",
            "broken.json:2:17: it is no JSON",
        ),
        (
            'format: msgpack\n  schema: \'{"items": {"$ref": "http://x/y.json"}}\'',
            "4:11",
            "at /items/$ref: a reference to another document",
        ),
        (
            "format: protobuf\n  schema: @file.read('several.proto')",
            "4:11",
            "it has several messages (First, Second)",
        ),
        (
            "format: protobuf\n  schema: @file.read('several.proto')\n  message: Secnd",
            "5:12",
            'did you mean "Second"?',
        ),
        (
            "routing: direct",
            "3:12",
            "expected fanout, round_robin, least_connections or sticky",
        ),
    ],
)
def test_a_bad_config_is_told_with_its_place(
    tmp_path: Path, entry: str, place: str, why: str
) -> None:
    for name, text in SCHEMAS.items():
        (tmp_path / name).write_text(text)
    file = tmp_path / "bad.tsk"
    file.write_text(f"[message_types]\nm:\n  {entry}\n")
    for arguments in (["--check", file], [file]):
        done = subprocess.run(
            [TUSKD, *arguments], check=False, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 2
        assert f"{file}:{place}: " in done.stderr
        assert why in done.stderr


def test_a_message_type_of_a_topic_or_type_must_be_there(tuskd: type[Tuskd]) -> None:
    broker = tuskd(CONFIG, run=False)
    broker.config = "[message_types]\nimage: {}\n[types]\nresize:\n  message: imaeg\n"
    broker.write_config()
    done = subprocess.run(
        [TUSKD, "--check", broker.file],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert '[types] resize.message: "imaeg" is no entry of [message_types]' in done.stderr
    assert 'did you mean "image"?' in done.stderr
