// What a submit may ask for: priority, times, retries; and what a run may say and leave behind.
#include <gtest/gtest.h>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

Attrs with(Attribute key, Duration time) {
  return Attrs().number(key, static_cast<uint64_t>(milliseconds(time)));
}

// The ids in the order in which a worker of one slot gets them.
std::vector<TaskId> drain(Peer& worker) {
  std::vector<TaskId> order;
  for (auto tasks = worker.take(Kind::kTask); !tasks.empty(); tasks = worker.take(Kind::kTask)) {
    EXPECT_EQ(tasks.size(), 1u);
    order.push_back(tasks[0].id);
    worker.succeed(tasks[0].ref);
  }
  return order;
}

// --- priority ------------------------------------------------------------------------------------

TEST(Priority, TheHighestIsNextAndOfThoseTheFirst) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId first = h.id(), low = h.id(), a = h.id(), high = h.id(), b = h.id();
  client.submit(first, "add");
  client.submit(low, "add", "", Attrs().priority(-10));
  client.submit(a, "add");
  client.submit(high, "add", "", Attrs().priority(20));
  client.submit(b, "add", "", Attrs().priority(0));
  EXPECT_EQ(drain(worker), (std::vector<TaskId>{first, high, a, b, low}));
}

TEST(Priority, IsThatOfTheTypeUnlessTheSubmitSaysAnother) {
  Harness h([](config::Orchestration& c) { c.types["urgent"].priority.level = 10; });
  Peer& worker = h.worker({"add", "urgent"});
  Peer& client = h.client();
  const TaskId first = h.id(), plain = h.id(), urgent = h.id(), less = h.id();
  client.submit(first, "add");
  client.submit(plain, "add");
  client.submit(less, "urgent", "", Attrs().priority(-1));
  client.submit(urgent, "urgent");
  EXPECT_EQ(drain(worker), (std::vector<TaskId>{first, urgent, plain, less}));
}

TEST(Priority, TheLowestIsNotStarved) {
  Harness h([](config::Orchestration& c) {
    c.tuskd.times.ageing = 10s;
    c.tuskd.limits.ageing_share = 4;
  });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const TaskId low = h.id();
  client.submit(low, "add", "", Attrs().priority(-100));
  int runs = 0;
  for (Got task = worker.expect(Kind::kTask); task.id != low; task = worker.expect(Kind::kTask)) {
    client.submit(h.id(), "add", "", Attrs().priority(100));
    h.advance(1s);
    worker.succeed(task.ref);
    ASSERT_LT(++runs, 100);
  }
  EXPECT_EQ(runs, 10 + 3) << "it ages for ten seconds, and three pass over it then";
}

// --- delay ---------------------------------------------------------------------------------------

TEST(Delay, HoldsTheTaskAndThenItStandsBehindThoseThatWait) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId delayed = h.id(), busy = h.id(), waits = h.id();
  client.submit(delayed, "add", "", with(Attribute::kDelay, 1s));
  EXPECT_TRUE(worker.quiet());
  EXPECT_EQ(client.query("task", &delayed)["state"], "delayed");
  client.submit(busy, "add");
  client.submit(waits, "add");
  h.advance(999ms);
  EXPECT_EQ(client.query("task", &delayed)["state"], "delayed");
  h.advance(1ms);
  EXPECT_EQ(client.query("task", &delayed)["state"], "waiting");
  EXPECT_EQ(drain(worker), (std::vector<TaskId>{busy, waits, delayed}));
}

TEST(Delay, OfTheTypeIsItsDefault) {
  Harness h([](config::Orchestration& c) { c.types["add"].delay = 2s; });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const TaskId at_once = h.id();
  client.submit(at_once, "add", "", Attrs().number(Attribute::kDelay, 0));
  EXPECT_EQ(worker.expect(Kind::kTask).id, at_once);
  h.advance(2s);
  EXPECT_EQ(client.query("status")["waiting"], 1);
}

