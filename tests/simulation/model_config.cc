// The configuration: reloads, types that nobody serves, and the end of the broker.
#include <algorithm>

#include "tests/simulation/model.h"

namespace tusk::simulation {

namespace code = proto::code;

// --- reload --------------------------------------------------------------------------------------

void Model::on_reload(const core::Reload& event) {
  const std::vector<std::string> why = obstacles(*event.config);
  const auto& outcome = actions_->reload;
  must(Rule::reload, outcome.has_value(), [] { return std::string("a reload has no outcome"); });
  must(Rule::reload, outcome->refused.size() == why.size(), [&] {
    return why.empty() ? "a reload was refused: " + outcome->refused[0]
                       : "a reload that takes away " + why[0] + " was not refused for it";
  });
  if (!why.empty()) return;
  config_ = event.config;
  for (auto& [number, session] : sessions_) {
    for (const auto& [is_stage, name] : session.serves) {
      if (!is_stage) types_[name].last_served = now_;
    }
  }
  reloading_ = true;
  apply();
  reloading_ = false;
}

// What it would take away although it still holds something.
std::vector<std::string> Model::obstacles(const config::Orchestration& fresh) const {
  std::vector<std::string> out;
  for (const config::Stage& stage : config_->stages) {
    const bool stays =
        std::any_of(fresh.stages.begin(), fresh.stages.end(),
                    [&](const config::Stage& other) { return other.name == stage.name; });
    if (!stays && held(stage.name, true) > 0) out.push_back("stage " + stage.name);
  }
  for (const auto& [name, type] : types_) {
    if (type.configured && !fresh.types.count(name) && held(name, false) > 0) {
      out.push_back("type " + name);
    }
  }
  for (const auto& [name, topic] : topics_) {
    const bool stays = std::any_of(fresh.topics.begin(), fresh.topics.end(),
                                   [&](const config::Topic& other) { return other.name == name; });
    const bool named = std::any_of(sessions_.begin(), sessions_.end(), [&](const auto& entry) {
      const auto& all = entry.second.subscriptions;
      return std::any_of(all.begin(), all.end(),
                         [&](const Subscription& s) { return s.pattern == name; });
    });
    if (!stays && named) out.push_back("topic " + name);
  }
  return out;
}

void Model::apply() {
  for (auto& [name, type] : types_) type.configured = false;
  for (const auto& [name, settings] : config_->types) types_[name].configured = true;
  std::map<std::string, Topic> topics;
  for (const config::Topic& wanted : config_->topics) {
    Topic& topic = topics[wanted.name] = topics_[wanted.name];
    topic.retains = wanted.retain;
    if (!wanted.retain) topic.last.reset();
    const double rate = wanted.rate ? wanted.rate->per_second : 0;
    const double burst = wanted.burst ? static_cast<double>(*wanted.burst) : std::max(rate, 1.0);
    if (rate != topic.bucket.rate || burst != topic.bucket.burst)
      topic.bucket.set(rate, burst, now_);
  }
  topics_ = std::move(topics);
  for (auto& [number, session] : sessions_) leave_topics(session);
  std::erase_if(paused_, [&](const auto& entry) {  // with its stage
    const auto& [is_item, name] = entry.first;
    return is_item && stage_index(name) == config_->stages.size();
  });
  while (window_.size() > config_->tuskd.limits.ended_window) {
    newest_let_go_ = std::max(newest_let_go_, window_.front().id.unix_ms());
    window_.pop_front();
  }
  for (auto& [number, session] : sessions_) {
    if (!session.away) update_serves(session);
  }
  set_rates();
  settle();
  for (const auto& [name, type] : types_) {
    if (!served(name, false)) wait_for_worker(name, false);
  }
}

// --- types that nobody serves --------------------------------------------------------------------

bool Model::served(const std::string& type, bool is_stage) const {
  return std::any_of(sessions_.begin(), sessions_.end(), [&](const auto& entry) {
    return entry.second.serves.count({is_stage, type}) > 0;
  });
}

// Tasks that have no ending, and what still holds a slot.
size_t Model::held(const std::string& type, bool is_item) const {
  size_t count = 0;
  for (const auto& [id, task] : tasks_) {
    count += task.is_item == is_item && task.type == type && task.phase != Phase::kEnded;
  }
  for (const auto& [number, session] : sessions_) {
    for (const Run& run : session.runs) {
      count += run.ghost && run.is_item == is_item && run.type == type;
    }
  }
  return count;
}

size_t Model::waiting(const std::string& type) const {
  size_t count = 0;
  for (const auto& [id, task] : tasks_) {
    count += !task.is_item && task.type == type &&
             (task.phase == Phase::kWaiting || task.phase == Phase::kBackoff ||
              task.phase == Phase::kBlocked || task.phase == Phase::kHeld);
  }
  return count;
}

bool Model::make_type(const std::string& name) {
  if (types_.size() >= config_->tuskd.limits.max_types) return false;
  types_[name];
  return true;
}

// Whether tasks of a type that nobody serves now may wait for somebody who will.
bool Model::may_wait(const std::string& name) const {
  const config::TaskType& settings = config_->type(name);
  if (settings.pool || settings.unserved == config::Unserved::wait) return true;
  const Type& type = types_.at(name);
  const Nanos grace = std::chrono::nanoseconds(config_->tuskd.times.unserved_grace).count();
  return now_ < (type.ever_served ? type.last_served : started_) + grace;
}

// Whether a task of this type may come in; the type is made if a worker may yet come for it.
bool Model::type_for(const Who& who, const proto::Record& record) {
  const std::string name(record.name);
  if (types_.count(name) && (served(name, false) || may_wait(name))) return true;
  const Nanos grace = std::chrono::nanoseconds(config_->tuskd.times.unserved_grace).count();
  if (types_.count(name) || now_ >= started_ + grace) {
    error(who, Rule::unserved, record.ref, code::kUnserved);
    return false;
  }
  if (types_.size() >= config_->tuskd.limits.max_types) purge_types();
  if (make_type(name)) return true;
  error_limit(who, record.ref, code::kFull, "max_types", config_->tuskd.limits.max_types);
  return false;
}

// Room among the types that nobody configured: those that hold nothing and that nobody serves.
void Model::purge_types() {
  std::erase_if(types_, [&](const auto& entry) {
    const auto& [name, type] = entry;
    const bool ending = std::any_of(tasks_.begin(), tasks_.end(), [&](const auto& task) {
      return !task.second.is_item && task.second.type == name;
    });
    const bool blocked = std::any_of(blocked_.begin(), blocked_.end(),
                                     [&, &n = name](const auto& key) { return key.first == n; });
    if (type.configured || ending || blocked || paused_.count({false, name}) ||
        held(name, false) > 0 || served(name, false))
      return false;
    return !(type.ever_served && may_wait(name));
  });
}

void Model::wait_for_worker(const std::string& name, bool is_item) {
  if (is_item || types_[name].unserved != kNever) return;
  const bool any = std::any_of(queue_.begin(), queue_.end(), [&](const auto& entry) {
    const Task& task = tasks_.at(entry.second);
    return !task.is_item && task.type == name && task.phase == Phase::kWaiting;
  });
  if (!any) return;
  const config::TaskType& settings = config_->type(name);
  const Nanos grace = std::chrono::nanoseconds(config_->tuskd.times.unserved_grace).count();
  const bool patient =
      settings.pool || settings.unserved == config::Unserved::wait || types_[name].ever_served;
  types_[name].unserved = patient ? now_ + grace : std::max(now_, started_ + grace);
  alarm(types_[name].unserved, {.what = Alarm::kUnserved, .name = name});
}

void Model::unserved_over(const std::string& name) {
  auto it = types_.find(name);
  if (it == types_.end() || it->second.unserved > now_) return;
  it->second.unserved = kNever;
  if (served(name, false) || may_wait(name) || it->second.ever_served) return;
  std::vector<TaskId> waiting;
  for (const auto& [order, id] : queue_) {
    const Task& task = tasks_.at(id);
    if (!task.is_item && task.type == name) waiting.push_back(id);
  }
  for (const TaskId& id : waiting) give_back(id, code::kUnserved, Rule::unserved);
}

// --- the end -------------------------------------------------------------------------------------

void Model::on_shutdown() {
  if (stopping_) return stop_now();
  stopping_ = true;
  for (auto& [number, session] : sessions_) {
    owe_session(session, {.rule = Rule::shutdown, .kind = Kind::kGoaway});
  }
  std::vector<TaskId> back;
  for (const auto& [id, task] : tasks_) {
    const bool waits = task.phase == Phase::kWaiting || task.phase == Phase::kBackoff ||
                       task.phase == Phase::kBlocked || task.phase == Phase::kHeld;
    if (task.phase == Phase::kParked || (!task.is_item && waits)) back.push_back(id);
  }
  for (const TaskId& id : back) give_back(id, code::kShuttingDown, Rule::shutdown);
  shutdown_due_ = now_ + std::chrono::nanoseconds(config_->tuskd.times.shutdown_grace).count();
  alarm(shutdown_due_, {.what = Alarm::kShutdown});
}

void Model::check_stopped() {
  for (const auto& [number, session] : sessions_) {
    if (!session.runs.empty()) return;
  }
  for (const auto& [id, task] : tasks_) {
    if (task.is_item && task.phase != Phase::kEnded) return;
  }
  stop_now();
}

void Model::stop_now() {
  if (stopped_) return;
  stopped_ = true;
  for (auto& [number, session] : sessions_) {
    owe_session(session, {.rule = Rule::shutdown, .kind = Kind::kBye});
  }
}

}  // namespace tusk::simulation
