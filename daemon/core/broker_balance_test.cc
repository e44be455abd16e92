// Who gets which task: fairness, slots, order, and no task that waits beside a free slot (which the
// harness checks after every step).
#include <gtest/gtest.h>

#include <random>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

TEST(Balance, RoundRobinCountsDifferByAtMostOneOverAnySpanInWhichNobodyWasFull) {
  for (uint32_t seed = 1; seed <= 5; ++seed) {
    std::mt19937 random(seed);
    Harness h;
    std::vector<Peer*> workers;
    for (int i = 0; i < 5; ++i) workers.push_back(&h.worker({"add"}, 1000));
    Peer& client = h.client(false);
    std::vector<size_t> order;  // who got each task
    for (int step = 0; step < 600; ++step) {
      if (random() % 3) {
        client.submit(h.id(), "add");
        for (size_t w = 0; w < workers.size(); ++w) {
          for (size_t n = workers[w]->take(Kind::kTask).size(); n > 0; --n) order.push_back(w);
        }
      } else {
        Peer& w = *workers[random() % workers.size()];
        if (w.runs.empty()) continue;
        auto it = std::next(w.runs.begin(), static_cast<long>(random() % w.runs.size()));
        w.succeed(it->first);
      }
    }
    ASSERT_GT(order.size(), 300u);
    for (int span = 0; span < 500; ++span) {
      const size_t from = random() % order.size(), to = from + random() % (order.size() - from);
      std::vector<int> counts(workers.size());
      for (size_t i = from; i < to; ++i) ++counts[order[i]];
      const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
      ASSERT_LE(*most - *least, 1) << "seed " << seed << ", from " << from << " to " << to;
    }
  }
}

TEST(Balance, RoundRobinPassesOverThoseThatAreFull) {
  Harness h;
  Peer &one = h.worker({"add"}, 1), &many = h.worker({"add"}, 5);
  Peer& client = h.client();
  for (int i = 0; i < 6; ++i) client.submit(h.id(), "add");
  EXPECT_EQ(one.runs.size(), 1u);
  EXPECT_EQ(many.runs.size(), 5u);
}

TEST(Balance, LeastConnectionsPicksTheMostFree) {
  Harness h([](config::Orchestration& c) {
    c.types["add"].load_balancing = config::LoadBalancing::least_connections;
  });
  std::mt19937 random(3);
  std::vector<Peer*> workers = {&h.worker({"add"}, 3), &h.worker({"add"}, 8),
                                &h.worker({"add"}, 5)};
  Peer& client = h.client(false);
  for (int step = 0; step < 2000; ++step) {
    if (random() % 2) {
      size_t most_free = 0;
      for (Peer* w : workers) most_free = std::max(most_free, w->fields.slots - w->runs.size());
      client.submit(h.id(), "add");
      for (Peer* w : workers) {
        if (w->take(Kind::kTask).empty()) continue;
        ASSERT_EQ(w->fields.slots - w->runs.size() + 1, most_free);
      }
    } else {
      Peer& w = *workers[random() % 3];
      if (!w.runs.empty()) w.succeed(w.runs.begin()->first);
      for (Peer* p : workers) p->inbox.clear();
    }
  }
}

TEST(Balance, TasksOfATypeBeginInTheOrderOfTheirAcceptance) {
  Harness h;
  Peer& client = h.client();
  for (int i = 0; i < 50; ++i) client.submit(h.id(), "add", std::to_string(i));
  Peer &a = h.worker({"add"}, 3), &b = h.worker({"add"}, 2);
  int next = 0;
  std::mt19937 random(1);
  std::map<std::string, bool> begun;
  while (next < 50) {
    for (Peer* w : {&a, &b}) {
      for (const Got& task : w->take(Kind::kTask)) begun[*task.body] = true;
    }
    // Whatever runs is a prefix of what was accepted.
    while (begun.count(std::to_string(next))) ++next;
    ASSERT_EQ(begun.size(), static_cast<size_t>(next));
    Peer& w = random() % 2 ? a : b;
    if (!w.runs.empty()) w.succeed(w.runs.begin()->first);
  }
}

TEST(Balance, AFreeSlotGoesToTheTypeWhoseHeadWaitsLongest) {
  Harness h;
  Peer& client = h.client();
  for (const char* type : {"b", "a", "c", "a", "b"}) client.submit(h.id(), type, type);
  Peer& worker = h.worker({"a", "b", "c"}, 1);
  std::string order;
  while (!worker.runs.empty()) {
    Got task = worker.expect(Kind::kTask);
    order += task.name;
    worker.succeed(task.ref);
  }
  EXPECT_EQ(order, "bacab");
}

TEST(Balance, AWorkerGetsWhatItAnnouncedAndNothingElse) {
  Harness h;
  Peer &adds = h.worker({"add"}, 9), &muls = h.worker({"mul"}, 9),
       &both = h.worker({"add", "mul"}, 9);
  Peer& client = h.client();
  for (int i = 0; i < 8; ++i) client.submit(h.id(), i % 2 ? "add" : "mul");
  for (const Got& task : adds.take(Kind::kTask)) EXPECT_EQ(task.name, "add");
  for (const Got& task : muls.take(Kind::kTask)) EXPECT_EQ(task.name, "mul");
  EXPECT_EQ(adds.runs.size() + muls.runs.size() + both.runs.size(), 8u);
  EXPECT_GT(both.runs.size(), 0u);
}

TEST(Balance, AWorkerWithoutTypesOrWithTheSameTypeTwiceIsWell) {
  Harness h;
  Peer& idle = h.worker({}, 5);
  Peer& twice = h.worker({"add", "add"}, 5);
  Peer& client = h.client();
  client.submit(h.id(), "add");
  EXPECT_TRUE(idle.quiet());
  EXPECT_EQ(twice.take(Kind::kTask).size(), 1u);
  twice.send([](Writer& w) { w.bye(""); });
  EXPECT_EQ(h.named("types", "add")["waiting"], 1);
}

TEST(Balance, APeerThatIsBothSubmitsAndWorks) {
  Harness h;
  Peer& both = h.peer({.role = "both", .types = {"add"}});
  both.submit(h.id(), "add", "x");
  both.succeed(both.expect(Kind::kTask).ref, "3");
  EXPECT_EQ(both.expect(Kind::kResult).body, "3");
}

}  // namespace
}  // namespace tusk::core
