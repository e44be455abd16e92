// Failed runs are tried again, with a pause between them, unless that makes no sense.
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker();
const client = new Client();

class Flaky extends Error {
  name = "Flaky";
}
class BadInput extends Error {
  name = "BadInput";
}

worker.task("retries-javascript", (what, { attempt }) => {
  if (what === "hopeless") throw new BadInput("no use");
  if (what === "doomed" || attempt < 3) throw new Flaky("not this time");
  return attempt;
});

const running = worker.run();
await worker.ready;
const backoff = { first: 50, most: 1000 };
const call = (what, options) => client.call("retries-javascript", what, options);
console.log("flaky: attempt", await call("flaky", { attempts: 3, backoff }));
await call("hopeless", { attempts: 5, noRetryOn: ["BadInput"] }).catch(({ code, remote }) => {
  console.log(`hopeless: ${code} with ${remote.type} after attempt ${remote.attempt}`);
});
await call("doomed", { attempts: 2, backoff }).catch(({ code, history }) => {
  const runs = history.map((run) => `attempt ${run.attempt} ${run.type}`);
  console.log(`doomed: ${code}, ${runs.join(", ")}`);
});
await client.close();
worker.stop();
await running;
