// A run that fails leaves word of how far it came; the next one goes on from there.
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker();
const client = new Client();

worker.task("checkpoint-javascript", (steps, { attempt, checkpoint, lastCheckpoint }) => {
  const done = lastCheckpoint ?? 0;
  console.log(`attempt ${attempt} begins at ${done}`);
  for (let step = done; step < steps; step++) {
    if (step === 2 && attempt === 1) throw new Error("the power went out");
    checkpoint(step + 1);
  }
  return steps;
});

const running = worker.run();
await worker.ready;
const backoff = { first: 50, most: 1000 };
console.log("result", await client.call("checkpoint-javascript", 4, { attempts: 2, backoff }));
await client.close();
worker.stop();
await running;
