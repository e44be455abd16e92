// Changing a task while it waits: its body, and when it is its turn.
import { once } from "node:events";
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker({ slots: 1 });
const client = new Client();
const happens = new EventTarget();

worker.task("update-javascript", async (name) => {
  if (name === "first") {
    happens.dispatchEvent(new Event("busy"));
    await once(happens, "all said");
  } else {
    console.log("ran:", name);
  }
});

const running = worker.run();
await worker.ready;
const busy = once(happens, "busy");
await client.post("update-javascript", "first");
await busy;
const plain = client.submit("update-javascript", "plain");
const { id } = client.submit("update-javascript", "original");
const change = await client.update(id, { body: "changed" });
if (change.updated) console.log("updated:", change.state);
await client.update(id, { priority: "high" });
happens.dispatchEvent(new Event("all said"));
await plain.result;
const late = await client.update(id, { priority: "low" });
if (!late.updated) console.log("too late:", late.state);
await client.close();
worker.stop();
await running;
