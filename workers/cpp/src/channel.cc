#include "channel.h"

#include <utility>

namespace tusk::detail {

bool Channel::is_new(Event& event) {
  auto [at, first] = last_.try_emplace(event.topic);
  Last& last = at->second;
  if (!first) {
    if (event.retained && last.session == session_) return false;  // another one asked for it
    const bool goes_on = event.sequence > last.sequence;
    event.missed = goes_on ? event.sequence - last.sequence - 1 : 0;
  }
  last = {session_, event.sequence};
  return true;
}

bool Channel::deliver(Event event) {
  if (!is_new(event)) return true;
  if (on_event) {
    {
      std::lock_guard lock(mutex_);
      if (ended_) return true;
    }
    on_event(event);
    return true;
  }
  std::lock_guard lock(mutex_);
  if (ended_) return true;
  if (events_.size() >= options.buffer) {
    changed_.notify_all();
    if (options.slow == Slow::kDisconnect) {
      ended_ = true;
      failure_ =
          failure("slow_subscriber", std::to_string(options.buffer) + " events of " + name +
                                         " were not read when the next came; read them faster, or "
                                         "subscribe with a larger buffer");
      return false;
    }
    const Event& oldest = events_.front();
    dropped_[oldest.topic] += oldest.missed + 1;
    events_.pop_front();
  }
  events_.push_back(std::move(event));
  changed_.notify_one();
  return true;
}

void Channel::renew(bool restarted) {
  ++session_;
  if (!restarted) return;
  for (auto& [topic, last] : last_) last.sequence = 0;
}

std::optional<Event> Channel::next(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  const auto there = [this] { return ended_ || !events_.empty(); };
  if (time == kForever) {
    changed_.wait(lock, there);
  } else {
    changed_.wait_for(lock, time, there);
  }
  if (events_.empty()) {
    if (failure_) raise(*failure_);
    return std::nullopt;
  }
  Event event = std::move(events_.front());
  events_.pop_front();
  if (auto at = dropped_.find(event.topic); at != dropped_.end()) {
    event.missed += at->second;
    dropped_.erase(at);
  }
  return event;
}

void Channel::end(FailurePtr failure) {
  std::lock_guard lock(mutex_);
  if (!std::exchange(ended_, true)) failure_ = std::move(failure);
  changed_.notify_all();
}

}  // namespace tusk::detail
