"""A topic that keeps its last event, a pattern, and what becomes of a reader that is too slow."""

from tuskd import Client, SlowSubscriber

with Client() as client:
    client.publish("state-python.door", "shut")
    with client.subscribe("state-python.*") as states:
        event = states.get()
        print(f"door: {event.body}, {'retained' if event.retained else 'new'}")
        client.publish("state-python.window", "open")
        print("window:", states.get().body)

    with client.subscribe("state-python.window", buffer=2) as newest:
        for number in range(1, 6):
            client.publish("state-python.window", number)
        event = newest.get()
        print(f"{event.body}, missed {event.missed}")

    with client.subscribe("state-python.window", buffer=2, slow="disconnect") as all_or_none:
        for number in range(1, 6):
            client.publish("state-python.window", number)
        try:
            for event in all_or_none:
                print(event.body)
        except SlowSubscriber:
            print("too slow")
