// A JavaScript worker of the echo benchmark.
import { Worker } from "../../../workers/js/dist/index.js";

const worker = new Worker({ slots: 1000 });
worker.task("noop-javascript", () => null);
await worker.run();
