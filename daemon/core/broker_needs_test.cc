// Needs and sticky keys: which workers may run a task, beyond those that serve its type.
#include <gtest/gtest.h>

#include <algorithm>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

Attrs needing(const Json& needs) { return Attrs().json(Attribute::kNeeds, needs); }
Attrs sticky(std::string_view key) { return Attrs().text(Attribute::kStickyKey, key); }

HelloFields with_labels(const Json& labels, uint64_t slots = 1, const std::string& name = {}) {
  return {.role = "worker",
          .name = name,
          .types = {"add"},
          .slots = slots,
          .more =
              [labels](Writer& w) {
                w.text("labels");
                proto::write_json(w.packer(), labels);
              },
          .more_count = 1};
}

// --- needs ---------------------------------------------------------------------------------------

TEST(NeedsOfTasks, RequiredLabelsChooseTheWorker) {
  Harness h;
  Peer& eu = h.peer(with_labels({{"region", "eu"}, {"gpu", 2}}));
  Peer& us = h.peer(with_labels({{"region", "us"}}));
  Peer& client = h.client();
  for (int i = 0; i < 3; ++i)
    client.submit(h.id(), "add", "", needing({{"requires", {{"region", "us"}}}}));
  client.submit(h.id(), "add", "", needing({{"requires", {{"gpu", 1}}}}));
  EXPECT_EQ(us.take(Kind::kTask).size(), 1u);
  EXPECT_EQ(eu.take(Kind::kTask).size(), 1u);
  us.succeed(us.runs.begin()->first);
  EXPECT_EQ(us.take(Kind::kTask).size(), 1u);
}

TEST(NeedsOfTasks, WhatOneCannotRunDoesNotHoldUpTheOthers) {
  Harness h;
  Peer& eu = h.peer(with_labels({{"region", "eu"}}));
  Peer& us = h.peer(with_labels({{"region", "us"}}));
  Peer& client = h.client();
  client.submit(h.id(), "add", "", needing({{"requires", {{"region", "us"}}}}));
  client.submit(h.id(), "add", "", needing({{"requires", {{"region", "us"}}}}));
  const TaskId plain = h.id();
  client.submit(plain, "add");
  EXPECT_EQ(us.take(Kind::kTask).size(), 1u);
  EXPECT_EQ(eu.expect(Kind::kTask).id, plain);
}

TEST(NeedsOfTasks, AmountsAreHeldForAsLongAsARunLasts) {
  Harness h;
  Peer& worker = h.peer(with_labels({{"gpu", 3}}, 8));
  Peer& client = h.client();
  const Json two{{"consumes", {{"gpu", 2}}}}, one{{"consumes", {{"gpu", 1}}}};
  const TaskId first = h.id(), second = h.id(), small = h.id(), plain = h.id();
  client.submit(first, "add", "", needing(two));
  client.submit(second, "add", "", needing(two));
  client.submit(small, "add", "", needing(one));
  client.submit(plain, "add");
  std::vector<TaskId> got;
  for (const Got& task : worker.take(Kind::kTask)) got.push_back(task.id);
  EXPECT_EQ(got, (std::vector<TaskId>{first, small, plain}));
  EXPECT_EQ(client.query("workers")[0]["used"]["gpu"], 3);
  auto end = [&](const TaskId& id) {
    for (auto& [handle, run] : std::map(worker.runs)) {
      if (run.id == id) worker.succeed(handle);
    }
  };
  end(small);
  EXPECT_TRUE(worker.take(Kind::kTask).empty());
  end(first);
  EXPECT_EQ(worker.expect(Kind::kTask).id, second);
  end(second);
  EXPECT_EQ(client.query("workers")[0]["used"]["gpu"], 0);
}

