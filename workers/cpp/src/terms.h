// What a task asks for beyond an ordinary run, from a caller's options to the attributes of a
// submit.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "proto/writer.h"
#include "tusk/client.h"

namespace tusk {

namespace detail {

class Inflow;

// What a submit has that its caller's options do not say.
struct Extra {
  std::optional<TaskId> parent = {};
  std::function<void()> on_accepted = {};  // on the client's thread
  std::shared_ptr<Inflow> inflow = {};     // of a stream, or of a credit for one
  std::uint64_t credit = 0;                // chunks
  std::uint64_t session = 0;               // of the stream, in which they came

  bool any() const { return parent || on_accepted || inflow; }
};

}  // namespace detail

// Checked: all values are within their ranges, and a point in time has become a delay.
struct Terms {
  using Clock = std::chrono::steady_clock;

  std::optional<std::chrono::milliseconds> delay, deadline, run_timeout, heartbeat_timeout;
  std::optional<int> attempts, priority;
  std::optional<Backoff> backoff;
  std::vector<std::string> no_retry_on;
  std::string unique;  // empty: none
  UniquePolicy unique_policy = UniquePolicy::kJoin;
  std::optional<std::chrono::milliseconds> unique_for, retention;
  std::string order_key, limit_key, group, sticky_key;  // empty: none
  proto::AttributeWriter needs;                         // and labels, as they are written
  std::optional<std::int64_t> cost;
  OnProgress on_progress;
  OnLog on_log;
  detail::Extra extra;

  // Bounds the bytes that write() writes.
  std::size_t size() const;
  // Delay and deadline as what is left of them when `passed` has passed since the call.
  void write(proto::AttributeWriter& out, Clock::duration passed) const;
};

// Nothing if the options have none, as those of most. Throws Invalid, which names the option, and
// if this is no operation for one that is there.
std::unique_ptr<Terms> terms_of(detail::Submission::Op op, const CallOptions& options);

// Throws Invalid: the option `name` has to be from `least` to 100 years.
void check_duration(const char* name, std::chrono::milliseconds time,
                    std::chrono::milliseconds least);
// Throws Invalid: it has to be from -100 to 100.
void check_priority(int priority);
// Throws Invalid: the units have to be from 0 to 10^9.
void check_cost(std::int64_t units);

}  // namespace tusk
