// Results that wait for somebody who comes later and asks by id.
import { Client, uuid7, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker();
worker.task("results-javascript", (n) => 10 * n);

const running = worker.run();
await worker.ready;
const client = new Client();
const post = (n) => client.post("results-javascript", n, { retention: 60_000 });
const ids = [await post(1), await post(2)];
await client.close();

const later = new Client();
for (const { value } of await later.awaitAll(ids)) console.log(value);
console.log("state:", (await later.task(ids[0])).state);
await later.awaitTask(uuid7()).catch((error) => console.log("unknown:", error.code));
await later.close();
worker.stop();
await running;
