// Reload, shutdown and queries.
#include <gtest/gtest.h>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

config::Stage stage(const std::string& name, const std::string& function) {
  return {.name = name, .language = "", .function = function, .settings = {}};
}

TEST(Reload, TypesComeAndGoAndChange) {
  Harness h([](config::Orchestration& c) { c.types["old"].max_waiting = 5; });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  worker.fail(worker.expect(Kind::kTask).ref);
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kFailed);
  EXPECT_TRUE(h.reload([](config::Orchestration& c) {
                 c.types.clear();
                 c.types["add"].attempts = 2;
               }).empty());
  EXPECT_EQ(h.named("types", "add")["configured"], 1);
  EXPECT_EQ(h.named("types", "old")["configured"], 0);
  client.submit(h.id(), "add");
  worker.fail(worker.expect(Kind::kTask).ref);
  EXPECT_TRUE(client.quiet()) << "two attempts now";
  EXPECT_EQ(h.counters().reloads, 1u);
}

TEST(Reload, ATypeThatStillHoldsSomethingIsNotRemovedAndNothingChanges) {
  Harness h([](config::Orchestration& c) {
    c.types["add"].unserved = config::Unserved::wait;
    c.topics = {{.name = "prices", .message = {}}};
  });
  Peer& client = h.client();
  client.submit(h.id(), "add");
  client.submit(h.id(), "add");
  auto why = h.reload([](config::Orchestration& c) {
    c.types.clear();
    c.types["new"];
    c.topics.clear();
    c.tuskd.limits.max_tasks = 1;
  });
  EXPECT_EQ(why, (std::vector<std::string>{"type \"add\" cannot go: it holds 2 tasks"}));
  EXPECT_EQ(h.named("types", "new"), Json{});
  EXPECT_EQ(h.named("types", "add")["configured"], 1);
  client.publish("prices", "");
  client.expect(Kind::kAccepted);
  client.submit(h.id(), "add");
  EXPECT_TRUE(client.quiet());
  EXPECT_EQ(h.counters().reloads_refused, 1u);
  // Tasks that run or back off hold it too.
  Peer& worker = h.worker({"add"}, 3);
  EXPECT_FALSE(h.reload([](config::Orchestration& c) { c.types.clear(); }).empty());
  for (const Got& task : worker.take(Kind::kTask)) worker.succeed(task.ref);
  EXPECT_TRUE(h.reload([](config::Orchestration& c) { c.types.clear(); }).empty());
}

TEST(Reload, APoolBoundLaterTakesTheTypeFromWorkersOfOthers) {
  Harness h;
  Peer& python = h.worker({"add"}, 5);
  Peer& go = h.peer({.role = "worker", .language = "go", .types = {"add"}, .slots = 5});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  client.submit(h.id(), "add");
  EXPECT_EQ(go.take(Kind::kTask).size(), 1u);
  h.reload([](config::Orchestration& c) { c.types["add"].pool = "python"; });
  for (int i = 0; i < 4; ++i) client.submit(h.id(), "add");
  EXPECT_EQ(python.take(Kind::kTask).size(), 5u);
  EXPECT_TRUE(go.quiet());
  go.succeed(go.runs.begin()->first);
  EXPECT_EQ(client.take(Kind::kResult).size(), 1u) << "what it runs goes on";
  h.reload([](config::Orchestration& c) { c.types["add"].pool.reset(); });
  client.submit(h.id(), "add");
  EXPECT_EQ(go.take(Kind::kTask).size(), 1u) << "its turn is the oldest";
}

TEST(Reload, WaitingTasksGoToAWorkerThatMayServeThemNow) {
  Harness h([](config::Orchestration& c) { c.types["add"].pool = "gpu"; });
  Peer& worker = h.peer({.role = "worker", .pool = "gpu", .types = {"mul"}});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  EXPECT_TRUE(worker.quiet());
  h.reload([](config::Orchestration& c) { c.stages = {stage("clean", "mul_items")}; });
  Peer& stage_worker = h.stage_worker({"other"});
  client.push(h.id(), "clean");
  EXPECT_TRUE(stage_worker.quiet());
  h.reload([](config::Orchestration& c) { c.stages = {stage("clean", "other")}; });
  EXPECT_EQ(stage_worker.expect(Kind::kItem).name, "other") << "the stage's handler changed";
}

TEST(Reload, LoadBalancingChangesAlive) {
  Harness h;
  Peer &small = h.worker({"add"}, 3), &large = h.worker({"add"}, 9);
  Peer& client = h.client();
  for (int i = 0; i < 4; ++i) client.submit(h.id(), "add");
  EXPECT_EQ(small.runs.size(), 2u);
  EXPECT_EQ(large.runs.size(), 2u);
  h.reload([](config::Orchestration& c) {
    c.other_type.load_balancing = config::LoadBalancing::least_connections;
  });
  for (int i = 0; i < 6; ++i) client.submit(h.id(), "add");
  EXPECT_EQ(small.runs.size(), 2u);
  EXPECT_EQ(large.runs.size(), 8u);
}

