// A worker says what it has; tasks say what they need, and what they use up while they run.
import { setTimeout as pause } from "node:timers/promises";
import { Client, Unserved, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker({ slots: 4, labels: { gpu: 2, region: "eu" } });
const client = new Client();
let runningNow = 0;
let most = 0;

worker.task("needs-javascript", async () => {
  most = Math.max(most, ++runningNow);
  await pause(200);
  runningNow--;
});

const running = worker.run();
await worker.ready;
const onGpu = { consumes: { gpu: 1 }, timeout: 30_000 };
await Promise.all([1, 2, 3, 4].map((n) => client.call("needs-javascript", n, onGpu)));
console.log("at most at a time:", most);
const onMars = { requires: { region: "mars" }, timeout: 60_000 };
await client.call("needs-javascript", 0, onMars).catch((error) => {
  if (!(error instanceof Unserved)) throw error;
  console.log("region mars:", error.code);
});
await client.close();
worker.stop();
await running;
