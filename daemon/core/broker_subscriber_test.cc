// Subscribers: patterns, the last event kept, those that are slow, and what a topic takes.
#include <gtest/gtest.h>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

using namespace std::chrono_literals;

class Subscribers : public ::testing::Test {
 protected:
  Harness h{[](config::Orchestration& c) {
    c.topics = {{.name = "prices"},
                {.name = "prices.eu"},
                {.name = "prices.eu.paris"},
                {.name = "state", .retain = true},
                {.name = "state.door", .retain = true}};
    c.tuskd.limits.subscriber_window = config::Bytes{2000};
    c.tuskd.limits.subscriber_backlog = config::Bytes{4000};
    c.tuskd.limits.max_subscriptions = 3;
  }};
  Peer& publisher = h.client();
  Peer& subscriber = h.client();

  void subscribe(Peer& peer, const std::string& pattern, const Attrs& attributes = {}) {
    const uint64_t request = peer.subscribe(pattern, attributes);
    EXPECT_EQ(peer.expect(Kind::kAccepted).ref, request);
  }
  void unsubscribe(Peer& peer, const std::string& pattern) {
    const uint64_t request = peer.request();
    peer.send([&](Writer& w) { w.unsubscribe(request, pattern); });
    EXPECT_EQ(peer.expect(Kind::kAccepted).ref, request);
  }
  void publish(const std::string& topic, std::string_view body = "x") {
    publisher.publish(topic, body);
    publisher.expect(Kind::kAccepted);
  }
  // Names and numbers of the events that came.
  std::vector<std::string> events(Peer& peer) {
    std::vector<std::string> out;
    for (const Got& e : peer.take(Kind::kEvent))
      out.push_back(e.name + " " + std::to_string(e.ref));
    return out;
  }
  // Events of 1,000 bytes each: the first two fill the window, three more the backlog.
  void flood(const std::string& topic, int events) {
    for (int i = 0; i < events; ++i) publish(topic, std::string(1000, 'x'));
  }
};

using Names = std::vector<std::string>;
Attrs disconnect() { return Attrs().number(Attribute::kSlow, 1); }

// --- patterns ------------------------------------------------------------------------------------

TEST_F(Subscribers, APatternIsAllTopicsThatMatch) {
  subscribe(subscriber, "prices.>");
  for (const char* topic : {"prices", "prices.eu", "prices.eu.paris", "state"}) publish(topic);
  EXPECT_EQ(events(subscriber), (Names{"prices.eu 1", "prices.eu.paris 1"}));
}

TEST_F(Subscribers, EventsComeOnceHoweverManyPatternsMatch) {
  subscribe(subscriber, "prices.>");
  subscribe(subscriber, "*.eu");
  subscribe(subscriber, "prices.eu");
  publish("prices.eu");
  EXPECT_EQ(events(subscriber), (Names{"prices.eu 1"}));
  unsubscribe(subscriber, "prices.>");
  unsubscribe(subscriber, "prices.eu");
  publish("prices.eu");
  publish("prices.eu.paris");
  EXPECT_EQ(events(subscriber), (Names{"prices.eu 2"})) << "one pattern still stands for it";
  unsubscribe(subscriber, "*.eu");
  publish("prices.eu");
  EXPECT_TRUE(subscriber.quiet());
}

TEST_F(Subscribers, APatternThatIsNoneOrMatchesNothingIsAnError) {
  subscriber.subscribe("prices.>.paris");
  Got error = subscriber.expect_error(code::kInvalid);
  EXPECT_NE(error.message.find("`>` before its end"), std::string::npos) << error.message;
  subscriber.subscribe("news.*");
  error = subscriber.expect_error(code::kUnknownTopic);
  EXPECT_NE(error.message.find("no topic that matches \"news.*\""), std::string::npos);
  publisher.publish("prices.*", "x");
  publisher.expect_error(code::kUnknownTopic);
  subscriber.subscribe("prices", Attrs().number(Attribute::kSlow, 2));
  subscriber.expect_error(code::kInvalid);
}

