// What a run tells while it runs.
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker();
const client = new Client();

worker.task("progress-javascript", (upTo, { progress, log }) => {
  for (let n = 1; n <= upTo; n++) {
    progress(n);
    if (n === 2) log("info", "half way");
  }
  return upTo;
});

const running = worker.run();
await worker.ready;
const result = await client.call("progress-javascript", 3, {
  onProgress: (value) => console.log("progress", value),
  onLog: (level, text) => console.log(`${level}: ${text}`),
});
console.log("result", result);
await client.close();
worker.stop();
await running;
