#include "daemon/core/scheduler.h"

#include <algorithm>
#include <cassert>

namespace tusk::core {

// --- types ---------------------------------------------------------------------------------------

uint32_t Scheduler::add_type(std::string_view name, bool is_stage) {
  assert(find(is_stage, name) == kNone);
  uint32_t index;
  if (free_types_.empty()) {
    index = static_cast<uint32_t>(types_.size());
    types_.emplace_back();
  } else {
    index = free_types_.back();
    free_types_.pop_back();
  }
  types_[index] = std::make_unique<Type>();
  types_[index]->name = types_[index]->handler = name;
  types_[index]->is_stage = is_stage;
  names_[is_stage].emplace(name, index);
  return index;
}

void Scheduler::remove_type(uint32_t index) {
  Type& type = *types_[index];
  assert(type.held() == 0 && type.groups.empty());
  names_[type.is_stage].erase(names_[type.is_stage].find(type.name));
  types_[index].reset();
  free_types_.push_back(index);
}

// --- queues --------------------------------------------------------------------------------------

void Scheduler::enqueue(uint32_t t) {
  Task& task = tasks_[t];
  Type& type = *types_[task.type];
  task.state = TaskState::kWaiting;
  (task.suspect ? type.suspects : type.waiting).insert(tasks_, t);
  if (!type.ready) refresh_ready(task.type);
}

void Scheduler::unqueue(uint32_t t) {
  Task& task = tasks_[t];
  Type& type = *types_[task.type];
  (task.suspect ? type.suspects : type.waiting).remove(tasks_, t);
  if (type.queued() == 0) refresh_ready(task.type);
}

void Scheduler::close(uint32_t t, uint8_t why) {
  types_[t]->closed = why;
  refresh_ready(t);
}

// Tells every group that serves the type whether something of it may start.
void Scheduler::refresh_ready(uint32_t t) {
  Type& type = *types_[t];
  const bool ready = type.queued() > 0 && type.closed == 0;
  if (ready == type.ready) return;
  type.ready = ready;
  for (uint32_t g : type.groups) {
    std::vector<uint32_t>& list = groups_[g]->ready;
    if (ready) {
      list.push_back(t);
    } else {
      auto it = std::find(list.begin(), list.end(), t);
      assert(it != list.end());
      *it = list.back();
      list.pop_back();
    }
  }
}

// --- workers -------------------------------------------------------------------------------------

void Scheduler::join(uint32_t w, std::vector<uint32_t> serves) {
  std::sort(serves.begin(), serves.end());
  serves.erase(std::unique(serves.begin(), serves.end()), serves.end());
  auto same = [&](const std::unique_ptr<Group>& g) { return g && g->types == serves; };
  auto it = std::find_if(groups_.begin(), groups_.end(), same);
  if (it == groups_.end()) {
    it = std::find(groups_.begin(), groups_.end(), nullptr);
    if (it == groups_.end()) it = groups_.insert(groups_.end(), nullptr);
    *it = std::make_unique<Group>();
    (*it)->types = serves;
    auto index = static_cast<uint32_t>(it - groups_.begin());
    for (uint32_t t : serves) {
      types_[t]->groups.push_back(index);
      if (types_[t]->ready) (*it)->ready.push_back(t);
    }
    refresh_orders(**it);
  }
  for (uint32_t t : serves) types_[t]->ever_served = true;
  WorkerState& worker = workers_[w];
  worker.group = static_cast<uint32_t>(it - groups_.begin());
  worker.serves = std::move(serves);
  (*it)->members.push_back(w);
  changed(w);
}

void Scheduler::leave(uint32_t w, Time now) {
  WorkerState& worker = workers_[w];
  if (worker.group == kNone) return;
  Group& group = *groups_[worker.group];
  heap_remove(group, kRoundRobin, w);
  heap_remove(group, kLeastConnections, w);
  group.members.erase(std::find(group.members.begin(), group.members.end(), w));
  if (group.members.empty()) {
    for (uint32_t t : group.types) {
      Type& type = *types_[t];
      std::erase(type.groups, worker.group);
      if (type.groups.empty()) type.last_served = now;
    }
    groups_[worker.group].reset();
  }
  worker.group = kNone;
  worker.serves.clear();
}

void Scheduler::changed(uint32_t w) {
  const WorkerState& worker = workers_[w];
  if (worker.group == kNone) return;
  Group& group = *groups_[worker.group];
  const bool is_free = worker.free_slots() > 0;
  for (Order order : {kRoundRobin, kLeastConnections}) {
    const bool is_in = worker.heap_place[order] != kNone;
    const bool belongs = is_free && group.uses[order];
    // Only a dispatch moves it in the order of the last ones.
    const bool moves = order == kLeastConnections || !is_in;
    if (belongs && moves) {
      heap_update(group, order, w);
    } else if (is_in && !belongs) {
      heap_remove(group, order, w);
    }
  }
}

void Scheduler::dispatched(uint32_t w) {
  workers_[w].last_dispatch = ++stamp_;
  changed(w);
  // It is now the last of all in that order.
  const uint32_t at = workers_[w].heap_place[kRoundRobin];
  if (at != kNone) heap_sink(*groups_[workers_[w].group], kRoundRobin, at);
}

// A group keeps a heap for each order that one of its types asks for.
void Scheduler::refresh_orders(Group& group) {
  group.uses[kRoundRobin] = group.uses[kLeastConnections] = false;
  for (uint32_t t : group.types) {
    group.uses[types_[t]->settings.load_balancing == config::LoadBalancing::least_connections] =
        true;
  }
}

// --- matching ------------------------------------------------------------------------------------

uint32_t Scheduler::worker_for(uint32_t t, bool suspect) const {
  const Type& type = *types_[t];
  const Order order = type.settings.load_balancing == config::LoadBalancing::least_connections
                          ? kLeastConnections
                          : kRoundRobin;
  uint32_t best = kNone;
  for (uint32_t g : type.groups) {
    const Heap& heap = groups_[g]->heaps[order];
    if (heap.empty()) continue;
    if (!suspect) {
      if (best == kNone || before(order, heap[0], best)) best = heap[0];
      continue;
    }
    // Suspects are rare, and so are workers that hold one: look through all.
    for (uint32_t w : heap) {
      if (workers_[w].suspect != kNone) continue;
      if (best == kNone || before(order, w, best)) best = w;
    }
  }
  return best;
}

bool Scheduler::room_behind(const Type& type) const {
  return !type.is_stage || type.stage + 1 >= stages_.size() ||
         types_[stages_[type.stage + 1]]->has_room();
}

uint32_t Scheduler::head(uint32_t t, bool suspect) const {
  const Type& type = *types_[t];
  const Queue& queue = suspect ? type.suspects : type.waiting;
  return queue.empty() || type.closed != 0 || !room_behind(type) ? kNone : queue.head();
}

uint32_t Scheduler::take_for(uint32_t w, Time aged_since) {
  const WorkerState& worker = workers_[w];
  if (worker.free_slots() == 0) return kNone;
  Group& group = *groups_[worker.group];
  auto runs_before = [this](uint32_t a, uint32_t b) {
    const Task &x = tasks_[a], &y = tasks_[b];
    return x.priority != y.priority ? x.priority > y.priority : x.order < y.order;
  };
  uint32_t best = kNone, suspect = kNone, oldest = kNone;
  for (uint32_t t : group.ready) {
    if (uint32_t h = head(t, false); h != kNone) {
      if (best == kNone || runs_before(h, best)) best = h;
      const uint32_t o = types_[t]->waiting.oldest(tasks_);
      if (oldest == kNone || tasks_[o].order < tasks_[oldest].order) oldest = o;
    }
    if (worker.suspect != kNone) continue;
    if (uint32_t h = head(t, true); h != kNone) {
      if (suspect == kNone || runs_before(h, suspect)) suspect = h;
    }
  }
  uint32_t next = suspect;
  if (next == kNone) {
    next = best;
    if (oldest != best && tasks_[oldest].since <= aged_since) {
      if (++group.passed >= ageing_share_) next = oldest;
    }
    if (next == oldest) group.passed = 0;
  }
  if (next != kNone) unqueue(next);
  return next;
}

bool Scheduler::before(Order order, uint32_t a, uint32_t b) const {
  const WorkerState &x = workers_[a], &y = workers_[b];
  if (order == kLeastConnections && x.free_slots() != y.free_slots()) {
    return x.free_slots() > y.free_slots();
  }
  return x.last_dispatch < y.last_dispatch;
}

// --- heaps ---------------------------------------------------------------------------------------

void Scheduler::heap_place(Group& group, Order order, size_t at, uint32_t w) {
  group.heaps[order][at] = w;
  workers_[w].heap_place[order] = static_cast<uint32_t>(at);
}

void Scheduler::heap_rise(Group& group, Order order, size_t at) {
  Heap& heap = group.heaps[order];
  const uint32_t w = heap[at];
  for (; at > 0 && before(order, w, heap[(at - 1) / 2]); at = (at - 1) / 2) {
    heap_place(group, order, at, heap[(at - 1) / 2]);
  }
  heap_place(group, order, at, w);
}

void Scheduler::heap_sink(Group& group, Order order, size_t at) {
  Heap& heap = group.heaps[order];
  const uint32_t w = heap[at];
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= heap.size()) break;
    if (child + 1 < heap.size() && before(order, heap[child + 1], heap[child])) ++child;
    if (!before(order, heap[child], w)) break;
    heap_place(group, order, at, heap[child]);
    at = child;
  }
  heap_place(group, order, at, w);
}

