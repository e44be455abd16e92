/** Many tasks at once: listing those that fit a filter, and jobs that change them all. */
import { setTimeout as pauseFor } from "node:timers/promises";
import { readStatus, type TaskStatus } from "./by-id.js";
import { milliseconds } from "./durations.js";
import { TuskError } from "./errors.js";
import { checkKey, MOST_TASK_LABELS } from "./labels.js";
import { type Priority, priorityOf, whole } from "./terms.js";
import { idBytes, idText, type TaskId, writeUuid7 } from "./uuid.js";

const MOST_LISTED = 1000;
/** Between two looks at a job, in ms; each is twice as long. */
const FIRST_PAUSE = 10;
const LONGEST_PAUSE = 500;

/** Which tasks: those that fit each entry that is there. At least one is. */
export interface Filter {
  type?: string;
  /** As in TaskStatus. */
  state?: string;
  /** With all of these; null fits any text. */
  labels?: Readonly<Record<string, string | null>>;
  /** Children of this task. */
  parent?: TaskId;
  /** Accepted so many ms ago or longer. */
  age?: number;
  /** All tasks. */
  all?: true;
}

/** A task that a filter has found. */
export interface ListedTask extends TaskStatus {
  /** UUID text. */
  id: string;
  labels: Readonly<Record<string, string>>;
  /** Of which it is a child: UUID text. */
  parent: string | undefined;
  group: string | undefined;
}

export type JobKind = "cancel" | "retry" | "reprioritise";

/** How far a job is. */
export interface JobStatus {
  job: number;
  what: string;
  state: "running" | "done";
  dryRun: boolean;
  /** Tasks to look at, and at how many it has. */
  total: number;
  looked: number;
  /** Those that fit. */
  matched: number;
  /** What came of them; a dry run counts neither. */
  changed: number;
  failed: number;
  /** In ms, since it began. */
  age: number;
}

/** What a job came to: tasks that fitted, and what came of those. */
export type JobDone = Pick<JobStatus, "matched" | "changed" | "failed">;

export interface JobOptions {
  /** Only count. */
  dryRun?: boolean;
  /** Called now and then with how far the job is; a promise is waited for. */
  onProgress?: (job: JobStatus) => unknown;
}

export interface StartJobOptions {
  /** For `"reprioritise"`. */
  priority?: Priority;
  /** Only count. */
  dryRun?: boolean;
  /** How long to wait for the number, in ms. */
  timeout?: number;
}

/** What a client does with many tasks at once. */
export abstract class Finds {
  abstract query<Answer = unknown>(
    what: string,
    args?: Record<string, unknown>,
    options?: { timeout?: number },
  ): Promise<Answer>;

  /** @internal */
  protected abstract control(
    what: string,
    args: Record<string, unknown>,
    timeout: number | undefined,
  ): Promise<Record<string, unknown>>;

  /**
   * All tasks that fit, as the broker knows them when it is asked; `limit` (1 to 1,000, default 100) at a
   * time, with `timeout` ms for each answer.
   *
   * @throws RangeError, TypeError for what is out of its bounds
   */
  tasks(
    filter: Filter,
    options: { limit?: number; timeout?: number } = {},
  ): AsyncIterableIterator<ListedTask> {
    const { limit = 100, timeout } = options;
    whole("limit", limit, 1, MOST_LISTED);
    return this.#pages({ filter: filterOf(filter), limit }, timeout);
  }

  async *#pages(args: Record<string, unknown>, timeout: number | undefined) {
    const options = timeout === undefined ? {} : { timeout };
    for (;;) {
      const page = await this.query<{ tasks?: unknown; next?: unknown } | null>(
        "tasks",
        args,
        options,
      );
      if (Array.isArray(page?.tasks)) for (const task of page.tasks) yield listedOf(task);
      if (page?.next === undefined || page.next === null) return;
      args.after = page.next;
    }
  }

  /**
   * Cancels all tasks that fit and were accepted before, and waits until it is done. Rejects with Full when
   * 16 jobs run already. See startJob for one that nobody waits for.
   */
  async cancelAll(filter: Filter, options: JobOptions = {}): Promise<JobDone> {
    return this.#wholeJob("cancel", filter, undefined, options);
  }

  /**
   * As cancelAll: a task that is delayed runs now; one that has failed or is dead, and is kept for its
   * retention, is submitted again under a new id.
   */
  async retryAll(filter: Filter, options: JobOptions = {}): Promise<JobDone> {
    return this.#wholeJob("retry", filter, undefined, options);
  }

  /** As cancelAll: those that wait get this priority. */
  async reprioritiseAll(
    filter: Filter,
    priority: Priority,
    options: JobOptions = {},
  ): Promise<JobDone> {
    return this.#wholeJob("reprioritise", filter, priority, options);
  }

  async #wholeJob(
    what: JobKind,
    filter: Filter,
    priority: Priority | undefined,
    { dryRun, onProgress }: JobOptions,
  ): Promise<JobDone> {
    const options: StartJobOptions = { dryRun: dryRun === true };
    if (priority !== undefined) options.priority = priority;
    return this.waitForJob(await this.startJob(what, filter, options), onProgress);
  }

  /** Starts what cancelAll and the others do; resolves to the number of the job at once. */
  async startJob(what: JobKind, filter: Filter, options: StartJobOptions = {}): Promise<number> {
    const { job } = await this.control(what, jobArguments(what, filter, options), options.timeout);
    if (typeof job !== "number") {
      throw new TuskError("malformed", "the broker did not say the number of the job");
    }
    return job;
  }

  /** The jobs that run, and the last 64 that are done. */
  async jobs(options: { timeout?: number } = {}): Promise<JobStatus[]> {
    const answer = await this.query("jobs", undefined, options);
    return Array.isArray(answer) ? answer.map(jobOf) : [];
  }

  /** Waits until a job is done, anybody's. Rejects with a TuskError when the broker forgot it. */
  async waitForJob(job: number, onProgress?: JobOptions["onProgress"]): Promise<JobDone> {
    for (let pause = FIRST_PAUSE; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      const found = (await this.jobs()).find((one) => one.job === job);
      if (found === undefined) {
        throw new TuskError(
          "unknown_job",
          `the broker does not know job ${job}: it was started again, or more than 64 jobs have ended ` +
            "since; look at the tasks",
        );
      }
      await onProgress?.(found);
      const { matched, changed, failed } = found;
      if (found.state === "done") return { matched, changed, failed };
      await pauseFor(pause);
    }
  }
}