TEST(Delay, ACancelEndsItAtOnce) {
  Harness h;
  h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "", with(Attribute::kDelay, 1h));
  client.cancel(id);
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kCancelled);
  EXPECT_EQ(client.expect(Kind::kAnswer).value["state"], "cancelled");
}

TEST(Delay, ManyDueAtOnceDoNotStallWhatArrives) {
  Harness h;
  h.checks = false;
  Peer& worker = h.peer({.role = "worker", .acks = false, .types = {"add"}, .slots = 20'000});
  Peer& client = h.client();
  for (int i = 0; i < 10'000; ++i) {
    client.submit(h.id(), "add", "", with(Attribute::kDelay, 1s));
  }
  EXPECT_TRUE(worker.quiet());
  // One event at the time when they are due: it is not behind all of them.
  const Time due = h.now() + 1s;
  Actions actions;
  h.broker->handle(Tick{}, due, actions);
  h.broker->flush(due, actions);
  EXPECT_LE(h.counters().dispatched, 1024u);
  EXPECT_EQ(h.broker->next_wake(), due) << "the others are due now";
  h.advance(1s);
  EXPECT_EQ(h.counters().dispatched, 10'000u);
}

// --- deadline ------------------------------------------------------------------------------------

TEST(Deadline, EndsATaskThatWaits) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  for (auto key : {Attribute::kPriority, Attribute::kDelay}) {
    Attrs attributes = with(Attribute::kDeadline, 500ms);
    if (key == Attribute::kDelay) attributes.number(key, 10'000);
    client.submit(h.id(), "add", "", attributes);
  }
  h.advance(499ms);
  EXPECT_TRUE(client.quiet());
  h.advance(1ms);
  for (int i = 0; i < 2; ++i) {
    const Got result = client.expect(Kind::kResult);
    EXPECT_EQ(result.state, State::kExpired);
    EXPECT_EQ(result.at(Attribute::kError)["type"], "Expired");
    EXPECT_FALSE(result.has(Attribute::kAttempt));
  }
  EXPECT_EQ(drain(worker).size(), 1u);
  EXPECT_EQ(h.counters().expired, 2u);
}

TEST(Deadline, TellsARunToStopAndEndsTheTaskAfterTheGrace) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add", "", with(Attribute::kDeadline, 1s));
  const Got task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.at(Attribute::kTimeLeft), 1000);
  h.advance(1s);
  const Got told = worker.expect(Kind::kCancel);
  EXPECT_EQ(told.ref, task.ref);
  EXPECT_EQ(told.at(Attribute::kReason), "deadline");
  EXPECT_TRUE(client.quiet());
  h.advance(h.config().tuskd.times.cancel_grace);
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kExpired);
  // The slot stays taken until the worker answers.
  client.submit(h.id(), "add");
  EXPECT_TRUE(worker.take(Kind::kTask).empty());
  worker.cancelled(task.ref);
  EXPECT_EQ(worker.take(Kind::kTask).size(), 1u);
}

TEST(Deadline, ASuccessInTheGraceCountsAndAnythingElseIsExpired) {
  Harness h;
  Peer& worker = h.worker({"add"}, 3);
  Peer& client = h.client();
  for (int i = 0; i < 3; ++i) client.submit(h.id(), "add", "", with(Attribute::kDeadline, 1s));
  std::vector<Got> tasks = worker.take(Kind::kTask);
  h.advance(1s);
  worker.succeed(tasks[0].ref, "in time");
  worker.fail(tasks[1].ref, Attrs().error("E", "m"));
  worker.cancelled(tasks[2].ref);
  EXPECT_EQ(client.expect(Kind::kResult).body, "in time");
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kExpired);
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kExpired);
}

TEST(Deadline, ACancelThatComesAfterItMakesItACancelledOne) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "", with(Attribute::kDeadline, 1s));
  const Got task = worker.expect(Kind::kTask);
  h.advance(1s);
  client.cancel(id);
  EXPECT_EQ(client.expect(Kind::kAnswer).value["state"], "cancelling");
  EXPECT_EQ(worker.take(Kind::kCancel).size(), 1u) << "it was told already";
  worker.cancelled(task.ref);
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kCancelled);
}

