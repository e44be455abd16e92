// A handler that knows that no task of its type can run now pauses the type.
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker();
const client = new Client();

worker.task("pause-javascript", (what, context) => {
  const started = performance.now();
  if (what === "pause") context.pauseType(400);
  return started;
});

const running = worker.run();
await worker.ready;
const first = await client.call("pause-javascript", "pause");
const second = await client.call("pause-javascript", "run");
console.log("paused:", second - first >= 400 ? "yes" : "no");
await client.close();
worker.stop();
await running;
