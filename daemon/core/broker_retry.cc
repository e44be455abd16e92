// What becomes of a task whose run failed, or died with its worker.
#include <algorithm>

#include "daemon/core/broker.h"

namespace tusk::core {

using proto::Attribute;
using proto::BodyOut;
using proto::Record;
using proto::State;
using proto::Value;
namespace code = proto::code;

namespace {

// How much of its failed runs a task remembers.
constexpr size_t kMaxHistory = 16;
constexpr size_t kMaxMessage = 1 << 10;
constexpr size_t kMaxStack = 4 << 10;

// visit(key, value) for each attribute.
template <typename Visit>
void each_attribute(Value map, Visit visit) {
  bool is_key = true;
  uint64_t number = 0;
  for (Value v : map.items()) {
    if (is_key) {
      number = *v.number();
    } else {
      visit(static_cast<Attribute>(number), v);
    }
    is_key = !is_key;
  }
}

// Cut to at most `most` bytes, between two characters.
std::string_view cut(std::string_view text, size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (text[most] & 0xC0) == 0x80) --most;
  return text.substr(0, most);
}

}  // namespace

// --- failures ------------------------------------------------------------------------------------

// Why a run failed, in the words of its worker or of the broker. Views into the record.
Broker::Failure Broker::failure_of(const Task& task, const Record& record, bool fits) const {
  if (task.stop == Stop::kRunTimeout) {
    return {"RunTimeout", "the run took longer than its run_timeout and was told to stop"};
  }
  if (task.stop == Stop::kHeartbeatTimeout) {
    return {"HeartbeatTimeout",
            "the run gave no sign of life for its heartbeat_timeout and was told to stop"};
  }
  if (!record.fault.empty()) return {"Refused", record.fault_text};
  if (!fits) {
    return {"TooLarge",
            "the result is larger than the broker's limit for bodies, or no whole LZ4 frame"};
  }
  Failure failure{"Failed", "the worker gave no reason"};
  each_attribute(record.attributes.all, [&](Attribute key, Value value) {
    if (key != Attribute::kError) return;
    failure.type = value.get("type").text().value_or("");
    failure.message = value.get("message").text().value_or("");
    failure.language = value.get("language").text().value_or("");
    failure.stack = value.get("stack").text().value_or("");
  });
  return failure;
}

void Broker::run_failed(uint32_t t, const Record& record, const std::string& worker, bool fits) {
  Task& task = tasks_[t];
  if (ended_as_told(t, worker)) return;
  const bool in_time = task.stop == Stop::kNone;
  if (record.attributes.crashed && in_time) return crash(t, worker, "the process that ran it in");
  const Failure failure = failure_of(task, record, fits);
  const bool told = in_time && fits && record.fault.empty();  // in the worker's own words
  scratch_.clear();
  if (told) {
    scratch_.forward(record.attributes.all, kEndingsOwn);
    bool has_error = false;
    each_attribute(record.attributes.all,
                   [&](Attribute key, Value) { has_error |= key == Attribute::kError; });
    if (!has_error) scratch_.error(failure.type, failure.message, "tuskd");
  } else {
    scratch_.error(failure.type, failure.message, "tuskd");
  }
  const bool hopeless = in_time && (record.attributes.no_retry || !fits);
  failed(t, worker, failure, hopeless, told ? body_out(record) : BodyOut{});
}

// A run that was told to stop because of a time-out, and whose worker is gone.
void Broker::run_lost(uint32_t t, const std::string& worker) {
  const Record none;
  const Failure failure = failure_of(tasks_[t], none, true);
  scratch_.clear();
  scratch_.error(failure.type, failure.message, "tuskd");
  failed(t, worker, failure, false, {});
}

// Another attempt, if there is one left and it makes sense. `scratch_` holds the attributes of the
// ending if there is none.
void Broker::failed(uint32_t t, const std::string& worker, const Failure& failure, bool hopeless,
                    const BodyOut& body) {
  Task& task = tasks_[t];
  const Type& type = scheduler_.type(task.type);
  const uint32_t attempts = task.terms && task.terms->attempts
                                ? *task.terms->attempts
                                : static_cast<uint32_t>(type.settings.attempts);
  ++task.failures;
  if (attempts > 1 && !type.is_stage) remember_run(t, worker, failure);
  const std::vector<std::string>& never =
      task.terms && task.terms->no_retry_on ? *task.terms->no_retry_on : type.settings.no_retry_on;
  hopeless |= std::find(never.begin(), never.end(), failure.type) != never.end();
  if (!hopeless && task.failures < attempts) {
    if (task.orphan) return forget(t);  // no body to run again; the client's resend has it
    ++counters_.retried;
    ++scheduler_.type(task.type).counters.retried;
    return retry(t, task.failures);
  }
  add_last_run(t, worker);
  end(t, !hopeless && attempts > 1 ? State::kDead : State::kFailed, body, scratch_);
}

// To `scratch_`, for an ending: which run was the last, and those that failed.
void Broker::add_last_run(uint32_t t, std::string_view worker) {
  const Task& task = tasks_[t];
  if (task.attempt > 0) scratch_.number(Attribute::kAttempt, task.attempt);
  if (!worker.empty()) scratch_.text(Attribute::kWorker, worker);
  if (!task.terms || task.terms->history.empty()) return;
  write_history(scratch_.key(Attribute::kHistory), task, now_);
}

