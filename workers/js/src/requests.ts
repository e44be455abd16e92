/**
 * The client's side of the protocol: requests out, answers in, and everything sent again that a new
 * session needs. `Client` is the face of it.
 */
import { isThenable } from "./batches.js";
import { Attributes, BodyPlace, writeRaw } from "./body.js";
import { inCodec } from "./codecs.js";
import { bringsTask, describe, endingError, hasId } from "./endings.js";
import { Busy, brokerError, Timeout, TuskError, tooLarge, Unavailable } from "./errors.js";
import { Link } from "./link.js";
import { compress } from "./lz4.js";
import type { Reader } from "./msgpack/reader.js";
import { Writer } from "./msgpack/writer.js";
import type { Packet } from "./packet.js";
import type { Peer, Welcome } from "./peer.js";
import { Deadlines, NO_ATTRIBUTES, nobody, Pending, type RequestAttributes } from "./pending.js";
import { writeAttributes } from "./request-attributes.js";
import { LOG_LEVELS } from "./terms.js";
import { writeUuid7 } from "./uuid.js";
import { Codec, Kind, Reply, State } from "./wire.js";

/** How long a caller waits before the broker has said what the default is, in ms. */
const FIRST_TIMEOUT = 5000;

/** What the events of topics go to. */
export interface EventSink {
  event(topic: string, sequence: number, body: BodyPlace, missed: number, retained: boolean): void;
  /** The broker ended the subscription to this topic or pattern. */
  unsubscribed(pattern: string, message: string): void;
}

const scratch = new Writer();
const place = new BodyPlace();
const attributes = new Attributes();

export class Requests implements Peer<never> {
  readonly link: Link<never>;
  readonly #events: EventSink;
  readonly #onWelcome: (welcome: Welcome) => void;
  readonly #pending = new Map<number, Pending>();
  readonly #deadlines = new Deadlines((pending) => this.#expire(pending));
  #lastRequest = 0;
  #parkedBytes = 0;
  #session = 0;
  /** The broker refused this client for good. */
  #refused: TuskError | undefined;

  /** Pushes that the broker has not answered, and those that wait for one of them to be. */
  #pushes = 0;
  readonly #heldPushes = new Set<Pending>();

  /** Called when the last request was answered. */
  onIdle: () => void = () => undefined;

  constructor(
    url: string,
    name: string | undefined,
    events: EventSink,
    onWelcome: (welcome: Welcome) => void,
    elsewhereAfter?: number,
  ) {
    this.#events = events;
    this.#onWelcome = onWelcome;
    this.link = new Link<never>(url, this, name, elsewhereAfter);
  }

  /** Requests whose answer somebody waits for, and how many of them were never sent. */
  get outstanding(): { requests: number; unsent: number } {
    let requests = 0;
    let unsent = 0;
    for (const pending of this.#pending.values()) {
      if (pending.done === nobody || pending.kind === Kind.subscribe) continue;
      requests++;
      if (pending.writtenIn === 0) unsent++;
    }
    return { requests, unsent };
  }

  get size(): number {
    return this.#pending.size;
  }

  get defaultTimeout(): number {
    return this.link.welcome?.timeout ?? FIRST_TIMEOUT;
  }

  /** An id (a new one unless given) and a body as one buffer. @throws BodyError, TooLarge, Busy */
  encode(id: Buffer | undefined, body: unknown): Buffer {
    scratch.pos = 16;
    try {
      scratch.value(body);
      const length = scratch.pos - 16;
      const { body: bound, session_bytes } = this.link.limits;
      if (length > bound) throw tooLarge("the body", length, "body", bound);
      const waiting = this.link.outstandingBytes + this.#parkedBytes;
      if (waiting > 0 && waiting + length > session_bytes) {
        throw new Busy(
          "busy",
          `${waiting} bytes are unacknowledged; the bound is ${session_bytes}`,
          {
            limit: "session_bytes",
            value: session_bytes,
          },
        );
      }
    } catch (error) {
      if (scratch.buf.length > LARGE) scratch.detach(0);
      throw error;
    }
    if (id === undefined) writeUuid7(scratch.buf, 0);
    else id.copy(scratch.buf);
    if (scratch.pos > LARGE) return scratch.detach(0);
    return Buffer.from(scratch.buf.subarray(0, scratch.pos));
  }

