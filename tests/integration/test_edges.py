"""Topics and the pipeline, over sessions and over the plain edges."""

import zmq
from conftest import wait_for
from peer import (
    ACCEPTED,
    ERROR,
    EVENT,
    ITEM,
    PUBLISH,
    PUSH,
    RESULT,
    SUBSCRIBE,
    SUCCEEDED,
    UNSUBSCRIBE,
    UNSUBSCRIBED,
    ReqPeer,
    pack,
    records_of,
    task_id,
    unpack,
)

TOPICS = (
    '[ipc_patterns]\npublish_subscribe:\n  pattern: "pub_sub"\n  topics: ["prices", "prices.eu"]'
)
STAGES = '[ipc_patterns]\npipeline:\n  pattern: "push_pull"\n  stages: ["first", "second"]'


def subscribe(client, topic):
    client.send([SUBSCRIBE, client.request(), topic])
    client.receive(ACCEPTED)


SLOW = 77
MISSED, RETAINED = 38, 40
SMALL = "subscriber_window: 64KB\nsubscriber_backlog: 64KB"


def test_a_slow_subscriber_is_told_what_it_missed(tuskd):
    broker = tuskd(TOPICS, SMALL)
    subscriber, publisher = broker.peer(), broker.peer()
    subscribe(subscriber, "prices.*")
    for _ in range(40):  # of 8 KB; nothing is acknowledged meanwhile
        publisher.send([PUBLISH, publisher.request(), "prices.eu", pack("p" * 8000)])
        publisher.receive(ACCEPTED)
    (topic,) = (t for t in broker.query("topics") if t["name"] == "prices.eu")
    assert topic["missed"] > 20 and topic["waiting"] > 3
    next_one, missed = 1, 0
    while next_one <= 40:
        record, _ = subscriber.receive(EVENT)
        told = record[4].get(MISSED, 0) if len(record) > 4 else 0
        assert record[1] == next_one + told, "what is missing is told"
        next_one, missed = record[1] + 1, missed + told
        subscriber.acknowledge()
    assert missed == topic["missed"]


def test_a_slow_subscriber_that_asked_for_it_is_told_and_ends(tuskd):
    broker = tuskd(TOPICS, SMALL)
    subscriber, publisher = broker.peer(), broker.peer()
    subscriber.send([SUBSCRIBE, subscriber.request(), "prices", {SLOW: 1}])
    subscriber.receive(ACCEPTED)
    for _ in range(40):
        publisher.send([PUBLISH, publisher.request(), "prices", pack("p" * 8000)])
        publisher.receive(ACCEPTED)
    record, _ = subscriber.receive(UNSUBSCRIBED)
    assert record[1] == "prices" and "subscriber_backlog" in record[2]
    assert broker.query("topics")[0]["subscribers"] == 0


def test_a_reload_forgets_what_a_topic_keeps_no_longer(tuskd):
    keeps = "[topics]\ndoor: {retain: true}\n"
    broker = tuskd(keeps)
    publisher = broker.peer()
    publisher.send([PUBLISH, 1, "door", pack("shut")])
    publisher.receive(ACCEPTED)
    assert broker.query("topics")[0]["retained"] == 1
    broker.reload(keeps)
    assert broker.query("topics")[0]["retained"] == 1
    subscriber = broker.peer()
    subscribe(subscriber, "door")
    assert subscriber.receive(EVENT)[0] == [EVENT, 1, "door", pack("shut"), {RETAINED: True}]
    broker.reload("[topics]\ndoor: {}\n")
    wait_for(lambda: broker.query("topics")[0]["retained"] == 0, "the reload")


def test_events_reach_sessions_and_the_edge(tuskd):
    broker = tuskd(TOPICS)
    subscriber, publisher = broker.peer(), broker.peer()
    subscribe(subscriber, "prices")
    with zmq.Context.instance().socket(zmq.SUB) as sub:
        sub.connect(broker.edges["events_out"])
        sub.subscribe(b"prices\0")
        sub.setsockopt(zmq.RCVTIMEO, 30_000)

        # A SUB that has just connected may miss the first ones.
        def arrives():
            publisher.send([PUBLISH, publisher.request(), "prices", pack(1.5)])
            publisher.send([PUBLISH, 0, "prices.eu", pack(2.5)])
            return sub.poll(20)

        wait_for(arrives)
        topic, frame = sub.recv_multipart()
        assert topic == b"prices\0"
        event = records_of(frame)[0]
        assert event[0] == EVENT and event[2] == "prices" and unpack(event[3]) == 1.5
    event, _ = subscriber.receive(EVENT)
    assert event[1:3] == [1, "prices"]
    assert publisher.receive(ACCEPTED)


def test_events_from_a_plain_pub(tuskd):
    broker = tuskd(TOPICS)
    subscriber = broker.peer()
    subscribe(subscriber, "prices")
    with zmq.Context.instance().socket(zmq.PUB) as pub:
        pub.connect(broker.edges["events_in"])

        def arrives():
            pub.send_multipart([b"prices\0", pack([EVENT, 0, "prices", pack("hello")])])
            return subscriber.poll(20)

        wait_for(arrives)
    assert unpack(subscriber.receive(EVENT)[0][3]) == "hello"