// Times are told as they were before `now`.
void Broker::write_history(proto::Packer& p, const Task& task, Time now) {
  auto text = [&](std::string_view value) {
    p.pack_str(static_cast<uint32_t>(value.size()));
    p.pack_str_body(value.data(), static_cast<uint32_t>(value.size()));
  };
  p.pack_array(static_cast<uint32_t>(task.terms->history.size()));
  for (const FailedRun& run : task.terms->history) {
    p.pack_map(5);
    text("attempt");
    p.pack_uint32(run.attempt);
    text("worker");
    text(run.worker);
    text("started");
    p.pack_uint64(static_cast<uint64_t>(milliseconds(now - run.started)));
    text("ended");
    p.pack_uint64(static_cast<uint64_t>(milliseconds(now - run.ended)));
    text("error");
    const bool has_stack = !run.stack.empty();
    p.pack_map(has_stack ? 4 : 3);
    text("type");
    text(run.type);
    text("message");
    text(run.message);
    text("language");
    text(run.language);
    if (!has_stack) continue;
    text("stack");
    text(run.stack);
  }
}

void Broker::remember_run(uint32_t t, const std::string& worker, const Failure& failure) {
  std::vector<FailedRun>& history = terms_of(t).history;
  if (history.size() == kMaxHistory) history.erase(history.begin());
  const Task& task = tasks_[t];
  history.push_back({.attempt = task.attempt,
                     .worker = worker,
                     .started = task.started,
                     .ended = now_,
                     .type = std::string(cut(failure.type, kMaxMessage)),
                     .message = std::string(cut(failure.message, kMaxMessage)),
                     .language = std::string(cut(failure.language, kMaxMessage)),
                     .stack = std::string(cut(failure.stack, kMaxStack))});
}

// --- another run ---------------------------------------------------------------------------------

// Another run after a back-off that grows with each (SPEC.md, "Retries").
void Broker::retry(uint32_t t, uint32_t runs) {
  const Task& task = tasks_[t];
  const Backoff backoff = task.terms && task.terms->backoff
                              ? *task.terms->backoff
                              : backoff_of(scheduler_.type(task.type));
  const auto most = static_cast<double>(backoff.most.count());
  double wait = static_cast<double>(backoff.first.count());
  for (uint32_t i = 1; i < runs && wait < most; ++i) wait *= backoff.factor;
  wait = std::min(wait, most);
  const double random = static_cast<double>(random_() % 1024) / 1023;
  wait *= 1 - backoff.jitter + 2 * backoff.jitter * random;
  delay(t, Duration(static_cast<int64_t>(wait)));
  give_back_if_stopping(t);
}

void Broker::give_back_if_stopping(uint32_t t) {
  if (!stopping_ || scheduler_.type(tasks_[t].type).is_stage) return;
  give_back(t, code::kShuttingDown, "tuskd is shutting down and will not run the task again");
}

Backoff Broker::backoff_of(const Type& type) {
  return {.first = type.settings.retry_backoff,
          .most = type.settings.max_backoff,
          .factor = type.settings.backoff_factor,
          .jitter = type.settings.backoff_jitter};
}

// The task waits for so long, and then takes its place behind those that wait by then.
void Broker::delay(uint32_t t, Duration wait) {
  Task& task = tasks_[t];
  leave_limit(task);
  task.state = TaskState::kDelayed;
  ++scheduler_.type(task.type).elsewhere;
  task.timer = timers_.add(now_ + wait, {Timer::Kind::kDelay, t});
}

void Broker::due(uint32_t t) {
  Task& task = tasks_[t];
  --scheduler_.type(task.type).elsewhere;
  task.order = ++order_;
  task.since = now_;
  const bool ordered = task.terms && task.terms->order_gate != kNone && !task.terms->in_order;
  ordered ? begin(t, Duration{0}) : enter(t);  // a follow-up has not begun yet
}

// What ran the task died: its worker, or a process of it. The first time it runs again at once.
void Broker::crash(uint32_t t, const std::string& worker, const char* what_died) {
  Task& task = tasks_[t];
  ++task.crashes;
  ++counters_.crashed;
  ++scheduler_.type(task.type).counters.crashed;
  task.suspect = true;
  if (ended_as_told(t, worker)) return;
  if (task.orphan) return forget(t);
  const std::string how = std::string(what_died) + " " + worker + " died";
  if (!scheduler_.type(task.type).is_stage) remember_run(t, worker, {"WorkerDied", how});
  if (task.crashes >= config_->tuskd.limits.max_crashes) {
    scratch_.clear();
    scratch_.error("WorkerDied",
                   std::to_string(task.crashes) + " workers died while they ran this task; the " +
                       "last time: " + how,
                   "tuskd");
    add_last_run(t, worker);
    log(config::LogLevel::error, LogTopic::kDead, [&] {
      return "task " + task.id.hex() + " of type " + scheduler_.type(task.type).name +
             " is dead: " + how;
    });
    return end(t, State::kDead, {}, scratch_);
  }
  if (task.crashes == 1) {
    wait_again(task);
    return enter(t);
  }
  retry(t, task.crashes - 1u);
}

}  // namespace tusk::core
