// How a task runs: it is given to a worker, and the worker answers.
#include <utility>

#include "daemon/core/broker.h"

namespace tusk::core {

using proto::BodyOut;
using proto::Kind;
using proto::Record;
using proto::State;
using proto::TaskId;
using proto::Writer;
namespace code = proto::code;

// --- dispatch ------------------------------------------------------------------------------------

// Gives the task to a worker with a free slot, or puts it into its queue.
void Broker::place(uint32_t t) {
  Task& task = tasks_[t];
  Type& type = scheduler_.type(task.type);
  task.lane = task.terms ? lane_of(t) : type.lane;
  const Lane& lane = scheduler_.lane(task.lane);
  const Queue& queue = task.suspect ? lane.suspects : lane.waiting;
  if (queue.empty() && type.closed == 0 && scheduler_.room_behind(type)) {
    const uint32_t worker = scheduler_.worker_for(task.lane, task.suspect);
    if (worker != kNone) return dispatch(t, worker);
  }
  scheduler_.enqueue(t);
  if (!lane.is_served()) wait_for_worker(task.type);
}

// The run's bookkeeping: slot, handle, the room that its result will need.
void Broker::start_run(uint32_t t, uint32_t w) {
  Task& task = tasks_[t];
  Type& type = scheduler_.type(task.type);
  WorkerState& worker = workers_[w];
  task.state = TaskState::kRunning;
  task.stop = Stop::kNone;
  task.suspended = false;
  task.started = now_;
  task.claimed_by = Task::kNobody;
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
  if (type.limited || task.terms) pay(t);
  if (task.lane == kNone) {  // a claim
    sticks_to(t, w);
    task.lane = task.terms ? lane_of(t) : type.lane;
  }
  scheduler_.dispatched(w, task.lane);
  if (task.terms) {
    task.terms->credit = task.terms->stream;
    task.terms->chunks = 0;
    task.terms->last_sign = now_;
    watch_run(t);
  }
}

void Broker::dispatch(uint32_t t, uint32_t w) {
  Task& task = tasks_[t];
  ++task.attempt;
  start_run(t, w);
  ++counters_.dispatched;
  const Type& type = scheduler_.type(task.type);
  const size_t small = task.body.size() < proto::kFrameBody ? task.body.size() : 0;
  const proto::AttributeEntries forwarded{task.forwarded.view(), task.forwarded_count};
  const proto::AttributeEntries attributes = task.terms ? run_attributes(task) : forwarded;
  writer(sessions_[workers_[w].session], kRecordOverhead + small + attributes.entries.size())
      .task(type.is_stage ? Kind::kItem : Kind::kTask, handle_of(t), task.id, type.handler,
            task.attempt, BodyOut::shared(task.body), attributes);
}

// What the worker is told beside what its client says: its time, and what earlier runs left.
proto::AttributeEntries Broker::run_attributes(const Task& task) {
  const Terms& terms = *task.terms;
  run_scratch_.clear();
  run_scratch_.raw(task.forwarded.view(), task.forwarded_count);
  std::optional<Duration> left;
  if (terms.run_timeout > Duration{0}) left = terms.run_timeout;
  if (terms.deadline) {
    const Duration rest = std::max(Duration{0}, *terms.deadline - now_);
    left = left ? std::min(*left, rest) : rest;
  }
  if (left) {
    run_scratch_.number(proto::Attribute::kTimeLeft, static_cast<uint64_t>(milliseconds(*left)));
  }
  if (terms.stream > 0) run_scratch_.number(proto::Attribute::kStream, terms.stream);
  if (terms.checkpoint) {
    const std::string_view bytes = terms.checkpoint.view();
    run_scratch_.key(proto::Attribute::kCheckpoint)
        .pack_bin(static_cast<uint32_t>(bytes.size()))
        .pack_bin_body(bytes.data(), static_cast<uint32_t>(bytes.size()));
  }
  return run_scratch_;
}

// Takes the run off its worker. The caller decides what becomes of the task, and then fills the
// worker's slot again.
void Broker::release(uint32_t t) {
  Task& task = tasks_[t];
  Type& type = scheduler_.type(task.type);
  WorkerState& worker = workers_[task.worker];
  if (task.suspended) end_suspension(t);
  worker.running.remove(tasks_, t);
  if (worker.suspect == t) worker.suspect = kNone;
  scheduler_.finished(task.worker, std::exchange(task.lane, kNone));
  const uint32_t w = std::exchange(task.worker, kNone);
  timers_.cancel(task.timer);  // of its time-out, or of the grace in which it is to stop
  --type.running;
  if (type.limited) refresh_type(task.type);
  if (type.is_stage && type.stage + 1 < scheduler_.stages().size()) {
    --scheduler_.type(scheduler_.stages()[type.stage + 1]).reserved;
  }
  resume_runs(w);  // before the slot goes to anything else
}

void Broker::fill_worker(uint32_t w) {
  resume_runs(w);
  const Time aged_since = now_ - Duration(config_->tuskd.times.ageing);
  for (;;) {
    const uint32_t t = scheduler_.take_for(w, aged_since);
    if (t == kNone) return;
    sticks_to(t, w) ? dispatch(t, w) : place(t);
    // The start of a run may let in another task of its limit key, which has its turn before what
    // waits behind it.
    if (moved_gates_.empty()) continue;
    scheduler_.relieved().push_back(w);
    return;
  }
}

// Dispatches what waits in a type for as long as somebody is free.
void Broker::serve_type(uint32_t type) {
  for (;;) {
    const Scheduler::Match next = scheduler_.next_of(type);
    if (next.lane == kNone) return;
    const uint32_t t = scheduler_.head(next.lane, next.suspect);
    scheduler_.unqueue(t, true);
    sticks_to(t, next.worker) ? dispatch(t, next.worker) : place(t);
  }
}

// --- results -------------------------------------------------------------------------------------

uint32_t Broker::refuse_run(Session& session, const Record& record) {
  ++counters_.errors_unknown_handle;
  log(config::LogLevel::warning, LogTopic::kHandle, [&] {
    return "dropped a " + std::string(proto::kind_name(record.kind)) + " of " + session.name +
           " for a run that is not its own";
  });
  error(Caller{.session = session.index}, record.ref, code::kUnknownHandle,
        "the run is not this worker's, or no longer");
  return kNone;
}

void Broker::result(Session& session, const Record& record) {
  const uint32_t t = own_run(session, record);
  if (t == kNone) return;
  const uint32_t w = session.worker;
  Task& task = tasks_[t];
  const uint32_t type = task.type;
  if (task.state == TaskState::kGhost) {
    release(t);
    free_task(t);
    run_left(type);
    return fill_worker(w);
  }
  if (const proto::Terms* said = record.attributes.terms; said && said->cost) {
    correct_cost(t, *said->cost);
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
      scratch_.forward(record.attributes.all, kEndingsOwn);
      end(t, State::kSucceeded, body_out(record), scratch_);
    }
  } else if (record.state == State::kCancelled && fits && task.stop == Stop::kNone) {
    requeue(t);  // it stopped on its own: another worker may do better
    run_left(type);
  } else {
    ++worker.counters.failed;
    run_failed(t, record, session.name, fits);
    run_left(type);
  }
  fill_worker(w);
}

// The task runs again, at its old place, and nothing is charged.
void Broker::requeue(uint32_t t) {
  if (tasks_[t].orphan)
    return forget(t);  // nobody submitted it; the client's resend starts it anew
  ++counters_.requeued;
  ++scheduler_.type(tasks_[t].type).counters.requeued;
  wait_again(tasks_[t]);
  enter(t);
}

// A run left its worker, and its item may not have gone to the next stage: then the room that was
// reserved for it there is free.
void Broker::run_left(uint32_t index) {
  const Type& type = scheduler_.type(index);
  if (!type.is_stage) return;
  room_at(index);
  if (type.stage + 1 < scheduler_.stages().size()) room_at(scheduler_.stages()[type.stage + 1]);
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
    } else {
      pay_back(task);
      if (!ended_as_told(t, session.name)) {
        if (task.attempt > 0) --task.attempt;  // it never ran
        requeue(t);
      }
    }
    run_left(type);
  }
  fill_worker(session.worker);
}

}  // namespace tusk::core
