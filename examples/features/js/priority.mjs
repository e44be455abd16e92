// The task with the highest priority is next.
import { once } from "node:events";
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker({ slots: 1 });
const client = new Client();
const happens = new EventTarget();

worker.task("priority-javascript", async (name) => {
  if (name === "first") {
    happens.dispatchEvent(new Event("busy"));
    await once(happens, "all sent");
  } else {
    console.log(name);
  }
});

const running = worker.run();
await worker.ready;
const busy = once(happens, "busy");
await client.post("priority-javascript", "first");
await busy;
const tasks = ["low", "normal", "high", "critical"].map((name) =>
  client.submit("priority-javascript", name, { priority: name }),
);
await client.query("status"); // answered behind the tasks: the broker has them all
happens.dispatchEvent(new Event("all sent"));
await Promise.all(tasks.map((task) => task.result));
await client.close();
worker.stop();
await running;
