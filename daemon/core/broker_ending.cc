// How a task ends: its one ending, told to those who ask and kept until one of them acknowledges
// it; or none, when it is given back to them.
#include "daemon/core/broker.h"

namespace tusk::core {

using proto::BodyOut;
using proto::Bytes;
using proto::State;
using proto::Writer;

namespace {

// Endings of peers that never acknowledge are kept for as long as those of others, but only so many
// bytes of them.
constexpr size_t kMaxKeptBytes = 64 << 20;

}  // namespace

// --- endings -------------------------------------------------------------------------------------

// The task's one ending: told to those who ask, and kept until one of them acknowledges it.
void Broker::end(uint32_t t, State state, const BodyOut& body, proto::AttributeEntries attributes) {
  Task& task = tasks_[t];
  if (task.terms && (task.terms->unique != kNone || task.terms->stream > 0)) {
    attributes = with_terms(task, attributes);
  }
  Type& type = scheduler_.type(task.type);
  if (type.is_stage) return item_ended(t, state);
  ++type.endings;
  switch (state) {
    case State::kSucceeded:
      ++counters_.succeeded;
      ++type.counters.succeeded;
      break;
    case State::kCancelled:
      ++counters_.cancelled;
      ++type.counters.cancelled;
      break;
    case State::kExpired:
      ++counters_.expired;
      ++type.counters.expired;
      break;
    case State::kDead:
      ++counters_.dead;
      ++type.counters.dead;
      break;
    default:
      ++counters_.failed;
      ++type.counters.failed;
  }
  if (!task.orphan && task.digest == 0) task.digest = digest(task.type, task.body.view());
  if (!task.terms || !keep_for_again(task, state)) {
    held_bytes_ -= task.body.size();
    if (body.present && !body.frame) {
      task.result = Bytes::copy(body.inline_bytes, std::move(task.body));
    }
    task.body = {};
    task.forwarded = {};
  } else if (body.present && !body.frame) {
    task.result = Bytes::copy(body.inline_bytes);
  }
  if (body.frame) task.result = body.frame;
  task.state = TaskState::kEnded;
  task.ending = state;
  task.since = now_;
  held_bytes_ += task.result.size();
  if (attributes.count > 0) {
    task.result_attributes = Bytes::copy(attributes.entries);
    task.result_count = static_cast<uint32_t>(attributes.count);
  }
  // The first asker who acknowledges takes the ending into its list; without one it is kept a
  // while.
  const proto::AttributeEntries kept{task.result_attributes.view(), task.result_count};
  uint32_t owner = kNone;
  std::vector<Asker> runs;  // that await it
  for (size_t i = 0; i <= task.more_askers.size(); ++i) {
    const Asker& asker = i == 0 ? task.asker : task.more_askers[i - 1];
    if (asker.kind == Asker::Kind::kRun) {
      runs.push_back(asker);
      continue;
    }
    const Caller caller = caller_of(asker);
    if (caller.edge) {
      retire(asker);
      continue;
    }
    tell(t, caller, asker.request, body, kept);
    const uint32_t session = caller.session;
    if (owner == kNone && session != kNone && sessions_[session].acks) owner = session;
  }
  task.asker = {};
  task.more_askers = {};
  if (task.terms) end_terms(t);
  if (owner == kNone) {
    keep(t);
  } else {
    Session& session = sessions_[owner];
    task.packet = session.out.next_packet();
    session.endings.push_back(tasks_, t);
  }
  for (const Asker& run : runs) awaited_ended(run);
}

// Whether the task failed for good and somebody may yet submit it again: then it keeps its body,
// and the keys that it had.
bool Broker::keep_for_again(Task& task, State state) {
  const bool failed = state == State::kFailed || state == State::kDead;
  if (!failed || task.orphan || task.terms->retention == Duration{0}) return false;
  Terms& terms = *task.terms;
  terms.again = std::make_unique<Again>();
  if (terms.unique != kNone) terms.again->unique = unique_[terms.unique].key;
  if (terms.order_gate != kNone) terms.again->order_key = gates_[terms.order_gate].key;
  if (terms.sticky != kNone) terms.again->sticky_key = sticky_[terms.sticky].key;
  if (terms.limit_gate != kNone) terms.again->limit_key = gates_[terms.limit_gate].key;
  return true;
}

// The attributes of an ending; which task it is the ending of, if the asker may not know; and how
// long its stream was.
proto::AttributeEntries Broker::with_terms(const Task& task, proto::AttributeEntries attributes) {
  run_scratch_.clear();
  run_scratch_.raw(attributes.entries, attributes.count);
  if (task.terms->stream > 0) run_scratch_.number(proto::Attribute::kChunks, task.terms->chunks);
  if (task.terms->unique == kNone) return run_scratch_;
  run_scratch_.key(proto::Attribute::kTask)
      .pack_bin(16)
      .pack_bin_body(reinterpret_cast<const char*>(task.id.bytes.data()), 16);
  return run_scratch_;
}

// What is left of a task's terms once it ended: its history, if the ending is to be kept.
void Broker::end_terms(uint32_t t) {
  Task& task = tasks_[t];
  leave_key(t);
  leave_gates(t);
  leave_sticky(t);
  leave_family(t);
  if (task.terms->retention == Duration{0}) return drop_terms(task);
  Terms& terms = *task.terms;
  terms.keep_until = now_ + terms.retention;
  timers_.cancel(terms.deadline_timer);
  held_bytes_ -= terms.checkpoint.size();
  terms.checkpoint = {};
}

// The ending of a task that was cancelled; `worker` is the one that ran it, or "".
void Broker::end_cancelled(uint32_t t, std::string_view worker) {
  scratch_.clear();
  scratch_.error("Cancelled", "the task was cancelled", "tuskd");
  add_last_run(t, worker);
  end(t, State::kCancelled, {}, scratch_);
}

void Broker::end_expired(uint32_t t, std::string_view worker) {
  scratch_.clear();
  scratch_.error("Expired", "the deadline of the task passed before it ended", "tuskd");
  add_last_run(t, worker);
  end(t, State::kExpired, {}, scratch_);
}

// Sends an ending to one who asked.
void Broker::tell(uint32_t t, const Caller& caller, uint64_t request, const BodyOut& body,
                  proto::AttributeEntries attributes) {
  const State ending = tasks_[t].ending;
  const size_t more = kRecordOverhead + body.inline_bytes.size() + attributes.entries.size();
  answer(caller, more, [&](Writer& out) { out.result(request, ending, body, attributes); });
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
    retain(oldest);
  }
}

