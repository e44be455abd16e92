/** Results on their way to the broker: written, and written again when a new session names runs anew. */
import { BodyPlace, type BodyRules, writeRaw, writeValue } from "./body.js";
import { TooLarge } from "./errors.js";
import { errorMap, type Failure, failureOf } from "./failure.js";
import type { Link } from "./link.js";
import { Reader } from "./msgpack/reader.js";
import type { Packet } from "./packet.js";
import type { Run } from "./run.js";
import { Attribute, Kind, State } from "./wire.js";

/** The parts of a failure when there is no room for the whole. */
const SHORT_MESSAGE = 200;

export class Results {
  readonly #link: Link<Run>;

  constructor(link: Link<Run>) {
    this.#link = link;
  }

  /** What bodies must keep to now. */
  get rules(): BodyRules {
    const { limits, welcome } = this.#link;
    return {
      limit: limits.body,
      compressionThreshold: welcome?.compressionThreshold ?? Number.POSITIVE_INFINITY,
    };
  }

  /** A success with a value; if that has no form it is a failure. */
  value(run: Run, value: unknown): void {
    const { outbox } = this.#link;
    const { rules } = this;
    try {
      do {
        const packet = outbox.begin();
        const start = this.#head(packet, run, State.succeeded, 4);
        this.#attributes(packet, start, run, writeValue(packet, value, rules));
      } while (!outbox.end(run));
    } catch (error) {
      outbox.abort();
      this.failure(run, failureOf(error, true));
    }
  }

  /** A success with a body that is written already; without one the item ends here. */
  body(run: Run, body: Buffer | undefined, compressed: boolean): void {
    const { outbox } = this.#link;
    do {
      const packet = outbox.begin();
      if (body === undefined) {
        this.#bare(packet, run, State.succeeded);
        continue;
      }
      const start = this.#head(packet, run, State.succeeded, 4);
      writeRaw(packet, body);
      this.#attributes(packet, start, run, compressed);
    } while (!outbox.end(run));
  }

  cancelled(run: Run): void {
    const { outbox } = this.#link;
    do this.#bare(outbox.begin(), run, State.cancelled);
    while (!outbox.end(run));
  }

  /** Puts a run off: no result, but its end. */
  deferred(run: Run, after: number): void {
    const { outbox } = this.#link;
    do {
      const { writer } = outbox.begin();
      writer.array(3);
      writer.int(Kind.defer);
      writer.int(run.handle);
      writer.int(after);
    } while (!outbox.end(run));
  }

  failure(run: Run, failure: Failure): void {
    if (failure.defer !== undefined) {
      this.deferred(run, failure.defer);
      return;
    }
    const { outbox } = this.#link;
    try {
      do this.#writeFailure(outbox.begin(), run, failure);
      while (!outbox.end(run));
    } catch (error) {
      if (!(error instanceof TooLarge)) throw error;
      // The broker's limit of a packet is smaller than a stack may be.
      const message = failure.message.slice(0, SHORT_MESSAGE).toWellFormed();
      do this.#writeFailure(outbox.begin(), run, { ...failure, message, stack: undefined });
      while (!outbox.end(run));
    }
  }

  #writeFailure(packet: Packet<Run>, run: Run, failure: Failure): void {
    this.#head(packet, run, State.failed, 5);
    const { writer } = packet;
    writer.nil();
    const { cost } = run;
    writer.map(1 + Number(failure.noRetry) + Number(failure.crashed) + Number(cost !== undefined));
    writer.int(Attribute.error);
    writer.value(errorMap(failure));
    if (failure.noRetry) {
      writer.int(Attribute.noRetry);
      writer.bool(true);
    }
    if (failure.crashed) {
      writer.int(Attribute.crashed);
      writer.bool(true);
    }
    if (cost !== undefined) {
      writer.int(Attribute.cost);
      writer.int(cost);
    }
  }

  /** Begins a result of `elements` elements; returns where, for one that gets more. */
  #head(packet: Packet<Run>, run: Run, state: number, elements: number): number {
    const { writer } = packet;
    const start = writer.pos;
    writer.array(elements);
    writer.int(Kind.result);
    writer.int(run.handle);
    writer.int(state);
    return start;
  }

  /** A result without a body. */
  #bare(packet: Packet<Run>, run: Run, state: number): void {
    const start = this.#head(packet, run, state, 3);
    if (run.cost === undefined) return;
    packet.writer.nil();
    this.#attributes(packet, start, run, false);
  }

  /** What goes behind the body of a result that begins at `start`; mostly nothing. */
  #attributes(packet: Packet<Run>, start: number, run: Run, compressed: boolean): void {
    const { cost } = run;
    if (!compressed && cost === undefined) return;
    const { writer } = packet;
    writer.buf[start] = 0x95;
    writer.map(Number(compressed) + Number(cost !== undefined));
    if (compressed) {
      writer.int(Attribute.compression);
      writer.int(1);
    }
    if (cost !== undefined) {
      writer.int(Attribute.cost);
      writer.int(cost);
    }
  }

  /**
   * Writes the results of an old session's packet again, for the runs that have a handle in the new
   * one. All else in it was about the old session.
   */
  again(packet: Packet<Run>, hasHandle: (run: Run) => boolean): void {
    const frames = [Buffer.alloc(0), ...packet.bodies];
    let next = 0;
    const reader = new Reader(packet.recordBuffer);
    const place = new BodyPlace();
    while (!reader.atEnd) {
      const elements = reader.array();
      const kind = reader.int();
      if (kind === Kind.defer) {
        const run = packet.owners[next++];
        reader.int(); // the old handle
        const after = reader.int();
        if (hasHandle(run)) this.deferred(run, after);
        continue;
      }
      if (kind !== Kind.result) {
        for (let i = 1; i < elements; i++) reader.skip(1);
        continue;
      }
      const run = packet.owners[next++];
      reader.int(); // the old handle
      const state = reader.int();
      place.clear();
      if (elements > 3) place.locate(reader, frames);
      const attributesAt = reader.pos;
      for (let i = 4; i < elements; i++) reader.skip(1);
      if (!hasHandle(run)) continue;
      const attributes = reader.buf.subarray(attributesAt, reader.pos);
      const { outbox } = this.#link;
      do {
        const target = outbox.begin();
        this.#head(target, run, state, elements);
        if (elements < 4) continue;
        if (place.buf === undefined) target.writer.nil();
        else writeRaw(target, place.buf.subarray(place.start, place.end));
        target.writer.raw(attributes);
      } while (!outbox.end(run));
    }
  }
}
