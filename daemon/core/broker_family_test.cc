// Children: what they inherit, who cancels them, and runs that wait for them without a slot.
#include <gtest/gtest.h>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

class Family : public testing::Test {
 protected:
  Attrs child_of(const TaskId& parent) { return Attrs().id(Attribute::kParent, parent); }
  // A task that runs on `worker`.
  TaskId runs(Peer& on, const Attrs& attributes = {}) {
    const TaskId id = h.id();
    client.submit(id, "add", "", attributes);
    EXPECT_EQ(on.expect(Kind::kTask).id, id);
    return id;
  }
  uint64_t handle(Peer& of, const TaskId& id) {
    for (auto& [handle, run] : of.runs) {
      if (run.id == id) return handle;
    }
    ADD_FAILURE() << "it does not run there";
    return 0;
  }
  TaskId child(const TaskId& parent, const Attrs& more = {}) {
    const TaskId id = h.id();
    Attrs attributes = more;
    client.submit(id, "add", "", attributes.id(Attribute::kParent, parent));
    return id;
  }
  std::string state(const TaskId& id) { return client.query("task", &id)["state"]; }

  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
};

// --- what is inherited ---------------------------------------------------------------------------

TEST_F(Family, AChildHasItsParentsLabelsTraceAndDeadline) {
  Peer& other = h.worker({"add"}, 5);
  const TaskId parent = h.id();
  client.submit(parent, "add", "",
                Attrs()
                    .json(Attribute::kLabels, {{"customer", "acme"}, {"build", "1"}})
                    .text(Attribute::kTrace, "t")
                    .text(Attribute::kBaggage, "b")
                    .number(Attribute::kDeadline, 60'000));
  worker.take(Kind::kTask);
  other.take(Kind::kTask);
  h.advance(10s);
  const TaskId id = child(
      parent, Attrs().json(Attribute::kLabels, {{"build", "2"}}).text(Attribute::kTrace, "mine"));
  const TaskId late = child(parent, Attrs().number(Attribute::kDeadline, 600'000));
  const TaskId soon = child(parent, Attrs().number(Attribute::kDeadline, 1'000));
  std::map<TaskId, Got> got;
  for (Peer* peer : {&worker, &other}) {
    for (const Got& task : peer->take(Kind::kTask)) got[task.id] = task;
  }
  EXPECT_EQ(got[id].at(Attribute::kLabels), (Json{{"build", "2"}, {"customer", "acme"}}));
  EXPECT_EQ(got[id].at(Attribute::kTrace), "mine");
  EXPECT_EQ(got[id].at(Attribute::kBaggage), "b");
  EXPECT_EQ(got[id].at(Attribute::kTimeLeft), 50'000);
  EXPECT_EQ(got[late].at(Attribute::kTimeLeft), 50'000);
  EXPECT_EQ(got[late].at(Attribute::kTrace), "t");
  EXPECT_EQ(got[soon].at(Attribute::kTimeLeft), 1'000);
  EXPECT_EQ(client.query("task", &id)["parent"], json_of(parent));
  EXPECT_EQ(client.query("tasks", Json{{"filter", {{"parent", json_of(parent)}}}})["tasks"].size(),
            3u);
}

TEST_F(Family, ChildrenAreCancelledWithTheirParentAndTheirsToo) {
  Peer& other = h.worker({"add"}, 5);
  const TaskId parent = h.id();
  client.submit(parent, "add");
  worker.take(Kind::kTask);
  other.take(Kind::kTask);
  const TaskId son = child(parent), grandson = child(son);
  const TaskId delayed = child(grandson, Attrs().number(Attribute::kDelay, 1000));
  client.cancel(parent);
  EXPECT_EQ(state(delayed), "cancelled");
  std::map<TaskId, std::string> reasons;
  for (Peer* peer : {&worker, &other}) {
    for (const Got& cancel : peer->take(Kind::kCancel)) {
      reasons[cancel.id] = cancel.at(Attribute::kReason);
      peer->cancelled(cancel.ref);
    }
  }
  EXPECT_EQ(reasons, (std::map<TaskId, std::string>{
                         {parent, "cancelled"}, {son, "parent"}, {grandson, "parent"}}));
  for (const TaskId& id : {parent, son, grandson}) EXPECT_EQ(state(id), "cancelled");
}

TEST_F(Family, AParentThatExpiresTakesItsChildrenAlong) {
  const TaskId parent = runs(worker, Attrs().number(Attribute::kDeadline, 1000));
  const TaskId waits = child(parent);
  h.advance(1s);
  EXPECT_EQ(state(waits), "cancelled");
  EXPECT_EQ(worker.expect(Kind::kCancel).at(Attribute::kReason), "deadline");
}

TEST_F(Family, ChildrenGoOnWhenTheirParentEndsOrFailsOrDies) {
  h.reload([](config::Orchestration& c) { c.other_type.attempts = 2; });
  const TaskId parent = runs(worker, Attrs().backoff(0, 0, 1, 0));
  const TaskId son = child(parent);
  worker.fail(handle(worker, parent));
  EXPECT_EQ(worker.expect(Kind::kTask).id, son);
  h.advance(1ms);
  worker.succeed(handle(worker, son));
  EXPECT_EQ(worker.expect(Kind::kTask).id, parent);
  const TaskId second = child(parent);
  worker.succeed(handle(worker, parent));
  EXPECT_EQ(worker.expect(Kind::kTask).id, second);
  EXPECT_FALSE(client.query("task", &second).contains("parent"));
}

TEST_F(Family, OnlyWhoLivesHasChildren) {
  auto refused = [&](const TaskId& parent) {
    child(parent);
    return client.expect_error(code::kUnknownTask).message;
  };
  EXPECT_NE(refused(h.id()).find("no task that the broker knows"), std::string::npos);
  const TaskId done = runs(worker);
  worker.succeed(handle(worker, done));
  client.inbox.clear();
  EXPECT_NE(refused(done).find("has ended"), std::string::npos);
  const TaskId cancelled = runs(worker);
  client.cancel(cancelled);
  client.inbox.clear();
  EXPECT_NE(refused(cancelled).find("told to stop"), std::string::npos);
}

TEST_F(Family, ALineOfParentsIsBounded) {
  TaskId last = runs(worker);
  for (int i = 0; i < 64; ++i) last = child(last);
  EXPECT_TRUE(client.quiet());
  child(last);
  EXPECT_EQ(client.expect_error(code::kInvalid).value["field"], "parent");
}

TEST_F(Family, ACircleOfParentsIsRefused) {
  const TaskId top = runs(worker);
  const TaskId son = child(top, Attrs().text(Attribute::kUnique, "u"));
  client.submit(top, "add", "", child_of(son));
  EXPECT_NE(client.expect_error(code::kInvalid).message.find("circle"), std::string::npos);
  client.submit(son, "add", "", child_of(son).text(Attribute::kUnique, "u"));
  client.expect_error(code::kInvalid);
  // Nor by a unique key.
  client.submit(h.id(), "add", "", child_of(son).text(Attribute::kUnique, "u"));
  client.expect_error(code::kInvalid);
}

// --- runs that wait ------------------------------------------------------------------------------

TEST_F(Family, ASuspendedRunLendsItsSlotToItsChildren) {
  const TaskId parent = runs(worker);
  const TaskId a = child(parent), b = child(parent);
  worker.suspend(handle(worker, parent), {a, b});
  EXPECT_EQ(state(parent), "suspended");
  EXPECT_EQ(worker.expect(Kind::kTask).id, a);
  worker.succeed(handle(worker, a));
  EXPECT_EQ(worker.expect(Kind::kTask).id, b);
  const TaskId next = h.id();
  client.submit(next, "add");
  worker.succeed(handle(worker, b));
  EXPECT_EQ(worker.expect(Kind::kResume).ref, handle(worker, parent)) << "before all that waits";
  EXPECT_EQ(state(parent), "running");
  EXPECT_TRUE(worker.quiet());
  worker.succeed(handle(worker, parent));
  EXPECT_EQ(worker.expect(Kind::kTask).id, next);
}

TEST_F(Family, HundredParentsOfThreeLevelsFinishOnOneSlot) {
  std::map<TaskId, int> level;
  std::map<TaskId, TaskId> parent_of;
  for (int i = 0; i < 100; ++i) {
    const TaskId id = h.id();
    level[id] = 0;
    client.submit(id, "add");
  }
  int ended = 0;
  for (int step = 0; step < 10'000 && ended < 300; ++step) {
    for (const Got& got : worker.take(Kind::kTask)) {
      if (level[got.id] == 2) {
        worker.succeed(got.ref);
        ++ended;
        continue;
      }
      const TaskId son = child(got.id);
      level[son] = level[got.id] + 1;
      worker.suspend(got.ref, {son});
    }
    for (const Got& got : worker.take(Kind::kResume)) {
      worker.succeed(got.ref);
      ++ended;
    }
  }
  EXPECT_EQ(ended, 300);
  EXPECT_EQ(client.take(Kind::kResult).size(), 300u);
}

TEST_F(Family, ItMayWaitForSomeOfThem) {
  const TaskId parent = runs(worker);
  const TaskId a = child(parent), b = child(parent), c = child(parent);
  worker.suspend(handle(worker, parent), {a, b, c}, 2);
  worker.succeed(worker.expect(Kind::kTask).ref);
  worker.succeed(worker.expect(Kind::kTask).ref);
  worker.expect(Kind::kResume);
  // What it awaited before has nothing to do with what it awaits now.
  const TaskId d = child(parent);
  worker.suspend(handle(worker, parent), {d});
  worker.succeed(handle(worker, worker.expect(Kind::kTask).id));
  EXPECT_EQ(worker.expect(Kind::kTask).id, d);
  worker.succeed(handle(worker, d));
  worker.expect(Kind::kResume);
}

TEST_F(Family, WhatHasEndedOrIsUnknownIsNotWaitedFor) {
  const TaskId parent = runs(worker);
  worker.suspend(handle(worker, parent), {h.id()});
  EXPECT_EQ(worker.expect(Kind::kResume).ref, handle(worker, parent));
  EXPECT_EQ(state(parent), "running");
}

TEST_F(Family, NobodyWaitsForItself) {
  const TaskId parent = runs(worker);
  worker.suspend(handle(worker, parent), {parent});
  EXPECT_EQ(worker.expect_error(code::kInvalid).value["field"], "ids");
  const TaskId son = child(parent);
  worker.suspend(handle(worker, parent), {son});
  worker.expect(Kind::kTask);
  worker.suspend(handle(worker, son), {parent});
  worker.expect_error(code::kInvalid);
  worker.suspend(handle(worker, parent), {son});
  EXPECT_NE(worker.expect_error(code::kInvalid).message.find("already"), std::string::npos);
}

TEST_F(Family, SuspendedRunsAreBounded) {
  h.reload([](config::Orchestration& c) { c.tuskd.limits.max_suspended = 1; });
  const TaskId a = runs(worker);
  const TaskId waits = child(a);
  worker.suspend(handle(worker, a), {waits});
  worker.expect(Kind::kTask);
  const TaskId b = child(waits);
  worker.suspend(handle(worker, waits), {b});
  EXPECT_EQ(worker.expect_error(code::kFull).value["limit"], "max_suspended");
  EXPECT_TRUE(worker.quiet()) << "it keeps its slot";
}

TEST_F(Family, ASuspendedRunMayEndOrBeCancelledWithoutBeingResumed) {
  const TaskId parent = runs(worker);
  const TaskId son = child(parent);
  worker.suspend(handle(worker, parent), {son});
  worker.expect(Kind::kTask);
  client.cancel(parent);
  for (const Got& cancel : worker.take(Kind::kCancel)) worker.cancelled(cancel.ref);
  EXPECT_EQ(state(parent), "cancelled");
  EXPECT_EQ(state(son), "cancelled");
  worker.inbox.clear();
  const TaskId next = runs(worker);
  worker.succeed(handle(worker, next));
}

TEST_F(Family, ItsRunTimeoutGoesOnAndItNeedsNoSignOfLife) {
  const TaskId parent = runs(
      worker,
      Attrs().number(Attribute::kRunTimeout, 10'000).number(Attribute::kHeartbeatTimeout, 1'000));
  const TaskId son = child(parent);
  worker.suspend(handle(worker, parent), {son});
  worker.expect(Kind::kTask);
  h.advance(9s);
  EXPECT_TRUE(worker.take(Kind::kCancel).empty());
  worker.succeed(handle(worker, son));
  worker.expect(Kind::kResume);
  h.advance(999ms);
  EXPECT_TRUE(worker.quiet());
  h.advance(1ms);
  EXPECT_EQ(worker.expect(Kind::kCancel).at(Attribute::kReason), "run_timeout");
}

TEST_F(Family, AWorkerThatDrainsGetsItsSuspendedRunsBackAtOnce) {
  Peer& other = h.worker({"add"}, 5);
  worker.slots(1);
  const TaskId parent = h.id();
  client.submit(parent, "add");
  Peer& its = worker.quiet() ? other : worker;
  Peer& elsewhere = &its == &worker ? other : worker;
  its.expect(Kind::kTask);
  its.slots(1);
  const TaskId son = child(parent);
  its.suspend(handle(its, parent), {son});
  its.slots(0);
  for (Peer* peer : {&its, &elsewhere}) {
    for (auto& [handle, run] : std::map(peer->runs)) {
      if (run.id == son) peer->succeed(handle);
    }
  }
  EXPECT_EQ(its.take(Kind::kResume).size(), 1u);
}

TEST_F(Family, WhenItsWorkerDiesItRunsAgain) {
  Peer& mortal = h.peer({.role = "worker", .types = {"mul"}, .watched = true});
  const TaskId parent = h.id();
  client.submit(parent, "mul");
  mortal.expect(Kind::kTask);
  const TaskId son = child(parent, Attrs().number(Attribute::kDelay, 1000));
  mortal.suspend(handle(mortal, parent), {son});
  mortal.die();
  Peer& next = h.worker({"mul"});
  EXPECT_EQ(next.expect(Kind::kTask).attempt, 2u);
  h.advance(1s);
  worker.succeed(worker.expect(Kind::kTask).ref);
  EXPECT_TRUE(next.quiet()) << "the new run did not ask to be resumed";
}

TEST_F(Family, AnAbsenceOfItsWorkerHoldsResumeBack) {
  const TaskId parent = runs(worker);
  const TaskId son = child(parent, Attrs().number(Attribute::kDelay, 60'000));
  worker.suspend(handle(worker, parent), {son});
  worker.disconnect();
  client.cancel(son);
  worker.come_back();
  EXPECT_EQ(worker.take(Kind::kResume).size(), 1u);
}

TEST_F(Family, WhoWaitsForATaskThatIsForgottenGoesOn) {
  // Both runs are adopted after a restart, and nobody submits the child again.
  Peer& other = h.worker({"add"});
  const TaskId parent = h.id(), son = h.id();
  h.restart();
  worker.fields.claims = {{parent, 1, "add", false}};
  worker.connect();
  other.fields.claims = {{son, 1, "add", false}};
  other.connect();
  worker.suspend(worker.welcome["claims"][0][1].get<uint64_t>(), {son});
  EXPECT_TRUE(worker.quiet());
  other.give_back({other.welcome["claims"][0][1].get<uint64_t>()});
  EXPECT_EQ(worker.take(Kind::kResume).size(), 1u);
}

TEST_F(Family, AnAdoptedRunIsAChildAgainFromItsResend) {
  Peer& other = h.worker({"add"});
  const TaskId parent = h.id(), son = h.id();
  h.restart();
  client.connect();
  worker.fields.claims = {{parent, 1, "add", false}};
  worker.connect();
  other.fields.claims = {{son, 1, "add", false}};
  other.connect();
  client.submit(parent, "add", "",
                Attrs().flag(Attribute::kResent).number(Attribute::kDeadline, 60'000));
  client.submit(son, "add", "", child_of(parent).flag(Attribute::kResent));
  h.advance(1min);
  EXPECT_EQ(other.expect(Kind::kCancel).at(Attribute::kReason), "parent");
}

TEST_F(Family, NobodyWaitsForAnItem) {
  Harness pipeline([](config::Orchestration& c) {
    c.stages = {{.name = "clean", .language = "", .function = "clean", .settings = {}}};
  });
  Peer& its = pipeline.worker({"add"});
  Peer& submitter = pipeline.client();
  const TaskId item = pipeline.id(), task = pipeline.id();
  submitter.push(item, "clean", "x");
  submitter.submit(task, "add");
  its.suspend(its.expect(Kind::kTask).ref, {item});
  EXPECT_EQ(its.expect_error(code::kInvalid).value["field"], "ids");
}

TEST_F(Family, WaitsThatAreOverAreNotCounted) {
  Peer& second = h.worker({"mul"}, 2);
  const TaskId long_one = h.id(), parent = runs(worker);
  client.submit(long_one, "mul");
  second.expect(Kind::kTask);
  for (int i = 0; i < 1100; ++i) {
    const TaskId quick = h.id();
    client.submit(quick, "mul");
    worker.suspend(handle(worker, parent), {long_one, quick}, 1);
    second.succeed(handle(second, quick));
    worker.expect(Kind::kResume);
    client.inbox.clear();
    second.inbox.clear();
  }
  // Those who wait for its result are not counted out, whoever else was forgotten.
  worker.suspend(handle(worker, parent), {long_one});
  for (int i = 0; i < 1100; ++i) client.submit(long_one, "mul");
  second.succeed(handle(second, long_one));
  worker.expect(Kind::kResume);
}

}  // namespace
}  // namespace tusk::core
