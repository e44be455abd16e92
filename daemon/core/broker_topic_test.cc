// Topics: events to sessions and to the XPUB edge. And the requests of plain REQ peers.
#include <gtest/gtest.h>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

class Topics : public ::testing::Test {
 protected:
  Harness h{[](config::Orchestration& c) {
    c.topics = {{.name = "prices", .message = {}}, {.name = "prices.eu", .message = {}}};
  }};
  Peer& publisher = h.client();
  Peer& subscriber = h.client();

  void subscribe(Peer& peer, const std::string& topic) {
    const uint64_t request = peer.subscribe(topic);
    EXPECT_EQ(peer.expect(Kind::kAccepted).ref, request);
  }
};

TEST_F(Topics, AnEventGoesToEverySubscriberAndToTheEdge) {
  Peer& minimal = h.client(false);
  Peer& stranger = h.client();
  subscribe(subscriber, "prices");
  subscribe(minimal, "prices");
  const uint64_t request = publisher.publish(
      "prices", "1.23", Attrs().text(Attribute::kTrace, "t").number(Attribute::kCodec, 2));
  EXPECT_EQ(publisher.expect(Kind::kAccepted).ref, request);
  for (Peer* peer : {&subscriber, &minimal}) {
    Got event = peer->expect(Kind::kEvent);
    EXPECT_EQ(event.name, "prices");
    EXPECT_EQ(event.ref, 1u);
    EXPECT_EQ(event.body, "1.23");
    EXPECT_EQ(event.at(Attribute::kTrace), "t");
    EXPECT_EQ(event.at(Attribute::kCodec), 2);
  }
  EXPECT_TRUE(stranger.quiet());
  EXPECT_TRUE(publisher.quiet());
  ASSERT_EQ(h.edge_events.size(), 1u);
  EXPECT_EQ(h.edge_events[0].first, std::string("prices\0", 7));
  EXPECT_EQ(h.edge_events[0].second.body, "1.23");
  EXPECT_EQ(h.counters().published, 1u);
  EXPECT_EQ(h.counters().events_delivered, 2u);
}

TEST_F(Topics, EachNumbersItsOwnEvents) {
  subscribe(subscriber, "prices");
  subscribe(subscriber, "prices.eu");
  for (int i = 0; i < 3; ++i) publisher.publish("prices", "");
  publisher.publish("prices.eu", "");
  std::vector<std::pair<std::string, uint64_t>> got;
  for (const Got& event : subscriber.take(Kind::kEvent)) got.emplace_back(event.name, event.ref);
  EXPECT_EQ(got, (std::vector<std::pair<std::string, uint64_t>>{
                     {"prices", 1}, {"prices", 2}, {"prices", 3}, {"prices.eu", 1}}));
}

TEST_F(Topics, RequestZeroHearsOnlyOfErrors) {
  publisher.send([](Writer& w) { w.publish(0, "prices", BodyOut::copied("1"), {}); });
  EXPECT_TRUE(publisher.quiet());
  EXPECT_EQ(h.counters().published, 1u);
  publisher.send([](Writer& w) { w.publish(0, "nowhere", BodyOut::copied("1"), {}); });
  EXPECT_EQ(publisher.expect_error(code::kUnknownTopic).ref, 0u);
}

TEST_F(Topics, AnUnknownOneIsAnErrorWithTheNearestName) {
  publisher.publish("price", "");
  Got error = publisher.expect_error(code::kUnknownTopic);
  EXPECT_NE(error.message.find("\"prices\""), std::string::npos) << error.message;
  subscriber.subscribe("something_else");
  error = subscriber.expect_error(code::kUnknownTopic);
  EXPECT_EQ(error.message.find("did you mean"), std::string::npos) << error.message;
}

TEST_F(Topics, SubscribingTwiceIsOnceAndUnsubscribingEndsIt) {
  subscribe(subscriber, "prices");
  subscribe(subscriber, "prices");
  publisher.publish("prices", "");
  EXPECT_EQ(subscriber.take(Kind::kEvent).size(), 1u);
  const uint64_t request = subscriber.request();
  subscriber.send([&](Writer& w) { w.unsubscribe(request, "prices"); });
  EXPECT_EQ(subscriber.expect(Kind::kAccepted).ref, request);
  publisher.publish("prices", "");
  EXPECT_TRUE(subscriber.quiet());
}