// Nobody needs the ending any longer but those who may yet ask for it by id.
void Broker::keep_by_id(uint32_t t) {
  Task& task = tasks_[t];
  retained_.push_back(tasks_, t);
  task.terms->kept_bytes = retained_size(task);
  retained_bytes_ += task.terms->kept_bytes;
  task.timer = timers_.add(task.terms->keep_until, {Timer::Kind::kRetention, t});
  while (retained_bytes_ > config_->tuskd.limits.max_retained) retention_over(retained_.head);
}

void Broker::retention_over(uint32_t t) {
  retained_.remove(tasks_, t);
  retained_bytes_ -= tasks_[t].terms->kept_bytes;
  let_go(t);
}

size_t Broker::retained_size(const Task& task) {
  return sizeof(Task) + sizeof(Terms) + task.body.size() + task.forwarded.size() +
         task.result.size() + task.result_attributes.size();
}

// A waiting task goes back to those who submitted it, with an error that is no ending.
void Broker::give_back(uint32_t t, std::string_view why, std::string_view message) {
  Task& task = tasks_[t];
  leave_queue(t);
  const Asker first = task.asker;
  const std::vector<Asker> more = std::move(task.more_askers);
  forget(t);
  auto inform = [&](const Asker& asker) {
    if (asker.kind == Asker::Kind::kRun) return awaited_ended(asker);
    if (!present(asker)) return retire(asker);
    error(caller_of(asker), asker.request, why, message);
  };
  inform(first);
  for (const Asker& asker : more) inform(asker);
}

}  // namespace tusk::core