TEST(Deadline, SurvivesRetriesAndStandsForTheWholeTask) {
  Harness h([](config::Orchestration& c) { c.other_type.attempts = 100; });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add", "", with(Attribute::kDeadline, 10s));
  for (int i = 0; i < 100 && client.quiet(); ++i) {
    for (const Got& task : worker.take(Kind::kTask)) {
      EXPECT_LE(task.at(Attribute::kTimeLeft), 10'000);
      worker.fail(task.ref, Attrs().error("E", "m"));
    }
    h.advance(500ms);
  }
  const Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.state, State::kExpired);
  EXPECT_GT(result.at(Attribute::kHistory).size(), 3u);
}

// --- time-outs of a run --------------------------------------------------------------------------

TEST(RunTimeout, TheNextRunStartsOnlyWhenTheOldOneHasStopped) {
  Harness h;
  Peer& first = h.worker({"add"});
  Peer& second = h.worker({"add"});
  Peer& client = h.client();
  client.submit(
      h.id(), "add", "",
      with(Attribute::kRunTimeout, 2s).number(Attribute::kAttempts, 2).backoff(0, 0, 1, 0));
  Peer& runs = first.quiet() ? second : first;
  Peer& idle = first.quiet() ? first : second;
  const Got task = runs.expect(Kind::kTask);
  EXPECT_EQ(task.at(Attribute::kTimeLeft), 2000);
  h.advance(2s);
  EXPECT_EQ(runs.expect(Kind::kCancel).at(Attribute::kReason), "run_timeout");
  h.advance(25s);
  EXPECT_TRUE(idle.quiet()) << "a clock gave the task to a second worker";
  EXPECT_TRUE(client.quiet());
  runs.cancelled(task.ref);
  h.advance(1ms);
  const Got again = (idle.quiet() ? runs : idle).expect(Kind::kTask);
  EXPECT_EQ(again.attempt, 2u);
  h.advance(2s);
  (idle.runs.empty() ? runs : idle).fail(again.ref, Attrs().error("Stopped", "as told"));
  const Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.state, State::kDead);
  EXPECT_EQ(result.at(Attribute::kError)["type"], "RunTimeout");
  ASSERT_EQ(result.at(Attribute::kHistory).size(), 2u);
  for (const Json& run : result.at(Attribute::kHistory)) {
    EXPECT_EQ(run["error"]["type"], "RunTimeout");
  }
  EXPECT_EQ(h.counters().timed_out, 2u);
}

TEST(RunTimeout, ASuccessThatComesBeforeTheStopCounts) {
  Harness h([](config::Orchestration& c) { c.types["add"].timeout = 1s; });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const Got task = worker.expect(Kind::kTask);
  h.advance(1s);
  worker.succeed(task.ref, "late");
  EXPECT_EQ(client.expect(Kind::kResult).body, "late");
}

TEST(RunTimeout, OfARunWhoseWorkerIsGoneIsAFailureAndNoCrash) {
  Harness h([](config::Orchestration& c) {
    c.types["add"].timeout = 1s;
    c.types["add"].attempts = 2;
  });
  Peer& worker = h.peer({.role = "worker", .types = {"add"}, .watched = true});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add");
  worker.expect(Kind::kTask);
  h.advance(1s);
  worker.die();
  const Json task = client.query("task", &id);
  EXPECT_EQ(task["failures"], 1);
  EXPECT_EQ(task["crashes"], 0);
  EXPECT_EQ(task["state"], "delayed");
}

TEST(RunTimeout, ARunThatIsGivenBackNeverRan) {
  Harness h([](config::Orchestration& c) { c.types["add"].timeout = 1s; });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const Got task = worker.expect(Kind::kTask);
  h.advance(1s);
  worker.give_back({task.ref});
  EXPECT_EQ(worker.take(Kind::kTask).size(), 1u);
  EXPECT_TRUE(client.quiet());
}

