/** Where runs wait: for the main thread, for a batch to fill, or for a thread of a pool. */
import type { Pool } from "./pool.js";
import type { Context } from "./context.js";
import { type Run, RunState } from "./run.js";
import type { Words } from "./words.js";

/* eslint-disable @typescript-eslint/no-explicit-any -- what a body holds is between caller and handler */
export type Handler = (body: any, context: Context) => unknown;
export type BatchHandler = (bodies: any[], contexts: Context[]) => unknown;
/* eslint-enable @typescript-eslint/no-explicit-any */

/** Runs in the order of their arrival; one that was taken back is passed over. */
export class Waiting {
  #runs: Run[] = [];
  #head = 0;
  /** How many wait. */
  size = 0;

  push(run: Run): void {
    this.#runs.push(run);
    this.size++;
  }

  some(test: (run: Run) => boolean): boolean {
    for (let i = this.#head; i < this.#runs.length; i++) {
      const run = this.#runs[i];
      if (run.state === RunState.waiting && test(run)) return true;
    }
    return false;
  }

  shift(): Run | undefined {
    while (this.#head < this.#runs.length) {
      const run = this.#runs[this.#head++];
      if (this.#head === this.#runs.length) {
        this.#runs = [];
        this.#head = 0;
      }
      if (run.state === RunState.waiting) {
        this.size--;
        return run;
      }
    }
    return undefined;
  }
}

/** Of every lane. */
interface Speaking {
  /** Where its runs may say something of themselves, once there is a connection. */
  words?: Words;
}

export interface MainLane extends Speaking {
  kind: "main";
  handler: Handler;
}

export type BatchLane = Speaking & {
  kind: "batch";
  waiting: Waiting;
  /** At most so many items in one list. */
  size: number;
  /** How long the first item waits for more, in ms. */
  wait: number;
  timer: NodeJS.Timeout | undefined;
  /** The first item has waited long enough, or one of them is not to wait. */
  due: boolean;
} & ({ handler: BatchHandler; pool?: undefined } | { pool: Pool });

export interface PoolLane extends Speaking {
  kind: "pool";
  pool: Pool;
}

/** The lane of a type that this worker did not announce. */
export interface NoLane extends Speaking {
  kind: "none";
}

export type Lane = MainLane | BatchLane | PoolLane | NoLane;
