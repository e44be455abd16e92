// The life of a task: submit, result, joins, endings that are kept, and the window behind them.
#include <gtest/gtest.h>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

TEST(Task, GoesToAWorkerAndItsResultToTheCaller) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  const uint64_t request = client.submit(id, "add", "1+2");
  Got task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.id, id);
  EXPECT_EQ(task.name, "add");
  EXPECT_EQ(task.body, "1+2");
  EXPECT_EQ(task.attempt, 1u);
  EXPECT_NE(task.ref, 0u);
  EXPECT_TRUE(task.attributes.empty());
  EXPECT_TRUE(client.quiet()) << "a result implies accepted";
  worker.succeed(task.ref, "3");
  Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.ref, request);
  EXPECT_EQ(result.state, State::kSucceeded);
  EXPECT_EQ(result.body, "3");
  EXPECT_TRUE(result.attributes.empty());
  client.ack();
  h.expect_empty();
}

TEST(Task, BodiesOfEverySizeArriveAsTheyWereSent) {
  Harness h;
  Peer& worker = h.worker({"echo"});
  Peer& client = h.client();
  for (size_t size : {size_t{0}, size_t{1}, size_t{100}, proto::kFrameBody - 1, proto::kFrameBody,
                      size_t{1 << 20}}) {
    const std::string body(size, 'x');
    client.submit(h.id(), "echo", body);
    Got task = worker.expect(Kind::kTask);
    EXPECT_EQ(task.body, body);
    EXPECT_EQ(task.body_in_frame, size >= proto::kFrameBody);
    worker.succeed(task.ref, body);
    Got result = client.expect(Kind::kResult);
    EXPECT_EQ(result.body, body);
    EXPECT_EQ(result.body_in_frame, size >= proto::kFrameBody);
  }
  client.send([&](Writer& w) { w.submit(99, h.id(), "echo", BodyOut::none(), {}); });
  Got task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.body, std::nullopt) << "no body is not an empty one";
  worker.drop(task.ref);
  EXPECT_EQ(client.expect(Kind::kResult).body, std::nullopt);
  // A small body in a frame, and a large one inline, are as good.
  client.send([&](Writer& w) {
    w.submit(100, h.id(), "echo", {true, {}, proto::Bytes::copy("small")}, {});
  });
  task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.body, "small");
  worker.send([&](Writer& w) {
    w.result(task.ref, State::kSucceeded, BodyOut::copied(std::string(9000, 'y')), {});
  });
  EXPECT_EQ(client.expect(Kind::kResult).body, std::string(9000, 'y'));
}

TEST(Task, ReplyModesSayAcceptedOrTheResultOrBoth) {
  Harness h;
  Peer& worker = h.worker({"add"}, 3);
  Peer& client = h.client();
  const uint64_t accepted = client.submit(h.id(), "add", "", Attrs().number(Attribute::kReply, 1));
  EXPECT_EQ(client.expect(Kind::kAccepted).ref, accepted);
  const uint64_t both = client.submit(h.id(), "add", "", Attrs().number(Attribute::kReply, 2));
  EXPECT_EQ(client.expect(Kind::kAccepted).ref, both);
  for (const Got& task : worker.take(Kind::kTask)) worker.succeed(task.ref, "3");
  EXPECT_EQ(client.expect(Kind::kResult).ref, both);
  EXPECT_TRUE(client.quiet()) << "reply 1 is told no result";
}

TEST(Task, WhoseCallerWentAwayGoesOn) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client(false);
  const TaskId id = h.id();
  client.submit(id, "add", "x");
  client.disconnect();
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  client.connect();
  const uint64_t again = client.submit(id, "add", "x", Attrs().flag(Attribute::kResent));
  Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.ref, again);
  EXPECT_EQ(result.body, "3");
  EXPECT_EQ(h.counters().dispatched, 1u);
}

