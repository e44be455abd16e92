// How a task ends: its one ending, told to those who ask, kept, remembered, let go.
#include <algorithm>

#include "tests/simulation/model.h"

namespace tusk::simulation {

void Model::end(Task& task, State state, const std::string* body, Attributes attributes) {
  if (task.is_item) return item_ended(task, state);
  queue_.erase(task.order);
  task.phase = Phase::kEnded;
  task.ending = state;
  task.has_result = body != nullptr;
  task.result = body ? *body : "";
  task.result_attributes = std::move(attributes);
  task.session = task.owner = task.packet = 0;
  task.due = task.deadline = task.limit = kNever;
  task.since = now_;
  ++coverage_[static_cast<size_t>(Rule::ending)];
  leave_order(task);
  // The first who acknowledges owns the ending.
  const std::vector<Asker> askers = std::exchange(task.askers, {});
  for (const Asker& asker : askers) {
    auto it = sessions_.find(asker.who.session);
    if (it != sessions_.end() && it->second.acks && task.owner == 0) task.owner = it->first;
  }
  for (const Asker& asker : askers) {
    if (!present(asker)) continue;
    const bool owner = task.owner != 0 && asker.who.session == task.owner;
    tell(task, asker.who, asker.request, Rule::ending, owner);
  }
  if (task.owner == 0) return keep(task);
  sessions_.at(task.owner).endings.push_back(task.id);
}

// Cancelled or expired: the broker says why.
void Model::end_as_told(Task& task, State state, const std::string& worker) {
  Attributes attributes = last_run(task, worker);
  attributes[2] = kErrorOf + (state == State::kExpired ? "Expired" : "Cancelled");
  end(task, state, nullptr, std::move(attributes));
}

void Model::tell(const Task& task, const Who& who, uint64_t request, Rule rule, bool owner) {
  owe(who, {.rule = rule,
            .kind = Kind::kResult,
            .ref = request,
            .id = task.id,
            .state = task.ending,
            .has_body = task.has_result,
            .body = task.result,
            .attributes = task.result_attributes,
            .ending_of = owner});
}

// Keeps an ending that nobody will acknowledge, for session_ttl; but only so many of them.
void Model::keep(Task& task) {
  task.kept_until = now_ + std::chrono::nanoseconds(config_->tuskd.times.session_ttl).count();
  alarm(task.kept_until, {.what = Alarm::kKept, .id = task.id});
  kept_.push_back(task.id);
  while (kept_.size() > config_->tuskd.limits.ended_window) {
    const TaskId oldest = kept_.front();
    kept_.pop_front();
    let_go(oldest);
  }
}

// Only id and state remain, for a bounded number of tasks.
void Model::let_go(const TaskId& id) {
  const Task& task = tasks_.at(id);
  window_.push_back({.id = id,
                     .type = task.first_type,
                     .body = task.first_body,
                     .is_item = task.is_item,
                     .unseen = task.unseen,
                     .state = task.ending});
  forget(id);
  while (window_.size() > config_->tuskd.limits.ended_window) {
    newest_let_go_ = std::max(newest_let_go_, window_.front().id.unix_ms());
    window_.pop_front();
  }
}

void Model::forget(const TaskId& id) {
  queue_.erase(tasks_.at(id).order);
  tasks_.erase(id);
}

// A task that does not run goes back to those who submitted it, with an error that is no ending.
void Model::give_back(const TaskId& id, std::string_view code, Rule rule) {
  const std::vector<Asker> askers = tasks_.at(id).askers;
  forget(id);
  for (const Asker& asker : askers) {
    if (present(asker)) error(asker.who, rule, asker.request, code);
  }
}

}  // namespace tusk::simulation