const ENTRIES = ["type", "state", "labels", "parent", "age", "all"];

/** As it is sent. @throws RangeError, TypeError */
function filterOf(given: Filter): Record<string, unknown> {
  if (typeof given !== "object" || (given as unknown) === null) {
    throw new TypeError("a filter is an object");
  }
  const found: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given) as [string, unknown][]) {
    if (!ENTRIES.includes(name)) {
      throw new TypeError(`a filter has no ${name}; it has ${ENTRIES.join(", ")}`);
    }
    if (value !== undefined) found[name] = value;
  }
  if (found.type !== undefined) checkKey("the filter's type", found.type as string);
  if (found.state !== undefined) checkKey("the filter's state", found.state as string);
  if (given.labels !== undefined) checkLabels(given.labels);
  if (given.parent !== undefined) found.parent = idBytes(given.parent);
  if (given.age !== undefined) found.age = milliseconds("the filter's age", given.age);
  if (found.all !== undefined && found.all !== true) {
    throw new TypeError("the filter's all is true or not there");
  }
  if (Object.keys(found).length === 0) {
    throw new RangeError("a filter without any entry; { all: true } fits all tasks");
  }
  return found;
}

function checkLabels(labels: Readonly<Record<string, string | null>>): void {
  if (typeof labels !== "object" || (labels as unknown) === null || Array.isArray(labels)) {
    throw new TypeError("the filter's labels are an object");
  }
  const entries = Object.entries(labels);
  if (entries.length > MOST_TASK_LABELS) {
    throw new RangeError(
      `the filter's labels are at most ${MOST_TASK_LABELS}, not ${entries.length}`,
    );
  }
  for (const [name, text] of entries) {
    checkKey("a name in the filter's labels", name);
    if (text !== null) checkKey(`the filter's labels.${name}`, text);
  }
}

function jobArguments(
  what: JobKind,
  filter: Filter,
  { priority, dryRun }: StartJobOptions,
): Record<string, unknown> {
  const args: Record<string, unknown> = { filter: filterOf(filter) };
  if (dryRun === true) args.dry_run = true;
  if (what === "reprioritise") {
    if (priority === undefined) throw new RangeError("reprioritise without a priority");
    args.priority = priorityOf(priority);
    return args;
  }
  if (what !== "cancel" && what !== "retry") {
    const names = "cancel, retry and reprioritise";
    throw new RangeError(`there is no job "${what as string}"; there are ${names}`);
  }
  if (priority !== undefined) throw new RangeError(`${what} has no priority`);
  if (what === "retry") {
    const id = Buffer.alloc(16);
    writeUuid7(id, 0);
    args.id = id;
  }
  return args;
}

function listedOf(answer: unknown): ListedTask {
  const { id, labels, parent, group } = (answer ?? {}) as Record<string, unknown>;
  const idOf = (value: unknown) =>
    value instanceof Uint8Array && value.length === 16 ? idText(Buffer.from(value), 0) : undefined;
  return {
    ...readStatus(answer),
    id: idOf(id) ?? "",
    labels: (labels ?? {}) as Record<string, string>,
    parent: idOf(parent),
    group: typeof group === "string" ? group : undefined,
  };
}

function jobOf(answer: unknown): JobStatus {
  const told = (answer ?? {}) as Record<string, unknown>;
  const number = (name: string) => (typeof told[name] === "number" ? told[name] : 0);
  return {
    job: number("job"),
    what: typeof told.what === "string" ? told.what : "",
    state: told.state === "done" ? "done" : "running",
    dryRun: told.dry_run === true,
    total: number("total"),
    looked: number("looked"),
    matched: number("matched"),
    changed: number("changed"),
    failed: number("failed"),
    age: number("age"),
  };
}
