#include "signals.h"

#include <signal.h>

#include <array>
#include <atomic>
#include <mutex>

namespace tusk {
namespace {

constexpr std::size_t kMaxWorkers = 64;

// What the handler reads; it takes no lock.
std::atomic<unsigned> signals{0};
std::array<std::atomic<Wake*>, kMaxWorkers> wakes{};

std::mutex mutex;
std::size_t living = 0;
struct sigaction old_term, old_int;

extern "C" void on_stop_signal(int) {
  signals.fetch_add(1);
  for (auto& place : wakes) {
    if (Wake* wake = place.load()) wake->notify();
  }
}

}  // namespace

StopSignals::StopSignals(std::shared_ptr<Wake> wake)
    : wake_(std::move(wake)), before_(signals.load()) {
  std::lock_guard lock(mutex);
  for (std::size_t i = 0; i < kMaxWorkers && place_ < 0; ++i) {
    Wake* nobody = nullptr;
    if (wakes[i].compare_exchange_strong(nobody, wake_.get())) place_ = static_cast<int>(i);
  }
  if (living++ > 0) return;
  struct sigaction action = {};
  action.sa_handler = on_stop_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, &old_term);
  sigaction(SIGINT, &action, &old_int);
}

StopSignals::~StopSignals() {
  std::lock_guard lock(mutex);
  if (place_ >= 0) wakes[static_cast<std::size_t>(place_)].store(nullptr);
  if (--living > 0) return;
  sigaction(SIGTERM, &old_term, nullptr);
  sigaction(SIGINT, &old_int, nullptr);
}

unsigned StopSignals::count() const { return signals.load() - before_; }

}  // namespace tusk
