// Bounds: what happens at each, malformed packets, and types that nobody serves.
#include <gtest/gtest.h>

#include <fstream>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

// --- packets -------------------------------------------------------------------------------------

TEST(Malformed, EveryVectorIsAnsweredAndTheSessionGoesOn) {
  std::ifstream file(std::string(TUSK_VECTORS) + "/malformed/v1.json");
  ASSERT_TRUE(file);
  const Json vectors = Json::parse(file);
  ASSERT_GT(vectors.size(), 100u);
  for (const Json& vector : vectors) {
    SCOPED_TRACE(vector["name"].get<std::string>());
    const std::string buffer = *proto::hex_decode(vector["bytes"].get<std::string>());
    std::vector<std::string_view> frames;
    ASSERT_TRUE(proto::split_frames(buffer, frames));
    // Once as it is, in the minimal profile; and once behind a header, if it has none of its own.
    for (const bool acks : {false, true}) {
      Harness h([](config::Orchestration& c) {
        c.stages = {{.name = "clean", .language = "", .function = "clean", .settings = {}}};
        c.topics = {{.name = "prices", .message = {}}};
      });
      Peer& worker = h.worker({"add"}, 100);
      Peer& peer = h.client(acks);
      std::string records(frames[0]);
      const bool own_header = records.size() > 2 &&
                              (static_cast<unsigned char>(records[0]) & 0xF0) == 0x90 &&
                              records[1] == 0;
      size_t blame = vector["record"].is_null() ? 0 : vector["record"].get<size_t>();
      if (own_header && !acks) continue;
      if (own_header) {
        proto::Decoder decoder;
        // The vector's header, made to be of this session; a malformed one is left as it is.
        if (auto first = decoder.decode_first(records); first.ok() && blame > 0) {
          proto::Scanner scanner;
          size_t end = 0;
          ASSERT_EQ(scanner.scan(records, end), nullptr);
          char header[Writer::kHeaderSize];
          Writer::fill_header(header, peer.session, peer.next_seq++, 0);
          records = std::string(header, sizeof header) + records.substr(end);
        }
      } else if (acks) {
        if (records.empty()) continue;  // a packet of nothing but a header is a good one
        char header[Writer::kHeaderSize];
        Writer::fill_header(header, peer.session, peer.next_seq++, 0);
        records = std::string(header, sizeof header) + records;
        ++blame;
      }
      std::vector<std::string> bodies;
      for (size_t i = 1; i < frames.size(); ++i) bodies.emplace_back(frames[i]);
      peer.send_bytes(records, bodies);
      const auto errors = peer.take(Kind::kError);
      const std::string wanted = vector["error"];
      auto named = std::find_if(errors.begin(), errors.end(),
                                [&](const Got& e) { return e.name == wanted; });
      ASSERT_NE(named, errors.end());
      if (wanted == "malformed") {
        EXPECT_EQ(errors.size(), 1u) << "nothing of it is applied";
        if (!vector["record"].is_null()) {
          EXPECT_EQ(named->value["record"], blame);
        }
        EXPECT_EQ(h.counters().submitted + h.counters().pushed + h.counters().published, 0u);
        EXPECT_EQ(h.counters().packets_refused, 1u);
      } else {
        EXPECT_EQ(h.counters().records_refused, 1u);
        if (wanted == "unsupported") {
          EXPECT_TRUE(named->value.contains("kind") || named->value.contains("attribute"));
        } else if (wanted == "invalid") {
          EXPECT_FALSE(named->value["field"].get<std::string>().empty());
        } else {
          EXPECT_TRUE(named->value.contains("limit") && named->value.contains("value"));
        }
      }
      // The session goes on, with the next number if the header could be read.
      if (own_header && peer.next_seq == 1) continue;
      peer.inbox.clear();
      worker.inbox.clear();
      worker.checks_slots = false;
      const uint64_t request = peer.request() + 1000;
      const TaskId id = h.id();
      peer.send([&](Writer& w) { w.submit(request, id, "add", BodyOut::copied("fine"), {}); });
      const auto tasks = worker.take(Kind::kTask);
      ASSERT_EQ(tasks.size(), 1u);
      worker.succeed(tasks[0].ref, "3");
      const auto results = peer.take(Kind::kResult);
      ASSERT_EQ(results.size(), 1u);
      EXPECT_EQ(results[0].ref, request);
    }
  }
}

