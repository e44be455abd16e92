// A handler yields its results one by one; the caller takes them as they come.
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker();
const client = new Client();

worker.task("stream-javascript", async function* (most) {
  for (let n = 1; n <= most; n++) yield `chunk ${n}`; // waits while the caller has 16 of them
  return `${most} chunks`;
});

const running = worker.run();
await worker.ready;
const stream = client.stream("stream-javascript", 3, { window: 16 });
for await (const chunk of stream) console.log(chunk);
console.log("result:", await stream.result);
await client.close();
worker.stop();
await running;
