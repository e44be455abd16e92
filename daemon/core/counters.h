// What the broker counts, by name, and how often it may say the same thing in the log.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "daemon/core/time.h"

namespace tusk::core {

// X(name, what it counts)
#define TUSK_COUNTERS(X)                                                  \
  X(submitted, "tasks accepted")                                          \
  X(joined, "submits of an id or a unique key that was there already")    \
  X(duplicates, "submits refused because their unique key was taken")     \
  X(updated, "waiting tasks that were changed")                           \
  X(dispatched, "runs sent to workers")                                   \
  X(succeeded, "tasks that succeeded")                                    \
  X(failed, "tasks that failed for good")                                 \
  X(cancelled, "tasks that were cancelled")                               \
  X(expired, "tasks whose deadline passed")                               \
  X(dead, "tasks whose attempts or crashes are used up")                  \
  X(retried, "runs that failed and are tried again")                      \
  X(requeued, "runs given to another worker, not charged")                \
  X(crashed, "runs whose worker died")                                    \
  X(timed_out, "runs told to stop because they took too long")            \
  X(deferred, "runs that their handler put off")                          \
  X(hung, "runs that did not stop when told to")                          \
  X(suspended, "runs that lent their slot out while they awaited others") \
  X(chunks, "chunks of streams passed on")                                \
  X(chunks_lost, "chunks of streams that nobody was there to take")       \
  X(chunks_refused, "chunks of streams that had no credit")               \
  X(pushed, "pipeline items accepted")                                    \
  X(items_done, "items that left a stage for the next, or the pipeline")  \
  X(items_dropped, "items that a handler let go")                         \
  X(items_dead, "items that failed for good")                             \
  X(items_out_dropped, "items for the PUSH edge that nobody took")        \
  X(published, "events published")                                        \
  X(events_delivered, "events sent to subscribers")                       \
  X(events_missed, "events that a slow subscriber missed")                \
  X(subscriptions_ended, "subscriptions ended because they were slow")    \
  X(edge_dropped, "messages on the plain edges that were refused")        \
  X(sessions_opened, "sessions opened")                                   \
  X(sessions_resumed, "sessions that came back on a new connection")      \
  X(sessions_ended, "sessions ended")                                     \
  X(claims_adopted, "runs that a worker claimed and keeps")               \
  X(claims_dropped, "runs that a worker claimed and must drop")           \
  X(packets_received, "packets from peers")                               \
  X(packets_sent, "packets to peers")                                     \
  X(packets_duplicate, "packets that arrived already")                    \
  X(packets_refused, "packets refused whole")                             \
  X(records_refused, "records refused alone")                             \
  X(errors_stale_session, "packets without a session, or of another one") \
  X(errors_unknown_handle, "results of runs that are not the worker's")   \
  X(errors_full, "submits refused because a queue or table was full")     \
  X(errors_unserved, "submits of types that nobody serves")               \
  X(errors_too_large, "packets and bodies over a limit")                  \
  X(timeouts, "callers whose wait was over")                              \
  X(reloads, "configurations applied")                                    \
  X(reloads_refused, "configurations refused")                            \
  X(log_suppressed, "log lines left out because there were too many of a kind")

struct Counters {
#define TUSK_COUNTER_MEMBER(name, what) uint64_t name = 0;
  TUSK_COUNTERS(TUSK_COUNTER_MEMBER)
#undef TUSK_COUNTER_MEMBER

  // visit(name, what it counts, value) for each.
  template <typename Visit>
  void each(Visit visit) const {
#define TUSK_COUNTER_VISIT(name, what) visit(std::string_view(#name), std::string_view(what), name);
    TUSK_COUNTERS(TUSK_COUNTER_VISIT)
#undef TUSK_COUNTER_VISIT
  }
  static constexpr size_t size() {
#define TUSK_COUNTER_ONE(name, what) +1
    return 0 TUSK_COUNTERS(TUSK_COUNTER_ONE);
#undef TUSK_COUNTER_ONE
  }
};

// Kinds of log lines whose rate peers can drive: one line a second of each, and how many were left
// out. Lines that only the operator causes are kOperator, and never left out.
enum class LogTopic : uint8_t {
  kOperator,
  kMalformed,
  kStaleSession,
  kRefused,
  kHandle,
  kLimit,
  kUnserved,
  kWorkerDied,
  kDead,
  kPeer,
  kEdge,
  kCount
};

class LogLimiter {
 public:
  // Whether a line may be written now; `suppressed` is then how many were left out before it.
  bool allow(LogTopic topic, Time now, uint64_t& suppressed) {
    suppressed = 0;
    if (topic == LogTopic::kOperator) return true;
    Entry& entry = entries_[static_cast<size_t>(topic)];
    if (entry.used && now - entry.last < std::chrono::seconds(1)) {
      ++entry.suppressed;
      return false;
    }
    suppressed = entry.suppressed;
    entry = {true, now, 0};
    return true;
  }

 private:
  struct Entry {
    bool used = false;
    Time last{};
    uint64_t suppressed = 0;
  };
  std::array<Entry, static_cast<size_t>(LogTopic::kCount)> entries_{};
};

}  // namespace tusk::core
