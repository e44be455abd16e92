// Tasks are found by their labels, and many are cancelled at once.
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker();
const client = new Client();
const type = "labels-javascript";

async function count(filter) {
  let found = 0;
  for await (const _ of client.tasks(filter)) found++;
  return found;
}

worker.task(type, () => null);

const running = worker.run();
await worker.ready;
for (const customer of ["acme", "acme", "acme", "acme", "other", "other"]) {
  await client.post(type, 1, { labels: { customer }, delay: 3_600_000 });
}
const ofAcme = { type, labels: { customer: "acme" } };
console.log(`acme: ${await count(ofAcme)} tasks`);
console.log("would cancel:", (await client.cancelAll(ofAcme, { dryRun: true })).matched);
console.log("cancelled:", (await client.cancelAll(ofAcme)).changed);
const left = { type, state: "delayed" };
console.log("left:", await count(left));
await client.cancelAll(left);
await client.close();
worker.stop();
await running;
