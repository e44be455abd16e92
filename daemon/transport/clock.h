// The one place where the daemon's core time comes from.
#pragma once

#include <chrono>

#include "daemon/core/time.h"

namespace tusk::transport {

inline core::Time now() {
  return core::Time(std::chrono::duration_cast<core::Duration>(
      std::chrono::steady_clock::now().time_since_epoch()));
}

}  // namespace tusk::transport
