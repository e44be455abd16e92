// How a run is told to stop, and what becomes of its task: cancel, deadline, time-outs.
#include <algorithm>

#include "tests/simulation/model.h"

namespace tusk::simulation {

namespace code = proto::code;
using proto::Record;

namespace {

const char* reason_of(Stop why) {
  switch (why) {
    case Stop::kDeadline:
      return "deadline";
    case Stop::kRunTimeout:
      return "run_timeout";
    case Stop::kHeartbeatTimeout:
      return "heartbeat_timeout";
    default:
      return "cancelled";
  }
}

}  // namespace

// A run is told once. After a cancel or a deadline its task ends within a grace; after a time-out
// the task waits for as long as its run goes on.
void Model::tell_to_stop(Task& task, Stop why) {
  Session& session = sessions_.at(task.session);
  for (const Run& run : session.runs) {
    if (run.id != task.id || run.ghost || task.stop != Stop::kNone) continue;
    const Rule rule = why == Stop::kCancelled    ? Rule::cancel_told
                      : why == Stop::kDeadline   ? Rule::deadline
                      : why == Stop::kRunTimeout ? Rule::run_timeout
                                                 : Rule::heartbeat;
    owe_session(session, {.rule = rule,
                          .kind = Kind::kCancel,
                          .ref = run.handle,
                          .name = reason_of(why),
                          .id = task.id});
  }
  task.stop = why;
  task.due = task.limit = kNever;
  if (why != Stop::kCancelled && why != Stop::kDeadline) return;
  task.due = now_ + std::chrono::nanoseconds(config_->tuskd.times.cancel_grace).count();
  alarm(task.due, {.what = Alarm::kCancel, .id = task.id});
}

bool Model::ended_as_told(Task& task, const std::string& worker) {
  if (task.stop != Stop::kCancelled && task.stop != Stop::kDeadline) return false;
  end_as_told(task, task.stop == Stop::kDeadline ? State::kExpired : State::kCancelled, worker);
  return true;
}

// The worker did not answer in time: the task ends, its slot stays taken by a ghost.
void Model::stop_grace_over(Task& task) {
  ++coverage_[static_cast<size_t>(Rule::cancel_grace)];
  Session& session = sessions_.at(task.session);
  for (Run& run : session.runs) {
    if (run.id == task.id) run.ghost = true;
  }
  task.session = 0;
  ended_as_told(task, session.name);
  settle();
}

void Model::on_cancel(const Who& who, const Record& record) {
  auto say = [&](std::string_view state) {
    owe(who, {.rule = Rule::cancel_answer,
              .kind = Kind::kAnswer,
              .ref = record.ref,
              .name = std::string(state)});
  };
  const TaskId id = record.id();
  auto it = tasks_.find(id);
  if (it == tasks_.end()) {
    const Ended* ended = remembered(id);
    if (ended) return say(proto::state_name(ended->state));
    return error(who, Rule::cancel_answer, record.ref, code::kUnknownTask);
  }
  Task& task = it->second;
  if (task.phase == Phase::kEnded) return say(proto::state_name(task.ending));
  if (task.phase != Phase::kRunning) {
    queue_.erase(task.order);
    end_as_told(task, State::kCancelled, "");
    say("cancelled");
    return settle();
  }
  say("cancelling");
  if (task.stop == Stop::kDeadline) {
    task.stop = Stop::kCancelled;  // within the grace that it has
  } else if (task.stop != Stop::kCancelled) {
    tell_to_stop(task, Stop::kCancelled);
  }
}

void Model::deadline_passed(Task& task) {
  if (task.phase == Phase::kRunning) {
    if (task.stop != Stop::kCancelled) tell_to_stop(task, Stop::kDeadline);
    return;
  }
  ++coverage_[static_cast<size_t>(Rule::deadline)];
  end_as_told(task, State::kExpired, "");
  settle();
}

// When its run has taken too long, or was silent for too long, if nothing comes of it until then.
void Model::watch_run(Task& task) {
  task.limit = kNever;
  if (task.run_timeout > 0) task.limit = task.started + task.run_timeout;
  if (task.heartbeat_timeout > 0) {
    task.limit = std::min(task.limit, task.sign + task.heartbeat_timeout);
  }
  if (task.limit != kNever) alarm(task.limit, {.what = Alarm::kRunLimit, .id = task.id});
}

void Model::run_limit_reached(Task& task) {
  const bool too_long = task.run_timeout > 0 && now_ >= task.started + task.run_timeout;
  const bool silent = task.heartbeat_timeout > 0 && now_ >= task.sign + task.heartbeat_timeout;
  if (!too_long && !silent) return watch_run(task);  // it gave a sign of life since
  tell_to_stop(task, too_long ? Stop::kRunTimeout : Stop::kHeartbeatTimeout);
}

}  // namespace tusk::simulation
