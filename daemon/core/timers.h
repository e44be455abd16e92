// Timers of the core: a binary heap by due time, with removal.
//
//   TimerId id = timers.add(now + 5s, {Timer::Kind::kDelay, task});
//   timers.cancel(id);                       // id becomes kNoTimer
//   while (auto timer = timers.due(now)) ...  // in the order of their times
//
// add and cancel cost O(log n). As many live at once as were added and neither fired nor were
// cancelled.
#pragma once

#include <cassert>
#include <cstdint>
#include <optional>
#include <vector>

#include "daemon/core/time.h"

namespace tusk::core {

using TimerId = uint32_t;
inline constexpr TimerId kNoTimer = UINT32_MAX;

struct Timer {
  enum class Kind : uint8_t {
    kDelay,           // subject: task; it is due
    kHold,            // subject: task; a resent one, no worker claimed it
    kDeadline,        // subject: task; it expires
    kRunLimit,        // subject: task; its run takes too long, or gave no sign of life
    kStopGrace,       // subject: task; its worker did not answer the cancel
    kHang,            // subject: task or ghost; its run does not stop
    kCondemned,       // subject: worker; its other runs had their time
    kPause,           // subject: type; its tasks may start again
    kRate,            // subject: type; its bucket holds something again
    kGate,            // subject: gate; it may let somebody in, or go
    kUniqueKey,       // subject: unique key; it is free
    kRetention,       // subject: task; its ending was kept for long enough
    kRequestTimeout,  // subject: REQ request; its caller's wait is over
    kReconnectGrace,  // subject: session; its runs go to others
    kSessionTtl,      // subject: session; it is forgotten
    kProcessGone,     // subject: session; its process ended, its connection did not
    kUnserved,        // subject: type; nobody serves it
    kAcknowledge,     // lone acknowledgements are due
    kJob,             // jobs go on
    kStickyKeys,      // the oldest idle sticky key is due
    kKept,            // the oldest kept ending is due
    kShutdown,        // running tasks had their time
  };
  Kind kind{};
  uint32_t subject = 0;
};

class Timers {
 public:
  TimerId add(Time due, Timer timer) {
    TimerId id;
    if (free_.empty()) {
      id = static_cast<TimerId>(position_.size());
      position_.push_back(0);
    } else {
      id = free_.back();
      free_.pop_back();
    }
    heap_.push_back({due, next_order_++, timer, id});
    position_[id] = heap_.size() - 1;
    rise(heap_.size() - 1);
    return id;
  }

  void cancel(TimerId& id) {
    if (id == kNoTimer) return;
    take(position_[id]);
    id = kNoTimer;
  }

  // The next timer whose time has come; it is gone then.
  std::optional<Timer> due(Time now) {
    if (heap_.empty() || heap_[0].due > now) return std::nullopt;
    Timer timer = heap_[0].timer;
    take(0);
    return timer;
  }

  std::optional<Time> next() const {
    return heap_.empty() ? std::nullopt : std::optional(heap_[0].due);
  }
  size_t size() const { return heap_.size(); }

 private:
  struct Entry {
    Time due;
    uint64_t order;  // of two with the same time the one added first is first
    Timer timer;
    TimerId id;
    bool before(const Entry& other) const {
      return due != other.due ? due < other.due : order < other.order;
    }
  };

  void place(size_t at, const Entry& entry) {
    heap_[at] = entry;
    position_[entry.id] = at;
  }

  void rise(size_t at) {
    Entry entry = heap_[at];
    while (at > 0 && entry.before(heap_[(at - 1) / 2])) {
      place(at, heap_[(at - 1) / 2]);
      at = (at - 1) / 2;
    }
    place(at, entry);
  }

  void sink(size_t at) {
    Entry entry = heap_[at];
    for (;;) {
      size_t child = 2 * at + 1;
      if (child >= heap_.size()) break;
      if (child + 1 < heap_.size() && heap_[child + 1].before(heap_[child])) ++child;
      if (!heap_[child].before(entry)) break;
      place(at, heap_[child]);
      at = child;
    }
    place(at, entry);
  }

  void take(size_t at) {
    assert(at < heap_.size());
    free_.push_back(heap_[at].id);
    Entry last = heap_.back();
    heap_.pop_back();
    if (at == heap_.size()) return;
    place(at, last);
    rise(at);
    sink(position_[last.id]);
  }

  std::vector<Entry> heap_;
  std::vector<size_t> position_;  // of each id in the heap
  std::vector<TimerId> free_;
  uint64_t next_order_ = 0;
};

}  // namespace tusk::core