TEST(HeartbeatTimeout, IsPutOffByEverySignOfLife) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add", "", with(Attribute::kHeartbeatTimeout, 1s));
  const Got task = worker.expect(Kind::kTask);
  const std::function<void()> signs[] = {
      [&] { worker.progress(task.ref); }, [&] { worker.progress(task.ref, "half"); },
      [&] { worker.log(task.ref, 2, "alive"); }, [&] { worker.checkpoint(task.ref, "here"); }};
  for (const auto& sign : signs) {
    h.advance(900ms);
    EXPECT_TRUE(worker.quiet());
    sign();
  }
  h.advance(999ms);
  EXPECT_TRUE(worker.quiet());
  h.advance(1ms);
  EXPECT_EQ(worker.expect(Kind::kCancel).at(Attribute::kReason), "heartbeat_timeout");
  worker.cancelled(task.ref);
  EXPECT_EQ(client.expect(Kind::kResult).at(Attribute::kError)["type"], "HeartbeatTimeout");
}

// --- hangs ---------------------------------------------------------------------------------------

class HangTest : public ::testing::Test {
 protected:
  // A worker with a run that hangs and one that does not.
  void hang() {
    client.submit(h.id(), "add", "",
                  with(Attribute::kRunTimeout, 1s).number(Attribute::kAttempts, 2));
    client.submit(h.id(), "add");
    hung = worker.expect(Kind::kTask);
    other = worker.expect(Kind::kTask);
    h.advance(1s);
    worker.expect(Kind::kCancel);
    h.advance(h.config().tuskd.times.hang_kill);
  }
  Harness h;
  Peer& worker = h.peer({.role = "worker", .types = {"add"}, .slots = 2, .watched = true});
  Peer& client = h.client();
  Got hung, other;
};

TEST_F(HangTest, AWorkerOfTuskdIsDrainedThenKilledAndOnlyTheHungRunIsCharged) {
  hang();
  ASSERT_EQ(h.hangs.size(), 1u);
  EXPECT_EQ(h.hangs[0].session, worker.session);
  EXPECT_TRUE(h.kills.empty());
  h.handle(Replaceable{worker.session});
  worker.expect(Kind::kDrain);
  client.submit(h.id(), "add");
  EXPECT_TRUE(worker.take(Kind::kTask).empty()) << "it gets nothing new";
  h.advance(h.config().tuskd.times.cancel_grace - 1ms);
  EXPECT_TRUE(h.kills.empty());
  h.advance(1ms);
  ASSERT_EQ(h.kills.size(), 1u);
  EXPECT_EQ(h.kills[0].pid, h.hangs[0].pid);
  worker.die();
  EXPECT_EQ(h.counters().crashed, 0u);
  EXPECT_EQ(h.counters().requeued, 1u) << "the other run";
  EXPECT_EQ(client.query("task", &hung.id)["failures"], 1);
  EXPECT_EQ(client.query("task", &other.id)["crashes"], 0);
}

TEST_F(HangTest, OnceItsOtherRunsHaveEndedItIsKilledAtOnce) {
  hang();
  h.handle(Replaceable{worker.session});
  EXPECT_TRUE(h.kills.empty());
  worker.succeed(other.ref);
  EXPECT_EQ(h.kills.size(), 1u);
  h.advance(1h);
  EXPECT_EQ(h.kills.size(), 1u);
}

TEST_F(HangTest, SomebodyElsesWorkerKeepsItsRunAndItsOtherSlot) {
  hang();
  h.advance(1h);
  EXPECT_TRUE(h.kills.empty());
  worker.succeed(other.ref);
  client.submit(h.id(), "add");
  EXPECT_EQ(worker.take(Kind::kTask).size(), 1u);
  EXPECT_EQ(client.query("task", &hung.id)["state"], "running");
}

TEST_F(HangTest, AnswersForSessionsThatAreGoneOrAreNoWorkersChangeNothing) {
  h.handle(Replaceable{999});
  h.handle(Replaceable{client.session});
  hang();
  h.handle(Replaceable{worker.session});
  h.handle(Replaceable{worker.session});
  EXPECT_EQ(worker.take(Kind::kDrain).size(), 1u);
}

