// A run that gives no sign of life is told to stop.
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, TaskFailed, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker();
const client = new Client();

worker.task("heartbeat-javascript", async (what, context) => {
  if (what === "speak") {
    for (let n = 0; n < 12; n++) {
      await sleep(50);
      context.heartbeat();
    }
    return "done";
  }
  await once(context.signal, "abort");
  console.log("told to stop:", context.cancelReason);
  throw context.signal.reason;
});

const running = worker.run();
await worker.ready;
const heartbeatTimeout = 300;
console.log("spoke:", await client.call("heartbeat-javascript", "speak", { heartbeatTimeout }));
try {
  await client.call("heartbeat-javascript", "be silent", {
    heartbeatTimeout,
    attempts: 1,
  });
} catch (error) {
  if (!(error instanceof TaskFailed)) throw error;
  console.log("silent:", error.remote.type);
}
await client.close();
worker.stop();
await running;
