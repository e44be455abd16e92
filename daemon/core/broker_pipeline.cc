// The pipeline: items move from stage to stage, each only when there is room behind it.
#include <cassert>
#include <utility>

#include "daemon/core/broker.h"

namespace tusk::core {

using proto::BodyOut;
using proto::Bytes;
using proto::Kind;
using proto::Record;
using proto::State;
namespace code = proto::code;

namespace {
// Pushes of one item that wait for its room besides the first.
constexpr size_t kMaxPushers = 1000;
}  // namespace

void Broker::push(const Caller& caller, const Record& record) {
  auto refuse = [&](std::string_view why, const std::string& message) {
    if (caller.edge) {
      ++counters_.edge_dropped;
      log(config::LogLevel::warning, LogTopic::kEdge,
          [&] { return "dropped an item on the pipeline edge: " + message; });
    } else {
      error(caller, record.ref, why, message);
    }
  };
  if (stopping_) return refuse(code::kShuttingDown, "tuskd is shutting down");
  const uint32_t stage = scheduler_.find_stage(record.name);
  if (stage == kNone) {
    const std::string near = scheduler_.nearest(record.name, true);
    return refuse(code::kUnknownStage,
                  "the config names no stage \"" + std::string(record.name) + "\"" +
                      (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
  }
  if (!record.has_id() && !caller.edge) return refuse(code::kInvalid, "a push needs an id");
  if (caller.session != kNone &&
      sessions_[caller.session].pushes >= config_->tuskd.limits.push_window) {
    return full(caller, record.ref, code::kBusy, "this peer has push_window unanswered pushes",
                "push_window", config_->tuskd.limits.push_window);
  }
  if (!check_body(caller, record)) {
    counters_.edge_dropped += caller.edge;
    return;
  }
  proto::TaskId id;
  if (record.has_id()) {
    id = record.id();
    if (uint32_t ref = find_task(id); ref != kNone) {
      if (join_item(caller, record, ref, stage)) return;
      return refuse(
          code::kIdConflict,
          "the id belongs to a task, or to an item of another stage or with another body");
    }
    if (may_be_let_go(record, id)) {
      return refuse(code::kUnknownOutcome,
                    "this id is older than what the broker remembers: the item may have passed");
    }
  } else {
    const uint64_t a = random_(), b = random_();
    id = proto::TaskId::make_v7(newest_let_go_, a, b);
  }
  Type& type = scheduler_.type(stage);
  if (!check_schema(caller, record, type.bodies, type.name)) return;
  if (!check_room(caller, record.ref, type)) {
    counters_.edge_dropped += caller.edge;
    return;
  }
  const uint32_t t = make_task(record, id, stage);
  Task& task = tasks_[t];
  task.digest = digest(stage, task.body.view());
  task.edge = caller.edge;
  if (!caller.edge)
    task.asker =
        asker_for(caller, record.ref, caller.request == kNone ? 0 : record.attributes.wait);
  task.state = TaskState::kParked;
  type.parked.push_back(tasks_, t);
  if (caller.session != kNone) ++sessions_[caller.session].pushes;
  edge_parked_ += caller.edge;
  admit(stage);
}

// A push whose id is there already; false if it is that of something else.
bool Broker::join_item(const Caller& caller, const Record& record, uint32_t ref, uint32_t stage) {
  const bool is_item = is_ended(ref) || scheduler_.type(tasks_[ref].type).is_stage;
  const uint64_t have = is_ended(ref) ? ended_at(ref).digest : tasks_[ref].digest;
  // 0: an adopted run, whose push this broker never saw.
  if (!is_item || (have != 0 && have != digest(stage, body_view(record)))) return false;
  ++counters_.joined;
  if (is_ended(ref) || tasks_[ref].state != TaskState::kParked) {
    // It is in the pipeline already, or went through it: the push is as good as accepted.
    accept(caller, record.ref);
    return true;
  }
  Task& task = tasks_[ref];  // waits for room, and so does this push
  if (caller.edge || asked(task, caller, record.ref)) return true;
  if (!present(task.asker)) {
    task.asker = asker_for(caller, record.ref, 0);
  } else if (task.more_askers.size() < kMaxPushers) {
    task.more_askers.push_back(asker_for(caller, record.ref, 0));
  } else {
    full(caller, record.ref, code::kFull, "too many pushes wait for this item", "askers",
         kMaxPushers);
    return true;
  }
  if (caller.session != kNone) ++sessions_[caller.session].pushes;
  return true;
}

// Takes an item out of the parking place of its stage.
void Broker::unpark(uint32_t t) {
  Task& task = tasks_[t];
  scheduler_.type(task.type).parked.remove(tasks_, t);
  edge_parked_ -= task.edge;
  auto answered = [this](const Asker& asker) {
    const uint32_t session = caller_of(asker).session;
    if (session != kNone) --sessions_[session].pushes;
  };
  answered(task.asker);
  for (const Asker& asker : task.more_askers) answered(asker);
}

// Accepts parked pushes for as long as there is room in the stage.
void Broker::admit(uint32_t stage) {
  Type& type = scheduler_.type(stage);
  while (!type.parked.empty() && type.has_room()) {
    const uint32_t t = type.parked.head;
    unpark(t);
    Task& task = tasks_[t];
    ++counters_.pushed;
    ++type.counters.accepted;
    const Asker first = std::exchange(task.asker, {});
    const std::vector<Asker> more = std::exchange(task.more_askers, {});
    accept(caller_of(first), first.request);
    for (const Asker& asker : more) accept(caller_of(asker), asker.request);
    place(t);
  }
}

// There is room in the stage that was not there: for the stage before it, then for pushes.
void Broker::room_at(uint32_t stage) {
  Type& type = scheduler_.type(stage);
  if (type.stage > 0) serve_type(scheduler_.stages()[type.stage - 1]);
  admit(stage);
}

// A handler ended its run of an item well: on to the next stage, or out.
void Broker::item_done(uint32_t t, const Record& record) {
  Task& task = tasks_[t];
  const uint32_t here = task.type;
  Type& type = scheduler_.type(here);
  const std::vector<uint32_t>& stages = scheduler_.stages();
  const bool last = type.stage + 1 >= stages.size();
  if (record.body.where == proto::BodyRef::Where::kNone) {
    ++counters_.items_dropped;
    ++type.counters.dropped;
    item_gone(t, State::kSucceeded);
    if (!last) room_at(stages[type.stage + 1]);  // the room that was reserved for it
    return;
  }
  ++counters_.items_done;
  ++type.counters.succeeded;
  if (last) {
    leave_pipeline(t, record);
    return item_gone(t, State::kSucceeded);
  }
  held_bytes_ -= task.body.size();
  task.body = body_of(record);
  held_bytes_ += task.body.size();
  scratch_.clear();
  scratch_.forward(record.attributes.all);
  task.forwarded = scratch_.count() ? Bytes::copy(scratch_.entries()) : Bytes();
  task.forwarded_count = static_cast<uint32_t>(scratch_.count());
  drop_terms(task);
  task.attempt = task.failures = task.crashes = 0;
  task.suspect = false;
  task.orphan = false;
  task.type = stages[type.stage + 1];
  task.order = ++order_;
  task.since = now_;
  place(t);
  room_at(here);
}

// An item that has its ending in the middle of the pipeline: failed for good, or cancelled.
void Broker::item_ended(uint32_t t, State state) {
  Type& type = scheduler_.type(tasks_[t].type);
  const bool parked = tasks_[t].state == TaskState::kParked;
  if (state == State::kCancelled) {
    ++counters_.cancelled;
    ++type.counters.cancelled;
    auto inform = [&](const Asker& asker) {
      error(caller_of(asker), asker.request, code::kInvalid,
            "the item was cancelled before there was room for it");
    };
    if (parked) {
      inform(tasks_[t].asker);
      for (const Asker& asker : tasks_[t].more_askers) inform(asker);
    }
  } else {
    ++counters_.items_dead;
    ++type.counters.dead;
    log(config::LogLevel::error, LogTopic::kDead,
        [&] { return "item " + tasks_[t].id.hex() + " is dead in stage " + type.name; });
  }
  const uint32_t next = type.stage + 1;
  item_gone(t, state);
  if (next < scheduler_.stages().size()) room_at(scheduler_.stages()[next]);
}

// The item is out of the pipeline; its id is remembered, so that a push sent again does nothing.
void Broker::item_gone(uint32_t t, State state) {
  const uint32_t here = tasks_[t].type;
  tasks_[t].ending = state;
  tasks_[t].state = TaskState::kEnded;
  let_go(t);
  room_at(here);
}

void Broker::leave_pipeline(uint32_t t, const Record& record) {
  if (around_.pipeline_out.empty()) return;
  Task& task = tasks_[t];
  scratch_.clear();
  scratch_.forward(record.attributes.all);
  const BodyOut body = body_out(record);
  const size_t more = kRecordOverhead + body.inline_bytes.size() + scratch_.entries().size();
  if (!has_room(items_out_, more)) send_items();
  items_out_.task(Kind::kItem, 0, task.id, scheduler_.type(task.type).name, 1, body, scratch_);
}

void Broker::send_items() {
  if (items_out_.empty()) return;
  actions_->items.push_back(
      {Bytes::copy(items_out_.records().view()), std::move(items_out_.frames())});
  items_out_.clear();
}

void Broker::on(const EdgeItems& event) {
  bodies_ = event.bodies;
  proto::Decoded decoded = decode(event.records, event.bodies);
  if (!decoded.ok()) {
    ++counters_.edge_dropped;
    return log(config::LogLevel::warning, LogTopic::kEdge, [&] {
      return std::string("dropped a message on the pipeline edge: ") + decoded.malformed.why;
    });
  }
  for (const Record& record : decoded.records) {
    if (record.kind == Kind::kPush && record.fault.empty()) {
      push(Caller{.edge = true}, record);
    } else {
      ++counters_.edge_dropped;
    }
  }
}

}  // namespace tusk::core
