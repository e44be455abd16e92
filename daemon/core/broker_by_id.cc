// What anybody may do with a task by its id: await its ending, change it while it waits.
#include "daemon/core/broker.h"
#include "daemon/core/stored_attributes.h"

namespace tusk::core {

using proto::Attribute;
using proto::Record;
using proto::TaskId;
using proto::Writer;
namespace code = proto::code;

void Broker::await(const Caller& caller, const Record& record) {
  const TaskId id = record.id();
  const uint32_t t = find_task(id);
  if (t == kNone) {
    return error(caller, record.ref, code::kUnknownTask,
                 "the broker knows no task " + id.hex() + "; it may have ended long ago");
  }
  if (is_ended(t)) {
    return error(caller, record.ref, code::kAlreadyEnded,
                 "the task ended and its ending was not kept: submit it with a retention", "state",
                 proto::state_name(ended_at(t).state));
  }
  if (scheduler_.type(tasks_[t].type).is_stage) {
    return error(caller, record.ref, code::kInvalid,
                 "this is an item of the pipeline: its ending is told to nobody", "field", "id");
  }
  ask_too(caller, record, t);
}

void Broker::update(const Caller& caller, const Record& record) {
  auto say = [&](std::string_view state, bool updated) {
    answer(caller, kRecordOverhead, [&](Writer& out) {
      out.start(proto::Kind::kAnswer, 3).pack_uint64(record.ref);
      out.packer().pack_map(2);
      out.text("state");
      out.text(state);
      out.text("updated");
      updated ? out.packer().pack_true() : out.packer().pack_false();
    });
  };
  const TaskId id = record.id();
  const uint32_t t = find_task(id);
  if (t == kNone) {
    return error(caller, record.ref, code::kUnknownTask,
                 "the broker knows no task " + id.hex() + "; it may have ended long ago");
  }
  if (is_ended(t)) return say(proto::state_name(ended_at(t).state), false);
  Task& task = tasks_[t];
  if (scheduler_.type(task.type).is_stage) {
    return error(caller, record.ref, code::kInvalid, "an item of the pipeline cannot be changed",
                 "field", "id");
  }
  if (task.state == TaskState::kRunning || task.state == TaskState::kEnded) {
    return say(state_of(task), false);
  }
  if (record.has_body) {
    const Type& type = scheduler_.type(task.type);
    if (!check_body(caller, record) || !check_schema(caller, record, type.bodies, type.name)) {
      return;
    }
    change_body(t, record);
  }
  ++counters_.updated;
  if (const proto::Terms* asked = record.attributes.terms) {
    if (asked->priority && *asked->priority != task.priority) change_priority(t, *asked->priority);
    if (asked->delay) change_delay(t, std::chrono::milliseconds(*asked->delay));
  }
  say(state_of(task), true);
}

// The task gets another body. Its id goes on to belong to the one with which it was submitted.
void Broker::change_body(uint32_t t, const Record& record) {
  Task& task = tasks_[t];
  if (task.digest == 0 && !task.orphan) task.digest = digest(task.type, task.body.view());
  held_bytes_ -= task.body.size();
  task.body = body_of(record);
  held_bytes_ += task.body.size();
  // How the old body was written says nothing of the new one; all else stays.
  const bool replaces = record.kind == proto::Kind::kSubmit;
  scratch_.clear();
  scratch_.forward(record.attributes.all);
  if (!replaces) {
    const StoredAttributes old(task.forwarded.view(), task.forwarded_count);
    old.each([&](Attribute key, proto::Value value) {
      const bool of_body = key == Attribute::kCodec || key == Attribute::kCompression;
      if (!of_body) proto::write_value(scratch_.key(key), value);
    });
  }
  task.forwarded = proto::Bytes::copy(scratch_.entries());
  task.forwarded_count = static_cast<uint32_t>(scratch_.count());
}

// It stands behind those of its new priority that wait by now.
void Broker::change_priority(uint32_t t, int priority) {
  Task& task = tasks_[t];
  const bool waits = task.state == TaskState::kWaiting;
  if (waits) scheduler_.unqueue(t);
  const uint32_t held_by = leave_held(t);
  task.priority = static_cast<int8_t>(priority);
  stay_held(t, held_by);
  if (!waits) return;
  task.order = ++order_;
  task.since = now_;
  scheduler_.enqueue(t);
}

void Broker::change_delay(uint32_t t, Duration wait) {
  Task& task = tasks_[t];
  if (task.state == TaskState::kBlocked) {
    task.terms->not_before = now_ + wait;
    return;
  }
  if (task.state == TaskState::kWaiting && wait == Duration{0}) return;
  leave_queue(t);
  delay(t, wait);
  if (wait > Duration{0}) return;
  timers_.cancel(task.timer);
  due(t);
}

}  // namespace tusk::core
