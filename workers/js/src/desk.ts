/**
 * The worker's side of the protocol: runs in, handlers called, results out. `Worker` is the face of it.
 *
 * Everything here is on the main thread, the socket included. So while a plain handler computes,
 * nothing is read; hello therefore promises "lookahead" only if all handlers run in pools. The other
 * way, a thread for the socket, was measured: see README.md, "Why the socket is on the main thread".
 */
import { type BatchHost, isThenable, startBatches } from "./batches.js";
import { Attributes } from "./body.js";
import type { Family, Refusal } from "./children.js";
import { Malformed, TuskError, Unknown } from "./errors.js";
import { type Failure, failureOf } from "./failure.js";
import { CANCEL_REASONS, type CancelReason, type Cost, type Word } from "./context.js";
import { ANEW, isGenerator, sendAll, UNWANTED } from "./flow.js";
import type { BatchLane, Lane } from "./lanes.js";
import { Waiting } from "./lanes.js";
import { Link } from "./link.js";
import type { Reader } from "./msgpack/reader.js";
import type { Packet } from "./packet.js";
import type { Peer, Welcome } from "./peer.js";
import type { Pool, PoolListener } from "./pool.js";
import { Results } from "./results.js";
import { Run, RunState } from "./run.js";
import { DROP } from "./values.js";
import { Kind } from "./wire.js";
import { Words } from "./words.js";

/** Plain handlers run for so long, in ms, before results are sent and the socket is read again. */
const SLICE = 1;

export interface DeskOptions {
  url: string;
  name: string | undefined;
  poolName: string;
  labels: Readonly<Record<string, string | number>>;
  tasks: ReadonlyMap<string, Lane>;
  stages: ReadonlyMap<string, Lane>;
  pools: readonly Pool[];
  /** What runs submit their children by. */
  family: Family;
}

/** What the desk tells the worker. */
export interface DeskListener {
  /** The broker wants this worker to end in an orderly way. */
  drain(): void;
  /** The broker refuses this worker for good. */
  refused(error: TuskError): void;
  /** A run ended, and none is left. */
  empty(): void;
  welcomed(): void;
  complain(message: string): void;
}

const NO_LANE: Lane = { kind: "none" };
const attributes = new Attributes();

export class Desk implements Peer<Run>, PoolListener, BatchHost {
  readonly link: Link<Run>;
  readonly #options: DeskOptions;
  readonly #listener: DeskListener;
  readonly #results: Results;
  readonly #words: Words;
  /** All runs that have no result yet, by handle. */
  readonly #runs = new Map<number, Run>();
  readonly #main = new Waiting();
  readonly #batches: BatchLane[] = [];
  /** In the order of the last hello's claims. */
  #claimed: Run[] = [];
  #slots = 1;
  #running = 0;
  /** Of them wait for their children and take no slot. */
  #lent = 0;
  #draining = false;
  #pumpQueued = false;
  /** When results that wait in the outbox are sent at the latest. */
  #sliceEnd = 0;

  constructor(options: DeskOptions, listener: DeskListener) {
    this.#options = options;
    this.#listener = listener;
    this.link = new Link<Run>(options.url, this, options.name);
    this.#results = new Results(this.link);
    this.#words = new Words(this.link, options.family, (run) => this.#lend(run));
  }

  /** Begins to connect; all handlers are there. `slots`: runs at once, in all. */
  open(slots: number): void {
    this.#slots = slots;
    const { tasks, stages } = this.#options;
    for (const lane of [...tasks.values(), ...stages.values()]) lane.words = this.#words;
    for (const lane of [...tasks.values(), ...stages.values()]) {
      if (lane.kind === "batch") this.#batches.push(lane);
    }
    this.link.open();
  }

  /** Runs that have begun and not ended. */
  get running(): number {
    return this.#running;
  }

  /** Gives back what has not begun, and whatever comes from now on. */
  drain(): void {
    this.#draining = true;
    const handles: number[] = [];
    for (const run of this.#runs.values()) {
      if (run.state !== RunState.waiting) continue;
      this.#forget(run);
      handles.push(run.handle);
    }
    this.#returned(0, handles);
    this.link.flush();
  }

