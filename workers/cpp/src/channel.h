// Where the events of one subscription go: to a callback, or into a bounded queue.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "tusk/client.h"

namespace tusk::detail {

struct Channel {
  const std::string topic;
  const std::function<void(const Event&)> on_event;  // or nothing
  const std::size_t limit;

  Channel(std::string t, std::function<void(const Event&)> f, std::size_t most)
      : topic(std::move(t)), on_event(std::move(f)), limit(most) {}

  // The link's thread.
  void deliver(const Event& event);
  // Any thread.
  std::optional<Event> next(std::chrono::milliseconds time);
  void close();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Event> events_;
  std::uint64_t dropped_ = 0;  // since the last event that is still here
  bool closed_ = false;
};

}  // namespace tusk::detail
