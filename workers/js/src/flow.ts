/** Streams on the side of the worker: the credit of a run, and generators. */

/**
 * What may be said in place of a number of chunks: as many as at first, for the run was adopted; and that the
 * broker passes none on.
 */
export const ANEW = 0;
export const UNWANTED = -1;

/** How many chunks a run may still send. */
export class Flow {
  readonly #credit: number;
  #left: number;
  isUnwanted = false;
  #waiting: (() => void)[] = [];

  constructor(credit: number) {
    this.#credit = credit;
    this.#left = credit;
  }

  get left(): number {
    return this.#left;
  }

  /** Whether one more chunk may be sent. */
  take(): boolean {
    if (this.#left <= 0) return false;
    this.#left--;
    return true;
  }

  /** Resolves when it is worth asking again: there is credit, or the run is to stop. */
  wait(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  add(chunks: number): void {
    if (chunks === ANEW) this.#left = this.#credit;
    else if (chunks === UNWANTED) this.isUnwanted = true;
    else this.#left += chunks;
    this.wake();
  }

  wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

type Chunks = Generator | AsyncGenerator;

/** Whether a handler returned what a generator function does. */
export function isGenerator(value: unknown): value is Chunks {
  return (
    value !== null &&
    typeof value === "object" &&
    "next" in value &&
    typeof value.next === "function" &&
    (Symbol.asyncIterator in value || Symbol.iterator in value)
  );
}

/** Sends what a generator yields; resolves to what it returns. That the run is to stop is thrown into it. */
export async function sendAll(
  chunks: Chunks,
  send: (chunk: unknown) => Promise<void>,
): Promise<unknown> {
  let step = await chunks.next();
  while (step.done !== true) {
    try {
      await send(step.value);
    } catch (error) {
      step = await chunks.throw(error);
      continue;
    }
    step = await chunks.next();
  }
  return step.value;
}
