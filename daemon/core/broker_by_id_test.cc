// What anybody may do with a task by its id: await its ending, change it while it waits; and
// endings that are kept.
#include <gtest/gtest.h>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

Attrs kept(Duration time) {
  return Attrs().number(Attribute::kRetention, static_cast<uint64_t>(milliseconds(time)));
}

// --- await ---------------------------------------------------------------------------------------

TEST(Await, IsAnsweredWhenTheTaskEndsAndHearsOfItsRuns) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  Peer& other = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "b", Attrs().number(Attribute::kReply, 1));
  client.expect(Kind::kAccepted);
  const uint64_t request = other.await(id, Attrs().number(Attribute::kFollow, 1));
  const Got task = worker.expect(Kind::kTask);
  worker.progress(task.ref, "half");
  worker.succeed(task.ref, "sum");
  EXPECT_EQ(other.expect(Kind::kProgress).body, "half");
  const Got result = other.expect(Kind::kResult);
  EXPECT_EQ(result.ref, request);
  EXPECT_EQ(result.body, "sum");
  EXPECT_TRUE(client.quiet());
}

TEST(Await, EndsWithItsWaitAndTheTaskGoesOn) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  Peer& other = h.client();
  const TaskId id = h.id();
  client.submit(id, "add");
  other.await(id, Attrs().number(Attribute::kWait, 500));
  h.advance(500ms);
  other.expect_error(code::kTimeout);
  worker.succeed(worker.expect(Kind::kTask).ref, "sum");
  EXPECT_EQ(client.expect(Kind::kResult).body, "sum");
  EXPECT_TRUE(other.quiet());
}

TEST(Await, OfWhatIsUnknownOrLetGoOrAnItemIsAnError) {
  Harness h([](config::Orchestration& c) {
    c.stages.push_back({.name = "clean", .language = "", .function = "clean", .settings = {}});
  });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.await(h.id());
  client.expect_error(code::kUnknownTask);
  const TaskId id = h.id(), item = h.id();
  client.submit(id, "add");
  worker.succeed(worker.expect(Kind::kTask).ref);
  client.expect(Kind::kResult);
  client.ack();
  client.await(id);
  EXPECT_EQ(client.expect_error(code::kAlreadyEnded).value["state"], "succeeded");
  client.push(item, "clean", "x");
  client.expect(Kind::kAccepted);
  client.await(item);
  EXPECT_EQ(client.expect_error(code::kInvalid).value["field"], "id");
  client.update(item, Attrs().priority(1));
  EXPECT_EQ(client.expect_error(code::kInvalid).value["field"], "id");
}

TEST(Await, AReqPeerMayAsk) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add");
  ReqPeer& req = h.req();
  req.ask([&](Writer& w) { w.await(1, id, {}); });
  worker.succeed(worker.expect(Kind::kTask).ref, "sum");
  EXPECT_EQ(req.reply().body, "sum");
}

// --- retention -----------------------------------------------------------------------------------

TEST(Retention, KeepsAnEndingThatWasAcknowledgedForWhoeverAsks) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "b", kept(10min));
  worker.succeed(worker.expect(Kind::kTask).ref, "sum");
  client.expect(Kind::kResult);
  client.ack();
  client.send([](Writer& w) { w.bye(""); });
  h.advance(9min);
  Peer& later = h.client();
  for (int i = 0; i < 2; ++i) {
    later.await(id);
    EXPECT_EQ(later.expect(Kind::kResult).body, "sum");
    later.ack();
  }
  later.submit(id, "add", "b", Attrs().flag(Attribute::kResent));
  EXPECT_EQ(later.expect(Kind::kResult).body, "sum");
  EXPECT_EQ(later.query("task", &id)["state"], "succeeded");
  h.advance(1min);
  later.await(id);
  later.expect_error(code::kAlreadyEnded);
  h.expect_empty();
}

TEST(Retention, OfTheTypeIsTheDefaultAndCountsFromTheEnd) {
  Harness h([](config::Orchestration& c) { c.types["add"].retention = 1min; });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add");
  h.advance(5min);
  worker.fail(worker.expect(Kind::kTask).ref, Attrs().error("E", "m"));
  client.expect(Kind::kResult);
  client.ack();
  h.advance(59s);
  const Json task = client.query("task", &id);
  EXPECT_EQ(task["state"], "failed");
  EXPECT_EQ(task["error"]["type"], "E");
  EXPECT_EQ(task["age"], 59'000);
  h.advance(1s);
  EXPECT_EQ(client.query("task", &id).size(), 1u) << "only its state is left";
}

TEST(Retention, OutlivesAClientThatNeverAcknowledges) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client(false);
  const TaskId id = h.id();
  client.submit(id, "add", "", kept(10min));
  worker.succeed(worker.expect(Kind::kTask).ref, "sum");
  h.advance(9min);
  client.await(id);
  EXPECT_EQ(client.take(Kind::kResult).size(), 2u);
  h.advance(1min);
  h.expect_empty();
}

