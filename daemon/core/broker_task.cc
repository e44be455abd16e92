// The life of a task: submit, dispatch, result, retry, crash, cancel, ending.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cassert>

#include "daemon/core/broker.h"
#include "proto/lz4.h"

namespace tusk::core {

using proto::BodyOut;
using proto::Bytes;
using proto::Kind;
using proto::Record;
using proto::State;
using proto::TaskId;
using proto::Writer;
namespace code = proto::code;

namespace {

// Endings of peers that never acknowledge are kept for as long as those of others, but only so many
// bytes of them.
constexpr size_t kMaxKeptBytes = 64 << 20;
// Requests that wait for one task besides the first.
constexpr size_t kMaxAskers = 1000;
// A handle is generation and place: unique for 2^29 runs at one place, and below 2^53.
constexpr uint32_t kPlaceBits = 24;
constexpr uint32_t kGenerationMask = (uint32_t{1} << 29) - 1;

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

// --- finding -------------------------------------------------------------------------------------

uint32_t Broker::find_task(const TaskId& id) const {
  return index_.find(id.hash(), [&](uint32_t ref) {
    return (is_ended(ref) ? ended_at(ref).id : tasks_[ref].id) == id;
  });
}

uint64_t Broker::handle_of(uint32_t t) const {
  return uint64_t{tasks_[t].generation} << kPlaceBits | t;
}

uint32_t Broker::running_task(uint32_t worker, uint64_t handle) const {
  const auto t = static_cast<uint32_t>(handle & ((uint64_t{1} << kPlaceBits) - 1));
  if (t >= tasks_.size()) return kNone;
  const Task& task = tasks_[t];
  const bool runs = task.state == TaskState::kRunning || task.state == TaskState::kGhost;
  return runs && task.worker == worker && task.generation == handle >> kPlaceBits ? t : kNone;
}

bool Broker::present(const Asker& asker) const {
  switch (asker.kind) {
    case Asker::Kind::kNobody:
      return false;
    case Asker::Kind::kSession:
      return sessions_[asker.index].number == asker.session;
    case Asker::Kind::kRequest: {
      const Request& request = requests_[asker.index];
      if (request.serial != asker.session) return false;
      return request.session == kNone ||
             sessions_[request.session].number == request.session_number;
    }
  }
  return false;
}

Broker::Caller Broker::caller_of(const Asker& asker) const {
  if (!present(asker)) return Caller{.edge = true};
  if (asker.kind == Asker::Kind::kSession) return Caller{.session = asker.index};
  return Caller{.session = requests_[asker.index].session, .request = asker.index};
}

// Whether this request waits for the task already.
bool Broker::asked(const Task& task, const Caller& caller, uint64_t request) const {
  if (caller.session == kNone) return false;
  auto same = [&](const Asker& asker) {
    return asker.request == request && caller_of(asker).session == caller.session;
  };
  return same(task.asker) || std::any_of(task.more_askers.begin(), task.more_askers.end(), same);
}

// Nobody waits there any longer.
void Broker::retire(const Asker& asker) {
  if (asker.kind != Asker::Kind::kRequest) return;
  if (requests_[asker.index].serial == asker.session) drop_request(asker.index);
}

// --- bodies --------------------------------------------------------------------------------------

std::string_view Broker::body_view(const Record& record) const {
  switch (record.body.where) {
    case proto::BodyRef::Where::kNone:
      return {};
    case proto::BodyRef::Where::kInline:
      return record.body.inline_bytes;
    case proto::BodyRef::Where::kFrame:
      return bodies_[record.body.frame - 1].view();
  }
  return {};
}

// The body to keep: a frame is shared, inline bytes are copied.
Bytes Broker::body_of(const Record& record) const {
  switch (record.body.where) {
    case proto::BodyRef::Where::kNone:
      return {};
    case proto::BodyRef::Where::kInline:
      return Bytes::copy(record.body.inline_bytes);
    case proto::BodyRef::Where::kFrame:
      return bodies_[record.body.frame - 1];
  }
  return {};
}

// The body to pass on at once.
BodyOut Broker::body_out(const Record& record) const {
  if (record.body.where == proto::BodyRef::Where::kInline &&
      record.body.inline_bytes.size() < proto::kFrameBody) {
    return BodyOut::copied(record.body.inline_bytes);
  }
  return BodyOut::shared(body_of(record));
}

// Whether the body is within the limit, also once it is decompressed; if not, says so.
bool Broker::check_body(const Caller& caller, const Record& record) {
  const size_t limit = caller.session == kNone ? config_->tuskd.limits.max_body
                                               : sessions_[caller.session].limits.body;
  const std::string_view body = body_view(record);
  if (body.size() > limit) {
    too_large(caller, record.ref, "the body is larger than the limit", "body", limit);
    return false;
  }
  if (record.attributes.compression == proto::Compression::kLz4) {
    auto bound = proto::lz4_bound(body);
    if (!bound) {
      ++counters_.records_refused;
      error(caller, record.ref, code::kInvalid, "the body is not one whole LZ4 frame", "field",
            "body");
      return false;
    }
    if (*bound > limit) {
      too_large(caller, record.ref, "the body may decompress to more than the limit", "body",
                limit);
      return false;
    }
  }
  return true;
}

uint64_t Broker::digest(uint32_t type, std::string_view body) const {
  const std::string& name = scheduler_.type(type).name;
  return XXH3_64bits_withSeed(body.data(), body.size(), XXH3_64bits(name.data(), name.size()));
}

// --- submit --------------------------------------------------------------------------------------

Asker Broker::asker_for(const Caller& caller, uint64_t request, uint64_t wait) {
  if (caller.request != kNone) {
    start_wait(caller, wait);
    return {Asker::Kind::kRequest, caller.request, requests_[caller.request].serial, request};
  }
  if (caller.session == kNone) return {};
  const uint64_t number = sessions_[caller.session].number;
  if (wait == 0) return {Asker::Kind::kSession, caller.session, number, request};
  const uint32_t index = requests_.add();
  Request& waiting = requests_[index];
  waiting.serial = ++request_serial_;
  waiting.request = request;
  waiting.session = caller.session;
  waiting.session_number = number;
  start_wait(Caller{.request = index}, wait);
  return {Asker::Kind::kRequest, index, waiting.serial, request};
}

void Broker::submit(const Caller& caller, const Record& record) {
  if (stopping_) {
    return error(caller, record.ref, code::kShuttingDown, "tuskd is shutting down");
  }
  if (caller.session != kNone && sessions_[caller.session].over_bound) {
    return full(caller, record.ref, code::kBusy,
                "too many bytes are on their way to this peer and not acknowledged",
                "session_bytes", config_->tuskd.limits.max_session_bytes);
  }
  if (!check_body(caller, record)) return;
  const TaskId id = record.id();
  if (uint32_t ref = find_task(id); ref != kNone) return join_task(caller, record, ref);
  if (record.attributes.resent && !record.attributes.rerun_ok && newest_let_go_ > 0 &&
      id.unix_ms() <= newest_let_go_) {
    return error(caller, record.ref, code::kUnknownOutcome,
                 "this id is older than what the broker remembers: the task may have run");
  }
  const uint32_t type_index = type_for_submit(caller, record);
  if (type_index == kNone) return;
  Type& type = scheduler_.type(type_index);
  if (!check_room(caller, record.ref, type)) return;

  const uint32_t t = make_task(record, id, type_index);
  Task& task = tasks_[t];
  ++counters_.submitted;
  ++type.counters.accepted;
  const proto::Reply reply = record.attributes.reply;
  if (reply != proto::Reply::kAccepted) {
    task.asker = asker_for(caller, record.ref, record.attributes.wait);
  }
  if (reply != proto::Reply::kResult) accept(caller, record.ref);
  // Right after a restart a worker that still runs this may be about to claim it.
  const Time hold_until = started_ + config_->tuskd.times.reconnect_grace;
  if (record.attributes.resent && now_ < hold_until) {
    task.state = TaskState::kHeld;
    ++type.elsewhere;
    task.timer = timers_.add(hold_until, {Timer::Kind::kHold, t});
  } else {
    place(t);
  }
}

// A request hears something within its wait (ms; 0: the default): the reply or a time-out.
void Broker::start_wait(const Caller& caller, uint64_t wait) {
  if (caller.request == kNone) return;
  constexpr uint64_t kYear = 1000ull * 86400 * 365;
  const Duration time = wait ? Duration(std::chrono::milliseconds(std::min(wait, kYear)))
                             : Duration(config_->default_timeout);
  requests_[caller.request].timer =
      timers_.add(now_ + time, {Timer::Kind::kRequestTimeout, caller.request});
}

void Broker::request_timeout(uint32_t index) {
  const Request& request = requests_[index];
  const Asker asker{Asker::Kind::kRequest, index, request.serial, request.request};
  if (!present(asker)) return retire(asker);
  ++counters_.timeouts;
  error(caller_of(asker), asker.request, code::kTimeout,
        "the wait for the result is over; the task goes on: query or submit the same id");
}

// A submit whose id is there already: one more who waits for the same ending.
void Broker::join_task(const Caller& caller, const Record& record, uint32_t ref) {
  auto conflict = [&] {
    error(caller, record.ref, code::kIdConflict,
          "the id belongs to a task of another type or with another body");
  };
  ++counters_.joined;
  if (is_ended(ref)) {
    const EndedTask& ended = ended_at(ref);
    const uint32_t type = scheduler_.find_type(record.name);
    const bool same = type != kNone && digest(type, body_view(record)) == ended.digest;
    if (!same && ended.digest != 0) return conflict();  // 0: an adopted run that nobody submitted
    return error(caller, record.ref, code::kAlreadyEnded,
                 "the task ended and its ending was acknowledged", "state",
                 proto::state_name(ended.state));
  }
  Task& task = tasks_[ref];
  const Type& type = scheduler_.type(task.type);
  if (type.is_stage || type.name != record.name) return conflict();
  if (task.orphan) {
    // Adopted from its worker's claim; this is the client that it belongs to.
    task.orphan = false;
    task.body = body_of(record);
    held_bytes_ += task.body.size();
    scratch_.clear();
    scratch_.forward(record.attributes.all);
    task.forwarded = Bytes::copy(scratch_.entries());
    task.forwarded_count = static_cast<uint32_t>(scratch_.count());
    if (task.state == TaskState::kEnded) task.digest = digest(task.type, task.body.view());
  } else {
    const uint64_t have =
        task.state == TaskState::kEnded ? task.digest : digest(task.type, task.body.view());
    if (have != digest(task.type, body_view(record))) return conflict();
  }
  if (record.attributes.reply != proto::Reply::kResult) accept(caller, record.ref);
  if (record.attributes.reply == proto::Reply::kAccepted) return;
  if (task.state == TaskState::kEnded) {
    return tell(ref, asker_for(caller, record.ref, 0), BodyOut::shared(task.result),
                {task.result_attributes.view(), task.result_count});
  }
  if (asked(task, caller, record.ref)) return;
  auto gone = [this](const Asker& asker) {
    if (present(asker)) return false;
    retire(asker);
    return true;
  };
  if (gone(task.asker)) {
    task.asker = asker_for(caller, record.ref, record.attributes.wait);
    return;
  }
  if (task.more_askers.size() >= kMaxAskers) std::erase_if(task.more_askers, gone);
  if (task.more_askers.size() >= kMaxAskers) {
    return full(caller, record.ref, code::kFull, "too many requests wait for this task", "askers",
                kMaxAskers);
  }
  task.more_askers.push_back(asker_for(caller, record.ref, record.attributes.wait));
}

// The type of a submit, made if a worker may yet come for it; kNone if that was refused.
uint32_t Broker::type_for_submit(const Caller& caller, const Record& record) {
  uint32_t index = scheduler_.find_type(record.name);
  if (index != kNone && (scheduler_.is_served(index) || may_wait(scheduler_.type(index)))) {
    return index;
  }
  const bool early = now_ < started_ + config_->tuskd.times.unserved_grace;
  if (index == kNone && early) {
    if (scheduler_.type_count() >= config_->tuskd.limits.max_types) purge_types();
    if (scheduler_.type_count() >= config_->tuskd.limits.max_types) {
      full(caller, record.ref, code::kFull, "the broker knows max_types types already", "max_types",
           config_->tuskd.limits.max_types);
      return kNone;
    }
    index = scheduler_.add_type(record.name, false);
    scheduler_.type(index).settings = config_->type(record.name);
    return index;
  }
  const std::string name(record.name);
  const std::string near = scheduler_.nearest(name, false);
  std::string message = "no worker serves type \"" + name + "\" and the config does not bind it";
  if (!near.empty()) message += "; did you mean \"" + near + "\"?";
  ++counters_.errors_unserved;
  log(config::LogLevel::warning, LogTopic::kUnserved,
      [&] { return message + " (served: " + scheduler_.served_names(10) + ")"; });
  error(caller, record.ref, code::kUnserved, message, "nearest", near);
  return kNone;
}

// Whether tasks of a type that nobody serves now may wait for somebody who will.
bool Broker::may_wait(const Type& type) const {
  const Duration grace = config_->tuskd.times.unserved_grace;
  if (type.settings.pool || type.settings.unserved == config::Unserved::wait) return true;
  return now_ < (type.ever_served ? type.last_served : started_) + grace;
}

bool Broker::check_room(const Caller& caller, uint64_t ref, const Type& type) {
  const config::Limits& limit = config_->tuskd.limits;
  auto refuse = [&](const std::string& what, std::string_view name, size_t value) {
    log(config::LogLevel::warning, LogTopic::kLimit,
        [&] { return what + ": " + std::string(name) + " is " + std::to_string(value); });
    full(caller, ref, code::kFull, what, name, value);
    return false;
  };
  if (!type.is_stage && type.queued() + type.elsewhere >= type.settings.max_waiting) {
    return refuse("the queue of type \"" + type.name + "\" is full", "max_waiting",
                  type.settings.max_waiting);
  }
  if (tasks_.live() >= limit.max_tasks) {
    return refuse("the broker holds as many tasks as it may", "max_tasks", limit.max_tasks);
  }
  if (held_bytes_ >= limit.max_memory) {
    return refuse("the bodies held by the broker are as large as they may be", "max_memory",
                  limit.max_memory);
  }
  return true;
}

uint32_t Broker::make_task(const Record& record, const TaskId& id, uint32_t type) {
  const uint32_t t = tasks_.add();
  Task& task = tasks_[t];
  task.id = id;
  task.type = type;
  task.order = ++order_;
  task.since = now_;
  task.body = body_of(record);
  held_bytes_ += task.body.size();
  if (record.attributes.all) {
    scratch_.clear();
    scratch_.forward(record.attributes.all);
    if (scratch_.count() > 0) {
      task.forwarded = Bytes::copy(scratch_.entries());
      task.forwarded_count = static_cast<uint32_t>(scratch_.count());
    }
  }
  index_.insert(task.id.hash(), t);
  return t;
}

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

// The ending of a task that was cancelled; `worker` is the one that ran it, or "".
void Broker::end_cancelled(uint32_t t, std::string_view worker) {
  scratch_.clear();
  scratch_.error("Cancelled", "the task was cancelled", "tuskd");
  if (tasks_[t].attempt > 0) scratch_.number(proto::Attribute::kAttempt, tasks_[t].attempt);
  if (!worker.empty()) scratch_.text(proto::Attribute::kWorker, worker);
  end(t, State::kCancelled, {}, scratch_);
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

// --- endings -------------------------------------------------------------------------------------

// The task's one ending: told to those who ask, and kept until one of them acknowledges it.
void Broker::end(uint32_t t, State state, const BodyOut& body, proto::AttributeEntries attributes) {
  Task& task = tasks_[t];
  Type& type = scheduler_.type(task.type);
  if (type.is_stage) return item_ended(t, state);
  switch (state) {
    case State::kSucceeded:
      ++counters_.succeeded;
      ++type.counters.succeeded;
      break;
    case State::kCancelled:
      ++counters_.cancelled;
      ++type.counters.cancelled;
      break;
    case State::kDead:
      ++counters_.dead;
      ++type.counters.dead;
      break;
    default:
      ++counters_.failed;
      ++type.counters.failed;
  }
  if (!task.orphan) task.digest = digest(task.type, task.body.view());
  held_bytes_ -= task.body.size();
  task.body = {};
  task.forwarded = {};
  task.state = TaskState::kEnded;
  task.ending = state;
  task.since = now_;
  if (body.present) task.result = body.frame ? body.frame : Bytes::copy(body.inline_bytes);
  held_bytes_ += task.result.size();
  if (attributes.count > 0) {
    task.result_attributes = Bytes::copy(attributes.entries);
    task.result_count = static_cast<uint32_t>(attributes.count);
  }
  // The first asker who acknowledges takes the ending into its list; without one it is kept a
  // while.
  const proto::AttributeEntries kept{task.result_attributes.view(), task.result_count};
  uint32_t owner = kNone;
  auto inform = [&](const Asker& asker) {
    if (!present(asker)) return retire(asker);
    const uint32_t session = caller_of(asker).session;
    tell(t, asker, body, kept);
    if (owner == kNone && session != kNone && sessions_[session].acks) owner = session;
  };
  inform(task.asker);
  for (const Asker& asker : task.more_askers) inform(asker);
  task.asker = {};
  task.more_askers = {};
  if (owner == kNone) return keep(t);
  Session& session = sessions_[owner];
  task.packet = session.out.next_packet();
  session.endings.push_back(tasks_, t);
}

// Sends an ending to one who asked.
void Broker::tell(uint32_t t, const Asker& asker, const BodyOut& body,
                  proto::AttributeEntries attributes) {
  const Task& task = tasks_[t];
  const size_t more = kRecordOverhead + body.inline_bytes.size() + attributes.entries.size();
  answer(caller_of(asker), more,
         [&](Writer& out) { out.result(asker.request, task.ending, body, attributes); });
}

// Keeps an ending that nobody will acknowledge, for session_ttl.
void Broker::keep(uint32_t t) {
  Task& task = tasks_[t];
  task.since = now_;
  kept_.push_back(tasks_, t);
  kept_bytes_ += task.result.size();
  if (kept_timer_ == kNoTimer) {
    kept_timer_ = timers_.add(now_ + config_->tuskd.times.session_ttl, {Timer::Kind::kKept, 0});
  }
  while (kept_bytes_ > kMaxKeptBytes || kept_.count > config_->tuskd.limits.ended_window) {
    const uint32_t oldest = kept_.head;
    kept_.remove(tasks_, oldest);
    kept_bytes_ -= tasks_[oldest].result.size();
    let_go(oldest);
  }
}

// The ending is known to have arrived, or was kept long enough: only id and state remain.
void Broker::let_go(uint32_t t) {
  const EndedTask ended{tasks_[t].id, tasks_[t].digest, tasks_[t].ending};
  index_.replace(ended.id.hash(), t, remember(ended));
  free_task(t);
}

// Puts it into the window of ended ids, which is a ring; what it overwrites is let go for good.
// Returns the reference that the index is to have for it.
uint32_t Broker::remember(const EndedTask& ended) {
  const size_t window = config_->tuskd.limits.ended_window;
  if (ended_.size() < window) {
    ended_.push_back(ended);
    return static_cast<uint32_t>(ended_.size() - 1) | kEndedBit;
  }
  EndedTask& oldest = ended_[ended_next_];
  const uint32_t ref = static_cast<uint32_t>(ended_next_) | kEndedBit;
  newest_let_go_ = std::max(newest_let_go_, oldest.id.unix_ms());
  index_.erase(oldest.id.hash(), ref);
  oldest = ended;
  if (++ended_next_ == ended_.size()) ended_next_ = 0;
  constexpr size_t kAhead = 8;
  if (ended_next_ + kAhead < ended_.size()) {
    index_.prefetch(ended_[ended_next_ + kAhead].id.hash());
  }
  return ref;
}

// A place in the pool keeps its generation, so that an old handle never fits a new task.
void Broker::free_task(uint32_t t) {
  const uint32_t generation = tasks_[t].generation;
  held_bytes_ -= tasks_[t].body.size() + tasks_[t].result.size();
  timers_.cancel(tasks_[t].timer);
  tasks_.remove(t);
  tasks_[t].generation = generation;
}

// As if it had never been there. It is in no list.
void Broker::forget(uint32_t t) {
  index_.erase(tasks_[t].id.hash(), t);
  free_task(t);
}

// A waiting task goes back to those who submitted it, with an error that is no ending.
void Broker::give_back(uint32_t t, std::string_view why, std::string_view message) {
  Task& task = tasks_[t];
  if (task.state == TaskState::kWaiting) {
    scheduler_.unqueue(t);
  } else if (task.state == TaskState::kParked) {
    unpark(t);
  } else {
    timers_.cancel(task.timer);
    --scheduler_.type(task.type).elsewhere;
  }
  const Asker first = task.asker;
  const std::vector<Asker> more = std::move(task.more_askers);
  forget(t);
  auto inform = [&](const Asker& asker) {
    if (!present(asker)) return retire(asker);
    error(caller_of(asker), asker.request, why, message);
  };
  inform(first);
  for (const Asker& asker : more) inform(asker);
}

// --- types without workers -----------------------------------------------------------------------

void Broker::wait_for_worker(uint32_t index) {
  Type& type = scheduler_.type(index);
  if (type.unserved_timer != kNoTimer) return;
  if (type.queued() == 1 || type.waits_since == Time{}) type.waits_since = now_;
  const Duration grace = config_->tuskd.times.unserved_grace;
  const bool patient =
      type.settings.pool || type.settings.unserved == config::Unserved::wait || type.ever_served;
  const Time due = patient ? now_ + grace : std::max(now_, started_ + grace);
  type.unserved_timer = timers_.add(due, {Timer::Kind::kUnserved, index});
}

void Broker::unserved_over(uint32_t index) {
  Type& type = scheduler_.type(index);
  if (scheduler_.is_served(index) || type.queued() == 0) return;
  log(config::LogLevel::warning, LogTopic::kUnserved, [&] {
    return std::to_string(type.queued()) + " tasks of type \"" + type.name +
           "\" wait for a worker; served: " + scheduler_.served_names(10);
  });
  if (type.is_stage || may_wait(type) || type.ever_served) return;
  const std::string near = scheduler_.nearest(type.name, false);
  std::string message =
      "no worker serves type \"" + type.name + "\" and the config does not bind it";
  if (!near.empty()) message += "; did you mean \"" + near + "\"?";
  while (!type.waiting.empty()) {
    ++counters_.errors_unserved;
    give_back(type.waiting.head, code::kUnserved, message);
  }
}

// Makes room among the types that nobody configured: those that hold nothing and that nobody
// serves.
void Broker::purge_types() {
  for (uint32_t t = 0; t < scheduler_.types(); ++t) {
    if (!scheduler_.exists(t)) continue;
    Type& type = scheduler_.type(t);
    if (type.is_stage || type.configured || type.held() > 0 || scheduler_.is_served(t)) continue;
    if (type.ever_served && may_wait(type)) continue;
    timers_.cancel(type.unserved_timer);
    scheduler_.remove_type(t);
  }
}

}  // namespace tusk::core
