// The waiting tasks of a type: those of the highest priority first, of these the one accepted (or
// due) first.
//
//   Queue queue;
//   queue.insert(tasks, t);       // at its place by priority and order
//   uint32_t next = queue.head(); // kNone if there is none
//   queue.remove(tasks, next);
//
// A new task, whose order is the highest, costs O(levels in use), and so does head(). One that
// comes back to its old place is searched for from where the last one came back to: tasks of a dead
// worker, which come in their order, find theirs at once.
#pragma once

#include <algorithm>
#include <cstdint>
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
      if (!level.tasks.empty()) return level.tasks.head;
    }
    return kNone;
  }

  // The one accepted first, whatever its priority.
  uint32_t oldest(const Pool<Task>& tasks) const {
    uint32_t best = kNone;
    for (const Level& level : levels_) {
      const uint32_t t = level.tasks.head;
      if (t != kNone && (best == kNone || tasks[t].order < tasks[best].order)) best = t;
    }
    return best;
  }

  void insert(Pool<Task>& tasks, uint32_t t) {
    Level& level = level_of(tasks[t].priority);
    ++count_;
    if (level.tasks.empty() || tasks[level.tasks.tail].order < tasks[t].order) {
      return level.tasks.push_back(tasks, t);
    }
    uint32_t at = level.finger == kNone ? level.tasks.head : level.finger;
    while (at != kNone && tasks[at].order < tasks[t].order) at = tasks[at].next;
    while (tasks[at].prev != kNone && tasks[tasks[at].prev].order > tasks[t].order) {
      at = tasks[at].prev;
    }
    level.tasks.insert(tasks, t, at);
    level.finger = t;
  }

  void remove(Pool<Task>& tasks, uint32_t t) {
    Level& level = level_of(tasks[t].priority);
    if (level.finger == t) level.finger = tasks[t].next;
    level.tasks.remove(tasks, t);
    --count_;
  }

  // visit(task) for each, in the order in which they would run.
  template <typename Visit>
  void each(const Pool<Task>& tasks, Visit visit) const {
    for (const Level& level : levels_) {
      for (uint32_t t = level.tasks.head; t != kNone; t = tasks[t].next) visit(t);
    }
  }

 private:
  struct Level {
    int8_t priority = 0;
    List<Task> tasks;
    uint32_t finger = kNone;  // where the last one came back to
  };

  // Levels stay once they were used: there are at most 201.
  Level& level_of(int8_t priority) {
    if (levels_.size() == 1 && levels_[0].priority == priority) return levels_[0];
    auto it = std::find_if(levels_.begin(), levels_.end(),
                           [&](const Level& level) { return level.priority <= priority; });
    if (it == levels_.end() || it->priority != priority) {
      it = levels_.insert(it, Level{priority, {}, kNone});
    }
    return *it;
  }

  std::vector<Level> levels_;  // the highest priority first
  size_t count_ = 0;
};

}  // namespace tusk::core
