// When a worker process that ended by itself is started again, and when no more.
//
//   RestartPolicy policy({});
//   if (auto pause = policy.died(ran)) start_after(*pause);
//   else give_up();
//   policy.reset();                      // its settings changed: begin anew
//
// The pause doubles with each death, up to a bound, and is the first one again after a run of
// `steady`. A row of `max_deaths` deaths, none after a run of `healthy`, is the end. No clock, no
// thread: plain values.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>

namespace tusk::control {

class RestartPolicy {
 public:
  using Duration = std::chrono::milliseconds;

  struct Bounds {
    Duration first_pause{100};
    Duration max_pause{30'000};
    Duration steady{60'000};   // a run this long forgets all pauses
    Duration healthy{10'000};  // a run this long ends a row of deaths
    std::size_t max_deaths = 10;
  };

  explicit RestartPolicy(const Bounds& bounds) : bounds_(bounds), pause_(bounds.first_pause) {}

  // It ended after running for `ran` (0: it could not be started). How long to wait before the next
  // start; nothing if the row is full.
  std::optional<Duration> died(Duration ran) {
    if (ran >= bounds_.healthy) deaths_ = 0;
    if (ran >= bounds_.steady) pause_ = bounds_.first_pause;
    if (++deaths_ >= bounds_.max_deaths) return std::nullopt;
    Duration pause = pause_;
    pause_ = std::min(pause_ * 2, bounds_.max_pause);
    return pause;
  }

  // How many deaths the row has.
  std::size_t deaths() const { return deaths_; }

  void reset() { *this = RestartPolicy(bounds_); }

 private:
  Bounds bounds_;
  Duration pause_;
  std::size_t deaths_ = 0;
};

}  // namespace tusk::control
