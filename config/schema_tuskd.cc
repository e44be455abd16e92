// What tuskd itself, its workers, its task types and its topics are told.
#include "config/codec.h"
#include "config/refine.h"

namespace tusk::config {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

constexpr Duration kNone{0};
constexpr Duration kDay = hours(24);

}  // namespace

template <>
const std::vector<Word<LogLevel>>& words<LogLevel>() {
  static const std::vector<Word<LogLevel>> words{{"trace", LogLevel::trace},
                                                 {"debug", LogLevel::debug},
                                                 {"info", LogLevel::info},
                                                 {"warning", LogLevel::warning},
                                                 {"error", LogLevel::error}};
  return words;
}

template <>
const std::vector<Word<OnDead>>& words<OnDead>() {
  static const std::vector<Word<OnDead>> words{{"skip", OnDead::skip}, {"block", OnDead::block}};
  return words;
}

template <>
const std::vector<Word<Unserved>>& words<Unserved>() {
  static const std::vector<Word<Unserved>> words{{"error", Unserved::error},
                                                 {"wait", Unserved::wait}};
  return words;
}

namespace {

std::vector<Key> sockets() {
  return {
      key<&Tuskd::endpoint>("endpoint",
                            "The ROUTER that clients, workers and REQ peers connect to.")
          .as(kEndpoint, refine_endpoint)
          .restart_only()
          .effective(),
      key<&Tuskd::ipc>("ipc", "One more address of the same ROUTER, for peers on this machine.")
          .as(kIpc, refine_ipc)
          .restart_only()
          .effective(),
      key<&Tuskd::events_in>("events_in",
                             "Plain edge: programs publish events here (XSUB). Null: off.")
          .as(kEndpoint, refine_endpoint)
          .restart_only()
          .effective(),
      key<&Tuskd::events_out>("events_out",
                              "Plain edge: programs subscribe to events here (XPUB). Null: off.")
          .as(kEndpoint, refine_endpoint)
          .restart_only()
          .effective(),
      key<&Tuskd::pipeline_in>(
          "pipeline_in",
          "Plain edge: programs push items into the pipeline here (PULL). Null: off.")
          .as(kEndpoint, refine_endpoint)
          .restart_only()
          .effective(),
      key<&Tuskd::pipeline_out>(
          "pipeline_out", "Plain edge: what leaves the pipeline goes out here (PUSH). Null: off.")
          .as(kEndpoint, refine_endpoint)
          .restart_only()
          .effective(),
      key<&Tuskd::http>("http", "Where HTTP will be served. Null: off.")
          .as(kTcp, refine_tcp)
          .restart_only(),
      key<&Tuskd::advertise>(
          "advertise", "The address that peers are told instead of `endpoint` (containers, NAT).")
          .as(kEndpoint, refine_endpoint)
          .restart_only()
          .effective(),
      key<&Tuskd::state>("state",
                         "The folder for what survives a restart, relative to this file. Null: the "
                         "daemon's own choice.")
          .as(kPath, refine_path)
          .restart_only()
          .effective(),
      key<&Tuskd::log_level>("log_level", "The least important messages that are logged.")
          .effective(),
      key<&Tuskd::log>("log", "`stderr`, or a file to append to, relative to this file.")
          .as(kPath, refine_path)
          .restart_only()
          .effective(),
      key<&Tuskd::times, &Times::spin>(
          "spin",
          "How long the data plane polls after an event before it sleeps, at most: it polls only "
          "while events follow one another about as closely.")
          .between(kNone, milliseconds(100))
          .effective(),
      key<&Tuskd::times, &Times::lookahead>(
          "lookahead", "How long a task sent ahead of a free slot may expect to wait there.")
          .between(kNone, seconds(1)),
  };
}

std::vector<Key> limits() {
  return {
      key<&Tuskd::limits, &Limits::max_body>(
          "max_body", "The largest body. A larger one is refused with `too_large`.")
          .between(1_KB, 1_GB)
          .effective(),
      key<&Tuskd::limits, &Limits::max_frame>(
          "max_frame", "The largest frame of records in a packet. A larger packet is refused.")
          .between(64_KB, 1_GB)
          .effective(),
      key<&Tuskd::limits, &Limits::max_records>(
          "max_records", "Records in one packet. A packet with more is refused.")
          .between(1, 1'000'000)
          .effective(),
      key<&Tuskd::limits, &Limits::max_frames>(
          "max_frames", "Frames in one packet. A packet with more is refused.")
          .between(2, 65'536)
          .effective(),
      key<&Tuskd::limits, &Limits::max_sessions>(
          "max_sessions", "Clients and workers at a time. One more is refused with `full`.")
          .between(1, 1'000'000)
          .effective(),
      key<&Tuskd::limits, &Limits::max_types>("max_types",
                                              "Task types that are known. One more is refused with "
                                              "`full`, and a file that names more too.")
          .between(1, 1'000'000)
          .effective(),
      key<&Tuskd::limits, &Limits::max_topics>(
          "max_topics", "Topics that a file may name. One that names more is refused.")
          .between(1, 1'000'000)
          .effective(),
      key<&Tuskd::limits, &Limits::max_subscriptions>(
          "max_subscriptions",
          "Topics and patterns that one peer may subscribe to. One more is refused with `busy`.")
          .between(1, 1'000'000)
          .effective(),
      key<&Tuskd::limits, &Limits::max_waiting>(
          "max_waiting",
          "Waiting tasks of a type that sets none of its own. One more is refused with `full`.")
          .between(1, 1'000'000'000)
          .effective(),
      key<&Tuskd::limits, &Limits::max_tasks>(
          "max_tasks", "Tasks of all types, waiting and running. One more is refused with `full`.")
          .between(1, 1'000'000'000)
          .effective(),
      key<&Tuskd::limits, &Limits::max_memory>(
          "max_memory", "Bodies held in memory. A task beyond it is refused with `full`.")
          .between(1_MB, Bytes{std::size_t{16} << 40})
          .effective(),
      key<&Tuskd::limits, &Limits::max_session_bytes>(
          "max_session_bytes",
          "Bytes on their way to or from one peer that are not acknowledged. One "
          "more is refused with `busy`.")
          .between(1_MB, Bytes{std::size_t{1} << 40})
          .effective(),
      key<&Tuskd::limits, &Limits::subscriber_window>(
          "subscriber_window",
          "Bytes on their way to one subscriber, not acknowledged, at which its events begin to "
          "wait.")
          .between(64_KB, Bytes{std::size_t{1} << 40})
          .effective(),
      key<&Tuskd::limits, &Limits::subscriber_backlog>(
          "subscriber_backlog",
          "Bytes of events that wait for one subscriber. Beyond that the oldest go, and it is told "
          "how many; or its subscription ends, if it asked for that.")
          .between(64_KB, Bytes{std::size_t{1} << 40})
          .effective(),
      key<&Tuskd::limits, &Limits::ended_window>(
          "ended_window",
          "Ids of ended tasks that are remembered. An older id sent again is answered "
          "`unknown_outcome`.")
          .between(1, 100'000'000)
          .effective(),
      key<&Tuskd::limits, &Limits::push_window>(
          "push_window", "Unanswered pushes of one pusher. One more is refused with `busy`.")
          .between(1, 1'000'000)
          .effective(),
      key<&Tuskd::limits, &Limits::stage_capacity>(
          "stage_capacity",
          "Items that wait in one stage of the pipeline. Pushes wait behind them.")
          .between(1, 100'000'000)
          .effective(),
      key<&Tuskd::limits, &Limits::compression_threshold>(
          "compression_threshold", "Bodies from this size on are compressed.")
          .between(Bytes{64}, 1_GB)
          .effective(),
      key<&Tuskd::limits, &Limits::max_crashes>(
          "max_crashes", "Workers that a task may take down with it before it is `dead`.")
          .between(1, 1000)
          .effective(),
      key<&Tuskd::limits, &Limits::max_checkpoint>(
          "max_checkpoint", "The largest checkpoint of a run. A larger one is refused.")
          .between(Bytes{64}, Bytes{std::size_t{512} << 10})
          .effective(),
      key<&Tuskd::limits, &Limits::max_retained>(
          "max_retained",
          "Bytes of endings that are kept for their `retention`; beyond it the oldest go.")
          .between(1_MB, Bytes{std::size_t{1} << 40})
          .effective(),
      key<&Tuskd::limits, &Limits::max_sticky_keys>(
          "max_sticky_keys",
          "Sticky keys without tasks whose worker is remembered; beyond it the oldest are "
          "forgotten.")
          .between(1, 100'000'000)
          .effective(),
      key<&Tuskd::limits, &Limits::max_suspended>(
          "max_suspended",
          "Runs of one worker that may wait for others without a slot; one more keeps its slot.")
          .between(1, 1'000'000)
          .effective(),
      key<&Tuskd::limits, &Limits::ageing_share>(
          "ageing_share",
          "Of so many dispatches that pass over an aged task (see `ageing`) one takes it.")
          .between(2, 1000)
          .effective(),
  };
}

std::vector<Key> times() {
  return {
      key<&Tuskd::times, &Times::session_ttl>(
          "session_ttl", "How long the endings of a client that went away are kept for it.")
          .between(seconds(1), 7 * kDay)
          .effective(),
      key<&Tuskd::times, &Times::reconnect_grace>(
          "reconnect_grace", "How long a worker whose connection was cut keeps its tasks.")
          .between(kNone, hours(1))
          .effective(),
      key<&Tuskd::times, &Times::adopt_grace>(
          "adopt_grace",
          "How long a task that a worker still holds from before a restart of the "
          "broker waits for its client.")
          .between(kNone, hours(1))
          .effective(),
      key<&Tuskd::times, &Times::unserved_grace>(
          "unserved_grace", "How long a task of a type that nobody serves waits for a worker.")
          .between(kNone, hours(1))
          .effective(),
      key<&Tuskd::times, &Times::cancel_grace>(
          "cancel_grace", "How long a cancelled run may take to stop before its task ends.")
          .between(kNone, hours(1))
          .effective(),
      key<&Tuskd::times, &Times::shutdown_grace>(
          "shutdown_grace", "How long a stopping daemon waits for runs and workers to end.")
          .between(kNone, hours(1))
          .effective(),
      key<&Tuskd::times, &Times::heartbeat>(
          "heartbeat", "How often a silent connection is asked whether it still lives (ZMTP).")
          .between(milliseconds(100), minutes(10))
          .effective(),
      key<&Tuskd::times, &Times::retry_backoff>(
          "retry_backoff", "The pause before a failed task's second run; it doubles with each run.")
          .between(kNone, hours(1))
          .effective(),
      key<&Tuskd::times, &Times::max_backoff>("max_backoff", "The longest of these pauses.")
          .between(kNone, kDay)
          .effective(),
      key<&Tuskd::times, &Times::ageing>(
          "ageing",
          "A task that waited for so long is aged: those of higher priority cannot starve it.")
          .between(milliseconds(1), 365 * kDay)
          .effective(),
      key<&Tuskd::times, &Times::hang_kill>(
          "hang_kill",
          "A run that was told to stop and has not for so long hangs; if tuskd started its worker, "
          "it kills and replaces it.")
          .between(milliseconds(1), 365 * kDay)
          .effective(),
      key<&Tuskd::times, &Times::sticky_ttl>(
          "sticky_ttl", "How long the worker of a sticky key is remembered that has no task.")
          .between(milliseconds(1), 365 * kDay)
          .effective(),
  };
}

}  // namespace

template <>
const Table& table<Tuskd>() {
  static const Table rows = [] {
    Table all{sockets()};
    for (Key& key : limits()) all.keys.push_back(key);
    for (Key& key : times()) all.keys.push_back(key);
    return all;
  }();
  return rows;
}

template <>
const Table& table<Worker>() {
  static const Table rows{{
      key<&Worker::language>("language", "Which kit the program uses; `rust` means `cpp`.")
          .as(kWorkerLanguage, refine_worker_language)
          .needed()
          .effective(),
      key<&Worker::command>("command",
                            "The program and its arguments; a text is cut into words as a shell "
                            "does, without a shell.")
          .words()
          .needed()
          .effective(),
      key<&Worker::directory>(
          "directory", "Where it runs, relative to this file. By default this file's folder.")
          .as(kPath, refine_path)
          .effective(),
      key<&Worker::environment>("environment",
                                "Environment variables on top of those that tuskd has.")
          .effective(),
      key<&Worker::labels>("labels",
                           "What each process has: a text is a fact, a number an amount that "
                           "tasks may consume. Told to it by its environment.")
          .effective(),
      key<&Worker::instances>("instances", "How many processes of it run.")
          .between(0, 1000)
          .effective(),
      key<&Worker::slots>(
          "slots",
          "Tasks at a time in one process, told to it by its environment. Null: it decides.")
          .between(1, 100'000)
          .effective(),
      key<&Worker::pool>("pool", "The pool that it serves. By default its language.")
          .as(kPool, refine_pool)
          .effective(),
  }};
  return rows;
}

template <>
const Table& table<TypeSection>() {
  static const Table rows{{
      key<&TypeSection::delay>("delay", "How long its tasks wait before they may run.")
          .between(kNone, 365 * kDay)
          .effective(),
      key<&TypeSection::deadline>(
          "deadline", "How long a task may take in all; then it expires. Null: without end.")
          .between(milliseconds(1), 365 * kDay)
          .effective(),
      key<&TypeSection::timeout>(
          "timeout",
          "How long one run may take before it is told to stop, as failed. Null: without end.")
          .between(milliseconds(1), 365 * kDay)
          .effective(),
      key<&TypeSection::heartbeat_timeout>(
          "heartbeat_timeout",
          "How long a run may give no sign of life (progress, log, checkpoint) before it is told "
          "to stop. Null: without end.")
          .between(milliseconds(1), 365 * kDay)
          .effective(),
      key<&TypeSection::retention>(
          "retention", "How long an ending is kept for whoever asks by id, acknowledged or not.")
          .between(kNone, 365 * kDay)
          .effective(),
      key<&TypeSection::attempts>("attempts",
                                  "Runs that may fail. By default 1 + `retry_attempts` of "
                                  "[ipc_patterns] request_reply.")
          .between(1, 1000)
          .effective(),
      key<&TypeSection::retry_backoff>(
          "retry_backoff",
          "The pause after the first failed run. By default `retry_backoff` of [tuskd].")
          .between(kNone, 365 * kDay)
          .effective(),
      key<&TypeSection::max_backoff>("max_backoff",
                                     "The longest pause. By default `max_backoff` of [tuskd].")
          .between(kNone, 365 * kDay)
          .effective(),
      key<&TypeSection::backoff_factor>("backoff_factor",
                                        "What each pause is multiplied by for the next. By "
                                        "default 2.")
          .between(1, 100)
          .effective(),
      key<&TypeSection::backoff_jitter>(
          "backoff_jitter",
          "The share by which a pause is made longer or shorter at random. By default 0.25.")
          .between(0, 1)
          .effective(),
      key<&TypeSection::no_retry_on>("no_retry_on",
                                     "Types of errors after which another run makes no sense.")
          .as(kName, refine_name)
          .effective(),
      key<&TypeSection::concurrency>("concurrency",
                                     "Runs of it at a time, over all workers. Null: no limit.")
          .between(1, 1'000'000'000)
          .effective(),
      key<&TypeSection::rate>("rate",
                              "Units that its runs may take; a run takes 1 unless its submit says "
                              "another cost. Null: no limit.")
          .effective(),
      key<&TypeSection::burst>(
          "burst", "Units that may be taken at once. By default those of a second, at least 1.")
          .between(1, 1'000'000'000)
          .effective(),
      key<&TypeSection::key_concurrency>("key_concurrency",
                                         "Runs at a time of its tasks with the same limit key.")
          .between(1, 1'000'000'000)
          .effective(),
      key<&TypeSection::key_rate>("key_rate", "Units of its tasks with the same limit key.")
          .effective(),
      key<&TypeSection::key_burst>(
          "key_burst", "Units of a limit key that may be taken at once. By default as `burst`.")
          .between(1, 1'000'000'000)
          .effective(),
      key<&TypeSection::order_on_dead>(
          "order_on_dead",
          "When a task with an order key has failed for good: skip it, or block those behind it "
          "until somebody unblocks the key. By default skip.")
          .effective(),
      key<&TypeSection::priority>("priority",
                                  "Higher runs first. By default that of its message, or normal.")
          .effective(),
      key<&TypeSection::durable>("durable",
                                 "Do its tasks survive the death of the broker? By default no."),
      key<&TypeSection::message>(
          "message", "The [message_types] entry of its bodies. By default that of its own name.")
          .as(kName, refine_name)
          .effective(),
      key<&TypeSection::pool>("pool", "Only workers of this pool may serve it. By default any.")
          .as(kPool, refine_pool)
          .effective(),
      key<&TypeSection::max_waiting>(
          "max_waiting",
          "Its waiting tasks; one more is refused with `full`. By default "
          "`max_waiting` of [tuskd].")
          .between(1, 1'000'000'000)
          .effective(),
      key<&TypeSection::unserved>(
          "unserved",
          "When nobody serves it: an error after `unserved_grace`, or wait until the "
          "task's deadline. By default an error.")
          .effective(),
      key<&TypeSection::load_balancing>(
          "load_balancing", "Which worker gets the next task. By default that of [orchestration].")
          .effective(),
      key<&TypeSection::required>("requires", "A label that its workers must have.").effective(),
      key<&TypeSection::prefers>("prefers", "A label by which free workers are taken first.")
          .effective(),
      key<&TypeSection::consumes>("consumes",
                                  "An amount of its worker that a run holds while it lasts.")
          .between(1, 1'000'000'000)
          .effective(),
  }};
  return rows;
}

template <>
const Table& table<TopicSection>() {
  static const Table rows{{
      key<&TopicSection::message>(
          "message", "The [message_types] entry of its events. By default that of its own name.")
          .as(kName, refine_name)
          .effective(),
      key<&TopicSection::retain>("retain", "Is its last event kept for those who subscribe later?")
          .effective(),
      key<&TopicSection::rate>(
          "rate", "Events that may be published. One more is refused with `busy`. Null: no limit.")
          .effective(),
      key<&TopicSection::burst>(
          "burst",
          "Events that may be published at once. By default those of a second, at least 1.")
          .between(1, 1'000'000'000)
          .effective(),
  }};
  return rows;
}

}  // namespace tusk::config
