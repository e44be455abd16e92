// Wakes one sleeping thread from any other, with one system call per sleep and none while it works.
//
//   producer: queue.add(x); wake.notify();
//   sleeper:  wake.about_to_sleep(); if (queue.empty()) poll(wake.descriptor()...); wake.woke();
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <system_error>

namespace tusk {

class Wake {
 public:
  Wake() : descriptor_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (descriptor_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  }
  ~Wake() { close(descriptor_); }
  Wake(const Wake&) = delete;
  Wake& operator=(const Wake&) = delete;

  int descriptor() const { return descriptor_; }

  // Any thread, and from a signal handler. Nothing to do while the sleeper is awake: it looks into
  // its queues once more before it sleeps.
  void notify() {
    if (awake_.load(std::memory_order_seq_cst) || awake_.exchange(true)) return;
    const std::uint64_t one = 1;
    [[maybe_unused]] auto written = write(descriptor_, &one, sizeof one);
  }

  bool awake() const { return awake_.load(std::memory_order_relaxed); }

  // The sleeper: after this every notify() is seen, so look into the queues, then poll.
  void about_to_sleep() { awake_.store(false, std::memory_order_seq_cst); }
  void woke() {
    awake_.store(true, std::memory_order_seq_cst);
    std::uint64_t count;
    [[maybe_unused]] auto got = read(descriptor_, &count, sizeof count);
  }

 private:
  int descriptor_;
  std::atomic<bool> awake_{true};
};

}  // namespace tusk
