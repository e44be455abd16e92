/** One run of a task or an item, from its arrival until its result is acknowledged. */
import { Child, type ChildOptions, type Refusal, Suspension } from "./children.js";
import { type Attributes, BodyPlace } from "./body.js";
import {
  type CancelReason,
  type Context,
  type Cost,
  Speaker,
  stopped,
  type Word,
} from "./context.js";
import { Flow } from "./flow.js";
import type { Lane } from "./lanes.js";
import { idText } from "./uuid.js";
import { Kind } from "./wire.js";

const TIMES: readonly CancelReason[] = ["deadline", "run_timeout", "heartbeat_timeout"];

export const RunState = { waiting: 0, running: 1, over: 2 } as const;

/** What few runs have. */
interface Extra {
  /** performance.now() at which its time is up. */
  until: number | undefined;
  /** What an earlier run saved. */
  given: Buffer | undefined;
  /** The task's labels, as msgpack. */
  labels: Buffer | undefined;
  /** What this one saved last; null: it took that away. */
  saved: Uint8Array | null | undefined;
  /** The credit of its stream, if that is wanted. */
  flow: Flow | undefined;
  /** Who waits for its children, once it has some. */
  suspension: Suspension | undefined;
  /** What it awaits while its slot is lent out. */
  awaited: readonly Buffer[] | undefined;
  /** What it says that it cost. */
  cost: number | undefined;
}

export class Run extends Speaker implements Context {
  state: number = RunState.waiting;
  cancelReason: CancelReason | undefined = undefined;
  /** The broker gave the task to somebody else; its result interests nobody. */
  dropped = false;
  /** The broker could not read its result, and gets a failure instead. */
  refused = false;
  readonly place = new BodyPlace();
  #controller: AbortController | undefined;
  #extra: Extra | undefined;
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
    super();
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
      this.#abort();
    }
    return this.#controller.signal;
  }

  get cancelled(): boolean {
    return this.cancelReason !== undefined;
  }

  /** Whether it was told to stop because of a time: a success counts all the same. */
  get timesUp(): boolean {
    const reason = this.cancelReason;
    return reason !== undefined && TIMES.includes(reason);
  }

  cancel(reason: CancelReason): void {
    if (this.cancelReason !== undefined) return;
    this.cancelReason = reason;
    this.#abort();
    this.#extra?.suspension?.stop();
    this.#extra?.flow?.wake();
  }

  protected check(): void {
    if (this.cancelReason !== undefined) throw stopped(this.id, this.cancelReason);
  }

  get flow(): Flow | undefined {
    return this.#extra?.flow;
  }

  /** What it awaits while its slot is lent out; undefined: it has it. */
  get awaited(): readonly Buffer[] | undefined {
    return this.#extra?.awaited;
  }

  set awaited(ids: readonly Buffer[] | undefined) {
    this.#more().awaited = ids;
  }

  /** It has its slot again; with a refusal it has kept it. */
  resumed(refusal: Refusal | undefined): void {
    this.#extra?.suspension?.resumed(refusal);
  }

  protected bear(type: string, body: unknown, options: ChildOptions): Child {
    this.check();
    const family = this.lane.words?.family;
    if (family === undefined || !this.goesOn) {
      throw new Error("a run has children while its worker runs it, and only then");
    }
    const extra = this.#more();
    extra.suspension ??= new Suspension(
      (ids) => this.say({ kind: Kind.suspend, ids }),
      () => stopped(this.id, this.cancelReason ?? "cancelled"),
    );
    const parent = Buffer.from(this.idBytes);
    return new Child(extra.suspension, family.client, parent, type, body, options);
  }

  #abort(): void {
    if (this.cancelReason === undefined) return;
    this.#controller?.abort(stopped(this.id, this.cancelReason));
  }

  /** What its task's record says beside its body. */
  begins({ timeLeft, checkpoint, labels, stream }: Attributes): void {
    const has = timeLeft ?? checkpoint ?? labels ?? stream;
    if (has === undefined) return;
    const extra = this.#more();
    if (timeLeft !== undefined) extra.until = performance.now() + timeLeft;
    extra.given = checkpoint;
    extra.labels = labels;
    if (stream !== undefined) extra.flow = new Flow(stream);
  }

  get timeLeft(): number | undefined {
    const until = this.#extra?.until;
    return until === undefined ? undefined : Math.max(0, until - performance.now());
  }

  /** The checkpoint that it came with. */
  get checkpointGiven(): Buffer | undefined {
    return this.#extra?.given;
  }

  get saved(): Uint8Array | null | undefined {
    return this.#extra?.saved;
  }

  set saved(saved: Uint8Array | null) {
    this.#more().saved = saved;
  }

  get cost(): number | undefined {
    return this.#extra?.cost;
  }

  #more(): Extra {
    this.#extra ??= {
      until: undefined,
      given: undefined,
      labels: undefined,
      saved: undefined,
      flow: undefined,
      suspension: undefined,
      awaited: undefined,
      cost: undefined,
    };
    return this.#extra;
  }

  /** Whether what it says interests anybody. */
  get goesOn(): boolean {
    return this.state === RunState.running && !this.dropped;
  }

  protected get given(): Buffer | undefined {
    return this.checkpointGiven;
  }

  get labelBytes(): Buffer | undefined {
    return this.#extra?.labels;
  }

  protected get bounds() {
    return this.lane.words?.limits;
  }

  /** Something that this run says of itself, here or in its thread. */
  say(word: Word | Cost): void {
    if (!this.goesOn) return;
    if ("cost" in word) this.#more().cost = word.cost;
    else this.lane.words?.say(this, word);
  }

  /** Lets go of the packet that it came in, which may be large, for a run that takes longer. */
  detach(): void {
    this.#idBuffer = Buffer.from(this.idBytes);
    this.#idAt = 0;
    this.place.buf = undefined;
  }
}
