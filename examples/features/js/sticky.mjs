// Tasks of one sticky key go to one worker, which may keep something for them.
import { Client, Worker } from "../../../workers/js/dist/index.js";

const client = new Client();
const seen = { a: new Set(), b: new Set() }; // by key, the workers that ran it
const workers = ["sticky-javascript-1", "sticky-javascript-2"].map((name) =>
  new Worker({ slots: 2, name, signals: false }).task("sticky-javascript", (key) => {
    seen[key].add(name);
  }),
);

const running = workers.map((worker) => worker.run());
await Promise.all(workers.map((worker) => worker.ready));
const keys = Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? "a" : "b"));
const call = (key) => client.call("sticky-javascript", key, { stickyKey: key, timeout: 30_000 });
await Promise.all(keys.map(call));
for (const key of ["a", "b"]) console.log(`workers that ran key "${key}":`, seen[key].size);
await client.close();
for (const worker of workers) worker.stop();
await Promise.all(running);
