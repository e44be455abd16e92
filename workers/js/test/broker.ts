/**
 * A broker for tests: a real ROUTER socket that speaks TUSK/1 as far as a test needs it, and that does
 * on request what a real broker seldom does. It reads with another msgpack library than the SDK.
 */
import { decodeMulti } from "@msgpack/msgpack";
import { Router } from "zeromq";
import { Writer } from "../src/msgpack/writer.js";
import { Kind } from "../src/wire.js";

// records are looked at element by element
export type Rec = any[];

export interface Received {
  peer: TestPeer;
  record: Rec;
  bodies: Buffer[];
}

export class TestPeer {
  // as on the wire
  hello: any;
  session = 0;
  sent = 0;
  received = 0;
  acked = 0;
  kept: { seq: number; frames: Buffer[] }[] = [];

  constructor(public identity: Buffer) {}
}

export interface Script {
  /** Changes to welcome's fields. */
  welcome?: (peer: TestPeer, fields: Record<string, unknown>) => void;
  /** Sees every record first; true: it was dealt with. */
  record?: (received: Received, broker: TestBroker) => boolean | undefined;
  /** Sees every packet's frames before anything else; true: it is swallowed. */
  packet?: (identity: Buffer, frames: Buffer[], broker: TestBroker) => boolean | undefined;
}

export class TestBroker {
  url = "";
  epoch = 1;
  /** Whether each packet is acknowledged at once; else none is. */
  acknowledges = true;
  script: Script = {};
  readonly log: Received[] = [];
  sessions = new Map<number, TestPeer>();
  #router: Router | undefined;
  #nextSession = 1000;
  #byIdentity = new Map<string, TestPeer>();
  #waiters = new Set<() => void>();

  static async start(script: Script = {}): Promise<TestBroker> {
    const broker = new TestBroker();
    broker.script = script;
    await broker.bind("tcp://127.0.0.1:*");
    return broker;
  }

  async bind(url: string): Promise<void> {
    const router = new Router({ linger: 0, sendHighWaterMark: 0 });
    try {
      await router.bind(url);
    } catch (error) {
      router.close();
      throw error;
    }
    this.url = router.lastEndpoint!;
    this.#router = router;
    this.#byIdentity.clear();
    void this.#read(router);
  }

  /** All connections end; sessions stay. The same URL again after `again`. */
  async cut(): Promise<void> {
    this.#router?.close();
    this.#router = undefined;
  }