TEST(NeedsOfTasks, AnAmountComesBackHoweverARunEnds) {
  Harness h([](config::Orchestration& c) { c.other_type.attempts = 10; });
  HelloFields fields = with_labels({{"gpu", 1}}, 4);
  fields.watched = true;
  Peer& worker = h.peer(fields);
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "", needing({{"consumes", {{"gpu", 1}}}}).backoff(0, 0, 1, 0));
  worker.fail(worker.expect(Kind::kTask).ref);
  h.advance(1ms);
  worker.defer(worker.expect(Kind::kTask).ref, 0ms);
  h.advance(1ms);
  worker.give_back({worker.expect(Kind::kTask).ref});
  worker.expect(Kind::kTask);
  Peer& other = h.peer(with_labels({{"gpu", 1}}, 4));
  worker.die();
  h.advance(1s);
  client.cancel(id);
  other.cancelled(other.expect(Kind::kTask).ref);
  EXPECT_EQ(h.named("workers", other.fields.name)["used"]["gpu"], 0);
}

TEST(NeedsOfTasks, AnAgedTaskIsNotStarvedBySmallerOnes) {
  Harness h;
  Peer& worker = h.peer(with_labels({{"gpu", 2}}, 8));
  Peer& client = h.client();
  const Json one{{"consumes", {{"gpu", 1}}}};
  client.submit(h.id(), "add", "", needing(one));
  client.submit(h.id(), "add", "", needing(one));
  const TaskId large = h.id();
  client.submit(large, "add", "", needing({{"consumes", {{"gpu", 2}}}}));
  auto step = [&] {
    client.submit(h.id(), "add", "", needing(one));
    worker.succeed(worker.runs.begin()->first);
    h.advance(1s);
  };
  for (int i = 0; i < 10; ++i) step();
  EXPECT_EQ(worker.runs.size(), 2u) << "the small ones go on while it is young";
  h.advance(30s);  // ageing
  for (int i = 0; i < 2; ++i) step();
  ASSERT_EQ(worker.runs.size(), 1u);
  EXPECT_EQ(worker.runs.begin()->second.id, large);
  // Once it is gone the others have their turn again, also if it was cancelled while it waited.
  worker.succeed(worker.runs.begin()->first);
  EXPECT_EQ(worker.runs.size(), 2u);
}

TEST(NeedsOfTasks, WhatIsKeptForAnAgedTaskIsFreeAgainWhenItIsCancelled) {
  Harness h;
  Peer& worker = h.peer(with_labels({{"gpu", 2}}, 8));
  Peer& client = h.client();
  const Json one{{"consumes", {{"gpu", 1}}}};
  client.submit(h.id(), "add", "", needing(one));
  client.submit(h.id(), "add", "", needing(one));
  const TaskId large = h.id();
  client.submit(large, "add", "", needing({{"consumes", {{"gpu", 2}}}}));
  client.submit(h.id(), "add", "", needing(one));
  h.advance(31s);
  worker.succeed(worker.runs.begin()->first);
  EXPECT_EQ(worker.runs.size(), 1u);
  client.cancel(large);
  EXPECT_EQ(worker.runs.size(), 2u);
}

TEST(NeedsOfTasks, PreferredWorkersAreTakenFirstWhileTheyAreFree) {
  Harness h;
  Peer& plain = h.worker({"add"});
  Peer& ssd = h.peer(with_labels({{"disk", "ssd"}}));
  Peer& client = h.client();
  const Json prefers{{"prefers", {{"disk", "ssd"}}}};
  client.submit(h.id(), "add", "", needing(prefers));
  EXPECT_EQ(ssd.take(Kind::kTask).size(), 1u);
  client.submit(h.id(), "add", "", needing(prefers));
  EXPECT_EQ(plain.take(Kind::kTask).size(), 1u) << "nothing waits beside a free slot";
}

