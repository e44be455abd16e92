// Runs that fail, are tried again, are cancelled or given back; and who gets which task.
#include <gtest/gtest.h>

#include <random>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

auto attempts(size_t n) {
  return [n](config::Orchestration& c) { c.other_type.attempts = n; };
}

// --- failures ------------------------------------------------------------------------------------

TEST(Failure, OfTheOnlyRunIsFailedAndTellsWhatWhenAndWhere) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  worker.fail(worker.expect(Kind::kTask).ref, Attrs().error("ValueError", "too odd").raw(1000, 5));
  Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.state, State::kFailed);
  const Json error = {
      {"type", "ValueError"}, {"message", "too odd"}, {"language", "python"}, {"stack", "a stack"}};
  EXPECT_EQ(result.at(Attribute::kError), error);
  EXPECT_EQ(result.at(Attribute::kAttempt), 1);
  EXPECT_EQ(result.at(Attribute::kWorker), worker.fields.name);
  EXPECT_EQ(result.attributes.at(1000), 5);
}

TEST(Failure, AWorkersOwnWordOfAttemptAndWorkerIsReplaced) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  worker.fail(
      worker.expect(Kind::kTask).ref,
      Attrs().error("E", "m").number(Attribute::kAttempt, 77).text(Attribute::kWorker, "x"));
  Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.at(Attribute::kAttempt), 1);
  EXPECT_EQ(result.at(Attribute::kWorker), worker.fields.name);
}

TEST(Failure, WithoutAnErrorGetsOne) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  worker.fail(worker.expect(Kind::kTask).ref);
  Got result = client.expect(Kind::kResult);
  ASSERT_TRUE(result.has(Attribute::kError));
  EXPECT_TRUE(result.at(Attribute::kError)["type"].is_string());
  EXPECT_TRUE(result.at(Attribute::kError)["message"].is_string());
  EXPECT_EQ(result.at(Attribute::kError)["language"], "tuskd");
}

TEST(Failure, IsTriedAgainUntilTheAttemptsAreUsedUpThenDead) {
  Harness h(attempts(3));
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add", "x");
  for (uint32_t attempt = 1; attempt <= 3; ++attempt) {
    Got task = worker.expect(Kind::kTask);
    EXPECT_EQ(task.attempt, attempt);
    EXPECT_EQ(task.body, "x");
    worker.fail(task.ref, Attrs().error("E", "m"));
    h.advance(1s);
  }
  EXPECT_TRUE(worker.quiet());
  Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.state, State::kDead);
  EXPECT_EQ(result.at(Attribute::kAttempt), 3);
  EXPECT_TRUE(result.has(Attribute::kError));
  EXPECT_EQ(h.counters().retried, 2u);
  EXPECT_EQ(h.counters().dead, 1u);
}

TEST(Failure, ALaterRunMaySucceed) {
  Harness h(attempts(3));
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  worker.fail(worker.expect(Kind::kTask).ref);
  h.advance(1s);
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.state, State::kSucceeded);
  EXPECT_EQ(result.body, "3");
}

TEST(Failure, WithNoRetryIsFailedAtOnce) {
  Harness h(attempts(3));
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  worker.fail(worker.expect(Kind::kTask).ref, Attrs().flag(Attribute::kNoRetry));
  Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.state, State::kFailed);
  EXPECT_EQ(result.at(Attribute::kNoRetry), true) << "the caller learns that it is no use";
}

TEST(Failure, BackOffDoublesUpToItsBoundGiveOrTakeAQuarter) {
  Harness h([](config::Orchestration& c) {
    c.other_type.attempts = 8;
    c.other_type.retry_backoff = 100ms;
    c.other_type.max_backoff = 1s;
  });
  Peer& worker = h.worker({"add"}, 1);
  Peer& client = h.client();
  std::set<Duration> seen;
  for (int task = 0; task < 20; ++task) {
    client.submit(h.id(), "add");
    for (int run = 0; run < 7; ++run) {
      worker.fail(worker.expect(Kind::kTask).ref);
      const Duration nominal = std::min<Duration>(100ms * (1 << run), 1s);
      Duration waited{};
      for (; worker.quiet(); waited += 5ms) h.advance(5ms);
      EXPECT_GE(waited, nominal * 3 / 4) << run;
      EXPECT_LE(waited, nominal * 5 / 4 + 5ms) << run;
      if (run == 0) seen.insert(waited);
    }
    worker.succeed(worker.expect(Kind::kTask).ref);
  }
  EXPECT_GT(seen.size(), 3u) << "no two waits need be the same";
}

