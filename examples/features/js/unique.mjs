// Of the tasks with one key only one lives; what a second submit does is its own choice.
import assert from "node:assert/strict";
import { once } from "node:events";
import { Client, Duplicate, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker({ slots: 4 });
const client = new Client();
const happens = new EventTarget();
let runs = 0;

worker.task("unique-javascript", async () => {
  const run = ++runs;
  if (run === 1) {
    happens.dispatchEvent(new Event("begun"));
    await once(happens, "all sent");
  }
  return `run ${run}`;
});

const running = worker.run();
await worker.ready;
const submit = (options) =>
  client.submit("unique-javascript", "shop", { unique: "shop 7", ...options });
const begun = once(happens, "begun");
const first = submit();
await begun;
const joined = submit();
await submit({ uniquePolicy: "refuse" }).result.catch((error) => {
  assert(error instanceof Duplicate && error.id === first.id);
  console.log("refused:", error.code);
});
const behind = submit({ uniquePolicy: "follow_up" });
await client.query("status"); // answered behind the tasks: the broker has them all
happens.dispatchEvent(new Event("all sent"));
console.log("first:", await first.result);
console.log("joined:", await joined.result);
assert.equal(joined.joinedId, first.id);
console.log("follow-up:", await behind.result);
await client.close();
worker.stop();
await running;
