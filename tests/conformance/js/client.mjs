// The JavaScript client that conformance tests drive; ../programs.py says how.
import { randomBytes } from "node:crypto";
import { createInterface } from "node:readline";
import {
  BrokerError,
  Client,
  Duplicate,
  StreamRestarted,
  TaskFailed,
  TuskError,
  Unavailable,
} from "../../../workers/js/dist/index.js";
import { fromTagged, toTagged } from "./tagged.mjs";

const client = new Client();
const tasks = new Map();
const subscriptions = new Map();
let stopped = false;

const hex = (id) => id.replaceAll("-", "");
const options = (c) => ({
  timeout: c.timeout,
  id: c.id,
  resent: c.resent,
  priority: c.priority,
  delay: c.delay,
  notBefore:
    c.not_before === undefined
      ? undefined
      : new Date(Date.now() + c.not_before),
  deadline: c.deadline,
  runTimeout: c.run_timeout,
  heartbeatTimeout: c.heartbeat_timeout,
  attempts: c.attempts,
  backoff: c.backoff && {
    first: c.backoff[0],
    most: c.backoff[1],
    factor: c.backoff[2],
    jitter: c.backoff[3],
  },
  noRetryOn: c.no_retry_on,
  unique: c.unique,
  uniquePolicy: c.unique_policy,
  uniqueFor: c.unique_for,
  retention: c.retention,
  orderKey: c.order_key,
  limitKey: c.limit_key,
  group: c.group,
  cost: c.cost,
  labels: c.labels,
  requires: c.requires,
  prefers: c.prefers,
  consumes: c.consumes,
  stickyKey: c.sticky_key,
});

async function stream(c) {
  const { timeout: _, ...chosen } = options(c);
  const found = client.stream(c.type, fromTagged(c.body), {
    ...chosen,
    window: c.window,
  });
  const chunks = [];
  const attempts = [];
  let taken = 0;
  for (;;) {
    try {
      for await (const chunk of found) {
        chunks.push(toTagged(chunk));
        if (++taken === c.take) return { chunks };
      }
      return { chunks, result: toTagged(await found.result), attempts };
    } catch (error) {
      if (!(error instanceof StreamRestarted)) throw error;
      chunks.push({ restarted: error.attempt });
      attempts.push(error.attempt);
    }
  }
}

async function tasksOf({ filter, limit }) {
  const found = [];
  for await (const { id, type, state, labels } of client.tasks(filter, {
    limit,
  })) {
    found.push({ id: hex(id), type, state, labels });
  }
  return found;
}

function job({ what, filter, priority, dry_run: dryRun }) {
  if (what === "cancel") return client.cancelAll(filter, { dryRun });
  if (what === "retry") return client.retryAll(filter, { dryRun });
  return client.reprioritiseAll(filter, priority, { dryRun });
}

async function follow(c) {
  const progress = [];
  const logs = [];
  const result = await client.call(c.type, fromTagged(c.body), {
    ...options(c),
    onProgress: (value) => progress.push(toTagged(value)),
    onLog: (level, text) => logs.push([level, text]),
  });
  return { result: toTagged(result), progress, logs };
}

const outcome = ({ value, error }) =>
  error ? { error: describe(error) } : { ok: toTagged(value) };

async function outcomesOf({ type, bodies }) {
  const found = [];
  for await (const one of client.mapSettled(type, bodies.map(fromTagged)))
    found.push(outcome(one));
  return found;
}

async function update({ id, priority, delay, body }) {
  const changed = body === undefined ? undefined : fromTagged(body);
  return client.update(id, { priority, delay, body: changed });
}

async function statusOf({ id }) {
  const { history, ...status } = await client.task(id);
  return history.length > 0 ? { ...status, history } : status; // JSON leaves undefined out
}

async function roundtrip({ type, size, noise }) {
  const sent = noise ? randomBytes(size) : Buffer.alloc(size, "tusk");
  const back = await client.call(type, sent, { timeout: 60_000 });
  return back instanceof Uint8Array && sent.equals(back);
}

