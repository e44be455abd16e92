// A task that must end within a time: one that waits expires, one that runs is told to stop.
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker({ slots: 1 });
const client = new Client();

worker.task("deadline-javascript", async (what, context) => {
  if (what === "sleep") return sleep(600);
  await once(context.signal, "abort");
  console.log("told to stop:", context.cancelReason);
  throw context.signal.reason;
});

const running = worker.run();
await worker.ready;
const before = client.submit("deadline-javascript", "sleep");
for (const name of ["waiting", "running"]) {
  await client.call("deadline-javascript", "wait", { deadline: 200 }).catch((error) => {
    console.log(`${name}: ${error.code}`); // it is a TaskExpired
  });
  await before.result;
}
await client.close();
worker.stop();
await running;