TEST(Malformed, ARefusedPacketsNumberCounts) {
  Harness h;
  Peer& client = h.client();
  client.send_raw(client.session, client.next_seq++, 0, [&](Writer& w) {
    w.submit(1, h.id(), "add", {}, {});
    w.packer().pack_nil();
  });
  Got error = client.expect_error(code::kMalformed);
  EXPECT_EQ(error.value["record"], 2);
  EXPECT_EQ(error.value["packet"], 1) << "so that its sender knows whose requests are lost";
  EXPECT_EQ(client.acked, 1u);
  EXPECT_EQ(h.counters().submitted, 0u) << "nothing of it is applied";
  EXPECT_TRUE(h.logged("refused a packet of " + client.fields.name));
}

TEST(Malformed, LogLinesComeAtABoundedRate) {
  Harness h;
  Peer& client = h.client(false);
  for (int i = 0; i < 500; ++i) client.send_bytes("\xc1");
  EXPECT_EQ(h.log.size(), 1u);
  EXPECT_EQ(h.counters().packets_refused, 500u);
  EXPECT_EQ(h.counters().log_suppressed, 499u);
  h.advance(1s);
  client.send_bytes("\xc1");
  ASSERT_EQ(h.log.size(), 2u);
  EXPECT_NE(h.log[1].text.find("499 more"), std::string::npos) << h.log[1].text;
}

TEST(Malformed, ErrorsFromPeersAreLoggedAndNotAnswered) {
  Harness h;
  Peer& client = h.client();
  client.send([](Writer& w) { w.error(7, code::kUnsupported, "I do not do that"); });
  EXPECT_TRUE(client.quiet());
  EXPECT_TRUE(h.logged("I do not do that"));
}

TEST(Unsupported, KindsThatDoNotComeFromPeers) {
  Harness h;
  Peer& client = h.client();
  for (Kind kind : {Kind::kWelcome, Kind::kGoaway, Kind::kAccepted, Kind::kAnswer, Kind::kEvent,
                    Kind::kTask, Kind::kRecall, Kind::kDrain}) {
    SCOPED_TRACE(proto::kind_name(kind));
    client.send([&](Writer& w) {
      if (kind == Kind::kWelcome) {
        w.start(kind, 3).pack_int(1);
        w.packer().pack_map(0);
      }
      if (kind == Kind::kGoaway) w.goaway("");
      if (kind == Kind::kAccepted) w.accepted(1);
      if (kind == Kind::kAnswer) w.start(kind, 3).pack_int(1), w.packer().pack_nil();
      if (kind == Kind::kEvent) w.event(1, "t", {}, {});
      if (kind == Kind::kTask) w.task(kind, 1, h.id(), "t", 1, {}, {});
      if (kind == Kind::kRecall) w.recall(1, nullptr, 0);
      if (kind == Kind::kDrain) w.drain("");
    });
    EXPECT_EQ(client.expect_error(code::kUnsupported).value["kind"], static_cast<int>(kind));
  }
}

TEST(Growth, TrailingElementsAndKindsFrom128OnAreIgnored) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  client.send([&](Writer& w) {
    w.start(static_cast<Kind>(200), 2).pack_int(1);
    proto::Packer& p = w.start(Kind::kSubmit, 8);
    p.pack_int(1);
    p.pack_bin(16);
    p.pack_bin_body("0123456789abcdef", 16);
    w.text("add");
    p.pack_nil();
    p.pack_map(0);
    w.text("from");
    w.text("the future");
  });
  worker.expect(Kind::kTask);
  EXPECT_TRUE(client.quiet());
}

// --- limits --------------------------------------------------------------------------------------

class Limit : public ::testing::Test {
 protected:
  void expect_limit(const Got& error, std::string_view code, const std::string& name,
                    uint64_t value) {
    EXPECT_EQ(error.name, code);
    EXPECT_EQ(error.value["limit"], name);
    EXPECT_EQ(error.value["value"], value);
  }

