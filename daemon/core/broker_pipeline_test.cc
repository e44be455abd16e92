// Items that move from stage to stage, each only when there is room behind it.
#include <gtest/gtest.h>

#include <random>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

void three_stages(config::Orchestration& c) {
  c.stages = {{.name = "clean", .language = "", .function = "clean_rows", .settings = {}},
              {.name = "enrich", .language = "", .function = "add_keys", .settings = {}},
              {.name = "store", .language = "", .function = "insert", .settings = {}}};
}

class Pipeline : public ::testing::Test {
 protected:
  explicit Pipeline(size_t capacity = 100)
      : h([capacity](config::Orchestration& c) {
          three_stages(c);
          c.tuskd.limits.stage_capacity = capacity;
        }) {}

  Json stage(const std::string& name) { return h.named("stages", name); }

  Harness h;
  Peer& client = h.client();
};

TEST_F(Pipeline, AnItemGoesThroughTheStagesInOrderAndLeavesByTheEdge) {
  Peer& worker = h.stage_worker({"clean_rows", "add_keys", "insert"}, 3);
  const TaskId id = h.id();
  const uint64_t request = client.push(id, "clean", "a", Attrs().text(Attribute::kTrace, "t"));
  EXPECT_EQ(client.expect(Kind::kAccepted).ref, request);
  Got item = worker.expect(Kind::kItem);
  EXPECT_EQ(item.name, "clean_rows");
  EXPECT_EQ(item.id, id);
  EXPECT_EQ(item.body, "a");
  EXPECT_EQ(item.attempt, 1u);
  EXPECT_EQ(item.at(Attribute::kTrace), "t");
  worker.succeed(item.ref, "b", Attrs().number(Attribute::kCodec, 1));
  item = worker.expect(Kind::kItem);
  EXPECT_EQ(item.name, "add_keys");
  EXPECT_EQ(item.id, id);
  EXPECT_EQ(item.body, "b");
  EXPECT_EQ(item.attempt, 1u);
  EXPECT_EQ(item.at(Attribute::kCodec), 1);
  EXPECT_FALSE(item.has(Attribute::kTrace)) << "the handler did not pass it on";
  worker.succeed(item.ref, "c");
  item = worker.expect(Kind::kItem);
  EXPECT_EQ(item.name, "insert");
  EXPECT_EQ(item.body, "c");
  worker.succeed(item.ref, "d", Attrs().raw(1000, 5));
  ASSERT_EQ(h.edge_items.size(), 1u);
  const Got& out = h.edge_items[0];
  EXPECT_EQ(out.kind, Kind::kItem);
  EXPECT_EQ(out.ref, 0u);
  EXPECT_EQ(out.id, id);
  EXPECT_EQ(out.name, "store");
  EXPECT_EQ(out.attempt, 1u);
  EXPECT_EQ(out.body, "d");
  EXPECT_EQ(out.attributes.at(1000), 5);
  EXPECT_TRUE(client.quiet()) << "endings of items are told to nobody";
  h.expect_empty();
  for (const char* name : {"clean", "enrich", "store"}) EXPECT_EQ(stage(name)["done"], 1);
}

TEST_F(Pipeline, APushMayBeginAtAnyStage) {
  Peer& worker = h.stage_worker({"clean_rows", "add_keys", "insert"});
  client.push(h.id(), "store", "x");
  EXPECT_EQ(worker.expect(Kind::kItem).name, "insert");
}

TEST_F(Pipeline, ANilResultDropsTheItem) {
  Peer& worker = h.stage_worker({"clean_rows", "add_keys"});
  client.push(h.id(), "clean", "x");
  worker.drop(worker.expect(Kind::kItem).ref);
  EXPECT_TRUE(worker.quiet());
  EXPECT_EQ(stage("clean")["dropped"], 1);
  EXPECT_EQ(stage("clean")["done"], 0);
  EXPECT_EQ(stage("enrich")["waiting"], 0);
  h.expect_empty();
}

