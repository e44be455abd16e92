// The config lets two tasks of a limit key run at a time; the keys do not hold each other up.
import { setTimeout as pause } from "node:timers/promises";
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker({ slots: 6 });
const client = new Client();
const runningNow = { "one.example": 0, "two.example": 0 };
let most = 0;
let mostOfAll = 0;

worker.task("limits-javascript", async (host) => {
  most = Math.max(most, ++runningNow[host]);
  mostOfAll = Math.max(mostOfAll, runningNow["one.example"] + runningNow["two.example"]);
  await pause(200);
  runningNow[host]--;
});

const running = worker.run();
await worker.ready;
const hosts = [...Array(6).fill("one.example"), ...Array(6).fill("two.example")];
await Promise.all(
  hosts.map((host) => client.call("limits-javascript", host, { limitKey: host, timeout: 30_000 })),
);
console.log("at most at a time:", most);
console.log("both keys at once:", mostOfAll);
await client.close();
worker.stop();
await running;
