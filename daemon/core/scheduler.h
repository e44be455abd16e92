// Which task runs where. Holds the queues of every type and the workers with free slots, and keeps
// promise 1: no task waits beside a free slot that may run it.
//
// Tasks of a type that the same workers may run wait in one lane. Most types have one lane; needs
// and sticky keys make others. Workers that announced the same names and have the same to offer
// form a group. A group has a heap of those of its workers that have a free slot, by last dispatch
// (round robin) and, if one of its types asks for it, by load (least connections). So a dispatch
// costs O(log workers of the group) for each group that serves the lane.
//
// The scheduler moves nothing itself: the broker asks what is next and tells what it did.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/orchestration.h"
#include "daemon/core/body_checker.h"
#include "daemon/core/needs.h"
#include "daemon/core/pool.h"
#include "daemon/core/queue.h"
#include "daemon/core/task.h"
#include "daemon/core/time.h"
#include "daemon/core/token_bucket.h"

namespace tusk::core {

// Tasks of one type that the same workers may run.
struct Lane {
  uint32_t type = kNone;
  std::shared_ptr<const Needs> needs;  // nothing: any worker that serves the type
  uint32_t worker = kNone;             // of a sticky key: this one only
  bool dropped = false;                // nothing may wait in it any more
  Queue waiting;
  Queue suspects;                // waiting too, each for a worker without a suspect
  bool ready = false;            // something waits, and nothing keeps it from starting
  uint32_t running = 0;          // runs of tasks that waited here, or might have
  std::vector<uint32_t> groups;  // whose workers could run them
  bool ever_served = false;

  size_t queued() const { return waiting.count() + suspects.count(); }
  bool is_served() const { return worker != kNone || !groups.empty(); }
};

// A task type, or a stage of the pipeline.
struct Type {
  std::string name;
  std::string handler;     // the name that workers announce: a type's own, a stage's function
  uint64_t name_hash = 0;  // 0: not computed yet
  bool is_stage = false;
  bool configured = false;  // named in the config
  config::TaskType settings;
  bool plain = true;  // these give a task no terms
  BodyRule bodies;
  uint32_t stage = kNone;  // its place in the pipeline
  size_t capacity = 0;     // stage: items waiting, running and reserved at most
  size_t reserved = 0;     // stage: room promised to items that run in the stage before

  // Keys in use: places among the broker's unique keys and gates.
  std::unordered_map<std::string, uint32_t> unique, order_keys, limit_keys, sticky;

  uint32_t lane = kNone;              // of tasks that any worker may run who serves the type
  std::vector<uint32_t> other_lanes;  // of those with needs or a sticky key
  size_t waiting = 0;                 // tasks in its lanes
  List<Task> parked;                  // stage: pushes that are not accepted yet
  // Why no task may start, whoever is free: a sum of these.
  static constexpr uint8_t kPaused = 1, kFull = 2, kRate = 4;
  uint8_t closed = 0;
  bool limited = false;  // it has limits of its own: concurrency, rate
  TokenBucket bucket;
  TimerId rate_timer = kNoTimer;
  TimerId pause_timer = kNoTimer;
  Time paused_until{};
  uint32_t running = 0;
  uint32_t elsewhere = 0;        // tasks that are delayed, blocked or held
  uint32_t endings = 0;          // tasks that ended and are not let go: they name their type
  std::vector<uint32_t> groups;  // that serve it
  bool ever_served = false;
  Time last_served{};  // when its last worker left
  Time waits_since{};  // since when tasks wait for a worker that is not there
  TimerId unserved_timer = kNoTimer;

  struct Counters {
    uint64_t accepted = 0, succeeded = 0, failed = 0, cancelled = 0, expired = 0, dead = 0,
             retried = 0, requeued = 0, crashed = 0, dropped = 0;
  } counters;

