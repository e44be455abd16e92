/**
 * Threads for handlers that compute for long: they block neither each other nor the worker's socket.
 *
 * A thread has one run, or one list of them, at a time. When it ends before they did, they failed with
 * `crashed` and another thread takes its place.
 */
import { Worker as Thread } from "node:worker_threads";
import { CANCEL_REASONS, type CancelReason, type Cost, type Word } from "./context.js";
import type { Failure } from "./failure.js";
import { Waiting } from "./lanes.js";
import type {
  FromThread,
  PoolNames,
  PoolRules,
  PoolThreadData,
  RunMessage,
  RunResult,
  ToThread,
} from "./pool-messages.js";
import type { Run } from "./run.js";

/** A thread that lived shorter than this is replaced later and later, in ms. */
const SHORT_LIFE = 1000;
const FIRST_DELAY = 100;
const LONGEST_DELAY = 10_000;

export interface PoolListener {
  /** A run succeeded; without a body the item ends. */
  succeeded(run: Run, body: Buffer | undefined, compressed: boolean): void;
  failed(run: Run, failure: Failure): void;
  /** A run that goes on says something of itself. */
  said(run: Run, word: Word | Cost): void;
  /** A thread is free again. */
  free(): void;
}

interface Member {
  thread: Thread;
  /** What it runs now, and for each whether it was cancelled. */
  runs: Run[];
  cancelled: Int32Array;
  number: number;
  ready: boolean;
  born: number;
}

export class Pool {
  readonly waiting = new Waiting();
  readonly module: URL;
  readonly size: number;
  #listener: PoolListener | undefined;
  readonly #members = new Set<Member>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #lastNumber = 0;
  #delay = 0;
  #started = false;
  #ended = false;

  constructor(module: URL, size: number) {
    this.module = module;
    this.size = size;
  }

  /** Starts the threads; resolves to the names of what they run. @throws Error if the module fails */
  async start(listener: PoolListener): Promise<PoolNames> {
    this.#listener = listener;
    const ready = Array.from({ length: this.size }, () => this.#spawn());
    const names = await Promise.all(ready);
    this.#started = true;
    return names[0];
  }

  /** Whether a thread is free. */
  get isFree(): boolean {
    for (const member of this.#members) if (member.ready && member.runs.length === 0) return true;
    return false;
  }

  /** Gives runs of one handler to a free thread: a list for a list handler, else one. */
  give(runs: Run[], isList: boolean, rules: PoolRules): void {
    for (const member of this.#members) {
      if (!member.ready || member.runs.length > 0) continue;
      this.#lastNumber = (this.#lastNumber % 0x7fff_ffff) + 1;
      const cancelled = new SharedArrayBuffer(4 * runs.length);
      member.runs = runs;
      member.cancelled = new Int32Array(cancelled);
      member.number = this.#lastNumber;
      const buffers: ArrayBuffer[] = [];
      const bodies = runs.map((run) => {
        const message = messageOf(run);
        if (message.body !== undefined) buffers.push(message.body.buffer as ArrayBuffer);
        run.detach();
        return message;
      });
      const { type, isItem } = runs[0];
      const { number } = member;
      const message: ToThread = {
        call: { number, type, isItem, isList, runs: bodies, cancelled, rules },
      };
      member.thread.postMessage(message, buffers);
      return;
    }
    throw new Error("no thread of the pool is free");
  }

  cancel(run: Run, reason: CancelReason): void {
    for (const member of this.#members) {
      const index = member.runs.indexOf(run);
      if (index < 0) continue;
      Atomics.compareExchange(member.cancelled, index, 0, CANCEL_REASONS.indexOf(reason) + 1);
      const message: ToThread = { cancel: member.number, index };
      member.thread.postMessage(message);
    }
  }

  /** So many further chunks of a run's stream may come. */
  credit(run: Run, chunks: number): void {
    for (const member of this.#members) {
      const index = member.runs.indexOf(run);
      const message: ToThread = { credit: member.number, index, chunks };
      if (index >= 0) member.thread.postMessage(message);
    }
  }

  async end(): Promise<void> {
    this.#ended = true;
    for (const timer of this.#timers) clearTimeout(timer);
    await Promise.all([...this.#members].map((member) => member.thread.terminate()));
  }

  #spawn(): Promise<PoolNames> {
    const workerData: PoolThreadData = { module: this.module.href };
    const thread = new Thread(new URL("./pool-thread.js", import.meta.url), { workerData });
    const member: Member = {
      thread,
      runs: [],
      cancelled: new Int32Array(),
      number: 0,
      ready: false,
      born: performance.now(),
    };
    this.#members.add(member);
    return new Promise((resolve, reject) => {
      let reason: string | undefined;
      thread.on("message", (message: FromThread) => {
        if ("ready" in message) {
          member.ready = true;
          resolve(message.ready);
          this.#listener?.free();
        } else if ("broken" in message) {
          reason = message.broken;
          void thread.terminate();
        } else if ("word" in message) {
          const run = message.number === member.number ? member.runs[message.index] : undefined;
          if (run !== undefined) this.#listener?.said(run, message.word);
        } else {
          this.#onResults(member, message.number, message.results);
        }
      });
      thread.on("error", (error: unknown) => {
        reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
      });
      thread.on("exit", (code) => {
        this.#members.delete(member);
        reject(new Error(`a thread of the pool did not start: ${reason ?? `exit ${code}`}`));
        this.#onExit(member, reason ?? `exit code ${code}`);
      });
    });
  }

  #onResults(member: Member, number: number, results: RunResult[]) {
    const { runs } = member;
    if (number !== member.number) return;
    member.runs = [];
    runs.forEach((run, i) => {
      const result = results[i];
      if ("failure" in result) {
        this.#listener?.failed(run, result.failure);
      } else {
        const { body, compressed } = result;
        const bytes = body && Buffer.from(body.buffer, body.byteOffset, body.byteLength);
        this.#listener?.succeeded(run, bytes, compressed);
      }
    });
    this.#listener?.free();
  }

  #onExit(member: Member, reason: string): void {
    if (this.#ended) return;
    for (const run of member.runs) {
      const message = `the pool's thread ended: ${reason}`;
      this.#listener?.failed(run, {
        type: "ThreadDied",
        message: message.slice(0, 4096),
        stack: undefined,
        noRetry: false,
        crashed: true,
      });
    }
    // One that could not be loaded at the start ends the worker; it is told by `start`.
    if (!this.#started) return;
    const short = performance.now() - member.born < SHORT_LIFE;
    this.#delay = short ? Math.min(Math.max(this.#delay * 2, FIRST_DELAY), LONGEST_DELAY) : 0;
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        this.#spawn().catch(() => undefined); // told by its own exit
      },
      short ? this.#delay : 0,
    );
    this.#timers.add(timer);
  }
}

function messageOf(run: Run): RunMessage {
  const { id, attempt, place, timeLeft, checkpointGiven, labelBytes: labels } = run;
  const stream = run.flow?.left;
  const { buf, start, end, codec, compressed } = place;
  // Its own copy: the buffer goes over with its ownership.
  const body = buf && new Uint8Array(buf.subarray(start, end));
  return {
    id,
    attempt,
    body,
    codec,
    compressed,
    timeLeft,
    checkpoint: checkpointGiven,
    labels,
    stream,
  };
}