TEST(Hang, OfACancelledRunIsNoticedBehindTheGrace) {
  Harness h;
  Peer& worker = h.peer({.role = "worker", .types = {"add"}, .watched = true});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add");
  worker.expect(Kind::kTask);
  client.cancel(id);
  h.advance(h.config().tuskd.times.hang_kill - 1ms);
  EXPECT_EQ(client.take(Kind::kResult).size(), 1u) << "it ended after its grace";
  EXPECT_TRUE(h.hangs.empty());
  h.advance(1ms);
  EXPECT_EQ(h.hangs.size(), 1u);
  h.handle(Replaceable{worker.session});
  EXPECT_EQ(h.kills.size(), 1u) << "nothing else runs there";
}

// --- retries -------------------------------------------------------------------------------------

TEST(Retries, AreThoseThatTheSubmitAsksFor) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add", "",
                Attrs().number(Attribute::kAttempts, 4).backoff(100, 1000, 3, 0));
  std::vector<Duration> waits;
  for (int i = 0; i < 4; ++i) {
    Duration waited{0};
    while (worker.quiet()) {
      h.advance(10ms);
      waited += 10ms;
      ASSERT_LT(waited, 10s);
    }
    waits.push_back(waited);
    const Got task = worker.expect(Kind::kTask);
    EXPECT_EQ(task.attempt, i + 1u);
    h.advance(5ms);
    worker.fail(task.ref, Attrs().error("E", "run " + std::to_string(i + 1)));
  }
  EXPECT_EQ(waits, (std::vector<Duration>{0ms, 100ms, 300ms, 900ms}));
  const Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.state, State::kDead);
  const Json& history = result.at(Attribute::kHistory);
  ASSERT_EQ(history.size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(history[i]["attempt"], i + 1);
    EXPECT_EQ(history[i]["worker"], worker.fields.name);
    EXPECT_EQ(history[i]["error"]["message"], "run " + std::to_string(i + 1));
    EXPECT_EQ(history[i]["error"]["stack"], "a stack");
    EXPECT_EQ(history[i]["started"].get<int>() - history[i]["ended"].get<int>(), 5);
  }
  EXPECT_EQ(history[3]["ended"], 0);
  EXPECT_EQ(history[0]["started"], 5 * 4 + 100 + 300 + 900);
}

TEST(Retries, AnErrorOfNoRetryOnIsNotWorthAnotherRun) {
  Harness h([](config::Orchestration& c) {
    c.types["add"].attempts = 5;
    c.types["add"].no_retry_on = {"NotFound"};
  });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  worker.fail(worker.expect(Kind::kTask).ref, Attrs().error("NotFound", "no such thing"));
  const Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.state, State::kFailed);
  EXPECT_EQ(result.at(Attribute::kHistory).size(), 1u);
  client.submit(h.id(), "add", "", Attrs().texts(Attribute::kNoRetryOn, {"A", "B"}));
  worker.fail(worker.expect(Kind::kTask).ref, Attrs().error("NotFound", "this time it may"));
  EXPECT_TRUE(client.quiet());
  h.advance(1s);
  worker.fail(worker.expect(Kind::kTask).ref, Attrs().error("B", "but not so"));
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kFailed);
}

TEST(Retries, AReloadCountsForTasksThatDidNotAskOtherwise) {
  Harness h([](config::Orchestration& c) { c.types["add"].attempts = 3; });
  Peer& worker = h.worker({"add"}, 2);
  Peer& client = h.client();
  client.submit(h.id(), "add");
  client.submit(h.id(), "add", "", Attrs().number(Attribute::kAttempts, 3));
  for (int run = 0; run < 2; ++run) {
    for (const Got& task : worker.take(Kind::kTask)) worker.fail(task.ref);
    if (run == 0) h.reload([](config::Orchestration& c) { c.types["add"].attempts = 2; });
    h.advance(1s);
  }
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kDead);
  EXPECT_TRUE(client.quiet()) << "the other one has a third attempt";
}