  size_t held() const { return waiting + parked.count + running + elsewhere; }
  size_t queued() const { return waiting; }
  bool has_room() const { return queued() + running + elsewhere + reserved < capacity; }
};

// The worker side of a session.
struct WorkerState {
  uint32_t session = kNone;  // index of its session
  uint32_t slots = 1;
  uint32_t group = kNone;
  uint64_t last_dispatch = 0;  // a stamp that grows
  uint32_t suspect = kNone;    // the suspect task that it runs
  bool available = false;      // connected, not draining, not over its bound
  bool condemned = false;      // one of its runs hangs: it is about to be replaced
  TimerId condemned_timer = kNoTimer;
  bool away = false;               // for longer than reconnect_grace: it is in no group
  List<Task> running;              // ghosts among them
  uint32_t suspended = 0;          // of them, without a slot
  std::deque<uint32_t> resumable;  // of these, those that only wait for a slot
  std::array<uint32_t, 2> heap_place{kNone, kNone};
  std::vector<uint32_t> serves;  // types
  Properties offers;             // its labels
  Properties used;               // of its amounts, by what it runs
  std::vector<uint32_t> sticky;  // lanes that are its own
  // A lane of which an aged task waits for an amount: what is free of it is not for others.
  uint32_t saves_for = kNone;
  struct Counters {
    uint64_t dispatched = 0, succeeded = 0, failed = 0, crashed = 0;
  } counters;

  uint32_t free_slots() const {
    const uint32_t taken = running.count - suspended;
    return available && slots > taken ? slots - taken : 0;
  }
};

class Scheduler {
 public:
  Scheduler(Pool<Task>& tasks, Pool<WorkerState>& workers) : tasks_(tasks), workers_(workers) {}

  Type& type(uint32_t index) { return *types_[index]; }
  const Type& type(uint32_t index) const { return *types_[index]; }
  uint32_t types() const { return static_cast<uint32_t>(types_.size()); }
  bool exists(uint32_t type) const { return types_[type] != nullptr; }
  // kNone if there is none of that name.
  uint32_t find_type(std::string_view name) const { return find(false, name); }
  uint32_t find_stage(std::string_view name) const { return find(true, name); }
  uint32_t add_type(std::string_view name, bool is_stage);
  // The type must hold nothing.
  void remove_type(uint32_t type);

  // --- lanes
  Lane& lane(uint32_t index) { return *lanes_[index]; }
  const Lane& lane(uint32_t index) const { return *lanes_[index]; }
  // The lane of tasks with these needs (nothing: none) and this worker (kNone: any); made if there
  // is none yet.
  uint32_t lane_for(uint32_t type, const std::shared_ptr<const Needs>& needs, uint32_t worker);
  // visit(lane) for each lane of a type, its own first.
  template <typename Visit>
  void each_lane(const Type& type, Visit visit) const {
    visit(type.lane);
    for (uint32_t l : type.other_lanes) visit(l);
  }
  // Lanes in which nothing waits and of which nothing runs go, if there are many.
  void tidy_lanes();
  // A worker's own lane is nobody's from now on; nothing waits in it.
  void drop_sticky(uint32_t lane);
  size_t type_count() const { return names_[0].size(); }
  // Beside those that each type has.
  size_t other_lanes() const { return other_lanes_; }

  // --- queues
  // Puts a task at its place in the queue of its type (by its order: new ones at the end).
  void enqueue(uint32_t task);
  // Takes it out again.
  // `had_its_turn`: it is about to run.
  void unqueue(uint32_t task, bool had_its_turn = false);
  // Why tasks of the type may not start (Type::closed).
  void close(uint32_t type, uint8_t why);
  // How many dispatches may pass over an aged task (SPEC.md, "Priority"), the last one included.
  void set_ageing_share(size_t share) { ageing_share_ = share; }

  // --- workers
  // `serves`: the types whose tasks may go to this worker; what it offers is set before.
  void join(uint32_t worker, std::vector<uint32_t> serves);
  void leave(uint32_t worker, Time now);
  // Its slots, availability or load changed.
  void changed(uint32_t worker);
  // It got a task of this lane, which is to be told to finished() when the run is over.
  void dispatched(uint32_t worker, uint32_t lane);
  void finished(uint32_t worker, uint32_t lane);
  // A run of this worker turned out to be one of another lane.
  void moved(uint32_t worker, uint32_t from, uint32_t to);

