// Order keys, and the limits of types and keys: which tasks may start at all (SPEC.md, "Order" and
// "Limits of types and keys"). What an ending lets go on goes on when all is done that came with
// it.
#include <algorithm>

#include "tests/simulation/model.h"

namespace tusk::simulation {

namespace {

double rate_of(const std::optional<config::Rate>& rate) { return rate ? rate->per_second : 0; }
double burst_of(const std::optional<config::Rate>& rate, const std::optional<size_t>& burst) {
  return burst ? static_cast<double>(*burst) : std::max(1.0, rate_of(rate));
}

}  // namespace

// A record, an alarm or another event is over, with all that came of it.
void Model::end_event() {
  do {
    while (let_in()) {
    }
    std::erase_if(closed_, [&](const std::string& type) { return !is_full(type); });
    settle(true);
  } while (let_in() ||
           std::any_of(closed_.begin(), closed_.end(), [&](auto& type) { return !is_full(type); }));
  for (const auto& [name, type] : types_) {  // a reload may have made the limit less
    if (is_full(name)) closed_.insert(name);
  }
  ring_when_open();
}

// --- order keys ----------------------------------------------------------------------------------

// Whether no task of its type and key that was accepted before it is left, nor a run of one.
bool Model::is_first_of_key(const Task& task) const {
  if (task.order_key.empty()) return true;
  if (blocked_.count({task.type, task.order_key})) return false;
  for (const auto& [id, other] : tasks_) {
    const bool same = other.type == task.type && other.order_key == task.order_key;
    const bool lives = other.phase != Phase::kEnded && !other.is_item && id != task.id;
    if (same && lives && (other.accepted < task.accepted || other.phase == Phase::kRunning)) {
      return false;
    }
  }
  for (const auto& [number, session] : sessions_) {
    for (const Run& run : session.runs) {
      const bool same = run.type == task.type && run.order_key == task.order_key;
      if (same && run.ghost) return false;
    }
  }
  return true;
}

// The first of a key begins, if it has not; its delay counts from its acceptance.
bool Model::let_in() {
  for (auto& [id, task] : tasks_) {
    if (task.phase != Phase::kBlocked || !is_first_of_key(task)) continue;
    ++coverage_[static_cast<size_t>(Rule::order_key)];
    begin(task, std::max<Nanos>(0, task.not_before - now_));
    return true;
  }
  return false;
}

// A task that is dead or has failed may block its key.
void Model::leave_order(const Task& task) {
  if (task.order_key.empty() || task.is_item) return;
  const bool bad = task.ending == State::kDead || task.ending == State::kFailed;
  if (bad && config_->type(task.type).order_on_dead == config::OnDead::block) {
    blocked_.insert({task.type, task.order_key});
  }
}

// --- limits --------------------------------------------------------------------------------------

// Whether the type's own limits let nothing start.
bool Model::is_full(const std::string& type) const {
  const config::TaskType& settings = config_->type(type);
  size_t running = 0;
  for (const auto& [number, session] : sessions_) {
    for (const Run& run : session.runs) running += !run.is_item && run.type == type;
  }
  if (settings.concurrency && running >= *settings.concurrency) return true;
  const auto rate = rates_.find(type);
  return rate != rates_.end() && !rate->second.may_be_open(now_);
}

bool Model::key_is_full(const Task& task) const {
  const auto& most = config_->type(task.type).key_concurrency;
  size_t running = 0;
  for (const auto& [number, session] : sessions_) {
    for (const Run& run : session.runs) {
      running += !run.is_item && run.type == task.type && run.limit_key == task.limit_key;
    }
  }
  return most && *most > 0 && running >= *most;
}

// Whether others wait that share its limit key: which of them is next is not said.
bool Model::has_company(const Task& task) const {
  if (task.limit_key.empty()) return false;
  return std::any_of(queue_.begin(), queue_.end(), [&](const auto& entry) {
    const Task& other = tasks_.at(entry.second);
    return other.id != task.id && !other.is_item && other.type == task.type &&
           other.limit_key == task.limit_key;
  });
}

// A suspect waits for a worker that holds none, and takes the place of others of its limit key.
bool Model::kept_back_by_key(const Task& task) const {
  return std::any_of(queue_.begin(), queue_.end(), [&](const auto& entry) {
    const Task& other = tasks_.at(entry.second);
    return other.suspect && !task.suspect && !other.is_item && other.type == task.type &&
           other.limit_key == task.limit_key;
  });
}

void Model::set_rate(const std::string& type) {
  const config::TaskType& settings = config_->type(type);
  const double rate = rate_of(settings.rate), burst = burst_of(settings.rate, settings.burst);
  Bucket& bucket = rates_[type];
  if (bucket.rate != rate || bucket.burst != burst) bucket.set(rate, burst, now_);
}

// A reload: what a bucket holds stays, up to its new burst; that of a key which nobody uses is new.
void Model::set_rates() {
  for (const auto& [name, type] : types_) set_rate(name);
  std::erase_if(key_rates_, [&](const auto& entry) {
    const auto& [type, key] = entry.first;
    const bool used =
        std::any_of(tasks_.begin(), tasks_.end(), [&, &t = type, &k = key](auto& task) {
          return task.second.type == t && task.second.limit_key == k &&
                 task.second.phase != Phase::kEnded;
        });
    return !used && entry.second.level(now_) >= entry.second.burst;
  });
  for (auto& [name, bucket] : key_rates_) key_bucket(name.first, name.second);
}

Bucket& Model::key_bucket(const std::string& type, const std::string& key) {
  const config::TaskType& settings = config_->type(type);
  const double rate = rate_of(settings.key_rate);
  const double burst = burst_of(settings.key_rate, settings.key_burst);
  Bucket& bucket = key_rates_[{type, key}];
  if (bucket.rate != rate || bucket.burst != burst) bucket.set(rate, burst, now_);
  return bucket;
}

// A run that was adopted from a claim has its keys from the submit that joins it.
void Model::keys_of_run(const Task& task) {
  Session& session = sessions_.at(task.session);
  for (Run& run : session.runs) {
    if (run.ghost || run.id != task.id) continue;
    run.order_key = task.order_key;
    run.limit_key = task.limit_key;
  }
  if (task.limit_key.empty()) return;
  Bucket& bucket = key_bucket(task.type, task.limit_key);
  if (bucket.rate > 0) bucket.take(task.cost, now_);
}

// A run of it takes so many units, or gives them back.
void Model::pay(const Task& task, double cost) {
  if (task.is_item) return;
  set_rate(task.type);
  if (Bucket& bucket = rates_[task.type]; bucket.rate > 0) {
    ++coverage_[static_cast<size_t>(Rule::rate)];
    bucket.take(cost, now_);
  }
  if (task.limit_key.empty()) return;
  if (Bucket& bucket = key_bucket(task.type, task.limit_key); bucket.rate > 0) {
    ++coverage_[static_cast<size_t>(Rule::rate)];
    bucket.take(cost, now_);
  }
}

// Looks again when a bucket that keeps somebody back surely holds something.
void Model::ring_when_open() {
  auto ring = [&](Bucket& bucket) {
    if (bucket.is_open(now_) || (bucket.alarm > now_ && bucket.alarm <= bucket.opens(now_))) return;
    bucket.alarm = bucket.opens(now_);
    alarm(bucket.alarm, {.what = Alarm::kRate});
  };
  for (const auto& [order, id] : queue_) {
    const Task& task = tasks_.at(id);
    if (task.is_item) continue;
    set_rate(task.type);
    ring(rates_[task.type]);
    if (!task.limit_key.empty()) ring(key_bucket(task.type, task.limit_key));
  }
}

}  // namespace tusk::simulation
