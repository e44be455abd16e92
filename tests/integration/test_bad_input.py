"""Bad input of each kind: a clear error to the one who caused it, a counter, a log line; and the
broker goes on with what everybody else does."""

import json
import os
import signal
import socket
import subprocess

import lz4.frame
import msgpack
import pytest
import zmq
from conftest import ROOT, TUSKD, Tuskd, wait_for
from peer import (
    ACCEPTED,
    COMPRESSION,
    ERROR,
    HELLO,
    PUBLISH,
    PUSH,
    RESULT,
    SUBMIT,
    SUBSCRIBE,
    SUCCEEDED,
    Peer,
    ReqPeer,
    pack,
    task_id,
    unpack,
)

CONFIG = """
[topics]
prices: {}

[ipc_patterns]
pipeline:
  stages: ["first", "second"]
"""


@pytest.fixture
def system(tuskd):
    """A broker with a worker and a client that work; after the test they still do."""
    broker = tuskd(CONFIG)
    worker = broker.peer(role="worker", types=["add"], slots=4)
    client = broker.peer()
    yield broker, worker, client
    bystander = broker.peer()
    number, _ = bystander.submit("add", 41)
    while True:
        task = worker.task()
        worker.answer(task, unpack(task[5]))
        if unpack(task[5]) == 41:
            break
    assert unpack(bystander.result(number)[3]) == 41


def error_of(peer):
    return peer.receive(ERROR)[0]


def test_garbage_is_malformed_and_the_session_goes_on(system):
    broker, _, client = system
    before = broker.counter("packets_refused")
    client.sent += 1
    client.send_raw([pack([0, client.session, client.sent, 0]) + b"\xc1garbage"])
    error = error_of(client)
    assert error[2] == "malformed" and error[4]["record"] == 1
    assert broker.counter("packets_refused") == before + 1
    broker.wait_log("refused a packet")


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_a_truncated_record_refuses_the_packet_whole(system, cut):
    _, _, client = system
    good = pack([SUBMIT, 1, task_id(), "add", pack(1)])
    client.sent += 1
    head = pack([0, client.session, client.sent, 0])
    client.send_raw([head + good + good[:-cut] if cut < len(good) else head + good[:1]])
    assert error_of(client)[2] == "malformed"


def vectors():
    text = (ROOT / "proto" / "vectors" / "malformed" / "v1.json").read_text()
    entries = json.loads(text)
    entries = entries if isinstance(entries, list) else entries["entries"]
    return [e for e in entries if "bytes" in e]


