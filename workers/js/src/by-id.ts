/** What the broker says of a task that is asked for by its id, and what may be changed of one. */
import { historyOf } from "./endings.js";
import type { Attempt } from "./errors.js";
import type { FollowOptions, Priority } from "./terms.js";

export interface AwaitOptions extends FollowOptions {
  /** How long to wait, in ms; by default what the broker says, 5,000 before it has. Infinity: for ever. */
  timeout?: number;
  /** Ends the waiting when it is aborted, with a Timeout; the task goes on. */
  signal?: AbortSignal;
}

/** What changes of a task that waits; all else stays. */
export interface TaskChange {
  /** The task then stands behind those of this priority. */
  priority?: Priority;
  /** In ms from now; 0: it may run at once. */
  delay?: number;
  /** The same as a point in time. */
  notBefore?: Date;
  /** Another body; null is one, undefined leaves it. */
  body?: unknown;
  /** How long to wait for the answer, in ms. */
  timeout?: number;
}

/** What came of a change. */
export interface Updated {
  /** Of the task now. */
  state: string;
  /** False if it runs already, or has ended: then nothing was changed. */
  updated: boolean;
}

/** The error of a task that ended without success. */
export interface Failure {
  type: string;
  message: string;
  language: string;
  /** As that language prints it, where there is one. */
  stack: string | undefined;
}

/** What the broker knows of a task; a field is undefined if it does not. */
export interface TaskStatus {
  /**
   * "delayed", "waiting", "running", "succeeded", "failed", "expired", "cancelled", "dead", or "unknown".
   * With that, or once the ending was let go, there is nothing else.
   */
  state: string;
  type: string | undefined;
  /** Runs that were begun. */
  attempts: number | undefined;
  /** Runs that failed. */
  failures: number | undefined;
  /** Workers that died of it. */
  crashes: number | undefined;
  priority: number | undefined;
  /** In ms, since it was accepted or became due; once it ended: since then. */
  age: number | undefined;
  /** The name of the worker that runs it. */
  worker: string | undefined;
  /** The last 16 runs that failed; their times are in ms before now. */
  history: readonly Attempt[];
  /** Once it ended without success. */
  error: Failure | undefined;
}

const CHANGES = ["priority", "delay", "notBefore", "body", "timeout"];

/** @throws TypeError for what cannot be changed any more */
export function checkChange(change: TaskChange): void {
  for (const name of Object.keys(change)) {
    if (CHANGES.includes(name)) continue;
    throw new TypeError(`an update has no ${name}; it has ${CHANGES.join(", ")}`);
  }
}

export function readStatus(answer: unknown): TaskStatus {
  const told = (answer ?? {}) as Record<string, unknown>;
  const text = (value: unknown) => (typeof value === "string" ? value : undefined);
  const number = (value: unknown) => (typeof value === "number" ? value : undefined);
  return {
    state: text(told.state) ?? "unknown",
    type: text(told.type),
    attempts: number(told.attempts),
    failures: number(told.failures),
    crashes: number(told.crashes),
    priority: number(told.priority),
    age: number(told.age),
    worker: text(told.worker),
    history: historyOf(told.history),
    error: failureOf(told.error),
  };
}

function failureOf(told: unknown): Failure | undefined {
  if (typeof told !== "object" || told === null) return undefined;
  const { type, message, language, stack } = told as Record<string, unknown>;
  const text = (value: unknown) => (typeof value === "string" ? value : "");
  return {
    type: text(type),
    message: text(message),
    language: text(language),
    stack: typeof stack === "string" ? stack : undefined,
  };
}
