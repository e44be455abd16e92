/** One run of a task or an item, from its arrival until its result is acknowledged. */
import { BodyPlace } from "./body.js";
import { TaskCancelled } from "./errors.js";
import type { Lane } from "./lanes.js";
import { idText } from "./uuid.js";

/** What a handler may want to know about the run that it does. */
export interface Context {
  /** The task's id: UUID text. The same for every attempt. */
  readonly id: string;
  /** The type of the task, or the handler's name for an item. */
  readonly type: string;
  /** Which run of this task it is, from 1. */
  readonly attempt: number;
  /** Aborted when somebody cancels the task; hand it on to whatever can be aborted. */
  readonly signal: AbortSignal;
  /** Whether the task was cancelled. In a pool's thread it tells even while a loop blocks it. */
  readonly cancelled: boolean;
}

export const RunState = { waiting: 0, running: 1, over: 2 } as const;

export class Run implements Context {
  state: number = RunState.waiting;
  cancelled = false;
  /** The broker gave the task to somebody else; its result interests nobody. */
  dropped = false;
  /** The broker could not read its result, and gets a failure instead. */
  refused = false;
  readonly place = new BodyPlace();
  #controller: AbortController | undefined;
  #idBuffer: Buffer;
  #idAt: number;

  constructor(
    public handle: number,
    idBuffer: Buffer,
    idAt: number,
    readonly type: string,
    readonly attempt: number,
    readonly isItem: boolean,
    readonly lane: Lane,
  ) {
    this.#idBuffer = idBuffer;
    this.#idAt = idAt;
  }

  get id(): string {
    return idText(this.#idBuffer, this.#idAt);
  }

  get idBytes(): Buffer {
    return this.#idBuffer.subarray(this.#idAt, this.#idAt + 16);
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.cancelled) this.#abort();
    }
    return this.#controller.signal;
  }

  cancel(): void {
    if (this.cancelled) return;
    this.cancelled = true;
    if (this.#controller !== undefined) this.#abort();
  }

  #abort(): void {
    this.#controller?.abort(new TaskCancelled(`task ${this.id} was cancelled`, this.id));
  }

  /** Lets go of the packet that it came in, which may be large, for a run that takes longer. */
  detach(): void {
    this.#idBuffer = Buffer.from(this.idBytes);
    this.#idAt = 0;
    this.place.buf = undefined;
  }
}
