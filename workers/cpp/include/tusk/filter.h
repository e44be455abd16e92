// Which tasks are meant, and what the broker does to all of them.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "tusk/task_id.h"

namespace tusk {

// Tasks that fit everything that is set. One that sets nothing is Invalid.
struct Filter {
  std::string type = {};   // tasks of this type
  std::string state = {};  // "waiting", "delayed", "running", ...: see TaskStatus::state
  // Tasks with all of these labels; std::nullopt fits any text. .labels = {{"customer", "acme"}}
  std::map<std::string, std::optional<std::string>> labels = {};
  std::optional<TaskId> parent = {};       // children of this task
  std::chrono::milliseconds min_age = {};  // TaskStatus::age is at least this, up to 100 years
  bool all = false;                        // all tasks
};

// Work on many tasks that the broker does in small steps beside all other.
struct Job {
  std::uint64_t number = 0;
  std::string what;           // "cancel", "retry", "reprioritise"
  std::string state;          // "running", "done"
  bool dry_run = false;       // it only counts
  std::uint64_t total = 0;    // tasks to look at
  std::uint64_t looked = 0;   // of them, looked at so far
  std::uint64_t matched = 0;  // fit the filter
  std::uint64_t changed = 0;  // were cancelled, retried or given the priority; none in a dry run
  std::uint64_t failed = 0;   // could not be
};

struct JobOptions {
  bool dry_run = false;
  // Whether to wait until the job is done. Else there is nothing but its number; see Client::jobs.
  bool wait = true;
  // Called by the waiting thread whenever it has asked how far the job is.
  std::function<void(const Job&)> on_progress = {};
};

}  // namespace tusk
