// A bound for each run. The next one starts when the one before has stopped, never earlier.
import { once } from "node:events";
import { Client, TaskDead, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker();
const client = new Client();

worker.task("run_timeout-javascript", async (_, context) => {
  await once(context.signal, "abort");
  console.log("told to stop:", context.cancelReason);
  throw context.signal.reason;
});

const running = worker.run();
await worker.ready;
try {
  const backoff = { first: 50, most: 1000 };
  await client.call("run_timeout-javascript", null, {
    runTimeout: 200,
    attempts: 2,
    backoff,
  });
} catch (error) {
  if (!(error instanceof TaskDead)) throw error;
  const types = error.history.map((run) => run.type).join(", ");
  console.log(`dead after ${error.history.length} runs: ${types}`);
}
await client.close();
worker.stop();
await running;
