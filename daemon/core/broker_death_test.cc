// Workers that die, go silent or come back: what becomes of what they ran.
#include <gtest/gtest.h>

#include <random>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

class Death : public ::testing::Test {
 protected:
  explicit Death(const std::function<void(config::Orchestration&)>& change = {}) : h(change) {}

  // A worker whose process the broker watches.
  Peer& worker(uint64_t slots = 1) {
    return h.peer({.role = "worker", .types = {"add"}, .slots = slots, .watched = true});
  }
  TaskId submit(const std::string& body = "x") {
    const TaskId id = h.id();
    client.submit(id, "add", body);
    return id;
  }

  Harness h;
  Peer& client = h.client();
};

TEST_F(Death, TheFirstRedeliveryIsAtOnceInBothOrdersOfTheNews) {
  for (bool process_first : {false, true}) {
    Peer& a = worker();
    submit();
    EXPECT_EQ(a.expect(Kind::kTask).attempt, 1u);
    Peer& b = worker();
    a.die(process_first);
    Got again = b.expect(Kind::kTask);
    EXPECT_EQ(again.attempt, 2u);
    EXPECT_EQ(again.body, "x");
    b.succeed(again.ref, "3");
    EXPECT_EQ(client.expect(Kind::kResult).state, State::kSucceeded);
    b.die();
  }
  EXPECT_EQ(h.counters().crashed, 2u);
  EXPECT_EQ(h.counters().requeued, 0u);
}

TEST_F(Death, TheLastResultsOfADeadWorkerCount) {
  Peer& a = worker();
  submit();
  const uint64_t handle = a.expect(Kind::kTask).ref;
  h.handle(ProcessEnded{a.session});
  a.succeed(handle, "3");  // read before the connection's end
  a.disconnect();
  EXPECT_EQ(client.expect(Kind::kResult).body, "3");
  EXPECT_EQ(h.counters().crashed, 0u);
}

TEST_F(Death, AForkedChildThatHoldsTheConnectionDelaysItByFiftyMilliseconds) {
  Peer& a = worker();
  submit();
  a.expect(Kind::kTask);
  Peer& b = worker();
  h.handle(ProcessEnded{a.session});
  h.advance(49ms);
  EXPECT_TRUE(b.quiet());
  h.advance(1ms);
  EXPECT_EQ(b.expect(Kind::kTask).attempt, 2u);
  EXPECT_EQ(h.counters().crashed, 1u);
  a.send([](Writer& w) { w.ping(1); });
  a.expect_error(code::kStaleSession);  // the child speaks for nobody
}

TEST_F(Death, OfAMinimalWorkerIsChargedIfItsProcessIsWatched) {
  for (bool process_first : {false, true}) {
    Peer& a = h.peer({.role = "worker", .acks = false, .types = {"add"}, .watched = true});
    submit();
    a.expect(Kind::kTask);
    a.die(process_first);
    Peer& b = h.peer({.role = "worker", .acks = false, .types = {"add"}, .watched = true});
    Got again = b.expect(Kind::kTask);
    EXPECT_EQ(again.attempt, 2u);
    b.die(process_first);
    EXPECT_EQ(client.expect(Kind::kResult).state, State::kDead);
  }
  EXPECT_EQ(h.counters().crashed, 4u);
}

TEST_F(Death, OfAMinimalWorkersConnectionAloneIsNotCharged) {
  Peer& unknown = h.peer({.role = "worker", .acks = false, .types = {"add"}});
  submit();
  unknown.expect(Kind::kTask);
  unknown.disconnect();
  Peer& watched = h.peer({.role = "worker", .acks = false, .types = {"add"}, .watched = true});
  watched.expect(Kind::kTask);
  watched.disconnect();
  h.advance(50ms);
  EXPECT_EQ(BrokerInspector::live_sessions(*h.broker), 1u) << "the client's";
  EXPECT_EQ(worker().expect(Kind::kTask).attempt, 3u);
  EXPECT_EQ(h.counters().crashed, 0u);
  EXPECT_EQ(h.counters().requeued, 2u);
}

// --- suspects ------------------------------------------------------------------------------------

TEST_F(Death, BothTasksOfADeadWorkerAreSuspectsAndRunOnWorkersOfTheirOwn) {
  Peer& a = worker(2);
  submit("1");
  submit("2");
  a.take(Kind::kTask);
  a.die();
  Peer& b = worker(4);
  EXPECT_EQ(b.take(Kind::kTask).size(), 1u) << "one suspect at a time";
  submit("innocent");
  EXPECT_EQ(b.take(Kind::kTask).size(), 1u) << "others may run beside it";
  Peer& c = worker(4);
  Got second = c.expect(Kind::kTask);
  EXPECT_EQ(second.body, "2");
  c.succeed(second.ref);
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kSucceeded);
}

