// Time as the core knows it: points on a monotonic scale that events bring along. The core never
// asks a clock.
#pragma once

#include <chrono>

namespace tusk::core {

using Duration = std::chrono::nanoseconds;

// A clock without now(): only the transport and the simulator make Time.
struct MonotonicScale {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicScale>;
  static constexpr bool is_steady = true;
};
using Time = MonotonicScale::time_point;

inline int64_t milliseconds(Duration d) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}

}  // namespace tusk::core
