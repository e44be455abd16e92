/** What a session tells those who stand on it, and what they tell the session. */
import { BodyError, type TuskError } from "./errors.js";
import type { Reader } from "./msgpack/reader.js";
import type { Packet } from "./packet.js";
import { DEFAULT_LIMITS, type Limits } from "./wire.js";

/** How bodies for one name are to be written; what is left out is as always. */
export interface Writing {
  codec?: number;
  compress?: boolean;
}

export interface Welcome {
  session: number;
  epoch: number;
  /** Whether this is the session that was there before. */
  resumed: boolean;
  /** The last packet that the broker received. */
  ack: number;
  limits: Readonly<Limits>;
  /** How long a caller waits by default, in ms. */
  timeout: number;
  /** Bodies of at least so many bytes are compressed; Infinity: none. */
  compressionThreshold: number;
  /** How long a worker waits for a broker to come back, in ms. */
  adoptGrace: number;
  /** Of `types`, `stages` and `topics`: by name, how bodies are to be written. */
  messages: Readonly<Partial<Record<string, ReadonlyMap<string, Writing>>>>;
  /** One `[id, handle or null]` for each claim of hello. */
  claims: [Uint8Array, number | null][];
}

/** What stands on a link. `T` is what it attaches to packets. */
export interface Peer<T> {
  /** Its own fields of hello: role, types, slots, claims, ... */
  hello(resuming: boolean): Record<string, unknown>;
  /** The session stands. Unless `resumed`, what was under way is to be sent anew. */
  welcomed(welcome: Welcome): void;
  /** A record; `length` elements in all, `reader` is behind the first, its kind. False if unknown. */
  record(kind: number, length: number, reader: Reader, frames: Buffer[]): boolean;
  /** An error record about the request or handle `ref`. */
  error(ref: number, code: string, message: string, details: Record<string, unknown>): void;
  /** All records of a packet were applied. */
  packetEnd(): void;
  /** The connection is gone. */
  disconnected(): void;
  /** The broker received this packet. */
  acknowledged?(packet: Packet<T>): void;
  /** This packet can never arrive: each connection that it was sent on broke. Called before it is emptied. */
  undeliverable(packet: Packet<T>): void;
  /** The broker could not read this packet. Whether somebody was told who had asked in it. */
  refusedPacket(packet: number, message: string, details: Record<string, unknown>): boolean;
  /** The broker refuses this peer for good: wrong version, or not allowed. */
  refused(error: TuskError): void;
  /** An error about the session that needs nobody's reaction, for people to see. */
  complain(message: string): void;
}

/** The map; an empty one where it is none. */
function map(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

/** What a welcome says of the bodies of types, stages or topics, by name. */
function writings(messages: unknown, where: string): Map<string, Writing> {
  const found = Object.entries(map(map(messages)[where]));
  return new Map(found.map(([name, writing]) => [name, map(writing)]));
}

/** The fields of a welcome. @throws BodyError without a session */
export function readWelcome(welcome: unknown): Welcome {
  const fields = map(welcome);
  const whole = (value: unknown, otherwise: number): number =>
    typeof value === "number" && value >= 0 ? value : otherwise;
  const given = map(fields.limits);
  const limits = { ...DEFAULT_LIMITS };
  for (const name of Object.keys(limits) as (keyof Limits)[]) {
    limits[name] = whole(given[name], limits[name]);
  }
  const session = whole(fields.session, 0);
  if (session === 0) throw new BodyError("a welcome without a session");
  return {
    session,
    epoch: whole(fields.epoch, 0),
    resumed: fields.resumed === true,
    ack: whole(fields.ack, 0),
    limits,
    timeout: whole(fields.timeout, 5000),
    compressionThreshold:
      fields.compression === "lz4"
        ? whole(fields.compression_threshold, Number.POSITIVE_INFINITY)
        : Number.POSITIVE_INFINITY,
    adoptGrace: whole(fields.adopt_grace, 10_000),
    messages: {
      types: writings(fields.messages, "types"),
      stages: writings(fields.messages, "stages"),
      topics: writings(fields.messages, "topics"),
    },
    claims: Array.isArray(fields.claims) ? (fields.claims as Welcome["claims"]) : [],
  };
}