TEST_F(Pipeline, AnEmptyResultIsNotNil) {
  Peer& worker = h.stage_worker({"clean_rows", "add_keys"});
  client.push(h.id(), "clean", "x");
  worker.succeed(worker.expect(Kind::kItem).ref, "");
  EXPECT_EQ(worker.expect(Kind::kItem).body, "");
}

TEST_F(Pipeline, AnUnknownStageIsAnErrorWithTheNearestName) {
  const uint64_t request = client.push(h.id(), "claen");
  Got error = client.expect_error(code::kUnknownStage);
  EXPECT_EQ(error.ref, request);
  EXPECT_NE(error.message.find("\"clean\""), std::string::npos) << error.message;
}

TEST_F(Pipeline, AnItemThatFailsIsDeadAndItsRoomIsFree) {
  Peer& worker = h.stage_worker({"clean_rows", "add_keys"});
  client.push(h.id(), "clean", "x");
  worker.fail(worker.expect(Kind::kItem).ref, Attrs().error("E", "m"));
  EXPECT_EQ(stage("clean")["dead"], 1);
  EXPECT_EQ(h.counters().items_dead, 1u);
  EXPECT_TRUE(h.logged("is dead in stage clean"));
  h.expect_empty();
}

TEST_F(Pipeline, ACheckpointIsForTheNextRunInTheSameStage) {
  h.reload([](config::Orchestration& c) { c.other_type.attempts = 2; });
  Peer& worker = h.stage_worker({"clean_rows", "add_keys", "insert"});
  client.push(h.id(), "clean", "x");
  Got item = worker.expect(Kind::kItem);
  worker.checkpoint(item.ref, "half");
  worker.fail(item.ref);
  h.advance(1s);
  item = worker.expect(Kind::kItem);
  EXPECT_EQ(item.at(Attribute::kCheckpoint), (Json{{"hex", "68616c66"}}));
  worker.succeed(item.ref, "y");
  EXPECT_FALSE(worker.expect(Kind::kItem).has(Attribute::kCheckpoint));
}

TEST_F(Pipeline, AnItemIsTriedAgainAsATaskWouldBe) {
  h.reload([](config::Orchestration& c) { c.other_type.attempts = 2; });
  Peer& worker = h.stage_worker({"clean_rows", "add_keys", "insert"});
  client.push(h.id(), "clean", "x");
  worker.fail(worker.expect(Kind::kItem).ref);
  h.advance(1s);
  Got again = worker.expect(Kind::kItem);
  EXPECT_EQ(again.attempt, 2u);
  worker.succeed(again.ref, "y");
  Got next = worker.expect(Kind::kItem);
  EXPECT_EQ(next.attempt, 1u) << "each stage has its own attempts";
  worker.fail(next.ref);
  h.advance(1s);
  worker.fail(worker.expect(Kind::kItem).ref);
  EXPECT_EQ(stage("enrich")["dead"], 1);
}

// --- pushes --------------------------------------------------------------------------------------

TEST_F(Pipeline, APushSentAgainIsAcceptedAndDoesNothing) {
  Peer& worker = h.stage_worker({"clean_rows"}, 5);
  const TaskId id = h.id();
  client.push(id, "clean", "x");
  client.expect(Kind::kAccepted);
  client.push(id, "clean", "x", Attrs().flag(Attribute::kResent));
  client.expect(Kind::kAccepted);
  worker.drop(worker.expect(Kind::kItem).ref);
  client.push(id, "clean", "x", Attrs().flag(Attribute::kResent));
  client.expect(Kind::kAccepted);
  EXPECT_TRUE(worker.quiet());
  EXPECT_EQ(h.counters().pushed, 1u);
}

