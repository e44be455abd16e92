// Where the events of one subscription go: to a callback, or into a bounded queue.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "errors.h"
#include "tusk/client.h"

namespace tusk::detail {

struct Channel {
  const std::string name;                            // a topic or a pattern
  const std::function<void(const Event&)> on_event;  // or nothing
  const SubscribeOptions options;

  Channel(std::string n, std::function<void(const Event&)> f, const SubscribeOptions& o)
      : name(std::move(n)), on_event(std::move(f)), options(o) {}

  // The link's thread. `event.missed` is what the broker said of it. False: there was no room, and
  // so the subscription has ended.
  bool deliver(Event event);
  // A new session; `restarted`: with a broker that counts from 1 again.
  void renew(bool restarted);
  bool accepted = false;  // whether the broker has heard of it

  // Any thread. What is there can be read before `failure`, if there is one. The first end counts.
  void end(FailurePtr failure = nullptr);
  std::optional<Event> next(std::chrono::milliseconds time);

 private:
  struct Last {
    std::uint64_t session = 0;
    std::uint64_t sequence = 0;  // 0: none since the broker began to count anew
  };
  // Whether an event is new to this subscription, with what was missed before it.
  bool is_new(Event& event);

  std::map<std::string, Last, std::less<>> last_;  // by topic
  std::uint64_t session_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Event> events_;
  std::map<std::string, std::uint64_t, std::less<>> dropped_;  // before a topic's next event
  bool ended_ = false;
  FailurePtr failure_;
};

}  // namespace tusk::detail