TEST(Retries, TheJitterKeepsItsBounds) {
  Harness h;
  Peer& worker = h.worker({"add"}, 300);
  Peer& client = h.client();
  for (int i = 0; i < 300; ++i) {
    client.submit(h.id(), "add", "",
                  Attrs().number(Attribute::kAttempts, 2).backoff(1000, 1000, 1, 0.5));
  }
  for (const Got& task : worker.take(Kind::kTask)) worker.fail(task.ref);
  h.advance(499ms);
  EXPECT_TRUE(worker.quiet());
  h.advance(501ms);
  const size_t early = worker.take(Kind::kTask).size();
  EXPECT_GT(early, 100u);
  EXPECT_LT(early, 200u);
  h.advance(500ms);
  EXPECT_EQ(worker.take(Kind::kTask).size(), 300 - early);
}

TEST(Retries, TheHistoryIsCutAndLosesItsBeginning) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add", "", Attrs().number(Attribute::kAttempts, 40).backoff(0, 0, 1, 0));
  for (int i = 0; i < 40; ++i) {
    h.advance(1ms);
    worker.fail(worker.expect(Kind::kTask).ref,
                Attrs().error("E", std::string(1023, 'x') + "\u00e4" + std::string(50'000, 'y')));
  }
  const Got result = client.expect(Kind::kResult);
  const Json& history = result.at(Attribute::kHistory);
  ASSERT_EQ(history.size(), 16u);
  EXPECT_EQ(history[0]["attempt"], 25);
  EXPECT_EQ(history[15]["error"]["message"], std::string(1023, 'x')) << "cut between characters";
}

TEST(Retries, ACrashIsInTheHistoryAndDoesNotCountAsAFailure) {
  Harness h;
  Peer& client = h.client();
  Peer& first = h.peer({.role = "worker", .types = {"add"}, .watched = true});
  client.submit(h.id(), "add", "", Attrs().number(Attribute::kAttempts, 1));
  first.expect(Kind::kTask);
  first.die();
  Peer& second = h.worker({"add"});
  second.fail(second.expect(Kind::kTask).ref, Attrs().error("E", "m"));
  const Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.state, State::kFailed);
  ASSERT_EQ(result.at(Attribute::kHistory).size(), 1u);
  EXPECT_EQ(result.at(Attribute::kHistory)[0]["error"]["type"], "WorkerDied");
}

// --- defer and pause -----------------------------------------------------------------------------

TEST(Defer, PutsTheTaskOffAndChargesNothing) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add");
  for (int i = 0; i < 5; ++i) {
    worker.defer(worker.expect(Kind::kTask).ref, 2s);
    h.advance(1999ms);
    EXPECT_TRUE(worker.quiet());
    h.advance(1ms);
  }
  EXPECT_EQ(client.query("task", &id)["failures"], 0);
  const Got task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.attempt, 6u) << "each run has its own number";
  worker.succeed(task.ref, "at last");
  EXPECT_EQ(client.expect(Kind::kResult).body, "at last");
  EXPECT_EQ(h.counters().deferred, 5u);
}

TEST(Defer, FreesTheSlotAndLosesAgainstACancel) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id(), next = h.id();
  client.submit(id, "add");
  client.submit(next, "add");
  const Got task = worker.expect(Kind::kTask);
  client.cancel(id);
  worker.expect(Kind::kCancel);
  worker.defer(task.ref, 1s);
  EXPECT_EQ(client.take(Kind::kResult).at(0).state, State::kCancelled);
  EXPECT_EQ(worker.expect(Kind::kTask).id, next);
}

TEST(Defer, WhileTheBrokerStopsGivesTheTaskBack) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const Got task = worker.expect(Kind::kTask);
  h.handle(Shutdown{});
  client.inbox.clear();
  worker.defer(task.ref, 1s);
  client.expect_error(code::kShuttingDown);
  EXPECT_TRUE(h.stopped);
}

