/** Many requests of one caller: bodies in, results out, a bounded number under way. */
import { Closed, TaskCancelled, TuskError } from "./errors.js";
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

interface Source {
  next(): IteratorResult<unknown> | Promise<IteratorResult<unknown>>;
  return?(): unknown;
}

/** A result to yield, an error to throw, or undefined: not yet. */
type Step<Yielded> = IteratorResult<Yielded> | { error: unknown } | undefined;

/**
 * The iterator over the results of many requests. Written out, not as a generator: that would take
 * several promises for each result, and one is enough.
 */
export class Many<Result, Yielded> implements AsyncIterableIterator<Yielded> {
  readonly #starter: Starter;
  readonly #source: Source;
  readonly #bound: number;
  readonly #ordered: boolean;
  /** Makes what is yielded of an outcome; may throw its error. */
  readonly #present: (outcome: Outcome<Result>) => Yielded;

  readonly #running = new Map<number, Pending>();
  /** Done and not yet yielded, by index, in the order of their completion. */
  readonly #done = new Map<number, Outcome<Result>>();
  #started = 0;
  #yielded = 0;
  /** The source gives no more. */
  #ended = false;
  /** The reader left; nothing more is told. */
  #left = false;
  #reading = false;
  #broken: { error: unknown } | undefined;
  #waiting: { resolve: (r: IteratorResult<Yielded>) => void; reject: (e: unknown) => void }[] = [];

  constructor(
    starter: Starter,
    bodies: Iterable<unknown> | AsyncIterable<unknown>,
    options: ManyOptions | undefined,
    present: (outcome: Outcome<Result>) => Yielded,
  ) {
    this.#bound = options?.inFlight ?? IN_FLIGHT;
    if (!(this.#bound >= 1)) throw new RangeError("at least one is in flight");
    this.#ordered = options?.ordered ?? true;
    this.#starter = starter;
    this.#present = present;
    this.#source =
      Symbol.asyncIterator in bodies ? bodies[Symbol.asyncIterator]() : bodies[Symbol.iterator]();
  }

  next(): Promise<IteratorResult<Yielded>> {
    this.#fill();
    const step = this.#waiting.length === 0 ? this.#step() : undefined;
    if (step === undefined) {
      return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    }
    return "error" in step ? Promise.reject(step.error) : Promise.resolve(step);
  }

  /** Cancels what is under way. */
  return(): Promise<IteratorResult<Yielded>> {
    this.#leave();
    this.#wake();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #leave(): void {
    if (this.#left) return;
    this.#left = true;
    if (!this.#ended) void this.#source.return?.();
    this.#ended = true;
    this.#broken = undefined;
    const running = [...this.#running.values()];
    this.#running.clear();
    for (const pending of running) {
      this.#starter.abandon(pending, new TaskCancelled("the caller left the loop", pending.id));
    }
    this.#done.clear();
    this.#yielded = this.#started;
  }

  /** Reads the source on until it must be waited for or there is no room. */
  #fill(): void {
    while (!this.#ended && !this.#reading && this.#started - this.#yielded < this.#bound) {
      let next: ReturnType<Source["next"]>;
      try {
        next = this.#source.next();
      } catch (error) {
        this.#break(error);
        return;
      }
      if (next instanceof Promise) {
        this.#reading = true;
        next.then(
          (result) => this.#read(result),
          (error: unknown) => this.#break(error),
        );
      } else if (next.done === true) {
        this.#ended = true;
      } else {
        this.#begin(next.value);
      }
    }
  }

  #read(result: IteratorResult<unknown>): void {
    this.#reading = false;
    if (this.#ended) return;
    if (result.done === true) {
      this.#ended = true;
    } else {
      this.#begin(result.value);
      this.#fill();
    }
    this.#wake();
  }

  #break(error: unknown): void {
    this.#reading = false;
    this.#ended = true;
    this.#broken = { error };
    this.#wake();
  }

  #begin(body: unknown): void {
    const index = this.#started++;
    try {
      const pending = this.#starter.start(
        body,
        (value) => this.#settle({ index, value: value as Result }),
        (error) => this.#settle({ index, error }),
      );
      // Its callbacks may have come before it was returned.
      if (!this.#done.has(index)) this.#running.set(index, pending);
    } catch (error) {
      if (error instanceof TuskError && !(error instanceof Closed)) this.#settle({ index, error });
      else this.#break(error);
    }
  }

  #settle(outcome: Outcome<Result>): void {
    if (this.#left) return;
    this.#running.delete(outcome.index);
    this.#done.set(outcome.index, outcome);
    this.#wake();
  }

  /** Gives waiting readers what is there for them. */
  #wake(): void {
    while (this.#waiting.length > 0) {
      const step = this.#step();
      if (step === undefined) return;
      const { resolve, reject } = this.#waiting.shift()!;
      if ("error" in step) reject(step.error);
      else resolve(step);
      this.#fill();
    }
  }

  #step(): Step<Yielded> {
    const at = this.#ordered ? this.#yielded : this.#done.keys().next().value;
    const outcome = at === undefined ? undefined : this.#done.get(at);
    if (outcome !== undefined) {
      this.#done.delete(outcome.index);
      this.#yielded++;
      try {
        return { value: this.#present(outcome), done: false };
      } catch (error) {
        this.#leave();
        return { error };
      }
    }
    if (this.#broken !== undefined) {
      const { error } = this.#broken;
      this.#leave();
      return { error };
    }
    if (this.#ended && this.#started === this.#yielded) return { value: undefined, done: true };
    return undefined;
  }
}

/** The value, or its error thrown. */
export function valueOrThrow<Result>(outcome: Outcome<Result>): Result {
  if (outcome.error !== undefined) throw outcome.error;
  return outcome.value;
}