void Scheduler::heap_update(Group& group, Order order, uint32_t w) {
  uint32_t at = workers_[w].heap_place[order];
  if (at == kNone) {
    at = static_cast<uint32_t>(group.heaps[order].size());
    group.heaps[order].push_back(w);
    workers_[w].heap_place[order] = at;
  }
  heap_rise(group, order, at);
  heap_sink(group, order, workers_[w].heap_place[order]);
}

void Scheduler::heap_remove(Group& group, Order order, uint32_t w) {
  const uint32_t at = workers_[w].heap_place[order];
  if (at == kNone) return;
  Heap& heap = group.heaps[order];
  workers_[w].heap_place[order] = kNone;
  const uint32_t last = heap.back();
  heap.pop_back();
  if (at == heap.size()) return;
  heap_place(group, order, at, last);
  heap_rise(group, order, at);
  heap_sink(group, order, workers_[last].heap_place[order]);
}

// --- names for messages --------------------------------------------------------------------------

size_t edit_distance(std::string_view a, std::string_view b) {
  a = a.substr(0, 64);
  b = b.substr(0, 64);
  std::array<size_t, 65> row;
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string Scheduler::nearest(std::string_view name, bool stage) const {
  std::string best;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const auto& [known, index] : names_[stage]) {
    const Type& type = *types_[index];
    if (known == name || !(type.configured || !type.groups.empty())) continue;
    if (size_t d = edit_distance(name, known); d < best_distance) {
      best_distance = d;
      best = known;
    }
  }
  return best;
}

std::string Scheduler::served_names(size_t most) const {
  std::string out;
  size_t count = 0;
  for (const auto& [name, index] : names_[0]) {
    if (types_[index]->groups.empty()) continue;
    if (++count > most) return out + ", ...";
    if (!out.empty()) out += ", ";
    out += name;
  }
  return out.empty() ? "nothing" : out;
}

}  // namespace tusk::core