TEST_F(Death, OfAWorkerWithASuspectChargesOnlyIt) {
  Peer& a = worker();
  const TaskId bad = submit("bad");
  a.take(Kind::kTask);
  a.die();
  Peer& b = worker(3);
  EXPECT_EQ(b.expect(Kind::kTask).body, "bad");
  submit("1");
  submit("2");
  EXPECT_EQ(b.take(Kind::kTask).size(), 2u);
  b.die();
  Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.state, State::kDead);
  EXPECT_EQ(result.at(Attribute::kAttempt), 2);
  EXPECT_EQ(result.at(Attribute::kWorker), b.fields.name);
  EXPECT_EQ(result.at(Attribute::kError)["type"], "WorkerDied");
  const std::string why = result.at(Attribute::kError)["message"];
  EXPECT_NE(why.find("2 workers died"), why.npos) << why;
  EXPECT_NE(why.find(b.fields.name), why.npos) << why;
  EXPECT_TRUE(h.logged(bad.hex())) << "the operator learns of it";
  Peer& c = worker(3);
  auto free = c.take(Kind::kTask);
  ASSERT_EQ(free.size(), 2u);
  c.die();
  EXPECT_TRUE(client.quiet()) << "neither had been charged before";
  EXPECT_EQ(h.counters().requeued, 2u);
}

TEST_F(Death, ASuspectGoesBeforeOthersToAFreeSlot) {
  Peer& a = worker();
  submit("suspect");
  submit("1");
  a.take(Kind::kTask);
  a.die();
  EXPECT_EQ(worker().expect(Kind::kTask).body, "suspect");
}

TEST_F(Death, ABadTaskCostsMaxCrashesWorkersAndEndsNoOtherTask) {
  std::mt19937 random(5);
  for (int round = 0; round < 20; ++round) {
    std::vector<Peer*> workers;
    for (int i = 0; i < 6; ++i) workers.push_back(&worker(4));
    std::map<TaskId, std::string> bodies;
    const size_t bad = random() % 30;
    std::map<uint64_t, bool> is_bad;  // by request
    for (size_t i = 0; i < 30; ++i) {
      is_bad[client.submit(h.id(), "add", i == bad ? "bad" : "good")] = i == bad;
    }
    size_t deaths = 0;
    for (bool any = true; any;) {
      any = false;
      for (Peer*& w : workers) {
        if (!w || w->runs.empty()) continue;
        any = true;
        w->inbox.clear();
        auto it = std::find_if(w->runs.begin(), w->runs.end(),
                               [](auto& run) { return run.second.body == "bad"; });
        if (it != w->runs.end()) {
          w->die();
          w = nullptr;
          ++deaths;
          break;
        }
        w->succeed(w->runs.begin()->first);
      }
      h.advance(1ms);
    }
    EXPECT_EQ(deaths, 2u);
    auto results = client.take(Kind::kResult);
    EXPECT_EQ(results.size(), 30u);
    for (const Got& r : results) {
      EXPECT_EQ(r.state, is_bad[r.ref] ? State::kDead : State::kSucceeded);
    }
    client.ack();
    for (Peer* w : workers) {
      if (w) w->send([](Writer& out) { out.bye("done"); });
    }
  }
  h.expect_empty();
}

class ManyDeaths : public Death {
 protected:
  ManyDeaths()
      : Death([](config::Orchestration& c) {
          c.tuskd.limits.max_crashes = 4;
          c.tuskd.times.retry_backoff = 100ms;
        }) {}
};

TEST_F(ManyDeaths, FromTheSecondRedeliveryOnBackOff) {
  submit();
  for (int crash = 0; crash < 4; ++crash) {
    Peer& w = worker();
    Duration waited{};
    for (; w.quiet() && waited < 5s; waited += 5ms) h.advance(5ms);
    const Duration nominal = crash < 2 ? 0ms : 100ms * (1 << (crash - 2));
    EXPECT_GE(waited, nominal * 3 / 4) << crash;
    EXPECT_LE(waited, nominal * 5 / 4 + 5ms) << crash;
    EXPECT_EQ(w.expect(Kind::kTask).attempt, crash + 1u);
    w.die();
  }
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kDead);
}

TEST_F(Death, TheAttributeCrashedChargesTheTaskAndNotItsNeighbours) {
  Peer& a = worker(3);
  submit("bad");
  submit("good");
  auto runs = a.take(Kind::kTask);
  a.fail(runs[0].ref, Attrs().flag(Attribute::kCrashed).error("Died", "signal 11"));
  Got again = a.expect(Kind::kTask);
  EXPECT_EQ(again.body, "bad") << "at once, another process of the same worker";
  EXPECT_EQ(again.attempt, 2u);
  a.fail(again.ref, Attrs().flag(Attribute::kCrashed));
  Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.state, State::kDead);
  EXPECT_EQ(result.at(Attribute::kWorker), a.fields.name);
  a.succeed(runs[1].ref, "3");
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kSucceeded);
}

TEST_F(Death, OfAWorkerThatWasAskedToCancelIsTheCancel) {
  Peer& a = worker();
  const TaskId id = submit();
  client.cancel(id);
  client.expect(Kind::kAnswer);
  a.die();
  Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.state, State::kCancelled);
  EXPECT_EQ(result.at(Attribute::kWorker), a.fields.name);
}

// --- connections that are cut --------------------------------------------------------------------

