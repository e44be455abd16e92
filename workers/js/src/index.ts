/// <reference types="node" preserve="true" />
/** tuskd for JavaScript and TypeScript: a client and a worker. See README.md. */
export {
  type CallOptions,
  Client,
  type ClientOptions,
  type MapOptions,
  type PostOptions,
  type PublishOptions,
  type PushOptions,
  type SubmitOptions,
  type StreamOptions,
} from "./client.js";
export type { AwaitOptions, Failure, TaskChange, TaskStatus, Updated } from "./by-id.js";
export * from "./errors.js";
export type {
  Filter,
  JobDone,
  JobKind,
  JobOptions,
  JobStatus,
  ListedTask,
  StartJobOptions,
} from "./finding.js";
export type { NeedTerms } from "./labels.js";
export type { ManyOptions, Outcome } from "./many.js";
export type { Child, ChildOptions } from "./children.js";
export type { CancelReason, Context } from "./context.js";
export type { Stream } from "./streams.js";
export type { SlowPolicy, Subscription, TopicEvent } from "./subscription.js";
export type { Task } from "./task.js";
export type {
  Backoff,
  FollowOptions,
  LogLevel,
  Priority,
  TaskTerms,
  UniquePolicy,
} from "./terms.js";
export type { SubscribeOptions } from "./topics.js";
export { type TaskId, uuid7 } from "./uuid.js";
export { DROP, Float, Timestamp } from "./values.js";
export { type BatchOptions, Worker, type WorkerOptions } from "./worker.js";