TEST(Task, CodecCompressionAndEvenAttributesArePassedOnBothWays) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const Attrs all = Attrs()
                        .number(Attribute::kCodec, 1)
                        .text(Attribute::kTrace, "00-trace")
                        .text(Attribute::kBaggage, "a=b")
                        .raw(1000, 7)
                        .flag(Attribute::kRerunOk)
                        .number(Attribute::kReply, 0);
  client.submit(h.id(), "add", "1", all);
  Got task = worker.expect(Kind::kTask);
  const std::map<uint64_t, Json> passed = {{27, 1}, {8, "00-trace"}, {10, "a=b"}, {1000, 7}};
  EXPECT_EQ(task.attributes, passed) << "what is for the broker stays with it";
  worker.succeed(task.ref, "2", Attrs().number(Attribute::kCodec, 2).raw(1002, 8));
  const std::map<uint64_t, Json> back = {{27, 2}, {1002, 8}};
  EXPECT_EQ(client.expect(Kind::kResult).attributes, back);
}

TEST(Task, OddAttributesThatTheBrokerDoesNotKnowAreRefused) {
  Harness h;
  h.worker({"add"});
  Peer& client = h.client();
  const uint64_t request = client.submit(h.id(), "add", "", Attrs().raw(999, 1));
  Got error = client.expect_error(code::kUnsupported);
  EXPECT_EQ(error.ref, request);
  EXPECT_EQ(error.value["attribute"], 999);
  EXPECT_EQ(h.counters().submitted, 0u);
}

// --- joins ---------------------------------------------------------------------------------------

TEST(Join, EachAskerGetsItsEnding) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer &a = h.client(), &b = h.client(), &minimal = h.client(false);
  ReqPeer& req = h.req();
  const TaskId id = h.id();
  const uint64_t of_a = a.submit(id, "add", "x"), of_b = b.submit(id, "add", "x"),
                 of_m = minimal.submit(id, "add", "x");
  req.ask([&](Writer& w) { w.submit(9, id, "add", BodyOut::copied("x"), {}); });
  EXPECT_EQ(h.counters().submitted, 1u);
  EXPECT_EQ(h.counters().joined, 3u);
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  EXPECT_TRUE(worker.quiet());
  EXPECT_EQ(a.expect(Kind::kResult).ref, of_a);
  EXPECT_EQ(b.expect(Kind::kResult).ref, of_b);
  EXPECT_EQ(minimal.expect(Kind::kResult).ref, of_m);
  EXPECT_EQ(req.reply().ref, 9u);
}

TEST(Join, TwoRequestsOfOnePeerBothGetTheEnding) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& first = h.client();
  Peer& second = h.client();
  const TaskId id = h.id();
  std::set<uint64_t> of_first = {first.submit(id, "add", "x"), first.submit(id, "add", "x")};
  std::set<uint64_t> of_second = {second.submit(id, "add", "x"), second.submit(id, "add", "x")};
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  std::set<uint64_t> got;
  for (const Got& r : first.take(Kind::kResult)) got.insert(r.ref);
  EXPECT_EQ(got, of_first);
  got.clear();
  for (const Got& r : second.take(Kind::kResult)) got.insert(r.ref);
  EXPECT_EQ(got, of_second);
}

TEST(Join, TheSameRequestAgainIsOneAsker) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  for (int i = 0; i < 3; ++i) {
    client.send([&](Writer& w) { w.submit(7, id, "add", BodyOut::copied("x"), {}); });
  }
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  EXPECT_EQ(client.take(Kind::kResult).size(), 1u);
}

TEST(Join, AskersOfOneTaskAreBounded) {
  Harness h;
  h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  for (int i = 0; i < 2000; ++i) client.submit(id, "add", "x");
  auto errors = client.take(Kind::kError);
  ASSERT_FALSE(errors.empty());
  EXPECT_EQ(errors[0].name, code::kFull);
  EXPECT_LT(errors.size(), 2000u);
}

