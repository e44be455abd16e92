// How a task comes in: submit, the limits, the same id again; and what becomes of types that nobody
// serves.
#include <algorithm>

#include "daemon/core/broker.h"

namespace tusk::core {

using proto::BodyOut;
using proto::Bytes;
using proto::Record;
using proto::TaskId;
namespace code = proto::code;

// --- submit --------------------------------------------------------------------------------------

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
  const proto::Terms* asked = record.attributes.terms;
  uint32_t parent = kNone;
  if (asked && asked->parent && !find_parent(caller, record, parent)) return;
  const TaskId id = record.id();
  if (uint32_t ref = find_task(id); ref != kNone) {
    if (closes_circle(caller, record, parent, ref)) return;
    const bool adopted = !is_ended(ref) && tasks_[ref].orphan;
    join_task(caller, record, ref);
    const bool joined = adopted && !tasks_[ref].orphan && tasks_[ref].state != TaskState::kEnded;
    if (joined && parent != kNone) join_family(ref, parent);
    return;
  }
  if (may_be_let_go(record, id)) {
    return error(caller, record.ref, code::kUnknownOutcome,
                 "this id is older than what the broker remembers: the task may have run");
  }
  const uint32_t type_index = type_for_submit(caller, record);
  if (type_index == kNone) return;
  Type& type = scheduler_.type(type_index);
  if (type.bodies.checker && !check_schema(caller, record, type.bodies, type.name)) return;
  const bool unique = asked && !asked->unique.empty();
  const bool needs = asked ? asked->needs || !type.plain : !type.plain;
  if (needs && !can_fit(caller, record, type_index)) return;
  if (unique && !becomes_task(caller, record, type_index, parent)) return;
  if (!check_room(caller, record.ref, type)) return;

  const uint32_t t = make_task(record, id, type_index);
  Task& task = tasks_[t];
  ++counters_.submitted;
  ++type.counters.accepted;
  const proto::Reply reply = record.attributes.reply;
  if (reply != proto::Reply::kAccepted) {
    task.asker = asker_for(caller, record);
  }
  if (reply != proto::Reply::kResult) accept(caller, record.ref);
  if (asked || !type.plain) {
    take_terms(t, record);
  } else {
    task.priority = static_cast<int8_t>(type.settings.priority.level);
  }
  if (parent != kNone) join_family(t, parent);
  const Duration wait = delay_of(record, type);
  if (unique && !take_key(t, asked->unique)) return block(t, wait);
  // Right after a restart a worker that still runs this may be about to claim it.
  const Time hold_until = started_ + config_->tuskd.times.reconnect_grace;
  const bool held = record.attributes.resent && now_ < hold_until && now_ + wait <= hold_until;
  if (task.terms && task.terms->order_gate != kNone) {
    begin(t, held ? hold_until - now_ : wait);
  } else if (held) {
    task.state = TaskState::kHeld;
    ++type.elsewhere;
    task.timer = timers_.add(hold_until, {Timer::Kind::kHold, t});
  } else if (task.terms || wait > Duration{0}) {
    begin(t, wait);
  } else {
    place(t);
  }
}

Duration Broker::delay_of(const Record& record, const Type& type) {
  const proto::Terms* asked = record.attributes.terms;
  return asked && asked->delay ? Duration(std::chrono::milliseconds(*asked->delay))
                               : Duration(type.settings.delay);
}

