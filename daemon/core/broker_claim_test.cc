// Workers that claim what they run, after a restart of the broker or of their connection.
#include <gtest/gtest.h>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

class Claims : public ::testing::Test {
 protected:
  Claims() { h.exact_room = false; }

  // Says hello with claims of these ids; the handles that the welcome gives, 0 for those to drop.
  std::vector<uint64_t> claim(Peer& worker, const std::vector<TaskId>& ids, bool resume = false,
                              uint64_t attempt = 1) {
    worker.fields.claims.clear();
    for (const TaskId& id : ids) worker.fields.claims.push_back({id, attempt, "add", false});
    resume ? worker.come_back() : (void)worker.connect();
    std::vector<uint64_t> handles;
    EXPECT_EQ(worker.welcome["claims"].size(), ids.size());
    for (size_t i = 0; i < worker.welcome["claims"].size(); ++i) {
      const Json& answer = worker.welcome["claims"][i];
      EXPECT_EQ(answer[0]["hex"],
                proto::hex_encode({reinterpret_cast<const char*>(ids[i].bytes.data()), 16}));
      handles.push_back(answer[1].is_null() ? 0 : answer[1].get<uint64_t>());
    }
    worker.fields.claims.clear();
    return handles;
  }
  uint64_t resend(const TaskId& id, const std::string& body = "x") {
    return client.submit(id, "add", body, Attrs().flag(Attribute::kResent));
  }
  // A task that runs on the worker when the broker restarts.
  TaskId run_and_restart() {
    const TaskId id = h.id();
    client.submit(id, "add", "x");
    worker.expect(Kind::kTask);
    h.restart();
    client.connect();
    return id;
  }

  Harness h;
  Peer& worker = h.worker({"add"}, 2);
  Peer& client = h.client();
};

TEST_F(Claims, OfATaskWithAnOrderKeyAreWaitedForAndHoldTheKey) {
  auto submit = [&](const TaskId& id) {
    client.submit(id, "add", "x", Attrs().flag(Attribute::kResent).text(Attribute::kOrderKey, "k"));
  };
  const TaskId early = run_and_restart();
  submit(early);
  auto handles = claim(worker, {early});
  ASSERT_NE(handles[0], 0u) << "it is not given to anybody before";
  worker.succeed(handles[0]);
  const TaskId late = run_and_restart(), next = h.id();
  handles = claim(worker, {late});
  submit(late);
  client.submit(next, "add", "x", Attrs().text(Attribute::kOrderKey, "k"));
  EXPECT_TRUE(worker.take(Kind::kTask).empty()) << "one at a time";
  worker.succeed(handles[0]);
  EXPECT_EQ(worker.expect(Kind::kTask).id, next);
}

TEST_F(Claims, OfARunThatConsumesHoldItsAmountsFromTheResend) {
  const HelloFields one_gpu{.role = "worker",
                            .types = {"add"},
                            .slots = 3,
                            .more =
                                [](Writer& w) {
                                  w.text("labels");
                                  proto::write_json(w.packer(), Json{{"gpu", 1}});
                                },
                            .more_count = 1};
  worker.disconnect();
  Peer& gpu = h.peer(one_gpu);
  auto submit = [&](const TaskId& id, bool resent) {
    Attrs attributes = Attrs().json(Attribute::kNeeds, Json{{"consumes", {{"gpu", 1}}}});
    client.submit(id, "add", "x", resent ? attributes.flag(Attribute::kResent) : attributes);
  };
  const TaskId id = h.id(), next = h.id();
  submit(id, false);
  gpu.expect(Kind::kTask);
  h.restart();
  client.connect();
  const auto handles = claim(gpu, {id});
  submit(id, true);
  submit(next, false);
  EXPECT_TRUE(gpu.take(Kind::kTask).empty()) << "the adopted run has the only one";
  gpu.succeed(handles[0]);
  EXPECT_EQ(gpu.expect(Kind::kTask).id, next);
  gpu.succeed(gpu.runs.begin()->first);
  EXPECT_EQ(h.named("workers", gpu.fields.name)["used"]["gpu"], 0);
}

