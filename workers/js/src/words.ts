/** What runs say of themselves, on its way to the broker. */
import { writeBytes, writeRaw } from "./body.js";
import type { Family } from "./children.js";
import type { Word } from "./context.js";
import type { Link } from "./link.js";
import type { Packet } from "./packet.js";
import type { Run } from "./run.js";
import { Attribute, Kind } from "./wire.js";

/** Without a connection so many words wait, each of so many bytes at most: they are at most once. */
const MOST_WAITING = 1000;
const LONGEST_WAITING = 8 * 1024;
/** A handler that computes does not let the socket have its turn; after so many ms it is sent at once. */
const FLUSH_EVERY = 1;

export class Words {
  readonly #link: Link<Run>;
  readonly #lend: (run: Run) => void;
  /** What the runs submit their children by. */
  readonly family: Family;
  /** For when there is a session again. */
  #waiting: { run: Run; word: Word }[] = [];
  #flushed = 0;

  /** `lend` is told of a run that waits and does not take its slot. */
  constructor(link: Link<Run>, family: Family, lend: (run: Run) => void) {
    this.#link = link;
    this.family = family;
    this.#lend = lend;
  }

  get limits() {
    return this.#link.limits;
  }

  /** Only for runs that go on. */
  say(run: Run, word: Word): void {
    const link = this.#link;
    if (word.kind === Kind.checkpoint) {
      run.saved = word.body ?? null;
    } else if (word.kind === Kind.suspend) {
      run.awaited = word.ids;
      this.#lend(run);
    }
    if (!link.isUp || link.outstandingBytes > link.limits.session_bytes) {
      this.#keep(run, word);
      return;
    }
    this.#write(run, word);
    const now = performance.now();
    if (now - this.#flushed >= FLUSH_EVERY) {
      this.#flushed = now;
      link.flush();
    } else {
      link.flushSoon();
    }
  }

  #keep(run: Run, word: Word): void {
    if (word.kind === Kind.checkpoint) {
      const same = this.#waiting.find((w) => w.run === run && w.word.kind === Kind.checkpoint);
      if (same === undefined) this.#waiting.push({ run, word });
      else same.word = word;
      return;
    }
    if (word.kind === Kind.suspend || word.kind === Kind.chunk) {
      this.#waiting.push({ run, word }); // no more of them than runs, or than they have credit
      return;
    }
    const size = word.kind === Kind.progress ? (word.body?.length ?? Infinity) : 0;
    if (size > LONGEST_WAITING || this.#waiting.length >= MOST_WAITING) return;
    this.#waiting.push({ run, word });
  }

  /** Before a run's result: what it said comes first. */
  ending(run: Run): void {
    if (this.#waiting.length === 0) return;
    const mine = this.#waiting.filter((w) => w.run === run);
    if (mine.length === 0) return;
    this.#waiting = this.#waiting.filter((w) => w.run !== run);
    for (const { word } of mine) this.#write(run, word);
  }

  /** Of runs that go on; `anew`: the broker does not know them, and is told what they saved. */
  welcomed(runs: Iterable<Run>, anew: boolean): void {
    if (anew) {
      this.#waiting = this.#waiting.filter(({ word }) => word.kind !== Kind.suspend);
      for (const run of runs) {
        if (run.awaited !== undefined) this.#write(run, { kind: Kind.suspend, ids: run.awaited });
        const saved = run.saved === undefined ? run.checkpointGiven : (run.saved ?? undefined);
        const word: Word = { kind: Kind.checkpoint, body: saved };
        if (saved !== undefined) this.#write(run, word);
      }
    }
    this.catchUp();
  }

  /** Writes what waits, if it may be written now. */
  catchUp(): void {
    const link = this.#link;
    if (this.#waiting.length === 0) return;
    if (!link.isUp || link.outstandingBytes > link.limits.session_bytes) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { run, word } of waiting) {
      const isOver = word.kind === Kind.suspend && run.awaited !== word.ids;
      if (run.goesOn && !isOver) this.#write(run, word);
    }
    link.flushSoon();
  }

  #write(run: Run, word: Word): void {
    const { outbox } = this.#link;
    do {
      const packet = outbox.begin();
      const { writer } = packet;
      if (word.kind === Kind.chunk) {
        this.#writeChunk(packet, run, word.body);
        continue;
      }
      const isBeat = word.kind === Kind.progress && word.body === undefined;
      writer.array(isBeat ? 2 : word.kind === Kind.log ? 4 : 3);
      writer.int(word.kind);
      writer.int(run.handle);
      if (word.kind === Kind.log) {
        writer.int(word.level);
        writer.str(word.text);
      } else if (word.kind === Kind.suspend) {
        writer.array(word.ids.length);
        for (const id of word.ids) writer.bin(id);
      } else if (word.kind === Kind.pause) {
        writer.int(word.duration);
      } else if (word.body !== undefined) {
        const { buffer, byteOffset, byteLength } = word.body;
        writeRaw(packet, Buffer.from(buffer, byteOffset, byteLength));
      } else if (!isBeat) {
        writer.nil();
      }
    } while (!outbox.end());
  }

  #writeChunk(packet: Packet<Run>, run: Run, body: Uint8Array): void {
    const { writer } = packet;
    const start = writer.pos;
    writer.array(3);
    writer.int(Kind.chunk);
    writer.int(run.handle);
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    const { limits, welcome } = this.#link;
    const compressionThreshold = welcome?.compressionThreshold ?? Number.POSITIVE_INFINITY;
    if (!writeBytes(packet, bytes, { limit: limits.body, compressionThreshold })) return;
    writer.buf[start] = 0x94;
    writer.map(1);
    writer.int(Attribute.compression);
    writer.int(1);
  }
}
