// A worker of one slot: its runs lend the slot out while they wait for their children.
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker({ slots: 1 });
const client = new Client();

worker.task("square-javascript", (n) => n * n);
worker.task("children-javascript", async (numbers, { call }) => {
  const squares = await Promise.all(numbers.map((n) => call("square-javascript", n)));
  return squares.reduce((sum, square) => sum + square); // the three ran meanwhile
});

const running = worker.run();
await worker.ready;
console.log("sum of squares of 1, 2, 3:", await client.call("children-javascript", [1, 2, 3]));
console.log("sum of squares of 4, 5, 6:", await client.call("children-javascript", [4, 5, 6]));
await client.close();
worker.stop();
await running;