def test_unsubscribed_is_unsubscribed(tuskd):
    broker = tuskd(TOPICS)
    client = broker.peer()
    subscribe(client, "prices")
    client.send([UNSUBSCRIBE, client.request(), "prices"])
    client.receive(ACCEPTED)
    client.send([PUBLISH, client.request(), "prices", pack(1)])
    assert client.receive()[0][0] == ACCEPTED
    assert [t["subscribers"] for t in broker.query("topics")] == [0, 0]


def test_large_events_are_shared_not_copied(tuskd):
    broker = tuskd(TOPICS)
    clients = [broker.peer() for _ in range(5)]
    for client in clients:
        subscribe(client, "prices")
    body = pack(b"x" * (1 << 20))
    clients[0].send([PUBLISH, 0, "prices", 1], bodies=[body])
    for client in clients:
        event, bodies = client.receive(EVENT)
        assert event[3] == 1 and bodies == [body]


def worker(broker, handler, slots=100):
    return broker.peer(role="worker", handlers=[handler], slots=slots)


def test_items_pass_the_stages_in_order_and_leave_by_the_edge(tuskd):
    broker = tuskd(STAGES)
    first, second = worker(broker, "first"), worker(broker, "second")
    client = broker.peer()
    with zmq.Context.instance().socket(zmq.PULL) as pull:
        pull.connect(broker.edges["pipeline_out"])
        pull.setsockopt(zmq.RCVTIMEO, 30_000)

        def passes():
            id = task_id()
            client.send([PUSH, client.request(), id, "first", pack(1)])
            client.receive(ACCEPTED)
            item = first.task()
            assert item[0] == ITEM and item[2] == id and item[3] == "first"
            first.answer(item, 10)
            item = second.task()
            assert item[2] == id and unpack(item[5]) == 10
            second.answer(item, 100)
            return pull.poll(50)

        wait_for(passes)
        record = records_of(pull.recv())[0]
        assert record[0] == ITEM and record[3] == "second" and unpack(record[5]) == 100
    stages = broker.query("stages")
    assert stages[0]["done"] == stages[1]["done"] >= 1


def test_a_handler_that_answers_nothing_filters(tuskd):
    broker = tuskd(STAGES)
    first = worker(broker, "first")
    client = broker.peer()
    client.send([PUSH, 1, task_id(), "first", pack(1)])
    first.send([RESULT, first.task()[1], SUCCEEDED])
    wait_for(lambda: broker.query("stages")[0]["dropped"] == 1)
    assert broker.query("stages")[1]["waiting"] == 0


def test_a_push_waits_for_room_and_the_window_is_bounded(tuskd):
    broker = tuskd(STAGES, "stage_capacity: 2\npush_window: 3")
    client = broker.peer()
    for _ in range(2):
        client.send([PUSH, client.request(), task_id(), "first", pack(0)])
        client.receive(ACCEPTED)
    for _ in range(3):
        client.send([PUSH, client.request(), task_id(), "first", pack(0)])
    client.send([PUSH, 99, task_id(), "first", pack(0)])
    error = client.receive(ERROR)[0]
    assert error[1:3] == [99, "busy"] and error[4]["limit"] == "push_window"
    assert not any(r[0] == ACCEPTED for r, _ in client.inbox)
    first = worker(broker, "first")
    first.send([RESULT, first.task()[1], SUCCEEDED])
    assert client.receive(ACCEPTED)[0][1] == 3


def test_an_item_is_dispatched_only_with_room_behind_it(tuskd):
    broker = tuskd(STAGES, "stage_capacity: 2")
    first = worker(broker, "first")
    client = broker.peer()
    for _ in range(5):
        client.send([PUSH, client.request(), task_id(), "first", pack(0)])
    items = [first.task(), first.task()]
    wait_for(lambda: broker.query("stages")[0]["waiting"] == 0)
    assert broker.query("stages")[0]["running"] == 2  # what stage 2 has room for
    for item in items:
        first.answer(item, 1)
    wait_for(lambda: broker.query("stages")[1]["waiting"] == 2)
    assert broker.query("stages")[0]["running"] == 0
    second = worker(broker, "second")
    second.answer(second.task(), 1)
    assert first.task()


def test_a_push_sent_again_does_nothing(tuskd):
    broker = tuskd(STAGES)
    first = worker(broker, "first")
    client = broker.peer()
    id = task_id()
    client.send([PUSH, 1, id, "first", pack(1)], [PUSH, 2, id, "first", pack(1)])
    assert [client.receive(ACCEPTED)[0][1] for _ in range(2)] == [1, 2]
    first.send([RESULT, first.task()[1], SUCCEEDED])
    wait_for(lambda: broker.query("stages")[0]["dropped"] == 1)
    client.send([PUSH, 3, id, "first", pack(1)])
    client.receive(ACCEPTED)
    assert broker.query("stages")[0]["pushed"] == 1


def test_items_by_req_and_by_a_plain_push(tuskd):
    broker = tuskd(STAGES)
    first = worker(broker, "first")
    with ReqPeer(broker.url) as req:
        assert req.ask([PUSH, 5, task_id(), "first", pack("req")]) == [ACCEPTED, 5]
    assert unpack(first.task()[5]) == "req"
    with zmq.Context.instance().socket(zmq.PUSH) as push:
        push.connect(broker.edges["pipeline_in"])
        push.send(pack([PUSH, 0, None, "first", pack("plain")]))
        assert unpack(first.task()[5]) == "plain"
