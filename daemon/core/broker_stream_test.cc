// Streams: chunks in order, credit, attempts, and callers that come and go.
#include <gtest/gtest.h>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

Attrs streamed(uint64_t window) { return Attrs().number(Attribute::kStream, window); }

class Stream : public testing::Test {
 protected:
  // A run of `worker` whose stream `client` hears.
  Got start(uint64_t window = 3, const Attrs& more = {}) {
    id = h.id();
    Attrs attributes = more;
    request = client.submit(id, "add", "", attributes.number(Attribute::kStream, window));
    return worker.expect(Kind::kTask);
  }
  void chunk(uint64_t handle, const std::string& body) {
    worker.send([&](Writer& w) { w.chunk(handle, BodyOut::copied(body), {}); });
  }
  void credit(uint64_t chunks) {
    client.send([&](Writer& w) { w.credit(request, id, chunks); });
  }
  std::vector<std::string> bodies(Peer& of) {
    std::vector<std::string> out;
    for (const Got& got : of.take(Kind::kChunk)) out.push_back(got.body.value_or("nil"));
    return out;
  }
  using Bodies = std::vector<std::string>;

  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  TaskId id;
  uint64_t request = 0;
};

TEST_F(Stream, ChunksArriveInOrderAndTheResultBehindThem) {
  const Got task = start();
  EXPECT_EQ(task.at(Attribute::kStream), 3);
  chunk(task.ref, "a");
  chunk(task.ref, "b");
  worker.succeed(task.ref, "sum");
  for (const char* body : {"a", "b"}) {
    const Got got = client.expect(Kind::kChunk);
    EXPECT_EQ(got.ref, request);
    EXPECT_EQ(got.body, body);
    EXPECT_EQ(got.at(Attribute::kAttempt), 1);
    EXPECT_EQ(got.at(Attribute::kIndex), body[0] - 'a' + 1);
  }
  const Got result = client.expect(Kind::kResult);
  EXPECT_EQ(result.body, "sum");
  EXPECT_EQ(result.at(Attribute::kChunks), 2);
}

TEST_F(Stream, AWorkersOwnWordOfAttemptAndIndexIsReplaced) {
  const Got task = start();
  Attrs attributes = Attrs().number(Attribute::kIndex, 99).number(Attribute::kAttempt, 7);
  worker.send([&](Writer& w) { w.chunk(task.ref, BodyOut::copied("a"), attributes); });
  const Got got = client.expect(Kind::kChunk);
  EXPECT_EQ(got.at(Attribute::kIndex), 1);
  EXPECT_EQ(got.at(Attribute::kAttempt), 1);
}

TEST_F(Stream, WithoutCreditAChunkIsRefused) {
  const Got task = start(2);
  for (const char* body : {"a", "b", "c"}) chunk(task.ref, body);
  EXPECT_EQ(worker.expect_error(code::kBusy).value["limit"], "stream");
  EXPECT_EQ(bodies(client), (Bodies{"a", "b"}));
  credit(2);
  EXPECT_EQ(worker.expect(Kind::kCredit).ref, task.ref);
  chunk(task.ref, "c");
  EXPECT_EQ(bodies(client), (Bodies{"c"}));
}

TEST_F(Stream, CreditIsBounded) {
  const Got task = start(1000);
  for (int i = 0; i < 10; ++i) credit(1000);
  size_t credits = 0;
  for (const Got& got : worker.take(Kind::kCredit)) credits += got.value.get<size_t>();
  EXPECT_EQ(credits, 24u);
  worker.succeed(task.ref);
  credit(5);  // on its way while it ended
  EXPECT_TRUE(worker.quiet());
}

TEST_F(Stream, OnlyWhoListensGivesCredit) {
  start(1);
  Peer& other = h.client();
  other.send([&](Writer& w) { w.credit(request, id, 5); });
  other.send([&](Writer& w) { w.credit(1, h.id(), 5); });
  EXPECT_TRUE(worker.quiet());
  EXPECT_TRUE(other.quiet());
}

TEST_F(Stream, AnotherAttemptBeginsAnewWithItsWholeCredit) {
  h.reload([](config::Orchestration& c) { c.other_type.attempts = 2; });
  Got task = start(2, Attrs().backoff(0, 0, 1, 0));
  chunk(task.ref, "a");
  chunk(task.ref, "b");
  worker.fail(task.ref);
  h.advance(1ms);
  task = worker.expect(Kind::kTask);
  chunk(task.ref, "A");
  chunk(task.ref, "B");
  worker.succeed(task.ref);
  std::vector<std::pair<int, int>> marks;
  for (const Got& got : client.take(Kind::kChunk)) {
    marks.emplace_back(got.at(Attribute::kAttempt), got.at(Attribute::kIndex));
  }
  EXPECT_EQ(marks, (std::vector<std::pair<int, int>>{{1, 1}, {1, 2}, {2, 1}, {2, 2}}));
  EXPECT_EQ(client.expect(Kind::kResult).at(Attribute::kChunks), 2);
}

