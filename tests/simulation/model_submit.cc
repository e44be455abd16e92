// How a task comes in: the limits, the same id again, who waits for it and for how long.
#include <algorithm>

#include "proto/lz4.h"
#include "tests/simulation/model.h"

namespace tusk::simulation {

namespace code = proto::code;
using proto::Record;

std::string_view Model::body_view(const Record& record) const { return bytes_of(record, bodies_); }

size_t Model::held_bytes() const {
  size_t bytes = 0;
  for (const auto& [id, task] : tasks_) {
    bytes += task.phase == Phase::kEnded ? task.result.size() : task.body.size();
  }
  return bytes + kept_bytes();
}

// Ghosts are among them: they hold a slot.
size_t Model::live_tasks() const {
  size_t live = tasks_.size();
  for (const auto& [number, session] : sessions_) {
    for (const Run& run : session.runs) live += run.ghost;
  }
  return live;
}

const Ended* Model::remembered(const TaskId& id) const {
  auto it = std::find_if(window_.begin(), window_.end(),
                         [&](const Ended& ended) { return ended.id == id; });
  return it == window_.end() ? nullptr : &*it;
}

bool Model::may_be_let_go(const Record& record) const {
  return record.attributes.resent && !record.attributes.rerun_ok && newest_let_go_ > 0 &&
         record.id().unix_ms() <= newest_let_go_;
}

// Whether the body is within the limit, also once it is decompressed; if not, says so.
bool Model::check_body(const Who& who, const Record& record) {
  const auto it = sessions_.find(who.session);
  const size_t limit =
      it == sessions_.end() ? config_->tuskd.limits.max_body.count : it->second.limits.body;
  const std::string_view body = body_view(record);
  if (body.size() > limit) {
    error_limit(who, record.ref, code::kTooLarge, "body", limit);
    return false;
  }
  if (record.attributes.compression != proto::Compression::kLz4) return true;
  const auto bound = proto::lz4_bound(body);
  if (!bound) {
    error(who, Rule::refused_record, record.ref, code::kInvalid,
          {{.key = "field", .text = "body", .is_text = true}});
    return false;
  }
  if (*bound > limit) error_limit(who, record.ref, code::kTooLarge, "body", limit);
  return *bound <= limit;
}

bool Model::check_room(const Who& who, const Record& record, const Task* of) {
  const config::Limits& limit = config_->tuskd.limits;
  const std::string type(record.name);
  auto full = [&](std::string_view name, uint64_t value) {
    error_limit(who, record.ref, code::kFull, name, value);
    return false;
  };
  ++coverage_[static_cast<size_t>(Rule::limit)];
  const size_t most = config_->type(type).max_waiting;
  if (!of && waiting(type) >= most) return full("max_waiting", most);
  if (live_tasks() >= limit.max_tasks) return full("max_tasks", limit.max_tasks);
  if (held_bytes() >= limit.max_memory) return full("max_memory", limit.max_memory);
  return true;
}

Task& Model::make_task(const Record& record, bool is_item) {
  Task& task = tasks_[record.id()];
  task.id = record.id();
  task.type = task.first_type = record.name;
  task.is_item = is_item;
  task.order = ++order_;
  task.body = task.first_body = body_view(record);
  task.has_body = record.body.where != proto::BodyRef::Where::kNone;
  task.attributes = forwarded(record.attributes.all);
  task.since = now_;
  task.accepted = task.order;
  return task;
}

// A peer may use a number that is in use: then packets do not tell which answer is whose.
void Model::note_request(const Who& who, uint64_t request) {
  Session* session = session_of(who);
  if (session && !session->requests.insert(request).second) session->reused.insert(request);
}

void Model::on_submit(const Who& who, const Record& record) {
  note_request(who, record.ref);
  if (stopping_) return error(who, Rule::shutdown, record.ref, code::kShuttingDown);
  if (const Session* session = session_of(who); session && session->over) {
    return error_limit(who, record.ref, code::kBusy, "session_bytes",
                       config_->tuskd.limits.max_session_bytes);
  }
  if (!check_body(who, record)) return;
  if (auto it = tasks_.find(record.id()); it != tasks_.end()) {
    return join_task(who, record, it->second);
  }
  if (const Ended* ended = remembered(record.id())) {
    const bool same =
        !ended->is_item && ended->type == record.name && ended->body == body_view(record);
    if (!same && !ended->unseen) return error(who, Rule::conflict, record.ref, code::kIdConflict);
    return error(
        who, Rule::remembered, record.ref, code::kAlreadyEnded,
        {{.key = "state", .text = std::string(proto::state_name(ended->state)), .is_text = true}});
  }
  if (may_be_let_go(record)) {
    return error(who, Rule::unknown_outcome, record.ref, code::kUnknownOutcome);
  }
  if (!type_for(who, record) || !check_room(who, record, nullptr)) return;

  Task& task = make_task(record, false);
  const proto::Reply reply = record.attributes.reply;
  const bool waits = reply != proto::Reply::kAccepted;
  add_asker(task, waits ? who : Who{.edge = true}, record.ref, record.attributes.wait);
  if (reply != proto::Reply::kResult) accepted(who, record.ref);
  take_terms(task, record);
  Nanos wait = delay_of(record);
  const Nanos hold =
      started_ + std::chrono::nanoseconds(config_->tuskd.times.reconnect_grace).count();
  if (!task.order_key.empty()) {
    if (record.attributes.resent && now_ < hold) wait = std::max(wait, hold - now_);
    begin(task, wait);
  } else if (record.attributes.resent && now_ < hold && now_ + wait <= hold) {
    task.phase = Phase::kHeld;
    alarm(hold, {.what = Alarm::kHold, .id = task.id});
  } else {
    begin(task, wait);
  }
  settle();
}

// A submit whose id is there already: one more who waits for the same ending.
void Model::join_task(const Who& who, const Record& record, Task& task) {
  const std::string_view body = body_view(record);
  bool same = !task.is_item && task.first_type == record.name;
  if (same && !task.unseen) same = task.first_body == body;
  if (!same) return error(who, Rule::conflict, record.ref, code::kIdConflict);
  ++coverage_[static_cast<size_t>(Rule::joins)];
  if (task.orphan) {  // this is the client that it belongs to
    task.orphan = task.unseen = false;
    task.body = task.first_body = body;
    task.has_body = record.body.where != proto::BodyRef::Where::kNone;
    task.attributes = forwarded(record.attributes.all);
    if (task.phase != Phase::kEnded) {
      take_terms(task, record);
      task.sign = now_;  // nobody asked for one before
      if (task.phase == Phase::kRunning && task.stop == Stop::kNone) watch_run(task);
      keys_of_run(task);
    }
  }
  const proto::Reply reply = record.attributes.reply;
  if (reply != proto::Reply::kResult) accepted(who, record.ref);
  if (reply == proto::Reply::kAccepted) return;
  if (task.phase == Phase::kEnded) return tell(task, who, record.ref, Rule::repeated, false);
  if (!asked(task, who, record.ref)) add_asker(task, who, record.ref, record.attributes.wait);
}

// --- who waits -----------------------------------------------------------------------------------

// A REQ peer waits for the broker's time-out if it does not say how long.
void Model::add_asker(Task& task, const Who& who, uint64_t request, uint64_t wait) {
  Asker asker{.who = who, .request = request, .serial = ++serial_};
  if (who.req && wait == 0) wait = static_cast<uint64_t>(config_->default_timeout.count());
  if (wait > 0 && !who.edge) {
    asker.due = now_ + static_cast<Nanos>(wait) * kMillisecond;
    alarm(asker.due, {.what = Alarm::kAsker, .number = asker.serial, .id = task.id});
  }
  // The place of the first is taken by who comes when that one is gone.
  if (!task.askers.empty() && !present(task.askers[0])) {
    task.askers[0] = asker;
  } else {
    task.askers.push_back(asker);
  }
}

bool Model::present(const Asker& asker) const {
  if (asker.who.edge) return false;
  return asker.who.session == 0 || sessions_.count(asker.who.session) > 0;
}

bool Model::asked(const Task& task, const Who& who, uint64_t request) const {
  if (who.session == 0) return false;
  return std::any_of(task.askers.begin(), task.askers.end(), [&](const Asker& asker) {
    return asker.who.session == who.session && asker.request == request;
  });
}

void Model::asker_timeout(const TaskId& id, uint64_t serial) {
  auto it = tasks_.find(id);
  if (it == tasks_.end()) return;
  std::vector<Asker>& askers = it->second.askers;
  auto at = std::find_if(askers.begin(), askers.end(),
                         [&](const Asker& asker) { return asker.serial == serial; });
  if (at == askers.end()) return;
  const Asker asker = *at;
  at->who = {.edge = true};
  if (present(asker)) error(asker.who, Rule::timeout, asker.request, code::kTimeout);
}

}  // namespace tusk::simulation
