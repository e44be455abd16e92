/**
 * The session with the broker: hello and welcome, packet numbers, acknowledgements, and sending again
 * what a lost connection swallowed. Client and worker stand on top of it as its `Peer`.
 *
 * One thread; nothing here waits or blocks.
 */
import { randomBytes } from "node:crypto";
import { Connection } from "./connection.js";
import { BodyError, brokerError } from "./errors.js";
import { LANGUAGE, processFields, SDK } from "./identity.js";
import { Reader } from "./msgpack/reader.js";
import { Writer } from "./msgpack/writer.js";
import { headerBytes, Outbox, type Packet } from "./packet.js";
import { type Peer, readWelcome, type Welcome } from "./peer.js";
import { RecordEnds } from "./scan.js";
import { DEFAULT_LIMITS, FIRST_IGNORABLE_KIND, Kind, type Limits, VERSION } from "./wire.js";

/** The protocol allows 50 ms and 64 packets until what arrived is acknowledged. */
const ACK_DELAY = 40;
const ACK_PACKETS = 64;
/** A hello without an answer is said again. The broker answers a second one with the same welcome. */
const HELLO_AGAIN = 2000;
const HELLO_RETRY = 10;
/** After bye the socket is made anew; not at once, for the broker may be about to leave. */
const REOPEN_DELAY = 100;
/** Without a welcome here, when a broker named others, in ms; and how many of them are heard. */
const ELSEWHERE_AFTER = 5000;
const ELSEWHERE_MOST = 16;
/** A packet with a large body that lost its connection so often is taken to be the cause. */
const MAX_DISCONNECTS = 3;
/** Errors in answer to hello that pass: it is said again. */
const PASSING: ReadonlySet<string> = new Set(["busy", "full", "shutting_down", "timeout"]);

type LinkState = "closed" | "down" | "greeting" | "up";

export class Link<T> {
  readonly url: string;
  /** The first is where it connects now, the next where it goes from there. */
  #urls: string[];
  /** The broker goes and has named others. */
  #leavingForOthers = false;
  readonly outbox = new Outbox<T>();
  readonly #peer: Peer<T>;
  readonly #elsewhereAfter: number;
  readonly #identity: Record<string, unknown>;
  #connection: Connection | undefined;
  #state: LinkState = "closed";
  #connected = false;
  /** When the link was last up, or was opened; performance.now(). */
  downSince = 0;

  #session = 0;
  #epoch = 0;
  #lastSeq = 0;
  #received = 0;
  #ackSent = 0;
  /** Sent and not acknowledged, oldest first. */
  #kept: Packet<T>[] = [];
  #keptBytes = 0;
  /** Acknowledged by the packet that is being read. */
  #arrived: Packet<T>[] = [];
  /** goaway was read: the broker takes no new submits. */
  leaving = false;

  #gapExpected = 0;
  #gapsToSkip = 0;

  #welcome: Welcome | undefined;
  #flushQueued = false;
  #ackTimer: NodeJS.Timeout | undefined;
  #helloTimer: NodeJS.Timeout | undefined;
  #reopenTimer: NodeJS.Timeout | undefined;
  #elsewhereTimer: NodeJS.Timeout | undefined;
  readonly #reader = new Reader(Buffer.alloc(0));
  readonly #ends = new RecordEnds();

