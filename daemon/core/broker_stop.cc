// How a run is told to stop, and what becomes of its task: cancel, deadline, time-outs, hangs.
#include <algorithm>

#include "daemon/core/broker.h"

namespace tusk::core {

using proto::Record;
using proto::State;
using proto::TaskId;
using proto::Writer;
namespace code = proto::code;

namespace {

std::string_view reason_of(Stop stop) {
  switch (stop) {
    case Stop::kParent:
      return "parent";
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

// --- telling -------------------------------------------------------------------------------------

// Tells the worker to stop the run, unless it was told before. A cancel and a deadline end the task
// after a grace; a time-out waits until the run is over, so that the next one is never beside it.
void Broker::tell_to_stop(uint32_t t, Stop why) {
  Task& task = tasks_[t];
  if (task.stop == Stop::kNone) {
    writer(sessions_[workers_[task.worker].session], kRecordOverhead)
        .cancel(handle_of(t), task.id, reason_of(why));
  }
  task.stop = why;
  timers_.cancel(task.timer);
  const config::Times& times = config_->tuskd.times;
  const bool ends = why == Stop::kCancelled || why == Stop::kParent || why == Stop::kDeadline;
  task.timer = ends ? timers_.add(now_ + times.cancel_grace, {Timer::Kind::kStopGrace, t})
                    : timers_.add(now_ + times.hang_kill, {Timer::Kind::kHang, t});
}

// Whether the task ended because its run was told to stop for good: it was cancelled or expired.
bool Broker::ended_as_told(uint32_t t, std::string_view worker) {
  switch (tasks_[t].stop) {
    case Stop::kCancelled:
    case Stop::kParent:
      end_cancelled(t, worker);
      return true;
    case Stop::kDeadline:
      end_expired(t, worker);
      return true;
    default:
      return false;
  }
}

// The worker did not stop in time: the task ends, its slot stays taken by a ghost.
void Broker::stop_grace_over(uint32_t t) {
  const uint32_t g = tasks_.add();
  Task& moved = tasks_[g];
  Task& ghost = tasks_[t];
  // The ghost keeps its place in the worker's list under the old handle, so it is the task that
  // moves to a new place.
  moved.id = ghost.id;
  moved.type = ghost.type;
  moved.asker = ghost.asker;
  moved.more_askers = std::move(ghost.more_askers);
  moved.attempt = ghost.attempt;
  moved.order = ghost.order;
  moved.serial = ghost.serial;
  moved.priority = ghost.priority;
  moved.orphan = ghost.orphan;
  moved.digest = ghost.digest;
  moved.body = std::move(ghost.body);
  moved.stop = ghost.stop;
  moved.state = TaskState::kRunning;
  leave_family(t);  // its children were cancelled when it was
  moved.terms = std::move(ghost.terms);
  if (moved.terms) {
    timers_.cancel(moved.terms->deadline_timer);
    if (moved.terms->unique != kNone) unique_[moved.terms->unique].task = g;
    for (uint32_t node : moved.terms->labels) labels_.move(node, g);
    keep_gates(ghost, *moved.terms);
  }
  ghost.state = TaskState::kGhost;
  ghost.asker = {};
  ghost.forwarded = {};
  index_.replace(ghost.id.hash(), t, g);
  const config::Times& times = config_->tuskd.times;
  const Duration more = std::max(Duration{0}, Duration(times.hang_kill - times.cancel_grace));
  ghost.timer = timers_.add(now_ + more, {Timer::Kind::kHang, t});
  const std::string& worker = sessions_[workers_[ghost.worker].session].name;
  log(config::LogLevel::warning, LogTopic::kPeer,
      [&] { return "worker " + worker + " did not stop a run in time; its slot stays taken"; });
  ended_as_told(g, worker);
}

// --- cancel --------------------------------------------------------------------------------------

void Broker::cancel(const Caller& caller, const Record& record) {
  auto say = [&](std::string_view state) {
    answer(caller, kRecordOverhead, [&](Writer& out) {
      out.start(proto::Kind::kAnswer, 3).pack_uint64(record.ref);
      out.packer().pack_map(1);
      out.text("state");
      out.text(state);
    });
  };
  const TaskId id = record.id();
  const uint32_t t = find_task(id);
  if (t == kNone) {
    return error(caller, record.ref, code::kUnknownTask,
                 "the broker knows no task " + id.hex() + "; it may have ended long ago");
  }
  if (is_ended(t)) return say(proto::state_name(ended_at(t).state));
  say(cancel_task(t, Stop::kCancelled));
}

// Cancels it, if it has not ended; what is to be said of it.
std::string_view Broker::cancel_task(uint32_t t, Stop why) {
  Task& task = tasks_[t];
  if (task.state != TaskState::kEnded) cancel_children(t);
  switch (task.state) {
    case TaskState::kEnded:
      return proto::state_name(task.ending);
    case TaskState::kRunning:
      if (task.stop == Stop::kDeadline) {
        task.stop = why;  // the grace that it has goes on
      } else if (task.stop != Stop::kCancelled && task.stop != Stop::kParent) {
        tell_to_stop(t, why);
      }
      return "cancelling";
    case TaskState::kGhost:
      return "cancelled";
    default:
      leave_queue(t);
      end_cancelled(t, "");
      return "cancelled";
  }
}

// Takes a task that does not run out of where it waits.
void Broker::leave_queue(uint32_t t) {
  Task& task = tasks_[t];
  if (task.state == TaskState::kWaiting) {
    scheduler_.unqueue(t);
    task.lane = kNone;
  } else if (task.state == TaskState::kParked) {
    unpark(t);
  } else {
    timers_.cancel(task.timer);
    leave_outside(task, t);
    --scheduler_.type(task.type).elsewhere;
  }
}

// --- time ----------------------------------------------------------------------------------------

void Broker::deadline_passed(uint32_t t) {
  const Task& task = tasks_[t];
  cancel_children(t);
  if (task.state != TaskState::kRunning) {
    leave_queue(t);
    return end_expired(t, "");
  }
  if (task.stop != Stop::kCancelled && task.stop != Stop::kParent) {
    tell_to_stop(t, Stop::kDeadline);
  }
}

// Sets the timer of a run that may not take for ever, or not be silent for ever.
void Broker::watch_run(uint32_t t) {
  Task& task = tasks_[t];
  const Terms& terms = *task.terms;
  std::optional<Time> limit;
  if (terms.run_timeout > Duration{0}) limit = task.started + terms.run_timeout;
  if (terms.heartbeat_timeout > Duration{0} && !task.suspended) {
    const Time silent = terms.last_sign + terms.heartbeat_timeout;
    limit = limit ? std::min(*limit, silent) : silent;
  }
  if (limit) task.timer = timers_.add(*limit, {Timer::Kind::kRunLimit, t});
}

void Broker::run_limit_reached(uint32_t t) {
  const Task& task = tasks_[t];
  const Terms& terms = *task.terms;
  const bool too_long = terms.run_timeout > Duration{0} && now_ >= task.started + terms.run_timeout;
  const bool silent = terms.heartbeat_timeout > Duration{0} && !task.suspended &&
                      now_ >= terms.last_sign + terms.heartbeat_timeout;
  if (!too_long && !silent) return watch_run(t);  // it gave a sign of life since
  ++counters_.timed_out;
  tell_to_stop(t, too_long ? Stop::kRunTimeout : Stop::kHeartbeatTimeout);
}

// --- hangs ---------------------------------------------------------------------------------------

// A run that was told to stop has not for hang_kill. Whoever started its worker may replace it.
void Broker::run_hangs(uint32_t t) {
  const Session& session = sessions_[workers_[tasks_[t].worker].session];
  ++counters_.hung;
  log(config::LogLevel::warning, LogTopic::kPeer, [&] {
    return "a run of type " + scheduler_.type(tasks_[t].type).name + " on worker " + session.name +
           " hangs: it was told to stop and has not";
  });
  if (session.watched) actions_->hangs.push_back({session.number, session.pid});
}

// tuskd started this worker: it gets no more tasks, and its other runs have a grace.
void Broker::on(const Replaceable& event) {
  auto it = session_by_number_.find(event.session);
  if (it == session_by_number_.end()) return;
  Session& session = sessions_[it->second];
  if (session.worker == kNone || workers_[session.worker].condemned) return;
  WorkerState& worker = workers_[session.worker];
  worker.condemned = true;
  update_worker(session);
  writer(session, kRecordOverhead).drain("a run hangs; this process is about to be replaced");
  worker.condemned_timer = timers_.add(now_ + config_->tuskd.times.cancel_grace,
                                       {Timer::Kind::kCondemned, session.worker});
  check_condemned(session.worker);
}

// Once nothing is left on it but what hangs, there is nothing to wait for.
void Broker::check_condemned(uint32_t w) {
  WorkerState& worker = workers_[w];
  if (!worker.condemned || worker.condemned_timer == kNoTimer) return;
  for (uint32_t t = worker.running.head; t != kNone; t = tasks_[t].next) {
    if (tasks_[t].stop == Stop::kNone) return;
  }
  timers_.cancel(worker.condemned_timer);
  replace_worker(w);
}

void Broker::replace_worker(uint32_t w) {
  const Session& session = sessions_[workers_[w].session];
  log(config::LogLevel::warning, LogTopic::kOperator, [&] {
    return "kills worker " + session.name + ", of which a run hangs; it is started again";
  });
  actions_->kills.push_back({session.number, session.pid});
}

}  // namespace tusk::core