TEST_F(Pipeline, APushOfAnIdThatIsSomethingElseIsAConflict) {
  Peer& worker = h.worker({"add"});
  Peer& cleaner = h.stage_worker({"clean_rows", "add_keys"}, 5);
  const TaskId task = h.id(), item = h.id();
  client.submit(task, "add", "x");
  client.push(task, "clean", "x");
  client.expect_error(code::kIdConflict);
  worker.succeed(worker.expect(Kind::kTask).ref);
  client.expect(Kind::kResult);
  client.push(task, "clean", "x");
  client.expect_error(code::kIdConflict);
  client.push(item, "clean", "x");
  client.expect(Kind::kAccepted);
  auto conflicts = [&] {
    client.push(item, "clean", "y");
    client.expect_error(code::kIdConflict);
    client.push(item, "store", "x");
    client.expect_error(code::kIdConflict);
    client.submit(item, "add", "x");
    client.expect_error(code::kIdConflict);
    client.push(item, "clean", "x");
    client.expect(Kind::kAccepted);
  };
  conflicts();
  cleaner.succeed(cleaner.expect(Kind::kItem).ref, "y");
  conflicts();  // in the next stage, with another body
  cleaner.drop(cleaner.expect(Kind::kItem).ref);
  conflicts();  // gone
}

TEST_F(Pipeline, NeedsAnIdFromSessions) {
  client.send([&](Writer& w) {
    w.start(Kind::kPush, 5).pack_uint64(1);
    w.packer().pack_nil();
    w.text("clean");
    w.packer().pack_nil();
  });
  client.expect_error(code::kInvalid);
}

// A stage and a type may have one name; what the broker remembers of an ended task by its name and
// body must tell them apart. A push was accepted, and nothing ran.
TEST_F(Pipeline, AnEndedTaskOfATypeNamedLikeAStageIsNoItem) {
  Peer& worker = h.peer({.role = "worker", .types = {"clean"}, .handlers = {"clean_rows"}});
  const TaskId task = h.id(), item = h.id();
  client.submit(task, "clean", "a");
  worker.succeed(worker.expect(Kind::kTask).ref);
  client.expect(Kind::kResult);
  client.push(item, "clean", "a");
  client.expect(Kind::kAccepted);
  worker.drop(worker.expect(Kind::kItem).ref);
  client.push(task, "clean", "a");
  client.expect_error(code::kIdConflict);
  client.submit(item, "clean", "a");
  client.expect_error(code::kIdConflict);
}

class SmallPipeline : public Pipeline {
 protected:
  SmallPipeline() : Pipeline(2) {}
};

TEST_F(SmallPipeline, PushesWaitUnansweredUntilThereIsRoom) {
  std::vector<uint64_t> requests;
  for (const char* body : {"1", "2", "3", "4"})
    requests.push_back(client.push(h.id(), "clean", body));
  EXPECT_EQ(client.take(Kind::kAccepted).size(), 2u);
  EXPECT_EQ(stage("clean")["parked"], 2);
  Peer& worker = h.stage_worker({"clean_rows"}, 1);
  Got item = worker.expect(Kind::kItem);
  EXPECT_TRUE(client.quiet()) << "an item that runs has its place in the stage";
  worker.drop(item.ref);
  EXPECT_EQ(client.expect(Kind::kAccepted).ref, requests[2]);
  EXPECT_TRUE(client.quiet());
  for (const char* body : {"2", "3", "4"}) {
    item = worker.expect(Kind::kItem);
    EXPECT_EQ(item.body, body);
    worker.drop(item.ref);
  }
  EXPECT_EQ(client.expect(Kind::kAccepted).ref, requests[3]);
  h.expect_empty();
}

TEST_F(SmallPipeline, AnItemGoesToAWorkerOnlyWithRoomInTheNextStage) {
  Peer& cleaner = h.stage_worker({"clean_rows"}, 10);
  for (int i = 0; i < 6; ++i) client.push(h.id(), "clean", std::to_string(i));
  auto items = cleaner.take(Kind::kItem);
  ASSERT_EQ(items.size(), 2u) << "each has its room reserved in the next stage";
  for (const Got& item : items) cleaner.succeed(item.ref, "y");
  EXPECT_TRUE(cleaner.quiet()) << "the next stage is full";
  EXPECT_EQ(stage("enrich")["waiting"], 2);
  Peer& enricher = h.stage_worker({"add_keys"}, 1);
  EXPECT_TRUE(cleaner.quiet()) << "what runs still has its room";
  enricher.drop(enricher.expect(Kind::kItem).ref);
  EXPECT_EQ(cleaner.take(Kind::kItem).size(), 1u);
  EXPECT_EQ(client.take(Kind::kAccepted).size(), 4u);
}

