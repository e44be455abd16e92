// Unique keys: of the tasks of one type with the same key only one lives.
#include <gtest/gtest.h>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

using proto::UniquePolicy;

class UniqueTest : public ::testing::Test {
 protected:
  static Attrs key(UniquePolicy policy = UniquePolicy::kJoin, std::string_view name = "k") {
    return Attrs()
        .text(Attribute::kUnique, name)
        .number(Attribute::kUniquePolicy, static_cast<uint64_t>(policy));
  }
  // Takes the worker's one slot, so that what comes waits; returns its handle.
  uint64_t busy() {
    client.submit(h.id(), "add", "busy");
    return worker.expect(Kind::kTask).ref;
  }
  Got duplicate_for(Peer& peer) {
    Got error = peer.expect_error(code::kDuplicate);
    EXPECT_EQ(error.value["id"], first.hex());
    return error;
  }

  Harness h;
  Peer& worker = h.worker({"add", "mul"});
  Peer& client = h.client();
  Peer& other = h.client();
  const TaskId first = h.id(), second = h.id(), third = h.id();
};

TEST_F(UniqueTest, ASecondSubmitJoinsAndHearsWhichTaskItJoined) {
  client.submit(first, "add", "one", key());
  const uint64_t request = other.submit(second, "add", "two", key());
  const Got task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.body, "one");
  worker.succeed(task.ref, "sum");
  EXPECT_TRUE(worker.take(Kind::kTask).empty());
  EXPECT_EQ(client.expect(Kind::kResult).body, "sum");
  const Got joined = other.expect(Kind::kResult);
  EXPECT_EQ(joined.ref, request);
  EXPECT_EQ(joined.body, "sum");
  EXPECT_EQ(joined.at(Attribute::kTask)["hex"], first.hex());
  EXPECT_EQ(client.query("task", &second)["state"], "unknown") << "it has no task of its own";
  client.submit(third, "add", "three", key());
  EXPECT_EQ(worker.expect(Kind::kTask).body, "three") << "the key is free again";
}

TEST_F(UniqueTest, KeysAreOfATypeAndOtherKeysAreFree) {
  worker.checks_slots = false;
  worker.slots(9);
  client.submit(first, "add", "", key());
  client.submit(second, "mul", "", key());
  client.submit(third, "add", "", key(UniquePolicy::kJoin, "other"));
  EXPECT_EQ(worker.take(Kind::kTask).size(), 3u);
}

TEST_F(UniqueTest, ARefusalNamesTheTaskAndItsState) {
  const uint64_t run = busy();
  client.submit(first, "add", "", key());
  other.submit(second, "add", "", key(UniquePolicy::kRefuse));
  EXPECT_EQ(duplicate_for(other).value["state"], "waiting");
  worker.succeed(run);
  other.submit(third, "add", "", key(UniquePolicy::kRefuse));
  EXPECT_EQ(duplicate_for(other).value["state"], "running");
}

TEST_F(UniqueTest, TheKeyStaysTakenForAWhileAfterTheEnd) {
  client.submit(first, "add", "", key().number(Attribute::kUniqueFor, 5000));
  worker.fail(worker.expect(Kind::kTask).ref);
  client.inbox.clear();
  h.advance(4999ms);
  for (auto policy : {UniquePolicy::kJoin, UniquePolicy::kRefuse, UniquePolicy::kReplace,
                      UniquePolicy::kDebounce, UniquePolicy::kFollowUp}) {
    other.submit(h.id(), "add", "", key(policy));
    EXPECT_EQ(duplicate_for(other).value["state"], "failed");
  }
  h.advance(1ms);
  other.submit(second, "add", "", key());
  EXPECT_EQ(worker.expect(Kind::kTask).id, second);
}

TEST_F(UniqueTest, ReplacesBodyPriorityAndTermsOfATaskThatWaits) {
  const uint64_t run = busy();
  client.submit(first, "add", "old", key().number(Attribute::kDeadline, 100));
  const TaskId plain = h.id();
  client.submit(plain, "add", "plain");
  other.submit(second, "add", "new",
               key(UniquePolicy::kReplace).priority(-5).number(Attribute::kRunTimeout, 7000));
  h.advance(200ms);
  worker.succeed(run);
  Got task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.id, plain) << "its priority is lower now";
  worker.succeed(task.ref);
  task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.id, first) << "the old deadline is gone";
  EXPECT_EQ(task.body, "new");
  EXPECT_EQ(task.at(Attribute::kTimeLeft), 7000);
  worker.succeed(task.ref, "done");
  EXPECT_EQ(other.expect(Kind::kResult).body, "done");
  client.submit(first, "add", "old", Attrs().flag(Attribute::kResent));
  client.take(Kind::kResult);
  client.expect_error(code::kAlreadyEnded);  // no conflict: its id belongs to its own body still
}