TEST(Retention, IsBoundedInBytesAndTheOldestGoFirst) {
  Harness h([](config::Orchestration& c) { c.tuskd.limits.max_retained = config::Bytes{100'000}; });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  std::vector<TaskId> ids;
  for (int i = 0; i < 20; ++i) {
    ids.push_back(h.id());
    client.submit(ids.back(), "add", "", kept(10min));
    worker.succeed(worker.expect(Kind::kTask).ref, std::string(10'000, 'x'));
    client.ack();
  }
  client.inbox.clear();
  client.await(ids[0]);
  client.expect_error(code::kAlreadyEnded);
  client.await(ids[19]);
  client.expect(Kind::kResult);
  EXPECT_LE(BrokerInspector::held_bytes(*h.broker), 100'000u);
  EXPECT_GT(BrokerInspector::held_bytes(*h.broker), 70'000u);
  h.advance(10min);
  h.expect_empty();
}

TEST(Retention, KeepsTheHistoryForTheQuery) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "", kept(1min).number(Attribute::kAttempts, 2).backoff(0, 0, 1, 0));
  worker.fail(worker.expect(Kind::kTask).ref, Attrs().error("A", "first"));
  EXPECT_EQ(client.query("task", &id)["history"][0]["error"]["type"], "A");
  h.advance(1ms);
  worker.fail(worker.expect(Kind::kTask).ref, Attrs().error("B", "second"));
  client.ack();
  h.advance(1s);
  const Json task = client.query("task", &id);
  EXPECT_EQ(task["state"], "dead");
  EXPECT_EQ(task["history"].size(), 2u);
  EXPECT_EQ(task["history"][1]["error"]["message"], "second");
}

// --- update --------------------------------------------------------------------------------------

TEST(Update, ChangesPriorityDelayAndBodyOfATaskThatWaits) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const uint64_t run = worker.expect(Kind::kTask).ref;
  const TaskId a = h.id(), b = h.id(), c = h.id();
  for (const TaskId& id : {a, b, c}) client.submit(id, "add", "old", Attrs().raw(1000, 7));
  client.update(c, Attrs().priority(10));
  EXPECT_EQ(client.expect(Kind::kAnswer).value, (Json{{"state", "waiting"}, {"updated", true}}));
  client.update(a, Attrs().number(Attribute::kDelay, 1000));
  EXPECT_EQ(client.expect(Kind::kAnswer).value["state"], "delayed");
  client.update(b, Attrs().number(Attribute::kCodec, 2), "new");
  client.expect(Kind::kAnswer);
  worker.succeed(run);
  Got task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.id, c);
  worker.succeed(task.ref);
  task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.id, b);
  EXPECT_EQ(task.body, "new");
  EXPECT_EQ(task.at(Attribute::kCodec), 2);
  EXPECT_EQ(task.attributes.at(1000), 7) << "what its client said stays";
  worker.succeed(task.ref);
  EXPECT_TRUE(worker.quiet());
  client.update(a, Attrs().number(Attribute::kDelay, 0));
  EXPECT_EQ(worker.expect(Kind::kTask).id, a);
  EXPECT_EQ(h.counters().updated, 4u);
}

TEST(Update, OfATaskThatRunsOrEndedSaysSo) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "b", kept(1min));
  client.update(id, Attrs().priority(1));
  EXPECT_EQ(client.expect(Kind::kAnswer).value, (Json{{"state", "running"}, {"updated", false}}));
  worker.succeed(worker.expect(Kind::kTask).ref);
  client.inbox.clear();
  client.update(id, {}, "x");
  EXPECT_EQ(client.expect(Kind::kAnswer).value["state"], "succeeded");
  client.ack();
  h.advance(1min);
  client.update(id, {}, "x");
  EXPECT_EQ(client.expect(Kind::kAnswer).value["state"], "succeeded");
  client.update(h.id(), {}, "x");
  client.expect_error(code::kUnknownTask);
}

TEST(Update, TheIdGoesOnToBelongToTheBodyOfItsSubmit) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "old", Attrs().number(Attribute::kDelay, 1000));
  client.update(id, {}, "new");
  client.expect(Kind::kAnswer);
  client.submit(id, "add", "new");
  client.expect_error(code::kIdConflict);
  client.submit(id, "add", "old", Attrs().flag(Attribute::kResent));
  EXPECT_TRUE(client.quiet());
  h.advance(1s);
  worker.succeed(worker.expect(Kind::kTask).ref);
  EXPECT_EQ(client.take(Kind::kResult).size(), 2u);
  client.ack();
  client.submit(id, "add", "old", Attrs().flag(Attribute::kResent));
  client.expect_error(code::kAlreadyEnded);
}

TEST(Update, ABodyOverTheLimitChangesNothing) {
  Harness h([](config::Orchestration& c) { c.tuskd.limits.max_body = config::Bytes{100}; });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "old", Attrs().number(Attribute::kDelay, 1000));
  client.update(id, Attrs().priority(5), std::string(101, 'x'));
  EXPECT_EQ(client.expect_error(code::kTooLarge).value["limit"], "body");
  EXPECT_EQ(client.query("task", &id)["priority"], 0);
  h.advance(1s);
  EXPECT_EQ(worker.expect(Kind::kTask).body, "old");
}

}  // namespace
}  // namespace tusk::core