TEST_F(Subscribers, OneTooManyIsRefused) {
  for (const char* topic : {"prices", "prices.eu", "state"}) subscribe(subscriber, topic);
  subscribe(subscriber, "state");  // again is none more
  subscriber.subscribe("state.*");
  const Got error = subscriber.expect_error(code::kBusy);
  EXPECT_EQ(error.value["limit"], "max_subscriptions");
  EXPECT_EQ(error.value["value"], 3);
  publish("state.door");
  EXPECT_TRUE(subscriber.quiet());
}

TEST_F(Subscribers, AReloadsTopicsJoinAndLeavePatterns) {
  subscribe(subscriber, "prices.*");
  h.reload([](config::Orchestration& c) { c.topics = {{.name = "prices.us"}}; });
  publish("prices.us");
  EXPECT_EQ(events(subscriber), (Names{"prices.us 1"}));
  publisher.publish("prices.eu", "x");
  publisher.expect_error(code::kUnknownTopic);
}

TEST_F(Subscribers, ATopicSubscribedToByNameStaysInAReload) {
  subscribe(subscriber, "prices.eu");
  const auto refused = h.reload([](config::Orchestration& c) { c.topics = {{.name = "prices"}}; });
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0], "topic \"prices.eu\" cannot go: it has 1 subscribers");
}

// --- the last event, kept ------------------------------------------------------------------------

TEST_F(Subscribers, WhoComesLaterGetsTheLastEvent) {
  publish("state", "old");
  publisher.publish("state", "open",
                    Attrs().number(Attribute::kCodec, 2).text(Attribute::kTrace, "t"));
  subscribe(subscriber, "state");
  const Got event = subscriber.expect(Kind::kEvent);
  EXPECT_EQ(event.body, "open");
  EXPECT_EQ(event.ref, 2u);
  EXPECT_EQ(event.at(Attribute::kRetained), true);
  EXPECT_EQ(event.at(Attribute::kCodec), 2);
  EXPECT_EQ(event.at(Attribute::kTrace), "t");
  publish("state", "shut");
  EXPECT_FALSE(subscriber.expect(Kind::kEvent).has(Attribute::kRetained));
  EXPECT_EQ(h.named("topics", "state")["retained"], 3);
}

TEST_F(Subscribers, APatternGetsTheLastEventOfEach) {
  publish("state.door", "shut");
  publish("prices.eu");
  subscribe(subscriber, ">");
  EXPECT_EQ(events(subscriber), (Names{"state.door 1"})) << "only what its topic keeps";
}

TEST_F(Subscribers, AnEventWithoutABodyClearsTheLastOne) {
  publish("state", "open");
  publisher.send([](Writer& w) { w.publish(9, "state", {}, {}); });
  publisher.expect(Kind::kAccepted);
  subscribe(subscriber, "state");
  EXPECT_TRUE(subscriber.quiet());
  publish("state", "");
  Peer& late = h.client();
  subscribe(late, "state");
  EXPECT_EQ(late.expect(Kind::kEvent).ref, 3u) << "an empty body is one";
}

TEST_F(Subscribers, WhatIsKeptCountsAndGoesWithItsTopic) {
  const size_t before = BrokerInspector::held_bytes(*h.broker);
  publish("state", std::string(5000, 'x'));
  publish("state", std::string(7000, 'x'));
  EXPECT_GE(BrokerInspector::held_bytes(*h.broker), before + 7000);
  EXPECT_LT(BrokerInspector::held_bytes(*h.broker), before + 8000);
  h.reload([](config::Orchestration& c) { c.topics = {{.name = "state"}}; });
  EXPECT_EQ(BrokerInspector::held_bytes(*h.broker), before);
  subscribe(subscriber, "state");
  EXPECT_TRUE(subscriber.quiet());
}