TEST_F(SmallPipeline, ADroppedItemGivesItsReservedRoomToThePushersOfTheNextStage) {
  Peer& cleaner = h.stage_worker({"clean_rows"}, 10);
  client.push(h.id(), "clean", "1");
  client.push(h.id(), "clean", "2");
  client.take(Kind::kAccepted);
  const uint64_t waits = client.push(h.id(), "enrich", "x");
  EXPECT_TRUE(client.quiet()) << "its room is reserved";
  cleaner.drop(cleaner.expect(Kind::kItem).ref);
  EXPECT_EQ(client.expect(Kind::kAccepted).ref, waits);
}

TEST_F(SmallPipeline, RoomThatADeadWorkerHadReservedIsUsedAtOnce) {
  h.reload([](config::Orchestration& c) { c.other_type.attempts = 3; });
  for (int how = 0; how < 5; ++how) {
    Peer& cleaner =
        h.peer({.role = "worker", .handlers = {"clean_rows"}, .slots = 10, .watched = true});
    client.push(h.id(), "clean", "1");
    client.push(h.id(), "clean", "2");
    client.take(Kind::kAccepted);
    auto items = cleaner.take(Kind::kItem);
    ASSERT_EQ(items.size(), 2u);
    const uint64_t waits = client.push(h.id(), "enrich", "x");
    EXPECT_TRUE(client.quiet());
    cleaner.slots(0);
    if (how == 0) cleaner.die();
    if (how == 1) cleaner.send([](Writer& w) { w.bye(""); });
    if (how == 2) cleaner.give_back({items[0].ref});
    if (how == 3) cleaner.fail(items[0].ref);
    if (how == 4) cleaner.cancelled(items[0].ref);
    EXPECT_EQ(client.expect(Kind::kAccepted).ref, waits) << how;
    // Everything out again.
    if (cleaner.connected()) cleaner.send([](Writer& w) { w.bye(""); });
    cleaner.disconnect();
    Peer& rest = h.stage_worker({"clean_rows", "add_keys"}, 10);
    for (int round = 0; round < 20; ++round) {
      for (const Got& item : rest.take(Kind::kItem)) rest.drop(item.ref);
      h.advance(200ms);
    }
    rest.send([](Writer& w) { w.bye(""); });
    client.inbox.clear();
    h.expect_empty();
  }
}

TEST_F(SmallPipeline, PushersHaveABoundedNumberOfUnansweredPushes) {
  h.reload([](config::Orchestration& c) { c.tuskd.limits.push_window = 3; });
  for (int i = 0; i < 5; ++i) client.push(h.id(), "clean");
  EXPECT_EQ(client.take(Kind::kAccepted).size(), 2u);
  const uint64_t request = client.push(h.id(), "clean");
  Got error = client.expect_error(code::kBusy);
  EXPECT_EQ(error.ref, request);
  EXPECT_EQ(error.value["limit"], "push_window");
  EXPECT_EQ(error.value["value"], 3);
  Peer& other = h.client();
  other.push(h.id(), "clean");
  EXPECT_TRUE(other.quiet()) << "each pusher has its own";
  Peer& worker = h.stage_worker({"clean_rows"}, 1);
  worker.drop(worker.expect(Kind::kItem).ref);
  client.expect(Kind::kAccepted);
  client.push(h.id(), "clean");
  EXPECT_TRUE(client.quiet()) << "one place in the window is free again";
}

TEST_F(SmallPipeline, AParkedPushThatIsSentAgainWaitsForRoomToo) {
  client.push(h.id(), "clean");
  client.push(h.id(), "clean");
  client.take(Kind::kAccepted);
  const TaskId id = h.id();
  Peer& pusher = h.client(false);
  pusher.push(id, "clean", "x");
  pusher.disconnect();  // and never learns whether it was accepted
  pusher.connect();
  const uint64_t again = pusher.push(id, "clean", "x", Attrs().flag(Attribute::kResent));
  EXPECT_TRUE(pusher.quiet()) << "back-pressure is not to be had around";
  const uint64_t twice = pusher.push(id, "clean", "x", Attrs().flag(Attribute::kResent));
  Peer& worker = h.stage_worker({"clean_rows"}, 1);
  worker.drop(worker.expect(Kind::kItem).ref);
  std::set<uint64_t> accepted;
  for (const Got& got : pusher.take(Kind::kAccepted)) accepted.insert(got.ref);
  EXPECT_EQ(accepted, (std::set<uint64_t>{again, twice}));
}