TEST(Reload, TopicsComeAndGo) {
  Harness h([](config::Orchestration& c) {
    c.topics = {
        {.name = "a", .message = {}}, {.name = "b", .message = {}}, {.name = "c", .message = {}}};
  });
  Peer& client = h.client();
  client.subscribe("c");
  client.publish("c", "");
  client.inbox.clear();
  EXPECT_TRUE(h.reload([](config::Orchestration& c) {
                 c.topics = {{.name = "c", .message = {}}, {.name = "d", .message = {}}};
               }).empty());
  client.publish("c", "");
  Got event = client.expect(Kind::kEvent);
  EXPECT_EQ(event.ref, 2u) << "it goes on counting";
  client.expect(Kind::kAccepted);
  client.publish("a", "");
  client.expect_error(code::kUnknownTopic);
  auto why = h.reload([](config::Orchestration& c) { c.topics.clear(); });
  EXPECT_EQ(why, (std::vector<std::string>{"topic \"c\" cannot go: it has 1 subscribers"}));
  client.send([](Writer& w) { w.bye(""); });
  EXPECT_TRUE(h.reload([](config::Orchestration& c) { c.topics.clear(); }).empty());
}

TEST(Reload, StagesWithItemsStayAndTheOthersComeAndGo) {
  Harness h([](config::Orchestration& c) {
    c.stages = {stage("a", "fa"), stage("b", "fb"), stage("c", "fc")};
  });
  Peer& client = h.client();
  client.push(h.id(), "b", "x");
  client.expect(Kind::kAccepted);
  auto why = h.reload([](config::Orchestration& c) { c.stages = {stage("a", "fa")}; });
  EXPECT_EQ(why, (std::vector<std::string>{"stage \"b\" cannot go: it holds 1 items"}));
  EXPECT_TRUE(h.reload([](config::Orchestration& c) {
                 c.stages = {stage("n", "fn"), stage("b", "fb")};
               }).empty());
  client.push(h.id(), "a");
  client.expect_error(code::kUnknownStage);
  Peer& worker = h.stage_worker({"fa", "fb", "fc", "fn"});
  worker.succeed(worker.expect(Kind::kItem).ref, "y");
  EXPECT_EQ(h.edge_items.size(), 1u) << "b is the last stage now";
  h.expect_empty();
}

TEST(Reload, TheOrderOfStagesChangesWithItemsInside) {
  Harness h([](config::Orchestration& c) {
    c.stages = {stage("a", "fa"), stage("b", "fb"), stage("c", "fc")};
    c.tuskd.limits.stage_capacity = 4;
  });
  h.exact_room = false;
  Peer& client = h.client();
  Peer& worker = h.stage_worker({"fa", "fb", "fc"}, 4);
  for (int i = 0; i < 9; ++i) client.push(h.id(), i % 2 ? "a" : "b", std::to_string(i));
  EXPECT_FALSE(worker.runs.empty());
  EXPECT_TRUE(h.reload([](config::Orchestration& c) {
                 c.stages = {stage("c", "fc"), stage("b", "fb"), stage("a", "fa")};
               }).empty());
  for (int step = 0; step < 200 && !worker.runs.empty(); ++step) {
    worker.inbox.clear();
    worker.succeed(worker.runs.begin()->first, "x");
  }
  h.expect_empty();
  EXPECT_EQ(h.edge_items.size(), 9u);
  for (const Got& item : h.edge_items) EXPECT_EQ(item.name, "a");
}

TEST(Reload, LimitsAndTimesChangeForWhatComesAfter) {
  Harness h;
  Peer& client = h.client();
  h.reload([](config::Orchestration& c) {
    c.tuskd.limits.max_body = config::Bytes{1000};
    c.tuskd.times.session_ttl = 5s;
  });
  Peer& later = h.client();
  EXPECT_EQ(later.welcome["limits"]["body"], 1000);
  EXPECT_EQ(later.welcome["session_ttl"], 5000);
  h.worker({"add"}, 9);
  later.submit(h.id(), "add", std::string(1001, 'x'));
  later.expect_error(code::kTooLarge);
  client.submit(h.id(), "add", std::string(1001, 'x'));
  EXPECT_TRUE(client.quiet()) << "a session goes by what its welcome stated";
  later.disconnect();
  h.advance(5s);
  later.come_back();
  EXPECT_EQ(later.welcome["resumed"], false);
}

// --- shutdown ------------------------------------------------------------------------------------

