// A handler that cannot run now puts its task off; that uses up no attempt.
import { Client, Defer, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker();
const client = new Client();

worker.task("defer-javascript", (_, { attempt }) => {
  if (attempt < 3) throw new Defer(100);
  return attempt;
});

const running = worker.run();
await worker.ready;
console.log("ran as attempt", await client.call("defer-javascript", null, { attempts: 1 }));
await client.close();
worker.stop();
await running;
