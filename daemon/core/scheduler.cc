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
  types_[index]->lane = add_lane(index);
  names_[is_stage].emplace(name, index);
  return index;
}

void Scheduler::remove_type(uint32_t index) {
  Type& type = *types_[index];
  assert(type.held() == 0 && type.groups.empty());
  names_[type.is_stage].erase(names_[type.is_stage].find(type.name));
  while (!type.other_lanes.empty()) remove_lane(type.other_lanes.back());
  remove_lane(type.lane);
  types_[index].reset();
  free_types_.push_back(index);
}

// --- lanes ---------------------------------------------------------------------------------------

uint32_t Scheduler::add_lane(uint32_t type) {
  uint32_t index;
  if (free_lanes_.empty()) {
    index = static_cast<uint32_t>(lanes_.size());
    lanes_.emplace_back();
  } else {
    index = free_lanes_.back();
    free_lanes_.pop_back();
  }
  lanes_[index] = std::make_unique<Lane>();
  lanes_[index]->type = type;
  return index;
}

void Scheduler::remove_lane(uint32_t index) {
  const Lane& lane = *lanes_[index];
  assert(lane.queued() == 0 && lane.running == 0 && !lane.ready);
  for (uint32_t g : lane.groups) std::erase(groups_[g]->lanes, index);
  if (lane.worker != kNone) std::erase(workers_[lane.worker].sticky, index);
  other_lanes_ -= std::erase(types_[lane.type]->other_lanes, index);
  lanes_[index].reset();
  free_lanes_.push_back(index);
}

uint32_t Scheduler::lane_for(uint32_t t, const std::shared_ptr<const Needs>& needs, uint32_t w) {
  Type& type = *types_[t];
  if (!needs && w == kNone) return type.lane;
  if (w != kNone) {  // a worker has few types, a type may have many workers
    for (uint32_t l : workers_[w].sticky) {
      if (lanes_[l]->type == t && lanes_[l]->needs == needs) return l;
    }
  } else {
    for (uint32_t l : type.other_lanes) {
      const Lane& lane = *lanes_[l];
      if (lane.worker == kNone && !lane.dropped && lane.needs == needs) return l;
    }
  }
  if (other_lanes_ >= many_lanes_) tidy_lanes();
  const uint32_t index = add_lane(t);
  Lane& lane = *lanes_[index];
  lane.needs = needs;
  lane.worker = w;
  type.other_lanes.push_back(index);
  ++other_lanes_;
  if (w != kNone) {
    workers_[w].sticky.push_back(index);
    return index;
  }
  for (uint32_t g : type.groups) {
    if (could_run(groups_[g]->offers, *needs)) serve(index, g);
  }
  return index;
}

void Scheduler::serve(uint32_t l, uint32_t g) {
  Lane& lane = *lanes_[l];
  lane.groups.push_back(g);
  lane.ever_served = true;
  groups_[g]->lanes.push_back(l);
  if (lane.ready) groups_[g]->ready.push_back(l);
}

void Scheduler::tidy_lanes() {
  for (uint32_t l = 0; l < lanes_.size(); ++l) {
    if (!lanes_[l] || l == types_[lanes_[l]->type]->lane) continue;
    if (lanes_[l]->queued() == 0 && lanes_[l]->running == 0) remove_lane(l);
  }
  many_lanes_ = 2 * other_lanes_ + 64;
}

void Scheduler::drop_sticky(uint32_t l) {
  Lane& lane = *lanes_[l];
  assert(lane.queued() == 0 && !lane.ready);
  std::erase(workers_[lane.worker].sticky, l);
  lane.worker = kNone;
  lane.dropped = true;
}

// --- queues --------------------------------------------------------------------------------------

void Scheduler::enqueue(uint32_t t) {
  Task& task = tasks_[t];
  Lane& lane = *lanes_[task.lane];
  task.state = TaskState::kWaiting;
  (task.suspect ? lane.suspects : lane.waiting).insert(tasks_, t);
  ++types_[task.type]->waiting;
  if (!lane.ready) refresh_ready(task.lane);
}

void Scheduler::unqueue(uint32_t t, bool had_its_turn) {
  Task& task = tasks_[t];
  Lane& lane = *lanes_[task.lane];
  (task.suspect ? lane.suspects : lane.waiting).remove(tasks_, t, had_its_turn);
  --types_[task.type]->waiting;
  if (lane.queued() > 0) return;
  refresh_ready(task.lane);
  if (lane.needs && !lane.needs->consumed.empty()) stop_saving(task.lane);
}

// Nothing waits in the lane any longer for which workers kept an amount free.
void Scheduler::stop_saving(uint32_t l) {
  for (uint32_t g : lanes_[l]->groups) {
    for (uint32_t w : groups_[g]->members) {
      if (workers_[w].saves_for != l) continue;
      workers_[w].saves_for = kNone;
      relieved_.push_back(w);
    }
  }
}

void Scheduler::close(uint32_t t, uint8_t why) {
  types_[t]->closed = why;
  each_lane(*types_[t], [this](uint32_t l) { refresh_ready(l); });
}