TEST_F(SmallPipeline, AParkedPushMayBeCancelled) {
  client.push(h.id(), "clean");
  client.push(h.id(), "clean");
  client.take(Kind::kAccepted);
  const TaskId id = h.id();
  const uint64_t push = client.push(id, "clean");
  const uint64_t cancel = client.cancel(id);
  auto errors = client.take(Kind::kError);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].ref, push) << "the push is answered";
  EXPECT_EQ(client.expect(Kind::kAnswer).ref, cancel);
  EXPECT_EQ(stage("clean")["parked"], 0);
  client.push(h.id(), "clean");
  EXPECT_EQ(stage("clean")["parked"], 1);
}

TEST_F(SmallPipeline, CancelOfAWaitingItemMakesRoom) {
  const TaskId id = h.id();
  client.push(id, "clean");
  client.push(h.id(), "clean");
  const uint64_t waits = client.push(h.id(), "clean");
  client.take(Kind::kAccepted);
  client.cancel(id);
  EXPECT_EQ(client.expect(Kind::kAccepted).ref, waits);
  EXPECT_EQ(client.expect(Kind::kAnswer).value["state"], "cancelled");
}

TEST_F(SmallPipeline, ACancelledItemWhoseWorkerIsSilentKeepsItsRoomUntilItAnswers) {
  Peer& worker = h.stage_worker({"clean_rows"}, 5);
  const TaskId id = h.id();
  client.push(id, "clean");
  client.push(h.id(), "clean");
  client.take(Kind::kAccepted);
  const uint64_t waits = client.push(h.id(), "clean");
  const uint64_t next = client.push(h.id(), "enrich");
  client.cancel(id);
  client.expect(Kind::kAnswer);
  h.advance(5s);
  EXPECT_TRUE(client.quiet());
  worker.cancelled(worker.expect(Kind::kItem).ref);
  // Its room in its own stage, and the room that was reserved: the waiting push takes the former
  // and runs at once, which reserves the latter again; or the push into the next stage has it.
  auto accepted = client.take(Kind::kAccepted);
  ASSERT_GE(accepted.size(), 1u);
  EXPECT_EQ(accepted[0].ref, waits);
  for (size_t i = 1; i < accepted.size(); ++i) EXPECT_EQ(accepted[i].ref, next);
}

TEST_F(SmallPipeline, APusherThatLeavesLeavesItsParkedItems) {
  client.push(h.id(), "clean", "1");
  client.push(h.id(), "clean", "2");
  Peer& pusher = h.client(false);
  pusher.push(h.id(), "clean", "3");
  pusher.disconnect();
  Peer& worker = h.stage_worker({"clean_rows"});
  for (const char* body : {"1", "2", "3"}) {
    Got item = worker.expect(Kind::kItem);
    EXPECT_EQ(item.body, body);
    worker.drop(item.ref);
  }
}

// --- workers that die ----------------------------------------------------------------------------

TEST_F(Pipeline, AWorkersDeathInTheMiddleOfAStageRunsTheItemElsewhere) {
  Peer& a = h.peer({.role = "worker", .handlers = {"add_keys"}, .watched = true});
  client.push(h.id(), "enrich", "x");
  a.expect(Kind::kItem);
  Peer& b = h.stage_worker({"add_keys"});
  a.die();
  Got again = b.expect(Kind::kItem);
  EXPECT_EQ(again.body, "x");
  EXPECT_EQ(again.attempt, 2u);
  b.succeed(again.ref, "y");
  EXPECT_EQ(stage("enrich")["crashed"], 1);
  EXPECT_EQ(stage("store")["waiting"], 1);
}