TEST_F(Claims, OfARunWithAStickyKeyKeepTheKeyAtTheirWorker) {
  std::vector<Peer*> workers{&worker};
  for (int i = 0; i < 3; ++i) workers.push_back(&h.worker({"add"}, 9));
  auto submit = [&](const TaskId& id, int key, bool resent) {
    Attrs attributes = Attrs().text(Attribute::kStickyKey, std::to_string(key));
    client.submit(id, "add", "x", resent ? attributes.flag(Attribute::kResent) : attributes);
  };
  for (const bool resent_before : {false, true}) {
    h.restart();
    client.connect();
    for (Peer* each : workers) each->connect();
    // Whomever the key's hash would choose: it runs there that claimed it.
    for (int key = 0; key < 8; ++key) {
      const TaskId id = h.id(), next = h.id();
      Peer& has_it = *workers[static_cast<size_t>(key) % 4];
      has_it.disconnect();
      if (resent_before) submit(id, key, true);
      const auto handles = claim(has_it, {id});
      ASSERT_NE(handles[0], 0u);
      if (!resent_before) submit(id, key, true);
      submit(next, key, false);
      EXPECT_EQ(has_it.expect(Kind::kTask).id, next) << key;
      has_it.succeed(has_it.runs.begin()->first);
      has_it.succeed(handles[0]);
    }
  }
}

TEST_F(Claims, AfterARestartAreAdoptedAndTheResendJoinsBeforeTheResult) {
  const TaskId id = run_and_restart();
  auto handles = claim(worker, {id});
  ASSERT_NE(handles[0], 0u);
  const uint64_t request = resend(id);
  worker.succeed(handles[0], "3");
  Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.ref, request);
  EXPECT_EQ(result.body, "3");
  EXPECT_EQ(h.counters().dispatched, 0u);
  EXPECT_EQ(h.counters().claims_adopted, 1u);
  resend(id);
  client.expect_error(code::kAlreadyEnded);
  resend(id, "other");
  client.expect_error(code::kIdConflict);
}

TEST_F(Claims, AfterARestartAreAdoptedAndTheResendJoinsBehindTheResult) {
  const TaskId id = run_and_restart();
  auto handles = claim(worker, {id});
  worker.succeed(handles[0], "3");
  resend(id);
  EXPECT_EQ(client.expect(Kind::kResult).body, "3");
  EXPECT_EQ(BrokerInspector::held_bytes(*h.broker), 1u) << "the result: nobody runs the body again";
  resend(id, "other");
  client.expect_error(code::kIdConflict);
}

TEST_F(Claims, ResentBeforeTheClaimIsHeldForIt) {
  const TaskId id = run_and_restart();
  Peer& other = h.worker({"add"}, 5);
  resend(id);
  h.advance(900ms);
  EXPECT_TRUE(other.quiet());
  auto handles = claim(worker, {id});
  ASSERT_NE(handles[0], 0u);
  worker.succeed(handles[0], "3");
  EXPECT_EQ(client.expect(Kind::kResult).body, "3");
  EXPECT_EQ(h.counters().dispatched, 0u);
}

TEST_F(Claims, ResentAndNotClaimedRunsAfterReconnectGrace) {
  const TaskId id = run_and_restart();
  Peer& other = h.worker({"add"}, 5);
  resend(id);
  h.advance(999ms);
  EXPECT_TRUE(other.quiet());
  h.advance(1ms);
  other.expect(Kind::kTask);
  EXPECT_EQ(claim(worker, {id})[0], 0u) << "it runs elsewhere";
  EXPECT_EQ(h.counters().claims_dropped, 1u);
}

TEST_F(Claims, AFirstSendingIsNotHeld) {
  run_and_restart();
  worker.connect();
  client.submit(h.id(), "add", "x");
  worker.expect(Kind::kTask);
}

TEST_F(Claims, OfATaskThatEndedAreDropped) {
  const TaskId id = h.id();
  client.submit(id, "add", "x");
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  worker.disconnect();
  EXPECT_EQ(claim(worker, {id})[0], 0u);
  client.ack();
  worker.disconnect();
  EXPECT_EQ(claim(worker, {id})[0], 0u) << "nor once it is only remembered";
}

