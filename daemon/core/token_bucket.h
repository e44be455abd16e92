// A token bucket that may go into debt: what starts while it holds anything takes its whole cost.
//
//   TokenBucket bucket(100, 20);          // 100 units a second, 20 at once
//   if (bucket.open(now)) bucket.take(cost, now);
//   else wake_at(bucket.opens_at(now));
//
// So in any time d the units taken are at most burst + rate * d + the largest cost. Turner, "New
// directions in communications", 1986 (the leaky bucket as a meter), with debt in place of waiting
// for the cost of the next one.
#pragma once

#include <algorithm>

#include "daemon/core/time.h"

namespace tusk::core {

class TokenBucket {
 public:
  TokenBucket() = default;

  // `rate`: units a second, 0 for no limit. What it holds stays, up to `burst`; a new one is full.
  void set(double rate, double burst, Time now) {
    if (rate == rate_ && burst == burst_) return;
    if (limits()) {
      fill(now);
    } else {
      tokens_ = burst;
    }
    filled_ = now;
    rate_ = rate;
    burst_ = burst;
    tokens_ = std::min(tokens_, burst_);
  }
  bool limits() const { return rate_ > 0; }
  double rate() const { return rate_; }

  bool open(Time now) {
    if (!limits()) return true;
    fill(now);
    return tokens_ > kEmpty;
  }
  // `cost` may be negative: what was taken too much.
  void take(double cost, Time now) {
    if (!limits()) return;
    fill(now);
    tokens_ = std::min(tokens_ - cost, burst_);
  }
  // When it is open again, or full; not before `now`.
  Time opens_at(Time now) { return reaches(2 * kEmpty, now); }
  Time full_at(Time now) { return reaches(burst_, now); }

 private:
  // Less than this is nothing: sums of fractions do not come out even.
  static constexpr double kEmpty = 1e-6;

  void fill(Time now) {
    const double seconds = std::chrono::duration<double>(now - filled_).count();
    tokens_ = std::min(burst_, tokens_ + rate_ * seconds);
    filled_ = now;
  }
  Time reaches(double level, Time now) {
    fill(now);
    if (tokens_ >= level) return now;
    const std::chrono::duration<double> wait((level - tokens_) / rate_);
    return now + std::chrono::duration_cast<Duration>(wait) + Duration{1};
  }

  double rate_ = 0, burst_ = 0, tokens_ = 0;
  Time filled_{};
};

}  // namespace tusk::core