TEST_F(Pipeline, AnItemThatKillsMaxCrashesWorkersIsDeadButNotItsNeighbours) {
  for (int i = 0; i < 2; ++i) {
    Peer& worker =
        h.peer({.role = "worker", .handlers = {"clean_rows"}, .slots = 1, .watched = true});
    if (i == 0) client.push(h.id(), "clean", "bad");
    worker.expect(Kind::kItem);
    worker.die();
  }
  EXPECT_EQ(stage("clean")["dead"], 1);
  h.expect_empty();
}

TEST_F(SmallPipeline, WorkersThatDieWithManyItemsNeverMakeAStageHoldMoreThanItMay) {
  // The invariant is checked by the harness after every step.
  for (int i = 0; i < 10; ++i) client.push(h.id(), "clean", std::to_string(i));
  for (int death = 0; death < 5; ++death) {
    Peer& worker =
        h.peer({.role = "worker", .handlers = {"clean_rows"}, .slots = 10, .watched = true});
    EXPECT_FALSE(worker.quiet());
    worker.die();
  }
  EXPECT_GT(h.counters().items_dead, 0u);
}

TEST_F(SmallPipeline, EveryItemEndsOnceWhateverDies) {
  for (uint32_t seed = 1; seed <= 10; ++seed) {
    std::mt19937 random(seed);
    const uint64_t before = h.counters().items_dropped + h.counters().items_dead;
    const size_t left_before = h.edge_items.size();
    std::vector<Peer*> workers;
    const std::vector<std::string> handlers = {"clean_rows", "add_keys", "insert"};
    auto hire = [&](std::vector<std::string> which) {
      workers.push_back(&h.peer({.role = "worker",
                                 .handlers = std::move(which),
                                 .slots = 1 + random() % 4,
                                 .watched = true}));
    };
    for (const std::string& name : handlers) hire({name});
    hire(handlers);
    constexpr size_t kItems = 100;
    size_t pushed = 0;
    std::map<TaskId, int> at_last;
    for (int step = 0; step < 20'000; ++step) {
      if (pushed < kItems && random() % 2 && client.quiet()) {
        client.push(h.id(), "clean", std::to_string(pushed++));
      }
      client.take(Kind::kAccepted);
      const size_t at = random() % workers.size();
      Peer& w = *workers[at];
      if (step < 2000 && random() % 50 == 0) {
        const auto which = w.fields.handlers;
        w.die(random() % 2);
        workers.erase(workers.begin() + static_cast<long>(at));
        hire(which);
      } else if (!w.runs.empty()) {
        w.inbox.clear();
        const uint64_t handle = w.runs.begin()->first;
        const uint32_t what = random() % 20;
        if (what == 0) {
          w.drop(handle);
        } else if (what == 1) {
          w.fail(handle);
        } else if (what == 2) {
          w.give_back({handle});
        } else {
          w.succeed(handle, "x");
        }
      }
      if (random() % 10 == 0) h.advance(10ms);
      if (pushed == kItems && BrokerInspector::live_tasks(*h.broker) == 0) break;
    }
    h.expect_empty();
    const size_t left = h.edge_items.size() - left_before;
    const uint64_t gone = h.counters().items_dropped + h.counters().items_dead - before;
    EXPECT_EQ(left + gone, kItems) << "seed " << seed;
    std::set<TaskId> ids;
    for (size_t i = left_before; i < h.edge_items.size(); ++i) ids.insert(h.edge_items[i].id);
    EXPECT_EQ(ids.size(), left) << "no item leaves twice";
    for (Peer* w : workers) w->send([](Writer& out) { out.bye(""); });
  }
}

// --- the plain edges -----------------------------------------------------------------------------

class PipelineEdge : public SmallPipeline {
 protected:
  void pull(const Peer::Write& write, const std::vector<proto::Bytes>& bodies = {}) {
    Writer out;
    write(out);
    const std::string records(out.records().view());
    h.handle(EdgeItems{records, bodies.empty() ? out.frames() : bodies});
  }
  static void push_nil(Writer& w, std::string_view stage) {
    w.start(Kind::kPush, 5).pack_uint64(0);
    w.packer().pack_nil();
    w.text(stage);
    w.packer().pack_nil();
  }
};

