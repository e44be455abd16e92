/** Streams on the side of the client: what a handler sends one by one, as the program takes it. */
import type { BodyPlace } from "./body.js";
import { readValue } from "./body.js";
import { StreamBroken, StreamRestarted, type TuskError } from "./errors.js";
import type { Pending } from "./pending.js";
import { Outcome } from "./task.js";

/** Chunks that may be on their way. */
export const MOST_WINDOW = 1024;

interface Chunk {
  attempt: number;
  index: number;
  buf: Buffer | undefined;
  start: number;
  end: number;
  codec: number;
  compressed: boolean;
  limit: number;
}

/** What a stream needs of its client. */
export interface StreamHost {
  credit(pending: Pending, chunks: number): void;
  /** Cancels the task. */
  leave(pending: Pending): void;
}

type Step<T> = IteratorResult<T> | { error: unknown };

/**
 * The chunks of a task, in order:
 *
 *     const stream = client.stream("complete", prompt);
 *     for await (const word of stream) process.stdout.write(word);
 *     console.log(await stream.result);
 *
 * Leaving the loop, or `close()`, cancels the task. When the loop throws StreamRestarted, another attempt
 * begins: iterate again for its chunks. StreamBroken: some are missing; what follows may be taken all the
 * same. The error of a task that fails comes behind its chunks.
 */
export class Stream<Value = unknown, Result = unknown> implements AsyncIterableIterator<Value> {
  readonly #host: StreamHost;
  readonly #half: number;
  readonly #result = new Outcome<Result>();
  readonly #pending: Pending;
  #chunks: Chunk[] = [];
  /** Of those: came in an earlier session, which had credit of its own. */
  #old = 0;
  /** Since credit was given. */
  #taken = 0;
  #attempt = 0;
  #index = 0;
  /** The program has chunks of this attempt. */
  #hasGiven = false;
  #end: { error?: TuskError } | undefined;
  #left = false;
  #waiting: { resolve: (r: IteratorResult<Value>) => void; reject: (e: unknown) => void }[] = [];

  /** @internal */
  constructor(
    host: StreamHost,
    window: number,
    submit: (done: (value: unknown) => void, failed: (error: TuskError) => void) => Pending,
  ) {
    this.#host = host;
    this.#half = Math.max(1, Math.floor(window / 2));
    this.#pending = submit(
      (value) => {
        this.#result.done(value as Result);
        this.#end = {};
        this.#wake();
      },
      (error) => {
        this.#result.failed(error);
        this.#end = { error };
        this.#wake();
      },
    );
    this.#pending.stream = this;
    this.#pending.resubmitted = () => {
      this.#old = this.#chunks.length;
      this.#taken = 0;
    };
  }

  /** The task's id: UUID text. */
  get id(): string {
    return this.#pending.id;
  }

  /** What the handler returned; it is there behind the last chunk. Rejects as `Client.call` does. */
  get result(): Promise<Result> {
    return this.#result.promise;
  }

  /** @internal */
  chunk(place: BodyPlace, attempt: number, index: number, limit: number): void {
    if (this.#left) return;
    const { buf, start, end, codec, compressed } = place;
    this.#chunks.push({ attempt, index, buf, start, end, codec, compressed, limit });
    this.#wake();
  }

  next(): Promise<IteratorResult<Value>> {
    const step = this.#waiting.length === 0 ? this.#step() : undefined;
    if (step === undefined) {
      return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    }
    return "error" in step ? Promise.reject(step.error) : Promise.resolve(step);
  }

  return(): Promise<IteratorResult<Value>> {
    this.close();
    return Promise.resolve({ value: undefined, done: true });
  }

  /** Cancels the task if it has not ended; there are no further chunks. */
  close(): void {
    if (this.#left) return;
    this.#left = true;
    this.#chunks = [];
    if (this.#end === undefined) this.#host.leave(this.#pending);
    this.#wake();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  #wake(): void {
    while (this.#waiting.length > 0) {
      const step = this.#step();
      if (step === undefined) return;
      const { resolve, reject } = this.#waiting.shift()!;
      if ("error" in step) reject(step.error);
      else resolve(step);
    }
  }

  /** The next chunk, an error, the end; undefined: not yet. */
  #step(): Step<Value> | undefined {
    if (this.#left) return { value: undefined, done: true };
    const chunk = this.#chunks[0];
    if (chunk === undefined) return this.#end && this.#atEnd(this.#end);
    if (chunk.attempt !== this.#attempt || chunk.index <= this.#index) {
      if (this.#begin(chunk.attempt)) return this.#restarted();
    }
    const missing = chunk.index - this.#index - 1;
    if (missing > 0) {
      this.#index += missing;
      return { error: new StreamBroken(missing, this.id) };
    }
    this.#index = chunk.index;
    this.#chunks.shift();
    this.#hasGiven = true;
    this.#took();
    const { buf, start, end, codec, compressed, limit } = chunk;
    try {
      const value = buf === undefined ? null : readValue(buf, start, end, codec, compressed, limit);
      return { value: value as Value, done: false };
    } catch (error) {
      return { error };
    }
  }

  /** Whether the program had chunks of the attempt before. */
  #begin(attempt: number): boolean {
    const had = this.#hasGiven;
    this.#hasGiven = false;
    this.#attempt = attempt;
    this.#index = 0;
    return had;
  }

  #restarted(): { error: StreamRestarted } {
    return { error: new StreamRestarted(this.#attempt, this.id) };
  }

  #took(): void {
    if (this.#old > 0) {
      this.#old--;
      return;
    }
    this.#taken++;
    if (this.#taken < this.#half || this.#end !== undefined) return;
    this.#host.credit(this.#pending, this.#taken);
    this.#taken = 0;
  }

  #atEnd({ error }: { error?: TuskError }): Step<Value> {
    if (error !== undefined) {
      this.#end = {}; // it is told once, as a generator does
      this.#index = 0;
      this.#pending.chunks = undefined;
      return { error };
    }
    const { chunks: sent, attempt } = this.#pending;
    if (sent !== undefined && sent < this.#index) {
      // Of an attempt whose result this is not.
      if (this.#begin(attempt ?? this.#attempt + 1)) return this.#restarted();
    }
    if (sent !== undefined && sent > this.#index) {
      const missing = sent - this.#index;
      this.#index = sent;
      return { error: new StreamBroken(missing, this.id) };
    }
    return { value: undefined, done: true };
  }
}
