/** List handlers: items gathered until there are enough or the first has waited long enough. */
import { type Failure, failureOf } from "./failure.js";
import type { BatchHandler, BatchLane } from "./lanes.js";
import type { Pool } from "./pool.js";
import type { Run } from "./run.js";

/** What a batch needs of the desk. */
export interface BatchHost {
  /** Runs at once, in all. */
  readonly slots: number;
  readonly freeSlots: number;
  /** Takes a slot and reads the item. @throws BodyError; the slot is taken all the same */
  begin(run: Run): unknown;
  /** Takes slots and has a thread of the pool, which must be free, run the list. */
  give(pool: Pool, runs: Run[]): void;
  end(run: Run, value: unknown, failure: Failure | undefined): void;
  /** Results are there to be sent, and slots are free. */
  pumpSoon(): void;
}

/** Starts as many lists as are full or due. */
export function startBatches(lane: BatchLane, host: BatchHost): void {
  // The broker gives no more than the slots, so waiting for a longer list would be in vain.
  const full = Math.min(lane.size, host.slots);
  while (lane.waiting.size > 0 && (lane.due || lane.waiting.size >= full)) {
    if (lane.pool?.isFree === false) return; // the thread's end of a run comes back here
    const count = Math.min(lane.waiting.size, lane.size, host.freeSlots);
    if (count === 0) return; // the end of a run comes back here
    const runs: Run[] = [];
    for (let i = 0; i < count; i++) runs.push(lane.waiting.shift()!);
    lane.due &&= lane.waiting.some((run) => run.attempt > 1);
    clearTimeout(lane.timer);
    lane.timer = undefined;
    if (lane.pool === undefined) startBatch(lane.handler, runs, host);
    else host.give(lane.pool, runs);
  }
  if (lane.waiting.size > 0 && lane.timer === undefined) {
    lane.timer = setTimeout(() => {
      lane.timer = undefined;
      lane.due = lane.waiting.size > 0;
      host.pumpSoon();
    }, lane.wait);
  }
}

function startBatch(handler: BatchHandler, runs: Run[], host: BatchHost): void {
  const bodies: unknown[] = [];
  const readable: Run[] = [];
  for (const run of runs) {
    try {
      bodies.push(host.begin(run));
      readable.push(run);
    } catch (error) {
      host.end(run, undefined, failureOf(error, true));
    }
  }
  if (readable.length === 0) return;
  let value: unknown;
  try {
    value = handler(bodies, readable);
  } catch (error) {
    endBatch(readable, undefined, failureOf(error), host);
    return;
  }
  if (!isThenable(value)) {
    endBatch(readable, value, undefined, host);
    return;
  }
  for (const run of readable) run.detach();
  const later = (values: unknown, failure: Failure | undefined) => {
    endBatch(readable, values, failure, host);
    host.pumpSoon();
  };
  value.then(
    (values) => later(values, undefined),
    (error: unknown) => later(undefined, failureOf(error)),
  );
}

function endBatch(
  runs: Run[],
  values: unknown,
  failure: Failure | undefined,
  host: BatchHost,
): void {
  const failed = failure ?? wrongLength(values, runs.length);
  runs.forEach((run, i) => {
    host.end(run, failed === undefined ? (values as unknown[])[i] : undefined, failed);
  });
}

/** Why what a list handler returned is not a list of `length`, if it is not. */
export function wrongLength(values: unknown, length: number): Failure | undefined {
  if (Array.isArray(values) && values.length === length) return undefined;
  const got = Array.isArray(values) ? `a list of ${values.length}` : `a ${typeof values}`;
  const wanted = `a list handler returns a list as long as the one it got (${length})`;
  return failureOf(new TypeError(`${wanted}, not ${got}`), true);
}

/** Whether a handler returned a promise or something like it. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    value !== null &&
    typeof value === "object" &&
    "then" in value &&
    typeof value.then === "function"
  );
}
