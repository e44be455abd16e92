// Order keys, limits of types and keys, groups, and what an operator does about them.
#include <gtest/gtest.h>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

Attrs ordered(std::string_view key = "k") { return Attrs().text(Attribute::kOrderKey, key); }
Attrs limited(std::string_view key = "k") { return Attrs().text(Attribute::kLimitKey, key); }

std::vector<TaskId> ids_of(const std::vector<Got>& tasks) {
  std::vector<TaskId> out;
  for (const Got& task : tasks) out.push_back(task.id);
  return out;
}

// A task in front of its limit key may get another priority, and another place there.
TEST(Limits, ATaskThatIsHeldBackCanBeMoved) {
  Harness h([](config::Orchestration& c) {
    config::TaskType type = c.other_type;
    type.key_concurrency = 1;
    c.types["add"] = type;
  });
  Peer& worker = h.worker({"add"}, 10);
  Peer& client = h.client();
  std::vector<TaskId> ids;
  for (int i = 0; i < 4; ++i) {
    ids.push_back(h.id());
    client.submit(ids.back(), "add", "", limited().text(Attribute::kUnique, std::to_string(i)));
  }
  client.update(ids[3], Attrs().priority(10));
  client.submit(h.id(), "add", "",
                limited()
                    .text(Attribute::kUnique, "2")
                    .number(Attribute::kUniquePolicy, 2)
                    .text(Attribute::kGroup, "g")
                    .priority(5));
  for (int next : {0, 3, 2, 1}) {
    const Got task = worker.expect(Kind::kTask);
    EXPECT_EQ(task.id, ids[static_cast<size_t>(next)]);
    worker.succeed(task.ref);
  }
}

// --- order ---------------------------------------------------------------------------------------

TEST(Order, OneAtATimeInTheOrderOfAcceptanceWhateverThePriority) {
  Harness h;
  Peer& worker = h.worker({"add"}, 10);
  Peer& client = h.client();
  std::vector<TaskId> ids;
  for (int i = 0; i < 5; ++i) {
    ids.push_back(h.id());
    client.submit(ids.back(), "add", "", ordered().priority(i * 10));
  }
  const TaskId other = h.id(), plain = h.id();
  client.submit(other, "add", "", ordered("another"));
  client.submit(plain, "add");
  EXPECT_EQ(ids_of(worker.take(Kind::kTask)), (std::vector<TaskId>{ids[0], other, plain}));
  for (int i = 1; i < 5; ++i) {
    for (auto& [handle, run] : std::map(worker.runs)) {
      if (run.id == ids[i - 1]) worker.succeed(handle);
    }
    EXPECT_EQ(ids_of(worker.take(Kind::kTask)), (std::vector<TaskId>{ids[i]}));
  }
}

TEST(Order, HoldsThroughDelayRetryDeferAndCrash) {
  Harness h([](config::Orchestration& c) { c.other_type.attempts = 2; });
  Peer& worker = h.peer({.role = "worker", .types = {"add"}, .slots = 10, .watched = true});
  Peer& client = h.client();
  const TaskId first = h.id(), second = h.id();
  client.submit(first, "add", "",
                ordered().number(Attribute::kDelay, 1000).backoff(500, 500, 1, 0));
  client.submit(second, "add", "", ordered());
  h.advance(999ms);
  EXPECT_TRUE(worker.quiet());
  h.advance(1ms);
  Got task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.id, first);
  worker.defer(task.ref, 700ms);
  h.advance(700ms);
  task = worker.expect(Kind::kTask);
  worker.fail(task.ref);
  EXPECT_TRUE(worker.quiet());
  h.advance(500ms);
  EXPECT_EQ(worker.expect(Kind::kTask).id, first);
  worker.die();
  Peer& next = h.worker({"add"}, 10);
  task = next.expect(Kind::kTask);
  EXPECT_EQ(task.id, first);
  EXPECT_TRUE(next.quiet());
  next.succeed(task.ref);
  EXPECT_EQ(next.expect(Kind::kTask).id, second);
}

