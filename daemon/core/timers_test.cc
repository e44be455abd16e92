#include "daemon/core/timers.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace tusk::core {
namespace {

using std::chrono::milliseconds;

Time at(int ms) { return Time{} + milliseconds(ms); }

TEST(Timers, FireInTheOrderOfTheirTimesAndOfTheirAdding) {
  Timers timers;
  timers.add(at(20), {Timer::Kind::kHold, 1});
  timers.add(at(10), {Timer::Kind::kHold, 2});
  timers.add(at(20), {Timer::Kind::kDelay, 3});
  EXPECT_EQ(timers.next(), at(10));
  EXPECT_FALSE(timers.due(at(9)));
  EXPECT_EQ(timers.due(at(10))->subject, 2u);
  EXPECT_FALSE(timers.due(at(19)));
  auto first = timers.due(at(30));
  EXPECT_EQ(first->subject, 1u);
  EXPECT_EQ(first->kind, Timer::Kind::kHold);
  auto second = timers.due(at(30));
  EXPECT_EQ(second->subject, 3u);
  EXPECT_EQ(second->kind, Timer::Kind::kDelay);
  EXPECT_FALSE(timers.due(at(1000)));
  EXPECT_FALSE(timers.next());
}

TEST(Timers, ACancelledOneNeverFiresAndItsNumberIsForgotten) {
  Timers timers;
  TimerId id = timers.add(at(10), {Timer::Kind::kHold, 1});
  timers.cancel(id);
  EXPECT_EQ(id, kNoTimer);
  timers.cancel(id);  // nothing to do
  EXPECT_FALSE(timers.due(at(100)));
  EXPECT_EQ(timers.size(), 0u);
}

TEST(Timers, AgreeWithAMapOverRandomAddsCancelsAndFirings) {
  std::mt19937 random(7);
  Timers timers;
  std::map<std::pair<Time, uint32_t>, TimerId> model;  // by time, then number
  Time now = at(0);
  uint32_t number = 0;
  for (int step = 0; step < 50'000; ++step) {
    switch (random() % 4) {
      case 0:
      case 1: {
        const Time due = now + milliseconds(random() % 50);
        model[{due, number}] = timers.add(due, {Timer::Kind::kHold, number});
        ++number;
        break;
      }
      case 2:
        if (!model.empty()) {
          auto it = std::next(model.begin(), static_cast<long>(random() % model.size()));
          timers.cancel(it->second);
          model.erase(it);
        }
        break;
      case 3:
        now += milliseconds(random() % 3);
        while (auto timer = timers.due(now)) {
          ASSERT_FALSE(model.empty());
          ASSERT_EQ(timer->subject, model.begin()->first.second);
          ASSERT_LE(model.begin()->first.first, now);
          model.erase(model.begin());
        }
        if (!model.empty()) {
          ASSERT_GT(model.begin()->first.first, now);
        }
        break;
    }
    ASSERT_EQ(timers.size(), model.size());
    ASSERT_EQ(timers.next(),
              model.empty() ? std::nullopt : std::optional(model.begin()->first.first));
  }
}

}  // namespace
}  // namespace tusk::core
