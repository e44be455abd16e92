// Cancelling a task that waits, one that runs, one that is over, and one that never was.
import { once } from "node:events";
import { Client, uuid7, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker({ slots: 1 });
const client = new Client();
const happens = new EventTarget();

worker.task("cancel-javascript", async (what, context) => {
  if (what === "return") return;
  happens.dispatchEvent(new Event("begun"));
  await once(context.signal, "abort");
  console.log("told to stop:", context.cancelReason);
  throw context.signal.reason;
});

const stopped = worker.run();
await worker.ready;
const begun = once(happens, "begun");
const running = client.submit("cancel-javascript", "wait");
await begun;
const waiting = client.submit("cancel-javascript", "wait");
for (const [name, task] of Object.entries({ waiting, running })) {
  await task.cancel();
  await task.result.catch((error) => console.log(`${name}: ${error.code}`)); // a TaskCancelled
}
const ended = client.submit("cancel-javascript", "return");
await ended.result;
console.log("ended:", await ended.cancel());
await client.cancel(uuid7()).catch((error) => console.log("unknown:", error.code));
await client.close();
worker.stop();
await stopped;