TEST(Order, ADelayBehindAnotherCountsFromTheSubmit) {
  Harness h;
  Peer& worker = h.worker({"add"}, 10);
  Peer& client = h.client();
  client.submit(h.id(), "add", "", ordered());
  client.submit(h.id(), "add", "", ordered().number(Attribute::kDelay, 1000));
  client.submit(h.id(), "add", "", ordered().number(Attribute::kDelay, 100));
  const Got task = worker.expect(Kind::kTask);
  h.advance(400ms);
  worker.succeed(task.ref);
  h.advance(599ms);
  EXPECT_TRUE(worker.quiet());
  h.advance(1ms);
  worker.succeed(worker.expect(Kind::kTask).ref);
  EXPECT_EQ(worker.take(Kind::kTask).size(), 1u) << "its time has passed long ago";
}

TEST(Order, ARunThatOutlivesItsTaskHoldsTheKey) {
  Harness h;
  Peer& worker = h.worker({"add"}, 10);
  Peer& client = h.client();
  const TaskId first = h.id(), second = h.id();
  client.submit(first, "add", "", ordered());
  client.submit(second, "add", "", ordered());
  const Got task = worker.expect(Kind::kTask);
  client.cancel(first);
  h.advance(h.config().tuskd.times.cancel_grace);
  EXPECT_EQ(client.take(Kind::kResult).size(), 1u);
  EXPECT_TRUE(worker.take(Kind::kTask).empty()) << "two of one key at a time";
  worker.cancelled(task.ref);
  EXPECT_EQ(worker.expect(Kind::kCancel).ref, task.ref);
  EXPECT_EQ(worker.expect(Kind::kTask).id, second);
}

TEST(Order, ThoseBehindMayBeCancelledExpireOrChange) {
  Harness h;
  Peer& worker = h.worker({"add"}, 10);
  Peer& client = h.client();
  const TaskId a = h.id(), b = h.id(), c = h.id(), d = h.id();
  client.submit(a, "add", "", ordered());
  client.submit(b, "add", "", ordered());
  client.submit(c, "add", "", ordered().number(Attribute::kDeadline, 1000));
  client.submit(d, "add", "", ordered());
  client.cancel(b);
  client.update(d, {}, "new");
  h.advance(1s);
  EXPECT_EQ(client.take(Kind::kResult).size(), 2u);
  worker.succeed(worker.expect(Kind::kTask).ref);
  const Got task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.id, d);
  EXPECT_EQ(task.body, "new");
}

TEST(Order, ADeadOneIsSkippedOrBlocksUntilAnOperatorSaysSo) {
  for (const bool blocks : {false, true}) {
    Harness h([&](config::Orchestration& c) {
      c.types["add"].order_on_dead = blocks ? config::OnDead::block : config::OnDead::skip;
    });
    Peer& worker = h.worker({"add"}, 10);
    Peer& client = h.client();
    for (int i = 0; i < 2; ++i) client.submit(h.id(), "add", "", ordered());
    worker.fail(worker.expect(Kind::kTask).ref);
    if (!blocks) {
      worker.expect(Kind::kTask);
      continue;
    }
    h.advance(1h);
    client.submit(h.id(), "add", "", ordered());
    EXPECT_TRUE(worker.quiet());
    client.inbox.clear();
    auto unblock = [&](const char* key) {
      return client.control("unblock", [&](Writer& w) {
        w.packer().pack_map(2);
        w.text("type"), w.text("add"), w.text("key"), w.text(key);
      });
    };
    EXPECT_EQ(unblock("another")["done"], false);
    EXPECT_EQ(unblock("k")["done"], true);
    worker.succeed(worker.expect(Kind::kTask).ref);
    worker.expect(Kind::kTask);
    client.inbox.clear();
    EXPECT_EQ(unblock("k")["done"], false);
  }
}

