#include "channel.h"

namespace tusk::detail {

void Channel::deliver(const Event& event) {
  if (on_event) {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return;
    }
    on_event(event);
    return;
  }
  std::lock_guard lock(mutex_);
  if (closed_) return;
  events_.push_back(event);
  if (events_.size() > limit) {
    // The oldest goes; the next one that is read says so.
    const std::uint64_t missed = events_.front().missed + 1;
    events_.pop_front();
    (events_.empty() ? dropped_ : events_.front().missed) += missed;
  }
  changed_.notify_one();
}

std::optional<Event> Channel::next(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  const auto there = [this] { return closed_ || !events_.empty(); };
  if (time == kForever) {
    changed_.wait(lock, there);
  } else {
    changed_.wait_for(lock, time, there);
  }
  if (events_.empty()) return std::nullopt;
  Event event = std::move(events_.front());
  events_.pop_front();
  event.missed += std::exchange(dropped_, 0);
  return event;
}

void Channel::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

}  // namespace tusk::detail
