// The JavaScript worker of the conformance tests; ../programs.py says what it serves.
import { openSync, writeSync } from "node:fs";
import { setTimeout as pauseFor } from "node:timers/promises";
import { Defer, DROP, NoRetry, Worker } from "../../../workers/js/dist/index.js";

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

task("flaky", ({ fails, type = "Flaky" }, { attempt }) => {
  if (attempt <= fails) throw Object.assign(new Error(`run ${attempt}`), { name: type });
  return attempt;
});
task("deferring", ({ times, after }, { attempt }) => {
  if (attempt <= times) throw new Defer(after);
  return attempt;
});
task("pausing", ({ pause }, { pauseType }) => pauseType(pause));
/** Rejects when the run is told to stop. */
const unlessCancelled = (ms, signal) => pauseFor(ms, undefined, { signal });
task("progressing", async ({ steps, pause }, { progress, log }) => {
  for (let step = 1; step <= steps; step++) {
    progress(step);
    log("info", `step ${step}`);
    if (pause !== undefined) await pauseFor(pause);
  }
  return steps;
});
task("checkpointed", async (body, { attempt, checkpoint, lastCheckpoint }) => {
  if (attempt > body.fails) return [attempt, lastCheckpoint ?? null];
  checkpoint(body.value);
  await pauseFor(body.hang ?? 0);
  throw new Error(`run ${attempt}`);
});
task("beating", async ({ beats, every, silent = 0 }, { heartbeat, signal }) => {
  for (let n = 0; n < beats; n++) {
    await unlessCancelled(every, signal);
    heartbeat();
  }
  await unlessCancelled(silent, signal);
  return beats;
});
task("time_left", (_, { timeLeft }) => (timeLeft === undefined ? null : Math.round(timeLeft)));
task("costing", ({ cost }, { setCost }) => {
  setCost(cost);
  return cost;
});
task("stubborn", async (ms) => {
  await pauseFor(ms);
  return ms;
});
task("stopping", async (_, context) => {
  const { id, attempt, type, signal } = context;
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
  writeSync(counts, `${id.replaceAll("-", "")} ${attempt} ${context.cancelReason} ${type}\n`);
  throw signal.reason;
});

task("streaming", async function* ({ chunks, fails = 0, pause = 0 }, { attempt }) {
  const isFailing = attempt <= fails;
  for (let n = 1; n <= (isFailing ? Math.floor(chunks / 2) : chunks); n++) {
    yield n;
    await pauseFor(pause);
  }
  if (isFailing) throw new Error(`run ${attempt}`);
  return chunks;
});
task("labelled", (_, { labels }) => labels);
task("parenting", ({ type, bodies }, { call }) =>
  Promise.all(bodies.map((body) => call(type, body))),
);
task("nesting", async ({ depth, width, type }, { call }) => {
  if (depth === 0) return 1;
  const below = { depth: depth - 1, width, type };
  const results = await Promise.all(Array.from({ length: width }, () => call(type, below)));
  return results.reduce((sum, one) => sum + one, 1);
});
task("whereami", () => env.TUSK_WORKER);
const atMost = (batch) => Math.min(batch, Number(env.TUSK_SLOTS ?? batch));
worker.task(`batching${suffix}`, (bodies) => bodies.map((body) => [body, bodies.length]), {
  batch: atMost(3),
  wait: 200,
});

const marked = (item, name) =>
  item.drop === name ? DROP : { ...item, path: [...item.path, name] };
worker.stage(`mark${suffix}`, (item) => marked(item, `mark${suffix}`));
worker.stage(
  `batch${suffix}`,
  (items) => {
    if (!Array.isArray(items) || items.length > 8) throw new Error("no list of up to 8");
    return items.map((item) => marked(item, `batch${suffix}`));
  },
  { batch: atMost(8), wait: 5 },
);

if (env.TUSK_TEST_PRINT !== undefined) {
  let n = 0;
  setInterval(() => console.log(`line ${++n}`), Number(env.TUSK_TEST_PRINT)).unref();
}
await worker.run();
