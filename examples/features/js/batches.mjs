// A handler takes up to three tasks at once, or those that came within the time.
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker({ slots: 3 });
const client = new Client();
const sizes = [];

worker.task(
  "batches-javascript",
  (numbers) => {
    sizes.push(numbers.length);
    return numbers.map((n) => n * n);
  },
  { batch: 3, wait: 500 },
);

const running = worker.run();
await worker.ready;
const results = [];
for await (const result of client.map("batches-javascript", [1, 2, 3, 4, 5, 6, 7])) {
  results.push(result);
}
console.log("sizes of the batches:", ...sizes);
console.log("results:", ...results);
await client.close();
worker.stop();
await running;