TEST_F(Subscribers, WithoutMemoryForItAnEventIsRefused) {
  h.reload([](config::Orchestration& c) { c.tuskd.limits.max_memory = config::Bytes{3000}; });
  publish("state.door", std::string(5000, 'x'));
  publisher.publish("state", "x");
  const Got error = publisher.expect_error(code::kFull);
  EXPECT_EQ(error.value["limit"], "max_memory");
  publish("prices");  // keeps nothing
  EXPECT_EQ(h.named("topics", "state")["refused"], 1);
  EXPECT_EQ(h.named("topics", "state")["published"], 0);
}

// --- slow ones -----------------------------------------------------------------------------------

TEST_F(Subscribers, ASlowOneLosesTheOldestAndIsToldHowMany) {
  subscribe(subscriber, "prices");
  flood("prices", 7);
  EXPECT_EQ(events(subscriber), (Names{"prices 1", "prices 2"}));
  EXPECT_EQ(h.named("topics", "prices")["waiting"], 3);
  EXPECT_EQ(h.named("topics", "prices")["missed"], 2);
  subscriber.ack();
  std::vector<Got> got = subscriber.take(Kind::kEvent);
  ASSERT_EQ(got.size(), 2u) << "the window again";
  EXPECT_EQ(got[0].ref, 5u);
  EXPECT_EQ(got[0].at(Attribute::kMissed), 2);
  EXPECT_EQ(got[1].ref, 6u);
  EXPECT_FALSE(got[1].has(Attribute::kMissed));
  subscriber.ack();
  EXPECT_EQ(events(subscriber), (Names{"prices 7"}));
  EXPECT_EQ(h.named("topics", "prices")["waiting"], 0);
  EXPECT_EQ(h.counters().events_missed, 2u);
  EXPECT_EQ(h.counters().events_delivered, 5u);
}

TEST_F(Subscribers, EachTopicCountsWhatWasMissedOfIt) {
  subscribe(subscriber, "prices.>");
  flood("prices.eu", 2);
  flood("prices.eu.paris", 1);
  flood("prices.eu", 4);
  subscriber.take(Kind::kEvent);
  subscriber.ack();
  subscriber.take(Kind::kEvent);
  subscriber.ack();
  subscriber.take(Kind::kEvent);
  publish("prices.eu.paris");
  EXPECT_EQ(subscriber.expect(Kind::kEvent).at(Attribute::kMissed), 1);
}

TEST_F(Subscribers, NobodyElseWaitsForASlowOne) {
  Peer& quick = h.client();
  subscribe(subscriber, "prices");
  subscribe(quick, "prices");
  for (int i = 1; i <= 7; ++i) {
    flood("prices", 1);
    EXPECT_EQ(quick.expect(Kind::kEvent).ref, static_cast<uint64_t>(i));
    quick.ack();
  }
}

TEST_F(Subscribers, OneThatAskedForItIsDisconnectedInstead) {
  Peer& other = h.client();
  subscribe(other, "prices.eu");
  subscribe(subscriber, "prices.*", disconnect());
  subscribe(subscriber, "state");
  flood("prices.eu", 6);
  EXPECT_EQ(events(subscriber), (Names{"prices.eu 1", "prices.eu 2"}));
  const Got end = subscriber.expect(Kind::kUnsubscribed);
  EXPECT_EQ(end.name, "prices.*");
  EXPECT_NE(end.message.find("did not keep up"), std::string::npos) << end.message;
  subscriber.ack();
  EXPECT_TRUE(subscriber.quiet()) << "what waited went with the subscription";
  EXPECT_EQ(h.named("topics", "prices.eu")["subscribers"], 1);
  EXPECT_EQ(h.counters().subscriptions_ended, 1u);
  publish("state", "other subscriptions go on");
  EXPECT_EQ(events(subscriber), (Names{"state 1"}));
  subscribe(subscriber, "prices.*", disconnect());
  publish("prices.eu");
  const Got again = subscriber.expect(Kind::kEvent);
  EXPECT_EQ(again.ref, 7u);
  EXPECT_FALSE(again.has(Attribute::kMissed)) << "a new subscription missed nothing";
}

