// Pipelines: an item goes to a worker only when there is room behind its stage, and a push is
// accepted as soon as there is room in its own. Room goes first to the stage before, then to
// pushes.
#include <algorithm>

#include "tests/simulation/model.h"

namespace tusk::simulation {

namespace code = proto::code;
using proto::Record;

size_t Model::stage_index(const std::string& stage) const {
  const auto& stages = config_->stages;
  auto it = std::find_if(stages.begin(), stages.end(),
                         [&](const config::Stage& s) { return s.name == stage; });
  return static_cast<size_t>(it - stages.begin());
}

// Items that wait or run there, and the room that is promised to what runs in the stage before.
size_t Model::occupied(size_t stage) const {
  const std::string& name = config_->stages[stage].name;
  size_t count = 0;
  for (const auto& [id, task] : tasks_) {
    const bool there = task.phase == Phase::kWaiting || task.phase == Phase::kBackoff;
    count += task.is_item && task.type == name && there;
  }
  for (const auto& [number, session] : sessions_) {
    for (const Run& run : session.runs) {
      if (!run.is_item) continue;
      count += run.type == name || (stage > 0 && run.type == config_->stages[stage - 1].name);
    }
  }
  return count;
}

bool Model::has_room(size_t stage) const {
  return occupied(stage) < config_->tuskd.limits.stage_capacity;
}

void Model::on_push(const Who& who, const Record& record) {
  note_request(who, record.ref);
  if (stopping_) return error(who, Rule::shutdown, record.ref, code::kShuttingDown);
  const size_t stage = stage_index(std::string(record.name));
  if (stage == config_->stages.size()) {
    return error(who, Rule::one_answer, record.ref, code::kUnknownStage);
  }
  if (!record.has_id()) return error(who, Rule::one_answer, record.ref, code::kInvalid);
  size_t unanswered = 0;
  for (const auto& [id, task] : tasks_) {
    if (task.phase != Phase::kParked) continue;
    unanswered += static_cast<size_t>(
        std::count_if(task.askers.begin(), task.askers.end(),
                      [&](const Asker& a) { return who.session && a.who.session == who.session; }));
  }
  const size_t window = config_->tuskd.limits.push_window;
  if (who.session && unanswered >= window) {
    return error_limit(who, record.ref, code::kBusy, "push_window", window);
  }
  if (!check_body(who, record)) return;
  if (tasks_.count(record.id()) || remembered(record.id())) {
    if (join_item(who, record)) return;
    return error(who, Rule::conflict, record.ref, code::kIdConflict);
  }
  if (may_be_let_go(record)) {
    return error(who, Rule::unknown_outcome, record.ref, code::kUnknownOutcome);
  }
  Task as_item;
  if (!check_room(who, record, &as_item)) return;
  Task& task = make_task(record, true);
  task.edge = who.edge;
  task.phase = Phase::kParked;
  add_asker(task, who, record.ref, who.req ? record.attributes.wait : 0);
  settle();
}

// A push whose id is there already; false if it is that of something else.
bool Model::join_item(const Who& who, const Record& record) {
  const std::string_view body = body_view(record);
  auto it = tasks_.find(record.id());
  if (it == tasks_.end()) {
    const Ended& ended = *remembered(record.id());
    const bool same =
        ended.unseen || (ended.type == record.name && ended.body == body && ended.is_item);
    if (same) accepted(who, record.ref);
    return same;
  }
  Task& task = it->second;
  const bool same =
      task.is_item && (task.unseen || (task.first_type == record.name && task.first_body == body));
  if (!same) return false;
  if (task.phase != Phase::kParked) {
    accepted(who, record.ref);
  } else if (!who.edge && !asked(task, who, record.ref)) {
    add_asker(task, who, record.ref, 0);
  }
  return true;
}

// Accepts the oldest push of a stage with room; false if there is none.
bool Model::admit_one() {
  for (size_t stage = 0; stage < config_->stages.size(); ++stage) {
    const std::string& name = config_->stages[stage].name;
    Task* first = nullptr;
    for (auto& [id, task] : tasks_) {
      if (task.phase != Phase::kParked || task.type != name) continue;
      if (!first || task.order < first->order) first = &task;
    }
    if (!first || !has_room(stage)) continue;
    for (const Asker& asker : std::exchange(first->askers, {})) {
      if (!present(asker)) continue;
      owe(asker.who, {.rule = Rule::push_accepted, .kind = Kind::kAccepted, .ref = asker.request});
    }
    place(*first);
    return true;
  }
  return false;
}

// A handler ended its run of an item well: on to the next stage, or out.
void Model::item_done(Task& task, const Record& record) {
  const size_t stage = stage_index(task.type);
  if (record.body.where == proto::BodyRef::Where::kNone) {
    task.ending = State::kSucceeded;  // that is how a stage filters
    return let_go(task.id);
  }
  const std::string body(body_view(record));
  Attributes attributes = forwarded(record.attributes.all);
  if (stage + 1 >= config_->stages.size()) {
    if (machine_.pipeline_out) {
      items_due_.push_back({.rule = Rule::items_out,
                            .kind = Kind::kItem,
                            .name = task.type,
                            .id = task.id,
                            .has_body = true,
                            .body = body,
                            .attributes = attributes});
    }
    task.ending = State::kSucceeded;
    return let_go(task.id);
  }
  task.type = config_->stages[stage + 1].name;
  task.body = body;
  task.has_body = true;
  task.attributes = std::move(attributes);
  task.attempt = task.failures = task.crashes = 0;
  task.suspect = false;
  task.orphan = false;
  task.order = ++order_;
  task.since = now_;
  place(task);
}

// It failed for good, or was cancelled: nobody is told but those whose push was not accepted yet.
void Model::item_ended(Task& task, State state) {
  const std::vector<Asker> askers = std::exchange(task.askers, {});
  if (task.phase == Phase::kParked) {
    for (const Asker& asker : askers) {
      if (present(asker)) error(asker.who, Rule::one_answer, asker.request, code::kInvalid);
    }
  }
  task.ending = state;
  let_go(task.id);
}

void Model::on_edge_items(const core::EdgeItems& event) {
  bodies_ = event.bodies;
  const bool has_empty = std::any_of(event.bodies.begin(), event.bodies.end(),
                                     [](const proto::Bytes& body) { return body.size() == 0; });
  const proto::Decoded decoded = in_.decode(event.records, event.bodies.size());
  if (!decoded.ok() || has_empty) return;
  for (const Record& record : decoded.records) {
    ++event_;
    if (record.kind == Kind::kPush && record.fault.empty()) on_push({.edge = true}, record);
  }
}

}  // namespace tusk::simulation