TEST(Order, AUniqueFollowUpTakesItsPlaceInTheOrderWhenItBegins) {
  Harness h;
  Peer& worker = h.worker({"add"}, 10);
  Peer& client = h.client();
  auto both = [&] {
    return ordered().text(Attribute::kUnique, "u").number(Attribute::kUniquePolicy, 4);
  };
  const TaskId first = h.id(), follow_up = h.id(), third = h.id();
  client.submit(first, "add", "", both());
  client.submit(follow_up, "add", "", both());
  client.submit(third, "add", "", ordered());
  worker.succeed(worker.expect(Kind::kTask).ref);
  h.advance(0ms);
  Got task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.id, third);
  EXPECT_TRUE(worker.quiet());
  worker.succeed(task.ref);
  EXPECT_EQ(worker.expect(Kind::kTask).id, follow_up);
}

// --- limits of a type ----------------------------------------------------------------------------

TEST(Limits, ConcurrencyOfATypeHoldsOverAllWorkersAndOthersGoOn) {
  Harness h([](config::Orchestration& c) { c.types["add"].concurrency = 3; });
  Peer& a = h.worker({"add", "mul"}, 5);
  Peer& b = h.worker({"add"}, 5);
  Peer& client = h.client();
  for (int i = 0; i < 6; ++i) client.submit(h.id(), "add");
  client.submit(h.id(), "mul");
  EXPECT_EQ(a.runs.size() + b.runs.size(), 3u + 1u);
  Peer& idle = h.worker({"add"}, 5);
  EXPECT_TRUE(idle.quiet());
  std::vector<std::pair<Peer*, uint64_t>> runs;
  for (Peer* worker : {&a, &b}) {
    for (auto& [handle, run] : worker->runs) {
      if (run.name == "add") runs.emplace_back(worker, handle);
    }
  }
  for (auto& [worker, handle] : runs) worker->succeed(handle);
  EXPECT_EQ(a.runs.size() + b.runs.size() + idle.runs.size(), 3u + 1u);
  EXPECT_FALSE(idle.runs.empty()) << "the worker with the oldest dispatch";
}

TEST(Limits, ARateLetsStartABurstAndThenSoManyASecond) {
  Harness h([](config::Orchestration& c) {
    c.types["add"].rate = config::Rate{10};
    c.types["add"].burst = 5;
  });
  Peer& worker = h.worker({"add"}, 1000);
  Peer& client = h.client();
  for (int i = 0; i < 100; ++i) client.submit(h.id(), "add");
  EXPECT_EQ(worker.take(Kind::kTask).size(), 5u);
  for (int i = 0; i < 20; ++i) {
    h.advance(100ms);
    EXPECT_LE(worker.take(Kind::kTask).size(), 1u) << i;
  }
  EXPECT_NEAR(static_cast<double>(worker.runs.size()), 5 + 20, 1);
}

TEST(Limits, ACostGoesIntoDebtAndIsCorrectedByTheResult) {
  Harness h([](config::Orchestration& c) {
    c.types["add"].rate = config::Rate{10};
    c.types["add"].burst = 10;
  });
  Peer& worker = h.worker({"add"}, 1000);
  Peer& client = h.client();
  client.submit(h.id(), "add", "", Attrs().number(Attribute::kCost, 30));
  client.submit(h.id(), "add");
  const Got task = worker.expect(Kind::kTask);
  h.advance(1999ms);
  EXPECT_TRUE(worker.quiet()) << "20 units of debt at 10 a second";
  h.advance(2ms);
  worker.expect(Kind::kTask);
  client.submit(h.id(), "add");
  EXPECT_TRUE(worker.quiet());
  worker.succeed(task.ref, "", Attrs().number(Attribute::kCost, 20));
  EXPECT_EQ(worker.take(Kind::kTask).size(), 1u) << "10 units came back";
  EXPECT_EQ(client.take(Kind::kResult).size(), 1u);
}

TEST(Limits, ARunThatIsGivenBackCostsNothing) {
  Harness h([](config::Orchestration& c) {
    c.types["add"].rate = config::Rate{0.001};
    c.types["add"].burst = 2;
  });
  Peer& worker = h.worker({"add"}, 1000);
  Peer& client = h.client();
  for (int i = 0; i < 3; ++i) client.submit(h.id(), "add");
  std::vector<Got> tasks = worker.take(Kind::kTask);
  ASSERT_EQ(tasks.size(), 2u);
  worker.give_back({tasks[0].ref});
  tasks = worker.take(Kind::kTask);
  ASSERT_EQ(tasks.size(), 1u) << "its token is there again, and another's turn or its own";
  h.advance(1h);
  EXPECT_EQ(worker.take(Kind::kTask).size(), 1u);
}

