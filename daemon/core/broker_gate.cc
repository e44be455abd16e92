// Order keys and limits: which tasks may wait for a worker, and which types may start one (SPEC.md,
// "Order" and "Limits").
#include <algorithm>
#include <utility>

#include "daemon/core/broker.h"

namespace tusk::core {

namespace {

// A limit key's share of its type's settings; 0: no limit.
size_t key_concurrency(const Type& type) { return type.settings.key_concurrency.value_or(0); }
double rate_of(const std::optional<config::Rate>& rate) { return rate ? rate->per_second : 0; }
double burst_of(const std::optional<config::Rate>& rate, const std::optional<size_t>& burst) {
  if (burst) return static_cast<double>(*burst);
  return std::max(1.0, rate_of(rate));
}

}  // namespace

// --- the way of a task ---------------------------------------------------------------------------

// A task begins its life: through the gate of its order key, its delay, that of its limit key, into
// the queue of its type.
void Broker::begin(uint32_t t, Duration wait) {
  Task& task = tasks_[t];
  if (task.terms && task.terms->order_gate != kNone) {
    Gate& gate = gates_[task.terms->order_gate];
    if (gate.inside > 0 || gate.blocked) {
      block(t, wait);
      task.terms->outside = true;
      return gate.line.push_back(tasks_, t);
    }
    ++gate.inside;
    task.terms->in_order = true;
  }
  wait > Duration{0} ? delay(t, wait) : enter(t);
}

// A run that was adopted from a claim is inside of the gates which the submit that joins it names,
// holds what it consumes, and its worker has its sticky key.
void Broker::run_in_gates(uint32_t t) {
  Task& task = tasks_[t];
  if (!task.terms) return;
  sticks_to(t, task.worker);
  const uint32_t before = std::exchange(task.lane, lane_of(t));
  scheduler_.moved(task.worker, before, task.lane);
  if (task.terms->order_gate != kNone && !std::exchange(task.terms->in_order, true)) {
    ++gates_[task.terms->order_gate].inside;
  }
  if (task.terms->limit_gate == kNone || task.terms->in_limit) return;
  Gate& gate = gates_[task.terms->limit_gate];
  task.terms->in_limit = task.terms->paid = true;
  ++gate.inside;
  gate.bucket.take(task.terms->cost, now_);
}

// It is due: through the gate of its limit key, if it has one.
void Broker::enter(uint32_t t) {
  Task& task = tasks_[t];
  if (!task.terms || task.terms->limit_gate == kNone || task.terms->in_limit) return place(t);
  Gate& gate = gates_[task.terms->limit_gate];
  if (gate.held.empty() && lets_in(gate)) {
    task.terms->in_limit = true;
    ++gate.inside;
    ++gate.waiting;
    return place(t);
  }
  task.state = TaskState::kBlocked;
  task.terms->outside = true;
  task.terms->not_before = now_;
  ++scheduler_.type(task.type).elsewhere;
  gate.held.insert(tasks_, t);
  look_at(task.terms->limit_gate);
}

bool Broker::lets_in(Gate& gate) {
  const size_t most = key_concurrency(scheduler_.type(gate.type));
  if (most > 0 && gate.inside >= most) return false;
  // With a rate only one waits inside: what it costs is not known to be paid before it starts.
  return !gate.bucket.limits() || (gate.waiting == 0 && gate.bucket.open(now_));
}

// A run starts: what it costs is paid, and it counts.
void Broker::pay(uint32_t t) {
  Task& task = tasks_[t];
  Type& type = scheduler_.type(task.type);
  const auto cost = static_cast<double>(task.terms ? task.terms->cost : 1);
  if (type.limited) {
    type.bucket.take(cost, now_);
    refresh_type(task.type);
  }
  if (!task.terms || task.terms->limit_gate == kNone) return;
  Gate& gate = gates_[task.terms->limit_gate];
  if (task.terms->in_limit) {
    --gate.waiting;
  } else {  // a claim: it runs already
    task.terms->in_limit = true;
    ++gate.inside;
  }
  task.terms->paid = true;
  gate.bucket.take(cost, now_);
  look_at(task.terms->limit_gate);
}

// Its run was nobody's fault: it waits inside of its gate again. What it paid is gone, for the run
// may have done something; if that leaves its rate nothing, it waits outside.
void Broker::wait_again(Task& task) {
  if (!task.terms || !task.terms->in_limit) return;
  Gate& gate = gates_[task.terms->limit_gate];
  if (gate.bucket.limits() && (gate.waiting > 0 || !gate.bucket.open(now_))) {
    return leave_limit(task);
  }
  if (std::exchange(task.terms->paid, false)) ++gate.waiting;
}

// A run that was given back costs nothing.
void Broker::pay_back(Task& task) {
  Type& type = scheduler_.type(task.type);
  const double cost = task.terms ? task.terms->cost : 1;
  if (type.limited) {
    type.bucket.take(-cost, now_);
    refresh_type(task.type);
  }
  if (!task.terms || task.terms->limit_gate == kNone) return;
  gates_[task.terms->limit_gate].bucket.take(-cost, now_);
  look_at(task.terms->limit_gate);
}

// The worker says what the run really cost.
void Broker::correct_cost(uint32_t t, uint64_t real) {
  Task& task = tasks_[t];
  Type& type = scheduler_.type(task.type);
  const double more =
      static_cast<double>(real) - static_cast<double>(task.terms ? task.terms->cost : 1);
  if (type.limited) {
    type.bucket.take(more, now_);
    refresh_type(task.type);
  }
  if (!task.terms || task.terms->limit_gate == kNone) return;
  gates_[task.terms->limit_gate].bucket.take(more, now_);
  look_at(task.terms->limit_gate);
}

// It no longer runs nor waits for a worker: another of its limit key may.
void Broker::leave_limit(Task& task) {
  if (!task.terms || !task.terms->in_limit) return;
  Gate& gate = gates_[task.terms->limit_gate];
  task.terms->in_limit = false;
  --gate.inside;
  if (!std::exchange(task.terms->paid, false)) --gate.waiting;
  look_at(task.terms->limit_gate);
}

// The task has ended, or is forgotten: the next of its order key begins, unless this one blocks it.
void Broker::leave_gates(uint32_t t) {
  Task& task = tasks_[t];
  if (!task.terms) return;
  leave_limit(task);
  if (const uint32_t index = std::exchange(task.terms->limit_gate, kNone); index != kNone) {
    --gates_[index].named;
    look_at(index);
  }
  const uint32_t index = std::exchange(task.terms->order_gate, kNone);
  if (index == kNone) return;
  Gate& gate = gates_[index];
  --gate.named;
  if (std::exchange(task.terms->in_order, false)) --gate.inside;
  const bool dead = task.state == TaskState::kEnded &&
                    (task.ending == proto::State::kDead || task.ending == proto::State::kFailed);
  if (dead && scheduler_.type(gate.type).settings.order_on_dead == config::OnDead::block) {
    gate.blocked = true;
    gate.blocked_by = task.id;
  }
  look_at(index);
}

// Takes a task out of the place where it waits outside of a gate.
void Broker::leave_outside(Task& task, uint32_t t) {
  if (!task.terms || !std::exchange(task.terms->outside, false)) return;
  const bool ordered = task.terms->order_gate != kNone && !task.terms->in_order;
  Gate& gate = gates_[ordered ? task.terms->order_gate : task.terms->limit_gate];
  ordered ? gate.line.remove(tasks_, t) : gate.held.remove(tasks_, t);
}

// Takes a task out of the line of its limit key while its priority or group changes; the gate, or
// kNone if it is in no such line.
uint32_t Broker::leave_held(uint32_t t) {
  const Task& task = tasks_[t];
  if (!task.terms || !task.terms->outside) return kNone;
  const bool ordered = task.terms->order_gate != kNone && !task.terms->in_order;
  if (ordered) return kNone;
  gates_[task.terms->limit_gate].held.remove(tasks_, t);
  return task.terms->limit_gate;
}

void Broker::stay_held(uint32_t t, uint32_t gate) {
  if (gate != kNone) gates_[gate].held.insert(tasks_, t);
}

// The gates that a submit names.
void Broker::take_gates(uint32_t t, const proto::Terms& asked) {
  Terms& terms = *tasks_[t].terms;
  auto take = [&](uint32_t& gate, Gate::Kind kind, std::string_view key) {
    if (gate != kNone || key.empty()) return;
    gate = gate_of(tasks_[t].type, kind, key);
    ++gates_[gate].named;
  };
  take(terms.order_gate, Gate::Kind::kOrder, asked.order_key);
  take(terms.limit_gate, Gate::Kind::kLimit, asked.limit_key);
}

// The task ends, but its run goes on: it is the run that stays inside.
void Broker::keep_gates(Task& ghost, Terms& of) {
  if (of.order_gate == kNone && of.limit_gate == kNone) return;
  ghost.terms = std::make_unique<Terms>();
  ghost.terms->order_gate = std::exchange(of.order_gate, kNone);
  ghost.terms->limit_gate = std::exchange(of.limit_gate, kNone);
  ghost.terms->in_order = std::exchange(of.in_order, false);
  ghost.terms->in_limit = std::exchange(of.in_limit, false);
  ghost.terms->paid = std::exchange(of.paid, false);
}

// --- gates ---------------------------------------------------------------------------------------

uint32_t Broker::gate_of(uint32_t type, Gate::Kind kind, std::string_view key) {
  Type& owner = scheduler_.type(type);
  auto& keys = kind == Gate::Kind::kOrder ? owner.order_keys : owner.limit_keys;
  const auto [it, fresh] = keys.try_emplace(std::string(key), kNone);
  if (!fresh) return it->second;
  it->second = gates_.add();
  Gate& gate = gates_[it->second];
  gate.type = type;
  gate.kind = kind;
  gate.key = key;
  set_key_rate(gate);
  return it->second;
}

void Broker::set_key_rate(Gate& gate) {
  if (gate.kind != Gate::Kind::kLimit) return;
  const config::TaskType& settings = scheduler_.type(gate.type).settings;
  gate.bucket.set(rate_of(settings.key_rate), burst_of(settings.key_rate, settings.key_burst),
                  now_);
}

void Broker::look_at(uint32_t index) {
  if (std::exchange(gates_[index].listed, true)) return;
  moved_gates_.push_back(index);
}

// Lets in whom it may, at the end of what happened: nothing is placed in the midst of an ending.
void Broker::settle_all() {
  while (!moved_gates_.empty() || !opened_types_.empty() || !scheduler_.relieved().empty()) {
    if (!moved_gates_.empty()) {
      const uint32_t index = moved_gates_.back();
      moved_gates_.pop_back();
      gates_[index].listed = false;
      let_in(index);
    } else if (!opened_types_.empty()) {
      const uint32_t type = opened_types_.back();
      opened_types_.pop_back();
      open_type(type);
    } else {
      const uint32_t worker = scheduler_.relieved().back();
      scheduler_.relieved().pop_back();
      if (workers_[worker].group != kNone) fill_worker(worker);
    }
  }
}

void Broker::let_in(uint32_t index) {
  Gate& gate = gates_[index];
  if (gate.type == kNone) return;
  Type& type = scheduler_.type(gate.type);
  timers_.cancel(gate.timer);
  while (gate.kind == Gate::Kind::kOrder && !gate.line.empty() && gate.inside == 0 &&
         !gate.blocked) {
    const uint32_t t = gate.line.head;
    gate.line.remove(tasks_, t);
    --type.elsewhere;
    Terms& terms = *tasks_[t].terms;
    terms.outside = false;
    begin(t, std::max(Duration{0}, terms.not_before - now_));
  }
  while (!gate.held.empty() && lets_in(gate)) {
    const uint32_t t = gate.held.head();
    gate.held.remove(tasks_, t, true);
    --type.elsewhere;
    Terms& terms = *tasks_[t].terms;
    terms.outside = false;
    terms.in_limit = true;
    ++gate.inside;
    ++gate.waiting;
    place(t);
  }
  if (gate.named > 0) {
    const bool waits_for_tokens =
        !gate.held.empty() && gate.waiting == 0 && gate.bucket.limits() && !gate.bucket.open(now_);
    if (waits_for_tokens) {
      gate.timer = timers_.add(gate.bucket.opens_at(now_), {Timer::Kind::kGate, index});
    }
    return;
  }
  if (gate.blocked) return;
  // Nobody has this key: it goes, once its bucket is full.
  const Time full = gate.bucket.limits() ? gate.bucket.full_at(now_) : now_;
  if (full > now_) {
    gate.timer = timers_.add(full, {Timer::Kind::kGate, index});
    return;
  }
  (gate.kind == Gate::Kind::kOrder ? type.order_keys : type.limit_keys).erase(gate.key);
  gates_.remove(index);
}

// --- types ---------------------------------------------------------------------------------------

// Whether the type may start another run, by its own limits. It is opened by settle(), so that the
// run goes to whose turn it is and not to the worker that happens to be free now.
void Broker::refresh_type(uint32_t index) {
  Type& type = scheduler_.type(index);
  const config::TaskType& settings = type.settings;
  type.limited = settings.concurrency || settings.rate;
  type.bucket.set(rate_of(settings.rate), burst_of(settings.rate, settings.burst), now_);
  auto closed = static_cast<uint8_t>(type.closed & Type::kPaused);
  if (settings.concurrency && type.running >= *settings.concurrency) closed |= Type::kFull;
  timers_.cancel(type.rate_timer);
  if (!type.bucket.open(now_)) {
    closed |= Type::kRate;
    type.rate_timer = timers_.add(type.bucket.opens_at(now_), {Timer::Kind::kRate, index});
  }
  if (closed == 0 && type.closed != 0) {
    opened_types_.push_back(index);
  } else {
    scheduler_.close(index, closed);
  }
}

void Broker::open_type(uint32_t index) {
  if (!scheduler_.exists(index)) return;
  const Type& type = scheduler_.type(index);
  const config::TaskType& settings = type.settings;
  const bool full = settings.concurrency && type.running >= *settings.concurrency;
  const bool paused = type.closed & Type::kPaused;
  if (full || paused || type.rate_timer != kNoTimer) return refresh_type(index);
  scheduler_.close(index, 0);
  serve_type(index);
}

}  // namespace tusk::core