  async again(): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        await this.bind(this.url);
        return;
      } catch (error) {
        // The old socket is closed by another thread.
        if (tries === 500) throw error;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  }

  /** As a broker that was killed and started again: it knows nothing. */
  async restart(): Promise<void> {
    await this.cut();
    this.sessions.clear();
    this.epoch++;
    await this.again();
  }

  async stop(): Promise<void> {
    await this.cut();
  }

  /** Resolves when `condition` holds; it is looked at after each packet. */
  async until<T>(condition: () => T | undefined | false, what = "a condition"): Promise<T> {
    const found = condition();
    if (found) return found;
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(look);
        reject(new Error(`waited 15 s for ${what}`));
      }, 15_000);
      const look = () => {
        const value = condition();
        if (!value) return;
        clearTimeout(timer);
        this.#waiters.delete(look);
        resolve(value);
      };
      this.#waiters.add(look);
    });
  }

  /** The first record of this kind, or the `n`th. */
  record(kind: number, n = 0): Promise<Received> {
    return this.until(
      () => this.log.filter((r) => r.record[0] === kind)[n],
      `record ${n} of kind ${kind}`,
    );
  }

  /** Sends records in one packet of the peer's session. */
  send(peer: TestPeer, records: Rec[], bodies: Buffer[] = []): void {
    const seq = ++peer.sent;
    const header = [Kind.header, peer.session, seq, this.acknowledges ? peer.received : 0];
    const frames = [encode([header, ...records]), ...bodies];
    peer.kept.push({ seq, frames });
    this.raw(peer.identity, frames);
  }

  raw(identity: Buffer, frames: Buffer[]): void {
    this.#router?.send([identity, ...frames]).catch(() => undefined);
  }

  async #read(router: Router): Promise<void> {
    for (;;) {
      let frames: Buffer[];
      try {
        frames = await router.receive();
      } catch {
        return;
      }
      if (this.#router !== router) return;
      const identity = frames.shift()!;
      if (this.script.packet?.(identity, frames, this) !== true) this.#packet(identity, frames);
      for (const look of [...this.#waiters]) look();
    }
  }

  #packet(identity: Buffer, frames: Buffer[]): void {
    const records = [...decodeMulti(frames[0])] as Rec[];
    const bodies = frames.slice(1);
    const first = records[0];
    if (first[0] === Kind.hello) {
      this.#hello(identity, first);
      return;
    }
    const peer = this.#byIdentity.get(identity.toString("hex"));
    if (first[0] !== Kind.header || peer === undefined || first[1] !== peer.session) {
      this.raw(identity, [encode([[Kind.error, 0, "stale_session", "say hello"]])]);
      return;
    }
    peer.acked = Math.max(peer.acked, first[3]);
    peer.kept = peer.kept.filter((packet) => packet.seq > peer.acked);
    if (first[2] === 0) return;
    if (first[2] <= peer.received) return;
    if (first[2] > peer.received + 1) {
      const details = { expected: peer.received + 1 };
      this.send(peer, [[Kind.error, 0, "gap", "a packet is missing", details]]);
      return;
    }
    peer.received = first[2];
    for (const record of records.slice(1)) this.#record({ peer, record, bodies });
    if (this.acknowledges) {
      this.raw(identity, [encode([[Kind.header, peer.session, 0, peer.received]])]);
    }
  }

  #hello(identity: Buffer, record: Rec): void {
    const fields = record[2];
    let peer = this.sessions.get(fields.session);
    const resumed = peer !== undefined;
    if (peer === undefined) {
      peer = new TestPeer(identity);
      peer.session = this.#nextSession++;
      this.sessions.set(peer.session, peer);
    }
    peer.identity = identity;
    peer.hello = fields;
    this.#byIdentity.set(identity.toString("hex"), peer);
    this.log.push({ peer, record, bodies: [] });
    const welcome: Record<string, unknown> = {
      session: peer.session,
      epoch: this.epoch,
      resumed,
      ack: peer.received,
      limits: {},
      timeout: 5000,
      compression: "lz4",
      compression_threshold: 4096,
      claims: [],
    };
    this.script.welcome?.(peer, welcome);
    this.raw(identity, [encode([[Kind.welcome, 1, welcome]])]);
    if (resumed) {
      for (const packet of peer.kept)
        if (packet.seq > fields.ack) this.raw(identity, packet.frames);
    }
  }

  #record(received: Received): void {
    this.log.push(received);
    if (this.script.record?.(received, this) === true) return;
    const { peer, record } = received;
    if (record[0] === Kind.ping) this.send(peer, [[Kind.pong, record[1]]]);
  }
}

/** Records as msgpack; maps with keys that are numbers come as Map. */
export function encode(records: Rec[]): Buffer {
  const writer = new Writer();
  for (const record of records) put(writer, record);
  return writer.detach(0);
}

function put(writer: Writer, value: unknown): void {
  if (value === undefined) throw new Error("undefined in a record");
  if (Array.isArray(value)) {
    writer.array(value.length);
    for (const item of value) put(writer, item);
  } else if (value instanceof Map) {
    writer.map(value.size);
    for (const [key, item] of value) {
      put(writer, key);
      put(writer, item);
    }
  } else if (value instanceof Uint8Array) {
    writer.bin(value);
  } else if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value);
    writer.map(entries.length);
    for (const [key, item] of entries) {
      writer.str(key);
      put(writer, item);
    }
  } else {
    writer.value(value);
  }
}

/** A value as a body. */
export function body(value: unknown): Buffer {
  const writer = new Writer();
  writer.value(value);
  return writer.detach(0);
}