TEST_F(Claims, OfAWaitingTaskAreAdoptedWithTheirAttempt) {
  const TaskId id = h.id();
  client.submit(id, "add", "x");
  worker.expect(Kind::kTask);
  worker.disconnect();
  h.advance(2s);  // it waits for somebody else now
  auto handles = claim(worker, {id}, true);
  ASSERT_NE(handles[0], 0u);
  EXPECT_NE(worker.expect(Kind::kCancel).ref, handles[0]) << "of the old run";
  EXPECT_TRUE(worker.quiet());
  worker.fail(handles[0], Attrs().error("E", "m"));
  EXPECT_EQ(client.expect(Kind::kResult).at(Attribute::kAttempt), 1);
  EXPECT_EQ(h.counters().dispatched, 1u);
}

TEST_F(Claims, OnAResumeWithinTheGraceGetTheirOldHandles) {
  const TaskId id = h.id();
  client.submit(id, "add", "x");
  const uint64_t handle = worker.expect(Kind::kTask).ref;
  worker.disconnect();
  EXPECT_EQ(claim(worker, {id}, true)[0], handle);
  worker.succeed(handle, "3");
  EXPECT_EQ(client.expect(Kind::kResult).body, "3");
}

// The worker is told to forget it, so it will never answer: the slot was taken for good.
TEST_F(Claims, OfACancelledRunThatHasEndedFreeItsSlot) {
  const TaskId id = h.id();
  client.submit(id, "add", "x");
  client.submit(h.id(), "add", "x");
  EXPECT_EQ(worker.take(Kind::kTask).size(), 2u);
  client.cancel(id);
  h.advance(5s);
  EXPECT_EQ(client.take(Kind::kResult).size(), 1u);
  client.submit(h.id(), "add", "y");
  EXPECT_TRUE(worker.take(Kind::kTask).empty()) << "its slot stays taken until it answers";
  worker.disconnect();
  worker.checks_slots = false;  // it would still count the run that it is told to drop
  EXPECT_EQ(claim(worker, {id}, true)[0], 0u);
  EXPECT_EQ(worker.take(Kind::kTask).size(), 1u);
}

// The hello's acknowledgement brought the worker under its bound, so that it was given the task
// that the same hello claims: two runs under one handle.
TEST(ClaimsOfTheSlow, AreCountedBeforeItIsGivenMore) {
  Harness h(
      [](config::Orchestration& c) { c.tuskd.limits.max_session_bytes = config::Bytes{5000}; });
  Peer& client = h.client();
  Peer& worker = h.worker({"add"});
  const TaskId id = h.id();
  client.submit(id, "add", std::string(6000, 'x'));
  worker.expect(Kind::kTask);
  worker.disconnect();
  h.advance(2s);  // for longer than the grace: it waits for another worker
  worker.fields.claims = {{id, 1, "add", false}};
  worker.connect(true);
  EXPECT_FALSE(worker.welcome["claims"][0][1].is_null());
  EXPECT_TRUE(worker.take(Kind::kTask).empty());
  EXPECT_EQ(h.counters().dispatched, 1u);
}

// A claim that is dropped may make room for an item; but the claims behind it come first.
TEST(ClaimsOfItems, AreAllCountedBeforeTheWorkerGetsMore) {
  Harness h([](config::Orchestration& c) {
    c.stages = {{.name = "clean", .language = "", .function = "clean", .settings = {}}};
    c.tuskd.limits.stage_capacity = 1;
    c.tuskd.limits.ended_window = 100;
  });
  h.exact_room = false;
  Peer& client = h.client();
  Peer& worker = h.peer({.role = "worker", .types = {"add"}, .handlers = {"clean"}});
  const TaskId item = h.id(), unknown = h.id();
  client.push(item, "clean", "x");
  worker.expect(Kind::kItem);
  client.cancel(item);
  client.push(h.id(), "clean", "y");  // no room: the slot is still taken
  h.advance(5s);
  worker.take(Kind::kCancel);
  worker.connection = kNoConnection;  // a new connection before the old one's end
  worker.runs.clear();
  worker.fields.claims = {{item, 1, "clean", true}, {unknown, 1, "add", false}};
  worker.connect(true);
  EXPECT_TRUE(worker.welcome["claims"][0][1].is_null());
  EXPECT_FALSE(worker.welcome["claims"][1][1].is_null());
  EXPECT_TRUE(worker.take(Kind::kItem).empty()) << "its slot is taken by what it claimed";
}

