#include "requests.h"

#include <gtest/gtest.h>

#include <random>

namespace tusk {
namespace {

using std::chrono::milliseconds;

TEST(RequestTable, NumbersCountUpAndFindTheirRequest) {
  std::vector<Request> requests(10'000);
  RequestTable table;
  std::uint64_t last = 0;
  for (Request& r : requests) {
    table.add(&r);
    EXPECT_GT(r.number, last);
    last = r.number;
  }
  for (Request& r : requests) EXPECT_EQ(table.find(r.number), &r);
  EXPECT_EQ(table.find(last + 1), nullptr);
  EXPECT_EQ(table.size(), requests.size());
}

TEST(RequestTable, AnOldRequestKeepsItsPlaceWhileMillionsPass) {
  Request old, passing;
  RequestTable table;
  table.add(&old);
  for (int i = 0; i < 100'000; ++i) {
    table.add(&passing);
    ASSERT_NE(passing.number, old.number);
    ASSERT_EQ(table.find(old.number), &old);
    const std::uint64_t gone = passing.number;
    table.remove(&passing);
    ASSERT_EQ(table.find(gone), nullptr);
  }
}

TEST(RequestTable, ListsAllInTheOrderOfTheirNumbers) {
  std::vector<Request> requests(3000);
  RequestTable table;
  for (Request& r : requests) table.add(&r);
  for (std::size_t i = 0; i < requests.size(); i += 2) table.remove(&requests[i]);
  auto all = table.all();
  ASSERT_EQ(all.size(), 1500u);
  for (std::size_t i = 1; i < all.size(); ++i) EXPECT_LT(all[i - 1]->number, all[i]->number);
}

TEST(RequestQueue, AnythingCanBeTakenOut) {
  Request a, b, c;
  RequestQueue queue;
  for (Request* r : {&a, &b, &c}) queue.add(r);
  queue.remove(&b);
  EXPECT_EQ(queue.first(), &a);
  queue.remove(&a);
  EXPECT_EQ(queue.first(), &c);
  queue.remove(&c);
  EXPECT_TRUE(queue.empty());
  queue.add(&b);
  EXPECT_EQ(queue.first(), &b);
  EXPECT_EQ(queue.size(), 1u);
}

TEST(Deadlines, GiveWhatIsDueAndNothingElse) {
  const auto start = Deadlines::Clock::now();
  std::mt19937 random(1);
  std::vector<Request> requests(1000);
  Deadlines deadlines;
  for (Request& r : requests) {
    r.started = start;
    r.has_timeout = random() % 2 == 0;
    r.timeout = milliseconds(1 + random() % 20);
    deadlines.add(&r);
  }
  deadlines.set_default(milliseconds(10));  // also for those that are in already
  for (int ms = 0; ms <= 20; ++ms) {
    while (Request* r = deadlines.due(start + milliseconds(ms))) {
      EXPECT_EQ(deadlines.time_of(*r).count(), ms);
      deadlines.remove(r);
    }
  }
  EXPECT_EQ(deadlines.next(), Deadlines::Clock::time_point::max());
}

TEST(Deadlines, ForEverIsNever) {
  Request r;
  r.started = Deadlines::Clock::now();
  r.has_timeout = true;
  r.timeout = kForever;
  Deadlines deadlines;
  deadlines.add(&r);
  EXPECT_EQ(deadlines.due(r.started + std::chrono::hours(1'000'000)), nullptr);
  EXPECT_EQ(deadlines.next(), Deadlines::Clock::time_point::max());
}

}  // namespace
}  // namespace tusk
