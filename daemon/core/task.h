// A task, or an item of a pipeline stage, from its acceptance until its ending is acknowledged.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/core/pool.h"
#include "daemon/core/time.h"
#include "daemon/core/timers.h"
#include "proto/bytes.h"
#include "proto/task_id.h"
#include "proto/wire.h"

namespace tusk::core {

// A run's handle is the generation and the place of its task in the pool: unique for 2^29 runs at
// one place, and below 2^53.
inline constexpr uint32_t kPlaceBits = 24;
inline constexpr uint32_t kGenerationMask = (uint32_t{1} << 29) - 1;

// Who waits for a task's ending: a request of a session, or a REQ peer's.
struct Asker {
  enum class Kind : uint8_t { kNobody, kSession, kRequest };
  Kind kind = Kind::kNobody;
  uint32_t index = kNone;  // in the pool of sessions or of REQ requests
  uint64_t session = 0;    // its number: a session's place may have been taken by another
  uint64_t request = 0;    // the request number
};

enum class TaskState : uint8_t {
  kFree,
  kParked,   // an item for whose stage there is no room yet; its push is not accepted
  kHeld,     // resent after a restart: a worker may still claim it
  kWaiting,  // in the queue of its type
  kBackoff,  // until its timer
  kRunning,  // on a worker
  kGhost,    // its ending was told, but its worker has not answered: holds the slot
  kEnded,    // until the ending is acknowledged or let go
};

struct Task {
  proto::TaskId id;
  TaskState state = TaskState::kFree;
  proto::State ending{};
  uint8_t crashes = 0;
  bool suspect = false;  // a worker died while this ran: it runs without another suspect
  bool cancel_requested = false;
  bool orphan = false;  // adopted from a claim: nobody submitted it yet, no body
  bool edge = false;    // an item from the PULL edge: nobody to accept to
  uint32_t type = kNone;
  uint32_t attempt = 0;          // runs so far
  uint32_t failures = 0;         // runs that the handler failed
  uint32_t generation = 0;       // of the handle
  uint32_t worker = kNone;       // while it runs
  uint32_t forwarded_count = 0;  // attributes in `forwarded`
  uint32_t result_count = 0;     // attributes in `result_attributes`

  uint32_t prev = kNone;  // in the one list that its state names
  uint32_t next = kNone;
  TimerId timer = kNoTimer;

  uint64_t order = 0;   // of acceptance: a requeued task gets its place back
  uint64_t digest = 0;  // of type and body, once it ended
  uint64_t packet = 0;  // the packet that carries its ending
  Time since{};         // accepted; once it ended: when

  Asker asker;
  std::vector<Asker> more_askers;  // others that submitted the same id

  proto::Bytes body;
  proto::Bytes forwarded;  // attributes for the worker, encoded
  proto::Bytes result;
  proto::Bytes result_attributes;  // encoded
};

// What is remembered of a task whose ending was acknowledged.
struct EndedTask {
  proto::TaskId id;
  uint64_t digest = 0;
  proto::State state{};
};

}  // namespace tusk::core