// Tells everybody who could run the lane's tasks whether something of it may start.
void Scheduler::refresh_ready(uint32_t l) {
  Lane& lane = *lanes_[l];
  const bool ready = lane.queued() > 0 && types_[lane.type]->closed == 0;
  if (ready == lane.ready) return;
  lane.ready = ready;
  // A worker's own lanes are few: it looks through all of them.
  if (lane.worker != kNone) return;
  for (uint32_t g : lane.groups) {
    std::vector<uint32_t>& list = groups_[g]->ready;
    if (ready) {
      list.push_back(l);
    } else {
      auto it = std::find(list.begin(), list.end(), l);
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
  WorkerState& worker = workers_[w];
  auto same = [&](const std::unique_ptr<Group>& g) {
    return g && g->types == serves && g->offers == worker.offers;
  };
  auto it = std::find_if(groups_.begin(), groups_.end(), same);
  if (it == groups_.end()) {
    it = std::find(groups_.begin(), groups_.end(), nullptr);
    if (it == groups_.end()) it = groups_.insert(groups_.end(), nullptr);
    *it = std::make_unique<Group>();
    (*it)->types = serves;
    (*it)->offers = worker.offers;
    auto index = static_cast<uint32_t>(it - groups_.begin());
    for (uint32_t t : serves) {
      types_[t]->groups.push_back(index);
      each_lane(*types_[t], [&](uint32_t l) {
        const Lane& lane = *lanes_[l];
        const bool own = lane.worker != kNone || lane.dropped;
        if (!own && (!lane.needs || could_run(worker.offers, *lane.needs))) serve(l, index);
      });
    }
    refresh_orders(**it);
  }
  for (uint32_t t : serves) types_[t]->ever_served = true;
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
    for (uint32_t l : group.lanes) std::erase(lanes_[l]->groups, worker.group);
    for (uint32_t t : group.types) {
      Type& type = *types_[t];
      std::erase(type.groups, worker.group);
      if (type.groups.empty()) type.last_served = now;
    }
    groups_[worker.group].reset();
  }
  worker.group = kNone;
  worker.saves_for = kNone;
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

void Scheduler::dispatched(uint32_t w, uint32_t l) {
  WorkerState& worker = workers_[w];
  worker.last_dispatch = ++stamp_;
  ++lanes_[l]->running;
  take_amounts(worker, *lanes_[l]);
  changed(w);
  // It is now the last of all in that order.
  const uint32_t at = worker.heap_place[kRoundRobin];
  if (at != kNone) heap_sink(*groups_[worker.group], kRoundRobin, at);
}

void Scheduler::finished(uint32_t w, uint32_t l) {
  --lanes_[l]->running;
  free_amounts(workers_[w], *lanes_[l]);
  changed(w);
}

void Scheduler::moved(uint32_t w, uint32_t from, uint32_t to) {
  --lanes_[from]->running;
  free_amounts(workers_[w], *lanes_[from]);
  ++lanes_[to]->running;
  take_amounts(workers_[w], *lanes_[to]);
}

void Scheduler::take_amounts(WorkerState& worker, const Lane& lane) {
  if (!lane.needs) return;
  for (const Property& one : lane.needs->consumed) {
    const Property* used = lookup(worker.used, one.name);
    put(worker.used, {one.name, "", one.amount + (used ? used->amount : 0)});
  }
}

void Scheduler::free_amounts(WorkerState& worker, const Lane& lane) {
  if (!lane.needs) return;
  for (const Property& one : lane.needs->consumed) {
    put(worker.used, {one.name, "", lookup(worker.used, one.name)->amount - one.amount});
  }
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

bool Scheduler::has_free(const WorkerState& worker, const Lane& lane) const {
  if (!lane.needs) return true;
  if (worker.saves_for != kNone && &lane != lanes_[worker.saves_for].get()) {
    const Properties& saved = lanes_[worker.saves_for]->needs->consumed;
    const Properties& wanted = lane.needs->consumed;
    if (std::any_of(wanted.begin(), wanted.end(),
                    [&](const Property& one) { return lookup(saved, one.name) != nullptr; })) {
      return false;
    }
  }
  return std::all_of(lane.needs->consumed.begin(), lane.needs->consumed.end(),
                     [&](const Property& need) {
                       const Property *offer = lookup(worker.offers, need.name),
                                      *used = lookup(worker.used, need.name);
                       return offer && offer->amount >= need.amount + (used ? used->amount : 0);
                     });
}

bool Scheduler::has_unserved(uint32_t t) const {
  bool found = false;
  each_lane(*types_[t],
            [&](uint32_t l) { found |= lanes_[l]->queued() > 0 && !lanes_[l]->is_served(); });
  return found;
}

bool Scheduler::anybody_could_run(uint32_t t, const Needs& needs) const {
  const std::vector<uint32_t>& groups = types_[t]->groups;
  return std::any_of(groups.begin(), groups.end(),
                     [&](uint32_t g) { return could_run(groups_[g]->offers, needs); });
}

uint32_t Scheduler::worker_for(uint32_t l, bool suspect) const {
  const Lane& lane = *lanes_[l];
  if (lane.worker != kNone) {
    const WorkerState& worker = workers_[lane.worker];
    const bool free = worker.free_slots() > 0 && (!suspect || worker.suspect == kNone);
    return free && has_free(worker, lane) ? lane.worker : kNone;
  }
  if (lane.needs && !lane.needs->preferred.empty()) {
    if (uint32_t best = best_of(lane, suspect, true); best != kNone) return best;
  }
  if (!lane.needs && !suspect && lane.groups.size() == 1) {  // as most are
    const Heap& heap = groups_[lane.groups[0]]->heaps[order_of(lane)];
    return heap.empty() ? kNone : heap[0];
  }
  return best_of(lane, suspect, false);
}

// Of the workers that could run the lane's tasks, and if `preferring` have what these prefer.
uint32_t Scheduler::best_of(const Lane& lane, bool suspect, bool preferring) const {
  const Order order = order_of(lane);
  const bool any = !suspect && (!lane.needs || lane.needs->consumed.empty());
  uint32_t best = kNone;
  for (uint32_t g : lane.groups) {
    const Heap& heap = groups_[g]->heaps[order];
    if (heap.empty()) continue;
    if (preferring && !meets(groups_[g]->offers, lane.needs->preferred)) continue;
    if (any) {
      if (best == kNone || before(order, heap[0], best)) best = heap[0];
      continue;
    }
    // Suspects are rare, and amounts that are in use differ: look through all.
    for (uint32_t w : heap) {
      if (suspect && workers_[w].suspect != kNone) continue;
      if (!has_free(workers_[w], lane)) continue;
      if (best == kNone || before(order, w, best)) best = w;
    }
  }
  return best;
}

bool Scheduler::room_behind(const Type& type) const {
  return !type.is_stage || type.stage + 1 >= stages_.size() ||
         types_[stages_[type.stage + 1]]->has_room();
}

uint32_t Scheduler::head(uint32_t l, bool suspect) const {
  const Lane& lane = *lanes_[l];
  const Type& type = *types_[lane.type];
  const Queue& queue = suspect ? lane.suspects : lane.waiting;
  return queue.empty() || type.closed != 0 || !room_behind(type) ? kNone : queue.head();
}

bool Scheduler::runs_before(uint32_t a, uint32_t b) const {
  const Task &x = tasks_[a], &y = tasks_[b];
  return x.priority != y.priority ? x.priority > y.priority : x.order < y.order;
}

Scheduler::Match Scheduler::next_of(uint32_t t) const {
  for (bool suspect : {true, false}) {
    Match best;
    uint32_t best_head = kNone;
    each_lane(*types_[t], [&](uint32_t l) {
      const uint32_t h = head(l, suspect);
      if (h == kNone || (best_head != kNone && !runs_before(h, best_head))) return;
      const uint32_t w = worker_for(l, suspect);
      if (w == kNone) return;
      best = {l, w, suspect};
      best_head = h;
    });
    if (best_head != kNone) return best;
  }
  return {};
}

uint32_t Scheduler::take_for(uint32_t w, Time aged_since) {
  WorkerState& worker = workers_[w];
  if (worker.free_slots() == 0) return kNone;
  Group& group = *groups_[worker.group];
  if (group.ready.empty() && worker.sticky.empty()) {
    worker.saves_for = kNone;
    return kNone;
  }
  auto each = [&](auto look) {
    for (uint32_t l : group.ready) look(*lanes_[l], l);
    for (uint32_t l : worker.sticky) {
      if (lanes_[l]->ready) look(*lanes_[l], l);
    }
  };
  if (!worker.used.empty()) {
    uint32_t first = kNone;
    worker.saves_for = kNone;
    each([&](const Lane& lane, uint32_t l) {
      if (!lane.needs || has_free(worker, lane)) return;
      const uint32_t t = head(l, false) == kNone ? kNone : lane.waiting.oldest(tasks_);
      if (t == kNone || tasks_[t].since > aged_since) return;
      if (first != kNone && tasks_[first].order < tasks_[t].order) return;
      first = t;
      worker.saves_for = l;
    });
  }
  uint32_t best = kNone, suspect = kNone, oldest = kNone;
  each([&](const Lane& lane, uint32_t l) {
    if (!has_free(worker, lane)) return;
    if (uint32_t h = head(l, false); h != kNone) {
      if (best == kNone || runs_before(h, best)) best = h;
      const uint32_t o = lane.waiting.oldest(tasks_);
      if (oldest == kNone || tasks_[o].order < tasks_[oldest].order) oldest = o;
    }
    if (worker.suspect != kNone) return;
    if (uint32_t h = head(l, true); h != kNone) {
      if (suspect == kNone || runs_before(h, suspect)) suspect = h;
    }
  });
  uint32_t next = suspect;
  if (next == kNone) {
    next = best;
    if (oldest != best && tasks_[oldest].since <= aged_since) {
      if (++group.passed >= ageing_share_) next = oldest;
    }
    if (next == oldest) group.passed = 0;
  }
  if (next != kNone) unqueue(next, true);
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
