// Runs that wait for tasks of their own, against a broker that is told what to do.
#include <algorithm>
#include <thread>

#include "worker_fixture.h"

namespace tusk {
namespace {

struct FamilyTest : WorkerTest {
  ScriptedBroker::Peer workers, children;  // the sessions

  // A worker of one thread, whose type "parent" calls a child for each of its bodies.
  void begin(std::function<void()> more = {}) {
    make(1, 1, seconds(10));
    worker->task("parent", [](const std::vector<int>& bodies, Context& context) {
      return context.call_many<int>("child", bodies);
    });
    if (more) more();
    start();
    meet();
  }
  // From here on the broker speaks with the client of the children, or with the worker.
  void with_children() {
    if (children) {
      workers = broker.switch_to(children);
    } else {
      workers = broker.leave();
      meet();
    }
  }
  void with_worker() { children = broker.switch_to(workers); }

  // Takes so many submits of children, and accepts them.
  std::vector<Json> submits(int count) {
    with_children();
    std::vector<Json> all;
    for (int n = 0; n < count; ++n) {
      all.push_back(broker.next("submit"));
      EXPECT_EQ(all.back()[5]["reply"], 2);
      broker.send({{"accepted", all.back()[1]}});
    }
    with_worker();
    return all;
  }
  // Their results, which have arrived when this returns.
  void end_children(const std::vector<std::pair<Json, int>>& results) {
    with_children();
    for (const auto& [submit, result] : results) {
      broker.send({{"result", submit[1], 1, body_of(result)}});
    }
    broker.send({{"ping", 7}});
    broker.next("pong");
    broker.acknowledge();  // or the client would wait for that at its end
    with_worker();
  }
  // Takes a suspend, which must be about these.
  void suspended(int handle, std::vector<Json> submits) {
    Json suspend = broker.next("suspend");
    EXPECT_EQ(suspend[1], handle);
    Json ids = Json::array();
    for (const Json& submit : submits) ids.push_back(submit[2]);
    std::sort(ids.begin(), ids.end());
    std::sort(suspend[2].begin(), suspend[2].end());
    EXPECT_EQ(suspend[2], ids);
  }
  void resume(int handle) { broker.send({{"resume", handle}}); }
};

TEST_F(FamilyTest, AParentIsSuspendedUntilItsChildrenHaveEndedAndItHasASlot) {
  begin();
  broker.send({task(1, "parent", body_of(std::vector<int>{1, 2}))});
  const auto all = submits(2);
  EXPECT_EQ(all[0][5]["parent"]["hex"], hex_id(1));
  EXPECT_EQ(all[0][3], "child");
  suspended(1, all);
  // Its slot and its thread are lent out.
  broker.send({task(2, "add", kAdd)});
  EXPECT_EQ(broker.next("result")[1], 2);
  end_children({{all[1], 20}, {all[0], 10}});
  // The results alone do not let it go on.
  broker.send({task(3, "add", kAdd)});
  EXPECT_EQ(broker.next("result")[1], 3);
  EXPECT_TRUE(broker.silent_for(milliseconds(50)));
  resume(1);
  EXPECT_EQ(broker.next("result"), (Json{"result", 1, 1, body_of(std::vector<int>{10, 20})}));
  // There is one thread again, and it works.
  broker.send({task(4, "add", kAdd)});
  EXPECT_EQ(broker.next("result")[1], 4);
}

TEST_F(FamilyTest, AResumeThatComesFirstWaitsForTheResult) {
  begin();
  broker.send({task(1, "parent", body_of(std::vector<int>{1}))});
  const auto all = submits(1);
  suspended(1, all);
  resume(1);
  // The broker may not know the child yet: it is told again, after a rest.
  suspended(1, all);
  end_children({{all[0], 10}});
  resume(1);
  EXPECT_EQ(broker.next("result")[2], 1);
}

TEST_F(FamilyTest, WhatHasEndedAlreadyIsNotWaitedFor) {
  std::promise<void> there;
  begin([&] {
    worker->task("later", [&](int, Context& context) {
      std::vector<Task<int>> children;
      for (int i = 0; i < 2; ++i) {
        children.push_back(context.submit<int>("child", i, {.labels = {{"a", "b"}}}));
      }
      while (!children[0].wait_for(seconds(1))) continue;
      there.set_value();
      const int first = children[0].get();
      context.wait_all(children);
      return first + children[1].get();
    });
  });
  broker.send({task(1, "later", body_of(0))});
  const auto all = submits(2);
  EXPECT_EQ(all[0][5]["labels"], (Json{{"a", "b"}}));
  end_children({{all[0], 10}});
  there.get_future().get();
  suspended(1, {all[1]});
  end_children({{all[1], 20}});
  resume(1);
  EXPECT_EQ(broker.next("result"), (Json{"result", 1, 1, body_of(30)}));
}

TEST_F(FamilyTest, ARunThatIsNotSuspendedKeepsItsSlotAndWaits) {
  begin();
  int handle = 0;
  for (const auto& [code, details] :
       {std::pair("full", Json{{"limit", "max_suspended"}}), {"unsupported", {{"kind", 35}}}}) {
    broker.send({task(static_cast<unsigned>(++handle), "parent", body_of(std::vector<int>{1}))});
    const auto all = submits(1);
    suspended(handle, all);
    broker.send({{"error", handle, code, "no", details}});
    end_children({{all[0], 10}});
    EXPECT_EQ(broker.next("result")[2], 1) << code;
  }
}

TEST_F(FamilyTest, ARunThatMustNotWaitForItsOwnParentFails) {
  begin();
  broker.send({task(1, "parent", body_of(std::vector<int>{1}))});
  suspended(1, submits(1));
  broker.send({{"error", 1, "invalid", "a run waits for its own parent", {{"field", "ids"}}}});
  Json failed = broker.next("result");
  EXPECT_EQ(failed[2], 2);
  EXPECT_EQ(failed[4]["error"]["type"], "tusk::Invalid");
  EXPECT_EQ(failed[4]["error"]["message"], "a run waits for its own parent");
}

TEST_F(FamilyTest, ASuspendedRunIsCancelledAndSoAreItsChildren) {
  std::promise<std::string> reason;
  begin([&] {
    worker->task("one", [&](int body, Context& context) {
      try {
        return context.call<int>("child", body);
      } catch (const Cancelled&) {
        reason.set_value(std::string(context.cancel_reason()));
        throw;
      }
    });
  });
  broker.send({task(1, "one", body_of(1))});
  const auto all = submits(1);
  suspended(1, all);
  broker.send({{"cancel", 1, {{"hex", hex_id(1)}}, {{"reason", "parent"}}}});
  EXPECT_EQ(broker.next("result")[2], 4);
  EXPECT_EQ(reason.get_future().get(), "parent");
  with_children();
  EXPECT_EQ(broker.next("cancel")[2], all[0][2]);
  with_worker();
  broker.send({task(2, "add", kAdd)});
  EXPECT_EQ(broker.next("result")[1], 2);
}

TEST_F(FamilyTest, AChildThatFailsIsItsParentsError) {
  begin();
  broker.send({task(1, "parent", body_of(std::vector<int>{1, 2}))});
  const auto all = submits(2);
  suspended(1, all);
  with_children();
  broker.send({{"result", all[0][1], 2, nullptr, {{"error", {{"type", "E"}, {"message", "no"}}}}},
               {"result", all[1][1], 1, body_of(20)}});
  with_worker();
  resume(1);
  Json failed = broker.next("result");
  EXPECT_EQ(failed[4]["error"]["type"], "tusk::TaskFailed");
  EXPECT_EQ(failed[4]["error"]["message"], "E: no");
}

// Whatever the broker lets it go on for, it says suspend as long as one is left.
TEST_F(FamilyTest, ThreadsOfOneHandlerShareItsSuspension) {
  begin([&] {
    worker->task("spread", [&](const std::vector<int>& bodies, Context& context) {
      std::atomic<int> sum{0};
      std::vector<std::thread> threads;
      for (int body : bodies) {
        threads.emplace_back([&, body] { sum += context.call<int>("child", body); });
      }
      for (std::thread& thread : threads) thread.join();
      return sum.load();
    });
  });
  broker.send({task(1, "spread", body_of(std::vector<int>{1, 2, 3}))});
  const auto all = submits(3);
  for (const Json& submit : all) {
    broker.next("suspend");
    end_children({{submit, 10}});
    resume(1);
  }
  EXPECT_EQ(broker.next("result"), (Json{"result", 1, 1, body_of(30)}));
}

TEST_F(FamilyTest, ASuspendedRunThatIsAdoptedSaysSoUnderItsNewHandle) {
  begin();
  broker.send({task(1, "parent", body_of(std::vector<int>{1, 2}))});
  const auto all = submits(2);
  suspended(1, all);
  end_children({{all[0], 10}});
  broker.send_bare({{"error", 0, "stale_session", "restarted"}});
  meet({{"claims", {{{{"hex", hex_id(1)}}, 31}}}});
  suspended(31, {all[1]});
  end_children({{all[1], 20}});
  resume(31);
  EXPECT_EQ(broker.next("result"), (Json{"result", 31, 1, body_of(std::vector<int>{10, 20})}));
}

TEST_F(FamilyTest, AStageHandlersTasksAreNoChildrenAndItKeepsItsSlot) {
  begin([&] {
    worker->stage("clean", [](int n, Context& context) { return context.call<int>("child", n); });
  });
  broker.send({item(1, "clean", body_of(1))});
  const auto all = submits(1);
  EXPECT_FALSE(all[0][5].contains("parent"));
  broker.forget_skipped();
  end_children({{all[0], 10}});
  EXPECT_EQ(broker.next("result"), (Json{"result", 1, 1, body_of(10)}));
  EXPECT_EQ(broker.skipped(), std::vector<Json>{}) << "no suspend";
}

TEST(Family, AContextWithoutARunHasNoChildren) {
  Context none(TaskId::make(), "f", 1, {});
  EXPECT_THROW(none.call("child", 1), Invalid);
  EXPECT_THROW(none.call_many("child", std::vector<int>{1}), Invalid);
  none.send(1);
  EXPECT_TRUE(none.labels().empty());
}

}  // namespace
}  // namespace tusk
