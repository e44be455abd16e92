/**
 * Children: the tasks that a run submits, and waiting for them without taking a slot.
 *
 * A run that waits says suspend, once the broker has accepted what it waits for: of tasks that the broker
 * does not know it believes that they have ended. It goes on when the results are there and the broker has
 * said resume.
 */
import type { Client, PostOptions } from "./client.js";
import { brokerError, type TuskError } from "./errors.js";

/** Tasks in one suspend. */
const MOST_AWAITED = 1000;

/** Options of a child: those of a task, without a time-out. */
export type ChildOptions = Omit<PostOptions, "timeout" | "signal" | "resent">;

/** Why the broker did not let a run lend its slot. */
export interface Refusal {
  code: string;
  message: string;
}

/** What a process submits children by: a client of its own, opened when first used. */
export class Family {
  readonly #open: () => Client;
  #client: Client | undefined;

  constructor(open: () => Client) {
    this.#open = open;
  }

  get client(): Client {
    this.#client ??= this.#open();
    return this.#client;
  }

  async close(): Promise<void> {
    await this.#client?.close();
  }
}

/** A task that a run has submitted. */
export class Child<Result = unknown> {
  readonly #suspension: Suspension;
  /** The task's id: UUID text. */
  readonly id: string;
  /** @internal */
  readonly idBytes: Buffer;
  /** @internal */
  outcome: { value: unknown; error?: undefined } | { error: TuskError } | undefined;
  /** @internal The broker has accepted it. */
  isAccepted = false;
  /** @internal Sessions in which it was submitted again. */
  sessions = 0;
  /** @internal The broker was asked about it, and need not be again. */
  isThrough = false;

  /** @internal */
  constructor(
    suspension: Suspension,
    client: Client,
    parent: Buffer,
    type: string,
    body: unknown,
    options: ChildOptions,
  ) {
    this.#suspension = suspension;
    const end = (outcome: NonNullable<Child["outcome"]>) => {
      this.outcome = outcome;
      suspension.look();
    };
    const pending = client.bear(parent, type, body, options, {
      done: (value) => end({ value }),
      failed: (error) => end({ error }),
      accepted: () => {
        this.isAccepted = true;
        suspension.look();
      },
      resubmitted: () => {
        this.isAccepted = false;
        this.isThrough = false;
        this.sessions++;
      },
    });
    this.id = pending.id;
    this.idBytes = Buffer.from(pending.bytes!.subarray(0, 16));
  }

  /**
   * What its handler returned; whoever awaits it lends the slot of its run out meanwhile. Rejects as
   * `Context.call` does.
   */
  get result(): Promise<Result> {
    return this.#suspension.resultOf(this) as Promise<Result>;
  }
}

interface Waiter {
  child: Child;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

/** Who waits in a run, and whether its slot is lent out. */
export class Suspension {
  readonly #say: (ids: Buffer[]) => void;
  readonly #stopped: () => unknown;
  #waiters: Waiter[] = [];
  /** What this run is suspended for. */
  #asked: { child: Child; sessions: number }[] = [];
  #isOver = false;

  /** `stopped` makes the error for a run that is to stop. */
  constructor(say: (ids: Buffer[]) => void, stopped: () => unknown) {
    this.#say = say;
    this.#stopped = stopped;
  }

  resultOf(child: Child): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ child, resolve, reject });
      this.look();
    });
  }

  /** Goes on with whom it can, and asks the broker about the rest. */
  look(): void {
    if (this.#isOver) {
      for (const { reject } of this.#waiters.splice(0)) reject(this.#stopped());
      return;
    }
    if (this.#asked.length > 0) return;
    const waiters = this.#waiters;
    this.#waiters = waiters.filter(({ child }) => child.outcome === undefined);
    for (const { child, resolve, reject } of waiters) {
      const { outcome } = child;
      if (outcome === undefined) continue;
      if (outcome.error === undefined) resolve(outcome.value);
      else reject(outcome.error);
    }
    // Together: what is awaited meanwhile shares the suspend.
    const missing = new Set(this.#waiters.map(({ child }) => child));
    for (const child of missing) if (child.isThrough) missing.delete(child);
    const children = [...missing];
    if (children.length === 0 || !children.every(({ isAccepted }) => isAccepted)) return;
    children.length = Math.min(children.length, MOST_AWAITED);
    this.#asked = children.map((child) => ({ child, sessions: child.sessions }));
    this.#say(children.map(({ idBytes }) => idBytes));
  }

  /** The run has a slot again, or kept it because the broker refused. */
  resumed(refusal: Refusal | undefined): void {
    const asked = this.#asked;
    this.#asked = [];
    for (const { child, sessions } of asked) {
      // Of one that was submitted again meanwhile the broker may not have known.
      child.isThrough = child.sessions === sessions;
    }
    if (refusal?.code === "invalid") {
      const mine = new Set(asked.map(({ child }) => child));
      const refused = this.#waiters.filter(({ child }) => mine.has(child));
      this.#waiters = this.#waiters.filter(({ child }) => !mine.has(child));
      for (const { reject } of refused) reject(brokerError(refusal.code, refusal.message, {}));
    }
    this.look();
  }

  /** The run is to stop: whoever waits goes on. */
  stop(): void {
    this.#isOver = true;
    this.look();
  }
}