TEST(Failure, ResultThatIsTooLargeIsAFailureWithoutItsBodyAndIsNotTriedAgain) {
  Harness h([](config::Orchestration& c) {
    c.other_type.attempts = 3;
    c.tuskd.limits.max_body = config::Bytes{10'000};
  });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const uint64_t handle = worker.expect(Kind::kTask).ref;
  worker.succeed(handle, std::string(10'001, 'x'));
  Got error = worker.expect_error(code::kTooLarge);
  EXPECT_EQ(error.ref, handle);
  EXPECT_EQ(error.value["limit"], "body");
  Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.state, State::kFailed);
  EXPECT_FALSE(result.body) << "the body is what was refused";
  EXPECT_EQ(result.at(Attribute::kError)["type"], "TooLarge");
  EXPECT_EQ(result.at(Attribute::kAttempt), 1);
}

TEST(Result, UnderAHandleThatIsNotTheWorkersIsDroppedAndCounted) {
  Harness h;
  Peer& a = h.worker({"add"});
  Peer& b = h.worker({"mul"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const uint64_t handle = a.expect(Kind::kTask).ref;
  b.succeed(handle, "stolen");
  EXPECT_EQ(b.expect_error(code::kUnknownHandle).ref, handle);
  a.succeed(handle, "mine");
  a.succeed(handle, "again");
  a.expect_error(code::kUnknownHandle);
  a.succeed(12345, "never");
  a.expect_error(code::kUnknownHandle);
  EXPECT_EQ(client.expect(Kind::kResult).body, "mine");
  EXPECT_TRUE(client.quiet());
  EXPECT_EQ(h.counters().errors_unknown_handle, 3u);
}

TEST(Result, AnOldHandleNeverFitsANewTask) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  std::set<uint64_t> handles;
  for (int i = 0; i < 100; ++i) {
    client.submit(h.id(), "add");
    const uint64_t handle = worker.expect(Kind::kTask).ref;
    EXPECT_TRUE(handles.insert(handle).second);
    worker.succeed(handle);
    client.expect(Kind::kResult);
    client.ack();
  }
  EXPECT_LE(h.broker->counters().dispatched, 100u);
}

TEST(Result, FromAClientIsInvalid) {
  Harness h;
  Peer& client = h.client();
  client.succeed(1);
  client.expect_error(code::kInvalid);
  client.slots(3);
  client.expect_error(code::kInvalid);
  client.give_back({1});
  client.expect_error(code::kInvalid);
}

// Nobody would ever answer the run otherwise: a worker answers each just once.
TEST(Result, ThatIsRefusedEndsTheRunAllTheSame) {
  Harness h(attempts(5));
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const Attrs good;
  Attrs odd, many;
  odd.raw(999, 1);
  for (uint64_t i = 0; i < 65; ++i) many.raw(1000 + 2 * i, i);
  struct {
    State state;
    const Attrs& attributes;
    std::string_view code;
  } refused[] = {{static_cast<State>(9), good, code::kInvalid},
                 {State::kSucceeded, many, code::kTooLarge},
                 {State::kSucceeded, odd, code::kUnsupported}};
  for (const auto& [state, attributes, code] : refused) {
    client.submit(h.id(), "add");
    const uint64_t handle = worker.expect(Kind::kTask).ref;
    worker.runs.clear();
    worker.send([&](Writer& w) { w.result(handle, state, BodyOut::copied("3"), attributes); });
    EXPECT_EQ(worker.expect_error(code).ref, handle);
    EXPECT_TRUE(worker.quiet());
    Got result = client.expect(Kind::kResult);
    EXPECT_EQ(result.state, State::kFailed) << "and is not tried again";
    EXPECT_FALSE(result.body);
    EXPECT_EQ(result.at(Attribute::kError)["type"], "Refused");
    EXPECT_EQ(result.at(Attribute::kWorker), worker.fields.name);
  }
  worker.send([&](Writer& w) { w.result(77, static_cast<State>(9), {}, {}); });
  worker.expect_error(code::kInvalid);
  EXPECT_TRUE(worker.quiet()) << "one error is enough";
}

// --- given back ----------------------------------------------------------------------------------

TEST(Returned, RunsGoElsewhereAndDoNotCountAsAttempts) {
  Harness h;
  Peer& a = h.worker({"add"}, 2);
  Peer& client = h.client();
  client.submit(h.id(), "add", "1");
  client.submit(h.id(), "add", "2");
  auto runs = a.take(Kind::kTask);
  Peer& b = h.worker({"add"}, 2);
  a.send([&](Writer& w) {
    w.slots(0);
    const uint64_t handles[] = {runs[0].ref, runs[1].ref};
    w.returned(0, handles, 2);
  });
  auto again = b.take(Kind::kTask);
  ASSERT_EQ(again.size(), 2u);
  EXPECT_EQ(again[0].body, "1") << "in the order of their acceptance";
  EXPECT_EQ(again[0].attempt, 1u);
  EXPECT_EQ(h.counters().requeued, 2u);
  EXPECT_EQ(h.counters().crashed, 0u);
}

TEST(Returned, OfHandlesThatAreNotTheWorkersIsCounted) {
  Harness h;
  Peer& worker = h.worker({"add"});
  worker.give_back({1, 2});
  EXPECT_EQ(h.counters().errors_unknown_handle, 2u);
}

TEST(Returned, OfACancelledRunIsItsEnding) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add");
  const uint64_t handle = worker.expect(Kind::kTask).ref;
  client.cancel(id);
  worker.give_back({handle});
  client.expect(Kind::kAnswer);
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kCancelled);
}

TEST(Slots, AWorkerMayChangeThemAndZeroMeansNothingMore) {
  Harness h;
  Peer& worker = h.worker({"add"}, 1);
  Peer& client = h.client();
  for (int i = 0; i < 5; ++i) client.submit(h.id(), "add");
  auto runs = worker.take(Kind::kTask);
  EXPECT_EQ(runs.size(), 1u);
  worker.slots(3);
  auto more = worker.take(Kind::kTask);
  EXPECT_EQ(more.size(), 2u);
  worker.slots(0);
  worker.succeed(runs[0].ref);
  EXPECT_TRUE(worker.quiet());
  worker.slots(2);
  EXPECT_TRUE(worker.quiet()) << "two still run";
  worker.succeed(more[0].ref);
  EXPECT_EQ(worker.take(Kind::kTask).size(), 1u);
}

// --- cancel --------------------------------------------------------------------------------------

std::string cancel(Peer& client, const TaskId& id) {
  const uint64_t request = client.cancel(id);
  auto answers = client.take(Kind::kAnswer);
  EXPECT_EQ(answers.size(), 1u);
  if (answers.empty()) return "";
  EXPECT_EQ(answers[0].ref, request);
  return answers[0].value["state"];
}

void expect_cancelled(Peer& client, const Peer* ran) {
  Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.state, State::kCancelled);
  ASSERT_TRUE(result.has(Attribute::kError)) << "with each ending that is not a success";
  EXPECT_EQ(result.at(Attribute::kError)["language"], "tuskd");
  EXPECT_EQ(result.has(Attribute::kAttempt), ran != nullptr);
  EXPECT_EQ(result.has(Attribute::kWorker), ran != nullptr);
  if (ran) {
    EXPECT_EQ(result.at(Attribute::kWorker), ran->fields.name);
  }
}

