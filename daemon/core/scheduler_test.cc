#include "daemon/core/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace tusk::core {
namespace {

class SchedulerTest : public ::testing::Test {
 protected:
  uint32_t type(const std::string& name) { return scheduler_.add_type(name, false); }

  uint32_t stage(const std::string& name, size_t capacity) {
    const uint32_t t = scheduler_.add_type(name, true);
    scheduler_.type(t).configured = true;
    scheduler_.type(t).capacity = capacity;
    scheduler_.type(t).stage = static_cast<uint32_t>(scheduler_.stages().size());
    scheduler_.stages().push_back(t);
    return t;
  }

  uint32_t worker(std::vector<uint32_t> serves, uint32_t slots = 1) {
    const uint32_t w = workers_.add();
    workers_[w].session = w;
    workers_[w].slots = slots;
    workers_[w].available = true;
    scheduler_.join(w, std::move(serves));
    return w;
  }

  uint32_t task(uint32_t type, bool suspect = false) {
    const uint32_t t = tasks_.add();
    tasks_[t].type = type;
    tasks_[t].lane = scheduler_.type(type).lane;
    tasks_[t].order = ++order_;
    tasks_[t].suspect = suspect;
    return t;
  }
  uint32_t queued(uint32_t type, bool suspect = false) {
    const uint32_t t = task(type, suspect);
    scheduler_.enqueue(t);
    return t;
  }

  uint32_t worker_for(uint32_t type, bool suspect) const {
    return scheduler_.worker_for(scheduler_.type(type).lane, suspect);
  }
  uint32_t head(uint32_t type, bool suspect) const {
    return scheduler_.head(scheduler_.type(type).lane, suspect);
  }
  uint32_t take(uint32_t w) { return scheduler_.take_for(w, aged_since_); }
  uint32_t important(uint32_t type, int8_t priority, Time since = Time{}) {
    const uint32_t t = task(type);
    tasks_[t].priority = priority;
    tasks_[t].since = since;
    scheduler_.enqueue(t);
    return t;
  }

  void run(uint32_t t, uint32_t w) {
    workers_[w].running.push_back(tasks_, t);
    tasks_[t].worker = w;
    if (tasks_[t].suspect) workers_[w].suspect = t;
    scheduler_.dispatched(w, tasks_[t].lane);
  }
  void finish(uint32_t t) {
    const uint32_t w = tasks_[t].worker;
    workers_[w].running.remove(tasks_, t);
    if (workers_[w].suspect == t) workers_[w].suspect = kNone;
    scheduler_.finished(w, tasks_[t].lane);
  }

