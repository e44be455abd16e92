// The waiting tasks of a type: those of the highest priority first; of these the groups take turns,
// and of a group the task accepted (or due) first is next.
//
//   Queue queue;
//   queue.insert(tasks, t);       // at its place by priority, group and order
//   uint32_t next = queue.head(); // kNone if there is none
//   queue.remove(tasks, next, true);  // it is about to run: now it is another group's turn
//
// A new task, whose order is the highest, costs O(levels in use), and so does head(). One that
// comes back to its old place is searched for from where the last one came back to: tasks of a dead
// worker, which come in their order, find theirs at once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "daemon/core/pool.h"
#include "daemon/core/task.h"

namespace tusk::core {

class Queue {
 public:
  size_t count() const { return count_; }
  bool empty() const { return count_ == 0; }

  uint32_t head() const {
    for (const Level& level : levels_) {
      if (const uint32_t t = level.head(); t != kNone) return t;
    }
    return kNone;
  }

  // The one accepted first, whatever its priority; of a priority with groups, that of the group
  // whose turn it is.
  uint32_t oldest(const Pool<Task>& tasks) const {
    uint32_t best = kNone;
    for (const Level& level : levels_) {
      const uint32_t t = level.head();
      if (t != kNone && (best == kNone || tasks[t].order < tasks[best].order)) best = t;
    }
    return best;
  }

  void insert(Pool<Task>& tasks, uint32_t t) {
    level_of(tasks[t].priority).lane_for(tasks[t].group).insert(tasks, t);
    ++count_;
  }

  // `had_its_turn`: the task is about to run. One that is cancelled takes no turn from its group.
  void remove(Pool<Task>& tasks, uint32_t t, bool had_its_turn = false) {
    level_of(tasks[t].priority).remove(tasks, t, had_its_turn);
    --count_;
  }

  // visit(task) for each; of a group, and of a priority without groups, in the order in which they
  // would run.
  template <typename Visit>
  void each(const Pool<Task>& tasks, Visit visit) const {
    auto walk = [&](const Lane& lane) {
      for (uint32_t t = lane.tasks.head; t != kNone; t = tasks[t].next) visit(t);
    };
    for (const Level& level : levels_) {
      if (!level.turns) {
        walk(level.plain);
      } else {
        for (const Lane& lane : level.turns->lanes) walk(lane);
      }
    }
  }

 private:
  // Tasks of one priority and group, in their order.
  struct Lane {
    uint32_t group = 0;
    List<Task> tasks;
    uint32_t finger = kNone;  // where the last one came back to

    void insert(Pool<Task>& pool, uint32_t t) {
      if (tasks.empty() || pool[tasks.tail].order < pool[t].order) return tasks.push_back(pool, t);
      uint32_t at = finger == kNone ? tasks.head : finger;
      while (pool[at].order < pool[t].order) at = pool[at].next;
      while (pool[at].prev != kNone && pool[pool[at].prev].order > pool[t].order) {
        at = pool[at].prev;
      }
      tasks.insert(pool, t, at);
      finger = t;
    }
    void remove(Pool<Task>& pool, uint32_t t) {
      if (finger == t) finger = pool[t].next;
      tasks.remove(pool, t);
    }
  };

  // The groups of one priority of which something waits; the first one's turn is next.
  struct Turns {
    std::list<Lane> lanes;
    std::unordered_map<uint32_t, std::list<Lane>::iterator> by_group;
  };

  struct Level {
    int8_t priority = 0;
    Lane plain;                    // all of them, until a task names a group
    std::unique_ptr<Turns> turns;  // from then on

    uint32_t head() const {
      if (!turns) return plain.tasks.head;
      return turns->lanes.empty() ? kNone : turns->lanes.front().tasks.head;
    }

    Lane& lane_for(uint32_t group) {
      if (group == 0 && !turns) return plain;
      if (!turns) {
        turns = std::make_unique<Turns>();
        if (!plain.tasks.empty()) {
          turns->by_group[0] = turns->lanes.insert(turns->lanes.end(), plain);
          plain = {};
        }
      }
      auto [it, fresh] = turns->by_group.try_emplace(group);
      if (fresh) it->second = turns->lanes.insert(turns->lanes.end(), Lane{group, {}, kNone});
      return *it->second;
    }

    void remove(Pool<Task>& pool, uint32_t t, bool had_its_turn) {
      if (!turns) return plain.remove(pool, t);
      const auto lane = turns->by_group.at(pool[t].group);
      lane->remove(pool, t);
      if (lane->tasks.empty()) {
        turns->by_group.erase(lane->group);
        turns->lanes.erase(lane);
      } else if (had_its_turn) {
        turns->lanes.splice(turns->lanes.end(), turns->lanes, lane);
      }
    }
  };

  // Levels stay once they were used: there are at most 201.
  Level& level_of(int8_t priority) {
    if (levels_.size() == 1 && levels_[0].priority == priority) return levels_[0];
    auto it = std::find_if(levels_.begin(), levels_.end(),
                           [&](const Level& level) { return level.priority <= priority; });
    if (it == levels_.end() || it->priority != priority) {
      it = levels_.insert(it, Level{priority, {}, {}});
    }
    return *it;
  }

  std::vector<Level> levels_;  // the highest priority first
  size_t count_ = 0;
};

}  // namespace tusk::core
