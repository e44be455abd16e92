/** What a handler threw, as the error map that every language understands. */
import { Defer, NoRetry } from "./errors.js";
import { LANGUAGE } from "./identity.js";
import { MAX_STACK } from "./wire.js";

export interface Failure {
  type: string;
  message: string;
  stack: string | undefined;
  noRetry: boolean;
  /** The process or thread that ran it is gone. */
  crashed: boolean;
  /** It is no failure at all: the task runs again in so many ms. */
  defer?: number;
}

const DEFERRED = { type: "Defer", message: "", stack: undefined, noRetry: false, crashed: false };

/** Describes whatever was thrown; never throws itself. */
export function failureOf(thrown: unknown, noRetry = false): Failure {
  if (thrown instanceof Defer) return { ...DEFERRED, defer: thrown.after };
  let error = thrown;
  let final = noRetry;
  if (error instanceof NoRetry) {
    final = true;
    error = error.cause instanceof Error ? error.cause : error;
  }
  let type: string = typeof error;
  let message = "";
  let stack: string | undefined;
  try {
    if (error instanceof Error) {
      type = error.name || error.constructor.name;
      message = String(error.message);
      stack = typeof error.stack === "string" ? error.stack : undefined;
    } else {
      message = String(error);
    }
  } catch {
    message = "(what was thrown cannot be described)";
  }
  return {
    type: bounded(type, 255),
    message: bounded(message, MAX_STACK),
    stack: stack === undefined ? undefined : bounded(stack, MAX_STACK),
    noRetry: final,
    crashed: false,
  };
}

/** The map for the attribute `error`. */
export function errorMap(failure: Failure): Record<string, string> {
  const map: Record<string, string> = {
    type: failure.type,
    message: failure.message,
    language: LANGUAGE,
  };
  if (failure.stack !== undefined) map.stack = failure.stack;
  return map;
}

/** Well-formed text of at most `bytes` bytes. */
function bounded(text: string, bytes: number): string {
  const whole = text.slice(0, bytes).toWellFormed();
  if (Buffer.byteLength(whole) <= bytes) return whole;
  // Cut within a character, its bytes would become a replacement character.
  return Buffer.from(whole)
    .subarray(0, bytes)
    .toString("utf8")
    .replace(/\uFFFD+$/, "");
}