// The run may have done something: a bucket that got it back would let more run than its rate.
TEST(Limits, ARunThatEndedOnItsOwnHasCostSomething) {
  Harness h([](config::Orchestration& c) {
    c.types["add"].rate = config::Rate{1};
    c.types["add"].burst = 1;
  });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add", "", Attrs().number(Attribute::kCost, 3));
  worker.cancelled(worker.expect(Kind::kTask).ref);
  h.advance(1999ms);
  EXPECT_TRUE(worker.quiet());
  h.advance(2ms);
  worker.expect(Kind::kTask);
}

TEST(Limits, AReloadChangesThemAtOnce) {
  Harness h([](config::Orchestration& c) { c.types["add"].concurrency = 1; });
  Peer& worker = h.worker({"add"}, 100);
  Peer& client = h.client();
  for (int i = 0; i < 10; ++i) client.submit(h.id(), "add");
  EXPECT_EQ(worker.runs.size(), 1u);
  h.reload([](config::Orchestration& c) { c.types["add"].concurrency = 4; });
  EXPECT_EQ(worker.runs.size(), 4u);
  h.reload([](config::Orchestration& c) {
    c.types["add"].concurrency.reset();
    c.types["add"].rate = config::Rate{1};
    c.types["add"].burst = 2;
  });
  EXPECT_EQ(worker.runs.size(), 6u);
  h.reload([](config::Orchestration& c) { c.types["add"].rate.reset(); });
  EXPECT_EQ(worker.runs.size(), 10u);
}

// --- limits of a key -----------------------------------------------------------------------------

TEST(LimitKeys, ConcurrencyIsOfEachKeyAndTheHighestPriorityIsLetInFirst) {
  Harness h([](config::Orchestration& c) { c.types["add"].key_concurrency = 2; });
  Peer& worker = h.worker({"add"}, 100);
  Peer& client = h.client();
  std::vector<TaskId> ids;
  for (int i = 0; i < 5; ++i) {
    ids.push_back(h.id());
    client.submit(ids.back(), "add", "", limited().priority(i));
  }
  client.submit(h.id(), "add", "", limited("another"));
  client.submit(h.id(), "add");
  EXPECT_EQ(worker.take(Kind::kTask).size(), 4u);
  for (auto& [handle, run] : std::map(worker.runs)) {
    if (run.id == ids[0]) worker.succeed(handle);
  }
  EXPECT_EQ(worker.expect(Kind::kTask).id, ids[4]);
}

TEST(LimitKeys, ATaskBetweenTwoRunsLeavesItsPlaceToAnother) {
  Harness h([](config::Orchestration& c) {
    c.types["add"].key_concurrency = 1;
    c.types["add"].attempts = 3;
  });
  Peer& worker = h.worker({"add"}, 100);
  Peer& client = h.client();
  const TaskId first = h.id(), second = h.id();
  client.submit(first, "add", "", limited().backoff(1000, 1000, 1, 0));
  client.submit(second, "add", "", limited());
  worker.fail(worker.expect(Kind::kTask).ref);
  const Got task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.id, second);
  h.advance(1s);
  EXPECT_TRUE(worker.quiet());
  worker.succeed(task.ref);
  EXPECT_EQ(worker.expect(Kind::kTask).id, first);
}

// The only task of its key was nowhere inside and its key was forgotten: the broker crashed.
TEST(LimitKeys, AreKeptForATaskThatIsDelayed) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "", limited().number(Attribute::kAttempts, 2).backoff(100, 100, 1, 0));
  worker.fail(worker.expect(Kind::kTask).ref);
  h.advance(100ms);
  EXPECT_EQ(worker.expect(Kind::kTask).id, id);
}