def header_of(frame):
    """The bytes of the header that the packet opens with, if it has a good one."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(frame[:64])
    try:
        record = unpacker.unpack()
    except Exception:
        return b""
    good = isinstance(record, list) and len(record) == 4 and record[0] == 0
    good = good and all(isinstance(n, int) and 0 <= n < 1 << 53 for n in record)
    return frame[: unpacker.tell()] if good else b""


@pytest.mark.parametrize("vector", vectors(), ids=lambda v: v["name"])
def test_every_malformed_vector_gets_its_error(tuskd_once, vector):
    frames, rest = [], bytes.fromhex(vector["bytes"])
    while rest:
        size = int.from_bytes(rest[:4], "big")
        frames.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    header = header_of(frames[0]) if frames else b""
    peer = Peer(tuskd_once.url, acks=bool(header), role="both", types=["x"])
    peer.greet()
    if header:  # with this session's number
        frames[0] = pack([0, peer.session, 1, 0]) + frames[0][len(header) :]
    peer.send_raw(frames or [b""])
    if b"" in frames[:2]:
        # An empty frame there ends the envelope of a REQ peer: the reply has the same envelope.
        reply = peer.socket.recv_multipart()
        assert reply[: frames.index(b"") + 1] == frames[: frames.index(b"") + 1]
        assert unpack(reply[-1])[2] == vector["error"]
    else:
        assert error_of(peer)[2] == vector["error"]
    peer.close()


@pytest.fixture(scope="module")
def tuskd_once(tmp_path_factory):
    broker = Tuskd(tmp_path_factory.mktemp("tuskd"), CONFIG).start()
    yield broker
    broker.close()


def test_a_body_above_its_limit_is_too_large(tuskd):
    broker = tuskd("", "max_body: 1MB")
    client = broker.peer()
    client.send([SUBMIT, 1, task_id(), "add", 1], bodies=[b"\xc6" + b"x" * (1 << 20)])
    error = error_of(client)
    assert error[:3] == [ERROR, 1, "too_large"] and error[4]["limit"] == "body"
    assert broker.counter("errors_too_large") == 1


def test_a_frame_with_too_many_bytes_or_records_is_too_large(system):
    _, _, client = system
    client.send([SUBMIT, 1, task_id(), "add", b"x" * (2 << 20)])
    assert error_of(client)[4]["limit"] == "frame"
    client.send(*[[3, n] for n in range(1025)])
    assert error_of(client)[4]["limit"] == "records"
    client.send([3, 5])
    assert client.receive(4)[0] == [4, 5]  # the numbers of refused packets count


def test_an_lz4_bomb_is_refused_at_the_door(system):
    _, _, client = system
    block = lz4.frame.compress(b"\0" * (4 << 20), block_size=lz4.frame.BLOCKSIZE_MAX4MB)
    bomb = lz4.frame.compress(b"\0" * (256 << 20), block_size=lz4.frame.BLOCKSIZE_MAX4MB)
    assert len(bomb) < 2 << 20 and len(block) < 1 << 16
    client.send([SUBMIT, 1, task_id(), "add", 1, {COMPRESSION: 1}], bodies=[bomb])
    assert error_of(client)[2] == "too_large"
    client.send([SUBMIT, 2, task_id(), "add", b"not lz4", {COMPRESSION: 1}])
    assert error_of(client)[2] == "invalid"


def test_unknown_kinds_attributes_and_versions(system):
    broker, _, client = system
    client.send([77, 5])
    assert error_of(client)[1:] == [5, "unsupported", *error_of_fields("kind", 77)]
    client.send([SUBMIT, 6, task_id(), "add", pack(1), {999: True}])
    error = error_of(client)
    assert error[1:3] == [6, "unsupported"] and error[4] == {"attribute": 999}
    client.send([SUBMIT, 7, task_id(), "add", pack(1), {11: True}])  # reserved: durable
    assert error_of(client)[4] == {"attribute": 11}
    client.send([200, "may be ignored"], [3, 1])
    assert client.receive(4)[0] == [4, 1]
    stranger = Peer(broker.url)
    stranger.send_raw([pack([HELLO, 99, stranger.hello])])
    assert error_of(stranger)[2] == "version"
    stranger.close()


def error_of_fields(name, value):
    return ["a kind of record that this broker does not carry out", {name: value}]


def test_records_of_another_session_change_nothing(system):
    broker, _, client = system
    client.send_raw(
        [pack([0, client.session + 1, 1, 0]) + pack([SUBMIT, 1, task_id(), "add", pack(1)])]
    )
    assert error_of(client)[2] == "stale_session"
    stranger = Peer(broker.url)
    stranger.session = 12345
    stranger.send([SUBMIT, 1, task_id(), "add", pack(1)])
    assert error_of(stranger)[2] == "stale_session"
    stranger.close()
    assert broker.query("types")[0]["accepted"] == 0


def test_a_skipped_packet_is_a_gap(system):
    _, _, client = system
    client.sent += 1
    client.send([3, 1])
    error = error_of(client)
    assert error[2] == "gap" and error[4]["expected"] == client.sent - 1


def test_a_result_for_a_task_that_is_not_yours(system):
    broker, worker, client = system
    other = broker.peer(role="worker", types=["other"])
    number, _ = client.submit("add", 1)
    task = worker.task()
    other.answer(task, "stolen")
    assert error_of(other)[2] == "unknown_handle"
    worker.answer(task, "mine")
    assert unpack(client.result(number)[3]) == "mine"
    worker.answer(task, "twice")
    assert error_of(worker)[2] == "unknown_handle"
    assert broker.counter("errors_unknown_handle") == 2
    broker.wait_log("not its own")


def test_a_second_hello(system):
    _, _, client = system
    client.send_raw([pack([HELLO, 1, client.hello])])
    assert client.receive()[0][2]["session"] == client.session
    client.send_raw([pack([HELLO, 1, client.hello | {"instance": os.urandom(16)}])])
    assert error_of(client)[2] == "duplicate_hello"


@pytest.mark.parametrize(
    "change",
    [
        {"role": "boss"},
        {"instance": b"short"},
        {"language": 7},
        {"slots": 0},
        {"types": "add"},
        {"types": [""]},
        {"types": ["x" * 256]},
        {"claims": 1},
    ],
    ids=str,
)
def test_a_wrong_hello_says_what_is_wrong(tuskd_once, change):
    peer = Peer(tuskd_once.url, role="worker", types=["add"])
    peer.send_raw([pack([HELLO, 1, peer.hello | change])])
    assert error_of(peer)[2] == "invalid"
    peer.close()


def test_a_full_queue_says_which_limit(tuskd):
    broker = tuskd("[types]\nslow:\n  max_waiting: 2\n  unserved: wait")
    client = broker.peer()
    for _ in range(2):
        client.submit("slow")
    number, _ = client.submit("slow")
    error = client.result(number)
    assert error[2] == "full" and error[4] == {"limit": "max_waiting", "value": 2}
    broker.wait_log("max_waiting")


def test_unknown_type_topic_and_stage_name_the_nearest(tuskd):
    broker = tuskd(CONFIG, "unserved_grace: 1ms")
    broker.peer(role="worker", types=["add"])
    client = broker.peer()
    wait_for(lambda: broker.query("status")["uptime"] > 2)
    number, _ = client.submit("addd")
    error = client.result(number)
    assert error[2] == "unserved" and '"add"' in error[3]
    client.send([PUBLISH, 50, "price", pack(1)], [SUBSCRIBE, 51, "pricess"])
    for request in (50, 51):
        error = error_of(client)
        assert error[1:3] == [request, "unknown_topic"] and '"prices"' in error[3]
    client.send([PUSH, 52, task_id(), "frist", pack(1)])
    error = error_of(client)
    assert error[2] == "unknown_stage" and '"first"' in error[3]


def test_the_same_id_with_another_body(system):
    _, worker, client = system
    number, id = client.submit("add", 1)
    worker.task()
    number, _ = client.submit("add", 2, id=id)
    assert client.result(number)[2] == "id_conflict"


def test_hostile_peers_are_answered_at_a_bounded_rate(system):
    broker, _, _ = system
    with zmq.Context.instance().socket(zmq.DEALER) as stranger:
        stranger.connect(broker.url)
        stranger.setsockopt(zmq.LINGER, 0)
        for _ in range(2000):
            stranger.send(b"\xc1")
        wait_for(lambda: broker.counter("errors_stale_session") >= 2000)
        answers = 0
        while stranger.poll(50):
            stranger.recv_multipart()
            answers += 1
        assert 1 <= answers < 200
    assert broker.log_text().count("without hello") < 10


def test_raw_bytes_on_the_port_harm_nobody(system):
    broker, _, _ = system
    host, port = broker.url.removeprefix("tcp://").split(":")
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"\xff" + b"\0" * 8 + b"\x7f"):
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(garbage)


def test_edges_count_what_they_drop(system):
    broker, _, _ = system
    context = zmq.Context.instance()
    with context.socket(zmq.PUB) as pub, context.socket(zmq.PUSH) as push:
        pub.setsockopt(zmq.LINGER, 0)
        push.setsockopt(zmq.LINGER, 0)
        pub.connect(broker.edges["events_in"])
        push.connect(broker.edges["pipeline_in"])

        def dropped(count):
            return broker.counter("edge_dropped") >= count

        # A PUB that has just connected drops what it sends: again, until it arrives.
        def publish_garbage():
            pub.send_multipart([b"prices\0", b"\xc1"])
            return dropped(1)

        wait_for(publish_garbage, "the event edge to count")
        before = broker.counter("edge_dropped")
        push.send(b"\xc1")
        push.send(pack([PUSH, 0, None, "nowhere", pack(1)]))
        push.send(pack([SUBMIT, 1, task_id(), "add", pack(1)]))
        wait_for(lambda: dropped(before + 3), "the pipeline edge to count")


# --- the daemon itself ----------------------------------------------------------------------------


def run(*arguments, **options):
    return subprocess.run(
        [TUSKD, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        **options,
    )


def test_a_port_in_use_is_named_with_its_key(tuskd, tmp_path):
    broker = tuskd()
    other = Tuskd(tmp_path, "")
    other.keys["endpoint"] = f'"{broker.url}"'
    other.write_config()
    done = run(other.file)
    assert done.returncode == 1
    assert broker.url in done.stderr and "[tuskd] endpoint" in done.stderr


def test_an_ipc_endpoint_in_use_is_not_taken_over(tuskd, tmp_path):
    broker = tuskd("", f'ipc: "ipc://{tmp_path}/s"')
    other = Tuskd(tmp_path, "", f'ipc: "ipc://{tmp_path}/s"')
    other.write_config()
    done = run(other.file)
    assert done.returncode == 1 and "[tuskd] ipc" in done.stderr
    assert broker.query("status")["server"]


def test_config_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "missing.tsk", tmp_path):
        done = run(path)
        assert done.returncode == 2 and str(path) in done.stderr


def test_check_and_print(tmp_path):
    good, bad = tmp_path / "good.tsk", tmp_path / "bad.tsk"
    good.write_text("[tuskd]\nlog_level: debug\n")
    bad.write_text("[tuskd]\nlog_levle: debug\n")
    done = run("--check", good)
    assert (done.returncode, done.stdout) == (0, f"{good}: ok\n")
    done = run("--check", bad)
    assert done.returncode == 2 and "log_level" in done.stderr and ":2:1" in done.stderr
    done = run("--print", good)
    assert done.returncode == 0 and json.loads(done.stdout)


def test_a_reload_that_does_not_validate_changes_nothing(tuskd):
    broker = tuskd(CONFIG)
    client = broker.peer()
    broker.reload("[topics]\nprices: 7\n")
    broker.wait_log(r"reload refused.*orchestration.tsk:\d+:\d+")
    client.send([SUBSCRIBE, 1, "prices"])
    assert client.receive(ACCEPTED)[0][1] == 1


def test_a_worker_that_dies_half_way_gives_its_task_back(system):
    broker, worker, client = system
    number, _ = client.submit("add", 5)
    task = worker.task()
    worker.send([6, "gone"])  # bye, with the task unanswered
    again = broker.peer(role="worker", types=["add"], slots=4)
    task = again.task()
    assert task[4] == 2
    again.answer(task, 6)
    assert client.result(number)[2] == SUCCEEDED
    # The fixture's bystander needs a worker under the old name.
    again.send([6])
    worker.close()
    worker.__init__(broker.url, role="worker", types=["add"], slots=4)  # type: ignore[misc]
    worker.greet()


def test_sigterm_twice_ends_at_once(tuskd):
    broker = tuskd("", "shutdown_grace: 1h")
    worker, client = broker.peer(role="worker", types=["add"]), broker.peer()
    client.submit("add", 1)
    worker.task()
    waiting, _ = client.submit("add", 2)
    wait_for(lambda: broker.query("status")["waiting"] == 1)
    broker.signal(signal.SIGTERM)
    assert client.result(waiting)[2] == "shutting_down"
    number, _ = client.submit("add", 3)
    assert client.result(number)[2] == "shutting_down"
    broker.signal(signal.SIGTERM)
    assert broker.process.wait(10) == 0


def test_running_tasks_end_before_a_stop(tuskd):
    broker = tuskd()
    worker, client = broker.peer(role="worker", types=["add"]), broker.peer()
    number, _ = client.submit("add", 1)
    task = worker.task()
    broker.signal(signal.SIGTERM)
    worker.receive(7)  # goaway
    worker.answer(task, 2)
    assert client.result(number)[:3] == [RESULT, number, SUCCEEDED]
    assert broker.process.wait(10) == 0


def test_no_more_sessions_than_allowed(tuskd):
    broker = tuskd("", "max_sessions: 2")
    broker.peer()
    broker.peer()
    third = Peer(broker.url)
    third.send_raw([pack([HELLO, 1, third.hello])])
    assert error_of(third)[2] == "full"
    third.close()
    with ReqPeer(broker.url) as req:
        assert req.ask([3, 1]) == [4, 1]