TEST(Cancel, AWaitingTaskEndsAtOnce) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const TaskId id = h.id();
  client.submit(id, "add");
  EXPECT_EQ(cancel(client, id), "cancelled");
  expect_cancelled(client, nullptr);
  worker.succeed(worker.expect(Kind::kTask).ref);
  EXPECT_TRUE(worker.quiet());
}

TEST(Cancel, ATaskInBackOffEndsAtOnce) {
  Harness h(attempts(2));
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add");
  worker.fail(worker.expect(Kind::kTask).ref);
  EXPECT_EQ(cancel(client, id), "cancelled");
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kCancelled);
  h.advance(10s);
  EXPECT_TRUE(worker.quiet());
}

TEST(Cancel, ARunningTaskEndsWhenItsWorkerAnswers) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add");
  const uint64_t handle = worker.expect(Kind::kTask).ref;
  EXPECT_EQ(cancel(client, id), "cancelling");
  EXPECT_EQ(cancel(client, id), "cancelling");
  Got told = worker.expect(Kind::kCancel);
  EXPECT_EQ(told.ref, handle);
  EXPECT_EQ(told.id, id);
  EXPECT_TRUE(worker.quiet()) << "told once";
  h.advance(4s);
  EXPECT_TRUE(client.quiet());
  worker.cancelled(handle);
  expect_cancelled(client, &worker);
  EXPECT_EQ(cancel(client, id), "cancelled");
  h.advance(10s);
  EXPECT_TRUE(client.quiet());
}