  /** Tells all handlers that still run to stop. */
  cancelAll(): void {
    for (const run of this.#runs.values())
      if (run.state === RunState.running) this.#tellHandler(run, "moved");
  }

  // ---- Peer ----

  hello(): Record<string, unknown> {
    const { tasks, stages, labels, poolName } = this.#options;
    const unacknowledged = this.link.outstanding().flatMap((packet) => packet.owners);
    this.#claimed = [...this.#runs.values(), ...unacknowledged.filter((run) => !run.dropped)];
    const inPools = (lane: Lane) => lane.kind === "pool";
    const lookahead = [...tasks.values(), ...stages.values()].every(inPools);
    return {
      role: "worker",
      pool: poolName,
      types: [...tasks.keys()],
      handlers: [...stages.keys()],
      slots: this.#slots,
      ...(Object.keys(labels).length > 0 ? { labels } : {}),
      claims: this.#claimed.map((run) => [run.idBytes, run.attempt, run.type, run.isItem]),
      capabilities: lookahead ? ["lookahead"] : [],
    };
  }

  welcomed(welcome: Welcome): void {
    if (!welcome.resumed) this.#adopt(welcome);
    this.#words.welcomed(this.#runs.values(), !welcome.resumed);
    this.#listener.welcomed();
    if (this.#draining) this.drain();
  }

  /** A new session: runs and results go on under the handles that the broker gives them, or not at all. */
  #adopt(welcome: Welcome): void {
    const old = this.link.takeOld();
    const claimed = this.#claimed;
    this.#claimed = [];
    const handles = new Map<Run, number>();
    claimed.forEach((run, i) => {
      const claim = welcome.claims[i];
      if (!(claim?.[0] instanceof Uint8Array) || !run.idBytes.equals(claim[0])) return;
      if (typeof claim[1] === "number") handles.set(run, claim[1]);
    });
    const unfinished = [...this.#runs.values()];
    this.#runs.clear();
    for (const run of unfinished) {
      const handle = handles.get(run);
      if (handle === undefined) {
        this.#drop(run);
      } else {
        run.handle = handle;
        this.#runs.set(handle, run);
        if (run.flow !== undefined) this.#credit(run, ANEW);
      }
    }
    for (const packet of old) {
      for (const run of packet.owners) {
        const handle = handles.get(run);
        if (handle === undefined) run.dropped = true;
        else run.handle = handle;
      }
      this.#results.again(packet, (run) => !run.dropped);
    }
  }

  #drop(run: Run): void {
    run.dropped = true;
    if (run.state === RunState.waiting) {
      this.#unqueue(run);
      run.state = RunState.over;
    } else {
      this.#tellHandler(run, "moved");
    }
  }

  acknowledged(): void {
    this.#words.catchUp();
  }

  disconnected(): void {
    // Handlers go on; the session may be resumed.
  }

  refused(error: TuskError): void {
    this.#listener.refused(error);
  }

  complain(message: string): void {
    this.#listener.complain(message);
  }

  undeliverable(packet: Packet<Run>): void {
    const failure = failureOf(new TuskError("too_large", "the result breaks the connection"), true);
    for (const run of packet.owners) this.#results.failure(run, failure);
  }

  /**
   * Answers the runs of a packet that the broker could not read again, as failures. When it holds nothing
   * but such answers they are not the cure.
   */
  refusedPacket(packet: number, message: string): boolean {
    const runs = this.link.packet(packet)?.owners ?? [];
    if (runs.every((run) => run.refused)) return false;
    const reason = `the broker refused the packet with the result: ${message}`;
    const failure = failureOf(new Malformed("malformed", reason), true);
    for (const run of runs) {
      run.refused = true;
      this.#results.failure(run, failure);
    }
    this.link.flushSoon();
    return true;
  }

  error(ref: number, code: string, message: string, details: Record<string, unknown>): void {
    // A result that the broker refused has ended its run all the same; one for a handle that is no
    // longer ours it has dropped and counted.
    const run = this.#runs.get(ref);
    if (run?.awaited !== undefined && code !== "unknown_handle" && code !== "busy") {
      this.#resumed(run, { code, message });
    } else if (run?.flow !== undefined && code === "invalid" && details.field === "stream") {
      // The broker was started again, and heard of the run before it heard of who wants its stream.
      this.#credit(run, UNWANTED);
    } else if (code !== "unknown_handle") {
      this.#listener.complain(`the broker answers ${code} for run ${ref}: ${message}`);
    }
  }

  record(kind: number, length: number, reader: Reader, frames: Buffer[]): boolean {
    switch (kind) {
      case Kind.task:
      case Kind.item:
        this.#onTask(kind === Kind.item, length, reader, frames);
        return true;
      case Kind.cancel: {
        const run = this.#runs.get(reader.int());
        let reason: string | undefined;
        if (length > 3) {
          reader.bin();
          attributes.read(reader);
          reason = attributes.reason;
        }
        const known = CANCEL_REASONS.find((one) => one === reason);
        if (run !== undefined) this.#cancel(run, known ?? "cancelled");
        return true;
      }
      case Kind.resume: {
        const run = this.#runs.get(reader.int());
        if (run !== undefined) this.#resumed(run, undefined);
        return true;
      }
      case Kind.credit: {
        const run = this.#runs.get(reader.int());
        if (run !== undefined) this.#credit(run, reader.int());
        return true;
      }
      case Kind.recall:
        this.#onRecall(reader);
        return true;
      case Kind.drain:
        this.#listener.drain();
        return true;
      default:
        return false;
    }
  }

  packetEnd(): void {
    if (!this.#pumpQueued) this.#pump();
  }

  #onTask(isItem: boolean, length: number, reader: Reader, frames: Buffer[]): void {
    const handle = reader.int();
    const idLength = reader.bin();
    const idAt = reader.pos - idLength;
    const type = reader.str();
    const attempt = reader.int();
    const lanes = isItem ? this.#options.stages : this.#options.tasks;
    const lane = lanes.get(type) ?? NO_LANE;
    const run = new Run(handle, reader.buf, idAt, type, attempt, isItem, lane);
    run.place.locate(reader, frames);
    let unsupported: number | undefined;
    if (length > 6) {
      attributes.read(reader);
      run.place.codec = attributes.codec;
      run.place.compressed = attributes.compressed;
      unsupported = attributes.unsupported;
      run.begins(attributes);
    }
    this.#runs.set(handle, run);
    if (unsupported !== undefined) {
      const message = `attribute ${unsupported} is unknown here`;
      this.#refuse(run, new TuskError("unsupported", message));
      return;
    }
    switch (lane.kind) {
      case "main":
        this.#main.push(run);
        break;
      case "batch":
        lane.waiting.push(run);
        // The broker runs what may have killed its worker one at a time: nothing joins it.
        if (attempt > 1) lane.due = true;
        break;
      case "pool":
        lane.pool.waiting.push(run);
        break;
      case "none":
        this.#refuse(run, new Unknown("unknown_type", `this worker does not run "${type}"`));
    }
  }

  #refuse(run: Run, error: TuskError): void {
    this.#runs.delete(run.handle);
    run.state = RunState.over;
    this.#results.failure(run, failureOf(error, true));
    this.link.flushSoon();
  }