TEST(Join, AnotherTypeOrBodyIsAConflict) {
  Harness h;
  Peer& worker = h.worker({"add", "mul"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "x");
  auto conflicts = [&] {
    client.submit(id, "add", "y");
    client.expect_error(code::kIdConflict);
    client.submit(id, "mul", "x");
    client.expect_error(code::kIdConflict);
    client.submit(id, "none", "x");
    client.expect_error(code::kIdConflict);
  };
  conflicts();  // while it runs
  h.hold();
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  client.send_raw(client.session, client.next_seq++, 0,
                  [&](Writer& w) { w.submit(50, id, "add", BodyOut::copied("y"), {}); });
  h.release();
  EXPECT_EQ(client.expect(Kind::kResult).body, "3");
  client.expect_error(code::kIdConflict);  // the ending was not yet acknowledged
  client.ack();
  conflicts();  // in the window
}

TEST(Join, OfATaskWhoseEndingWasAcknowledgedIsAlreadyEnded) {
  Harness h;
  Peer& worker = h.worker({"add"}, 2);
  Peer& client = h.client();
  const TaskId good = h.id(), bad = h.id();
  client.submit(good, "add", "x");
  client.submit(bad, "add", "x");
  worker.succeed(worker.expect(Kind::kTask).ref);
  worker.fail(worker.expect(Kind::kTask).ref);
  client.take(Kind::kResult);
  client.ack();
  client.submit(good, "add", "x", Attrs().flag(Attribute::kResent));
  EXPECT_EQ(client.expect_error(code::kAlreadyEnded).value["state"], "succeeded");
  client.submit(bad, "add", "x");
  EXPECT_EQ(client.expect_error(code::kAlreadyEnded).value["state"], "failed");
  EXPECT_EQ(h.counters().dispatched, 2u);
}

TEST(Join, WithReplyBothIsAcceptedAndThenToldTheEnding) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client(false);  // so that the ending is kept
  const TaskId id = h.id();
  client.submit(id, "add", "x");
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  client.expect(Kind::kResult);
  client.submit(id, "add", "x", Attrs().number(Attribute::kReply, 2));
  client.expect(Kind::kAccepted);
  EXPECT_EQ(client.expect(Kind::kResult).body, "3");
  client.submit(id, "add", "x", Attrs().number(Attribute::kReply, 1));
  client.expect(Kind::kAccepted);
  EXPECT_TRUE(client.quiet());
}

// --- endings -------------------------------------------------------------------------------------

TEST(Ending, IsRepeatedUntilItIsAcknowledgedAlsoToASecondAsker) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  Peer& second = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "x");
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  client.expect(Kind::kResult);
  second.submit(id, "add", "x");
  EXPECT_EQ(second.expect(Kind::kResult).body, "3");
  EXPECT_EQ(second.query("task", &id)["state"], "succeeded");
  EXPECT_EQ(BrokerInspector::live_tasks(*h.broker), 1u) << "its owner has not acknowledged it";
  client.ack();
  EXPECT_EQ(BrokerInspector::live_tasks(*h.broker), 0u);
  second.submit(id, "add", "x");
  second.expect_error(code::kAlreadyEnded);
  EXPECT_EQ(second.query("task", &id)["state"], "succeeded");
}

TEST(Ending, IsKeptForSessionTtlWhenTheClientIsGoneThenOnlyItsIdIsKnown) {
  Harness h([](config::Orchestration& c) { c.tuskd.times.session_ttl = 60s; });
  Peer& worker = h.worker({"add"}, 2);
  Peer& client = h.client();
  Peer& second = h.client();
  const TaskId before = h.id(), after = h.id();
  client.submit(before, "add", "x");
  client.submit(after, "add", "x");
  auto runs = worker.take(Kind::kTask);
  worker.succeed(runs[0].ref, "3");
  client.disconnect();
  worker.succeed(runs[1].ref, "4");
  h.advance(59s);
  second.submit(before, "add", "x");
  EXPECT_EQ(second.expect(Kind::kResult).body, "3");
  second.submit(after, "add", "x");
  EXPECT_EQ(second.expect(Kind::kResult).body, "4");
  h.advance(1s);
  second.submit(before, "add", "x");
  second.expect_error(code::kAlreadyEnded);
  second.submit(after, "add", "x");
  second.expect_error(code::kAlreadyEnded);
  h.expect_empty();
}

