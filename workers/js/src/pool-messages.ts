/** What a pool and its threads say to each other. */
import type { BodyRules } from "./body.js";
import type { Failure } from "./failure.js";

export interface PoolThreadData {
  /** The module with the handlers. */
  module: string;
  /** Holds the number of the run that was cancelled last; readable while the thread is blocked. */
  cancelled: SharedArrayBuffer;
}

export interface RunMessage {
  number: number;
  id: string;
  type: string;
  attempt: number;
  isItem: boolean;
  body: Uint8Array | undefined;
  codec: number;
  compressed: boolean;
  rules: BodyRules;
}

export type ToThread = { run: RunMessage } | { cancel: number };

export type FromThread =
  | { ready: { tasks: string[]; stages: string[] } }
  | { broken: string }
  | { number: number; body: Uint8Array | undefined; compressed: boolean }
  | { number: number; failure: Failure };