TEST_F(Subscribers, TheMildestWishOfASessionCounts) {
  subscribe(subscriber, "prices", disconnect());
  subscribe(subscriber, "prices");
  flood("prices", 7);
  EXPECT_EQ(events(subscriber), (Names{"prices 1", "prices 2"}));
  EXPECT_TRUE(subscriber.quiet());
}

TEST_F(Subscribers, UnsubscribingTakesWhatWaits) {
  subscribe(subscriber, "prices");
  subscribe(subscriber, "prices.eu");
  flood("prices", 2);
  flood("prices", 1);
  flood("prices.eu", 1);
  subscriber.take(Kind::kEvent);
  subscriber.send_raw(subscriber.session, subscriber.next_seq++, 0,
                      [](Writer& w) { w.unsubscribe(9, "prices"); });
  subscriber.expect(Kind::kAccepted);
  subscriber.ack();
  EXPECT_EQ(events(subscriber), (Names{"prices.eu 1"}));
}

TEST_F(Subscribers, WaitingEventsSurviveAReconnectAndGoWithTheSession) {
  subscribe(subscriber, "prices");
  subscriber.disconnect();
  flood("prices", 5);
  subscriber.come_back();
  subscriber.ack();
  subscriber.ack();
  EXPECT_EQ(events(subscriber),
            (Names{"prices 1", "prices 2", "prices 3", "prices 4", "prices 5"}));
  flood("prices", 4);
  subscriber.send([](Writer& w) { w.bye(""); });
  EXPECT_EQ(h.named("topics", "prices")["waiting"], 0);
}

TEST_F(Subscribers, AReloadTakesWhatWaitsOfATopicThatGoes) {
  subscribe(subscriber, "prices.>");
  flood("prices.eu", 7);
  subscriber.take(Kind::kEvent);
  h.reload([](config::Orchestration& c) { c.topics = {{.name = "prices"}}; });
  subscriber.ack();
  EXPECT_TRUE(subscriber.quiet());
}

TEST_F(Subscribers, OnesThatDoNotAcknowledgeGetEverything) {
  Peer& minimal = h.client(false);
  subscribe(minimal, "prices");
  flood("prices", 9);
  EXPECT_EQ(minimal.take(Kind::kEvent).size(), 9u);
}

TEST_F(Subscribers, APublishersOwnWordOfWhatWasMissedIsLeftOut) {
  subscribe(subscriber, "prices");
  publisher.publish("prices", "x",
                    Attrs().number(Attribute::kMissed, 7).flag(Attribute::kRetained));
  const Got event = subscriber.expect(Kind::kEvent);
  EXPECT_FALSE(event.has(Attribute::kMissed));
  EXPECT_FALSE(event.has(Attribute::kRetained));
}

// --- rates ---------------------------------------------------------------------------------------

TEST_F(Subscribers, ATopicTakesNoMoreThanItsRate) {
  h.reload([](config::Orchestration& c) {
    c.topics = {{.name = "prices", .rate = config::Rate{10}, .burst = 3}, {.name = "state"}};
  });
  subscribe(subscriber, "prices");
  for (int i = 0; i < 3; ++i) publish("prices");
  const uint64_t request = publisher.publish("prices", "x");
  const Got error = publisher.expect_error(code::kBusy);
  EXPECT_EQ(error.ref, request);
  EXPECT_EQ(error.value["limit"], "rate");
  EXPECT_EQ(error.value["value"], 10);
  publish("state");
  h.advance(100ms);
  publish("prices");
  EXPECT_EQ(events(subscriber), (Names{"prices 1", "prices 2", "prices 3", "prices 4"}))
      << "a refused one has no number";
  Writer out;
  for (int i = 0; i < 2; ++i) out.event(1, "prices", BodyOut::copied("x"), {});
  h.handle(EdgeEvents{std::string_view("prices\0", 7), out.records().view(), {}});
  EXPECT_EQ(h.counters().edge_dropped, 2u);
  EXPECT_EQ(h.named("topics", "prices")["refused"], 3);
}

}  // namespace
}  // namespace tusk::core