TEST_F(Claims, OfARunThatAnotherHasAreDropped) {
  const TaskId id = h.id();
  client.submit(id, "add", "x");
  worker.expect(Kind::kTask);
  Peer& thief = h.peer({.role = "worker", .types = {"add"}}, false);
  EXPECT_EQ(claim(thief, {id})[0], 0u);
}

TEST_F(Claims, UnderAnotherNameAreDropped) {
  h.reload([](config::Orchestration& c) { c.types["mul"]; });
  const TaskId id = h.id();
  client.submit(id, "mul", "x");  // waits: nobody serves it yet
  EXPECT_EQ(claim(h.peer({.role = "worker", .types = {"add"}}, false), {id})[0], 0u);
  const TaskId unknown = h.id();
  EXPECT_EQ(claim(h.peer({.role = "worker", .types = {"mul"}}, false), {unknown})[0], 0u)
      << "a type that it does not announce";
}

// A run that was adopted has no body: only its own worker can run it.
TEST_F(Claims, AdoptedRunsThatDoNotSucceedAreForgottenAndTheResendStartsAnew) {
  h.reload([](config::Orchestration& c) { c.other_type.attempts = 5; });
  for (int how = 0; how < 6; ++how) {
    const TaskId id = h.id();
    Peer& w = h.peer({.role = "worker", .types = {"add"}, .watched = true}, false);
    const uint64_t handle = claim(w, {id})[0];
    ASSERT_NE(handle, 0u);
    if (how == 0) w.fail(handle, Attrs().error("E", "m"));
    if (how == 1) w.cancelled(handle);
    if (how == 2) w.give_back({handle});
    if (how == 3) w.die();
    if (how == 4) w.send([](Writer& out) { out.bye(""); });
    if (how == 5) w.fail(handle, Attrs().flag(Attribute::kCrashed));
    h.advance(2s);
    EXPECT_TRUE(worker.quiet()) << "nobody else is given it: " << how;
    resend(id);
    h.advance(2s);
    EXPECT_EQ(worker.runs.size() + w.runs.size(), 1u) << how;
    Peer& runs = worker.runs.empty() ? w : worker;
    EXPECT_EQ(runs.runs.begin()->second.body, "x");
    runs.succeed(runs.runs.begin()->first, "3");
    EXPECT_EQ(client.expect(Kind::kResult).body, "3");
    client.ack();
    w.disconnect();
    worker.inbox.clear();
    h.advance(61s);
  }
  h.expect_empty();
}

TEST_F(Claims, AnAdoptedEndingThatNobodyAskedForIsAlreadyEndedLater) {
  const TaskId id = h.id();
  Peer& w = h.peer({.role = "worker", .types = {"add"}}, false);
  w.succeed(claim(w, {id})[0], "3");
  h.advance(61s);
  resend(id);
  client.expect_error(code::kAlreadyEnded);
}

TEST_F(Claims, CountAgainstTheSlots) {
  const TaskId first = run_and_restart(), second = h.id();
  auto handles = claim(worker, {first, second});
  client.submit(h.id(), "add", "new");
  EXPECT_TRUE(worker.quiet()) << "two slots, two adopted runs";
  worker.succeed(handles[0]);
  EXPECT_EQ(worker.expect(Kind::kTask).body, "new");
}

TEST_F(Claims, ThatMakeNoSenseAreSkipped) {
  Peer& w = h.peer({.role = "worker",
                    .types = {"add"},
                    .more =
                        [](Writer& out) {
                          out.text("sdk");
                          out.text("x");
                        },
                    .more_count = 1});
  EXPECT_EQ(w.welcome["claims"], Json::array());
}

}  // namespace
}  // namespace tusk::core
