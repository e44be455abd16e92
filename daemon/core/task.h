// A task, or an item of a pipeline stage, from its acceptance until its ending is acknowledged.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/core/needs.h"
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
  // kRun: a suspended run; `index` is its task, `session` its generation, `request` which
  // suspension.
  enum class Kind : uint8_t { kNobody, kSession, kRequest, kRun };
  Kind kind = Kind::kNobody;
  uint8_t follow = 0;      // what it wants to hear of the runs: proto::kFollowProgress, ...
  bool streams = false;    // it asked for the stream
  uint32_t index = kNone;  // in the pool of sessions or of REQ requests
  uint64_t session = 0;    // its number: a session's place may have been taken by another
  uint64_t request = 0;    // the request number
};

enum class TaskState : uint8_t {
  kFree,
  kParked,   // an item for whose stage there is no room yet; its push is not accepted
  kHeld,     // resent after a restart: a worker may still claim it
  kWaiting,  // in the queue of its type
  kDelayed,  // until its timer: not due yet, between two attempts, or deferred
  kBlocked,  // until another task with its unique key has ended
  kRunning,  // on a worker
  kGhost,    // its ending was told, but its worker has not answered: holds the slot
  kEnded,    // until the ending is acknowledged or let go
};

// Why a run was told to stop.
enum class Stop : uint8_t {
  kNone,
  kCancelled,
  kParent,  // its parent was cancelled or expired
  kDeadline,
  kRunTimeout,
  kHeartbeatTimeout
};

struct Backoff {
  Duration first, most;
  double factor, jitter;
};

// A run that failed, or that its worker died of.
struct FailedRun {
  uint32_t attempt = 0;
  std::string worker;
  Time started{}, ended{};
  std::string type, message, language, stack;  // of its error
};

// What a task that failed for good had, besides what its terms go on to say.
struct Again {
  std::string unique, order_key, limit_key, sticky_key;
};

// What a task has beyond an ordinary one: demands of its submit or of its type, and what its runs
// left behind.
struct Terms {
  std::optional<Time> deadline;
  std::optional<Duration> deadline_after;  // as it was asked for
  TimerId deadline_timer = kNoTimer;
  Duration run_timeout{0}, heartbeat_timeout{0};  // 0: none
  Time last_sign{};                               // of life, of the present run
  // As the submit says; without a word of it, as the type's settings are by then.
  std::optional<uint32_t> attempts;
  std::optional<Backoff> backoff;
  std::optional<std::vector<std::string>> no_retry_on;
  std::vector<FailedRun> history;
  proto::Bytes checkpoint;
  uint32_t unique = kNone;                          // its unique key, among those of the broker
  Duration unique_for{0};                           // how long the key stays taken after the end
  Time not_before{};                                // kBlocked: its delay
  uint32_t order_gate = kNone, limit_gate = kNone;  // of its order key and its limit key
  bool in_order = false, in_limit = false;          // was let in there
  bool outside = false;                             // waits in front of one of them
  bool paid = false;                                // what its run costs
  uint32_t cost = 1;                                // units
  Duration retention{0};
  Time keep_until{};                   // once it ended
  size_t kept_bytes = 0;               // counted for its retention
  std::vector<uint32_t> labels;        // nodes of the index
  std::shared_ptr<const Needs> needs;  // nothing: any worker that serves the type
  uint32_t sticky = kNone;             // its sticky key, among those of the broker
  uint32_t parent = kNone;
  uint32_t first_child = kNone, prev_sibling = kNone, next_sibling = kNone;
  uint32_t stream = 0;           // chunks that may be on their way; 0: nobody asked for the stream
  uint32_t credit = 0;           // of the present run
  uint64_t chunks = 0;           // that it sent
  uint32_t awaits = 0;           //          // tasks that have to end before its run goes on
  uint64_t suspensions = 0;      // so far
  std::unique_ptr<Again> again;  // it failed for good, and may be submitted again
};

// A key whose tasks go to one worker.
struct StickyKey {
  uint32_t type = kNone;  // kNone: this place in the pool is free
  std::string key;
  uint32_t worker = kNone;  // kNone: none yet
  uint64_t session = 0;     // of that worker: its place may have been taken by another
  uint32_t tasks = 0;       // that have it
  Time idle_since{};        // without tasks
  uint32_t prev = kNone, next = kNone;
};

// A unique key that is taken.
struct UniqueKey {
  uint32_t type = kNone;  // kNone: this place in the pool is free
  std::string key;
  uint32_t task = kNone;       // that has it; kNone: it has ended
  uint32_t follow_up = kNone;  // that has it next
  TimerId timer = kNoTimer;    // until when it is taken
  proto::TaskId id;            // of the task that had it
  proto::State ending{};
};

struct Task {
  proto::TaskId id;
  TaskState state = TaskState::kFree;
  proto::State ending{};
  uint8_t crashes = 0;
  bool suspect = false;  // a worker died while this ran: it runs without another suspect
  Stop stop = Stop::kNone;
  int8_t priority = 0;
  uint32_t group = 0;      // a hash of its name; 0: none
  bool suspended = false;  // runs, without a slot
  bool orphan = false;     // adopted from a claim: nobody submitted it yet, no body
  bool edge = false;       // an item from the PULL edge: nobody to accept to
  uint32_t type = kNone;
  uint32_t lane = kNone;         // while it waits for a worker or runs
  uint32_t attempt = 0;          // runs so far
  uint32_t failures = 0;         // runs that the handler failed
  uint32_t generation = 0;       // of the handle
  uint32_t worker = kNone;       // while it runs
  uint32_t forwarded_count = 0;  // attributes in `forwarded`
  uint32_t result_count = 0;     // attributes in `result_attributes`

  uint32_t prev = kNone;  // in the one list that its state names
  uint32_t next = kNone;
  TimerId timer = kNoTimer;

  uint32_t serial = 0;  // of acceptance; goes round
  uint64_t order = 0;   // of its place: a requeued task gets it back
  uint64_t digest = 0;  // of type and body, once it ended or was changed
  uint64_t packet = 0;  // the packet that carries its ending
  // Who may claim a run of it that this broker does not see running: anybody while it never ran
  // here, then only the session from whose worker a run was taken while it was away.
  static constexpr uint64_t kAnybody = 0, kNobody = UINT64_MAX;
  uint64_t claimed_by = kAnybody;
  Time since{};    // accepted, or became due; once it ended: when
  Time started{};  // its present run

  Asker asker;
  std::vector<Asker> more_askers;  // others that submitted the same id
  std::unique_ptr<Terms> terms;    // nothing for an ordinary task

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
