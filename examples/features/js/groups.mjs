// Groups take turns: whoever brings much does not hold up whoever brings little.
import { once } from "node:events";
import { Client, Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker({ slots: 1 });
const client = new Client();
const happens = new EventTarget();

worker.task("groups-javascript", async (tenant) => {
  if (tenant === "first") {
    happens.dispatchEvent(new Event("busy"));
    await once(happens, "all sent");
  } else {
    console.log(tenant);
  }
});

const running = worker.run();
await worker.ready;
const busy = once(happens, "busy");
await client.post("groups-javascript", "first");
await busy;
const tasks = ["big", "big", "big", "big", "big", "small"].map((tenant) =>
  client.submit("groups-javascript", tenant, { group: tenant }),
);
await client.query("status"); // answered behind the tasks: the broker has them all
happens.dispatchEvent(new Event("all sent"));
await Promise.all(tasks.map((task) => task.result));
await client.close();
worker.stop();
await running;
