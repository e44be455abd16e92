// What tasks of one type and key pass one after the other before they may wait for a worker.
#pragma once

#include <string>

#include "daemon/core/queue.h"
#include "daemon/core/token_bucket.h"

namespace tusk::core {

// An order key lets one task in at a time, in the order of their acceptance, until it has ended. A
// limit key lets in as many as may run, and those that wait for a worker too.
struct Gate {
  enum class Kind : uint8_t { kOrder, kLimit };
  uint32_t type = kNone;  // kNone: this place in the pool is free
  Kind kind{};
  std::string key;
  List<Task> line;       // kOrder: those outside
  Queue held;            // kLimit: those outside
  uint32_t named = 0;    // tasks and runs that have this key: those that are delayed, too
  uint32_t inside = 0;   // tasks that were let in
  uint32_t waiting = 0;  // of them those that do not run yet
  TokenBucket bucket;    // kLimit
  TimerId timer = kNoTimer;
  bool listed = false;   // among the gates to be looked at
  bool blocked = false;  // kOrder: a task of the key is dead
  proto::TaskId blocked_by;
};

}  // namespace tusk::core