TEST(NeedsOfTasks, TheTypeHasNeedsThatASubmitMayReplaceOneByOne) {
  Harness h([](config::Orchestration& c) {
    config::TaskType type = c.other_type;
    type.required.entries = {{"region", {"eu", 0}}};
    type.consumes.entries = {{"gpu", 1}};
    c.types["add"] = type;
  });
  Peer& eu = h.peer(with_labels({{"region", "eu"}, {"gpu", 1}}, 8));
  Peer& us = h.peer(with_labels({{"region", "us"}, {"gpu", 1}}, 8));
  Peer& client = h.client();
  client.submit(h.id(), "add");
  client.submit(h.id(), "add");
  EXPECT_EQ(eu.take(Kind::kTask).size(), 1u);
  client.submit(h.id(), "add", "", needing({{"requires", {{"region", "us"}}}}));
  client.submit(h.id(), "add", "",
                needing({{"requires", {{"region", "us"}}}, {"consumes", Json::object()}}));
  EXPECT_EQ(us.take(Kind::kTask).size(), 2u);
}

TEST(NeedsOfTasks, WhatNobodyCanEverFitIsAnError) {
  Harness h;
  h.peer(with_labels({{"region", "eu"}, {"gpu", 2}}));
  Peer& client = h.client();
  h.advance(11s);
  auto refused = [&](const Json& needs) {
    client.submit(h.id(), "add", "", needing(needs));
    return client.expect_error(code::kUnserved).message;
  };
  const std::string who = "no worker that serves type \"add\" has ";
  EXPECT_EQ(refused({{"requires", {{"region", "mars"}}}}), who + "region \"mars\"; there are eu");
  EXPECT_EQ(refused({{"consumes", {{"gpu", 3}}}}), who + "3 of \"gpu\"; the most is 2");
  EXPECT_EQ(refused({{"consumes", {{"gpus", 1}}}}), who + "1 of \"gpus\"; did you mean \"gpu\"?");
  EXPECT_EQ(refused({{"consumes", {{"memory", 1}}}}), who + "1 of \"memory\"");
  h.peer(with_labels({{"region", "us"}}));
  EXPECT_EQ(refused({{"requires", {{"region", "us"}, {"gpu", 1}}}}),
            who + "all that the task needs");
  h.expect_empty();
}

TEST(NeedsOfTasks, RightAfterTheStartItMayWaitForWhoCouldFit) {
  Harness h;
  Peer& client = h.client();
  h.peer(with_labels({{"region", "eu"}}));
  const Json us{{"requires", {{"region", "us"}}}};
  client.submit(h.id(), "add", "", needing(us));
  EXPECT_TRUE(client.quiet());
  Peer& late = h.peer(with_labels({{"region", "us"}}));
  EXPECT_EQ(late.take(Kind::kTask).size(), 1u);
  client.submit(h.id(), "add", "", needing({{"requires", {{"region", "mars"}}}}));
  h.advance(20s);
  client.expect_error(code::kUnserved);
  // One that was served before waits for ever.
  late.disconnect();
  client.submit(h.id(), "add", "", needing(us));
  h.advance(1min);
  EXPECT_TRUE(client.quiet());
}

TEST(NeedsOfTasks, ATypeMayLetThemWait) {
  Harness h([](config::Orchestration& c) {
    config::TaskType type = c.other_type;
    type.unserved = config::Unserved::wait;
    c.types["add"] = type;
  });
  h.peer(with_labels({{"region", "eu"}}));
  Peer& client = h.client();
  h.advance(1min);
  client.submit(h.id(), "add", "", needing({{"requires", {{"region", "us"}}}}));
  h.advance(1min);
  EXPECT_TRUE(client.quiet());
  EXPECT_TRUE(h.logged("1 tasks wait"));
  EXPECT_EQ(h.peer(with_labels({{"region", "us"}})).take(Kind::kTask).size(), 1u);
}