TEST(Pause, HoldsTheTypeForEverybodyAndNothingElse) {
  Harness h;
  Peer& worker = h.worker({"add", "mul"}, 2);
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const Got task = worker.expect(Kind::kTask);
  worker.pause(task.ref, 5s);
  worker.succeed(task.ref);
  Peer& other = h.worker({"add"}, 2);
  client.submit(h.id(), "add");
  client.submit(h.id(), "mul");
  EXPECT_EQ(worker.expect(Kind::kTask).name, "mul");
  EXPECT_EQ(h.named("types", "add")["paused"], 5000);
  h.advance(4999ms);
  EXPECT_TRUE(other.quiet() && worker.quiet());
  h.advance(1ms);
  EXPECT_EQ(other.expect(Kind::kTask).name, "add");
  EXPECT_EQ(h.named("types", "add")["paused"], 0);
}

TEST(Pause, TheLastWordCountsAndNoTimeEndsIt) {
  Harness h;
  Peer& worker = h.worker({"add"}, 2);
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const Got task = worker.expect(Kind::kTask);
  worker.pause(task.ref, 1h);
  worker.pause(task.ref, 1s);
  client.submit(h.id(), "add");
  h.advance(1s);
  EXPECT_EQ(worker.take(Kind::kTask).size(), 1u);
  worker.pause(task.ref, 1h);
  worker.succeed(worker.runs.rbegin()->first);
  client.submit(h.id(), "add");
  EXPECT_TRUE(worker.quiet());
  worker.pause(task.ref, 0s);
  EXPECT_EQ(worker.take(Kind::kTask).size(), 1u);
}

// --- what a run says -----------------------------------------------------------------------------

TEST(Follow, ThoseWhoAskedHearOfProgressAndLogInOrderBeforeTheResult) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& both = h.client();
  Peer& plain = h.client();
  Peer& lines = h.client();
  const TaskId id = h.id();
  const uint64_t request = both.submit(id, "add", "b", Attrs().number(Attribute::kFollow, 3));
  plain.submit(id, "add", "b");
  lines.submit(id, "add", "b",
               Attrs().number(Attribute::kFollow, 2).number(Attribute::kWait, 9000));
  const Got task = worker.expect(Kind::kTask);
  worker.progress(task.ref, "10%", Attrs().number(Attribute::kCodec, 1));
  worker.log(task.ref, 3, "slow");
  worker.progress(task.ref);  // only a sign of life
  worker.succeed(task.ref, "done");

  Got got = both.expect(Kind::kProgress);
  EXPECT_EQ(got.ref, request);
  EXPECT_EQ(got.body, "10%");
  EXPECT_EQ(got.at(Attribute::kCodec), 1);
  EXPECT_EQ(got.at(Attribute::kAttempt), 1);
  got = both.expect(Kind::kLog);
  EXPECT_EQ(got.level, 3u);
  EXPECT_EQ(got.message, "slow");
  EXPECT_EQ(both.expect(Kind::kResult).body, "done");
  EXPECT_EQ(plain.expect(Kind::kResult).body, "done");
  lines.expect(Kind::kLog);
  lines.expect(Kind::kResult);
  EXPECT_TRUE(both.quiet() && plain.quiet() && lines.quiet());
}

TEST(Follow, WhatIsSaidOfARunThatIsNotTheWorkersIsAnError) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const Got task = worker.expect(Kind::kTask);
  worker.succeed(task.ref);
  worker.progress(task.ref, "more");
  worker.log(task.ref, 2, "more");
  worker.checkpoint(task.ref, "more");
  worker.defer(task.ref, 1s);
  worker.pause(task.ref, 1s);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(worker.expect_error(code::kUnknownHandle).ref, task.ref);
  }
  EXPECT_EQ(client.take(Kind::kResult).size(), 1u);
  client.send([&](Writer& w) { w.progress(task.ref, BodyOut::copied("x"), {}); });
  EXPECT_EQ(client.expect_error(code::kInvalid).value["field"], "role");
}