  /**
   * Begins a request. `bytes` is what `encode` made, or for a query its arguments; `timeout` in ms.
   */
  begin(
    kind: number,
    name: string,
    bytes: Buffer | undefined,
    options: Readonly<RequestAttributes>,
    timeout: number,
    done: (value: unknown) => void,
    failed: (error: TuskError) => void,
    accepted?: () => void,
  ): Pending {
    const pending = new Pending(++this.#lastRequest, kind, name, options, done, failed, accepted);
    pending.bytes = bytes;
    pending.resent = options.resent;
    if (this.#refused !== undefined) {
      failed(this.#refused);
      return pending;
    }
    this.link.open();
    this.#pending.set(pending.request, pending);
    this.#parkedBytes += pending.size;
    this.#deadlines.add(pending, timeout);
    if (this.link.isUp && !(this.link.leaving && kind === Kind.submit)) this.#send(pending);
    return pending;
  }

  /** Forgets a request whose caller went away; a task that was sent is cancelled. */
  abandon(pending: Pending, error: TuskError): void {
    if (this.#pending.get(pending.request) !== pending) return;
    if (pending.kind === Kind.submit && pending.writtenIn !== 0) this.cancel(pending.bytes!);
    this.#remove(pending);
    pending.failed(error);
  }

  /** Sends a cancel whose answer nobody waits for. */
  cancel(id: Buffer): void {
    const bytes = Buffer.from(id.subarray(0, 16));
    this.begin(Kind.cancel, "", bytes, NO_ATTRIBUTES, this.defaultTimeout, nobody, nobody);
  }

  /** So many further chunks of a task's stream may come. */
  credit(pending: Pending, chunks: number): void {
    if (!this.link.isUp || pending.writtenIn !== this.#session || !this.waits(pending)) return;
    const { outbox } = this.link;
    do {
      const { writer } = outbox.begin();
      writer.array(4);
      writer.int(Kind.credit);
      writer.int(pending.request);
      writer.bin(pending.bytes!.subarray(0, 16));
      writer.int(chunks);
    } while (!outbox.end());
    this.link.flushSoon();
  }

  /** Whether the request still waits. */
  waits(pending: Pending): boolean {
    return this.#pending.get(pending.request) === pending;
  }

  /** Fails all requests. */
  failAll(make: (pending: Pending) => TuskError): void {
    for (const pending of [...this.#pending.values()]) {
      this.#remove(pending);
      pending.failed(make(pending));
    }
  }

  #expire(pending: Pending): void {
    if (pending.patient && this.link.isUp) {
      this.#deadlines.add(pending, pending.timeout);
      return;
    }
    this.#remove(pending);
    pending.failed(this.#expired(pending));
  }

  #expired(pending: Pending): TuskError {
    const id = hasId(pending.kind) ? pending.id : undefined;
    const what = describe(pending);
    const { url } = this.link;
    if (!this.link.isUp) {
      const fate = pending.writtenIn === 0 ? "was not sent" : "was sent and may still be done";
      return new Unavailable(url, `no broker answers at ${url}; ${what} ${fate}`, id);
    }
    if (pending.writtenIn === 0) {
      return new Timeout(`${what} had no turn within its time`, id);
    }
    const waits = pending.kind === Kind.submit || pending.kind === Kind.await;
    const fate = waits ? "; the task goes on" : "";
    return new Timeout(`${what} has no answer within its time${fate}`, id);
  }

  #remove(pending: Pending): void {
    this.#pending.delete(pending.request);
    this.#deadlines.remove(pending);
    if (pending.parked) {
      this.#parkedBytes -= pending.size;
      this.#heldPushes.delete(pending);
    } else if (pending.kind === Kind.push) {
      this.#pushes--;
      this.#sendHeldPushes();
    }
    if (this.#pending.size === 0) this.onIdle();
  }

  // ---- sending ----

  /** Writes the request into a packet. What cannot be written fails. */
  #send(pending: Pending): void {
    if (pending.kind === Kind.push && this.#pushes >= this.link.limits.push_window) {
      this.#heldPushes.add(pending);
      return;
    }
    try {
      this.#write(pending);
    } catch (error) {
      if (!(error instanceof TuskError)) throw error;
      this.#remove(pending);
      if (hasId(pending.kind)) error.taskId = pending.id;
      pending.failed(error);
      return;
    }
    if (pending.parked) {
      pending.parked = false;
      this.#parkedBytes -= pending.size;
      this.#heldPushes.delete(pending);
      if (pending.kind === Kind.push) this.#pushes++;
    }
    if (pending.writtenIn !== 0 && bringsTask(pending.kind)) pending.resent = true;
    pending.writtenIn = this.#session;
    pending.packet = this.link.openPacket;
    this.link.flushSoon();
  }

  #sendHeldPushes(): void {
    if (!this.link.isUp) return;
    for (const pending of this.#heldPushes) {
      if (this.#pushes >= this.link.limits.push_window) return;
      this.#send(pending);
    }
  }

  #write(pending: Pending): void {
    const { outbox } = this.link;
    try {
      do this.#writeRecord(outbox.begin(), pending);
      while (!outbox.end());
    } catch (error) {
      outbox.abort();
      throw error;
    }
  }

  #writeRecord(packet: Packet<never>, pending: Pending): void {
    const { writer } = packet;
    const start = writer.pos;
    writer.array(3);
    writer.int(pending.kind);
    writer.int(pending.request);
    let elements = 3;
    switch (pending.kind) {
      case Kind.submit:
      case Kind.push:
        writer.bin(pending.bytes!.subarray(0, 16));
        writer.str(pending.name);
        this.#writeBody(packet, pending);
        elements = 5;
        break;
      case Kind.publish:
        writer.str(pending.name);
        this.#writeBody(packet, pending);
        elements = 4;
        break;
      case Kind.cancel:
      case Kind.await:
        writer.bin(pending.bytes!);
        break;
      case Kind.update:
        writer.bin(pending.bytes!.subarray(0, 16));
        elements = this.#writeChange(packet, pending);
        writer.buf[start] = 0x90 | elements; // its buffer may be another by now
        return;
      case Kind.query:
      case Kind.control:
        writer.str(pending.name);
        if (pending.bytes !== undefined) {
          writer.raw(pending.bytes);
          elements = 4;
        }
        break;
      default:
        writer.str(pending.name);
    }
    if (writeAttributes(writer, pending)) elements++;
    writer.buf[start] = 0x90 | elements;
  }

  /** An update behind its id: its attributes, and the body behind those. How many elements it has. */
  #writeChange(packet: Packet<never>, pending: Pending): number {
    const hasBody = pending.size > 16;
    if (hasBody) this.#prepare(pending);
    if (!writeAttributes(packet.writer, pending)) {
      if (!hasBody) return 3;
      packet.writer.map(0);
    }
    if (!hasBody) return 4;
    this.#writeWhole(packet, pending.body!);
    return 5;
  }

