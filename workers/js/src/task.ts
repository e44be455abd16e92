/** The handle of a task that was submitted. */
import type { TuskError } from "./errors.js";
import type { Pending } from "./pending.js";

/** A value or an error that is there once; promises of it are made only for who asks. */
export class Outcome<T> {
  #settled = false;
  #error: TuskError | undefined;
  #value: T | undefined;
  #promise: Promise<T> | undefined;
  #resolve: ((value: T) => void) | undefined;
  #reject: ((error: TuskError) => void) | undefined;

  get promise(): Promise<T> {
    this.#promise ??= new Promise<T>((resolve, reject) => {
      if (!this.#settled) {
        this.#resolve = resolve;
        this.#reject = reject;
      } else if (this.#error !== undefined) {
        reject(this.#error);
      } else {
        resolve(this.#value as T);
      }
    });
    return this.#promise;
  }

  done(value: T): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#value = value;
    this.#resolve?.(value);
  }

  failed(error: TuskError): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#error = error;
    this.#reject?.(error);
  }
}

/** A task on its way. Nothing is thrown for one whose `result` nobody asks for. */
export class Task<Result = unknown> {
  readonly #result = new Outcome<Result>();
  readonly #accepted = new Outcome<void>();
  readonly #cancel: (id: string) => Promise<string>;
  #pending!: Pending;

  /** @internal */
  constructor(
    submit: (
      done: (value: unknown) => void,
      failed: (error: TuskError) => void,
      accepted: () => void,
    ) => Pending,
    cancel: (id: string) => Promise<string>,
  ) {
    this.#cancel = cancel;
    this.#pending = submit(
      (value) => {
        this.#accepted.done();
        this.#result.done(value as Result);
      },
      (error) => {
        this.#accepted.failed(error);
        this.#result.failed(error);
      },
      () => this.#accepted.done(),
    );
  }

  /** The task's id: UUID text. */
  get id(): string {
    return this.#pending.id;
  }

  /**
   * The id that counts, once there is a result or an error: that of the task which this one joined by
   * its unique key. It is `id` before, and for a task that joined none.
   */
  get joinedId(): string {
    return this.#pending.joined ?? this.id;
  }

  /** What the handler returned. Rejects as `Client.call` does. */
  get result(): Promise<Result> {
    return this.#result.promise;
  }

  /** Resolves when the broker has the task: with `reply: "both"` early, else with the result. */
  get accepted(): Promise<void> {
    return this.#accepted.promise;
  }

  /** Cancels it; see `Client.cancel`. */
  cancel(): Promise<string> {
    return this.#cancel(this.id);
  }
}
