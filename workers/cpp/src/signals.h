// SIGTERM and SIGINT for the workers of this process: counted, and each worker is woken.
#pragma once

#include <memory>

#include "wake.h"

namespace tusk {

// While it lives the two signals are handled; then they are again what they were before the first.
class StopSignals {
 public:
  explicit StopSignals(std::shared_ptr<Wake> wake);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // How many came since this was made.
  unsigned count() const;

 private:
  std::shared_ptr<Wake> wake_;
  unsigned before_;
  int place_ = -1;
};

}  // namespace tusk
