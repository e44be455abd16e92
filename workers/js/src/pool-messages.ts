/** What a pool and its threads say to each other. */
import type { BodyRules } from "./body.js";
import type { Cost, Word } from "./context.js";
import type { Failure } from "./failure.js";

export interface PoolThreadData {
  /** The module with the handlers. */
  module: string;
}

/** One call of a handler: of one run, or of a list of them. */
export interface CallMessage {
  number: number;
  type: string;
  isItem: boolean;
  isList: boolean;
  runs: RunMessage[];
  /** For each run 0, or which of CANCEL_REASONS, from 1; readable while the thread is blocked. */
  cancelled: SharedArrayBuffer;
  rules: PoolRules;
}

/** What holds for what a thread sends. */
export interface PoolRules extends BodyRules {
  /** The largest checkpoint, in bytes. */
  checkpoint: number;
}

export interface RunMessage {
  id: string;
  attempt: number;
  body: Uint8Array | undefined;
  codec: number;
  compressed: boolean;
  /** Ms, from now. */
  timeLeft: number | undefined;
  checkpoint: Uint8Array | undefined;
  /** As msgpack. */
  labels: Uint8Array | undefined;
  /** Chunks that it may send, if its stream is wanted. */
  stream: number | undefined;
}

export type ToThread =
  | { call: CallMessage }
  | { cancel: number; index: number }
  | { credit: number; index: number; chunks: number };

/** How a list handler of a module wants its lists; see BatchOptions. */
export interface ListOptions {
  batch: number;
  wait?: number;
}

/** The name of something that a module runs, and whether in lists. */
export type PoolName = [string, ListOptions | undefined];

export interface PoolNames {
  tasks: PoolName[];
  stages: PoolName[];
}

export type RunResult =
  { body: Uint8Array | undefined; compressed: boolean } | { failure: Failure };

export type FromThread =
  | { ready: PoolNames }
  | { broken: string }
  | { number: number; index: number; word: Word | Cost }
  | { number: number; results: RunResult[] };