// What the submit asks for, and where it is silent, its type.
void Broker::take_terms(uint32_t t, const Record& record) {
  const proto::Terms* asked = record.attributes.terms;
  const config::TaskType& usual = scheduler_.type(tasks_[t].type).settings;
  if (asked && !asked->group.empty()) tasks_[t].group = hash_of(asked->group);
  tasks_[t].priority =
      static_cast<int8_t>(asked && asked->priority ? *asked->priority : usual.priority.level);
  const bool plain = scheduler_.type(tasks_[t].type).plain && !tasks_[t].terms;
  if (!asked && plain) return;
  auto time = [](const std::optional<uint64_t>& ms, const std::optional<config::Duration>& other) {
    return ms      ? std::optional<Duration>(std::chrono::milliseconds(*ms))
           : other ? std::optional<Duration>(*other)
                   : std::nullopt;
  };
  const proto::Terms none;
  const proto::Terms& wish = asked ? *asked : none;
  const bool special = wish.deadline || wish.run_timeout || wish.heartbeat_timeout ||
                       wish.attempts || wish.backoff || wish.no_retry_on || wish.retention ||
                       !wish.unique.empty() || !wish.order_key.empty() || !wish.limit_key.empty() ||
                       wish.cost || wish.labels || wish.needs || !wish.sticky_key.empty() ||
                       wish.stream > 0;
  if (plain && !special) return;
  Terms& terms = terms_of(t);
  timers_.cancel(terms.deadline_timer);
  terms.deadline.reset();
  terms.deadline_after.reset();
  terms.retention = time(wish.retention, usual.retention).value_or(Duration{0});
  terms.unique_for = std::chrono::milliseconds(wish.unique_for);
  if (auto deadline = time(wish.deadline, usual.deadline)) set_deadline(t, *deadline);
  terms.run_timeout = time(wish.run_timeout, usual.timeout).value_or(Duration{0});
  terms.heartbeat_timeout =
      time(wish.heartbeat_timeout, usual.heartbeat_timeout).value_or(Duration{0});
  terms.attempts = wish.attempts;
  terms.backoff.reset();
  if (wish.backoff) {
    terms.backoff = Backoff{.first = std::chrono::milliseconds(wish.backoff->first),
                            .most = std::chrono::milliseconds(wish.backoff->most),
                            .factor = wish.backoff->factor,
                            .jitter = wish.backoff->jitter};
  }
  terms.cost = static_cast<uint32_t>(wish.cost.value_or(1));
  if (wish.stream > 0) terms.stream = wish.stream;
  take_gates(t, wish);
  take_labels(t, wish.labels);
  terms.needs = intern(needs_of(asked, usual));
  take_sticky(t, wish.sticky_key);
  terms.no_retry_on.reset();
  if (wish.no_retry_on) {
    terms.no_retry_on.emplace();
    for (proto::Value type : wish.no_retry_on.items()) {
      terms.no_retry_on->emplace_back(*type.text());
    }
  }
}

void Broker::set_deadline(uint32_t t, Duration after) {
  Terms& terms = terms_of(t);
  terms.deadline_after = after;
  terms.deadline = now_ + after;
  terms.deadline_timer = timers_.add(*terms.deadline, {Timer::Kind::kDeadline, t});
}

void Broker::take_labels(uint32_t t, proto::Value labels) {
  drop_labels(terms_of(t));
  bool is_key = true;
  std::string_view name;
  for (proto::Value v : labels.items()) {
    if (is_key) {
      name = *v.text();
    } else {
      add_label(t, name, *v.text());
    }
    is_key = !is_key;
  }
}

// The task's terms, empty ones if it has none yet.
Terms& Broker::terms_of(uint32_t t) {
  Task& task = tasks_[t];
  if (!task.terms) {
    task.terms = std::make_unique<Terms>();
    task.terms->last_sign = now_;
  }
  return *task.terms;
}

void Broker::drop_terms(Task& task) {
  if (!task.terms) return;
  timers_.cancel(task.terms->deadline_timer);
  held_bytes_ -= task.terms->checkpoint.size();
  drop_labels(*task.terms);
  task.terms.reset();
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
    const bool same = digest(record.name, body_view(record)) == ended.digest;
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
    if (task.state == TaskState::kEnded) {  // nobody will run it again: what it was is enough
      task.digest = digest(task.type, body_view(record));
    } else {
      task.body = body_of(record);
      held_bytes_ += task.body.size();
      scratch_.clear();
      scratch_.forward(record.attributes.all, kRunsOwn);
      task.forwarded = Bytes::copy(scratch_.entries());
      task.forwarded_count = static_cast<uint32_t>(scratch_.count());
      take_terms(ref, record);
      if (task.terms) task.terms->credit = task.terms->stream;  // as its worker has it
      if (task.state == TaskState::kRunning) run_in_gates(ref);
      if (task.terms && task.state == TaskState::kRunning && task.stop == Stop::kNone) {
        timers_.cancel(task.timer);
        watch_run(ref);
      }
    }
  } else {
    const uint64_t have = task.digest != 0 ? task.digest : digest(task.type, task.body.view());
    if (have != digest(task.type, body_view(record))) return conflict();
  }
  ask_too(caller, record, ref);
}