TEST(Shutdown, GivesWaitingTasksBackLetsRunningOnesEndAndStops) {
  Harness h([](config::Orchestration& c) { c.other_type.attempts = 2; });
  Peer& worker = h.worker({"add"}, 2);
  Peer& client = h.client();
  const uint64_t running = client.submit(h.id(), "add");
  const uint64_t backs_off = client.submit(h.id(), "add");
  worker.fail(worker.take(Kind::kTask)[1].ref);
  client.submit(h.id(), "add");
  const uint64_t waits = client.submit(h.id(), "add");
  auto runs = worker.take(Kind::kTask);
  h.handle(Shutdown{});
  client.expect(Kind::kGoaway);
  std::set<uint64_t> given_back;
  for (const Got& error : client.take(Kind::kError)) {
    EXPECT_EQ(error.name, code::kShuttingDown);
    given_back.insert(error.ref);
  }
  EXPECT_EQ(given_back, (std::set<uint64_t>{waits, backs_off}));
  worker.expect(Kind::kGoaway);
  EXPECT_FALSE(h.stopped);
  client.submit(h.id(), "add");
  client.expect_error(code::kShuttingDown);
  client.push(h.id(), "clean");
  client.expect_error(code::kShuttingDown);
  worker.succeed(worker.runs.begin()->first, "3");
  EXPECT_EQ(client.expect(Kind::kResult).ref, running);
  EXPECT_FALSE(h.stopped);
  worker.succeed(worker.runs.begin()->first, "3");
  client.expect(Kind::kResult);
  EXPECT_TRUE(h.stopped);
  client.expect(Kind::kBye);
  worker.expect(Kind::kBye);
}

TEST(Shutdown, WithNothingRunningIsAtOnce) {
  Harness h;
  Peer& client = h.client();
  h.handle(Shutdown{});
  EXPECT_TRUE(h.stopped);
  client.expect(Kind::kGoaway);
  client.expect(Kind::kBye);
}

TEST(Shutdown, WaitsAtMostItsGrace) {
  Harness h([](config::Orchestration& c) { c.tuskd.times.shutdown_grace = 10s; });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  h.handle(Shutdown{});
  h.advance(10s - 1ms);
  EXPECT_FALSE(h.stopped);
  h.advance(1ms);
  EXPECT_TRUE(h.stopped);
  EXPECT_TRUE(h.logged("1 tasks and items were still running"));
  worker.expect(Kind::kTask);
}

TEST(Shutdown, ASecondOneIsAtOnce) {
  Harness h;
  h.worker({"add"});
  h.client().submit(h.id(), "add");
  h.handle(Shutdown{});
  EXPECT_FALSE(h.stopped);
  h.handle(Shutdown{});
  EXPECT_TRUE(h.stopped);
}

TEST(Shutdown, ThePipelineRunsDryAndParkedPushesAreGivenBack) {
  Harness h([](config::Orchestration& c) {
    c.stages = {stage("a", "fa"), stage("b", "fb")};
    c.tuskd.limits.stage_capacity = 3;
  });
  Peer& client = h.client();
  for (int i = 0; i < 5; ++i) client.push(h.id(), "a");
  EXPECT_EQ(client.take(Kind::kAccepted).size(), 3u);
  Peer& worker = h.stage_worker({"fa", "fb"}, 1);
  h.handle(Shutdown{});
  client.expect(Kind::kGoaway);
  EXPECT_EQ(client.take(Kind::kError).size(), 2u);
  EXPECT_FALSE(h.broker->takes_edge_items());
  for (int i = 0; i < 6; ++i) {
    EXPECT_FALSE(h.stopped);
    worker.succeed(worker.runs.begin()->first, "x");
  }
  EXPECT_TRUE(h.stopped);
  EXPECT_EQ(h.edge_items.size(), 3u);
}

TEST(Shutdown, AFailedRunThatHadAttemptsLeftIsNoEnding) {
  Harness h([](config::Orchestration& c) { c.other_type.attempts = 3; });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const uint64_t request = client.submit(h.id(), "add");
  h.handle(Shutdown{});
  client.expect(Kind::kGoaway);
  worker.fail(worker.runs.begin()->first);
  EXPECT_EQ(client.expect_error(code::kShuttingDown).ref, request);
  EXPECT_TRUE(h.stopped);
}

// --- queries -------------------------------------------------------------------------------------