  // --- matching
  // A worker for the next task of this lane, or kNone.
  uint32_t worker_for(uint32_t lane, bool suspect) const;
  // The lane of the type whose head is next of those for which a worker is free, and that worker;
  // kNone if there is none. Suspects go first.
  struct Match {
    uint32_t lane = kNone, worker = kNone;
    bool suspect = false;
  };
  Match next_of(uint32_t type) const;
  // Whether what the lane's tasks consume is free on the worker, and not kept for others.
  bool has_free(const WorkerState& worker, const Lane& lane) const;
  // Takes the next task for this worker's free slot out of its queue, or kNone. Stages without room
  // behind them are passed over. Tasks that wait since `aged_since` or longer are aged.
  uint32_t take_for(uint32_t worker, Time aged_since);
  // Workers that may take more than they could before; to be cleared by who looked at them.
  std::vector<uint32_t>& relieved() { return relieved_; }
  // The head of a lane that could be dispatched now, or kNone.
  uint32_t head(uint32_t lane, bool suspect) const;
  bool room_behind(const Type& type) const;
  bool is_served(uint32_t type) const { return !types_[type]->groups.empty(); }
  // Whether tasks of it wait that nobody could run.
  bool has_unserved(uint32_t type) const;
  // Whether one of the workers that serve the type could run a task with these needs.
  bool anybody_could_run(uint32_t type, const Needs& needs) const;

  std::vector<uint32_t>& stages() { return stages_; }
  const std::vector<uint32_t>& stages() const { return stages_; }

  // The known name nearest to `name`: of types that are configured or served, or of stages; "" if
  // none is near.
  std::string nearest(std::string_view name, bool stage) const;
  // Names of all types that somebody serves, for messages; at most `most`.
  std::string served_names(size_t most) const;

 private:
  enum Order { kRoundRobin = 0, kLeastConnections = 1 };

  // Workers with a free slot, the best one first.
  using Heap = std::vector<uint32_t>;

  struct Group {
    std::vector<uint32_t> types;  // sorted
    Properties offers;
    std::vector<uint32_t> members;
    std::vector<uint32_t> lanes;  // whose tasks its workers could run
    std::vector<uint32_t> ready;  // those of them of which something may start
    size_t passed = 0;            // dispatches that passed over an aged task, since one did not
    Heap heaps[2];
    bool uses[2] = {true, false};
  };
  using Names = std::map<std::string, uint32_t, std::less<>>;

  uint32_t find(bool stage, std::string_view name) const {
    // Most ask for the one that was asked for before.
    uint32_t& last = last_found_[stage];
    const bool same = last < types_.size() && types_[last] && types_[last]->is_stage == stage &&
                      types_[last]->name == name;
    if (same) return last;
    auto it = names_[stage].find(name);
    return it == names_[stage].end() ? kNone : last = it->second;
  }
  Order order_of(const Lane& lane) const {
    return types_[lane.type]->settings.load_balancing == config::LoadBalancing::least_connections
               ? kLeastConnections
               : kRoundRobin;
  }
  bool before(Order order, uint32_t a, uint32_t b) const;
  void heap_place(Group& group, Order order, size_t at, uint32_t worker);
  void heap_rise(Group& group, Order order, size_t at);
  void heap_sink(Group& group, Order order, size_t at);
  void heap_update(Group& group, Order order, uint32_t worker);
  void heap_remove(Group& group, Order order, uint32_t worker);
  uint32_t add_lane(uint32_t type);
  void remove_lane(uint32_t lane);
  void serve(uint32_t lane, uint32_t group);
  void stop_saving(uint32_t lane);
  void take_amounts(WorkerState& worker, const Lane& lane);
  void free_amounts(WorkerState& worker, const Lane& lane);
  bool runs_before(uint32_t a, uint32_t b) const;
  uint32_t best_of(const Lane& lane, bool suspect, bool preferring) const;
  void refresh_ready(uint32_t lane);
  void refresh_orders(Group& group);

  Pool<Task>& tasks_;
  Pool<WorkerState>& workers_;
  std::vector<std::unique_ptr<Type>> types_;
  std::vector<uint32_t> free_types_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<uint32_t> free_lanes_;
  size_t other_lanes_ = 0, many_lanes_ = 64;  // beside those of types; when to tidy them
  Names names_[2];                            // of types, of stages
  mutable uint32_t last_found_[2] = {kNone, kNone};
  std::vector<uint32_t> stages_;
  std::vector<std::unique_ptr<Group>> groups_;
  std::vector<uint32_t> relieved_;
  uint64_t stamp_ = 0;
  size_t ageing_share_ = 8;
};

// How many single-letter changes turn one into the other (Levenshtein), for messages. Bounded by
// the product of the lengths, each cut to 64.
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace tusk::core
