// A task that does not run before its time.
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker();
const client = new Client();
worker.task("delay-javascript", (earliest) => (new Date() >= earliest ? "in time" : "too early"));

const running = worker.run();
await worker.ready;
let earliest = new Date(Date.now() + 300);
console.log("delay:", await client.call("delay-javascript", earliest, { delay: 300 }));
earliest = new Date(Date.now() + 300);
const notBefore = earliest;
console.log("not_before:", await client.call("delay-javascript", earliest, { notBefore }));
await client.close();
worker.stop();
await running;