TEST(Cancel, AFailureAfterItIsTheCancel) {
  Harness h(attempts(5));
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add");
  cancel(client, id);
  worker.fail(worker.expect(Kind::kTask).ref, Attrs().error("Interrupted", "stopped"));
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kCancelled);
}

TEST(Cancel, IfTheResultArrivesFirstItCounts) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add");
  EXPECT_EQ(cancel(client, id), "cancelling");
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kSucceeded);
  EXPECT_EQ(cancel(client, id), "succeeded");
}

TEST(Cancel, AfterItsGraceTheTaskEndsAndItsSlotStaysTaken) {
  Harness h([](config::Orchestration& c) { c.tuskd.times.cancel_grace = 5s; });
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "x");
  const uint64_t handle = worker.expect(Kind::kTask).ref;
  cancel(client, id);
  h.advance(5s);
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kCancelled);
  client.submit(h.id(), "add", "next");
  worker.expect(Kind::kCancel);
  EXPECT_TRUE(worker.quiet()) << "its slot is taken";
  EXPECT_EQ(client.query("task", &id)["state"], "cancelled");
  worker.succeed(handle, "too late");
  EXPECT_EQ(worker.expect(Kind::kTask).body, "next");
  EXPECT_TRUE(client.quiet()) << "the loser is dropped";
  client.submit(id, "add", "x");
  EXPECT_EQ(client.expect_error(code::kAlreadyEnded).value["state"], "cancelled");
}

TEST(Cancel, AWorkerWithAGhostMayDieOrGiveItBack) {
  Harness h;
  Peer& client = h.client();
  for (int how = 0; how < 3; ++how) {
    Peer& worker = h.peer({.role = "worker", .types = {"add"}, .watched = true});
    const TaskId id = h.id();
    client.submit(id, "add", "x");
    const uint64_t handle = worker.expect(Kind::kTask).ref;
    cancel(client, id);
    h.advance(5s);
    EXPECT_EQ(client.expect(Kind::kResult).state, State::kCancelled);
    client.ack();
    EXPECT_EQ(BrokerInspector::live_tasks(*h.broker), 1u);
    if (how == 0) worker.die();
    if (how == 1) worker.give_back({handle});
    if (how == 2) worker.cancelled(handle);
    h.expect_empty();
    worker.die();
  }
}

TEST(Cancel, OfWhatTheBrokerDoesNotKnowIsAnError) {
  Harness h;
  Peer& client = h.client();
  const uint64_t request = client.cancel(h.id());
  EXPECT_EQ(client.expect_error(code::kUnknownTask).ref, request);
}

TEST(Cancel, AWorkerThatStopsOnItsOwnGivesTheTaskToAnother) {
  Harness h;
  Peer& a = h.worker({"add"});
  Peer& client = h.client();
  client.submit(h.id(), "add", "x");
  const uint64_t handle = a.expect(Kind::kTask).ref;
  Peer& b = h.worker({"add"});
  a.cancelled(handle);
  EXPECT_EQ(b.expect(Kind::kTask).body, "x") << "round robin: the other's turn";
  EXPECT_TRUE(client.quiet());
  EXPECT_EQ(h.counters().requeued, 1u);
}

}  // namespace
}  // namespace tusk::core