TEST(Ending, OfATaskThatEndsAfterItsClientWasForgottenIsKeptForSessionTtl) {
  Harness h([](config::Orchestration& c) { c.tuskd.times.session_ttl = 60s; });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "x");
  client.disconnect();
  h.advance(61s);
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  h.advance(59s);
  client.come_back();
  EXPECT_EQ(client.welcome["resumed"], false);
  client.submit(id, "add", "x", Attrs().flag(Attribute::kResent));
  EXPECT_EQ(client.expect(Kind::kResult).body, "3");
  h.advance(1s);
  h.expect_empty();
}

TEST(Ending, OfAKilledClientIsKeptForItsSuccessor) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.peer({.watched = true});
  const TaskId id = h.id();
  client.submit(id, "add", "x");
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  client.die();
  Peer& next = h.client();
  next.submit(id, "add", "x", Attrs().flag(Attribute::kResent));
  EXPECT_EQ(next.expect(Kind::kResult).body, "3");
}

TEST(Ending, OfAPeerThatNeverAcknowledgesIsKeptForSessionTtl) {
  Harness h([](config::Orchestration& c) { c.tuskd.times.session_ttl = 60s; });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client(false);
  for (int i = 0; i < 3; ++i) {
    client.submit(h.id(), "add", "x");
    worker.succeed(worker.expect(Kind::kTask).ref, "3");
    h.advance(10s);
  }
  EXPECT_EQ(h.status()["kept_endings"], 3);
  h.advance(30s);
  EXPECT_EQ(h.status()["kept_endings"], 2);
  h.advance(20s);
  EXPECT_EQ(h.status()["kept_endings"], 0);
  h.expect_empty();
}

TEST(Ending, KeptOnesAreBoundedInBytes) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client(false);
  const std::string large(8 << 20, 'x');
  for (int i = 0; i < 10; ++i) {
    client.submit(h.id(), "add");
    worker.succeed(worker.expect(Kind::kTask).ref, large);
    client.take(Kind::kResult);
  }
  EXPECT_EQ(h.status()["kept_endings"], 8) << "64 MiB of them";
}

// --- the window of ended ids ---------------------------------------------------------------------

class Window : public ::testing::Test {
 protected:
  Window()
      : h([](config::Orchestration& c) { c.tuskd.limits.ended_window = 4; }),
        worker(h.worker({"add"})),
        client(h.client()) {
    h.advance(2s);  // behind the time in which resent tasks wait for claims
  }

  void run(const TaskId& id) {
    client.submit(id, "add", "x");
    worker.succeed(worker.expect(Kind::kTask).ref, "3");
    client.expect(Kind::kResult);
    client.ack();
  }
  // The error that an id sent again gets; "" if it was taken as new.
  std::string resent(const TaskId& id, Attrs attributes = {}) {
    client.submit(id, "add", "x", attributes.flag(Attribute::kResent));
    if (!client.quiet()) return client.expect(Kind::kError).name;
    worker.succeed(worker.expect(Kind::kTask).ref, "3");
    client.expect(Kind::kResult);
    return "";
  }

  Harness h;
  Peer& worker;
  Peer& client;
};

TEST_F(Window, LetsTheOldestGoAndThenItsOutcomeIsUnknown) {
  std::vector<TaskId> ids;
  for (int i = 0; i < 6; ++i) ids.push_back(h.id()), run(ids.back());
  EXPECT_EQ(h.status()["remembered_ids"], 4);
  EXPECT_EQ(resent(ids[5]), code::kAlreadyEnded);
  EXPECT_EQ(resent(ids[2]), code::kAlreadyEnded);
  EXPECT_EQ(resent(ids[1]), code::kUnknownOutcome);
  EXPECT_EQ(resent(ids[0]), code::kUnknownOutcome);
  EXPECT_EQ(h.counters().dispatched, 6u);
}

