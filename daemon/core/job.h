// A change of many tasks at once, done in small steps beside all other work (SPEC.md, "Labels").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/core/time.h"
#include "proto/task_id.h"

namespace tusk::core {

// Which tasks. One that fits meets all that is given.
struct Filter {
  std::optional<std::string> type, state;
  std::vector<std::pair<std::string, std::optional<std::string>>> labels;  // nothing: any text
  std::optional<proto::TaskId> parent;
  std::optional<Duration> age;
};

struct Job {
  enum class What : uint8_t { kCancel, kRetry, kReprioritise };
  uint64_t number = 0;
  What what{};
  Filter filter;
  bool dry_run = false;
  bool done = false;
  int priority = 0;
  proto::TaskId base;   // retry: what new ids are made from
  uint32_t newest = 0;  // the serial number of the last task that was accepted before it began
  bool listed = false;  // it looks at `places` only, and else at all places there were
  std::vector<uint32_t> places;
  uint64_t total = 0;  // places to look at
  uint64_t looked = 0, matched = 0, changed = 0, failed = 0;
  Time since{};  // when it began; once it is done: when it was
};

inline std::string_view name_of(Job::What what) {
  switch (what) {
    case Job::What::kCancel:
      return "cancel";
    case Job::What::kRetry:
      return "retry";
    default:
      return "reprioritise";
  }
}

}  // namespace tusk::core