  #writeBody(packet: Packet<never>, pending: Pending): void {
    if (pending.bytes === undefined) {
      packet.writer.nil();
      return;
    }
    this.#prepare(pending);
    this.#writeWhole(packet, pending.body!);
  }

  /** Writes the body as the broker wants it, once; it was made before anybody asked the broker. */
  #prepare(pending: Pending): void {
    // Sent again, it must be the same bytes: another body under the same id is a conflict.
    if (pending.writtenIn !== 0 || pending.compressed || pending.codec !== Codec.msgpack) return;
    const { welcome } = this.link;
    if (welcome === undefined) return;
    const told = welcome.messages[bodiesOf(pending.kind)]?.get(pending.name);
    if (told?.codec !== undefined && told.codec !== Codec.msgpack) {
      this.#replaceBody(pending, inCodec(told.codec, pending.body!, pending.name));
      pending.codec = told.codec;
    }
    const from =
      told?.compress === undefined
        ? welcome.compressionThreshold
        : told.compress
          ? COMPRESS_FROM
          : Number.POSITIVE_INFINITY;
    const body = pending.body!;
    const smaller = body.length >= from ? compress(body) : undefined;
    if (smaller !== undefined) {
      this.#replaceBody(pending, smaller);
      pending.compressed = true;
    }
  }

  #replaceBody(pending: Pending, body: Buffer): void {
    const bytes = Buffer.concat([pending.bytes!.subarray(0, 16), body]);
    if (pending.parked) this.#parkedBytes += bytes.length - pending.size;
    pending.bytes = bytes;
  }

  #writeWhole(packet: Packet<never>, body: Buffer): void {
    const bound = this.link.limits.body;
    if (body.length > bound) throw tooLarge("the body", body.length, "body", bound);
    writeRaw(packet, body);
  }

  // ---- Peer ----

  hello(): Record<string, unknown> {
    return { role: "client" };
  }

  welcomed(welcome: Welcome): void {
    const fresh = !welcome.resumed;
    this.#session = welcome.session;
    if (fresh) {
      this.link.takeOld();
      this.#pushes = 0;
    }
    for (const pending of [...this.#pending.values()]) {
      if (!fresh && !pending.parked) continue;
      if (fresh && pending.kind === Kind.publish && pending.writtenIn !== 0) {
        // Events are at most once, and this one may have reached its subscribers.
        this.#remove(pending);
        const { url } = this.link;
        const message = `the broker at ${url} lost the session; ${describe(pending)} may have been done`;
        pending.failed(new Unavailable(url, message));
        continue;
      }
      if (fresh && !pending.parked) {
        pending.parked = true;
        this.#parkedBytes += pending.size;
      }
      pending.packet = 0;
      if (pending.writtenIn !== 0) pending.resubmitted?.();
      this.#send(pending);
    }
    this.#onWelcome(welcome);
  }

  disconnected(): void {
    // Whoever waits goes on waiting, until its time is over.
  }

  packetEnd(): void {
    // Callers were told with each record.
  }

  refused(error: TuskError): void {
    this.#refused = error;
    this.failAll(() => error);
    this.link.close();
  }

  complain(message: string): void {
    process.emitWarning(message, { type: "TuskWarning" });
  }

  undeliverable(packet: Packet<never>): void {
    for (const pending of [...this.#pending.values()]) {
      if (
        pending.size === 0 ||
        !packet.bodies.some((body) => body.buffer === pending.bytes!.buffer)
      ) {
        continue;
      }
      this.#remove(pending);
      const error = tooLarge("the body", pending.size - 16, "body", this.link.limits.body);
      error.taskId = hasId(pending.kind) ? pending.id : undefined;
      pending.failed(error);
    }
  }

  refusedPacket(packet: number, message: string, details: Record<string, unknown>): boolean {
    const asked = [...this.#pending.values()].filter((pending) => pending.packet === packet);
    for (const pending of asked) this.error(pending.request, "malformed", message, details);
    return asked.length > 0;
  }

  error(ref: number, code: string, message: string, details: Record<string, unknown>): void {
    const pending = this.#pending.get(ref);
    if (pending === undefined) return;
    if (code === "shutting_down") {
      // This is no ending: it is submitted again, by its id, when a broker is back.
      if (!pending.parked) {
        pending.parked = true;
        this.#parkedBytes += pending.size;
        if (pending.kind === Kind.push) this.#pushes--;
      }
      return;
    }
    this.#remove(pending);
    pending.failed(
      brokerError(code, message, details, hasId(pending.kind) ? pending.id : undefined),
    );
  }

  record(kind: number, length: number, reader: Reader, frames: Buffer[]): boolean {
    switch (kind) {
      case Kind.result:
        this.#onResult(length, reader, frames);
        return true;
      case Kind.accepted: {
        const pending = this.#pending.get(reader.int());
        if (pending === undefined) return true;
        if (pending.kind === Kind.submit && pending.attributes.reply === Reply.both) {
          pending.accepted?.();
          return true;
        }
        this.#remove(pending);
        pending.done(undefined);
        return true;
      }
      case Kind.answer: {
        const pending = this.#pending.get(reader.int());
        if (pending === undefined) return true;
        const value = reader.value();
        this.#remove(pending);
        pending.done(value);
        return true;
      }
      case Kind.chunk:
        this.#onChunk(length, reader, frames);
        return true;
      case Kind.progress:
        this.#onProgress(length, reader, frames);
        return true;
      case Kind.log:
        this.#onLog(length, reader);
        return true;
      case Kind.event: {
        const sequence = reader.int();
        const topic = reader.str();
        place.locate(reader, frames);
        attributes.clear();
        if (length > 4) attributes.read(reader);
        place.codec = attributes.codec;
        place.compressed = attributes.compressed;
        this.#events.event(topic, sequence, place, attributes.missed, attributes.retained);
        return true;
      }
      case Kind.unsubscribed:
        this.#events.unsubscribed(reader.str(), reader.str());
        return true;
      default:
        return false;
    }
  }

  #onChunk(length: number, reader: Reader, frames: Buffer[]): void {
    const stream = this.#pending.get(reader.int())?.stream;
    if (stream === undefined) return;
    place.clear();
    place.locate(reader, frames);
    attributes.clear();
    if (length > 3) attributes.read(reader);
    place.codec = attributes.codec;
    place.compressed = attributes.compressed;
    const { attempt = 1, index = 0 } = attributes;
    stream.chunk(place, attempt, index, this.link.limits.body);
  }

  #onProgress(length: number, reader: Reader, frames: Buffer[]): void {
    const pending = this.#pending.get(reader.int());
    const onProgress = pending?.attributes.terms?.onProgress;
    if (onProgress === undefined) return;
    place.clear();
    if (length > 2) place.locate(reader, frames);
    attributes.clear();
    if (length > 3) attributes.read(reader);
    place.codec = attributes.codec;
    place.compressed = attributes.compressed;
    const { attempt } = attributes;
    this.#callBack("onProgress", pending!, () =>
      onProgress(place.read(this.link.limits.body), attempt ?? 0),
    );
  }

  #onLog(length: number, reader: Reader): void {
    const pending = this.#pending.get(reader.int());
    const onLog = pending?.attributes.terms?.onLog;
    if (onLog === undefined) return;
    const level = LOG_LEVELS[reader.int() - 1] ?? "info";
    const text = reader.str();
    attributes.clear();
    if (length > 4) attributes.read(reader);
    const { attempt } = attributes;
    this.#callBack("onLog", pending!, () => onLog(level, text, attempt ?? 0));
  }

  /** A callback that throws is no reason for anything but a word. */
  #callBack(name: string, pending: Pending, call: () => unknown): void {
    const failed = (error: unknown) => {
      const told = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.complain(`${name} of ${describe(pending)} threw: ${told}`);
    };
    try {
      const result = call();
      if (isThenable(result)) result.then(undefined, failed);
    } catch (error) {
      failed(error);
    }
  }

  #onResult(length: number, reader: Reader, frames: Buffer[]): void {
    const pending = this.#pending.get(reader.int());
    if (pending === undefined) return; // its caller went away
    const state = reader.int();
    place.clear();
    if (length > 3) place.locate(reader, frames);
    attributes.clear();
    if (length > 4) attributes.read(reader);
    place.codec = attributes.codec;
    place.compressed = attributes.compressed;
    this.#remove(pending);
    pending.joined = attributes.task;
    pending.chunks = attributes.chunks;
    pending.attempt = attributes.attempt;
    if (state !== State.succeeded) {
      pending.failed(endingError(pending, state, attributes));
      return;
    }
    let value: unknown;
    try {
      if (attributes.unsupported !== undefined) {
        throw brokerError("unsupported", `attribute ${attributes.unsupported} is unknown here`, {
          attribute: attributes.unsupported,
        });
      }
      value = place.read(this.link.limits.body);
    } catch (error) {
      if (!(error instanceof TuskError)) throw error;
      error.taskId = pending.id;
      pending.failed(error);
      return;
    }
    pending.done(value);
  }
}

/** Bodies of at least so many bytes are compressed where the broker wants them to be. */
const COMPRESS_FROM = 64;

/** What a welcome calls that for which such a request has a body. */
function bodiesOf(kind: number): string {
  switch (kind) {
    case Kind.submit:
      return "types";
    case Kind.push:
      return "stages";
    case Kind.publish:
      return "topics";
    default:
      return "";
  }
}

/** Bodies beyond this are handed over with their buffer; smaller ones are copied out of it. */
const LARGE = 64 * 1024;
