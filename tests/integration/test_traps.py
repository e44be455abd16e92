"""What libzmq does to those who do not know it: each trap of proto/SPEC.md's advice, sprung."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import zmq
from conftest import wait_for
from peer import (
    ERROR,
    HELLO,
    PUSH,
    RESULT,
    SUBMIT,
    SUCCEEDED,
    TASK,
    Peer,
    ReqPeer,
    pack,
    records_of,
    task_id,
    unpack,
)

HERE = Path(__file__).parent

# A worker in a process of its own that takes one task and never answers it.
STUBBORN = """
import os, socket, subprocess, sys, time
sys.path.insert(0, sys.argv[2])
from peer import Peer

def sent():
    # Bytes of this process that have arrived, over all its connections: tcpi_bytes_acked.
    total = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(number))) as s:
                if s.family == socket.AF_INET and s.type == socket.SOCK_STREAM:
                    info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                    total += int.from_bytes(info[120:128], sys.byteorder)
        except OSError:
            pass  # no socket, or a descriptor that is gone
    return total

peer = Peer(
    sys.argv[1], role="worker", types=["add"], name="stubborn", pid=os.getpid(),
    pid_ns=os.stat("/proc/self/ns/pid").st_ino,
    boot_id=open("/proc/sys/kernel/random/boot_id").read().strip(),
)
peer.greet()
task = peer.task()
if "fork" in sys.argv:
    if os.fork() == 0:
        time.sleep(600)
if "answer" in sys.argv:
    before = sent()
    peer.answer(task, "last words")
    while sent() == before:  # libzmq's thread has it; the words count once they are on the wire
        time.sleep(0.001)
