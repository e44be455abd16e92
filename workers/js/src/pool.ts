/**
 * Threads for handlers that compute for long: they block neither each other nor the worker's socket.
 *
 * A thread has one run at a time. When it ends before its run did, the run failed with `crashed` and
 * another thread takes its place.
 */
import { Worker as Thread } from "node:worker_threads";
import type { BodyRules } from "./body.js";
import type { Failure } from "./failure.js";
import { Waiting } from "./lanes.js";
import type { FromThread, PoolThreadData, ToThread } from "./pool-messages.js";
import type { Run } from "./run.js";

/** A thread that lived shorter than this is replaced later and later, in ms. */
const SHORT_LIFE = 1000;
const FIRST_DELAY = 100;
const LONGEST_DELAY = 10_000;

export interface PoolListener {
  /** A run succeeded; without a body the item ends. */
  succeeded(run: Run, body: Buffer | undefined, compressed: boolean): void;
  failed(run: Run, failure: Failure): void;
  /** A thread is free again. */
  free(): void;
}

interface Member {
  thread: Thread;
  cancelled: Int32Array;
  run: Run | undefined;
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
  async start(listener: PoolListener): Promise<{ tasks: string[]; stages: string[] }> {
    this.#listener = listener;
    const ready = Array.from({ length: this.size }, () => this.#spawn());
    const names = await Promise.all(ready);
    this.#started = true;
    return names[0];
  }

  /** Whether a thread is free. */
  get isFree(): boolean {
    for (const member of this.#members) if (member.ready && member.run === undefined) return true;
    return false;
  }

  /** Gives a run to a free thread. */
  give(run: Run, rules: BodyRules): void {
    for (const member of this.#members) {
      if (!member.ready || member.run !== undefined) continue;
      this.#lastNumber = (this.#lastNumber % 0x7fff_ffff) + 1;
      member.run = run;
      member.number = this.#lastNumber;
      const { place, id, type, attempt, isItem } = run;
      // Its own copy: the buffer goes over with its ownership.
      const body =
        place.buf === undefined
          ? undefined
          : new Uint8Array(place.buf.subarray(place.start, place.end));
      const { codec, compressed } = place;
      const { number } = member;
      const message: ToThread = {
        run: { number, id, type, attempt, isItem, body, codec, compressed, rules },
      };
      run.detach();
      member.thread.postMessage(message, body === undefined ? [] : [body.buffer]);
      return;
    }
    throw new Error("no thread of the pool is free");
  }

  cancel(run: Run): void {
    for (const member of this.#members) {
      if (member.run !== run) continue;
      Atomics.store(member.cancelled, 0, member.number);
      const message: ToThread = { cancel: member.number };
      member.thread.postMessage(message);
    }
  }

  async end(): Promise<void> {
    this.#ended = true;
    for (const timer of this.#timers) clearTimeout(timer);
    await Promise.all([...this.#members].map((member) => member.thread.terminate()));
  }

  #spawn(): Promise<{ tasks: string[]; stages: string[] }> {
    const shared = new SharedArrayBuffer(4);
    const workerData: PoolThreadData = { module: this.module.href, cancelled: shared };
    const thread = new Thread(new URL("./pool-thread.js", import.meta.url), { workerData });
    const member: Member = {
      thread,
      cancelled: new Int32Array(shared),
      run: undefined,
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
        } else {
          this.#onResult(member, message);
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

  #onResult(
    member: Member,
    message: Exclude<FromThread, { ready: unknown } | { broken: unknown }>,
  ) {
    const { run } = member;
    if (run === undefined || message.number !== member.number) return;
    member.run = undefined;
    if ("failure" in message) {
      this.#listener?.failed(run, message.failure);
    } else {
      const { body } = message;
      const bytes = body && Buffer.from(body.buffer, body.byteOffset, body.byteLength);
      this.#listener?.succeeded(run, bytes, message.compressed);
    }
    this.#listener?.free();
  }

  #onExit(member: Member, reason: string): void {
    if (this.#ended) return;
    const { run } = member;
    if (run !== undefined) {
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