TEST(Checkpoint, IsGivenToTheNextRunHoweverTheLastOneEnded) {
  Harness h([](config::Orchestration& c) { c.other_type.attempts = 5; });
  Peer& client = h.client();
  Peer& worker = h.peer({.role = "worker", .types = {"add"}, .watched = true});
  client.submit(h.id(), "add", "", Attrs().backoff(0, 0, 1, 0));
  Got task = worker.expect(Kind::kTask);
  EXPECT_FALSE(task.has(Attribute::kCheckpoint));
  worker.checkpoint(task.ref, "one");
  worker.checkpoint(task.ref, "two");
  worker.fail(task.ref);
  h.advance(1ms);
  task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.at(Attribute::kCheckpoint), (Json{{"hex", "74776f"}}));
  worker.defer(task.ref, 0s);
  h.advance(1ms);
  task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.at(Attribute::kCheckpoint), (Json{{"hex", "74776f"}})) << "kept";
  worker.checkpoint(task.ref, "three");
  worker.die();
  Peer& next = h.worker({"add"});
  task = next.expect(Kind::kTask);
  EXPECT_EQ(task.at(Attribute::kCheckpoint), (Json{{"hex", "7468726565"}}));
  next.checkpoint(task.ref, "");
  next.fail(task.ref);
  h.advance(1ms);
  task = next.expect(Kind::kTask);
  EXPECT_FALSE(task.has(Attribute::kCheckpoint)) << "taken away";
  next.succeed(task.ref);
  client.expect(Kind::kResult);
  client.ack();
  h.advance(1s);
  EXPECT_EQ(BrokerInspector::held_bytes(*h.broker), 0u);
}

TEST(Checkpoint, OverTheLimitIsRefusedAndTheOldOneStays) {
  Harness h([](config::Orchestration& c) {
    c.tuskd.limits.max_checkpoint = config::Bytes{64};
    c.other_type.attempts = 2;
  });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  EXPECT_EQ(worker.welcome["limits"]["checkpoint"], 64);
  client.submit(h.id(), "add", "", Attrs().backoff(0, 0, 1, 0));
  Got task = worker.expect(Kind::kTask);
  worker.checkpoint(task.ref, "fits");
  worker.checkpoint(task.ref, std::string(65, 'x'));
  const Got error = worker.expect_error(code::kTooLarge);
  EXPECT_EQ(error.value["limit"], "checkpoint");
  EXPECT_EQ(error.ref, task.ref);
  worker.fail(task.ref);
  h.advance(1ms);
  EXPECT_EQ(worker.expect(Kind::kTask).at(Attribute::kCheckpoint), (Json{{"hex", "66697473"}}));
}

// --- claims --------------------------------------------------------------------------------------

TEST(TermsOfClaims, OfARunThatWasAnsweredAreDropped) {
  Harness h([](config::Orchestration& c) { c.other_type.attempts = 2; });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add");
  const Got task = worker.expect(Kind::kTask);
  worker.fail(task.ref);
  // The answer arrived, but the worker has not heard that it did.
  worker.disconnect();
  worker.fields.claims = {{id, 1, "add", false}};
  worker.come_back();
  EXPECT_EQ(worker.welcome["resumed"], true);
  EXPECT_TRUE(worker.welcome["claims"][0][1].is_null());
  h.advance(1s);
  EXPECT_EQ(worker.expect(Kind::kTask).attempt, 2u);
}

TEST(TermsOfClaims, OfAnAdoptedRunWithADeadlineKeepTheTimeOfTheResend) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "b", with(Attribute::kDeadline, 10s));
  worker.expect(Kind::kTask);
  h.restart();
  worker.fields.claims = {{id, 1, "add", false}};
  worker.connect();
  client.connect();
  client.submit(id, "add", "b", with(Attribute::kDeadline, 7s).flag(Attribute::kResent));
  h.advance(7s);
  EXPECT_EQ(worker.expect(Kind::kCancel).at(Attribute::kReason), "deadline");
}

}  // namespace
}  // namespace tusk::core
