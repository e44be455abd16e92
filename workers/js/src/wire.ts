/** The numbers of TUSK/1: kinds of records, keys of attributes, states, limits. See SPEC.md. */

export const VERSION = 1;

export const Kind = {
  header: 0,
  hello: 1,
  welcome: 2,
  ping: 3,
  pong: 4,
  error: 5,
  bye: 6,
  goaway: 7,
  chunk: 8,
  submit: 16,
  cancel: 17,
  query: 18,
  update: 19,
  publish: 20,
  subscribe: 21,
  unsubscribe: 22,
  push: 24,
  control: 26,
  await: 29,
  result: 32,
  returned: 33,
  suspend: 35,
  progress: 36,
  log: 37,
  checkpoint: 38,
  slots: 40,
  defer: 41,
  pause: 42,
  credit: 45,
  accepted: 48,
  answer: 49,
  event: 50,
  unsubscribed: 51,
  task: 64,
  item: 65,
  recall: 66,
  resume: 67,
  drain: 68,
} as const;

/** Kinds from here on may be ignored by who does not know them. */
export const FIRST_IGNORABLE_KIND = 128;

export const Attribute = {
  delay: 1,
  error: 2,
  deadline: 3,
  attempt: 4,
  runTimeout: 5,
  worker: 6,
  attempts: 7,
  trace: 8,
  backoff: 9,
  baggage: 10,
  retention: 13,
  reply: 15,
  group: 16,
  resent: 17,
  labels: 18,
  unique: 19,
  uniquePolicy: 21,
  orderKey: 23,
  timeLeft: 24,
  needs: 25,
  reason: 26,
  codec: 27,
  history: 28,
  compression: 29,
  task: 30,
  index: 32,
  checkpoint: 33,
  chunks: 34,
  missed: 38,
  retained: 40,
  cost: 49,
  priority: 51,
  rerunOk: 53,
  wait: 55,
  noRetry: 57,
  crashed: 59,
  stickyKey: 61,
  parent: 63,
  heartbeatTimeout: 65,
  noRetryOn: 67,
  follow: 69,
  uniqueFor: 71,
  limitKey: 73,
  stream: 75,
  slow: 77,
} as const;

export const State = { succeeded: 1, failed: 2, expired: 3, cancelled: 4, dead: 5 } as const;

/** Values of the attribute `reply`. */
export const Reply = { result: 0, accepted: 1, both: 2 } as const;

/** Values of the attribute `codec`. */
export const Codec = { msgpack: 0, json: 1, bytes: 2 } as const;

/** Bodies from this size on get a frame of their own, so that the broker copies none of it. */
export const OWN_FRAME = 8 * 1024;

/** A name of a type, topic, stage or worker is at most this many bytes. */
export const MAX_NAME = 255;

/** A trace and a baggage are each at most this many bytes. */
export const MAX_TRACE = 8192;

/** A line of a log is at most this many bytes. */
export const MAX_LOG = 16 * 1024;

/** Bounds that the broker states in WELCOME; these defaults hold before. */
export interface Limits {
  frame: number;
  body: number;
  records: number;
  frames: number;
  session_bytes: number;
  push_window: number;
  checkpoint: number;
}

export const DEFAULT_LIMITS: Readonly<Limits> = {
  frame: 1 << 20,
  body: 64 << 20,
  records: 1024,
  frames: 256,
  session_bytes: 256 << 20,
  push_window: 1024,
  checkpoint: 256 << 10,
};

/** The longest stack of a failure that is sent, in bytes. */
export const MAX_STACK = 64 * 1024;

export const DEFAULT_URL = "tcp://127.0.0.1:7420";