TEST(NeedsOfTasks, LabelsOfAHelloThatAreWrongAreRefused) {
  Harness h;
  Json many = Json::object();
  for (int i = 0; i < 33; ++i) many[std::to_string(i)] = 1;
  for (const Json& labels :
       {Json("eu"), Json{{"gpu", -1}}, Json{{"gpu", 1.5}}, Json{{"gpu", 1'000'000'001}},
        Json{{"", 1}}, Json{{"a", ""}}, Json{{"a", Json::array()}}, many}) {
    Peer& peer = h.peer(with_labels(labels), false);
    peer.connect();
    EXPECT_EQ(peer.expect_error(code::kInvalid).value["field"], "labels") << labels;
  }
}

TEST(NeedsOfTasks, LanesThatAreEmptyDoNotPileUp) {
  Harness h;
  Peer& worker = h.peer(with_labels({{"gpu", 1000}}, 1));
  Peer& client = h.client();
  for (int i = 1; i <= 500; ++i) {
    client.submit(h.id(), "add", "", needing({{"consumes", {{"gpu", i}}}}));
    worker.succeed(worker.expect(Kind::kTask).ref);
    client.inbox.clear();
  }
  EXPECT_LE(BrokerInspector::lanes(*h.broker), 200u);
}

// --- sticky keys ---------------------------------------------------------------------------------

class Sticky : public testing::Test {
 protected:
  Peer& add_worker(const std::string& name, uint64_t slots = 100) {
    return h.peer({.role = "worker", .name = name, .types = {"add"}, .slots = slots});
  }
  // The worker that gets a task of this key.
  Peer* runs(const std::string& key) {
    client.submit(h.id(), "add", key, sticky(key));
    for (Peer* worker : workers) {
      for (const Got& task : worker->take(Kind::kTask)) {
        EXPECT_EQ(task.body, key);
        worker->succeed(task.ref);
        client.inbox.clear();
        return worker;
      }
    }
    return nullptr;
  }
  Harness h;
  Peer& client = h.client();
  std::vector<Peer*> workers{&add_worker("a"), &add_worker("b"), &add_worker("c")};
};

TEST_F(Sticky, AKeyGoesToOneWorkerAndKeysSpread) {
  std::map<std::string, Peer*> first;
  std::map<Peer*, int> keys;
  for (int i = 0; i < 90; ++i) {
    const std::string key = "key " + std::to_string(i);
    ++keys[first[key] = runs(key)];
  }
  ASSERT_EQ(keys.size(), 3u);
  for (auto& [worker, count] : keys) EXPECT_GT(count, 10) << worker->fields.name;
  workers.push_back(&add_worker("d"));
  for (auto& [key, worker] : first) EXPECT_EQ(runs(key), worker) << "whoever comes";
}

TEST_F(Sticky, ItWaitsForItsWorkerWhileOthersAreFree) {
  Harness one;
  Peer& submitter = one.client();
  std::vector<Peer*> two{&one.peer({.role = "worker", .name = "a", .types = {"add"}}),
                         &one.peer({.role = "worker", .name = "b", .types = {"add"}})};
  for (int i = 0; i < 3; ++i) submitter.submit(one.id(), "add", "", sticky("k"));
  Peer* its = two[0]->quiet() ? two[1] : two[0];
  for (int i = 0; i < 3; ++i) its->succeed(its->expect(Kind::kTask).ref);
  EXPECT_EQ(submitter.take(Kind::kResult).size(), 3u);
  EXPECT_TRUE((its == two[0] ? two[1] : two[0])->quiet());
}

TEST_F(Sticky, WhenItsWorkerIsGoneAnotherTakesAll) {
  Peer* its = runs("k");
  its->slots(1);
  for (int i = 0; i < 4; ++i) client.submit(h.id(), "add", "", sticky("k"));
  EXPECT_EQ(its->take(Kind::kTask).size(), 1u);
  its->disconnect();
  h.advance(999ms);
  for (Peer* worker : workers) EXPECT_TRUE(worker->quiet()) << "it may come back";
  h.advance(1ms);
  std::vector<size_t> got;
  for (Peer* worker : workers) got.push_back(worker->take(Kind::kTask).size());
  std::sort(got.begin(), got.end());
  EXPECT_EQ(got, (std::vector<size_t>{0, 0, 4}));
}

TEST_F(Sticky, AWorkerThatComesBackInTimeKeepsItsKeys) {
  Peer* its = runs("k");
  its->disconnect();
  client.submit(h.id(), "add", "", sticky("k"));
  h.advance(500ms);
  its->come_back();
  EXPECT_EQ(its->take(Kind::kTask).size(), 1u);
}

TEST_F(Sticky, AWorkerThatDrainsGivesItsKeysAway) {
  Peer* its = runs("k");
  its->slots(1);
  client.submit(h.id(), "add", "", sticky("k"));
  client.submit(h.id(), "add", "", sticky("k"));
  its->take(Kind::kTask);
  its->slots(0);
  size_t elsewhere = 0;
  for (Peer* worker : workers) elsewhere += worker->take(Kind::kTask).size();
  EXPECT_EQ(elsewhere, 1u);
  EXPECT_NE(runs("k"), its);
}

TEST_F(Sticky, KeysReturnToTheirWorkersWhenTheBrokerIsRestarted) {
  std::map<std::string, std::string> first;
  for (int i = 0; i < 30; ++i) {
    const std::string key = "key " + std::to_string(i);
    first[key] = runs(key)->fields.name;
  }
  h.restart();
  for (Peer* worker : workers) worker->connect();
  client.connect();
  for (auto& [key, worker] : first) EXPECT_EQ(runs(key)->fields.name, worker);
}

TEST_F(Sticky, AKeyIsForgottenAfterAWhileWithoutTasks) {
  Peer* its = runs("k");
  Peer* other = its == workers[0] ? workers[1] : workers[0];
  client.submit(h.id(), "add", "",
                Attrs().text(Attribute::kStickyKey, "k").number(Attribute::kDelay, 3'600'000));
  h.advance(30min);
  EXPECT_EQ(BrokerInspector::sticky_keys(*h.broker), 1u) << "it has a task";
  h.advance(31min);
  for (Peer* worker : workers) {
    for (const Got& task : worker->take(Kind::kTask)) worker->succeed(task.ref);
  }
  client.inbox.clear();
  h.advance(9min);
  EXPECT_EQ(BrokerInspector::sticky_keys(*h.broker), 1u);
  h.advance(1min);
  EXPECT_EQ(BrokerInspector::sticky_keys(*h.broker), 0u);
  (void)other;
}

TEST_F(Sticky, KeysAreBounded) {
  h.reload([](config::Orchestration& c) { c.tuskd.limits.max_sticky_keys = 10; });
  for (int i = 0; i < 50; ++i) runs("key " + std::to_string(i));
  EXPECT_EQ(BrokerInspector::sticky_keys(*h.broker), 10u);
}

TEST_F(Sticky, OfTheWorkersThatFitItsNeeds) {
  Harness two;
  Peer& submitter = two.client();
  Peer& gpu = two.peer(with_labels({{"gpu", 1}}, 9, "g"));
  for (const char* name : {"a", "b", "c"})
    two.peer({.role = "worker", .name = name, .types = {"add"}});
  for (int i = 0; i < 9; ++i) {
    submitter.submit(
        two.id(), "add", "",
        needing({{"requires", {{"gpu", 1}}}}).text(Attribute::kStickyKey, std::to_string(i)));
  }
  EXPECT_EQ(gpu.take(Kind::kTask).size(), 9u);
}

TEST_F(Sticky, TasksThatWaitedForAnyWorkerStickToTheFirst) {
  Harness none;
  Peer& submitter = none.client();
  for (int i = 0; i < 4; ++i) submitter.submit(none.id(), "add", "", sticky("k"));
  Peer& first = none.peer({.role = "worker", .name = "a", .types = {"add"}});
  Peer& second = none.peer({.role = "worker", .name = "b", .types = {"add"}, .slots = 9});
  EXPECT_TRUE(second.quiet());
  for (int i = 0; i < 4; ++i) first.succeed(first.expect(Kind::kTask).ref);
}

}  // namespace
}  // namespace tusk::core