TEST_F(UniqueTest, DebouncePushesTheStartOut) {
  client.submit(first, "add", "a", key(UniquePolicy::kDebounce).number(Attribute::kDelay, 1000));
  for (const char* body : {"b", "c", "d"}) {
    h.advance(900ms);
    other.submit(h.id(), "add", body, key(UniquePolicy::kDebounce).number(Attribute::kDelay, 1000));
    EXPECT_TRUE(worker.quiet());
  }
  h.advance(999ms);
  EXPECT_TRUE(worker.quiet());
  h.advance(1ms);
  const Got task = worker.expect(Kind::kTask);
  EXPECT_EQ(task.body, "d");
  worker.succeed(task.ref);
  EXPECT_EQ(other.take(Kind::kResult).size(), 3u);
  EXPECT_EQ(client.take(Kind::kResult).size(), 1u);
}

TEST_F(UniqueTest, OneFollowUpWaitsUntilTheRunningOneHasEnded) {
  worker.checks_slots = false;
  worker.slots(4);
  client.submit(first, "add", "1", key());
  const Got run = worker.expect(Kind::kTask);
  client.submit(second, "add", "2", key(UniquePolicy::kFollowUp));
  other.submit(third, "add", "3", key(UniquePolicy::kFollowUp));
  EXPECT_TRUE(worker.quiet());
  EXPECT_EQ(client.query("task", &second)["state"], "waiting");
  worker.succeed(run.ref, "first");
  h.advance(0ms);
  const Got next = worker.expect(Kind::kTask);
  EXPECT_EQ(next.id, second);
  EXPECT_EQ(next.body, "2") << "the third joined it";
  worker.succeed(next.ref, "second");
  EXPECT_EQ(other.expect(Kind::kResult).body, "second");
  EXPECT_EQ(client.take(Kind::kResult).size(), 2u);
}

TEST_F(UniqueTest, ReplacingARunningOneLeavesAFollowUpThatIsReplacedInTurn) {
  client.submit(first, "add", "1", key());
  const Got run = worker.expect(Kind::kTask);
  client.submit(second, "add", "2", key(UniquePolicy::kReplace));
  other.submit(third, "add", "3", key(UniquePolicy::kReplace));
  worker.succeed(run.ref);
  h.advance(0ms);
  const Got next = worker.expect(Kind::kTask);
  EXPECT_EQ(next.id, second);
  EXPECT_EQ(next.body, "3");
}

TEST_F(UniqueTest, AFollowUpKeepsItsDelay) {
  client.submit(first, "add", "1", key());
  const Got run = worker.expect(Kind::kTask);
  client.submit(second, "add", "2", key(UniquePolicy::kFollowUp).number(Attribute::kDelay, 1000));
  h.advance(400ms);
  worker.succeed(run.ref);
  h.advance(599ms);
  EXPECT_TRUE(worker.quiet());
  h.advance(1ms);
  EXPECT_EQ(worker.expect(Kind::kTask).id, second);
}

TEST_F(UniqueTest, AFollowUpMayBeCancelledOrExpireAndLeavesTheKeyAlone) {
  client.submit(first, "add", "1", key());
  const Got run = worker.expect(Kind::kTask);
  client.submit(second, "add", "2", key(UniquePolicy::kFollowUp));
  client.cancel(second);
  EXPECT_EQ(client.take(Kind::kResult).at(0).state, State::kCancelled);
  client.submit(third, "add", "3", key(UniquePolicy::kFollowUp).number(Attribute::kDeadline, 1000));
  h.advance(1s);
  EXPECT_EQ(client.take(Kind::kResult).at(0).state, State::kExpired);
  worker.succeed(run.ref);
  h.advance(0ms);
  EXPECT_TRUE(worker.quiet());
  client.submit(h.id(), "add", "4", key(UniquePolicy::kRefuse));
  EXPECT_EQ(worker.expect(Kind::kTask).body, "4");
}

TEST_F(UniqueTest, AKeyOutlivesRetriesAndACancelThatIsNotAnswered) {
  client.submit(first, "add", "1", key().number(Attribute::kAttempts, 2).backoff(1000, 1000, 1, 0));
  worker.fail(worker.expect(Kind::kTask).ref);
  other.submit(second, "add", "2", key(UniquePolicy::kRefuse));
  EXPECT_EQ(duplicate_for(other).value["state"], "delayed");
  h.advance(1s);
  worker.expect(Kind::kTask);
  client.cancel(first);
  h.advance(h.config().tuskd.times.cancel_grace);
  EXPECT_EQ(client.take(Kind::kResult).size(), 1u);
  other.submit(second, "add", "2", key(UniquePolicy::kRefuse));
  EXPECT_TRUE(other.quiet()) << "the task has ended, though its run has not";
}

TEST_F(UniqueTest, WhatIsGivenBackFreesItsKeyAtOnce) {
  client.submit(first, "add", "1", key().number(Attribute::kUniqueFor, 60'000));
  worker.send([](Writer& w) { w.bye(""); });
  h.handle(Shutdown{});
  EXPECT_FALSE(client.take(Kind::kError).empty());
  EXPECT_TRUE(h.stopped);
}

TEST_F(UniqueTest, ASubmitThatJoinsMayWantItsAcceptanceOnly) {
  client.submit(first, "add", "1", key());
  other.submit(second, "add", "2", key().number(Attribute::kReply, 1));
  other.expect(Kind::kAccepted);
  worker.succeed(worker.expect(Kind::kTask).ref);
  EXPECT_TRUE(other.quiet());
}

}  // namespace
}  // namespace tusk::core