TEST_F(PipelineEdge, ItemsComeInWithOrWithoutAnId) {
  Peer& worker = h.stage_worker({"clean_rows"}, 2);
  const TaskId id = h.id();
  pull([&](Writer& w) {
    w.push(0, id, "clean", BodyOut::copied("x"), {});
    push_nil(w, "clean");
  });
  EXPECT_EQ(worker.expect(Kind::kItem).id, id);
  EXPECT_NE(worker.expect(Kind::kItem).id, TaskId{});
  EXPECT_EQ(h.counters().pushed, 2u);
}

TEST_F(PipelineEdge, IdsThatTheBrokerMakesAreUnique) {
  h.reload([](config::Orchestration& c) { c.tuskd.limits.stage_capacity = 1000; });
  for (int i = 0; i < 500; ++i) pull([&](Writer& w) { push_nil(w, "clean"); });
  EXPECT_EQ(BrokerInspector::live_tasks(*h.broker), 500u);
}

TEST_F(PipelineEdge, IsNotReadWhileAnItemFromItIsParked) {
  EXPECT_TRUE(h.broker->takes_edge_items());
  for (int i = 0; i < 3; ++i) pull([&](Writer& w) { push_nil(w, "clean"); });
  EXPECT_FALSE(h.broker->takes_edge_items());
  Peer& worker = h.stage_worker({"clean_rows"});
  worker.drop(worker.expect(Kind::kItem).ref);
  EXPECT_TRUE(h.broker->takes_edge_items());
}

TEST_F(PipelineEdge, WhatIsWrongIsDroppedAndCounted) {
  h.handle(EdgeItems{"\xc1", {}});
  pull([&](Writer& w) { push_nil(w, "nowhere"); });
  pull([&](Writer& w) { w.ping(1); });
  pull([&](Writer& w) { w.push(0, h.id(), "clean", {}, Attrs().raw(999, 1)); });
  pull([&](Writer& w) {
    w.push(0, h.id(), "clean", BodyOut{true, {}, proto::Bytes::copy("12345678")},
           Attrs().number(Attribute::kCompression, 1));
  });
  EXPECT_EQ(h.counters().edge_dropped, 5u);
  EXPECT_EQ(h.counters().pushed, 0u);
  h.expect_empty();
}

TEST_F(PipelineEdge, ManyItemsLeaveInPacketsWithinTheLimits) {
  h.reload([](config::Orchestration& c) {
    c.tuskd.limits.stage_capacity = 100'000;
    c.tuskd.limits.max_records = 10;
    c.tuskd.limits.max_frames = 4;
  });
  Peer& worker = h.stage_worker({"insert"}, 100'000);
  for (size_t size : {size_t{10}, proto::kFrameBody}) {
    h.edge_items.clear();
    h.edge_item_packets.clear();
    for (int i = 0; i < 50; ++i) client.push(h.id(), "store", "x");
    auto items = worker.take(Kind::kItem);
    ASSERT_EQ(items.size(), 50u);
    h.hold();
    for (const Got& item : items) worker.succeed(item.ref, std::string(size, 'x'));
    h.release();
    EXPECT_EQ(h.edge_items.size(), 50u);
    EXPECT_GE(h.edge_item_packets.size(), size == 10 ? 5u : 13u);
  }
}

TEST_F(PipelineEdge, ClosedItemsEndWithTheLastStage) {
  Surroundings around;
  auto config = std::make_shared<config::Orchestration>();
  three_stages(*config);
  around.config = config;
  h.broker = std::make_unique<Broker>(std::move(around), h.now());
  Peer& worker = h.peer({.role = "worker", .handlers = {"insert"}});
  Peer& pusher = h.client();
  pusher.push(h.id(), "store", "x");
  worker.succeed(worker.expect(Kind::kItem).ref, "y");
  EXPECT_TRUE(h.edge_items.empty());
  h.expect_empty();
}

}  // namespace
}  // namespace tusk::core
