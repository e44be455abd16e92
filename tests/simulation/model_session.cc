// Connections that come and go, the deaths of workers, the end of a session; what a worker serves.
#include <algorithm>

#include "tests/simulation/model.h"

namespace tusk::simulation {

namespace {

// The end of a connection and that of its process come one after the other, within this time.
constexpr Nanos kProcessSettles = 50 * kMillisecond;

Nanos nanos(config::Duration d) { return std::chrono::nanoseconds(d).count(); }

}  // namespace

void Model::acknowledged(Session& session, uint64_t seq) {
  seq = std::min(seq, session.sent);
  while (!session.unacked.empty() && session.unacked.front().seq <= seq) {
    session.bytes -= session.unacked.front().bytes;
    session.unacked.pop_front();
  }
  while (!session.endings.empty()) {
    const TaskId id = session.endings.front();
    const uint64_t packet = tasks_.at(id).packet;
    if (packet == 0 || packet > seq) break;
    session.endings.pop_front();
    let_go(id);
  }
  if (session.over && session.bytes <= config_->tuskd.limits.max_session_bytes) {
    session.over = false;
    settle();
  }
}

void Model::on_disconnected(ConnectionId connection) {
  if (connection >= connections_.size() || !connections_[connection].open) return;
  Connection& from = connections_[connection];
  from.open = false;
  from.last_error = -1;
  ++from.generation;
  auto it = sessions_.find(from.session);
  from.session = 0;
  if (it != sessions_.end()) detach(it->second);
}

void Model::detach(Session& session) {
  session.connection = kNoConnection;
  if (session.process_gone) return end_session(session.number, true);
  if (!session.acks && !session.watched) return end_session(session.number, false);
  if (!session.acks) {
    session.settle = now_ + kProcessSettles;
    return alarm(session.settle, {.what = Alarm::kSettle, .number = session.number});
  }
  const config::Times& times = config_->tuskd.times;
  if (session.worker) {
    session.grace = now_ + nanos(times.reconnect_grace);
    alarm(session.grace, {.what = Alarm::kGrace, .number = session.number});
  }
  session.ttl = now_ + nanos(times.session_ttl);
  alarm(session.ttl, {.what = Alarm::kTtl, .number = session.number});
}

void Model::on_process_ended(uint64_t number) {
  auto it = sessions_.find(number);
  if (it == sessions_.end()) return;
  Session& session = it->second;
  session.watched = false;
  session.process_gone = true;
  if (session.connection == kNoConnection) return end_session(number, true);
  session.settle = now_ + kProcessSettles;
  alarm(session.settle, {.what = Alarm::kSettle, .number = number});
}

// What ran there runs elsewhere. A death is charged to the suspect alone if there was one, else to
// all that ran. They go one by one, in the order in which they were started.
void Model::worker_gone(Session& session, bool died) {
  const Run* suspect = session.suspect();
  const bool has_suspect = suspect != nullptr;
  const uint64_t charged = has_suspect ? suspect->handle : 0;
  const TaskId charged_id = has_suspect ? suspect->id : TaskId{};
  while (!session.runs.empty()) {
    const Run run = take_run(session, 0);
    ++event_;
    if (!run.ghost) {
      Task& task = tasks_.at(run.id);
      const bool is_charged = run.handle == charged && run.id == charged_id;
      if (ended_as_told(task, session.name)) {
        // It was told to stop for good.
      } else if (task.stop != Stop::kNone) {
        run_lost(task, session.name);
      } else if (died && (!has_suspect || is_charged)) {
        crash(task, session.name);
      } else if (task.orphan) {
        forget(run.id);
      } else {
        if (!died) task.claimed_by = session.number;
        place(task);
      }
    }
    settle();
  }
}

void Model::stop_serving(Session& session) {
  for (auto& [serves, passed] : passed_) passed.least = 0;
  const auto served_before = std::exchange(session.serves, {});
  for (const auto& [is_stage, name] : served_before) {
    if (served(name, is_stage)) continue;
    if (!is_stage) types_[name].last_served = now_;
    wait_for_worker(name, is_stage);
  }
}

void Model::end_session(uint64_t number, bool died) {
  Session& session = sessions_.at(number);
  session.leaving = session.gone = true;
  if (session.worker) {
    worker_gone(session, died);
    stop_serving(session);
  }
  for (const TaskId& id : std::exchange(session.endings, {})) {
    tasks_.at(id).owner = 0;
    keep(tasks_.at(id));
  }
  if (session.watched) watches_due_.push_back({number, false});
  if (session.connection != kNoConnection) connections_[session.connection].session = 0;
  sessions_.erase(number);
}

// What it announced and the config lets it run. A type that nobody named before is made.
void Model::update_serves(Session& session) {
  for (auto& [serves, passed] : passed_) passed.least = 0;  // who is of one kind may change
  session.serves.clear();
  if (!session.worker) return;
  for (const std::string& name : session.types) {
    if (!types_.count(name) && !make_type(name)) continue;
    const auto& pool = config_->type(name).pool;
    if (pool && *pool != session.pool) continue;
    session.serves.insert({false, name});
    types_[name].ever_served = true;
  }
  for (const config::Stage& stage : config_->stages) {
    const bool announced = std::find(session.handlers.begin(), session.handlers.end(),
                                     stage.function) != session.handlers.end();
    if (announced && (stage.language.empty() || stage.language == session.language)) {
      session.serves.insert({true, stage.name});
    }
  }
}

}  // namespace tusk::simulation
