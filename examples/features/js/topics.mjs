// Subscribers of patterns get the last event that a topic keeps; a slow one loses the oldest, or its subscription.
import { Client, SlowSubscriber } from "../../../workers/js/dist/index.js";

const client = new Client();
const window = "state-javascript.window";

await client.publish("state-javascript.door", "shut"); // the config keeps its last event
const states = client.subscribe("state-javascript.*");
const show = async () => {
  const { value: event } = await states.next();
  const name = event.topic.split(".")[1];
  console.log(`${name}: ${event.body}${event.retained ? ", retained" : ""}`);
};
await show();
await client.publish(window, "open");
await show();
states.close();

/** A subscription whose reader was busy elsewhere while five events came. */
async function late(options) {
  const events = client.subscribe(window, options);
  await events.ready;
  for (const n of [1, 2, 3, 4, 5]) await client.publish(window, n);
  return events;
}

for await (const event of await late({ buffer: 2 })) {
  console.log(`${event.body}, missed ${event.missed}`);
  break; // ends the subscription
}

try {
  for await (const event of await late({ buffer: 2, slow: "disconnect" }))
    console.log(event.body);
} catch (error) {
  if (!(error instanceof SlowSubscriber)) throw error;
  console.log("too slow");
}
await client.close();
