/** Requests and their endings, in words. */
import type { Attributes } from "./body.js";
import {
  type Attempt,
  Closed,
  type RemoteFailure,
  TaskCancelled,
  TaskDead,
  TaskExpired,
  TaskFailed,
  type TuskError,
  type Unsuccessful,
} from "./errors.js";
import type { Pending } from "./pending.js";
import { Kind, State } from "./wire.js";

/** Names of endings, in errors. */
const STATE_NAMES: Readonly<Record<number, string>> = { 2: "failed", 5: "is dead" };

/** Whether requests of this kind bring a task or an item, and with it its id. */
export function bringsTask(kind: number): boolean {
  return kind === Kind.submit || kind === Kind.push;
}

/** Whether requests of this kind are about a task or an item, of which they have the id. */
export function hasId(kind: number): boolean {
  return bringsTask(kind) || kind === Kind.await || kind === Kind.update || kind === Kind.cancel;
}

export function describe(pending: Pending): string {
  switch (pending.kind) {
    case Kind.submit:
      return `the task ${pending.id} of type "${pending.name}"`;
    case Kind.push:
      return `the item ${pending.id} for stage "${pending.name}"`;
    case Kind.publish:
      return `the event for topic "${pending.name}"`;
    case Kind.await:
      return `the await of task ${pending.id}`;
    case Kind.update:
      return `the update of task ${pending.id}`;
    case Kind.cancel:
      return "the cancel";
    case Kind.query:
      return `the query "${pending.name}"`;
    case Kind.control:
      return `the control "${pending.name}"`;
    default:
      return `the subscription to "${pending.name}"`;
  }
}

/** The error for an ending that is not a success. */
export function endingError(pending: Pending, state: number, attributes: Attributes): TuskError {
  const error = errorOf(pending, state, attributes);
  error.history = historyOf(attributes.history);
  return error;
}

/** What is told of runs that failed; what makes no sense is left out. */
export function historyOf(told: unknown): Attempt[] {
  if (!Array.isArray(told)) return [];
  const maps = told.filter((run) => typeof run === "object" && run !== null);
  return (maps as Record<string, unknown>[]).map((run) => {
    const error = (run.error ?? {}) as Record<string, unknown>;
    const text = (value: unknown) => (typeof value === "string" ? value : "");
    const number = (value: unknown) => (typeof value === "number" ? value : 0);
    return {
      attempt: number(run.attempt),
      worker: text(run.worker),
      started: number(run.started),
      ended: number(run.ended),
      type: text(error.type),
      message: text(error.message),
      stack: typeof error.stack === "string" ? error.stack : undefined,
      language: text(error.language),
    };
  });
}

function errorOf(pending: Pending, state: number, attributes: Attributes): Unsuccessful {
  const id = attributes.task ?? pending.id;
  const task = pending.name === "" ? `task ${id}` : `task ${id} of type "${pending.name}"`;
  if (state === State.cancelled) return new TaskCancelled(`${task} was cancelled`, id);
  if (state === State.expired) return new TaskExpired(`${task} expired`, id);
  const error = attributes.error ?? {};
  const text = (key: string, otherwise: string): string =>
    typeof error[key] === "string" ? error[key] : otherwise;
  const remote: RemoteFailure = {
    language: text("language", "unknown"),
    type: text("type", "Error"),
    message: text("message", ""),
    stack: typeof error.stack === "string" ? error.stack : undefined,
    attempt: attributes.attempt,
    worker: attributes.worker,
    retryable: !attributes.noRetry,
  };
  const what = `${task} ${STATE_NAMES[state] ?? `ended in state ${state}`}`;
  return state === State.dead ? new TaskDead(what, remote, id) : new TaskFailed(what, remote, id);
}

/** The error of a request that close() left unfinished. */
export function closedError(pending: Pending): Closed {
  const id = hasId(pending.kind) ? pending.id : undefined;
  return new Closed(`the client was closed before ${describe(pending)} was answered`, id);
}
