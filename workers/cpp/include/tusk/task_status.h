// What a broker says about a task when it is asked by its id.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tusk/error.h"

namespace tusk {

struct TaskStatus {
  TaskId id;
  // "delayed", "waiting", "running", "succeeded", "failed", "expired", "cancelled" or "dead"; or
  // "unknown". If it is that, or the broker has let go of the ending, nothing else is here.
  std::string state;
  std::string type;
  std::map<std::string, std::string> labels;
  std::optional<TaskId> parent;  // whose run submitted it
  std::string group;             // may be empty
  std::uint64_t attempts = 0;    // runs that were begun
  std::uint64_t failures = 0;    // runs that failed
  std::uint64_t crashes = 0;     // workers that died of it
  int priority = 0;
  // Since it was accepted or became due; once it ended: since then.
  std::chrono::milliseconds age{0};
  std::string worker;                // that runs it, or ran it last; may be empty
  std::vector<Attempt> history;      // the last 16 runs that failed; their times are before now
  std::optional<RemoteError> error;  // once it ended without success
};

// What became of Client::update.
struct Updated {
  std::string state;     // in which the task is
  bool updated = false;  // whether it was changed: one that runs or has ended is not
};

}  // namespace tusk
