// Events from other threads for the data plane: a bounded queue with a descriptor that is readable
// while something is in it.
//
//   mailbox.post(core::Shutdown{});       // any thread; false if it is full
//   poll(mailbox.descriptor()) ...
//   mailbox.take([](core::Event&& e) { ... });   // the data plane's thread
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include "daemon/core/event.h"

namespace tusk::transport {

class Mailbox {
 public:
  static constexpr size_t kBound = 1024;

  Mailbox() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (descriptor_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  }
  ~Mailbox() { close(descriptor_); }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  bool post(core::Event event) {
    std::lock_guard lock(mutex_);
    if (events_.size() >= kBound) return false;
    events_.push_back(std::move(event));
    if (events_.size() == 1) {
      const uint64_t one = 1;
      [[maybe_unused]] ssize_t n = write(descriptor_, &one, sizeof one);
    }
    return true;
  }

  int descriptor() const { return descriptor_; }

  // Hands over what is there; returns whether there was anything.
  template <typename Take>
  bool take(Take take) {
    {
      std::lock_guard lock(mutex_);
      if (events_.empty()) return false;
      uint64_t count;
      [[maybe_unused]] ssize_t n = read(descriptor_, &count, sizeof count);
      taken_.swap(events_);
    }
    for (core::Event& event : taken_) take(std::move(event));
    taken_.clear();
    return true;
  }

 private:
  const int descriptor_;
  std::mutex mutex_;
  std::vector<core::Event> events_;
  std::vector<core::Event> taken_;
};

}  // namespace tusk::transport