TEST_F(Stream, AReconnectLosesNothing) {
  const Got task = start(3);
  client.disconnect();
  chunk(task.ref, "a");
  chunk(task.ref, "b");
  client.come_back();
  chunk(task.ref, "c");
  EXPECT_EQ(bodies(client), (Bodies{"a", "b", "c"}));
}

TEST_F(Stream, WhenItsCallerIsGoneTheRunGoesOn) {
  const Got task = start(1);
  client.send([&](Writer& w) { w.bye(""); });
  for (int i = 0; i < 5; ++i) {
    chunk(task.ref, "x");
    EXPECT_EQ(worker.take(Kind::kCredit).size(), 1u);
  }
  worker.succeed(task.ref);
  EXPECT_TRUE(worker.quiet());
  EXPECT_EQ(h.counters().chunks_lost, 5u);
}

TEST_F(Stream, WhoAsksForItLastHearsIt) {
  const Got task = start(2);
  chunk(task.ref, "a");
  Peer& other = h.client();
  other.submit(id, "add", "", streamed(4).flag(Attribute::kResent));
  EXPECT_EQ(worker.expect(Kind::kCredit).value, 3) << "for a window of its own";
  chunk(task.ref, "b");
  EXPECT_EQ(bodies(client), (Bodies{"a"}));
  const Got got = other.expect(Kind::kChunk);
  EXPECT_EQ(got.body, "b");
  EXPECT_EQ(got.at(Attribute::kIndex), 2);
}

// Whoever went before it.
TEST_F(Stream, WhoAskedForItLastHearsItAloneAlsoInThePlaceOfTheFirst) {
  const Got task = start(3);
  Peer& second = h.client();
  second.submit(id, "add", "", streamed(3));
  client.send([](Writer& w) { w.bye("done"); });
  Peer& third = h.client();
  third.submit(id, "add", "", streamed(3));
  worker.take(Kind::kCredit);
  chunk(task.ref, "a");
  EXPECT_EQ(bodies(third), Bodies{"a"});
  third.send([](Writer& w) { w.bye("done"); });
  chunk(task.ref, "b");
  EXPECT_TRUE(bodies(second).empty()) << "it would begin in the midst";
  EXPECT_EQ(worker.expect(Kind::kCredit).value, 1);
}

TEST_F(Stream, AfterARestartItGoesOnOnceItsCallerIsBack) {
  const Got task = start(2);
  chunk(task.ref, "a");
  h.restart();
  worker.fields.claims = {{id, 1, "add", false}};
  worker.connect();
  const uint64_t handle = worker.welcome["claims"][0][1];
  chunk(handle, "b");
  EXPECT_EQ(worker.take(Kind::kCredit).size(), 1u) << "nobody is there for it";
  client.connect();
  client.inbox.clear();
  request = client.submit(id, "add", "", streamed(2).flag(Attribute::kResent));
  for (const char* body : {"c", "d", "e"}) chunk(handle, body);
  worker.expect_error(code::kBusy);
  const auto got = client.take(Kind::kChunk);
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].body, "c");
  EXPECT_EQ(got[0].at(Attribute::kIndex), 1);
  worker.succeed(handle);
  EXPECT_EQ(client.expect(Kind::kResult).at(Attribute::kChunks), 2);
}

TEST_F(Stream, NobodyAskedForIt) {
  client.submit(h.id(), "add");
  const Got task = worker.expect(Kind::kTask);
  EXPECT_FALSE(task.has(Attribute::kStream));
  chunk(task.ref, "a");
  worker.expect_error(code::kInvalid);
  chunk(task.ref + 1, "a");
  worker.expect_error(code::kUnknownHandle);
  worker.succeed(task.ref);
}

TEST_F(Stream, AChunkIsASignOfLife) {
  const Got task = start(100, Attrs().number(Attribute::kHeartbeatTimeout, 1000));
  for (int i = 0; i < 5; ++i) {
    h.advance(900ms);
    chunk(task.ref, "a");
  }
  EXPECT_TRUE(worker.take(Kind::kCancel).empty());
}

TEST_F(Stream, AReqPeerHasNone) {
  ReqPeer& req = h.req();
  req.ask([&](Writer& w) { w.submit(1, h.id(), "add", {}, streamed(1)); });
  EXPECT_TRUE(req.reply().is_error(code::kInvalid));
}

}  // namespace
}  // namespace tusk::core
