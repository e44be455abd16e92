/** Packets on their way out: records in one buffer, large bodies beside it as frames of their own. */
import { tooLarge } from "./errors.js";
import { Writer } from "./msgpack/writer.js";
import { DEFAULT_LIMITS, Kind, type Limits } from "./wire.js";

/** The header is written last, in front of the records, when session and numbers are known. */
const HEADER_ROOM = 32;

/** One packet. `T` is what its owner wants to find again with it, such as the runs it has results of. */
export class Packet<T> {
  readonly writer = new Writer();
  /** Bodies in frames of their own; the record says 1 for the first. */
  readonly bodies: Buffer[] = [];
  readonly owners: T[] = [];
  records = 0;
  /** Bytes of all frames. */
  bytes = 0;
  /** Its number within the session, once sent. */
  seq = 0;
  /** What went over the wire, once sent; sent again unchanged. */
  frames: Buffer[] = [];
  /** How often a connection ended before this packet was acknowledged. */
  disconnects = 0;

  constructor() {
    this.writer.pos = HEADER_ROOM;
  }

  get recordBytes(): number {
    return this.writer.pos - HEADER_ROOM;
  }

  /** The records, without a header. */
  get recordBuffer(): Buffer {
    return this.writer.buf.subarray(HEADER_ROOM, this.writer.pos);
  }

  /** Puts the header in front. Nothing may be added afterwards. */
  seal(session: number, seq: number, ack: number): void {
    this.seq = seq;
    const header = headerBytes(session, seq, ack);
    const start = HEADER_ROOM - header.length;
    const { buf, pos } = this.writer;
    buf.set(header, start);
    this.frames = [buf.subarray(start, pos), ...this.bodies];
  }

  /** Makes it a packet of the same number that holds a ping only. For one that can never arrive. */
  hollow(session: number, ack: number): void {
    this.writer.pos = HEADER_ROOM;
    this.writer.array(2);
    this.writer.int(Kind.ping);
    this.writer.int(this.seq);
    this.bodies.length = 0;
    this.owners.length = 0;
    this.seal(session, this.seq, ack);
    this.bytes = this.recordBytes;
  }
}

const headerWriter = new Writer(64);

/** `[0, session, seq, ack]`. The bytes are overwritten by the next call. */
export function headerBytes(session: number, seq: number, ack: number): Buffer {
  headerWriter.pos = 0;
  headerWriter.array(4);
  headerWriter.int(Kind.header);
  headerWriter.int(session);
  headerWriter.int(seq);
  headerWriter.int(ack);
  return headerWriter.buf.subarray(0, headerWriter.pos);
}

/**
 * Records that wait to be sent, already in packets that keep the limits.
 *
 *     do {
 *       const packet = outbox.begin();
 *       packet.writer.array(2); ...           // one record; if that throws: outbox.abort()
 *     } while (!outbox.end(owner));           // it did not fit: write it again, into a new packet
 */
export class Outbox<T> {
  limits: Readonly<Limits> = DEFAULT_LIMITS;
  readonly #full: Packet<T>[] = [];
  #open = new Packet<T>();
  #start = HEADER_ROOM;
  #startBodies = 0;
  #bytes = 0;

  /** Bytes of all packets that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#full.length === 0 && this.#open.records === 0;
  }

  /** How many packets go out before the one that took the last record. */
  get ahead(): number {
    return this.#full.length;
  }

  /** The packet that takes the next record. */
  begin(): Packet<T> {
    const { limits } = this;
    if (this.#open.records >= limits.records || this.#open.bodies.length >= limits.frames) {
      this.#close();
    }
    this.#start = this.#open.writer.pos;
    this.#startBodies = this.#open.bodies.length;
    return this.#open;
  }

  /** Takes back what was written since begin. */
  abort(): void {
    this.#open.writer.pos = this.#start;
    this.#open.bodies.length = this.#startBodies;
  }

  /**
   * Keeps the record written since begin; false if the packet has no room for it.
   *
   * @throws TooLarge if no packet has
   */
  end(owner?: T): boolean {
    const packet = this.#open;
    if (packet.recordBytes + HEADER_ROOM > this.limits.frame) {
      const size = packet.writer.pos - this.#start;
      this.abort();
      if (packet.records === 0) throw tooLarge("the record", size, "frame", this.limits.frame);
      this.#close();
      return false;
    }
    let added = packet.writer.pos - this.#start;
    for (let i = this.#startBodies; i < packet.bodies.length; i++) added += packet.bodies[i].length;
    packet.bytes += added;
    this.#bytes += added;
    packet.records++;
    if (owner !== undefined) packet.owners.push(owner);
    return true;
  }

  #close(): void {
    this.#full.push(this.#open);
    this.#open = new Packet<T>();
  }

  packets(): Packet<T>[] {
    return this.#open.records > 0 ? [...this.#full, this.#open] : [...this.#full];
  }

  /** The oldest packet that waits; it is not to be changed until it is shifted out. */
  first(): Packet<T> | undefined {
    return this.#full[0] ?? (this.#open.records > 0 ? this.#open : undefined);
  }

  /** Takes out the oldest packet. */
  shift(): Packet<T> | undefined {
    let packet = this.#full.shift();
    if (packet === undefined && this.#open.records > 0) {
      packet = this.#open;
      this.#open = new Packet<T>();
    }
    if (packet !== undefined) this.#bytes -= packet.bytes;
    return packet;
  }
}