  #onRecall(reader: Reader): void {
    const recall = reader.int();
    const given: number[] = [];
    for (let n = reader.array(); n > 0; n--) {
      const run = this.#runs.get(reader.int());
      if (run?.state !== RunState.waiting) continue;
      this.#forget(run);
      given.push(run.handle);
    }
    this.#returned(recall, given);
  }

  #returned(recall: number, handles: number[]): void {
    if (recall === 0 && handles.length === 0) return;
    const { outbox } = this.link;
    do {
      const { writer } = outbox.begin();
      writer.array(3);
      writer.int(Kind.returned);
      writer.int(recall);
      writer.array(handles.length);
      for (const handle of handles) writer.int(handle);
    } while (!outbox.end());
    this.link.flushSoon();
  }

  /** Takes a waiting run out as if it had never come. */
  #forget(run: Run): void {
    this.#runs.delete(run.handle);
    this.#unqueue(run);
    run.state = RunState.over;
  }

  #unqueue(run: Run): void {
    const { lane } = run;
    if (lane.kind === "batch") lane.waiting.size--;
    else if (lane.kind === "pool") lane.pool.waiting.size--;
    else this.#main.size--;
  }

  #cancel(run: Run, reason: CancelReason): void {
    if (run.state === RunState.waiting) {
      this.#forget(run);
      this.#results.cancelled(run);
      this.link.flushSoon();
    } else if (run.state === RunState.running) {
      this.#tellHandler(run, reason);
    }
  }

  /** The run waits for its children; others may have its slot. */
  #lend(run: Run): void {
    if (run.state !== RunState.running) return;
    this.#lent++;
    this.link.flush();
    this.#pumpSoon();
  }

  /** Whether it had lent its slot. */
  #regain(run: Run): boolean {
    if (run.awaited === undefined) return false;
    run.awaited = undefined;
    this.#lent--;
    return true;
  }

  #resumed(run: Run, refusal: Refusal | undefined): void {
    if (this.#regain(run)) run.resumed(refusal);
  }

  #credit(run: Run, chunks: number): void {
    const { lane } = run;
    if (lane.kind === "pool" && run.state === RunState.running) lane.pool.credit(run, chunks);
    else run.flow?.add(chunks);
  }

  #tellHandler(run: Run, reason: CancelReason): void {
    this.#regain(run);
    const { lane } = run;
    if (lane.kind === "pool" || lane.kind === "batch") lane.pool?.cancel(run, reason);
    run.cancel(reason);
  }

  // ---- running ----

  #pumpSoon(): void {
    if (this.#pumpQueued) return;
    this.#pumpQueued = true;
    setImmediate(() => {
      this.#pumpQueued = false;
      this.#pump();
    });
  }

  /**
   * Starts what can start. Results go out when all packets that have arrived were dealt with, or after
   * a slice of time, whichever is first: few packets, and no result that waits for another.
   */
  #pump(): void {
    if (this.#draining) {
      this.drain();
      return;
    }
    const { pools } = this.#options;
    const slots = this.#slots;
    if (this.link.outbox.isEmpty) this.#sliceEnd = performance.now() + SLICE;
    for (const pool of pools) {
      while (pool.waiting.size > 0 && this.#running - this.#lent < slots && pool.isFree) {
        this.give(pool, [pool.waiting.shift()!], false);
      }
    }
    for (const lane of this.#batches) startBatches(lane, this);
    while (this.#main.size > 0 && this.#running - this.#lent < slots) {
      this.#startPlain(this.#main.shift()!);
      if (performance.now() >= this.#sliceEnd) {
        this.link.flush();
        this.#pumpSoon();
        return;
      }
    }
    this.link.flushSoon();
  }

  #begin(run: Run): void {
    run.state = RunState.running;
    this.#running++;
  }

  #startPlain(run: Run): void {
    if (run.lane.kind !== "main") return;
    run.state = RunState.running;
    this.#running++;
    let value: unknown;
    try {
      value = run.place.read(this.link.limits.body);
    } catch (error) {
      this.#end(run, undefined, failureOf(error, true));
      return;
    }
    try {
      value = run.lane.handler(value, run);
    } catch (error) {
      this.#end(run, undefined, failureOf(error));
      return;
    }
    if (isGenerator(value)) {
      value = sendAll(value, run.send);
    }
    if (isThenable(value)) {
      run.detach();
      value.then(
        (resolved) => this.#endLater(run, resolved, undefined),
        (error: unknown) => this.#endLater(run, undefined, failureOf(error)),
      );
    } else {
      this.#end(run, value, undefined);
    }
  }

  // ---- BatchHost ----

  get freeSlots(): number {
    return this.#slots - this.#running + this.#lent;
  }

  get slots(): number {
    return this.#slots;
  }

  begin(run: Run): unknown {
    this.#begin(run);
    return run.place.read(this.link.limits.body);
  }

  give(pool: Pool, runs: Run[], isList = true): void {
    for (const run of runs) this.#begin(run);
    const { checkpoint } = this.link.limits;
    pool.give(runs, isList, { ...this.#results.rules, checkpoint });
  }

  end(run: Run, value: unknown, failure: Failure | undefined): void {
    this.#end(run, value, failure);
  }

  pumpSoon(): void {
    this.link.flushSoon();
    this.#pumpSoon();
  }

  /** Ends a run outside of the pump: what it made room for may start. */
  #endLater(run: Run, value: unknown, failure: Failure | undefined): void {
    this.#end(run, value, failure);
    this.link.flushSoon();
    if (this.#main.size > 0 || this.#batches.length > 0 || this.#options.pools.length > 0) {
      this.#pumpSoon();
    }
  }

  #end(run: Run, value: unknown, failure: Failure | undefined): void {
    if (!this.#over(run)) return;
    // A success counts although a time is up; all else says that the run has stopped.
    if (run.cancelled && (failure !== undefined || !run.timesUp)) this.#results.cancelled(run);
    else if (failure !== undefined) this.#results.failure(run, failure);
    else if (run.isItem && value === DROP) this.#results.body(run, undefined, false);
    else this.#results.value(run, value);
  }

  /** Takes the run off the books; whether anybody wants its result. */
  #over(run: Run): boolean {
    run.state = RunState.over;
    this.#regain(run);
    this.#running--;
    if (!run.dropped) this.#runs.delete(run.handle);
    if (this.#running === 0) this.#listener.empty();
    if (run.dropped) return false;
    this.#words.ending(run);
    return true;
  }

  // ---- PoolListener ----

  succeeded(run: Run, body: Buffer | undefined, compressed: boolean): void {
    if (!this.#over(run)) return;
    if (run.cancelled && !run.timesUp) this.#results.cancelled(run);
    else this.#results.body(run, body, compressed);
    this.link.flushSoon();
  }

  said(run: Run, word: Word | Cost): void {
    run.say(word);
  }

  failed(run: Run, failure: Failure): void {
    this.#end(run, undefined, failure);
    this.link.flushSoon();
  }

  free(): void {
    this.#pumpSoon();
  }
}