TEST_F(Topics, EndWithTheSession) {
  subscribe(subscriber, "prices");
  subscriber.send([](Writer& w) { w.bye(""); });
  publisher.publish("prices", "");
  EXPECT_EQ(h.counters().events_delivered, 0u);
  EXPECT_EQ(h.named("topics", "prices")["subscribers"], 0);
  // Whoever takes its place in the broker's tables did not subscribe.
  Peer& next = h.client();
  publisher.publish("prices", "");
  EXPECT_TRUE(next.quiet());
}

TEST_F(Topics, ASubscriptionSurvivesAReconnect) {
  subscribe(subscriber, "prices");
  subscriber.disconnect();
  publisher.publish("prices", "meanwhile");
  subscriber.come_back();
  EXPECT_EQ(subscriber.expect(Kind::kEvent).body, "meanwhile");
}

TEST_F(Topics, LargeBodiesAreNotCopied) {
  subscribe(subscriber, "prices");
  publisher.publish("prices", std::string(5000, 'x'));
  EXPECT_FALSE(subscriber.expect(Kind::kEvent).body_in_frame);
  publisher.send([](Writer& w) {
    w.publish(1, "prices", BodyOut::shared(proto::Bytes::copy(std::string(100'000, 'x'))), {});
  });
  Got event = subscriber.expect(Kind::kEvent);
  EXPECT_TRUE(event.body_in_frame);
  EXPECT_EQ(event.body, std::string(100'000, 'x'));
}

TEST_F(Topics, TheEdgeGetsPacketsWithinTheLimits) {
  h.reload([](config::Orchestration& c) {
    c.tuskd.limits.max_frames = 4;
    c.tuskd.limits.max_records = 20;
  });
  h.hold();
  for (int i = 0; i < 50; ++i) {
    publisher.send([](Writer& w) {
      w.publish(0, "prices", BodyOut::shared(proto::Bytes::copy(std::string(9000, 'x'))), {});
      w.publish(0, "prices.eu", BodyOut::copied("y"), {});
    });
  }
  h.release();  // the harness checks each packet
  EXPECT_EQ(h.edge_events.size(), 100u);
  uint64_t last = 0;
  for (const auto& [topic, event] : h.edge_events) {
    if (event.name != "prices") continue;
    EXPECT_EQ(event.ref, ++last);
  }
}

TEST_F(Topics, EventsComeInByTheEdge) {
  subscribe(subscriber, "prices");
  Writer out;
  out.event(99, "prices", BodyOut::copied("1.23"), Attrs().text(Attribute::kTrace, "t"));
  out.event(99, "prices", BodyOut::copied("1.24"), {});
  h.handle(EdgeEvents{std::string_view("prices\0", 7), out.records().view(), {}});
  Got event = subscriber.expect(Kind::kEvent);
  EXPECT_EQ(event.ref, 1u) << "the sequence is the broker's";
  EXPECT_EQ(event.body, "1.23");
  EXPECT_EQ(event.at(Attribute::kTrace), "t");
  EXPECT_EQ(subscriber.expect(Kind::kEvent).ref, 2u);
  EXPECT_EQ(h.counters().edge_dropped, 0u);
}

TEST_F(Topics, WhatIsWrongOnTheEdgeIsDroppedAndCounted) {
  subscribe(subscriber, "prices");
  auto in = [&](std::string_view topic, const Peer::Write& write) {
    Writer out;
    write(out);
    h.handle(EdgeEvents{topic, out.records().view(), out.frames()});
  };
  const std::string_view prices("prices\0", 7);
  in("prices", [](Writer& w) { w.event(1, "prices", {}, {}); });  // no 0x00
  in("", [](Writer& w) { w.event(1, "prices", {}, {}); });
  in(prices, [](Writer& w) { w.event(1, "prices.eu", {}, {}); });  // of another topic
  in(prices, [](Writer& w) { w.ping(1); });
  in(prices, [](Writer& w) { w.event(1, "prices", {}, Attrs().raw(999, 1)); });
  in(std::string_view("nowhere\0", 8), [](Writer& w) { w.event(1, "nowhere", {}, {}); });
  h.handle(EdgeEvents{prices, "\xc1", {}});
  h.handle(EdgeEvents{{}, {}, {}});
  EXPECT_EQ(h.counters().edge_dropped, 8u);
  EXPECT_EQ(h.counters().published, 0u);
  EXPECT_TRUE(subscriber.quiet());
}

// --- REQ peers -----------------------------------------------------------------------------------

TEST(Req, GetsTheResultBehindItsEnvelope) {
  Harness h;
  Peer& worker = h.worker({"add"});
  ReqPeer& req = h.req();
  for (const std::string envelope : {"", "route"}) {
    req.ask([&](Writer& w) { w.submit(1, h.id(), "add", BodyOut::copied("x"), {}); }, envelope);
    EXPECT_TRUE(req.replies.empty());
    worker.succeed(worker.expect(Kind::kTask).ref, "3");
    Got reply = req.reply();
    EXPECT_EQ(reply.kind, Kind::kResult);
    EXPECT_EQ(reply.body, "3");
    EXPECT_EQ(req.envelope, envelope);
  }
  EXPECT_EQ(BrokerInspector::live_requests(*h.broker), 0u);
}

TEST(Req, EachAllowedRecordGetsExactlyOneReply) {
  Harness h([](config::Orchestration& c) {
    c.topics = {{.name = "prices", .message = {}}};
    c.stages = {{.name = "clean", .language = "", .function = "clean", .settings = {}}};
  });
  h.worker({"add"});
  ReqPeer& req = h.req();
  const TaskId id = h.id();
  auto reply = [&](const Peer::Write& write) {
    req.ask(write);
    return req.reply();
  };
  EXPECT_EQ(reply([](Writer& w) { w.ping(7); }).kind, Kind::kPong);
  EXPECT_EQ(reply([&](Writer& w) {
              w.submit(1, id, "add", {}, Attrs().number(Attribute::kReply, 1));
            }).kind,
            Kind::kAccepted);
  EXPECT_EQ(reply([&](Writer& w) { w.cancel(1, id); }).value["state"], "cancelling");
  EXPECT_EQ(reply([](Writer& w) {
              w.start(Kind::kQuery, 3).pack_int(1);
              w.text("status");
            }).kind,
            Kind::kAnswer);
  EXPECT_EQ(reply([](Writer& w) { w.publish(1, "prices", {}, {}); }).kind, Kind::kAccepted);
  EXPECT_EQ(reply([](Writer& w) { w.publish(0, "prices", {}, {}); }).kind, Kind::kAccepted)
      << "request 0 or not: a REQ peer waits for its reply";
  EXPECT_EQ(reply([&](Writer& w) { w.push(1, h.id(), "clean", {}, {}); }).kind, Kind::kAccepted);
  EXPECT_EQ(reply([&](Writer& w) {
              w.submit(1, h.id(), "add", {}, Attrs().number(Attribute::kReply, 2));
            }).name,
            code::kInvalid);
  EXPECT_EQ(BrokerInspector::live_requests(*h.broker), 0u);
}

TEST(Req, WhatIsNotAllowedIsRefused) {
  Harness h;
  ReqPeer& req = h.req();
  auto reply = [&](const Peer::Write& write) {
    req.ask(write);
    return req.reply();
  };
  EXPECT_TRUE(reply([](Writer& w) { w.subscribe(1, "t"); }).is_error(code::kUnsupported));
  EXPECT_TRUE(reply([](Writer& w) { w.bye(""); }).is_error(code::kUnsupported));
  EXPECT_TRUE(reply([](Writer& w) { w.slots(1); }).is_error(code::kUnsupported));
  EXPECT_TRUE(reply([](Writer& w) {
                w.start(Kind::kHello, 3).pack_int(1);
                w.packer().pack_map(0);
              }).is_error(code::kUnsupported));
  EXPECT_TRUE(reply([](Writer& w) {
                w.start(static_cast<Kind>(27), 2).pack_int(4);
              }).is_error(code::kUnsupported));
  EXPECT_TRUE(reply([](Writer& w) {
                w.start(static_cast<Kind>(200), 2).pack_int(4);
              }).is_error(code::kUnsupported));
  EXPECT_TRUE(reply([](Writer& w) {
                w.ping(1);
                w.ping(2);
              }).is_error(code::kInvalid))
      << "one record a message";
  req.ask_bytes("");
  EXPECT_TRUE(req.reply().is_error(code::kMalformed));
  req.ask_bytes("\xc1");
  EXPECT_TRUE(req.reply().is_error(code::kMalformed));
  EXPECT_EQ(BrokerInspector::live_requests(*h.broker), 0u);
}

TEST(Req, ErrorsOfTheTaskAreTheReply) {
  Harness h;
  h.worker({"add"});
  h.advance(11s);
  ReqPeer& req = h.req();
  req.ask([&](Writer& w) { w.submit(5, h.id(), "nobody", {}, {}); });
  Got reply = req.reply();
  EXPECT_TRUE(reply.is_error(code::kUnserved));
  EXPECT_EQ(reply.ref, 5u);
  req.ask([&](Writer& w) { w.submit(6, h.id(), "add", {}, Attrs().raw(999, 1)); });
  EXPECT_TRUE(req.reply().is_error(code::kUnsupported));
}

TEST(Req, HearsATimeoutWithinItsWaitOrTheDefault) {
  Harness h([](config::Orchestration& c) { c.default_timeout = 5000ms; });
  Peer& worker = h.worker({"add"}, 2);
  ReqPeer &patient = h.req(), &hasty = h.req();
  const TaskId id = h.id();
  patient.ask([&](Writer& w) { w.submit(1, id, "add", {}, {}); });
  hasty.ask(
      [&](Writer& w) { w.submit(2, h.id(), "add", {}, Attrs().number(Attribute::kWait, 100)); });
  h.advance(99ms);
  EXPECT_TRUE(hasty.replies.empty());
  h.advance(1ms);
  EXPECT_TRUE(hasty.reply().is_error(code::kTimeout));
  h.advance(4899ms);
  EXPECT_TRUE(patient.replies.empty());
  h.advance(1ms);
  EXPECT_TRUE(patient.reply().is_error(code::kTimeout));
  EXPECT_EQ(h.counters().timeouts, 2u);
  for (const Got& task : worker.take(Kind::kTask)) worker.succeed(task.ref, "3");
  EXPECT_TRUE(patient.replies.empty()) << "one reply";
  patient.ask([&](Writer& w) { w.submit(3, id, "add", {}, Attrs().flag(Attribute::kResent)); });
  EXPECT_EQ(patient.reply().body, "3");
}

TEST(Req, ThatLeavesGetsNoReplyNorDoesItsSuccessor) {
  Harness h;
  Peer& worker = h.worker({"add"});
  ReqPeer& req = h.req();
  const TaskId id = h.id();
  req.ask([&](Writer& w) { w.submit(1, id, "add", BodyOut::copied("x"), {}); });
  const ConnectionId connection = req.connection;
  req.disconnect();
  ReqPeer& next = h.req();
  ASSERT_EQ(next.connection, connection) << "the number is used again";
  worker.succeed(worker.expect(Kind::kTask).ref, "3");
  EXPECT_TRUE(next.replies.empty());
  next.ask([&](Writer& w) { w.submit(2, id, "add", BodyOut::copied("x"), {}); });
  EXPECT_EQ(next.reply().body, "3") << "the task went on";
}

TEST(Req, APushWaitsForRoomAtMostItsWait) {
  Harness h([](config::Orchestration& c) {
    c.stages = {{.name = "clean", .language = "", .function = "clean", .settings = {}}};
    c.tuskd.limits.stage_capacity = 1;
    c.default_timeout = 5000ms;
  });
  ReqPeer &a = h.req(), &b = h.req(), &c = h.req();
  a.ask([&](Writer& w) { w.push(1, h.id(), "clean", {}, {}); });
  EXPECT_EQ(a.reply().kind, Kind::kAccepted);
  b.ask([&](Writer& w) { w.push(1, h.id(), "clean", {}, {}); });
  h.advance(2s);
  c.ask([&](Writer& w) { w.push(1, h.id(), "clean", {}, {}); });
  h.advance(3s);
  EXPECT_TRUE(b.reply().is_error(code::kTimeout));
  Peer& worker = h.stage_worker({"clean"});
  for (int i = 0; i < 2; ++i) worker.drop(worker.expect(Kind::kItem).ref);
  EXPECT_EQ(c.reply().kind, Kind::kAccepted);
  EXPECT_TRUE(b.replies.empty());
}

}  // namespace
}  // namespace tusk::core