TEST(LimitKeys, HoldATaskThatWaitedForItsWorkersClaim) {
  Harness h([](config::Orchestration& c) { c.types["add"].key_concurrency = 1; });
  Peer& worker = h.worker({"add"}, 2);
  Peer& client = h.client();
  client.submit(h.id(), "add", "", limited());
  worker.expect(Kind::kTask);
  client.submit(h.id(), "add", "", limited().flag(Attribute::kResent));
  h.advance(10s);
  EXPECT_TRUE(worker.take(Kind::kTask).empty());
}

TEST(LimitKeys, ARateIsPaidWhenTheRunStartsNotWhenItIsLetIn) {
  Harness h([](config::Orchestration& c) {
    c.types["add"].key_rate = config::Rate{10};
    c.types["add"].key_burst = 3;
    c.types["add"].unserved = config::Unserved::wait;
  });
  Peer& client = h.client();
  for (int i = 0; i < 50; ++i) client.submit(h.id(), "add", "", limited());
  h.advance(10s);  // nobody serves it
  Peer& worker = h.worker({"add"}, 100);
  EXPECT_EQ(worker.take(Kind::kTask).size(), 3u);
  h.advance(1s);
  const size_t next = worker.take(Kind::kTask).size();
  EXPECT_GE(next, 9u);
  EXPECT_LE(next, 10u);
}

TEST(LimitKeys, ATaskThatRunsAgainWaitsForItsRate) {
  Harness h([](config::Orchestration& c) {
    c.types["add"].key_rate = config::Rate{1};
    c.types["add"].key_burst = 1;
  });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add", "",
                Attrs().text(Attribute::kLimitKey, "k").number(Attribute::kCost, 3));
  worker.cancelled(worker.expect(Kind::kTask).ref);
  h.advance(1999ms);
  EXPECT_TRUE(worker.quiet());
  h.advance(2ms);
  EXPECT_EQ(worker.expect(Kind::kTask).attempt, 2u);
}

TEST(LimitKeys, AreForgottenWhenNobodyUsesThemAndTheirBucketIsFull) {
  Harness h([](config::Orchestration& c) {
    c.types["add"].key_rate = config::Rate{1};
    c.types["add"].key_burst = 5;
  });
  Peer& worker = h.worker({"add"}, 100);
  Peer& client = h.client();
  for (int i = 0; i < 5; ++i) client.submit(h.id(), "add", "", limited());
  for (auto& [handle, run] : std::map(worker.runs)) worker.succeed(handle);
  h.advance(2s);
  for (int i = 0; i < 5; ++i) client.submit(h.id(), "add", "", limited());
  EXPECT_EQ(worker.runs.size(), 2u) << "the debt outlives the tasks";
  h.advance(1min);
  for (auto& [handle, run] : std::map(worker.runs)) worker.succeed(handle);
  client.ack();
  h.advance(1min);
  EXPECT_EQ(BrokerInspector::gates(*h.broker), 0u);
}

TEST(LimitKeys, ADeathOrACancelNeverLosesAPlace) {
  Harness h([](config::Orchestration& c) { c.types["add"].key_concurrency = 1; });
  Peer& client = h.client();
  Peer* worker = &h.peer({.role = "worker", .types = {"add"}, .slots = 5, .watched = true});
  std::vector<TaskId> ids;
  for (int i = 0; i < 6; ++i) {
    ids.push_back(h.id());
    client.submit(ids.back(), "add", "", limited());
  }
  client.cancel(ids[3]);
  worker->die();  // the first runs again, as a suspect
  worker = &h.peer({.role = "worker", .types = {"add"}, .slots = 5, .watched = true});
  EXPECT_EQ(worker->expect(Kind::kTask).id, ids[0]);
  worker->die();  // and is dead
  worker = &h.worker({"add"}, 5);
  for (int i : {1, 2, 4, 5}) {
    const Got task = worker->expect(Kind::kTask);
    EXPECT_EQ(task.id, ids[i]);
    EXPECT_TRUE(worker->quiet());
    worker->succeed(task.ref);
  }
  client.ack();
  h.advance(1min);
  h.expect_empty();
}

// --- groups --------------------------------------------------------------------------------------

