// Message types: bodies that are checked at the door, and what peers are told of how to write them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/core/broker_harness.h"
#include "proto/lz4.h"

namespace tusk::core {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr uint64_t kJson = 1, kPlain = 2;

const char* const kConfig =
    "[message_types]\n"
    "request:\n"
    "  format: json\n"
    "  validation: true\n"
    "  schema: '{\"required\": [\"user\"], \"properties\": {\"user\": {\"properties\": {\"age\": "
    "{\"minimum\": 0}}}}}'\n"
    "event:\n"
    "  format: protobuf\n"
    "  validation: true\n"
    "  schema: 'syntax = \"proto3\"; message E { string source = 1; }'\n"
    "  routing: fanout\n"
    "row:\n"
    "  format: msgpack\n"
    "  validation: true\n"
    "  schema: '{\"type\": \"array\"}'\n"
    "  compression: true\n"
    "loose:\n"
    "  compression: false\n"
    "silent:\n"
    "  priority: high\n"
    "[types]\n"
    "other:\n"
    "  message: request\n"
    "[topics]\n"
    "news:\n"
    "  message: request\n"
    "[data_pipeline]\n"
    "clean:\n"
    "  function: row\n"
    "plain:\n";

void load(config::Orchestration& into, const std::string& text) {
  auto loaded = config::load_text(text, "t.tsk");
  if (!loaded) {
    ADD_FAILURE() << config::format(loaded.error());
  } else {
    into = std::move(loaded->orchestration);
  }
}

class Messages : public ::testing::Test {
 protected:
  Harness h{[](config::Orchestration& c) { load(c, kConfig); }};
  Peer& client = h.client();

  static Attrs codec(uint64_t number) { return Attrs().number(Attribute::kCodec, number); }