async function load(command) {
  const {
    types,
    count = Infinity,
    seconds = Infinity,
    in_flight: inFlight,
  } = command;
  const own = Array.from({ length: command.clients ?? 0 }, () => new Client());
  const summary = {
    sent: 0,
    ok: 0,
    wrong: 0,
    doubled: 0,
    errors: {},
    first: null,
  };
  const end = performance.now() + seconds * 1000;
  function* bodies(type) {
    for (let n = 1; n <= count && !stopped && performance.now() < end; n++) {
      summary.sent++;
      yield { n, from: type };
    }
  }
  async function one(who, type) {
    const seen = new Set();
    const many = { ordered: false, inFlight, timeout: 120_000 };
    for await (const { index, value, error } of who.mapSettled(
      type,
      bodies(type),
      many,
    )) {
      if (seen.has(index)) summary.doubled++;
      else if (error) {
        summary.errors[error.code] = (summary.errors[error.code] ?? 0) + 1;
        summary.first ??= describe(error);
      } else if (value.n !== index + 1 || value.from !== type) summary.wrong++;
      else summary.ok++;
      seen.add(index);
    }
  }
  const clients = own.length > 0 ? own : [client];
  await Promise.all(
    clients.flatMap((who) => types.map((type) => one(who, type))),
  );
  await Promise.all(own.map((who) => who.close()));
  return summary;
}

async function eventsOf({ topic, count }) {
  const found = [];
  while (found.length < count) {
    const { value } = await subscriptions.get(topic).next();
    const { topic: own, body = null, sequence, missed, retained } = value;
    found.push({
      topic: own,
      body: toTagged(body),
      sequence,
      missed,
      retained,
    });
  }
  return found;
}

const operations = {
  call: async (c) =>
    toTagged(await client.call(c.type, fromTagged(c.body), options(c))),
  submit: (c) => {
    const task = client.submit(c.type, fromTagged(c.body), options(c));
    tasks.set(hex(task.id), task);
    return hex(task.id);
  },
  result: async (c) => toTagged(await tasks.get(c.id).result),
  follow,
  stream,
  tasks: tasksOf,
  job,
  post: async (c) =>
    hex(await client.post(c.type, fromTagged(c.body), options(c))),
  cancel: (c) => client.cancel(c.id),
  await: async ({ id, timeout }) =>
    toTagged(await client.awaitTask(id, { timeout })),
  await_all: async ({ ids, timeout }) =>
    (await client.awaitAll(ids, { timeout })).map(outcome),
  update,
  task: statusOf,
  control: ({ what, arguments: { type, ms, key } }) =>
    what === "pause" ? client.pauseType(type, ms) : client.unblock(type, key),
  many: outcomesOf,
  roundtrip,
  load,
  stop: () => {
    stopped = true;
  },
  publish: (c) => client.publish(c.topic, fromTagged(c.body)),
  clear: (c) => client.clear(c.topic),
  subscribe: async (c) => {
    const subscription = client.subscribe(c.topic, {
      slow: c.slow,
      buffer: c.buffer,
    });
    subscriptions.set(c.topic, subscription);
    await subscription.ready;
  },
  events: eventsOf,
  push: async (c) => void (await client.push(c.stage, fromTagged(c.body))),
  push_many: (c) => client.pushMany(c.stage, c.bodies.map(fromTagged)),
  query: async (c) => toTagged(await client.query(c.what)),
};

function describe(error) {
  if (!(error instanceof TuskError)) {
    return {
      class: error.constructor.name,
      code: "program",
      text: String(error.stack),
    };
  }
  const found = {
    class: error.constructor.name,
    code: error.code,
    text: error.message,
  };
  if (error instanceof TaskFailed) {
    const { retryable, ...fields } = error.remote;
    Object.assign(found, fields, { retry: retryable });
  }
  if (error.history !== undefined) found.history = error.history;
  if (error instanceof BrokerError) {
    Object.assign(found, {
      limit: error.details.limit,
      value: error.details.value,
    });
  }
  if (error instanceof Duplicate) {
    Object.assign(found, { id: error.id && hex(error.id), state: error.state });
  }
  if (error instanceof Unavailable) found.url = error.url;
  return found;
}

async function carryOut(command) {
  let answer;
  try {
    answer = { ok: await operations[command.op](command) };
  } catch (error) {
    answer = { error: describe(error) };
  }
  process.stdout.write(`${JSON.stringify({ n: command.n, ...answer })}\n`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  if (command.op === "close") {
    await client.close();
    break;
  }
  void carryOut(command);
}
process.exit();