print("has it", flush=True)
time.sleep(600)
"""


def stubborn(broker, *flags):
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN, broker.url, str(HERE.parent), *flags],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(lambda: broker.query("workers"), "the worker")
    return process


def end_group(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("flags", [(), ("fork",)], ids=["alone", "with a child"])
def test_a_killed_workers_task_runs_elsewhere(tuskd, flags):
    """With a child that holds its socket open too: libzmq alone would not notice for seconds."""
    broker = tuskd("", "reconnect_grace: 10m\nheartbeat: 10m")
    process = stubborn(broker, *flags)
    client = broker.peer()
    number, _ = client.submit("add", 1)
    assert process.stdout.readline() == b"has it\n"
    other = broker.peer(role="worker", types=["add"])
    process.kill()
    task = other.task()
    assert task[4] == 2
    other.answer(task, 2)
    assert client.result(number)[2] == SUCCEEDED
    assert broker.counter("crashed") == 1
    broker.wait_log("stubborn died")
    end_group(process)


def test_the_last_words_of_a_killed_worker_count(tuskd):
    """What it sent before it died is applied before its death is: the task does not run again."""
    broker = tuskd()
    for _ in range(20):
        process = stubborn(broker, "answer")
        client = broker.peer()
        number, _ = client.submit("add", 1)
        process.stdout.readline()
        process.kill()
        assert unpack(client.result(number)[3]) == "last words"
        end_group(process)
        wait_for(lambda: not broker.query("workers"), "the end of the worker")
    assert broker.counter("crashed") == 0
    assert broker.counter("dispatched") == 20


def test_a_cut_connection_is_no_death(tuskd):
    broker = tuskd("", "reconnect_grace: 10m")
    worker = broker.peer(role="worker", types=["add"], slots=2)
    client = broker.peer()
    number, _ = client.submit("add", 1)
    task = worker.task()
    worker.reconnect()
    assert worker.welcome["resumed"]
    worker.answer(task, 5)
    assert unpack(client.result(number)[3]) == 5
    assert broker.counter("requeued") == broker.counter("crashed") == 0
    assert broker.counter("sessions_resumed") == 1


def test_after_the_grace_the_tasks_go_elsewhere_uncharged(tuskd):
    broker = tuskd("", "reconnect_grace: 20ms")
    worker, client = broker.peer(role="worker", types=["add"]), broker.peer()
    number, _ = client.submit("add", 1)
    task = worker.task()
    worker.socket.close()
    other = broker.peer(role="worker", types=["add"])
    again = other.task()
    assert again[4] == 2 and broker.counter("crashed") == 0
    worker.hello["claims"] = [[task[2], task[4], "add", False]]
    worker.reconnect()
    assert worker.welcome["resumed"] and worker.welcome["claims"] == [[task[2], None]]
    other.answer(again, 3)
    assert unpack(client.result(number)[3]) == 3


def test_a_lost_suffix_is_sent_again(tuskd):
    """A send that succeeded says nothing about receipt; the numbers of the packets do."""
    broker = tuskd()
    worker, client = broker.peer(role="worker", types=["add"], slots=10), broker.peer()
    numbers = [client.submit("add", n)[0] for n in range(5)]
    client.socket.close()  # with LINGER 0: who knows what arrived
    client.reconnect()
    for _ in numbers:
        worker.answer(task := worker.task(), unpack(task[5]))
    assert [unpack(client.result(n)[3]) for n in numbers] == list(range(5))
    assert broker.counter("submitted") == 5


def test_what_the_broker_sent_into_a_dead_connection_comes_again(tuskd):
    broker = tuskd()
    worker, client = broker.peer(role="worker", types=["add"]), broker.peer()
    number, _ = client.submit("add", 1)
    task = worker.task()
    client.socket.close()
    wait_for(lambda: broker.query("status")["sessions"] == 2)
    worker.answer(task, 9)
    wait_for(lambda: broker.counter("succeeded") == 1)
    client.reconnect()
    assert unpack(client.result(number)[3]) == 9


def test_a_restarted_broker_gets_old_results_first(tuskd):
    """A DEALER without IMMEDIATE delivers to the new broker what was meant for the old one."""
    broker = tuskd()
    worker, client = broker.peer(role="worker", types=["add"]), broker.peer()
    client.submit("add", 1)
    task = worker.task()
    broker.kill()
    worker.answer(task, "stale")
    broker.start()
    error = worker.receive(ERROR)[0]
    assert error[2] == "stale_session"
    assert broker.counter("errors_stale_session") >= 1
    old_epoch, old_session = worker.welcome["epoch"], worker.session
    worker.hello |= {
        "session": worker.session,
        "ack": worker.received,
        "claims": [[task[2], task[4], "add", False]],
    }
    worker.inbox.clear()
    worker.greet()
    assert not worker.welcome["resumed"]
    assert worker.welcome["epoch"] != old_epoch and worker.session != old_session
    (id, handle) = worker.welcome["claims"][0]
    assert id == task[2] and handle is not None
    # The client sends the task again; it joins the run that the worker claimed.
    again = broker.peer()
    number, _ = again.submit("add", 1, id=task[2], attributes={17: True})
    worker.send([RESULT, handle, SUCCEEDED, pack("fresh")])
    assert unpack(again.result(number)[3]) == "fresh"
    assert broker.counter("dispatched") == 0


def test_a_resent_task_that_nobody_claims_runs(tuskd):
    broker = tuskd("", "reconnect_grace: 20ms")
    worker, client = broker.peer(role="worker", types=["add"]), broker.peer()
    number, _ = client.submit("add", 1, attributes={17: True})
    worker.answer(worker.task(), 2)
    assert unpack(client.result(number)[3]) == 2


def test_hello_from_a_queue_that_was_filled_before_the_connection_stood(tuskd):
    broker = tuskd(run=False)
    broker.start()
    broker.kill()
    early = Peer(broker.url)
    early.send_raw([pack([HELLO, 1, early.hello])])
    early.send_raw([pack([HELLO, 1, early.hello])])
    broker.start()
    first = early.receive()[0]
    second = early.receive()[0]
    assert first == second and first[0] == 2
    early.close()


def test_an_unread_pull_loses_nothing(tuskd):
    """Heartbeats on a socket that stays unread lose data; the edge has none."""
    broker = tuskd(
        '[ipc_patterns]\npipeline:\n  pattern: "push_pull"\n  stages: ["only"]',
        "heartbeat: 100ms\nstage_capacity: 10",
    )
    with zmq.Context.instance().socket(zmq.PUSH) as push:
        push.setsockopt(zmq.LINGER, -1)
        push.connect(broker.edges["pipeline_in"])
        for n in range(5000):
            push.send(pack([PUSH, 0, None, "only", pack(n)]))
        wait_for(lambda: broker.query("stages")[0]["parked"] == 1, "the stage to be full")
        full = broker.query("status")["uptime"]
        wait_for(lambda: broker.query("status")["uptime"] > full + 1500, "15 heartbeats")
        worker = broker.peer(role="worker", handlers=["only"], slots=100)
        seen = []
        while len(seen) < 5000:
            item = worker.task()
            seen.append(unpack(item[5]))
            worker.send([RESULT, item[1], SUCCEEDED])
        assert seen == list(range(5000))


def echo(worker):
    """Answers the next task with its own body, which is a frame."""
    task, bodies = worker.receive(TASK)
    worker.send([RESULT, task[1], SUCCEEDED, 1], bodies=[bodies[task[5] - 1]])


def test_a_peer_that_does_not_read_harms_nobody(tuskd):
    broker = tuskd("", "max_session_bytes: 1MB\nmax_body: 1MB")
    worker = broker.peer(role="worker", types=["add"], slots=1000)
    deaf = broker.peer(acks=False)
    deaf.socket.setsockopt(zmq.RCVHWM, 1)
    body = os.urandom(60_000)
    for n in range(300):
        deaf.send([SUBMIT, n + 1, task_id(), "add", 1], bodies=[pack(body)])
    for _ in range(300):
        echo(worker)
    client = broker.peer()
    number, _ = client.submit("add", 1)
    worker.answer(worker.task(), 2)
    assert unpack(client.result(number)[3]) == 2


def test_a_client_that_does_not_acknowledge_is_busy(tuskd):
    broker = tuskd("", "max_session_bytes: 1MB\nmax_body: 1MB")
    worker, client = broker.peer(role="worker", types=["add"], slots=100), broker.peer()
    for _ in range(30):
        client.send(
            [SUBMIT, client.request(), task_id(), "add", 1], bodies=[pack(os.urandom(60_000))]
        )
    for _ in range(30):
        echo(worker)
    wait_for(lambda: broker.counter("succeeded") == 30)
    number, _ = client.submit("add", 1)  # which acknowledges nothing: nothing was read
    error = client.result(number)
    assert error[2] == "busy" and error[4]["limit"] == "session_bytes"
    client.acknowledge()
    number, _ = client.submit("add", 1)
    worker.answer(worker.task(), 2)
    assert unpack(client.result(number)[3]) == 2


def test_above_twice_the_body_limit_libzmq_disconnects(tuskd):
    broker = tuskd("", "max_body: 1MB")
    client = broker.peer()
    client.send([SUBMIT, 1, task_id(), "add", 1], bodies=[b"x" * (3 << 20)])
    wait_for(lambda: "sessions" in broker.query("status"))
    with ReqPeer(broker.url) as req:
        assert req.ask([3, 1]) == [4, 1]


def test_peers_with_a_routing_id_of_their_own_are_not_heard(tuskd):
    broker = tuskd()
    with zmq.Context.instance().socket(zmq.DEALER) as named:
        named.setsockopt(zmq.ROUTING_ID, b"me")
        named.setsockopt(zmq.LINGER, 0)
        named.connect(broker.url)
        named.send(pack([HELLO, 1, Peer(broker.url).hello]))
        broker.peer()
        assert not named.poll(50)
        assert broker.query("status")["sessions"] == 1


def test_connections_that_come_and_go_leave_nothing_behind(tuskd):
    """The next connection may get the descriptor of the last at once."""
    broker = tuskd("", "session_ttl: 1s\nreconnect_grace: 10ms")
    worker, client = broker.peer(role="worker", types=["add"]), broker.peer()
    for n in range(200):
        Peer(broker.url).greet()
        short = broker.peer(role="worker", types=["other"])
        short.socket.close(0)
        if n % 50 == 0:
            number, _ = client.submit("add", n)
            worker.answer(worker.task(), n)
            assert unpack(client.result(number)[3]) == n


def test_ipc_beside_tcp(tuskd, tmp_path):
    broker = tuskd("", f'ipc: "ipc://{tmp_path}/router"')
    worker = broker.peer(role="worker", types=["add"])
    near = Peer(f"ipc://{tmp_path}/router")
    near.greet()
    number, _ = near.submit("add", 1)
    worker.answer(worker.task(), 2)
    assert unpack(near.result(number)[3]) == 2
    near.close()


def test_lone_acknowledgements_come_by_themselves(tuskd):
    broker = tuskd()
    client = broker.peer()
    client.send([200, "nothing that is answered"])
    assert client.packets
    wait_for(lambda: client.poll(10) or not client.packets, "the acknowledgement")
    assert not client.packets


def test_packets_carry_headers_that_count(tuskd):
    broker = tuskd()
    client = broker.peer()
    client.send([3, 1])
    frames = client.socket.recv_multipart()
    header = records_of(frames[0])[0]
    assert header == [0, client.session, 1, 1]
