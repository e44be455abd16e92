/** Labels of tasks and workers, and what a task needs a worker to have. */
import type { Given } from "./terms.js";

export const KEY_BYTES = 255;
export const MOST_TASK_LABELS = 16;
/** Of each kind. */
const MOST_NEEDS = 16;
const MOST_WORKER_LABELS = 32;
const MOST_AMOUNT = 1_000_000_000;
const ENVIRONMENT = "TUSK_LABELS";

/** What a task asks of the worker that is to run it. Names and texts have 1 to 255 bytes. */
export interface NeedTerms {
  /**
   * What the worker must have: a text is a fact, a number an amount (whole, 0 to 10^9) that it has at least.
   * At most 16.
   */
  requires?: Readonly<Record<string, string | number>>;
  /** What it should rather have: of the free workers, one that fits is taken before others. At most 16. */
  prefers?: Readonly<Record<string, string | number>>;
  /** Amounts (whole, 1 to 10^9) that it must have free; the run holds them until it has ended. At most 16. */
  consumes?: Readonly<Record<string, number>>;
}

/** @throws RangeError, TypeError */
export function checkKey(name: string, text: string): void {
  if (typeof text !== "string") throw new TypeError(`${name} is text`);
  const bytes = Buffer.byteLength(text);
  if (bytes < 1 || bytes > KEY_BYTES || !text.isWellFormed()) {
    throw new RangeError(`${name} is Unicode text of 1 to ${KEY_BYTES} bytes, not ${bytes}`);
  }
}

/** The attribute `needs`; undefined if there are none. @throws RangeError, TypeError */
export function needsOf({ requires, prefers, consumes }: Given<NeedTerms>): object | undefined {
  if (requires === undefined && prefers === undefined && consumes === undefined) return undefined;
  const needs: Record<string, object> = {};
  if (requires !== undefined) needs.requires = textsAndAmounts("requires", requires, MOST_NEEDS);
  if (prefers !== undefined) needs.prefers = textsAndAmounts("prefers", prefers, MOST_NEEDS);
  if (consumes !== undefined) {
    needs.consumes = checked("consumes", consumes, MOST_NEEDS, (name, value) =>
      checkAmount(name, value, 1),
    );
  }
  return needs;
}

/** @throws RangeError, TypeError */
export function taskLabels(given: Readonly<Record<string, string>>): Record<string, string> {
  return checked("labels", given, MOST_TASK_LABELS, checkKey);
}

/**
 * What a worker announces: the labels of the environment, and `given`, which win.
 * @throws RangeError, TypeError, also for an environment that is no JSON object
 */
export function workerLabels(
  given: Readonly<Record<string, string | number>> = {},
): Record<string, string | number> {
  const told = process.env[ENVIRONMENT];
  let found: Record<string, string | number> = {};
  if (told !== undefined && told !== "") {
    let value: unknown;
    try {
      value = JSON.parse(told);
    } catch (error) {
      throw new TypeError(`${ENVIRONMENT} is not JSON: ${(error as Error).message}`);
    }
    found = textsAndAmounts(ENVIRONMENT, value as typeof found, MOST_WORKER_LABELS);
  }
  found = { ...found, ...textsAndAmounts("labels", given, MOST_WORKER_LABELS) };
  const count = Object.keys(found).length;
  if (count > MOST_WORKER_LABELS) {
    throw new RangeError(
      `labels and ${ENVIRONMENT} have at most ${MOST_WORKER_LABELS} names, not ${count}`,
    );
  }
  return found;
}

function textsAndAmounts(
  name: string,
  given: Readonly<Record<string, string | number>>,
  most: number,
): Record<string, string | number> {
  return checked(name, given, most, (where, value) => {
    if (typeof value === "string") checkKey(where, value);
    else checkAmount(where, value, 0);
  });
}

function checked<T>(
  name: string,
  given: Readonly<Record<string, T>>,
  most: number,
  check: (name: string, value: T) => void,
): Record<string, T> {
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw new TypeError(`${name} is an object of names`);
  }
  const entries = Object.entries(given);
  if (entries.length > most) {
    throw new RangeError(`${name} has at most ${most} entries, not ${entries.length}`);
  }
  for (const [key, value] of entries) {
    checkKey(`a name in ${name}`, key);
    check(`${name}.${key}`, value);
  }
  return { ...given };
}

function checkAmount(name: string, value: unknown, least: number): void {
  if (typeof value !== "number") {
    throw new TypeError(`${name} is ${least > 0 ? "" : "text or "}a whole number`);
  }
  if (!Number.isInteger(value) || value < least || value > MOST_AMOUNT) {
    throw new RangeError(`${name} is a whole number from ${least} to ${MOST_AMOUNT}, not ${value}`);
  }
}