  constructor(
    url: string,
    peer: Peer<T>,
    name: string | undefined,
    elsewhereAfter: number = ELSEWHERE_AFTER,
  ) {
    this.url = url;
    this.#urls = [url];
    this.#peer = peer;
    this.#elsewhereAfter = elsewhereAfter;
    this.#identity = {
      language: LANGUAGE,
      sdk: SDK,
      acks: true,
      ...(name === undefined ? {} : { name }),
      ...processFields(),
    };
  }

  get isUp(): boolean {
    return this.#state === "up";
  }

  get isOpen(): boolean {
    return this.#state !== "closed";
  }

  get limits(): Readonly<Limits> {
    return this.#welcome?.limits ?? DEFAULT_LIMITS;
  }

  /** What the last welcome said, if there was one. */
  get welcome(): Welcome | undefined {
    return this.#welcome;
  }

  /** Bytes that wait to be sent or acknowledged. */
  get outstandingBytes(): number {
    return this.#keptBytes + this.outbox.bytes;
  }

  /** Whether everything that was sent has arrived. */
  get isSettled(): boolean {
    return this.#kept.length === 0 && this.outbox.isEmpty;
  }

  /** Begins to connect. @throws Error if the URL makes no sense */
  open(): void {
    if (this.#state !== "closed") return;
    // A socket of its own is an instance of its own.
    this.#identity.instance = randomBytes(16);
    this.#connection = this.#connect();
    this.#state = "down";
    this.#connected = false;
    this.downSince = performance.now();
    this.#elsewhereLater();
  }

  #connect(): Connection {
    for (;;) {
      try {
        return new Connection(this.#urls[0], {
          connected: () => this.#onConnected(),
          disconnected: () => this.#onDisconnected(),
          received: (frames) => {
            this.#onPacket(frames);
            this.#arrived = [];
          },
        });
      } catch (error) {
        if (this.#urls.length === 1) throw error;
        this.#urls.shift(); // it makes no sense to libzmq; the first one did
      }
    }
  }

  /** Says bye, if there is a session, and ends the connection. What was flushed is still delivered. */
  close(): void {
    if (this.#state === "up") {
      const packet = this.outbox.begin();
      packet.writer.array(1);
      packet.writer.int(Kind.bye);
      this.outbox.end();
      this.flush();
    }
    this.#shut();
    this.#session = 0;
    this.#forgetSession();
  }

  #shut(): void {
    clearTimeout(this.#ackTimer);
    clearTimeout(this.#helloTimer);
    clearTimeout(this.#reopenTimer);
    clearTimeout(this.#elsewhereTimer);
    this.#ackTimer = undefined;
    this.#connection?.close();
    this.#connection = undefined;
    this.#connected = false;
    this.#state = "closed";
  }

  #forgetSession(): void {
    this.#lastSeq = 0;
    this.#received = 0;
    this.#ackSent = 0;
    this.#kept = [];
    this.#keptBytes = 0;
    this.leaving = false;
  }

  // ---- connection ----

  #onConnected(): void {
    if (this.#state === "closed") return;
    this.#connected = true;
    this.#greet();
  }

  #onDisconnected(): void {
    if (this.#state === "closed") return;
    this.#connected = false;
    for (const packet of this.#kept) {
      if (packet.bodies.some((body) => body.length > this.limits.frame)) packet.disconnects++;
    }
    if (this.#leavingForOthers) {
      this.#startAnew(true);
      return;
    }
    this.#goDown();
    this.#elsewhereLater();
  }

  #goDown(): void {
    clearTimeout(this.#helloTimer);
    if (this.#state === "up") this.downSince = performance.now();
    this.#state = "down";
    this.#peer.disconnected();
  }

  #greet(): void {
    if (this.#state === "up") this.#goDown();
    this.#state = "greeting";
    const resuming = this.#session !== 0;
    const fields = {
      ...this.#identity,
      ...this.#peer.hello(resuming),
      ...(resuming ? { session: this.#session, ack: this.#received } : {}),
    };
    const writer = new Writer();
    writer.array(3);
    writer.int(Kind.hello);
    writer.int(VERSION);
    writer.value(fields);
    clearTimeout(this.#helloTimer);
    const again = () => {
      if (this.#state === "greeting" && this.#connected) this.#greet();
    };
    // The monitor may tell of a connection just before the socket can send on it.
    this.#connection?.send([writer.buf.subarray(0, writer.pos)], () => {
      clearTimeout(this.#helloTimer);
      this.#helloTimer = setTimeout(again, HELLO_RETRY).unref();
    });
    this.#helloTimer = setTimeout(again, HELLO_AGAIN).unref();
  }

  /** The broker leaves. What runs may still end there, so that its bye is waited for. */
  #onGoaway(endpoints: unknown): void {
    this.leaving = true;
    const named = (Array.isArray(endpoints) ? endpoints : []).slice(0, ELSEWHERE_MOST);
    const elsewhere = named.filter((url): url is string => typeof url === "string");
    if (elsewhere.length === 0) return;
    this.#leavingForOthers = true;
    // The URL that it was given comes last: for when none of these answers.
    this.#urls = [...new Set([this.#urls[0], ...elsewhere, this.url])];
  }

  /** Sees to it that the next broker is tried when this one stays away. */
  #elsewhereLater(): void {
    clearTimeout(this.#elsewhereTimer);
    if (this.#urls.length === 1) return;
    this.#elsewhereTimer = setTimeout(() => this.#startAnew(true), this.#elsewhereAfter).unref();
  }

  /**
   * Ends the session that the broker ended, and begins another one on a new socket; `elsewhere`: with the
   * next broker, if one has named others.
   */
  #startAnew(elsewhere: boolean): void {
    if (elsewhere) this.#urls.push(this.#urls.shift()!);
    this.#leavingForOthers = false;
    this.#session = 0;
    const wasUp = this.#state === "up";
    this.#shut();
    this.#state = "down";
    if (wasUp) this.downSince = performance.now();
    this.#peer.disconnected();
    this.#reopenTimer = setTimeout(() => {
      const since = this.downSince;
      this.#state = "closed";
      this.open();
      this.downSince = since;
    }, REOPEN_DELAY);
  }

  // ---- sending ----

  /** Sends what waits, at the end of this turn of the event loop: what comes together goes together. */
  flushSoon(): void {
    if (this.#flushQueued || this.#state !== "up") return;
    this.#flushQueued = true;
    setImmediate(this.#flushNow);
  }

  readonly #flushNow = (): void => {
    this.#flushQueued = false;
    this.flush();
  };

  /** Sends what waits now, as far as the broker's limits allow. */
  flush(): void {
    if (this.#state !== "up") return;
    for (let packet = this.outbox.first(); packet !== undefined; packet = this.outbox.first()) {
      // At the bound the rest waits for acknowledgements.
      const full = this.#keptBytes + packet.bytes > this.limits.session_bytes;
      if (full && this.#kept.length > 0) return;
      this.outbox.shift();
      packet.seal(this.#session, ++this.#lastSeq, this.#received);
      this.#ackSent = this.#received;
      this.#kept.push(packet);
      this.#keptBytes += packet.bytes;
      this.#connection?.send(packet.frames);
    }
  }

  #sendAck(): void {
    if (this.#state !== "up") return;
    this.#ackSent = this.#received;
    const header = Buffer.from(headerBytes(this.#session, 0, this.#received));
    this.#connection?.send([header]);
  }

  readonly #ackLate = (): void => {
    this.#ackTimer = undefined;
    if (this.#received > this.#ackSent) this.#sendAck();
  };

  #sendAgainFrom(seq: number): void {
    for (const packet of this.#kept) {
      if (packet.seq < seq) continue;
      if (packet.disconnects >= MAX_DISCONNECTS) {
        this.#peer.undeliverable(packet);
        this.#keptBytes -= packet.bytes;
        packet.hollow(this.#session, this.#received);
        packet.disconnects = 0;
        this.#keptBytes += packet.bytes;
      }
      this.#connection?.send(packet.frames);
    }
  }

  #acknowledgedTo(seq: number): void {
    const kept = this.#kept;
    let n = 0;
    while (n < kept.length && kept[n].seq <= seq) {
      const packet = kept[n++];
      this.#keptBytes -= packet.bytes;
      this.#peer.acknowledged?.(packet);
    }
    if (n === 0) return;
    if (n === kept.length) {
      this.#arrived = kept;
      this.#kept = [];
    } else {
      this.#arrived = kept.splice(0, n);
    }
    if (!this.outbox.isEmpty) this.flush();
  }

  // ---- receiving ----

  #onPacket(frames: Buffer[]): void {
    if (this.#state === "closed") return;
    const records = frames[0];
    const reader = this.#reader;
    reader.reset(records);
    let counted = false;
    let count = 0;
    try {
      const length = reader.array();
      const kind = reader.int();
      if (kind === Kind.header) {
        const session = reader.int();
        const seq = reader.int();
        const ack = reader.int();
        if (session !== this.#session) return; // of one that is over: what was in it is sent anew
        this.#acknowledgedTo(ack);
        if (seq === 0) return;
        if (!this.#count(seq)) return;
        counted = true;
        for (let i = 4; i < length; i++) reader.skip(2);
      } else {
        reader.pos = 0;
      }
      count = this.#ends.scan(reader);
    } catch (error) {
      if (!(error instanceof BodyError)) throw error;
      this.sendError(0, "malformed", error.message, {});
      if (counted) this.#acknowledgeSoon();
      return;
    }
    this.#apply(reader, frames, count);
    if (counted) this.#acknowledgeSoon();
  }

  /** Whether the packet of this number is the next one. */
  #count(seq: number): boolean {
    if (seq === this.#received + 1) {
      this.#received = seq;
      return true;
    }
    if (seq > this.#received) {
      const expected = this.#received + 1;
      this.sendError(0, "gap", `packet ${expected} is missing before ${seq}`, { expected });
    } else {
      this.#sendAck();
    }
    return false;
  }

  #acknowledgeSoon(): void {
    const waiting = this.#received - this.#ackSent;
    if (waiting >= ACK_PACKETS) this.#sendAck();
    else if (waiting > 0) this.#ackTimer ??= setTimeout(this.#ackLate, ACK_DELAY).unref();
  }

  #apply(reader: Reader, frames: Buffer[], count: number): void {
    for (let i = 0; i < count; i++) {
      const end = this.#ends.at(i);
      try {
        const length = reader.array();
        this.#record(reader.int(), length, reader, frames);
      } catch (error) {
        if (!(error instanceof BodyError)) throw error;
        this.sendError(0, "malformed", `record ${i}: ${error.message}`, { record: i });
      }
      if (this.#connection === undefined) return; // a record ended the session
      // A handler may have read on; the record ends where it ended.
      reader.reset(frames[0], end);
    }
    this.#peer.packetEnd();
  }

  #record(kind: number, length: number, reader: Reader, frames: Buffer[]): void {
    switch (kind) {
      case Kind.ping: {
        const token = reader.int();
        if (this.#state !== "up") return;
        const { writer } = this.outbox.begin();
        writer.array(2);
        writer.int(Kind.pong);
        writer.int(token);
        this.outbox.end();
        this.flush();
        return;
      }
      case Kind.pong:
        return;
      case Kind.welcome:
        this.#onWelcome(length, reader);
        return;
      case Kind.goaway:
        if (length > 1) reader.str();
        this.#onGoaway(length > 2 ? reader.value() : undefined);
        return;
      case Kind.bye:
        this.#startAnew(this.#leavingForOthers);
        return;
      case Kind.error:
        this.#onError(length, reader);
        return;
      default:
    }
    if (this.#peer.record(kind, length, reader, frames)) return;
    if (kind >= FIRST_IGNORABLE_KIND) return;
    const ref = length > 1 && reader.peek() < 0x80 ? reader.int() : 0;
    this.sendError(ref, "unsupported", `kind ${kind} is unknown here`, { kind });
  }

  /** The number that the packet with the record written last will have. */
  get openPacket(): number {
    return this.#lastSeq + this.outbox.ahead + 1;
  }

  /** Tells the broker of an error; `ref` 0: about the session. */
  sendError(ref: number, code: string, message: string, details: Record<string, unknown>): void {
    if (this.#state !== "up") return;
    const { writer } = this.outbox.begin();
    writer.array(5);
    writer.int(Kind.error);
    writer.int(ref);
    writer.str(code);
    writer.str(message);
    writer.value(details);
    this.outbox.end();
    this.flushSoon();
  }

  #onError(length: number, reader: Reader): void {
    const ref = reader.int();
    const code = reader.str();
    const message = reader.str();
    const details = ((length > 4 ? reader.value() : undefined) ?? {}) as Record<string, unknown>;
    if (ref !== 0) {
      this.#peer.error(ref, code, message, details);
    } else if (code === "gap" && typeof details.expected === "number") {
      this.#onGap(details.expected);
    } else if (code === "stale_session") {
      // While greeting, the answer to something that was sent before hello.
      if (this.#state === "up" && this.#connected) this.#greet();
    } else if (this.#state === "greeting") {
      if (PASSING.has(code)) return; // hello is said again
      clearTimeout(this.#helloTimer);
      this.#peer.refused(brokerError(code, message, details));
    } else {
      const { packet } = details;
      const told =
        code === "malformed" &&
        typeof packet === "number" &&
        this.#peer.refusedPacket(packet, message, details);
      if (!told) this.#peer.complain(`the broker answers ${code}: ${message}`);
    }
  }

  /** Each packet behind a missing one is answered with a gap; sending again once serves them all. */
  #onGap(expected: number): void {
    if (expected === this.#gapExpected && this.#gapsToSkip > 0) {
      this.#gapsToSkip--;
      return;
    }
    this.#gapExpected = expected;
    this.#gapsToSkip = Math.max(0, this.#lastSeq - expected - 1);
    this.#sendAgainFrom(expected);
  }

  #onWelcome(length: number, reader: Reader): void {
    if (this.#state !== "greeting") return; // the answer to a hello that was said twice
    reader.int();
    const welcome = readWelcome(length > 2 ? reader.value() : undefined);
    clearTimeout(this.#helloTimer);
    clearTimeout(this.#elsewhereTimer);
    this.#leavingForOthers = false;
    const resumed = welcome.resumed && welcome.session === this.#session;
    this.#welcome = welcome;
    this.outbox.limits = welcome.limits;
    this.#state = "up";
    this.#session = welcome.session;
    this.#epoch = welcome.epoch;
    if (resumed) {
      this.leaving = false;
      this.#acknowledgedTo(welcome.ack);
      this.#sendAgainFrom(welcome.ack + 1);
    } else {
      // What was kept is the peer's to take: see takeOld.
      welcome.resumed = false;
      this.#lastSeq = 0;
      this.#received = 0;
      this.#ackSent = 0;
      this.leaving = false;
    }
    this.#peer.welcomed(welcome);
    this.flush();
  }

  /** The session's number; 0 before the first welcome. */
  get session(): number {
    return this.#session;
  }

  /** Random for each start of the broker; 0 before the first welcome. */
  get epoch(): number {
    return this.#epoch;
  }

  /**
   * The packets of the old session, for a peer that was told `resumed: false`, oldest first: those that
   * were not acknowledged and those that were not sent. The link forgets them.
   */
  takeOld(): Packet<T>[] {
    const old = this.#kept;
    this.#kept = [];
    this.#keptBytes = 0;
    for (let p = this.outbox.shift(); p !== undefined; p = this.outbox.shift()) old.push(p);
    return old;
  }

  /** The packet of this number, if it is not acknowledged or what is being read acknowledges it. */
  packet(seq: number): Packet<T> | undefined {
    return [...this.#arrived, ...this.#kept].find((packet) => packet.seq === seq);
  }

  /** The packets that are not acknowledged, oldest first, and those that were not sent. */
  outstanding(): Packet<T>[] {
    return [...this.#kept, ...this.outbox.packets()];
  }
}