  // The next record is the refusal of a body, at this place.
  void expect_refused(uint64_t request, const std::string& path, const std::string& message) {
    const Got error = client.expect_error(code::kInvalid);
    EXPECT_EQ(error.ref, request);
    EXPECT_EQ(error.value["field"], "body");
    EXPECT_EQ(error.value["path"], path);
    EXPECT_EQ(error.message, message);
  }
};

TEST_F(Messages, ASubmitWithAWrongBodyIsRefusedAndTheRestOfItsPacketGoesOn) {
  Peer& worker = h.worker({"request"}, 3);
  const TaskId bad = h.id(), good = h.id();
  client.send([&](Writer& w) {
    w.submit(1, bad, "request", BodyOut::copied(R"({"user": {"age": -1}})"), codec(kJson));
    w.submit(2, good, "request", BodyOut::copied(R"({"user": {"age": 1}})"), codec(kJson));
  });
  expect_refused(1, "/user/age",
                 "body of \"request\" is wrong at /user/age: must be at least 0 (schema of message "
                 "type \"request\")");
  EXPECT_EQ(worker.expect(Kind::kTask).id, good);
  EXPECT_TRUE(worker.quiet());
  EXPECT_EQ(BrokerInspector::live_tasks(*h.broker), 1u);
  EXPECT_EQ(client.query("task", &bad)["state"], "unknown");
  EXPECT_EQ(h.counters().submitted, 1u);
  EXPECT_EQ(h.counters().records_refused, 1u);
}

TEST_F(Messages, ATypeThatNamesTheMessageIsCheckedToo) {
  Peer& worker = h.worker({"other"});
  const uint64_t request = client.submit(h.id(), "other", "{}", codec(kJson));
  expect_refused(
      request, "",
      "body of \"other\" is wrong: has no \"user\", which is required (schema of message "
      "type \"request\")");
  h.expect_empty();
  client.submit(h.id(), "other", R"({"user": 1})", codec(kJson));
  EXPECT_EQ(worker.expect(Kind::kTask).name, "other");
}

TEST_F(Messages, ABodyOfAnotherCodecIsToldWhichOneToUse) {
  h.worker({"request"});
  const uint64_t request = client.submit(h.id(), "request", "\x80");
  expect_refused(request, "",
                 "body of \"request\" is wrong: is written in msgpack (codec 0); expected JSON "
                 "(codec 1) (schema of message type \"request\")");
  client.submit(h.id(), "request");
  EXPECT_THAT(client.expect_error(code::kInvalid).message, HasSubstr("expected JSON (codec 1)"));
  h.expect_empty();
}

TEST_F(Messages, ACompressedBodyIsLookedInto) {
  Peer& worker = h.worker({"request"});
  auto compressed = [&](const std::string& body) {
    return client.submit(h.id(), "request", proto::lz4_compress(body),
                         codec(kJson).number(Attribute::kCompression, 1));
  };
  const uint64_t request = compressed(R"({"user": {"age": -1}})");
  EXPECT_EQ(client.expect_error(code::kInvalid).ref, request);
  compressed(R"({"user": {"age": 1}})");
  EXPECT_EQ(worker.expect(Kind::kTask).at(Attribute::kCompression), 1);
}

TEST_F(Messages, AReqPeerHearsOfIt) {
  h.worker({"request"});
  ReqPeer& req = h.req();
  req.ask([&](Writer& w) { w.submit(7, h.id(), "request", BodyOut::copied("{"), codec(kJson)); });
  const Got reply = req.reply();
  EXPECT_TRUE(reply.is_error(code::kInvalid));
  EXPECT_EQ(reply.value["path"], "");
  EXPECT_EQ(BrokerInspector::live_requests(*h.broker), 0u);
}

TEST_F(Messages, AnUpdateWithAWrongBodyChangesNothing) {
  const TaskId id = h.id();
  client.submit(id, "request", R"({"user": 1})", codec(kJson));
  const uint64_t request = client.update(id, codec(kJson).priority(50), "{}");
  expect_refused(request, "",
                 "body of \"request\" is wrong: has no \"user\", which is required (schema of "
                 "message type \"request\")");
  EXPECT_EQ(client.query("task", &id)["priority"], 0);
  client.update(id, Attrs().priority(50));  // without a body there is nothing to check
  EXPECT_EQ(client.expect(Kind::kAnswer).value["updated"], true);
  Peer& worker = h.worker({"request"});
  EXPECT_EQ(worker.expect(Kind::kTask).body, R"({"user": 1})");
}

TEST_F(Messages, APushWithAWrongBodyIsRefused) {
  Peer& worker = h.stage_worker({"row", "plain"});
  const uint64_t request = client.push(h.id(), "clean", "\x80");
  expect_refused(request, "",
                 "body of \"clean\" is wrong: must be array, is object (schema of message type "
                 "\"row\")");
  EXPECT_EQ(h.named("stages", "clean")["waiting"], 0);
  client.push(h.id(), "clean", "\x90");
  client.expect(Kind::kAccepted);
  EXPECT_EQ(worker.expect(Kind::kItem).body, "\x90");
  // A stage whose handler has no message type takes anything.
  client.push(h.id(), "plain", "\xc1");
  client.expect(Kind::kAccepted);
}

TEST_F(Messages, AnEventWithAWrongBodyReachesNobody) {
  Peer& subscriber = h.client();
  for (const char* topic : {"event", "news"}) {
    subscriber.subscribe(topic);
    subscriber.expect(Kind::kAccepted);
  }
  const uint64_t request = client.publish("event", "\x08\x01", codec(kPlain));
  const Got error = client.expect_error(code::kInvalid);
  EXPECT_EQ(error.ref, request);
  EXPECT_EQ(error.value["path"], "source");
  client.publish("news", "{}", codec(kJson));
  client.expect_error(code::kInvalid);
  EXPECT_TRUE(subscriber.quiet());
  EXPECT_TRUE(h.edge_events.empty());
  EXPECT_EQ(h.counters().published, 0u);
  client.publish("event", "\x0a\x01x", codec(kPlain));
  client.expect(Kind::kAccepted);
  EXPECT_EQ(subscriber.expect(Kind::kEvent).ref, 1u) << "the refused one took no number";
}

TEST_F(Messages, WrongBodiesOnTheEdgesAreDroppedCountedAndLogged) {
  Peer& subscriber = h.client();
  subscriber.subscribe("news");
  subscriber.expect(Kind::kAccepted);
  Writer out;
  out.event(1, "news", BodyOut::copied("{}"), codec(kJson));
  h.handle(EdgeEvents{std::string_view("news\0", 5), out.records().view(), {}});
  EXPECT_TRUE(subscriber.quiet());
  EXPECT_EQ(h.counters().edge_dropped, 1u);
  EXPECT_TRUE(h.logged("body of \"news\" is wrong: has no \"user\""));
  Writer item;
  item.push(0, h.id(), "clean", BodyOut::copied("\x80"), {});
  h.handle(EdgeItems{item.records().view(), {}});
  EXPECT_EQ(h.counters().edge_dropped, 2u);
  h.expect_empty();
}

// The file names no task type of this name, only a topic.
TEST_F(Messages, OfATopicGovernATypeThatOnlyAWorkerNames) {
  h.worker({"event"});
  client.submit(h.id(), "event", "\x08\x01", codec(kPlain));
  EXPECT_EQ(client.expect_error(code::kInvalid).value["path"], "source");
}

TEST_F(Messages, WithoutValidationAreNotChecked) {
  Peer& worker = h.worker({"loose", "silent"}, 2);
  client.submit(h.id(), "loose", "\xc1");
  client.submit(h.id(), "silent", "\xc1", codec(kPlain));
  EXPECT_EQ(worker.take(Kind::kTask).size(), 2u);
}

// Who joins what was accepted long ago is not told that it should not have been.
TEST_F(Messages, ATaskThatIsThereIsJoinedWhateverTheSchemaSaysNow) {
  Peer& worker = h.worker({"request"});
  const TaskId id = h.id();
  client.submit(id, "request", R"({"user": 1})", codec(kJson));
  EXPECT_TRUE(h.reload([](config::Orchestration& c) {
                 c.messages.find("request")->second.entry.schema = "false";
               }).empty());
  client.submit(id, "request", R"({"user": 1})", codec(kJson).flag(Attribute::kResent));
  client.submit(h.id(), "request", R"({"user": 1})", codec(kJson));
  EXPECT_THAT(client.expect_error(code::kInvalid).message, HasSubstr("is not allowed"));
  worker.succeed(worker.expect(Kind::kTask).ref, "ok");
  EXPECT_EQ(client.take(Kind::kResult).size(), 2u);
}

TEST_F(Messages, AReloadBringsAndTakesChecks) {
  h.worker({"request"}, 10);
  EXPECT_TRUE(h.reload([](config::Orchestration& c) {
                 c.messages.find("request")->second.entry.validation = false;
                 c.messages.find("row")->second.entry.schema = "{}";
               }).empty());
  client.submit(h.id(), "request", "\xc1");
  client.push(h.id(), "clean", "\x80");
  client.expect(Kind::kAccepted);
  client.publish("news", "\xc1");
  client.expect(Kind::kAccepted);
  EXPECT_TRUE(client.quiet());
}

TEST_F(Messages, WelcomeTellsHowBodiesAreToBeWritten) {
  EXPECT_EQ(client.welcome["messages"], Json::parse(R"({
    "types": {"loose": {"compress": false}, "other": {"codec": 1}, "request": {"codec": 1},
              "row": {"codec": 0, "compress": true}, "event": {"codec": 2}},
    "stages": {"clean": {"codec": 0, "compress": true}},
    "topics": {"news": {"codec": 1}, "event": {"codec": 2}}})"));
  Harness plain;
  EXPECT_EQ(plain.client().welcome["messages"],
            Json::parse(R"({"types": {}, "stages": {}, "topics": {}})"));
}

TEST(Welcome, NeverOutgrowsAPacketHoweverManyNamesThereAre) {
  Harness h([](config::Orchestration& c) {
    std::string text = "[tuskd]\nmax_frame: 64KB\nmax_types: 10000\n[message_types]\n";
    for (int i = 0; i < 3000; ++i)
      text += "a_rather_long_name_" + std::to_string(i) + ":\n  format: json\n";
    load(c, text);
  });
  const size_t told = h.client().welcome["messages"]["types"].size();
  EXPECT_GT(told, 100u);
  EXPECT_LT(told, 3000u);
}

}  // namespace
}  // namespace tusk::core
