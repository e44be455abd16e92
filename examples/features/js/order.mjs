// Tasks with one order key run one at a time, in their order, through retries too.
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker({ slots: 4 });
const client = new Client();
const booked = [];

worker.task("order-javascript", async (entry, { attempt }) => {
  if (entry === 1 && attempt === 1) throw new Error("the ledger is away");
  booked.push(entry);
});

const running = worker.run();
await worker.ready;
const backoff = { first: 100, most: 1000 };
const entries = [1, 2, 3, 4].map((n) =>
  client.call("order-javascript", n, { orderKey: "account 7", attempts: 2, backoff }),
);
await Promise.all(entries);
console.log(...booked);
await client.close();
worker.stop();
await running;