TEST(Groups, TakeTurnsAndOneTenantsManyDelayAnothersFirstByOneTurn) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  uint64_t run = worker.expect(Kind::kTask).ref;
  auto of = [](const char* group) { return Attrs().text(Attribute::kGroup, group); };
  for (int i = 0; i < 1000; ++i) client.submit(h.id(), "add", "", of("big"));
  const TaskId small = h.id(), small_2 = h.id(), plain = h.id();
  client.submit(small, "add", "", of("small"));
  client.submit(small_2, "add", "", of("small"));
  client.submit(plain, "add");
  std::vector<TaskId> order;
  for (int i = 0; i < 6; ++i) {
    worker.succeed(run);
    const Got task = worker.expect(Kind::kTask);
    order.push_back(task.id);
    run = task.ref;
    EXPECT_EQ(task.has(Attribute::kGroup), task.id != plain) << "the worker sees it";
    if (task.id == plain) break;
  }
  EXPECT_EQ(order[1], small);
  EXPECT_EQ(order[2], plain);
}

TEST(Groups, OneWhoseTaskIsCancelledKeepsItsTurn) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const uint64_t run = worker.expect(Kind::kTask).ref;
  auto of = [](const char* group) { return Attrs().text(Attribute::kGroup, group); };
  const TaskId a = h.id(), a2 = h.id(), b = h.id();
  client.submit(a, "add", "", of("a"));
  client.submit(a2, "add", "", of("a"));
  client.submit(b, "add", "", of("b"));
  client.cancel(a);
  worker.succeed(run);
  EXPECT_EQ(worker.expect(Kind::kTask).id, a2);
}

TEST(Groups, AreOfOnePriority) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const uint64_t run = worker.expect(Kind::kTask).ref;
  const TaskId low = h.id(), a = h.id(), b = h.id(), a2 = h.id();
  client.submit(low, "add", "", Attrs().text(Attribute::kGroup, "x").priority(-10));
  client.submit(a, "add", "", Attrs().text(Attribute::kGroup, "a"));
  client.submit(a2, "add", "", Attrs().text(Attribute::kGroup, "a"));
  client.submit(b, "add", "", Attrs().text(Attribute::kGroup, "b"));
  worker.succeed(run);
  for (const TaskId& id : {a, b, a2, low}) {
    const Got task = worker.expect(Kind::kTask);
    EXPECT_EQ(task.id, id);
    worker.succeed(task.ref);
  }
}

// --- control -------------------------------------------------------------------------------------

TEST(Control, PausesATypeForAnOperator) {
  Harness h;
  Peer& worker = h.worker({"add"}, 5);
  Peer& client = h.client();
  auto pause = [&](uint64_t ms) {
    return client.control("pause", [&](Writer& w) {
      w.packer().pack_map(2);
      w.text("type"), w.text("add"), w.text("ms");
      w.packer().pack_uint64(ms);
    });
  };
  EXPECT_EQ(pause(5000)["done"], true);
  client.submit(h.id(), "add");
  EXPECT_TRUE(worker.quiet());
  EXPECT_EQ(pause(0)["done"], true);
  EXPECT_EQ(pause(0)["done"], false) << "it is not paused any longer";
  EXPECT_EQ(worker.take(Kind::kTask).size(), 1u);
}

TEST(Control, SaysWhatIsWrong) {
  Harness h;
  Peer& client = h.client();
  h.worker({"add"});
  auto refused = [&](const char* what, std::map<std::string, std::string> arguments) {
    client.send([&](Writer& w) {
      w.start(Kind::kControl, 4).pack_uint64(client.request());
      w.text(what);
      w.packer().pack_map(static_cast<uint32_t>(arguments.size()));
      for (auto& [key, value] : arguments) w.text(key), w.text(value);
    });
    return client.expect_error(code::kInvalid).value["field"].get<std::string>();
  };
  EXPECT_EQ(refused("stop", {}), "what");
  EXPECT_EQ(refused("pause", {}), "type");
  EXPECT_EQ(refused("pause", {{"type", "nothing"}}), "type");
  EXPECT_EQ(refused("pause", {{"type", "add"}, {"ms", "1s"}}), "ms");
  EXPECT_EQ(refused("unblock", {{"type", "add"}}), "key");
}

}  // namespace
}  // namespace tusk::core
