"""A task's way through a real tuskd, spoken by hand."""

from conftest import wait_for
from peer import (
    ACCEPTED,
    ANSWER,
    CANCEL,
    CANCELLED,
    DEAD,
    ERROR,
    FAILED,
    NO_RETRY,
    QUERY,
    REPLY,
    RESULT,
    SUBMIT,
    SUCCEEDED,
    TASK,
    ReqPeer,
    pack,
    task_id,
    unpack,
)


def worker(broker, types=("add",), **hello):
    return broker.peer(role="worker", types=list(types), **hello)


def test_a_task_goes_to_a_worker_and_its_result_comes_back(tuskd):
    broker = tuskd()
    peer, client = worker(broker), broker.peer()
    number, id = client.submit("add", {"a": 1, "b": 2})
    task = peer.task()
    assert task[2:5] == [id, "add", 1]
    assert unpack(task[5]) == {"a": 1, "b": 2}
    peer.answer(task, 3)
    assert client.result(number)[:3] == [RESULT, number, SUCCEEDED]


def test_bodies_travel_as_frames_of_their_own(tuskd):
    broker = tuskd()
    peer, client = worker(broker), broker.peer()
    body = pack(b"x" * (16 << 20))
    client.send([SUBMIT, 1, task_id(), "add", 1], bodies=[body])
    task, bodies = peer.receive(TASK)
    assert task[5] == 1 and bodies == [body]
    peer.send([RESULT, task[1], SUCCEEDED, 1], bodies=[body])
    record, bodies = client.receive(RESULT)
    assert record[3] == 1 and bodies == [body]


def test_replies_as_they_were_asked_for(tuskd):
    broker = tuskd()
    peer, client = worker(broker, slots=10), broker.peer()
    client.send([SUBMIT, 1, task_id(), "add", pack(1), {REPLY: 1}])
    client.send([SUBMIT, 2, task_id(), "add", pack(1), {REPLY: 2}])
    assert client.receive(ACCEPTED)[0][1] == 1
    assert client.receive(ACCEPTED)[0][1] == 2
    peer.answer(peer.task())
    peer.answer(peer.task())
    assert client.receive(RESULT)[0][1] == 2


def test_the_ending_is_repeated_until_it_is_acknowledged(tuskd):
    broker = tuskd()
    peer, client, other = worker(broker), broker.peer(), broker.peer()
    number, id = client.submit("add", 1)
    peer.answer(peer.task(), 2)
    client.result(number)  # it came, and is not acknowledged yet
    number, _ = other.submit("add", 1, id=id)
    assert unpack(other.result(number)[3]) == 2
    client.acknowledge()
    wait_for(lambda: broker.query("status")["remembered_ids"] == 1, "the ending to be let go")
    number, _ = other.submit("add", 1, id=id)
    error = other.result(number)
    assert error[2] == "already_ended" and error[4] == {"state": "succeeded"}
    number, _ = other.submit("add", "another body", id=id)
    assert other.result(number)[2] == "id_conflict"


def test_a_failed_run_is_tried_again_and_then_dead(tuskd):
    broker = tuskd("[types]\nadd:\n  attempts: 3", "retry_backoff: 1ms")
    peer, client = worker(broker), broker.peer()
    number, _ = client.submit("add", 1)
    error = {"type": "ValueError", "message": "no", "language": "python", "stack": "line 1"}
    for attempt in (1, 2, 3):
        task = peer.task()
        assert task[4] == attempt
        peer.send([RESULT, task[1], FAILED, None, {2: error}])
    ending = client.result(number)
    assert ending[2] == DEAD
    assert (
        ending[4][2] == error
        and ending[4][4] == 3
        and ending[4][6] == peer.hello.get("name", ending[4][6])
    )


def test_an_error_not_worth_another_run_is_failed_at_once(tuskd):
    broker = tuskd("[types]\nadd:\n  attempts: 3")
    peer, client = worker(broker), broker.peer()
    number, _ = client.submit("add", 1)
    peer.send([RESULT, peer.task()[1], FAILED, None, {NO_RETRY: True}])
    assert client.result(number)[2] == FAILED


def test_cancel_waiting_and_running(tuskd):
    broker = tuskd()
    peer, client = worker(broker), broker.peer()
    running, running_id = client.submit("add", 1)
    task = peer.task()
    waiting, waiting_id = client.submit("add", 2)
    client.send([CANCEL, 100, waiting_id], [CANCEL, 101, running_id], [CANCEL, 102, task_id()])
    assert client.result(waiting)[2] == CANCELLED
    assert client.receive(ANSWER)[0][2] == {"state": "cancelled"}
    assert client.receive(ANSWER)[0][2] == {"state": "cancelling"}
    assert client.receive(ERROR)[0][2] == "unknown_task"
    cancel = peer.receive(CANCEL)[0]
    assert cancel[1] == task[1]
    peer.send([RESULT, task[1], CANCELLED])
    assert client.result(running)[2] == CANCELLED


def test_a_cancelled_task_ends_after_its_grace_and_its_slot_stays_taken(tuskd):
    broker = tuskd("", "cancel_grace: 50ms")
    peer, client = worker(broker), broker.peer()
    number, id = client.submit("add", 1)
    task = peer.task()
    client.send([CANCEL, 100, id])
    assert client.result(number)[2] == CANCELLED
    client.submit("add", 2)
    assert [w["running"] for w in broker.query("workers")] == [1]
    assert not any(r[0] == TASK for r, _ in peer.inbox)
    peer.receive(CANCEL)
    peer.answer(task)  # too late for the task; its slot is free now
    assert unpack(peer.task()[5]) == 2


def test_query_a_task_in_its_states(tuskd):
    broker = tuskd()
    peer, client = worker(broker), broker.peer()
    number, id = client.submit("add", 1)
    task = peer.task()
    _, waiting = client.submit("add", 2)
    wait_for(lambda: broker.query("task", {"id": waiting})["state"] == "waiting")
    assert broker.query("task", {"id": id})["state"] == "running"
    peer.answer(task)
    client.result(number)
    client.acknowledge()
    assert broker.query("task", {"id": id})["state"] == "succeeded"
    assert broker.query("task", {"id": task_id()})["state"] == "unknown"
    client.send([QUERY, 9, "nonsense"])
    assert client.receive(ERROR)[0][2] == "invalid"


def test_a_req_peer_gets_exactly_one_reply(tuskd):
    broker = tuskd()
    peer = worker(broker, slots=4)
    with ReqPeer(broker.url) as req:
        id = task_id()
        assert req.ask([SUBMIT, 1, id, "add", pack(1), {REPLY: 1}]) == [ACCEPTED, 1]
        task = peer.task()
        assert req.ask([SUBMIT, 2, task_id(), "add", pack(1), {55: 50}])[2] == "timeout"
        peer.answer(task, 7)
        wait_for(lambda: broker.query("task", {"id": id})["state"] == "succeeded")
        assert unpack(req.ask([SUBMIT, 3, id, "add", pack(1)])[3]) == 7
        assert req.ask([SUBMIT, 4, task_id(), "add", pack(1), {REPLY: 2}])[2] == "invalid"
        assert req.ask([3, 77]) == [4, 77]
        assert req.ask([RESULT, 5, 1])[2] == "unsupported"