TEST_F(Window, WithRerunOkAnIdThatWasLetGoIsTakenAsNew) {
  std::vector<TaskId> ids;
  for (int i = 0; i < 6; ++i) ids.push_back(h.id()), run(ids.back());
  EXPECT_EQ(resent(ids[0], Attrs().flag(Attribute::kRerunOk)), "");
}

TEST_F(Window, AFirstSendingIsNeverRefusedForItsAge) {
  std::vector<TaskId> ids;
  const TaskId old = h.id();
  for (int i = 0; i < 6; ++i) run(h.id());
  client.submit(old, "add", "x");
  EXPECT_EQ(worker.expect(Kind::kTask).id, old);
}

TEST_F(Window, BeforeItHasLetAnythingGoResentIdsAreNew) {
  run(h.id());
  EXPECT_EQ(resent(h.id_at(5)), "");
}

TEST_F(Window, AnIdNewerThanAllThatWasLetGoIsNew) {
  for (int i = 0; i < 6; ++i) run(h.id());
  EXPECT_EQ(resent(h.id()), "");
}

TEST_F(Window, AReloadMakesItSmallerAndLargerAndKeepsTheNewest) {
  std::vector<TaskId> ids;
  for (int i = 0; i < 7; ++i) ids.push_back(h.id()), run(ids.back());
  h.reload([](config::Orchestration& c) { c.tuskd.limits.ended_window = 2; });
  EXPECT_EQ(h.status()["remembered_ids"], 2);
  EXPECT_EQ(resent(ids[6]), code::kAlreadyEnded);
  EXPECT_EQ(resent(ids[5]), code::kAlreadyEnded);
  EXPECT_EQ(resent(ids[4]), code::kUnknownOutcome);
  h.reload([](config::Orchestration& c) { c.tuskd.limits.ended_window = 5; });
  for (int i = 0; i < 3; ++i) ids.push_back(h.id()), run(ids.back());
  for (size_t i = 5; i < 10; ++i) EXPECT_EQ(resent(ids[i]), code::kAlreadyEnded) << i;
  run(h.id());
  EXPECT_EQ(resent(ids[5]), code::kUnknownOutcome);
  EXPECT_EQ(resent(ids[6]), code::kAlreadyEnded);
}

// --- a caller's wait -----------------------------------------------------------------------------

TEST(Wait, IsOverWithATimeoutAndTheTaskGoesOn) {
  Harness h;
  Peer& worker = h.worker({"add"});
  for (bool acks : {true, false}) {
    Peer& client = h.client(acks);
    const TaskId id = h.id();
    const uint64_t request = client.submit(id, "add", "x", Attrs().number(Attribute::kWait, 300));
    h.advance(299ms);
    EXPECT_TRUE(client.quiet());
    h.advance(1ms);
    EXPECT_EQ(client.expect_error(code::kTimeout).ref, request);
    worker.succeed(worker.expect(Kind::kTask).ref, "3");
    EXPECT_TRUE(client.quiet()) << "a request has one answer";
    client.submit(id, "add", "x", Attrs().flag(Attribute::kResent));
    EXPECT_EQ(client.expect(Kind::kResult).body, "3");
  }
}

TEST(Wait, EndsWithTheResult) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add", "x", Attrs().number(Attribute::kWait, 300));
  h.advance(100ms);
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  client.expect(Kind::kResult);
  client.ack();
  h.expect_empty();
  h.advance(1s);
  EXPECT_TRUE(client.quiet());
  EXPECT_EQ(h.counters().timeouts, 0u);
  EXPECT_EQ(BrokerInspector::timers(*h.broker), 0u) << "its timer is gone with it";
}

TEST(Wait, ResultIsRepeatedAfterAReconnect) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  const uint64_t request = client.submit(id, "add", "x", Attrs().number(Attribute::kWait, 9000));
  client.disconnect();
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  EXPECT_EQ(BrokerInspector::live_tasks(*h.broker), 1u) << "kept until it is acknowledged";
  client.come_back();
  EXPECT_EQ(client.expect(Kind::kResult).ref, request);
  client.ack();
  h.expect_empty();
}

}  // namespace
}  // namespace tusk::core
