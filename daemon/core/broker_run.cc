// How a task runs: dispatch, result, retry, crash, cancel.
#include <algorithm>

#include "daemon/core/broker.h"

namespace tusk::core {

using proto::BodyOut;
using proto::Kind;
using proto::Record;
using proto::State;
using proto::TaskId;
using proto::Writer;
namespace code = proto::code;

namespace {

// What a failed run's attributes pass on. The broker's own word on attempt and worker follows, so
// the worker's is left out; a failure without a reason gets one.
void forward_failure(proto::AttributeWriter& out, proto::Value map) {
  using proto::Attribute;
  bool is_key = true, has_error = false;
  uint64_t number = 0;
  for (proto::Value v : map.items()) {
    if (is_key) {
      number = *v.number();
    } else {
      const auto key = static_cast<Attribute>(number);
      const bool replaced = key == Attribute::kAttempt || key == Attribute::kWorker;
      const bool passes = (number % 2 == 0 && !replaced) || key == Attribute::kCodec ||
                          key == Attribute::kCompression || key == Attribute::kNoRetry;
      if (passes) proto::write_value(out.key(key), v);
      has_error |= key == Attribute::kError;
    }
    is_key = !is_key;
  }
  if (!has_error) out.error("Failed", "the worker gave no reason", "tuskd");
}

}  // namespace

// --- dispatch ------------------------------------------------------------------------------------

// Gives the task to a worker with a free slot, or puts it into its queue.
void Broker::place(uint32_t t) {
  Task& task = tasks_[t];
  Type& type = scheduler_.type(task.type);
  List<Task>& queue = task.suspect ? type.suspects : type.waiting;
  if (queue.empty() && scheduler_.room_behind(type)) {
    const uint32_t worker = scheduler_.worker_for(task.type, task.suspect);
    if (worker != kNone) return dispatch(t, worker);
  }
  scheduler_.enqueue(t);
  if (type.groups.empty()) wait_for_worker(task.type);
}

// The run's bookkeeping: slot, handle, the room that its result will need.
void Broker::start_run(uint32_t t, uint32_t w) {
  Task& task = tasks_[t];
  Type& type = scheduler_.type(task.type);
  WorkerState& worker = workers_[w];
  task.state = TaskState::kRunning;
  task.worker = w;
  task.generation = (task.generation + 1) & kGenerationMask;
  if (task.generation == 0) task.generation = 1;  // a handle is never 0
  worker.running.push_back(tasks_, t);
  if (task.suspect && worker.suspect == kNone) worker.suspect = t;
  ++worker.counters.dispatched;
  ++type.running;
  if (type.is_stage && type.stage + 1 < scheduler_.stages().size()) {
    ++scheduler_.type(scheduler_.stages()[type.stage + 1]).reserved;
  }
  scheduler_.dispatched(w);
}

void Broker::dispatch(uint32_t t, uint32_t w) {
  Task& task = tasks_[t];
  ++task.attempt;
  start_run(t, w);
  ++counters_.dispatched;
  const Type& type = scheduler_.type(task.type);
  const size_t small = task.body.size() < proto::kFrameBody ? task.body.size() : 0;
  writer(sessions_[workers_[w].session], kRecordOverhead + small + task.forwarded.size())
      .task(type.is_stage ? Kind::kItem : Kind::kTask, handle_of(t), task.id, type.handler,
            task.attempt, BodyOut::shared(task.body),
            {task.forwarded.view(), task.forwarded_count});
}

// Takes the run off its worker. The caller decides what becomes of the task, and then fills the
// worker's slot again.
void Broker::release(uint32_t t) {
  Task& task = tasks_[t];
  Type& type = scheduler_.type(task.type);
  WorkerState& worker = workers_[task.worker];
  worker.running.remove(tasks_, t);
  if (worker.suspect == t) worker.suspect = kNone;
  scheduler_.changed(task.worker);
  task.worker = kNone;
  timers_.cancel(task.timer);  // of a cancel's grace
  --type.running;
  if (type.is_stage && type.stage + 1 < scheduler_.stages().size()) {
    --scheduler_.type(scheduler_.stages()[type.stage + 1]).reserved;
  }
}

void Broker::fill_worker(uint32_t w) {
  for (;;) {
    const uint32_t t = scheduler_.task_for(w);
    if (t == kNone) return;
    scheduler_.unqueue(t);
    dispatch(t, w);
  }
}

// Dispatches what waits in a type for as long as somebody is free.
void Broker::serve_type(uint32_t type) {
  for (bool suspect : {true, false}) {
    for (;;) {
      const uint32_t t = scheduler_.head(type, suspect);
      if (t == kNone) break;
      const uint32_t worker = scheduler_.worker_for(type, suspect);
      if (worker == kNone) break;
      scheduler_.unqueue(t);
      dispatch(t, worker);
    }
  }
}

// --- results -------------------------------------------------------------------------------------

void Broker::result(Session& session, const Record& record) {
  const uint32_t w = session.worker;
  const uint32_t t = running_task(w, record.ref);
  if (t == kNone) {
    ++counters_.errors_unknown_handle;
    log(config::LogLevel::warning, LogTopic::kHandle,
        [&] { return "dropped a result of " + session.name + " for a run that is not its own"; });
    return error(Caller{.session = session.index}, record.ref, code::kUnknownHandle,
                 "the run is not this worker's, or no longer");
  }
  Task& task = tasks_[t];
  const uint32_t type = task.type;
  if (task.state == TaskState::kGhost) {
    release(t);
    free_task(t);
    run_left(type);
    return fill_worker(w);
  }
  const bool refused = !record.fault.empty();  // which the worker was told already
  const bool fits = !refused && check_body(Caller{.session = session.index}, record);
  release(t);
  WorkerState& worker = workers_[w];
  if (record.state == State::kSucceeded && fits) {
    ++worker.counters.succeeded;
    if (scheduler_.type(task.type).is_stage) {
      item_done(t, record);
    } else {
      scratch_.clear();
      scratch_.forward(record.attributes.all);
      end(t, State::kSucceeded, body_out(record), scratch_);
    }
  } else if (record.state == State::kCancelled && fits && !task.cancel_requested) {
    if (task.orphan) {
      forget(t);
    } else {
      ++counters_.requeued;  // it stopped on its own: another worker may do better
      ++scheduler_.type(type).counters.requeued;
      place(t);
    }
    run_left(type);
  } else {
    ++worker.counters.failed;
    scratch_.clear();
    if (fits) {
      forward_failure(scratch_, record.attributes.all);
    } else if (refused) {
      scratch_.error("Refused", std::string("the broker refused the result: ") + record.fault_text,
                     "tuskd");
    } else {
      scratch_.error("TooLarge",
                     "the result is larger than the broker's limit for bodies, or no whole LZ4 "
                     "frame",
                     "tuskd");
    }
    run_failed(t, record, session.name, fits);
    run_left(type);
  }
  fill_worker(w);
}

// A run left its worker, and its item may not have gone to the next stage: then the room that was
// reserved for it there is free.
void Broker::run_left(uint32_t index) {
  const Type& type = scheduler_.type(index);
  if (!type.is_stage) return;
  room_at(index);
  if (type.stage + 1 < scheduler_.stages().size()) room_at(scheduler_.stages()[type.stage + 1]);
}

// `scratch_` holds the attributes that came with the failure.
void Broker::run_failed(uint32_t t, const Record& record, const std::string& worker, bool fits) {
  Task& task = tasks_[t];
  const Type& type = scheduler_.type(task.type);
  if (task.cancel_requested) return end_cancelled(t, worker);
  if (record.attributes.crashed) return crash(t, worker, "the process that ran it in");
  ++task.failures;
  const bool hopeless = record.attributes.no_retry || !fits;
  if (!hopeless && task.failures < type.settings.attempts) {
    if (task.orphan) return forget(t);  // no body to run again; the client's resend has it
    ++counters_.retried;
    ++scheduler_.type(task.type).counters.retried;
    retry(t, task.failures);
    if (stopping_ && !type.is_stage) {
      give_back(t, code::kShuttingDown, "tuskd is shutting down and will not run the task again");
    }
    return;
  }
  scratch_.number(proto::Attribute::kAttempt, task.attempt);
  scratch_.text(proto::Attribute::kWorker, worker);
  const bool dead = !hopeless && type.settings.attempts > 1;
  end(t, dead ? State::kDead : State::kFailed, fits ? body_out(record) : BodyOut{}, scratch_);
}

// Another run after a back-off that doubles with each, give or take a quarter.
void Broker::retry(uint32_t t, uint32_t runs) {
  const config::Times& times = config_->tuskd.times;
  Duration wait = times.retry_backoff;
  for (uint32_t i = 1; i < runs && wait < times.max_backoff; ++i) wait *= 2;
  wait = std::min(wait, Duration(times.max_backoff));
  const double jitter = 0.75 + 0.5 * static_cast<double>(random_() % 1024) / 1024;
  wait = Duration(static_cast<int64_t>(static_cast<double>(wait.count()) * jitter));
  Task& task = tasks_[t];
  task.state = TaskState::kBackoff;
  ++scheduler_.type(task.type).elsewhere;
  task.timer = timers_.add(now_ + wait, {Timer::Kind::kBackoff, t});
}

// What ran the task died: its worker, or a process of it. The first time it runs again at once.
void Broker::crash(uint32_t t, const std::string& worker, const char* what_died) {
  Task& task = tasks_[t];
  ++task.crashes;
  ++counters_.crashed;
  ++scheduler_.type(task.type).counters.crashed;
  task.suspect = true;
  if (task.cancel_requested) return end_cancelled(t, worker);
  if (task.orphan) return forget(t);
  if (task.crashes >= config_->tuskd.limits.max_crashes) {
    const std::string how = std::string(what_died) + " " + worker + " died";
    scratch_.clear();
    scratch_.error("WorkerDied",
                   std::to_string(task.crashes) + " workers died while they ran this task; the " +
                       "last time: " + how,
                   "tuskd");
    scratch_.number(proto::Attribute::kAttempt, task.attempt);
    scratch_.text(proto::Attribute::kWorker, worker);
    log(config::LogLevel::error, LogTopic::kDead, [&] {
      return "task " + task.id.hex() + " of type " + scheduler_.type(task.type).name +
             " is dead: " + how;
    });
    return end(t, State::kDead, {}, scratch_);
  }
  if (task.crashes == 1) return place(t);
  retry(t, task.crashes - 1u);
}

void Broker::returned(Session& session, const Record& record) {
  for (proto::Value item : record.value.items()) {
    auto handle = item.number();
    const uint32_t t = handle ? running_task(session.worker, *handle) : kNone;
    if (t == kNone) {
      ++counters_.errors_unknown_handle;
      continue;
    }
    Task& task = tasks_[t];
    const uint32_t type = task.type;
    release(t);
    if (task.state == TaskState::kGhost) {
      free_task(t);
    } else if (task.cancel_requested) {
      end_cancelled(t, session.name);
    } else if (task.orphan) {
      forget(t);
    } else {
      ++counters_.requeued;
      ++scheduler_.type(type).counters.requeued;
      --task.attempt;  // it never ran
      place(t);
    }
    run_left(type);
  }
  fill_worker(session.worker);
}

// --- cancel --------------------------------------------------------------------------------------

void Broker::cancel(const Caller& caller, const Record& record) {
  auto say = [&](std::string_view state) {
    answer(caller, kRecordOverhead, [&](Writer& out) {
      out.start(Kind::kAnswer, 3).pack_uint64(record.ref);
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
  Task& task = tasks_[t];
  switch (task.state) {
    case TaskState::kEnded:
      return say(proto::state_name(task.ending));
    case TaskState::kRunning:
      if (!task.cancel_requested) {
        task.cancel_requested = true;
        writer(sessions_[workers_[task.worker].session], kRecordOverhead)
            .cancel(handle_of(t), task.id);
        task.timer =
            timers_.add(now_ + config_->tuskd.times.cancel_grace, {Timer::Kind::kCancelGrace, t});
      }
      return say("cancelling");
    case TaskState::kWaiting:
      scheduler_.unqueue(t);
      break;
    case TaskState::kParked:
      unpark(t);
      break;
    case TaskState::kHeld:
    case TaskState::kBackoff:
      timers_.cancel(task.timer);
      --scheduler_.type(task.type).elsewhere;
      break;
    default:
      return say("cancelled");
  }
  end_cancelled(t, "");
  say("cancelled");
}

// The worker did not answer the cancel: the task ends, its slot stays taken by a ghost.
void Broker::cancel_grace_over(uint32_t t) {
  const uint32_t g = tasks_.add();
  Task& ghost = tasks_[g];
  Task& task = tasks_[t];
  // The ghost keeps its place in the worker's list under the old handle, so it is the task that
  // moves to a new place.
  ghost.id = task.id;
  ghost.type = task.type;
  ghost.asker = task.asker;
  ghost.more_askers = std::move(task.more_askers);
  ghost.attempt = task.attempt;
  ghost.orphan = task.orphan;
  ghost.digest = task.digest;
  ghost.body = std::move(task.body);
  ghost.state = TaskState::kRunning;
  task.state = TaskState::kGhost;
  task.asker = {};
  task.forwarded = {};
  index_.replace(task.id.hash(), t, g);
  const std::string& worker = sessions_[workers_[task.worker].session].name;
  log(config::LogLevel::warning, LogTopic::kPeer, [&] {
    return "worker " + worker + " did not stop a cancelled task in time; its slot stays taken";
  });
  end_cancelled(g, worker);
}

}  // namespace tusk::core
