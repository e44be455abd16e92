/** Many requests of one caller: bodies in, results out, a bounded number under way. */
import { TaskCancelled, TuskError } from "./errors.js";
import type { Pending } from "./pending.js";

const IN_FLIGHT = 1000;

export interface ManyOptions {
  /** How many are under way at once, or done and not yet read; default 1,000. */
  inFlight?: number;
  /** Results in the order of the bodies (default), or as they complete. */
  ordered?: boolean;
  /** How long to wait for each, in ms, from its sending. */
  timeout?: number;
}

/** What became of one of many; `index` counts the bodies from 0. */
export type Outcome<Result> =
  | { index: number; value: Result; error?: undefined }
  | { index: number; error: TuskError; value?: undefined };

export interface Starter {
  start(body: unknown, done: (value: unknown) => void, failed: (error: TuskError) => void): Pending;
  abandon(pending: Pending, error: TuskError): void;
}

export async function* results<Result>(
  starter: Starter,
  bodies: Iterable<unknown> | AsyncIterable<unknown>,
  options: ManyOptions | undefined,
): AsyncGenerator<Result, void, undefined> {
  for await (const outcome of settled<Result>(starter, bodies, options)) {
    if (outcome.error !== undefined) throw outcome.error;
    yield outcome.value as Result;
  }
}

export async function* settled<Result>(
  starter: Starter,
  bodies: Iterable<unknown> | AsyncIterable<unknown>,
  options: ManyOptions | undefined,
): AsyncGenerator<Outcome<Result>, void, undefined> {
  const bound = options?.inFlight ?? IN_FLIGHT;
  if (!(bound >= 1)) throw new RangeError("at least one is in flight");
  const ordered = options?.ordered ?? true;
  const running = new Map<number, Pending>();
  /** Done and not yet yielded, by index. */
  const done = new Map<number, Outcome<Result>>();
  let wake: (() => void) | undefined;
  const settle = (outcome: Outcome<Result>) => {
    running.delete(outcome.index);
    done.set(outcome.index, outcome);
    wake?.();
  };
  const source = iterate(bodies);
  let started = 0;
  let yielded = 0;
  let ended = false;
  let reading = false;
  let broken: { error: unknown } | undefined;

  const begin = (body: unknown) => {
    const index = started++;
    try {
      const pending = starter.start(
        body,
        (value) => settle({ index, value: value as Result }),
        (error) => settle({ index, error }),
      );
      // Its callbacks may have come before it was returned.
      if (!done.has(index)) running.set(index, pending);
    } catch (error) {
      if (!(error instanceof TuskError)) throw error;
      settle({ index, error });
    }
  };
  const room = () => !ended && started - yielded < bound;

  /** Reads on until it must wait for the source or there is no room. */
  const fill = (): void => {
    while (room() && !reading) {
      const next = source.next();
      if (!(next instanceof Promise)) {
        if (next.done === true) ended = true;
        else begin(next.value);
        continue;
      }
      reading = true;
      next
        .then((result) => {
          if (result.done === true) ended = true;
          else begin(result.value);
        })
        .catch((error: unknown) => {
          broken = { error };
        })
        .finally(() => {
          reading = false;
          wake?.();
        });
    }
  };

  try {
    for (;;) {
      fill();
      const index = ordered ? yielded : done.keys().next().value;
      const outcome = index === undefined ? undefined : done.get(index);
      if (outcome !== undefined) {
        done.delete(outcome.index);
        yielded++;
        yield outcome;
      } else if (ended && started === yielded) {
        return;
      } else if (broken !== undefined) {
        throw broken.error;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        wake = undefined;
      }
    }
  } finally {
    for (const pending of running.values()) {
      starter.abandon(pending, new TaskCancelled("the caller left the loop", pending.id));
    }
    void source.return?.();
  }
}

interface Source {
  next(): IteratorResult<unknown> | Promise<IteratorResult<unknown>>;
  return?(): unknown;
}

function iterate(bodies: Iterable<unknown> | AsyncIterable<unknown>): Source {
  return Symbol.asyncIterator in bodies
    ? bodies[Symbol.asyncIterator]()
    : bodies[Symbol.iterator]();
}