  Pool<Task> tasks_;
  Pool<WorkerState> workers_;
  Scheduler scheduler_{tasks_, workers_};
  uint64_t order_ = 0;
  Time aged_since_ = Time{} - std::chrono::hours(1);  // nothing is aged
};

TEST_F(SchedulerTest, GivesToTheWorkerWhoseLastDispatchIsOldest) {
  const uint32_t add = type("add");
  const uint32_t a = worker({add}, 4), b = worker({add}, 4), c = worker({add}, 4);
  std::vector<uint32_t> order;
  for (int i = 0; i < 6; ++i) {
    order.push_back(worker_for(add, false));
    run(task(add), order.back());
  }
  EXPECT_EQ(order.size(), 6u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(order[i], order[i + 3]);
  EXPECT_EQ(std::set<uint32_t>(order.begin(), order.end()), (std::set<uint32_t>{a, b, c}));
}

TEST_F(SchedulerTest, TheOldestDispatchCountsAcrossGroups) {
  const uint32_t add = type("add"), mul = type("mul");
  const uint32_t both = worker({add, mul}, 9), only = worker({add}, 9);
  run(task(add), both);
  EXPECT_EQ(worker_for(add, false), only);
  run(task(add), only);
  EXPECT_EQ(worker_for(add, false), both);
  EXPECT_EQ(worker_for(mul, false), both);
}

TEST_F(SchedulerTest, LeastConnectionsPicksTheMostFree) {
  const uint32_t add = type("add");
  scheduler_.type(add).settings.load_balancing = config::LoadBalancing::least_connections;
  const uint32_t small = worker({add}, 2), large = worker({add}, 5);
  std::vector<uint32_t> got;
  for (int i = 0; i < 7; ++i) {
    got.push_back(worker_for(add, false));
    run(task(add), got.back());
  }
  EXPECT_EQ(std::vector<uint32_t>(got.begin(), got.begin() + 3), (std::vector<uint32_t>(3, large)));
  EXPECT_EQ(std::count(got.begin(), got.end(), small), 2);
  EXPECT_EQ(worker_for(add, false), kNone) << "all are full";
}

TEST_F(SchedulerTest, AWorkerThatIsFullOrAwayGetsNothing) {
  const uint32_t add = type("add");
  const uint32_t w = worker({add});
  const uint32_t t = task(add);
  run(t, w);
  EXPECT_EQ(worker_for(add, false), kNone);
  finish(t);
  EXPECT_EQ(worker_for(add, false), w);
  workers_[w].available = false;
  scheduler_.changed(w);
  EXPECT_EQ(worker_for(add, false), kNone);
  EXPECT_TRUE(scheduler_.is_served(add));
  scheduler_.leave(w, Time{} + std::chrono::seconds(9));
  EXPECT_FALSE(scheduler_.is_served(add));
  EXPECT_EQ(scheduler_.type(add).last_served, Time{} + std::chrono::seconds(9));
}

TEST_F(SchedulerTest, ASuspectGoesToAWorkerWithoutOne) {
  const uint32_t add = type("add");
  const uint32_t a = worker({add}, 3), b = worker({add}, 3);
  run(task(add, true), a);
  run(task(add), b);
  EXPECT_EQ(worker_for(add, false), a) << "its dispatch is older";
  EXPECT_EQ(worker_for(add, true), b);
  run(task(add, true), b);
  EXPECT_EQ(worker_for(add, true), kNone);
  const uint32_t waits = queued(add, true);
  EXPECT_EQ(take(a), kNone);
  finish(workers_[a].suspect);
  EXPECT_EQ(take(a), waits);
}

TEST_F(SchedulerTest, AFreeSlotGetsSuspectsFirstThenTheOldestHeadOfItsTypes) {
  const uint32_t add = type("add"), mul = type("mul"), other = type("other");
  queued(other);
  const uint32_t m = queued(mul), a = queued(add), n = queued(mul);
  const uint32_t w = worker({add, mul});
  EXPECT_EQ(take(w), m);
  const uint32_t suspect = queued(add, true);
  EXPECT_EQ(take(w), suspect);
  EXPECT_EQ(take(w), a);
  EXPECT_EQ(take(w), n);
  EXPECT_EQ(take(w), kNone);
}

TEST_F(SchedulerTest, ARequeuedTaskGetsItsPlaceBack) {
  const uint32_t add = type("add");
  std::vector<uint32_t> tasks;
  for (int i = 0; i < 5; ++i) tasks.push_back(queued(add));
  for (uint32_t i : {1u, 0u, 3u}) scheduler_.unqueue(tasks[i]);
  for (uint32_t i : {3u, 0u, 1u}) scheduler_.enqueue(tasks[i]);
  for (uint32_t t : tasks) {
    EXPECT_EQ(head(add, false), t);
    scheduler_.unqueue(t);
  }
  EXPECT_EQ(head(add, false), kNone);
}

TEST_F(SchedulerTest, TheHighestPriorityIsNextAcrossTypesAndOfThoseTheOldest) {
  const uint32_t add = type("add"), mul = type("mul");
  const uint32_t low = important(add, -10), a = important(add, 0), b = important(mul, 0);
  const uint32_t high = important(mul, 10), c = important(add, 0), top = important(add, 100);
  const uint32_t w = worker({add, mul});
  for (uint32_t t : {top, high, a, b, c, low}) EXPECT_EQ(take(w), t);
  EXPECT_EQ(take(w), kNone);
}

TEST_F(SchedulerTest, AnAgedTaskIsPassedOverOnlySoOften) {
  const uint32_t add = type("add");
  scheduler_.set_ageing_share(3);
  const uint32_t old = important(add, -10), older_than_most = important(add, -10);
  std::vector<uint32_t> urgent;
  for (int i = 0; i < 6; ++i) urgent.push_back(important(add, 10, Time{} + std::chrono::hours(2)));
  const uint32_t w = worker({add});
  aged_since_ = Time{};
  std::vector<uint32_t> order;
  for (uint32_t t = take(w); t != kNone; t = take(w)) order.push_back(t);
  EXPECT_EQ(order, (std::vector<uint32_t>{urgent[0], urgent[1], old, urgent[2], urgent[3],
                                          older_than_most, urgent[4], urgent[5]}));
}

TEST_F(SchedulerTest, NothingOfAPausedTypeStarts) {
  const uint32_t add = type("add"), mul = type("mul");
  const uint32_t a = queued(add), m = queued(mul);
  const uint32_t w = worker({add, mul});
  scheduler_.close(add, Type::kPaused);
  EXPECT_EQ(head(add, false), kNone);
  EXPECT_EQ(take(w), m);
  EXPECT_EQ(take(w), kNone);
  const uint32_t later = worker({add}, 2);
  EXPECT_EQ(take(later), kNone) << "one that came meanwhile gets nothing either";
  scheduler_.close(add, 0);
  EXPECT_EQ(take(later), a);
}

TEST_F(SchedulerTest, ManyComeBackToTheirPlaces) {
  const uint32_t add = type("add");
  std::vector<uint32_t> tasks;
  for (int i = 0; i < 500; ++i) tasks.push_back(queued(add));
  std::mt19937 random(7);
  std::vector<uint32_t> out(tasks.begin(), tasks.begin() + 400);
  for (uint32_t t : out) scheduler_.unqueue(t);
  std::shuffle(out.begin(), out.end(), random);
  for (size_t i = 0; i < out.size(); ++i) {
    scheduler_.enqueue(out[i]);
    if (i % 7 == 0) {  // the place that the search begins at goes, and comes back
      scheduler_.unqueue(out[i]);
      scheduler_.enqueue(out[i]);
    }
  }
  for (uint32_t t : tasks) {
    ASSERT_EQ(head(add, false), t);
    scheduler_.unqueue(t);
  }
}

TEST_F(SchedulerTest, PassesOverAStageWithoutRoomBehindIt) {
  const uint32_t first = stage("first", 10), last = stage("last", 1);
  const uint32_t w = worker({first, last}, 9);
  const uint32_t t = queued(first);
  EXPECT_EQ(take(w), t);
  queued(first);
  scheduler_.type(last).reserved = 1;
  EXPECT_EQ(take(w), kNone);
  const uint32_t l = queued(last);
  EXPECT_EQ(take(w), l) << "nothing is behind the last stage";
}

TEST_F(SchedulerTest, TypesGoAndTheirPlaceIsUsedAgain) {
  const uint32_t add = type("add");
  EXPECT_EQ(scheduler_.find_type("add"), add);
  EXPECT_EQ(scheduler_.find_stage("add"), kNone);
  scheduler_.remove_type(add);
  EXPECT_FALSE(scheduler_.exists(add));
  EXPECT_EQ(scheduler_.find_type("add"), kNone);
  EXPECT_EQ(scheduler_.type_count(), 0u);
  EXPECT_EQ(type("mul"), add);
}

TEST_F(SchedulerTest, NamesTheNearestOfTheKnown) {
  const uint32_t add = type("resize_image");
  type("resize_imagf");  // neither configured nor served
  worker({add});
  stage("clean", 1);
  EXPECT_EQ(scheduler_.nearest("resize_imagr", false), "resize_image");
  EXPECT_EQ(scheduler_.nearest("something_else", false), "");
  EXPECT_EQ(scheduler_.nearest("claen", true), "clean");
  EXPECT_EQ(scheduler_.nearest("claen", false), "");
  EXPECT_EQ(scheduler_.served_names(5), "resize_image");
}

TEST_F(SchedulerTest, ServedNamesAreCutAndSayNothingIfThereAreNone) {
  EXPECT_EQ(scheduler_.served_names(2), "nothing");
  worker({type("a"), type("b"), type("c")});
  EXPECT_EQ(scheduler_.served_names(2), "a, b, ...");
  EXPECT_EQ(scheduler_.served_names(3), "a, b, c");
}

TEST(EditDistance, CountsSingleLetterChanges) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("flaw", "lawn"), 2u);
  EXPECT_EQ(edit_distance(std::string(300, 'a'), std::string(300, 'a')), 0u);
}

