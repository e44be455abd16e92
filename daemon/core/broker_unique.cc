// Unique keys: of the tasks of one type with the same key only one lives (SPEC.md, "Unique tasks").
#include <algorithm>
#include <utility>

#include "daemon/core/broker.h"

namespace tusk::core {

using proto::Kind;
using proto::Record;
using proto::UniquePolicy;
using proto::Writer;
namespace code = proto::code;

namespace {

bool runs(const Task& task) { return task.state == TaskState::kRunning; }

}  // namespace

// Whether a submit with a unique key becomes a task of its own; if not, it has its answer, or will
// have that of the task which has the key.
bool Broker::becomes_task(const Caller& caller, const Record& record, uint32_t type,
                          uint32_t parent) {
  const proto::Terms& asked = *record.attributes.terms;
  const auto& taken = scheduler_.type(type).unique;
  const auto it = taken.find(std::string(asked.unique));
  if (it == taken.end()) return true;
  const UniqueKey& key = unique_[it->second];
  if (key.task == kNone || asked.unique_policy == UniquePolicy::kRefuse) {
    refuse_duplicate(caller, record.ref, key);
    return false;
  }
  uint32_t other = key.task;
  if (runs(tasks_[other]) && asked.unique_policy != UniquePolicy::kJoin) {
    if (key.follow_up == kNone) return true;
    other = key.follow_up;
  }
  if (closes_circle(caller, record, parent, other)) return false;
  ++counters_.joined;
  const bool replaces = asked.unique_policy == UniquePolicy::kReplace ||
                        asked.unique_policy == UniquePolicy::kDebounce;
  if (replaces) replace_task(record, other);
  ask_too(caller, record, other);
  return false;
}

void Broker::refuse_duplicate(const Caller& caller, uint64_t ref, const UniqueKey& key) {
  const bool lives = key.task != kNone;
  const std::string id = (lives ? tasks_[key.task].id : key.id).hex();
  const std::string_view state = lives ? state_of(tasks_[key.task]) : proto::state_name(key.ending);
  ++counters_.duplicates;
  answer(caller, kRecordOverhead + id.size(), [&](Writer& out) {
    out.start(Kind::kError, 5).pack_uint64(ref);
    out.text(code::kDuplicate);
    out.text("task " + id + " has the unique key \"" + key.key + "\"" +
             (lives ? "" : " for a while after its end"));
    out.packer().pack_map(2);
    out.text("id");
    out.text(id);
    out.text("state");
    out.text(state);
  });
}

// The new task takes the key; false if it has to wait for it behind the task that has it.
bool Broker::take_key(uint32_t t, std::string_view name) {
  auto& taken = scheduler_.type(tasks_[t].type).unique;
  const auto [it, fresh] = taken.try_emplace(std::string(name), kNone);
  if (fresh) it->second = unique_.add();
  UniqueKey& key = unique_[it->second];
  tasks_[t].terms->unique = it->second;
  if (!fresh) {
    key.follow_up = t;
    return false;
  }
  key.type = tasks_[t].type;
  key.key = name;
  key.task = t;
  return true;
}

// A follow-up waits, and its delay counts from now.
void Broker::block(uint32_t t, Duration wait) {
  Task& task = tasks_[t];
  task.state = TaskState::kBlocked;
  task.terms->not_before = now_ + wait;
  ++scheduler_.type(task.type).elsewhere;
}

// The task has ended, or is forgotten: its follow-up is next, or the key is free, at once or after
// a while.
void Broker::leave_key(uint32_t t) {
  Task& task = tasks_[t];
  if (!task.terms || task.terms->unique == kNone) return;
  const uint32_t index = std::exchange(task.terms->unique, kNone);
  UniqueKey& key = unique_[index];
  if (key.follow_up == t) {
    key.follow_up = kNone;
    return;
  }
  key.task = std::exchange(key.follow_up, kNone);
  if (key.task != kNone) {
    // Due at once or later, but not in the midst of this ending.
    const Task& next = tasks_[key.task];
    --scheduler_.type(next.type).elsewhere;
    return delay(key.task, std::max(Duration{0}, next.terms->not_before - now_));
  }
  key.id = task.id;
  key.ending = task.ending;
  const bool ended = task.state == TaskState::kEnded;
  if (!ended || task.terms->unique_for == Duration{0}) return free_key(index);
  key.timer = timers_.add(now_ + task.terms->unique_for, {Timer::Kind::kUniqueKey, index});
}

void Broker::free_key(uint32_t index) {
  UniqueKey& key = unique_[index];
  scheduler_.type(key.type).unique.erase(key.key);
  unique_.remove(index);
}

// A task that waits gets the body and the terms of another submit.
void Broker::replace_task(const Record& record, uint32_t t) {
  Task& task = tasks_[t];
  const bool debounce = record.attributes.terms->unique_policy == UniquePolicy::kDebounce;
  const Duration wait = delay_of(record, scheduler_.type(task.type));
  const bool waits = task.state == TaskState::kWaiting;
  if (waits) scheduler_.unqueue(t);  // while its priority changes
  const uint32_t held_by = leave_held(t);
  change_body(t, record);
  take_terms(t, record);
  stay_held(t, held_by);
  if (task.state == TaskState::kBlocked) {
    if (debounce) task.terms->not_before = now_ + wait;
  } else if (debounce && wait > Duration{0}) {
    if (!waits) leave_queue(t);
    delay(t, wait);
  } else if (waits) {
    place(t);
  }
}

}  // namespace tusk::core