  Harness h{[](config::Orchestration& c) {
    c.tuskd.limits.max_frame = config::Bytes{4000};
    c.tuskd.limits.max_body = config::Bytes{20'000};
    c.tuskd.limits.max_records = 10;
    c.tuskd.limits.max_frames = 3;
    c.tuskd.limits.max_memory = config::Bytes{50'000};
    c.tuskd.limits.max_tasks = 20;
    c.tuskd.limits.max_types = 3;
    c.types["few"].max_waiting = 2;
    c.types["few"].unserved = config::Unserved::wait;
  }};
};

TEST_F(Limit, OfAPacketsRecordsInBytes) {
  for (const bool acks : {true, false}) {
    Peer& client = h.client(acks);
    client.send([](Writer& w) { w.publish(1, "t", BodyOut::copied(std::string(4000, 'x')), {}); });
    expect_limit(client.expect(Kind::kError), code::kTooLarge, "frame", 4000);
    client.send([](Writer& w) { w.ping(1); });
    client.expect(Kind::kPong);  // and its number counted
  }
  Peer& stranger = h.peer({.acks = false}, false);
  stranger.connection = h.open(&stranger);
  stranger.send([](Writer& w) { w.publish(1, "t", BodyOut::copied(std::string(4000, 'x')), {}); });
  expect_limit(stranger.expect(Kind::kError), code::kTooLarge, "frame", 4000);
}

TEST_F(Limit, OfRecordsInAPacketItsHeaderNotCounted) {
  for (const bool acks : {true, false}) {
    Peer& client = h.client(acks);
    auto pings = [&](int count) {
      client.send([&](Writer& w) {
        for (int i = 0; i < count; ++i) w.ping(1);
      });
    };
    pings(10);
    EXPECT_EQ(client.take(Kind::kPong).size(), 10u);
    pings(11);
    expect_limit(client.expect(Kind::kError), code::kTooLarge, "records", 10);
    EXPECT_TRUE(client.quiet());
  }
}

TEST_F(Limit, OfBodyFramesInAPacket) {
  Peer& client = h.client();
  auto submits = [&](int count) {
    client.send([&](Writer& w) {
      for (int i = 0; i < count; ++i) {
        w.submit(client.request(), h.id(), "few", {true, {}, proto::Bytes::copy("x")},
                 Attrs().number(Attribute::kReply, 2));
      }
    });
  };
  submits(4);
  expect_limit(client.expect(Kind::kError), code::kTooLarge, "frames", 3);
  EXPECT_TRUE(client.quiet());
  submits(2);
  EXPECT_EQ(client.take(Kind::kAccepted).size(), 2u);
  ReqPeer& req = h.req();
  req.ask([&](Writer& w) {
    for (int i = 0; i < 4; ++i) w.submit(1, h.id(), "few", {true, {}, proto::Bytes::copy("x")}, {});
  });
  expect_limit(req.reply(), code::kTooLarge, "frames", 3);
}

TEST_F(Limit, OfABodyInlineAndInAFrame) {
  h.reload([](config::Orchestration& c) { c.tuskd.limits.max_frame = config::Bytes{100'000}; });
  Peer& worker = h.worker({"add"}, 10);
  Peer& client = h.client();
  const std::string most(20'000, 'x'), more(20'001, 'x');
  for (const bool in_frame : {true, false}) {
    auto submit = [&](const std::string& body) {
      const uint64_t request = client.request();
      client.send([&](Writer& w) {
        w.submit(request, h.id(), "add",
                 in_frame ? BodyOut{true, {}, proto::Bytes::copy(body)} : BodyOut::copied(body),
                 {});
        w.ping(request);
      });
      return request;
    };
    submit(most);
    client.expect(Kind::kPong);
    EXPECT_EQ(worker.expect(Kind::kTask).body, most);
    const uint64_t request = submit(more);
    Got error = client.expect(Kind::kError);
    expect_limit(error, code::kTooLarge, "body", 20'000);
    EXPECT_EQ(error.ref, request);
    client.expect(Kind::kPong);  // the record alone is refused
  }
}

TEST_F(Limit, OfABodyOnceItIsDecompressed) {
  Peer& client = h.client();
  // A frame's descriptor with blocks of up to 64 KiB, one block of 1 byte.
  const std::string bomb("\x04\x22\x4D\x18\x60\x40\x82\x01\x00\x00\x80x\x00\x00\x00\x00", 16);
  client.submit(h.id(), "few", bomb, Attrs().number(Attribute::kCompression, 1));
  expect_limit(client.expect(Kind::kError), code::kTooLarge, "body", 20'000);
  client.submit(h.id(), "few", "no LZ4 frame", Attrs().number(Attribute::kCompression, 1));
  EXPECT_EQ(client.expect_error(code::kInvalid).value["field"], "body");
  EXPECT_EQ(h.counters().submitted, 0u);
}

TEST_F(Limit, OfNamesAndAttributes) {
  Peer& client = h.client();
  client.submit(h.id(), std::string(256, 'x'));
  expect_limit(client.expect(Kind::kError), code::kTooLarge, "name", 255);
  client.submit(h.id(), "");
  client.expect_error(code::kInvalid);
  Attrs many;
  for (uint64_t i = 0; i < 65; ++i) many.raw(1000 + 2 * i, i);
  client.submit(h.id(), "few", "", many);
  expect_limit(client.expect(Kind::kError), code::kTooLarge, "attributes", 64);
}

TEST_F(Limit, AttributesOfTheWrongTypeOrRangeAreInvalid) {
  Peer& client = h.client();
  client.submit(h.id(), "few", "", Attrs().number(Attribute::kReply, 3));
  EXPECT_EQ(client.expect_error(code::kInvalid).value["field"], "reply");
  client.submit(h.id(), "few", "", Attrs().number(Attribute::kResent, 1));
  EXPECT_EQ(client.expect_error(code::kInvalid).value["field"], "resent");
  client.submit(h.id(), "few", "", Attrs().number(Attribute::kCompression, 2));
  EXPECT_EQ(client.expect_error(code::kInvalid).value["field"], "compression");
}

TEST_F(Limit, OfWaitingTasksOfAType) {
  Peer& client = h.client();
  for (int i = 0; i < 2; ++i) client.submit(h.id(), "few");
  const uint64_t request = client.submit(h.id(), "few");
  Got error = client.expect(Kind::kError);
  EXPECT_EQ(error.ref, request);
  expect_limit(error, code::kFull, "max_waiting", 2);
  EXPECT_EQ(h.counters().errors_full, 1u);
  EXPECT_TRUE(h.logged("\"few\" is full"));
  Peer& worker = h.worker({"few"});
  worker.succeed(worker.expect(Kind::kTask).ref);
  client.expect(Kind::kResult);
  client.submit(h.id(), "few");
  EXPECT_TRUE(client.quiet()) << "one waits, one runs";
}

TEST_F(Limit, OfTasksInAll) {
  Peer& client = h.client();
  h.worker({"add"}, 100);
  for (int i = 0; i < 20; ++i) client.submit(h.id(), "add");
  client.submit(h.id(), "add");
  expect_limit(client.expect(Kind::kError), code::kFull, "max_tasks", 20);
}

TEST_F(Limit, OfMemoryForBodies) {
  Peer& client = h.client();
  Peer& worker = h.worker({"add"}, 100);
  for (int i = 0; i < 3; ++i) client.submit(h.id(), "add", std::string(20'000, 'x'));
  client.submit(h.id(), "add", "x");
  expect_limit(client.expect(Kind::kError), code::kFull, "max_memory", 50'000);
  worker.succeed(worker.expect(Kind::kTask).ref);
  client.expect(Kind::kResult);
  client.ack();
  client.submit(h.id(), "add", "x");
  EXPECT_TRUE(client.quiet());
}

TEST_F(Limit, OfTypesPurgesThoseThatNobodyNeedsAndIsFullIfThereIsNone) {
  Peer& client = h.client();
  client.submit(h.id(), "a");
  client.submit(h.id(), "b");
  EXPECT_TRUE(client.quiet());
  client.submit(h.id(), "c");
  expect_limit(client.expect(Kind::kError), code::kFull, "max_types", 3);
  h.advance(10s);  // nobody came: given back
  EXPECT_EQ(client.take(Kind::kError).size(), 2u);
  Peer& worker = h.peer({.role = "worker", .types = {"c", "d"}});
  EXPECT_NE(worker.session, 0u) << "in the place of the two";
  Peer& one_more = h.peer({.role = "worker", .types = {"c", "e"}});
  expect_limit(one_more.expect(Kind::kError), code::kFull, "max_types", 3);
  worker.send([](Writer& w) { w.bye(""); });
  h.advance(30s);
  Peer& later = h.peer({.role = "worker", .types = {"x", "y"}});
  EXPECT_NE(later.session, 0u);
  client.submit(h.id(), "x");
  EXPECT_EQ(later.expect(Kind::kTask).name, "x");
}

// A reload may name more types than there is room for beside those that workers brought. Workers
// that bring no more were kept out, so that what was configured was never served.
TEST_F(Limit, OfTypesKeepsOutNobodyWhoBringsNoNewOne) {
  h.worker({"a", "b"});
  EXPECT_TRUE(h.reload([](config::Orchestration& c) { c.types["more"].attempts = 2; }).empty());
  Peer& worker = h.peer({.role = "worker", .types = {"more", "a"}});
  EXPECT_NE(worker.session, 0u);
  Peer& other = h.peer({.role = "worker", .types = {"more", "c"}});
  expect_limit(other.expect(Kind::kError), code::kFull, "max_types", 3);
}

// An ending that is kept names its type: the type was purged, and the next who asked for the task
// brought the broker down.
TEST_F(Limit, OfTypesKeepsThoseOfEndingsThatAreNotAcknowledged) {
  Peer& silent = h.client();  // its next packet would acknowledge
  Peer& client = h.client();
  const TaskId id = h.id();
  silent.submit(id, "a");
  client.submit(h.id(), "b");
  client.cancel(id);
  client.expect(Kind::kAnswer);
  silent.expect(Kind::kResult);
  client.submit(h.id(), "c");
  expect_limit(client.expect(Kind::kError), code::kFull, "max_types", 3);
  EXPECT_EQ(client.query("task", &id)["state"], "cancelled");
  client.submit(id, "a");
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kCancelled);
  silent.ack();
  client.submit(h.id(), "c");
  EXPECT_TRUE(client.quiet()) << "in the place of the first";
}

// What is remembered of an ended task outlives its type: the same id was then called a conflict.
TEST_F(Limit, OfTypesDoesNotChangeWhatIsRememberedOfATask) {
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "a", "x");
  client.cancel(id);
  client.ack();
  client.take(Kind::kResult);
  client.take(Kind::kAnswer);
  client.ack();
  client.submit(h.id(), "b");
  client.submit(h.id(), "c");  // in the place of a
  EXPECT_TRUE(client.quiet());
  client.submit(id, "a", "x");
  client.expect_error(code::kAlreadyEnded);
  client.submit(id, "a", "y");
  client.expect_error(code::kIdConflict);
}

TEST(SessionBytes, APeerThatDoesNotAcknowledgeIsBusyUntilItDoes) {
  Harness h([](config::Orchestration& c) {
    c.tuskd.limits.max_session_bytes = config::Bytes{100'000};
    c.topics = {{.name = "prices", .message = {}}};
  });
  Peer& worker = h.worker({"add"}, 10);
  Peer& client = h.client();
  client.subscribe("prices");
  client.expect(Kind::kAccepted);
  client.submit(h.id(), "add");
  worker.succeed(worker.expect(Kind::kTask).ref, std::string(200'000, 'x'));
  client.expect(Kind::kResult);
  auto silent = [&](const Peer::Write& write) {  // without an acknowledgement
    client.send_raw(client.session, client.next_seq++, 0, write);
  };
  silent([&](Writer& w) { w.submit(50, h.id(), "add", {}, {}); });
  Got error = client.expect_error(code::kBusy);
  EXPECT_EQ(error.ref, 50u);
  EXPECT_EQ(error.value["limit"], "session_bytes");
  EXPECT_TRUE(worker.quiet());
  // Events wait.
  Peer& publisher = h.client();
  publisher.publish("prices", "1");
  EXPECT_TRUE(client.quiet());
  client.ack();
  EXPECT_EQ(client.expect(Kind::kEvent).ref, 1u);
  client.submit(h.id(), "add");
  worker.expect(Kind::kTask);
}

TEST(SessionBytes, AWorkerThatDoesNotAcknowledgeGetsNothingMoreUntilItDoes) {
  Harness h(
      [](config::Orchestration& c) { c.tuskd.limits.max_session_bytes = config::Bytes{100'000}; });
  Peer& worker = h.worker({"add"}, 10);
  Peer& client = h.client();
  client.submit(h.id(), "add", std::string(200'000, 'x'));
  worker.expect(Kind::kTask);
  client.submit(h.id(), "add", "next");
  EXPECT_TRUE(worker.quiet());
  EXPECT_EQ(h.named("workers", worker.fields.name)["state"], "slow");
  worker.ack();
  EXPECT_EQ(worker.expect(Kind::kTask).body, "next");
}

// --- types that nobody serves --------------------------------------------------------------------

class Unserved : public ::testing::Test {
 protected:
  explicit Unserved(const std::function<void(config::Orchestration&)>& change = {}) : h(change) {}
  Harness h;
  Peer& client = h.client();
};

TEST_F(Unserved, TasksWaitForWorkersWhileTheBrokerIsYoungThenAreGivenBack) {
  h.worker({"resize_image"});
  const TaskId id = h.id();
  const uint64_t request = client.submit(id, "resize_imag");
  h.advance(10s - 1ms);
  EXPECT_TRUE(client.quiet());
  h.advance(1ms);
  Got error = client.expect_error(code::kUnserved);
  EXPECT_EQ(error.ref, request);
  EXPECT_NE(error.message.find("\"resize_image\""), std::string::npos) << error.message;
  EXPECT_EQ(h.counters().errors_unserved, 1u);
  // It was not run: the same id may be sent again.
  Peer& late = h.worker({"resize_imag"});
  client.submit(id, "resize_imag", "", Attrs().flag(Attribute::kResent));
  late.expect(Kind::kTask);
}

TEST_F(Unserved, AWorkerThatComesInTimeGetsThem) {
  client.submit(h.id(), "add", "x");
  h.advance(9s);
  Peer& worker = h.worker({"add"});
  EXPECT_EQ(worker.expect(Kind::kTask).body, "x");
  h.advance(9s);
  EXPECT_TRUE(client.quiet());
}

TEST_F(Unserved, LaterAnUnknownTypeIsRefusedAtOnce) {
  h.worker({"resize_image"});
  h.advance(10s);
  const uint64_t request = client.submit(h.id(), "resize_imag");
  Got error = client.expect_error(code::kUnserved);
  EXPECT_EQ(error.ref, request);
  EXPECT_EQ(error.value["nearest"], "resize_image");
  EXPECT_TRUE(h.logged("served: resize_image"));
  client.submit(h.id(), "something_else_entirely");
  error = client.expect_error(code::kUnserved);
  EXPECT_EQ(error.message.find("did you mean"), std::string::npos) << error.message;
}

TEST_F(Unserved, AfterTheLastWorkerLeftTasksWaitForAnotherForAWhile) {
  Peer& worker = h.worker({"add"});
  h.advance(60s);
  worker.send([](Writer& w) { w.bye(""); });
  client.submit(h.id(), "add", "x");
  EXPECT_TRUE(client.quiet());
  h.advance(11s);
  client.submit(h.id(), "add", "y");
  client.expect_error(code::kUnserved);
  EXPECT_TRUE(client.quiet()) << "what was accepted is not given back";
  EXPECT_EQ(h.worker({"add"}).expect(Kind::kTask).body, "x");
}

TEST_F(Unserved, ATypeThatWaitsGetsOneLogLineWithWhatIsServed) {
  h.worker({"mul"});
  Peer& worker = h.worker({"add"});
  h.advance(60s);
  worker.send([](Writer& w) { w.bye(""); });
  client.submit(h.id(), "add");
  client.submit(h.id(), "add");
  h.advance(9s);
  EXPECT_TRUE(h.log.empty());
  h.advance(1s);
  ASSERT_EQ(h.log.size(), 1u);
  EXPECT_EQ(h.log[0].text, "2 tasks of type \"add\" wait for a worker; served: mul");
  h.advance(60s);
  EXPECT_EQ(h.log.size(), 1u);
}

class Configured : public Unserved {
 protected:
  Configured()
      : Unserved([](config::Orchestration& c) {
          c.types["pooled"].pool = "python";
          c.types["patient"].unserved = config::Unserved::wait;
        }) {}
};

TEST_F(Configured, ATypeBoundToAPoolOrToldToWaitWaits) {
  h.advance(60s);
  client.submit(h.id(), "pooled");
  client.submit(h.id(), "patient");
  h.advance(600s);
  EXPECT_TRUE(client.quiet());
  EXPECT_TRUE(h.logged("\"pooled\" wait"));
  h.worker({"pooled"}).expect(Kind::kTask);
  h.worker({"patient"}).expect(Kind::kTask);
}

}  // namespace
}  // namespace tusk::core