// The choice of both orders against a plain search, over random joins, leaves, runs and ends.
TEST_F(SchedulerTest, AgreesWithAPlainSearchOverRandomHistories) {
  std::mt19937 random(11);
  std::vector<uint32_t> types = {type("a"), type("b"), type("c")};
  scheduler_.type(types[2]).settings.load_balancing = config::LoadBalancing::least_connections;
  std::vector<uint32_t> live, running;
  for (int step = 0; step < 20'000; ++step) {
    const uint32_t choice = random() % 10;
    if (choice == 0 && live.size() < 12) {
      std::vector<uint32_t> serves;
      for (uint32_t t : types) {
        if (random() % 2) serves.push_back(t);
      }
      live.push_back(worker(serves, 1 + random() % 4));
    } else if (choice == 1 && !live.empty()) {
      const uint32_t w = live[random() % live.size()];
      workers_[w].available = !workers_[w].available;
      scheduler_.changed(w);
    } else if (choice == 2 && !live.empty() && random() % 4 == 0) {
      const size_t at = random() % live.size();
      const uint32_t w = live[at];
      while (workers_[w].running.head != kNone) {
        const uint32_t t = workers_[w].running.head;
        std::erase(running, t);
        finish(t);
        tasks_.remove(t);
      }
      scheduler_.leave(w, Time{});
      workers_.remove(w);
      live.erase(live.begin() + static_cast<long>(at));
    } else if (choice < 6) {
      const uint32_t t = types[random() % 3];
      const uint32_t w = worker_for(t, false);
      if (w == kNone) continue;
      running.push_back(task(t));
      run(running.back(), w);
    } else if (!running.empty()) {
      const size_t at = random() % running.size();
      finish(running[at]);
      tasks_.remove(running[at]);
      running.erase(running.begin() + static_cast<long>(at));
    }
    for (uint32_t t : types) {
      const bool least = t == types[2];
      uint32_t best = kNone;
      for (uint32_t w : live) {
        const WorkerState& x = workers_[w];
        const bool serves = std::count(x.serves.begin(), x.serves.end(), t) > 0;
        if (!serves || x.free_slots() == 0) continue;
        if (best == kNone || (least && x.free_slots() > workers_[best].free_slots()) ||
            ((!least || x.free_slots() == workers_[best].free_slots()) &&
             x.last_dispatch < workers_[best].last_dispatch)) {
          best = w;
        }
      }
      const uint32_t got = worker_for(t, false);
      ASSERT_EQ(got == kNone, best == kNone);
      if (got == kNone) continue;
      if (least) {
        ASSERT_EQ(workers_[got].free_slots(), workers_[best].free_slots());
      }
      ASSERT_EQ(workers_[got].last_dispatch, workers_[best].last_dispatch);
    }
  }
}

}  // namespace
}  // namespace tusk::core
