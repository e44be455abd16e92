// Which task runs where. After each thing that happened the model asks: which tasks could go to a
// free worker now? Each of them must have gone, whose turn it was first, to a worker that the
// config's policy allows; which one that was, it sees in what the broker sent.
#include <algorithm>

#include "tests/simulation/model.h"

namespace tusk::simulation {

using proto::Record;

// It waits from now on, at the place that its order of acceptance gives it.
void Model::place(Task& task) {
  task.phase = Phase::kWaiting;
  task.able = 0;
  task.session = 0;
  task.due = kNever;
  if (!waits(lane_of(task))) turns_[lane_of(task)] = ++turn_;  // behind the groups that wait
  queue_[task.order] = task.id;
  if (!served(task.type, task.is_item)) wait_for_worker(task.type, task.is_item);
}

// --- whose turn it is ----------------------------------------------------------------------------

// Whether nothing keeps it from starting but the want of a free worker.
Model::Could Model::could_start(const Task& task) const {
  if (paused(task)) return Could::kNo;
  if (task.is_item) {
    const size_t next = stage_index(task.type) + 1;
    return next >= config_->stages.size() || has_room(next) ? Could::kYes : Could::kNo;
  }
  if (closed_.count(task.type) || is_full(task.type)) return Could::kNo;
  const auto rate = rates_.find(task.type);
  bool surely = rate == rates_.end() || rate->second.is_open(now_);
  if (task.limit_key.empty()) return surely ? Could::kYes : Could::kPerhaps;
  if (key_is_full(task)) return Could::kNo;
  const auto key = key_rates_.find({task.type, task.limit_key});
  if (key == key_rates_.end()) return surely ? Could::kYes : Could::kPerhaps;
  if (!key->second.may_be_open(now_)) return Could::kNo;
  surely &= key->second.is_open(now_);
  return surely ? Could::kYes : Could::kPerhaps;
}

void Model::note_able() {
  for (const auto& [order, id] : queue_) {
    Task& task = tasks_.at(id);
    if (!task.is_item && is_full(task.type)) closed_.insert(task.type);
    if (could_start(task) == Could::kNo) {
      task.able = 0;
    } else if (task.able == 0) {
      task.able = event_;
    }
  }
}

Lane Model::lane_of(const Task& task) {
  return {task.suspect, task.is_item, task.type, task.priority, task.group};
}

bool Model::waits(const Lane& lane) const {
  return std::any_of(queue_.begin(), queue_.end(),
                     [&](const auto& entry) { return lane_of(tasks_.at(entry.second)) == lane; });
}

// It had its group's turn.
void Model::leave_lane(const Task& task) {
  queue_.erase(task.order);
  if (waits(lane_of(task))) turns_[lane_of(task)] = ++turn_;
}

bool Model::aged(const Task& task) const {
  return now_ - task.since >= std::chrono::nanoseconds(config_->tuskd.times.ageing).count();
}

// Of each type the task that is next: of the highest priority, of the group whose turn it is, the
// first; and the one that has waited longest, if it is aged. In the order in which they should go.
std::vector<Task*> Model::fronts() {
  std::map<std::tuple<bool, bool, std::string_view>, std::pair<Task*, Task*>> of_type;
  std::vector<Task*> out;
  for (const auto& [order, id] : queue_) {
    Task& task = tasks_.at(id);
    if (task.able == 0) continue;
    const bool let_in_now = !task.limit_key.empty() && task.able == event_;
    if (has_company(task) || let_in_now) {
      out.push_back(&task);
      continue;
    }
    auto& [next, oldest] = of_type[{task.suspect, task.is_item, task.type}];
    if (!oldest) oldest = &task;
    const bool first =
        !next || task.priority > next->priority ||
        (task.priority == next->priority && turns_.at(lane_of(task)) < turns_.at(lane_of(*next)));
    if (first) next = &task;
  }
  for (const auto& [type, tasks] : of_type) {
    out.push_back(tasks.first);
    const bool two = tasks.second != tasks.first && !tasks.second->suspect;
    if (two && aged(*tasks.second)) out.push_back(tasks.second);
  }
  std::sort(out.begin(), out.end(), [](const Task* a, const Task* b) {
    return std::tuple(!a->suspect, -a->priority, a->order) <
           std::tuple(!b->suspect, -b->priority, b->order);
  });
  return out;
}

// Whether both waited before what happens now: what comes at once goes at once.
bool Model::settled(const Task& a, const Task& b) const {
  return !reloading_ && !a.is_item && !b.is_item && a.able != event_ && b.able != event_;
}

// A task goes to a worker: `left` could have gone there, too, and stood in front of it.
void Model::check_turn(const Task& task, const Session& to, const std::vector<Candidate>& left) {
  const uint64_t share = config_->tuskd.limits.ageing_share;
  for (const Candidate& other : left) {
    if (!settled(*other.task, task) || !eligible(to, *other.task)) continue;
    if (has_company(*other.task)) continue;
    const bool turn_of_aged = !other.task->suspect && &task == oldest_for(to) && aged(task) &&
                              passed_[to.serves].most + 1 >= share;
    const Rule rule = other.task->suspect                     ? Rule::suspects_first
                      : other.task->priority > task.priority  ? Rule::priority
                      : lane_of(*other.task) == lane_of(task) ? Rule::order
                                                              : Rule::no_starving;
    must(rule, turn_of_aged, [&] {
      return name_of(*other.task) + " waits for " + name_of(to) + ", which gets " + name_of(task);
    });
  }
}

// The task accepted first of those that this worker could run.
const Task* Model::oldest_for(const Session& session) const {
  for (const auto& [order, id] : queue_) {
    const Task& task = tasks_.at(id);
    if (task.able != 0 && !task.suspect && eligible(session, task)) return &task;
  }
  return nullptr;
}

// Of `ageing_share` dispatches that pass over an aged task the last one does not.
void Model::check_ageing(const Task& task, const Session& to) {
  if (task.suspect) return;
  const Task* oldest = oldest_for(to);
  Passed& passed = passed_[to.serves];
  if (oldest == &task) {
    passed.least = 0;
    if (settled(task, task)) passed.most = 0;
    return;
  }
  if (!aged(*oldest)) return;
  passed.least += settled(*oldest, task);
  ++passed.most;
  must(Rule::ageing, passed.least < config_->tuskd.limits.ageing_share, [&] {
    return name_of(*oldest) + " is aged, and " + name_of(to) + " passes over it " +
           std::to_string(passed.least) + " times";
  });
}

// --- who gets it ---------------------------------------------------------------------------------

bool Model::serves_task(const Session& session, const Task& task) const {
  return session.serves.count({task.is_item, task.type}) > 0;
}

bool Model::eligible(const Session& session, const Task& task) const {
  return session.worker && !session.gone && !session.arriving &&
         session.connection != kNoConnection && !session.over &&
         session.runs.size() < session.slots && serves_task(session, task) &&
         !(task.suspect && session.suspect());
}

// Those to whom the policy lets the task go: one, or several that are equal. Packets do not tell
// which of the dispatches of one event came first, so both are allowed: this one before the others
// of the event, and behind them.
std::vector<Session*> Model::best_workers(const Task& task) {
  const bool least =
      config_->type(task.type).load_balancing == config::LoadBalancing::least_connections;
  auto rank = [&](const Session& s, bool before) {  // the less the better
    auto free = static_cast<int64_t>(s.slots - s.runs.size());
    if (before) {
      free += std::count_if(s.runs.begin(), s.runs.end(),
                            [&](const Run& run) { return run.started == event_; });
    }
    const bool moved = before && s.last_dispatch == event_;
    return std::pair(least ? -free : 0, moved ? s.dispatch_before : s.last_dispatch);
  };
  std::vector<Session*> best;
  for (const bool before : {false, true}) {
    std::optional<std::pair<int64_t, uint64_t>> first;
    for (auto& [number, session] : sessions_) {
      if (eligible(session, task) && (!first || rank(session, before) < *first)) {
        first = rank(session, before);
      }
    }
    for (auto& [number, session] : sessions_) {
      if (!first || !eligible(session, task) || rank(session, before) != *first) continue;
      if (std::find(best.begin(), best.end(), &session) == best.end()) best.push_back(&session);
    }
  }
  return best;
}

// What the broker sent of this task and the model has not taken yet; and to whom.
Seen* Model::find_dispatch(const Task& task, uint64_t* session) {
  Seen* first = nullptr;
  for (Seen& seen : seen_) {
    const Record& r = *seen.record;
    if (seen.used || r.kind != (task.is_item ? Kind::kItem : Kind::kTask)) continue;
    if (r.id() != task.id) continue;
    if (!first || r.attempt < first->record->attempt) first = &seen;
  }
  if (first) *session = connections_[packets_[first->packet].connection].session;
  return first;
}

// Whether this is the next dispatch in the packets of its worker: there they stand in their order.
bool Model::is_next(const Seen& dispatch) const {
  for (const Seen& seen : seen_) {
    if (&seen == &dispatch) return true;
    const Kind kind = seen.record->kind;
    if (seen.used || (kind != Kind::kTask && kind != Kind::kItem)) continue;
    if (packets_[seen.packet].connection == packets_[dispatch.packet].connection) return false;
  }
  return true;
}

// Takes what could go out of what the broker sent. `all_is_done`: of the event at hand; what limits
// keep back need not go before.
void Model::settle(bool all_is_done) {
  while (dispatch_one(all_is_done) || admit_one()) {
  }
}

// Takes one dispatch out of what the broker sent. If a task could go and none went, that is a
// broken promise, unless an item that is admitted now explains it.
bool Model::dispatch_one(bool all_is_done) {
  note_able();
  std::vector<Candidate> left;
  for (Task* task : fronts()) {
    std::vector<Session*> best = best_workers(*task);
    if (best.empty()) continue;
    uint64_t to = 0;
    Seen* seen = find_dispatch(*task, &to);
    if (seen && !is_next(*seen)) seen = nullptr;
    // An attempt before this one went to a session that ends in this step.
    if (seen && seen->record->attempt > task->attempt + 1) seen = nullptr;
    auto chosen =
        std::find_if(best.begin(), best.end(), [&](Session* s) { return seen && s->number == to; });
    if (chosen == best.end()) {
      const bool now = task->limit_key.empty() || (all_is_done && !kept_back_by_key(*task));
      if (now && could_start(*task) == Could::kYes) left.push_back({task, std::move(best)});
      continue;
    }
    const Task* oldest = oldest_for(**chosen);
    if (oldest && oldest->type != task->type) ++coverage_[static_cast<size_t>(Rule::no_starving)];
    check_turn(*task, **chosen, left);
    check_ageing(*task, **chosen);
    take_dispatch(*task, **chosen, *seen);
    return true;
  }
  for (Candidate& candidate : left) {
    for (Session* session : candidate.best) {
      if (!session->leaving) continue;  // its session ends in this step: nobody saw the packet
      leave_lane(*candidate.task);
      start_run(*candidate.task, *session, 0);
      ++candidate.task->attempt;
      return true;
    }
  }
  if (left.empty()) ++coverage_[static_cast<size_t>(Rule::work_conserving)];
  if (!left.empty() && !admit_one()) blame(*left[0].task, left[0].best);
  return !left.empty();
}

// Why a task that could go did not go where it should.
void Model::blame(const Task& task, const std::vector<Session*>& best) {
  uint64_t to = 0;
  Seen* seen = find_dispatch(task, &to);
  const std::string wanted = name_of(*best[0]);
  if (seen) {
    auto it = sessions_.find(to);
    must(Rule::dispatch, it != sessions_.end(), [&] { return name_of(task) + " went to nobody"; });
    const Session& session = it->second;
    const std::string what = name_of(task) + " went to " + name_of(session);
    must(Rule::serves, serves_task(session, task), [&] { return what + ", which may not run it"; });
    must(Rule::slots, session.runs.size() < session.slots,
         [&] { return what + ", whose slots are all taken"; });
    must(Rule::one_suspect, !(task.suspect && session.suspect()),
         [&] { return what + ", which holds a suspect already"; });
    must(Rule::limit, !session.over, [&] { return what + ", which is over session_bytes"; });
    const bool least =
        config_->type(task.type).load_balancing == config::LoadBalancing::least_connections;
    must(least ? Rule::least_connections : Rule::round_robin, false,
         [&] { return what + "; it was the turn of " + wanted; });
  }
  for (const Seen& other : seen_) {
    const Record& r = *other.record;
    if (other.used || !r.has_id() || (r.kind != Kind::kTask && r.kind != Kind::kItem)) continue;
    auto it = tasks_.find(r.id());
    if (it == tasks_.end() || it->second.type != task.type || it->second.id == task.id) continue;
    const Rule rule = task.suspect                           ? Rule::suspects_first
                      : task.priority != it->second.priority ? Rule::priority
                      : task.group != it->second.group       ? Rule::groups
                                                             : Rule::order;
    must(rule, task.suspect != it->second.suspect, [&] {
      return name_of(it->second) + " goes before " + name_of(task) + ", whose turn it is";
    });
  }
  must(Rule::work_conserving, false,
       [&] { return name_of(task) + " waits beside a free slot of " + wanted; });
}

void Model::start_run(Task& task, Session& session, uint64_t handle) {
  queue_.erase(task.order);
  task.phase = Phase::kRunning;
  task.session = session.number;
  task.due = kNever;
  task.claimed_by = Task::kNobody;
  task.stop = Stop::kNone;  // an item may have been told to in the stage before
  task.started = task.sign = now_;
  watch_run(task);
  if (session.last_dispatch != event_) session.dispatch_before = session.last_dispatch;
  session.last_dispatch = event_;
  session.runs.push_back({.handle = handle,
                          .id = task.id,
                          .type = task.type,
                          .is_item = task.is_item,
                          .started = event_,
                          .suspect = task.suspect,
                          .order_key = task.order_key,
                          .limit_key = task.limit_key});
  pay(task, task.cost);
  if (!task.is_item && is_full(task.type)) closed_.insert(task.type);
  if (handle == 0) return;
  must(Rule::handles, handle <= proto::kMaxInteger && session.handles.insert(handle).second,
       [&] { return name_of(session) + " gets handle " + std::to_string(handle) + " twice"; });
}

void Model::take_dispatch(Task& task, Session& session, Seen& seen) {
  const Record& r = *seen.record;
  seen.used = true;
  const bool least =
      config_->type(task.type).load_balancing == config::LoadBalancing::least_connections;
  for (Rule rule : {least ? Rule::least_connections : Rule::round_robin, Rule::slots, Rule::serves,
                    Rule::order, Rule::one_run}) {
    ++coverage_[static_cast<size_t>(rule)];
  }
  if (task.suspect) {
    ++coverage_[static_cast<size_t>(Rule::one_suspect)];
    ++coverage_[static_cast<size_t>(Rule::suspects_first)];
  }
  if (task.is_item) ++coverage_[static_cast<size_t>(Rule::room)];
  if (task.priority != 0) ++coverage_[static_cast<size_t>(Rule::priority)];
  if (!task.group.empty()) ++coverage_[static_cast<size_t>(Rule::groups)];
  leave_lane(task);
  start_run(task, session, r.ref);
  ++task.attempt;
  must(Rule::attempts, r.attempt == task.attempt, [&] {
    return name_of(task) + " is given out as attempt " + std::to_string(r.attempt) + "; it is " +
           std::to_string(task.attempt);
  });
  const std::string& handler =
      task.is_item ? config_->stages[stage_index(task.type)].function : task.type;
  const bool has_body = r.body.where != proto::BodyRef::Where::kNone;
  Attributes attributes = task.attributes;
  Nanos left = task.run_timeout > 0 ? task.run_timeout : kNever;
  if (task.deadline != kNever) left = std::min(left, std::max<Nanos>(0, task.deadline - now_));
  if (left != kNever) {
    ++coverage_[static_cast<size_t>(Rule::time_left)];
    attributes[24] = packed(static_cast<uint64_t>(left / kMillisecond));
  }
  const bool right = r.name == handler && has_body == task.has_body &&
                     bytes_of(r, packets_[seen.packet].send->bodies) == task.body &&
                     same_attributes(attributes, r.attributes.all);
  must(Rule::dispatch, right,
       [&] { return name_of(task) + " is given out changed: " + describe(r); });
}

}  // namespace tusk::simulation
