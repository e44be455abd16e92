// Hello and welcome, headers and acknowledgements, connections that come back.
#include <gtest/gtest.h>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

// --- hello ---------------------------------------------------------------------------------------

TEST(Hello, IsAnsweredWithAWelcomeThatSaysEverything) {
  Harness h([](config::Orchestration& c) {
    c.tuskd.limits.push_window = 7;
    c.default_timeout = 1234ms;
    c.tuskd.times.session_ttl = 61s;
    c.tuskd.times.adopt_grace = 11s;
  });
  Peer& peer = h.client();
  const Json& w = peer.welcome;
  EXPECT_GE(w["session"], 1);
  EXPECT_LE(w["session"].get<uint64_t>(), proto::kMaxInteger);
  EXPECT_GE(w["epoch"], 1);
  EXPECT_EQ(w["resumed"], false);
  EXPECT_EQ(w["ack"], 0);
  const Json limits = {{"frame", 1 << 20},       {"body", 64 << 20},           {"records", 1024},
                       {"frames", 256},          {"session_bytes", 256 << 20}, {"push_window", 7},
                       {"checkpoint", 256 << 10}};
  EXPECT_EQ(w["limits"], limits);
  const Json endpoints = {{"router", "tcp://127.0.0.1:7420"},
                          {"events_out", "tcp://127.0.0.1:7423"},
                          {"pipeline_out", "tcp://127.0.0.1:7425"}};
  EXPECT_EQ(w["endpoints"], endpoints) << "only those that are open";
  EXPECT_EQ(w["timeout"], 1234);
  EXPECT_EQ(w["compression"], "lz4");
  EXPECT_EQ(w["compression_threshold"], 4096);
  EXPECT_EQ(w["session_ttl"], 61'000);
  EXPECT_EQ(w["adopt_grace"], 11'000);
  EXPECT_EQ(w["claims"], Json::array());
  EXPECT_EQ(w["server"], "tuskd test");
  for (int kind : {0,  1,  2,  3,  4,  5,  6,  7,  16, 17, 18, 20, 21,
                   22, 24, 32, 33, 40, 48, 49, 50, 64, 65, 66, 68}) {
    EXPECT_EQ(std::count(w["kinds"].begin(), w["kinds"].end(), kind), 1) << kind;
  }
  for (int key : {2, 4, 6, 8, 10, 15, 17, 27, 29, 53, 55, 57, 59}) {
    EXPECT_EQ(std::count(w["attributes"].begin(), w["attributes"].end(), key), 1) << key;
  }
  EXPECT_TRUE(peer.quiet());
}

TEST(Hello, OfAnotherVersionIsRefusedWithTheVersionsThatThereAre) {
  Harness h;
  for (uint64_t version : {0, 2, 9}) {
    Peer& peer = h.peer({.version = version});
    Got error = peer.expect_error(code::kVersion);
    EXPECT_EQ(error.value["versions"], Json::array({1}));
    EXPECT_EQ(peer.session, 0u);
  }
  EXPECT_EQ(h.counters().sessions_opened, 0u);
}

TEST(Hello, OfTheSameInstanceTwiceGetsTheSameWelcome) {
  Harness h;
  Peer& peer = h.client();
  const Json first = peer.welcome;
  peer.welcome = {};
  peer.connect();
  EXPECT_EQ(peer.welcome, first);
  EXPECT_EQ(h.counters().sessions_opened, 1u);
  peer.submit(h.id(), "add");
  EXPECT_EQ(h.counters().submitted, 1u);
}

TEST(Hello, OfAnotherInstanceOnTheSameConnectionIsADuplicate) {
  Harness h;
  Peer& peer = h.client();
  const std::string own = peer.instance;
  peer.instance = std::string(16, 'x');
  peer.connect();
  peer.expect_error(code::kDuplicateHello);
  EXPECT_EQ(h.counters().sessions_opened, 1u);
  peer.instance = own;
  peer.submit(h.id(), "add");
  EXPECT_EQ(h.counters().submitted, 1u) << "the session lives on";
}

TEST(Hello, WithWrongFieldsIsInvalidAndNamesTheField) {
  Harness h;
  auto refused = [&](HelloFields fields, const std::string& field) {
    Peer& peer = h.peer(std::move(fields));
    EXPECT_EQ(peer.expect_error(code::kInvalid).value["field"], field);
    EXPECT_EQ(peer.session, 0u);
  };
  refused({.role = "boss"}, "role");
  refused({.language = ""}, "language");
  refused({.language = std::string(256, 'x')}, "language");
  refused({.instance_size = 15}, "instance");
  refused({.role = "worker", .types = {"add"}, .slots = 0}, "slots");
  refused({.role = "worker", .types = {""}}, "types");
  refused({.role = "worker", .types = {std::string(256, 'x')}}, "types");
  refused({.role = "worker", .handlers = {""}}, "handlers");
  EXPECT_EQ(h.counters().sessions_opened, 0u);
  EXPECT_EQ(BrokerInspector::live_sessions(*h.broker), 0u);
}

TEST(Hello, ThatRequiresWhatTheBrokerDoesNotKnowIsUnsupported) {
  Harness h;
  Peer& none = h.peer(
      {.more = [](Writer& w) { w.text("require"), w.packer().pack_array(0); }, .more_count = 1});
  EXPECT_NE(none.session, 0u) << "an empty list requires nothing";
  Peer& peer = h.peer({.more =
                           [](Writer& w) {
                             w.text("require");
                             w.packer().pack_array(1);
                             w.text("telepathy");
                           },
                       .more_count = 1});
  Got error = peer.expect_error(code::kUnsupported);
  EXPECT_NE(error.message.find("telepathy"), std::string::npos) << error.message;
  EXPECT_EQ(peer.session, 0u);
}

TEST(Hello, KeysThatAreNotKnownAreSkipped) {
  Harness h;
  Peer& peer = h.peer({.more =
                           [](Writer& w) {
                             w.text("favourite_colour");
                             w.packer().pack_int(7);
                           },
                       .more_count = 1});
  EXPECT_NE(peer.session, 0u);
}

TEST(Hello, OfAWorkerInALanguageThatIsNotAllowedIsRefused) {
  Harness h([](config::Orchestration& c) {
    c.master_language = "cpp";
    c.worker_languages = std::vector<std::string>{"python"};
  });
  h.peer({.role = "worker", .language = "go", .types = {"add"}}).expect_error(code::kRefused);
  EXPECT_NE(h.peer({.role = "worker", .language = "python"}).session, 0u);
  EXPECT_NE(h.peer({.role = "worker", .language = "rust"}).session, 0u) << "the master's own";
  EXPECT_NE(h.peer({.role = "client", .language = "go"}).session, 0u) << "only workers";
}

TEST(Hello, OfAWorkerWhoseTypeIsBoundToAnotherPoolIsRefused) {
  Harness h([](config::Orchestration& c) { c.types["add"].pool = "python"; });
  h.peer({.role = "worker", .language = "go", .types = {"add"}}).expect_error(code::kRefused);
  EXPECT_NE(
      h.peer({.role = "worker", .language = "go", .pool = "python", .types = {"add"}}).session, 0u);
  EXPECT_NE(h.peer({.role = "worker", .types = {"add"}}).session, 0u) << "a language is a pool";
  h.reload([](config::Orchestration& c) { c.types["mul"].pool = "cpp"; });
  EXPECT_NE(h.peer({.role = "worker", .language = "rust", .types = {"mul"}}).session, 0u);
  EXPECT_NE(h.peer({.role = "worker", .pool = "rust", .types = {"mul"}}).session, 0u);
  EXPECT_EQ(h.named("types", "add")["workers"], 2);
}

TEST(Hello, BeyondMaxSessionsIsFull) {
  Harness h([](config::Orchestration& c) { c.tuskd.limits.max_sessions = 2; });
  Peer& first = h.client();
  h.client();
  Peer& third = h.client();
  EXPECT_EQ(third.expect_error(code::kFull).value["limit"], "max_sessions");
  EXPECT_TRUE(h.logged("max_sessions"));
  first.send([](Writer& w) { w.bye("done"); });
  h.advance(1s);
  third.connect();
  EXPECT_NE(third.session, 0u);
}

TEST(Hello, IsAloneInItsPacket) {
  Harness h;
  Peer& peer = h.client();
  peer.send([](Writer& w) {
    w.ping(1);
    w.start(Kind::kHello, 3).pack_int(1);
    w.packer().pack_map(0);
  });
  peer.expect(Kind::kPong);
  peer.expect_error(code::kUnsupported);
  Peer& fresh = h.peer({}, false);
  fresh.connection = h.open(&fresh);
  Writer out;
  out.start(Kind::kHello, 3).pack_int(1);
  out.packer().pack_map(0);
  out.ping(1);
  fresh.send_bytes(out.records().view());
  fresh.expect_error(code::kMalformed);
}

// --- numbers and acknowledgements ----------------------------------------------------------------

TEST(Packets, ThatArrivedAlreadyAreDroppedWholeAndAcknowledged) {
  Harness h;
  Peer& peer = h.client();
  const TaskId id = h.id();
  peer.submit(id, "add", "x");
  EXPECT_EQ(h.counters().submitted, 1u);
  peer.send_raw(peer.session, 1, 0, [](Writer& w) { w.ping(5); });
  EXPECT_EQ(h.counters().packets_duplicate, 1u);
  EXPECT_TRUE(peer.quiet()) << "no pong, no error";
  h.advance(50ms);
  EXPECT_EQ(peer.acked, 1u);
}

TEST(Packets, ThatSkipANumberAreAGapAndChangeNothing) {
  Harness h;
  Peer& peer = h.client();
  peer.send_raw(peer.session, 3, 0, [&](Writer& w) { w.submit(1, h.id(), "add", {}, {}); });
  Got error = peer.expect_error(code::kGap);
  EXPECT_EQ(error.ref, 0u);
  EXPECT_EQ(error.value["expected"], 1);
  EXPECT_EQ(h.counters().submitted, 0u);
  peer.submit(h.id(), "add");
  EXPECT_EQ(h.counters().submitted, 1u) << "from there it goes on";
}

TEST(Packets, OfAnotherSessionAreStaleAndChangeNothing) {
  Harness h;
  Peer& peer = h.client();
  peer.send_raw(peer.session + 1, 1, 0, [&](Writer& w) { w.submit(1, h.id(), "add", {}, {}); });
  peer.expect_error(code::kStaleSession);
  EXPECT_EQ(h.counters().submitted, 0u);
  EXPECT_EQ(h.counters().errors_stale_session, 1u);
  peer.submit(h.id(), "add");
  EXPECT_EQ(h.counters().submitted, 1u) << "the number was not counted";
}

TEST(Packets, WithoutHelloAreStaleAtABoundedRate) {
  Harness h;
  Peer& peer = h.peer({.acks = false}, false);
  peer.connection = h.open(&peer);
  for (int i = 0; i < 100; ++i) peer.submit(h.id(), "add");
  EXPECT_EQ(peer.take(Kind::kError).size(), 1u);
  EXPECT_EQ(h.counters().errors_stale_session, 100u);
  h.advance(1s);
  peer.submit(h.id(), "add");
  peer.expect_error(code::kStaleSession);
  EXPECT_EQ(h.counters().submitted, 0u);
  // The bound is the connection's and not its number's, which the next one gets.
  peer.submit(h.id(), "add");
  EXPECT_TRUE(peer.quiet());
  peer.disconnect();
  Peer& next = h.peer({.acks = false}, false);
  next.connection = h.open(&next);
  next.submit(h.id(), "add");
  next.expect_error(code::kStaleSession);
}

TEST(Packets, HaveHeadersJustForThoseWhoseHelloSaidSo) {
  Harness h;
  Peer& acks = h.client();
  Writer plain;
  plain.ping(1);
  acks.send_bytes(plain.records().view());
  acks.expect_error(code::kMalformed);
  Peer& minimal = h.client(false);
  minimal.send_raw(minimal.session, 1, 0, [](Writer& w) { w.ping(1); });
  minimal.expect_error(code::kMalformed);
  minimal.send([](Writer& w) { w.ping(2); });
  EXPECT_EQ(minimal.expect(Kind::kPong).ref, 2u);
}

TEST(Packets, WithNumberZeroHoldNothingButTheirHeader) {
  Harness h;
  Peer& peer = h.client();
  peer.send_raw(peer.session, 0, 0, [](Writer& w) { w.ping(1); });
  peer.expect_error(code::kMalformed);
  EXPECT_TRUE(peer.quiet());
}

TEST(Acknowledgement, GoesAloneAfterFortyMilliseconds) {
  Harness h;
  Peer& peer = h.client();
  peer.submit(h.id(), "add");
  h.advance(39ms);
  EXPECT_EQ(peer.acked, 0u);
  h.advance(1ms);
  EXPECT_EQ(peer.acked, 1u);
  EXPECT_EQ(peer.lone_acks, 1u);
  h.advance(1s);
  EXPECT_EQ(peer.lone_acks, 1u) << "nothing more is owed";
}

TEST(Acknowledgement, GoesAloneAfterThirtyTwoPackets) {
  Harness h;
  Peer& peer = h.client();
  for (int i = 0; i < 31; ++i) peer.submit(h.id(), "add");
  EXPECT_EQ(peer.lone_acks, 0u);
  peer.submit(h.id(), "add");
  EXPECT_EQ(peer.lone_acks, 1u);
  EXPECT_EQ(peer.acked, 32u);
}

TEST(Acknowledgement, TravelsWithWhatIsSentAnyway) {
  Harness h;
  Peer& peer = h.client();
  peer.send([](Writer& w) { w.ping(1); });
  EXPECT_EQ(peer.acked, 1u);
  h.advance(1s);
  EXPECT_EQ(peer.lone_acks, 0u);
}

// --- connections that come back ------------------------------------------------------------------

TEST(Resume, SendsAgainWhatWasNotAcknowledgedUnchangedAndInOrder) {
  Harness h;
  Peer& worker = h.worker({"add"}, 10);
  Peer& client = h.client();
  for (int i = 0; i < 5; ++i) client.submit(h.id(), "add");
  auto runs = worker.take(Kind::kTask);
  ASSERT_EQ(runs.size(), 5u);
  for (int i = 0; i < 5; ++i)
    worker.succeed(runs[i].ref, std::string(1, static_cast<char>('a' + i)));
  EXPECT_EQ(client.received, 5u);
  EXPECT_GT(BrokerInspector::outbox_bytes(*h.broker, client.session), 0u);
  client.disconnect();
  client.lose_behind(2);
  client.come_back();
  EXPECT_EQ(client.welcome["resumed"], true);
  EXPECT_EQ(client.received, 5u);
  auto results = client.take(Kind::kResult);
  ASSERT_EQ(results.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(results[i].ref, static_cast<uint64_t>(i + 3));
    EXPECT_EQ(results[i].body, std::string(1, static_cast<char>('c' + i)));
  }
  client.ack();
  EXPECT_EQ(BrokerInspector::outbox_bytes(*h.broker, client.session), 0u);
}

TEST(Resume, DeliversWhatHappenedMeanwhile) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const uint64_t request = client.submit(h.id(), "add");
  client.disconnect();
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  h.advance(30s);
  client.come_back();
  EXPECT_EQ(client.welcome["resumed"], true);
  EXPECT_EQ(client.welcome["ack"], 1);
  EXPECT_EQ(client.expect(Kind::kResult).ref, request);
  EXPECT_EQ(h.counters().sessions_resumed, 1u);
}

TEST(Resume, TakesThePeersOwnRepeatedPacketsOnce) {
  Harness h;
  Peer& client = h.client();
  client.submit(h.id(), "add");
  client.disconnect();
  client.submit(h.id(), "add");  // lost: there was no connection
  client.submit(h.id(), "add");
  client.come_back();
  EXPECT_EQ(h.counters().submitted, 3u);
  EXPECT_EQ(h.counters().packets_duplicate, 0u) << "welcome's ack said what had arrived";
  h.advance(1s);
  EXPECT_EQ(client.acked, 3u);
}

TEST(Resume, OfASessionThatIsGoneSaysSoAndBothBeginAtOne) {
  Harness h([](config::Orchestration& c) { c.tuskd.times.session_ttl = 60s; });
  Peer& client = h.client();
  client.submit(h.id(), "add");
  const uint64_t was = client.session;
  client.disconnect();
  h.advance(60s);
  client.come_back();
  EXPECT_EQ(client.welcome["resumed"], false);
  EXPECT_EQ(client.welcome["ack"], 0);
  EXPECT_NE(client.session, was);
  client.send([](Writer& w) { w.ping(1); });
  client.expect(Kind::kPong);
  EXPECT_EQ(client.received, 1u);
}

TEST(Resume, JustBeforeTheSessionIsForgottenStillWorks) {
  Harness h([](config::Orchestration& c) { c.tuskd.times.session_ttl = 60s; });
  Peer& client = h.client();
  client.disconnect();
  h.advance(60s - 1ms);
  client.come_back();
  EXPECT_EQ(client.welcome["resumed"], true);
  h.advance(120s);
  client.send([](Writer& w) { w.ping(1); });
  client.expect(Kind::kPong);
}

TEST(Resume, FromANewConnectionTakesTheSessionOver) {
  Harness h;
  Peer& client = h.client();
  const ConnectionId old = client.connection;
  client.connection = kNoConnection;
  client.come_back();
  EXPECT_EQ(client.welcome["resumed"], true);
  EXPECT_NE(client.connection, old);
  client.send([](Writer& w) { w.ping(1); });
  client.expect(Kind::kPong);
  h.close(old);  // its end changes nothing any longer
  client.send([](Writer& w) { w.ping(2); });
  client.expect(Kind::kPong);
  h.advance(2min);
  EXPECT_EQ(h.counters().sessions_ended, 0u);
}

TEST(Resume, ByAStrangerWithTheRightNumberOpensANewSession) {
  Harness h;
  Peer& client = h.client();
  Peer& thief = h.peer({}, false);
  thief.session = client.session;
  thief.connect(true);
  EXPECT_EQ(thief.welcome["resumed"], false);
  EXPECT_NE(thief.session, client.session);
  client.send([](Writer& w) { w.ping(1); });
  client.expect(Kind::kPong);
}

TEST(Resume, OfAPeerThatLostItsMemoryEndsItsOldSession) {
  Harness h;
  Peer& client = h.client();
  const uint64_t was = client.session;
  client.disconnect();
  client.connect();  // the same instance, no session
  EXPECT_EQ(client.welcome["resumed"], false);
  EXPECT_NE(client.session, was);
  EXPECT_EQ(h.counters().sessions_ended, 1u);
}

TEST(Resume, AnAcknowledgementOfWhatWasNeverSentIsIgnored) {
  Harness h;
  Peer& worker = h.worker({"add"});
  Peer& client = h.client();
  const TaskId id = h.id();
  client.submit(id, "add", "x");
  h.hold();
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  client.send_raw(client.session, 0, 1000, {});
  h.release();
  EXPECT_EQ(client.expect(Kind::kResult).body, "3");
  Peer& other = h.client();
  other.submit(id, "add", "x");
  EXPECT_EQ(other.expect(Kind::kResult).body, "3") << "it was not acknowledged";
}

// --- the end of a session ------------------------------------------------------------------------

TEST(Bye, EndsTheSessionAtOnce) {
  Harness h;
  Peer& client = h.client();
  client.send([](Writer& w) {
    w.bye("done");
    w.ping(1);
  });
  EXPECT_TRUE(client.quiet()) << "nothing behind it counts";
  EXPECT_EQ(h.counters().sessions_ended, 1u);
  client.send([](Writer& w) { w.ping(1); });
  client.expect_error(code::kStaleSession);
  client.connect();
  EXPECT_EQ(client.welcome["resumed"], false);
}

TEST(MinimalProfile, TheSessionEndsWithItsConnection) {
  Harness h;
  Peer& client = h.client(false);
  const uint64_t was = client.session;
  client.disconnect();
  EXPECT_EQ(BrokerInspector::live_sessions(*h.broker), 0u);
  client.come_back();
  EXPECT_EQ(client.welcome["resumed"], false);
  EXPECT_NE(client.session, was);
}

TEST(Watch, AsksForProcessesOfThisMachineOnly) {
  Harness h;
  h.client();
  EXPECT_TRUE(h.watches.empty());
  Peer& watched = h.peer({.watched = true});
  ASSERT_EQ(h.watches.size(), 1u);
  EXPECT_EQ(h.watches[0].session, watched.session);
  EXPECT_GT(h.watches[0].pid, 0u);
  watched.send([](Writer& w) { w.bye("done"); });
  ASSERT_EQ(h.unwatches.size(), 1u);
  EXPECT_EQ(h.unwatches[0].session, watched.session);
}

TEST(Ping, IsAnsweredWithItsToken) {
  Harness h;
  Peer& client = h.client();
  client.send([](Writer& w) {
    w.ping(0);
    w.ping(static_cast<uint64_t>(-7));
    w.ping(proto::kMaxInteger);
  });
  EXPECT_EQ(client.expect(Kind::kPong).ref, 0u);
  EXPECT_EQ(client.expect(Kind::kPong).ref, static_cast<uint64_t>(-7));
  EXPECT_EQ(client.expect(Kind::kPong).ref, proto::kMaxInteger);
}

}  // namespace
}  // namespace tusk::core