// One more who wants to know how the task ends, if it is not that its acceptance is all they want.
void Broker::ask_too(const Caller& caller, const Record& record, uint32_t ref) {
  Task& task = tasks_[ref];
  if (record.attributes.reply != proto::Reply::kResult) accept(caller, record.ref);
  if (record.attributes.reply == proto::Reply::kAccepted) return;
  if (task.state == TaskState::kEnded) {
    return tell(ref, caller, record.ref, BodyOut::shared(task.result),
                {task.result_attributes.view(), task.result_count});
  }
  if (asked(task, caller, record.ref)) return;
  if (const proto::Terms* wish = record.attributes.terms; wish && wish->stream > 0) {
    listen(ref, wish->stream);
  }
  auto gone = [this](const Asker& asker) {
    if (present(asker)) return false;
    retire(asker);
    return true;
  };
  if (gone(task.asker)) {
    task.asker = asker_for(caller, record);
    return;
  }
  if (task.more_askers.size() >= kMaxAskers) std::erase_if(task.more_askers, gone);
  if (task.more_askers.size() >= kMaxAskers) {
    return full(caller, record.ref, code::kFull, "too many requests wait for this task", "askers",
                kMaxAskers);
  }
  task.more_askers.push_back(asker_for(caller, record));
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
  const Asker asker{.kind = Asker::Kind::kRequest,
                    .index = index,
                    .session = request.serial,
                    .request = request.request};
  if (!present(asker)) return retire(asker);
  ++counters_.timeouts;
  error(caller_of(asker), asker.request, code::kTimeout,
        "the wait for the result is over; the task goes on: query or submit the same id");
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

// --- types without workers -----------------------------------------------------------------------

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
    configure_type(index);
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
  if (type.queued() == 0) return;
  if (scheduler_.is_served(index)) return unfit_over(index);
  log(config::LogLevel::warning, LogTopic::kUnserved, [&] {
    return std::to_string(type.queued()) + " tasks of type \"" + type.name +
           "\" wait for a worker; served: " + scheduler_.served_names(10);
  });
  if (type.is_stage || may_wait(type) || type.ever_served) return;
  const std::string near = scheduler_.nearest(type.name, false);
  std::string message =
      "no worker serves type \"" + type.name + "\" and the config does not bind it";
  if (!near.empty()) message += "; did you mean \"" + near + "\"?";
  scheduler_.each_lane(type, [&](uint32_t l) { give_back_waiting(l, message); });
}

// A type is served, but some of its tasks have needs that nobody meets.
void Broker::unfit_over(uint32_t index) {
  const Type& type = scheduler_.type(index);
  const bool patient = type.settings.pool || type.settings.unserved == config::Unserved::wait;
  scheduler_.each_lane(type, [&](uint32_t l) {
    const Lane& lane = scheduler_.lane(l);
    if (lane.queued() == 0 || lane.is_served()) return;
    const std::string why = why_unfit(index, *lane.needs);
    log(config::LogLevel::warning, LogTopic::kUnserved,
        [&] { return std::to_string(lane.queued()) + " tasks wait: " + why; });
    if (!patient && !lane.ever_served) give_back_waiting(l, why);
  });
}

void Broker::give_back_waiting(uint32_t lane, std::string_view message) {
  while (!scheduler_.lane(lane).waiting.empty()) {
    ++counters_.errors_unserved;
    give_back(scheduler_.lane(lane).waiting.head(), code::kUnserved, message);
  }
}

// Makes room among the types that nobody configured: those that hold nothing, not even an ending,
// and that nobody serves.
void Broker::purge_types() {
  for (uint32_t t = 0; t < scheduler_.types(); ++t) {
    if (!scheduler_.exists(t)) continue;
    Type& type = scheduler_.type(t);
    const bool needed = type.configured || type.held() > 0 || type.endings > 0 ||
                        type.closed != 0 || !type.unique.empty() || !type.order_keys.empty() ||
                        !type.limit_keys.empty();
    if (type.is_stage || needed || scheduler_.is_served(t)) continue;
    if (type.ever_served && may_wait(type)) continue;
    timers_.cancel(type.unserved_timer);
    while (!type.sticky.empty()) forget_sticky(type.sticky.begin()->second);
    scheduler_.remove_type(t);
  }
}

}  // namespace tusk::core