TEST(Query, StatusHasEveryCounter) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add", "abc");
  client.submit(h.id(), "add", "de");
  h.advance(1234ms);
  const Json status = client.query("status");
  EXPECT_EQ(status["server"], "tuskd test");
  EXPECT_EQ(status["version"], 1);
  EXPECT_EQ(status["epoch"], client.welcome["epoch"]);
  EXPECT_EQ(status["uptime"], 1234);
  EXPECT_EQ(status["stopping"], 0);
  EXPECT_EQ(status["sessions"], 2);
  EXPECT_EQ(status["workers"], 1);
  EXPECT_EQ(status["waiting"], 1);
  EXPECT_EQ(status["running"], 1);
  EXPECT_EQ(status["held_bytes"], 5);
  EXPECT_EQ(status["counters"].size(), Counters::size());
  EXPECT_EQ(status["counters"]["submitted"], 2);
  EXPECT_EQ(status["counters"]["dispatched"], 1);
  h.counters().each([&](std::string_view name, std::string_view what, uint64_t value) {
    EXPECT_FALSE(what.empty());
    if (name.find("packets") == name.npos) {
      EXPECT_EQ(status["counters"][std::string(name)], value) << name;
    }
  });
  worker.expect(Kind::kTask);
}

TEST(Query, WorkersTypesStagesTopicsAndTasksShowWhatThereIs) {
  Harness h([](config::Orchestration& c) {
    c.types["mul"].pool = "gpu";
    c.stages = {stage("clean", "clean_rows")};
    c.topics = {{.name = "prices", .message = {}}};
    c.other_type.attempts = 2;
  });
  Peer& worker = h.peer(
      {.role = "worker", .name = "w1", .types = {"add"}, .handlers = {"clean_rows"}, .slots = 3});
  Peer& client = h.client();
  const TaskId running = h.id(), waiting = h.id();
  client.submit(running, "add");
  client.submit(waiting, "mul");
  client.push(h.id(), "clean");
  client.push(h.id(), "clean");
  client.publish("prices", "");
  client.inbox.clear();
  Json w = h.named("workers", "w1");
  EXPECT_EQ(w["language"], "python");
  EXPECT_EQ(w["pool"], "python");
  EXPECT_EQ(w["state"], "connected");
  EXPECT_EQ(w["slots"], 3);
  EXPECT_EQ(w["running"], 3);
  EXPECT_EQ(w["dispatched"], 3);
  EXPECT_EQ(w["types"], Json::array({"add"}));
  EXPECT_EQ(w["stages"], Json::array({"clean"}));
  Json add = h.named("types", "add");
  EXPECT_EQ(add["workers"], 1);
  EXPECT_EQ(add["running"], 1);
  EXPECT_EQ(add["accepted"], 1);
  Json mul = h.named("types", "mul");
  EXPECT_EQ(mul["pool"], "gpu");
  EXPECT_EQ(mul["workers"], 0);
  EXPECT_EQ(mul["waiting"], 1);
  Json clean = h.named("stages", "clean");
  EXPECT_EQ(clean["handler"], "clean_rows");
  EXPECT_EQ(clean["running"], 2);
  EXPECT_EQ(clean["pushed"], 2);
  EXPECT_EQ(h.named("topics", "prices")["published"], 1);

  Json task = client.query("task", &running);
  EXPECT_EQ(task["state"], "running");
  EXPECT_EQ(task["type"], "add");
  EXPECT_EQ(task["attempts"], 1);
  EXPECT_EQ(task["worker"], "w1");
  task = client.query("task", &waiting);
  EXPECT_EQ(task["state"], "waiting");
  EXPECT_EQ(task["attempts"], 0);
  EXPECT_FALSE(task.contains("worker"));
  const TaskId unknown = h.id();
  EXPECT_EQ(client.query("task", &unknown)["state"], "unknown");

  for (auto& [handle, run] : std::map(worker.runs)) {
    if (run.kind == Kind::kTask) worker.fail(handle);
    if (run.kind == Kind::kItem) worker.succeed(handle, "x");
  }
  task = client.query("task", &running);
  EXPECT_EQ(task["state"], "delayed") << "in back-off";
  EXPECT_EQ(task["failures"], 1);
  w = h.named("workers", "w1");
  EXPECT_EQ(w["succeeded"], 2);
  EXPECT_EQ(w["failed"], 1);
  EXPECT_EQ(h.named("types", "add")["retried"], 1);
  EXPECT_EQ(h.named("stages", "clean")["done"], 2);
  worker.disconnect();
  EXPECT_EQ(h.named("workers", "w1")["state"], "disconnected");
}

TEST(Query, OfSomethingElseIsInvalid) {
  Harness h;
  Peer& client = h.client();
  client.send([](Writer& w) {
    w.start(Kind::kQuery, 3).pack_int(1);
    w.text("weather");
    w.start(Kind::kQuery, 3).pack_int(2);
    w.text("task");
  });
  EXPECT_EQ(client.expect_error(code::kInvalid).value["field"], "what");
  EXPECT_EQ(client.expect_error(code::kInvalid).value["field"], "id");
}

}  // namespace
}  // namespace tusk::core
