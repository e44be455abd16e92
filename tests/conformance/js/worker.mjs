// The JavaScript worker of the conformance tests; ../programs.py says what it serves.
import { openSync, writeSync } from "node:fs";
import { DROP, NoRetry, Worker } from "../../../workers/js/dist/index.js";

const env = process.env;
const suffix = env.TUSK_TEST_SUFFIX ?? "-javascript";
const worker = new Worker();
const task = (name, handler) => worker.task(name + suffix, handler);

task("echo", (body) => body);
task("fail", (message) => {
  throw new RangeError(message);
});
task("panic", (message) => {
  throw new RangeError(message);
});
task("noretry", (message) => {
  throw new NoRetry(message);
});
task("crash", async (body, context) => {
  if (context.attempt <= body.attempts) {
    process.kill(process.pid, body.signal);
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  }
  return body;
});
task("sleep", async (ms, { signal }) => {
  await new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
  return ms;
});
const counts = env.TUSK_TEST_COUNTS === undefined ? -1 : openSync(env.TUSK_TEST_COUNTS, "a");
task("count", (body, { id, attempt, type }) => {
  writeSync(counts, `${id.replaceAll("-", "")} ${attempt} ${body.n} ${type}\n`);
  return body;
});
task("unserialisable", () => () => "a function");

const marked = (item, name) =>
  item.drop === name ? DROP : { ...item, path: [...item.path, name] };
worker.stage(`mark${suffix}`, (item) => marked(item, `mark${suffix}`));
worker.stage(
  `batch${suffix}`,
  (items) => {
    if (!Array.isArray(items) || items.length > 8) throw new Error("no list of up to 8");
    return items.map((item) => marked(item, `batch${suffix}`));
  },
  { batch: 8, wait: 5 },
);

if (env.TUSK_TEST_PRINT !== undefined) {
  let n = 0;
  setInterval(() => console.log(`line ${++n}`), Number(env.TUSK_TEST_PRINT)).unref();
}
await worker.run();
