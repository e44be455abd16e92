// Children: tasks that the run of another one submits, and runs that wait for them (SPEC.md,
// "Children").
#include <algorithm>
#include <utility>

#include "daemon/core/broker.h"
#include "daemon/core/stored_attributes.h"

namespace tusk::core {

using proto::Attribute;
using proto::Record;
using proto::TaskId;
using proto::Value;
using proto::Writer;
namespace code = proto::code;

namespace {

constexpr size_t kDeepest = 64;  // parents above a task

}  // namespace

// --- parents -------------------------------------------------------------------------------------

// The parent that a submit names, if it may have children; if not, says so. kNone: it names none.
bool Broker::find_parent(const Caller& caller, const Record& record, uint32_t& parent) {
  const TaskId id = TaskId::from_bytes(record.attributes.terms->parent);
  const uint32_t t = find_task(id);
  auto refuse = [&](const std::string& why) {
    error(caller, record.ref, code::kUnknownTask, "the parent " + id.hex() + " " + why);
    return false;
  };
  if (t == kNone) return refuse("is no task that the broker knows; it may have ended long ago");
  if (is_ended(t) || tasks_[t].state == TaskState::kEnded) return refuse("has ended");
  if (scheduler_.type(tasks_[t].type).is_stage) {
    return refuse("is an item of the pipeline, which has no children");
  }
  const Stop stop = tasks_[t].stop;
  if (stop == Stop::kCancelled || stop == Stop::kDeadline || stop == Stop::kParent) {
    return refuse("was told to stop");
  }
  size_t above = 1;
  for (uint32_t p = t; (p = parent_of(p)) != kNone;) ++above;
  if (above > kDeepest) {
    error(caller, record.ref, code::kInvalid, "the task would have more than 64 parents above it",
          "field", "parent");
    return false;
  }
  parent = t;
  return true;
}

uint32_t Broker::parent_of(uint32_t t) const {
  return tasks_[t].terms ? tasks_[t].terms->parent : kNone;
}

// Whether `t` is `of` or one of its parents.
bool Broker::is_above(uint32_t t, uint32_t of) const {
  for (uint32_t p = of; p != kNone; p = parent_of(p)) {
    if (p == t) return true;
  }
  return false;
}

// Whether a child would wait for its own parent, which waits for it; if so, says so.
bool Broker::closes_circle(const Caller& caller, const Record& record, uint32_t parent,
                           uint32_t joined) {
  if (parent == kNone || !is_above(joined, parent)) return false;
  error(caller, record.ref, code::kInvalid,
        "a circle of parents: the task " + tasks_[joined].id.hex() +
            " is the parent itself, or one above it",
        "field", "parent");
  return true;
}

// A new task becomes the child of another one: deadline, trace, labels.
void Broker::join_family(uint32_t t, uint32_t parent) {
  Task& child = tasks_[t];
  Terms& terms = terms_of(t);
  Terms& above = terms_of(parent);
  terms.parent = parent;
  terms.next_sibling = std::exchange(above.first_child, t);
  if (terms.next_sibling != kNone) tasks_[terms.next_sibling].terms->prev_sibling = t;
  if (above.deadline && (!terms.deadline || *above.deadline < *terms.deadline)) {
    timers_.cancel(terms.deadline_timer);
    set_deadline(t, std::max(Duration{0}, *above.deadline - now_));
  }
  inherit(child, t, tasks_[parent]);
}

// What the worker is told of the parent's trace and labels, where the child has none of its own.
void Broker::inherit(Task& child, uint32_t t, const Task& parent) {
  const StoredAttributes own(child.forwarded.view(), child.forwarded_count);
  const StoredAttributes above(parent.forwarded.view(), parent.forwarded_count);
  for (uint32_t node : parent.terms->labels) {
    if (child.terms->labels.size() == proto::kMaxLabels) break;
    const auto& mine = child.terms->labels;
    const bool has = std::any_of(mine.begin(), mine.end(), [&](uint32_t other) {
      return labels_.name(other) == labels_.name(node);
    });
    if (!has) add_label(t, labels_.name(node), labels_.value(node));
  }
  scratch_.clear();
  own.each([&](Attribute key, Value value) {
    if (key != Attribute::kLabels) proto::write_value(scratch_.key(key), value);
  });
  for (Attribute key : {Attribute::kTrace, Attribute::kBaggage}) {
    if (own.get(key) || !above.get(key)) continue;
    proto::write_value(scratch_.key(key), above.get(key));
  }
  if (!child.terms->labels.empty()) {
    proto::Packer& p = scratch_.key(Attribute::kLabels);
    auto text = [&](const std::string& value) {
      p.pack_str(static_cast<uint32_t>(value.size()));
      p.pack_str_body(value.data(), static_cast<uint32_t>(value.size()));
    };
    p.pack_map(static_cast<uint32_t>(child.terms->labels.size()));
    for (uint32_t node : child.terms->labels) {
      text(labels_.name(node));
      text(labels_.value(node));
    }
  }
  child.forwarded = proto::Bytes::copy(scratch_.entries());
  child.forwarded_count = static_cast<uint32_t>(scratch_.count());
}

// The task has ended, or is forgotten: its children are nobody's.
void Broker::leave_family(uint32_t t) {
  if (!tasks_[t].terms) return;
  Terms& terms = *tasks_[t].terms;
  for (uint32_t c = std::exchange(terms.first_child, kNone); c != kNone;) {
    Terms& child = *tasks_[c].terms;
    child.parent = child.prev_sibling = kNone;
    c = std::exchange(child.next_sibling, kNone);
  }
  const uint32_t parent = std::exchange(terms.parent, kNone);
  if (parent == kNone) return;
  const uint32_t before = std::exchange(terms.prev_sibling, kNone);
  const uint32_t behind = std::exchange(terms.next_sibling, kNone);
  (before == kNone ? tasks_[parent].terms->first_child : tasks_[before].terms->next_sibling) =
      behind;
  if (behind != kNone) tasks_[behind].terms->prev_sibling = before;
}

// The task was cancelled or has expired.
void Broker::cancel_children(uint32_t t) {
  if (!tasks_[t].terms) return;
  for (uint32_t c = tasks_[t].terms->first_child; c != kNone;) {
    const uint32_t next = tasks_[c].terms->next_sibling;
    cancel_task(c, Stop::kParent);
    c = next;
  }
}

// --- runs that wait ------------------------------------------------------------------------------

void Broker::suspend(Session& session, const Record& record) {
  const uint32_t t = own_run(session, record);
  if (t == kNone) return;
  Task& task = tasks_[t];
  if (task.state == TaskState::kGhost) return;  // it is about to answer
  const Caller caller{.session = session.index};
  auto invalid = [&](const std::string& why) {
    error(caller, record.ref, code::kInvalid, why, "field", "ids");
  };
  if (task.suspended) return invalid("the run is suspended already");
  WorkerState& worker = workers_[task.worker];
  const size_t most = config_->tuskd.limits.max_suspended;
  if (worker.suspended >= most) {
    return full(caller, record.ref, code::kFull,
                "as many runs of this worker are suspended as may be; this one keeps its slot",
                "max_suspended", most);
  }
  std::vector<uint32_t> awaited;
  for (Value v : record.value.items()) {
    const TaskId id = TaskId::from_bytes(v.binary()->data());
    const uint32_t other = find_task(id);
    if (other == kNone || is_ended(other) || tasks_[other].state == TaskState::kEnded) continue;
    if (is_above(other, t)) {
      return invalid("it would wait for itself: the task " + id.hex() +
                     " is its own, or that of one of its parents");
    }
    if (scheduler_.type(tasks_[other].type).is_stage) {
      return invalid("nobody can wait for " + id.hex() + ": it is an item of the pipeline");
    }
    std::vector<Asker>& askers = tasks_[other].more_askers;
    if (askers.size() >= kMaxAskers) {
      std::erase_if(askers, [this](const Asker& asker) {
        return asker.kind == Asker::Kind::kRun && !present(asker);
      });
    }
    if (askers.size() >= kMaxAskers) {
      return full(caller, record.ref, code::kFull, "too many requests wait for this task", "askers",
                  kMaxAskers);
    }
    awaited.push_back(other);
  }
  const size_t ended = record.value.size() - awaited.size();
  if (ended >= record.level) {
    return writer(session, kRecordOverhead).resume(record.ref);
  }
  Terms& terms = terms_of(t);
  ++terms.suspensions;
  terms.awaits = record.level - static_cast<uint32_t>(ended);
  for (uint32_t other : awaited) {
    tasks_[other].more_askers.push_back({.kind = Asker::Kind::kRun,
                                         .index = t,
                                         .session = tasks_[t].generation,
                                         .request = terms.suspensions});
  }
  task.suspended = true;
  ++worker.suspended;
  ++counters_.suspended;
  scheduler_.changed(session.worker);
  fill_worker(session.worker);
}

// A task has ended that a suspended run may await.
void Broker::awaited_ended(const Asker& asker) {
  Task& task = tasks_[asker.index];
  if (!present(asker) || --task.terms->awaits > 0) return;
  workers_[task.worker].resumable.push_back(asker.index);
  resume_runs(task.worker);
}

// Gives free slots back to those that lent theirs out.
void Broker::resume_waiting(uint32_t w) {
  WorkerState& worker = workers_[w];
  while (!worker.resumable.empty() && worker.available &&
         (worker.slots == 0 || worker.free_slots() > 0)) {
    const uint32_t t = worker.resumable.front();
    worker.resumable.pop_front();
    Task& task = tasks_[t];
    task.suspended = false;
    --worker.suspended;
    scheduler_.changed(w);
    writer(sessions_[worker.session], kRecordOverhead).resume(handle_of(t));
    if (!task.terms || task.stop != Stop::kNone) continue;
    task.terms->last_sign = now_;
    timers_.cancel(task.timer);
    watch_run(t);
  }
}

// The run is over, or its worker gone.
void Broker::end_suspension(uint32_t t) {
  Task& task = tasks_[t];
  if (!std::exchange(task.suspended, false)) return;
  WorkerState& worker = workers_[task.worker];
  --worker.suspended;
  if (!worker.resumable.empty()) std::erase(worker.resumable, t);
}

}  // namespace tusk::core
