// How a run ends: result, returned, retry, crash, defer.
#include <algorithm>
#include <cmath>

#include "tests/simulation/model.h"

namespace tusk::simulation {

namespace code = proto::code;
using proto::Record;

Run Model::take_run(Session& session, size_t index) {
  const Run run = session.runs[index];
  session.runs.erase(session.runs.begin() + static_cast<long>(index));
  if (!run.ghost) {
    Task& task = tasks_.at(run.id);
    task.session = 0;
    task.due = task.limit = kNever;
  }
  return run;
}

// The run that this record is about; if it is not this worker's, or no longer, says so.
std::vector<Run>::iterator Model::run_of(Session& session, const Record& record) {
  auto at = std::find_if(session.runs.begin(), session.runs.end(),
                         [&](const Run& run) { return run.handle == record.ref && run.handle; });
  if (at == session.runs.end() && record.fault.empty()) {
    error({.session = session.number}, Rule::unknown_handle, record.ref, code::kUnknownHandle);
  }
  return at;
}

void Model::on_result(Session& session, const Record& record, bool refused) {
  const auto at = run_of(session, record);
  if (at == session.runs.end()) return;
  const bool ghost = at->ghost;
  if (!ghost && record.attributes.terms && record.attributes.terms->cost) {
    const Task& task = tasks_.at(at->id);
    pay(task, static_cast<double>(*record.attributes.terms->cost) - task.cost);
  }
  const bool fits = ghost || (!refused && check_body({.session = session.number}, record));
  const Run run = take_run(session, static_cast<size_t>(at - session.runs.begin()));
  if (ghost) return settle();
  Task& task = tasks_.at(run.id);
  if (record.state == State::kSucceeded && fits) {
    if (task.is_item) {
      item_done(task, record);
    } else {
      const std::string body(body_view(record));
      const bool has_body = record.body.where != proto::BodyRef::Where::kNone;
      end(task, State::kSucceeded, has_body ? &body : nullptr, forwarded(record.attributes.all));
    }
  } else if (record.state == State::kCancelled && fits && task.stop == Stop::kNone) {
    // It stopped on its own: another worker may do better.
    task.orphan ? forget(run.id) : place(task);
  } else {
    run_answered(task, record, session.name, fits);
  }
  settle();
}

// --- failures ------------------------------------------------------------------------------------

FailedRun Model::failed_run(const Task& task, const std::string& worker, std::string type,
                            std::string message) const {
  return {.attempt = task.attempt,
          .worker = worker,
          .started = task.started,
          .ended = now_,
          .type = std::move(type),
          .message = std::move(message)};
}

// Which run was the last, and those that failed.
Attributes Model::last_run(const Task& task, const std::string& worker) const {
  Attributes out;
  if (task.attempt > 0) out[4] = packed(uint64_t{task.attempt});
  if (!worker.empty()) out[6] = packed(worker);
  if (task.history.empty()) return out;
  out[28] = history_of(task, now_);
  return out;
}

// A run was answered, and not well. What it was told to stop for counts more than its words.
void Model::run_answered(Task& task, const Record& record, const std::string& worker, bool fits) {
  if (ended_as_told(task, worker)) return;
  if (task.stop != Stop::kNone) return run_lost(task, worker);
  if (record.attributes.crashed) return crash(task, worker);
  Attributes attributes;
  std::string type = "Failed", message = "*";
  if (fits) {
    attributes = forwarded(record.attributes.all);
    for (uint64_t key : {4, 6, 28}) attributes.erase(key);  // the broker knows better
    if (proto::Value error = attribute(record.attributes.all, 2)) {
      type = error.get("type").text().value_or("");
      message = std::string(error.get("message").text().value_or("")).substr(0, 1024);
    }
  } else {
    type = record.fault.empty() ? "TooLarge" : "Refused";
  }
  attributes.emplace(2, kErrorOf + type);
  const std::string body(fits ? body_view(record) : "");
  const bool has_body = fits && record.body.where != proto::BodyRef::Where::kNone;
  failed(task, worker, failed_run(task, worker, type, message), record.attributes.no_retry || !fits,
         has_body ? &body : nullptr, std::move(attributes));
}

// It was told to stop because of a time-out, and is over now.
void Model::run_lost(Task& task, const std::string& worker) {
  const bool too_long = task.stop == Stop::kRunTimeout;
  ++coverage_[static_cast<size_t>(too_long ? Rule::run_timeout : Rule::heartbeat)];
  const std::string type = too_long ? "RunTimeout" : "HeartbeatTimeout";
  failed(task, worker, failed_run(task, worker, type, "*"), false, nullptr, {{2, kErrorOf + type}});
}

void Model::failed(Task& task, const std::string& worker, FailedRun failure, bool hopeless,
                   const std::string* body, Attributes attributes) {
  const config::TaskType& type = config_->type(task.type);
  const uint64_t attempts = task.attempts.value_or(type.attempts);
  const std::vector<std::string>& never = task.no_retry_on ? *task.no_retry_on : type.no_retry_on;
  hopeless |= std::find(never.begin(), never.end(), failure.type) != never.end();
  ++task.failures;
  if (attempts > 1 && !task.is_item) {
    task.history.push_back(std::move(failure));
    if (task.history.size() > 16) task.history.pop_front();
    ++coverage_[static_cast<size_t>(Rule::history)];
  }
  if (!hopeless && task.failures < attempts) {
    if (task.orphan) return forget(task.id);
    return back_off(task, task.failures);
  }
  attributes.merge(last_run(task, worker));
  end(task, !hopeless && attempts > 1 ? State::kDead : State::kFailed, body, std::move(attributes));
}

// What ran it died. The first time it runs again at once.
void Model::crash(Task& task, const std::string& worker) {
  ++task.crashes;
  task.suspect = true;
  if (task.orphan) return forget(task.id);
  if (!task.is_item) {
    task.history.push_back(failed_run(task, worker, "WorkerDied", "*"));
    if (task.history.size() > 16) task.history.pop_front();
  }
  if (task.crashes >= config_->tuskd.limits.max_crashes) {
    ++coverage_[static_cast<size_t>(Rule::dead)];
    Attributes attributes = last_run(task, worker);
    attributes[2] = kErrorOf + "WorkerDied";
    return end(task, State::kDead, nullptr, std::move(attributes));
  }
  if (task.crashes == 1) return place(task);
  back_off(task, task.crashes - 1);
}

// --- another run ---------------------------------------------------------------------------------

// Another run after min(most, first * factor^(runs - 1)).
void Model::back_off(Task& task, uint32_t runs) {
  const config::TaskType& type = config_->type(task.type);
  const auto ns = [](config::Duration d) {
    return static_cast<double>(std::chrono::nanoseconds(d).count());
  };
  const Backoff usual{ns(type.retry_backoff), ns(type.max_backoff), type.backoff_factor};
  const Backoff pause = task.backoff.value_or(usual);
  const double wait = std::min(pause.most, pause.first * std::pow(pause.factor, runs - 1));
  delay(task, static_cast<Nanos>(wait));
  give_back_if_stopping(task);
}

void Model::give_back_if_stopping(Task& task) {
  if (stopping_ && !task.is_item) give_back(task.id, code::kShuttingDown, Rule::shutdown);
}

// It waits for so long; then it stands behind those that wait by then.
void Model::delay(Task& task, Nanos wait) {
  queue_.erase(task.order);
  task.phase = Phase::kBackoff;
  task.due = now_ + wait;
  alarm(task.due, {.what = Alarm::kDelay, .id = task.id});
}

void Model::delay_over(Task& task) {
  ++coverage_[static_cast<size_t>(task.attempt == 0 ? Rule::delay : Rule::retry)];
  task.order = ++order_;
  task.since = now_;
  place(task);
  settle();
}

// The handler cannot run now: the task waits, nothing is charged.
void Model::on_defer(Session& session, const Record& record) {
  const auto at = run_of(session, record);
  if (at == session.runs.end()) return;
  const Run run = take_run(session, static_cast<size_t>(at - session.runs.begin()));
  if (run.ghost) return settle();
  ++coverage_[static_cast<size_t>(Rule::defer)];
  Task& task = tasks_.at(run.id);
  if (ended_as_told(task, session.name)) {
    // It was told to stop for good, and has.
  } else if (task.stop != Stop::kNone) {
    run_lost(task, session.name);
  } else if (task.orphan) {
    forget(run.id);
  } else {
    delay(task, static_cast<Nanos>(record.time) * kMillisecond);
    give_back_if_stopping(task);
  }
  settle();
}

void Model::on_returned(Session& session, const Record& record) {
  for (proto::Value value : record.value.items()) {
    const uint64_t handle = value.number().value_or(0);
    auto at = std::find_if(session.runs.begin(), session.runs.end(),
                           [&](const Run& run) { return run.handle == handle && handle; });
    if (at == session.runs.end()) continue;
    const Run run = take_run(session, static_cast<size_t>(at - session.runs.begin()));
    if (!run.ghost) {
      Task& task = tasks_.at(run.id);
      pay(task, -task.cost);
      if (ended_as_told(task, session.name)) {
        // It was told to stop for good, and has.
      } else if (task.orphan) {
        forget(run.id);
      } else {
        --task.attempt;  // it never ran
        place(task);
      }
    }
    // Its slot is free for the task itself, and for others once the whole record is read.
    settle();
  }
  settle();
}

void Model::on_slots(Session& session, const Record& record) {
  session.slots = std::min<uint64_t>(record.ref, config_->tuskd.limits.max_tasks);
  settle();
}

}  // namespace tusk::simulation