TEST_F(Death, ACutConnectionIsNoneTasksStayForReconnectGraceThenMoveUncharged) {
  Peer& a = worker();
  submit();
  a.expect(Kind::kTask);
  Peer& b = worker();
  a.disconnect();
  h.advance(999ms);
  EXPECT_TRUE(b.quiet());
  h.advance(1ms);
  EXPECT_EQ(b.expect(Kind::kTask).attempt, 2u);
  EXPECT_EQ(h.counters().crashed, 0u);
  EXPECT_EQ(h.counters().requeued, 1u);
}

TEST_F(Death, AWorkerThatComesBackWithinItsGraceKeepsEverything) {
  Peer& a = worker(2);
  submit("1");
  submit("2");
  auto runs = a.take(Kind::kTask);
  Peer& b = worker(2);
  a.disconnect();
  a.succeed(runs[0].ref, "3");  // kept by the worker
  h.advance(900ms);
  a.come_back();
  EXPECT_EQ(a.welcome["resumed"], true);
  EXPECT_EQ(client.expect(Kind::kResult).body, "3");
  a.succeed(runs[1].ref, "4");
  EXPECT_EQ(client.expect(Kind::kResult).body, "4");
  h.advance(10s);
  EXPECT_TRUE(b.quiet());
  EXPECT_EQ(h.counters().dispatched, 2u);
  submit();
  submit();
  submit();
  EXPECT_FALSE(a.quiet()) << "it gets tasks again";
}

TEST_F(Death, ATaskThatWasOnItsWayWhenTheConnectionWasCutArrivesOnce) {
  Peer& a = worker();
  submit();
  a.disconnect();
  a.lose_behind(0);
  a.come_back();
  a.succeed(a.expect(Kind::kTask).ref, "3");
  EXPECT_EQ(client.expect(Kind::kResult).body, "3");
  EXPECT_EQ(h.counters().dispatched, 1u);
}

// What it never saw of its old runs must not run beside what it gets now.
TEST_F(Death, AWorkerThatComesBackAfterItsGraceDoesNotRunWhatWentElsewhere) {
  Peer& a = worker();
  submit("1");
  a.disconnect();
  a.lose_behind(0);  // the task was lost on the way
  Peer& b = worker();
  h.advance(2s);
  b.succeed(b.expect(Kind::kTask).ref, "3");
  EXPECT_EQ(client.expect(Kind::kResult).body, "3");
  b.slots(0);
  a.checks_slots = false;
  a.come_back();
  EXPECT_EQ(a.welcome["resumed"], true);
  submit("2");
  std::vector<uint64_t> told;
  while (!a.quiet()) {
    Got got = std::move(a.inbox.front());
    a.inbox.pop_front();
    if (got.kind == Kind::kTask && got.body == "1") told.push_back(got.ref);
    if (got.kind == Kind::kCancel) std::erase(told, got.ref);
    if (got.kind == Kind::kTask && got.body == "2") {
      EXPECT_TRUE(told.empty()) << "cancelled before the next one comes";
      a.succeed(got.ref, "4");
    }
  }
  EXPECT_TRUE(told.empty());
  EXPECT_EQ(client.expect(Kind::kResult).body, "4");
}

TEST_F(Death, AfterItsGraceAWorkersTypesAreNotServedUntilItComesBack) {
  Peer& a = worker();
  a.disconnect();
  h.advance(2s);
  submit();
  h.advance(11s);
  EXPECT_TRUE(h.logged("\"add\" wait")) << "the operator learns that nobody serves it";
  a.come_back();
  a.succeed(a.expect(Kind::kTask).ref);
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kSucceeded);
}

TEST_F(Death, ByeGivesTheRunsToOthersUncharged) {
  Peer& a = worker();
  submit();
  a.take(Kind::kTask);
  Peer& b = worker();
  a.send([](Writer& w) { w.bye("stopping"); });
  EXPECT_EQ(b.expect(Kind::kTask).attempt, 2u);
  h.handle(ProcessEnded{a.session});  // too late to matter
  EXPECT_EQ(h.counters().crashed, 0u);
}

TEST_F(Death, KnownWhileTheConnectionIsAwayIsAtOnce) {
  Peer& a = worker();
  submit();
  a.take(Kind::kTask);
  Peer& b = worker();
  a.disconnect();
  h.advance(100ms);
  EXPECT_TRUE(b.quiet());
  h.handle(ProcessEnded{a.session});
  b.expect(Kind::kTask);
  EXPECT_EQ(h.counters().crashed, 1u);
}

TEST_F(Death, RequeuedTasksGetTheirPlacesBack) {
  Peer& a = worker(3);
  for (const char* body : {"1", "2", "3", "4", "5"}) submit(body);
  a.take(Kind::kTask);
  a.send([](Writer& w) { w.bye("stopping"); });
  Peer& b = worker(1);
  for (const char* body : {"1", "2", "3", "4", "5"}) {
    Got task = b.expect(Kind::kTask);
    EXPECT_EQ(task.body, body);
    b.succeed(task.ref);
  }
}

}  // namespace
}  // namespace tusk::core
