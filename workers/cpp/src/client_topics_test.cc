// Topics and patterns: what goes to which subscription, what was missed, slow ones.
#include <future>
#include <optional>
#include <thread>

#include "client_fixture.h"
#include "tusk/error.h"

namespace tusk {
namespace {

struct TopicsTest : ClientTest {
  // A subscription that the broker has accepted; what it got to read is in `record`.
  Subscription subscribe(const std::string& name, const SubscribeOptions& options = {}) {
    std::thread side([&] {
      if (!std::exchange(met_, true)) meet();
      record = broker.next("subscribe");
      broker.send({{"accepted", record[1]}});
    });
    auto subscription = client.subscribe(name, options);
    side.join();
    return subscription;
  }
  // Returns when the client has dealt with all that the broker said.
  void settle() {
    broker.send({{"ping", 1}});
    broker.next("pong");
  }
  Json record;

 private:
  bool met_ = false;
};

TEST_F(TopicsTest, EventsCarryWhatWasMissed) {
  std::thread side([&] {
    meet();
    Json subscribe = broker.next("subscribe");
    EXPECT_EQ(subscribe[2], "prices");
    broker.send({{"accepted", subscribe[1]}});
  });
  auto prices = client.subscribe("prices");
  side.join();
  broker.send({{"event", 5, "prices", body_of(50)},
               {"event", 6, "prices", body_of(60)},
               {"event", 9, "prices", body_of(90)},
               {"event", 1, "others", body_of(0)}});
  auto event = prices.next();
  EXPECT_EQ(event->sequence, 5u);
  EXPECT_EQ(event->missed, 0u) << "nothing is known of what was before the first";
  EXPECT_EQ(event->get<int>(), 50);
  EXPECT_EQ(prices.next()->missed, 0u);
  EXPECT_EQ(prices.next()->missed, 2u);
  EXPECT_EQ(prices.next(milliseconds(0)), std::nullopt);

  broker.restart();
  meet({{"epoch", 78}});
  Json again = broker.next("subscribe");
  EXPECT_EQ(again[2], "prices");
  broker.send({{"accepted", again[1]}, {"event", 3, "prices", body_of(3)}});
  event = prices.next();
  EXPECT_EQ(event->sequence, 3u);
  EXPECT_EQ(event->missed, 2u) << "the topic counts anew since the restart";

  prices.close();
  EXPECT_EQ(broker.next("unsubscribe")[2], "prices");
  EXPECT_EQ(prices.next(), std::nullopt);
}

TEST_F(TopicsTest, ASlowReaderOfEventsLosesTheOldest) {
  std::thread side([&] {
    meet();
    broker.send({{"accepted", broker.next("subscribe")[1]}});
  });
  auto prices = client.subscribe("prices", {.buffer = 2});
  side.join();
  for (int i = 1; i <= 5; ++i) broker.send({{"event", i, "prices", body_of(i)}});
  broker.send({{"ping", 1}});
  broker.next("pong");  // they have all arrived
  auto event = prices.next();
  EXPECT_EQ(event->sequence, 4u);
  EXPECT_EQ(event->missed, 3u);
  EXPECT_EQ(prices.next()->sequence, 5u);
}

TEST_F(TopicsTest, AnUnknownTopicIsAnError) {
  std::thread side([&] {
    meet();
    broker.send({{"error", broker.next("subscribe")[1], "unknown_topic", "no"}});
  });
  EXPECT_THROW(client.subscribe("price"), UnknownTopic);
  side.join();
}

TEST_F(TopicsTest, EventsGoToEachSubscriptionThatMatches) {
  auto all = subscribe("prices.>");
  auto one = subscribe("prices.eu");
  broker.send({{"event", 7, "prices.eu", body_of(1)},
               {"event", 1, "prices.us.ny", body_of(2)},
               {"event", 9, "prices.eu", body_of(3)},
               {"event", 1, "other", body_of(4)}});
  auto event = all.next();
  EXPECT_EQ(event->topic, "prices.eu");
  EXPECT_EQ(event->get<int>(), 1);
  event = all.next();
  EXPECT_EQ(event->topic, "prices.us.ny");
  EXPECT_EQ(event->missed, 0u) << "each topic has numbers of its own";
  event = all.next();
  EXPECT_EQ(event->get<int>(), 3);
  EXPECT_EQ(event->missed, 1u);
  EXPECT_EQ(one.next()->get<int>(), 1);
  EXPECT_EQ(one.next()->get<int>(), 3);
  settle();
  EXPECT_EQ(one.next(milliseconds(0)), std::nullopt);
  EXPECT_EQ(all.next(milliseconds(0)), std::nullopt);
}

TEST_F(TopicsTest, WhatTheBrokerDroppedBeforeTheFirstEventIsMissed) {
  auto prices = subscribe("prices", {.buffer = 1});
  broker.send({{"event", 5, "prices", body_of(5), {{"missed", 4}}}});
  EXPECT_EQ(prices.next()->missed, 4u);
  broker.send(
      {{"event", 9, "prices", body_of(9), {{"missed", 3}}}, {"event", 10, "prices", body_of(10)}});
  settle();
  auto event = prices.next();
  EXPECT_EQ(event->sequence, 10u);
  EXPECT_EQ(event->missed, 4u) << "the gap says what the attribute does";
}

TEST_F(TopicsTest, ARetainedEventComesOnceToEachSubscription) {
  const Json shut = {"event", 8, "door", body_of(1), {{"retained", true}}};
  auto first = subscribe("door");
  broker.send({shut});
  auto event = first.next();
  EXPECT_TRUE(event->retained);
  EXPECT_EQ(event->missed, 0u);
  auto second = subscribe("door");
  broker.send({shut, {"event", 9, "door", body_of(2)}});
  EXPECT_EQ(second.next()->sequence, 8u);
  event = second.next();
  EXPECT_EQ(event->sequence, 9u);
  EXPECT_FALSE(event->retained);
  EXPECT_EQ(first.next()->sequence, 9u) << "what the other asked for is not given twice";
}

TEST_F(TopicsTest, ASlowSubscriptionThatWantsToBeDisconnectedEnds) {
  auto prices = subscribe("prices", {.buffer = 2, .slow = Slow::kDisconnect});
  EXPECT_EQ(record[3]["slow"], 1);
  for (int i = 1; i <= 4; ++i) broker.send({{"event", i, "prices", body_of(i)}});
  EXPECT_EQ(broker.next("unsubscribe")[2], "prices") << "nobody reads it any more";
  EXPECT_EQ(prices.next()->get<int>(), 1);
  EXPECT_EQ(prices.next()->get<int>(), 2);
  for (int i = 0; i < 2; ++i) {
    try {
      prices.next();
      FAIL() << "it has ended";
    } catch (const SlowSubscriber& error) {
      EXPECT_EQ(error.code(), "slow_subscriber");
      EXPECT_NE(std::string(error.what()).find("2 events of prices"), std::string::npos);
    }
  }
}

TEST_F(TopicsTest, OneThatKeepsUpStaysWhenAnotherEnds) {
  auto slow = subscribe("prices", {.buffer = 1, .slow = Slow::kDisconnect});
  auto other = subscribe("prices");
  EXPECT_EQ(record.size(), 3u) << "the milder wish counts";
  for (int i = 1; i <= 2; ++i) broker.send({{"event", i, "prices", body_of(i)}});
  settle();
  EXPECT_EQ(slow.next()->get<int>(), 1);
  EXPECT_THROW(slow.next(), SlowSubscriber);
  broker.send({{"event", 3, "prices", body_of(3)}});
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(other.next()->get<int>(), i);
}

TEST_F(TopicsTest, TheBrokerEndsASlowSubscription) {
  auto slow = subscribe("p.*", {.slow = Slow::kDisconnect});
  auto other = subscribe("p.eu");
  auto late = std::async(std::launch::async, [&] { return client.subscribe("p.*"); });
  const Json asked = broker.next("subscribe");
  broker.send({{"event", 1, "p.eu", body_of(1)},
               {"unsubscribed", "p.*", "too slow, it said"},
               {"accepted", asked[1]},
               {"event", 2, "p.eu", body_of(2)}});
  EXPECT_EQ(slow.next()->get<int>(), 1);
  try {
    slow.next();
    FAIL() << "it has ended";
  } catch (const SlowSubscriber& error) {
    EXPECT_STREQ(error.what(), "too slow, it said");
  }
  EXPECT_EQ(other.next()->get<int>(), 1);
  EXPECT_EQ(other.next()->get<int>(), 2);
  {
    auto behind = late.get();
    EXPECT_EQ(behind.next()->get<int>(), 1);
    EXPECT_EQ(behind.next()->get<int>(), 2) << "it subscribed behind the end";
  }
  broker.next("unsubscribe");

  broker.restart();
  meet({{"epoch", 78}});
  EXPECT_EQ(broker.next("subscribe")[2], "p.eu");
  broker.forget_skipped();
  settle();
  for (const Json& skipped : broker.skipped()) {
    EXPECT_NE(skipped[0], "subscribe") << "what ended is forgotten";
  }
}

TEST_F(TopicsTest, WhatTheBrokerDoesNotTakeAgainEnds) {
  auto prices = subscribe("prices", {.slow = Slow::kDisconnect});
  broker.restart();
  meet({{"epoch", 78}});
  const Json again = broker.next("subscribe");
  EXPECT_EQ(again[3]["slow"], 1) << "the wish is said again";
  broker.send({{"error", again[1], "unknown_topic", "it is gone"}});
  EXPECT_THROW(prices.next(), UnknownTopic);
}

TEST_F(TopicsTest, ClearPublishesWithoutABody) {
  auto door = subscribe("door");
  auto clearing = std::async(std::launch::async, [&] { client.clear("door"); });
  const Json publish = broker.next("publish");
  EXPECT_EQ(publish[2], "door");
  EXPECT_TRUE(publish[3].is_null());
  broker.send({{"event", 3, "door", nullptr}, {"accepted", publish[1]}});
  clearing.get();
  EXPECT_TRUE(door.next()->get().is_null());
}

TEST_F(TopicsTest, ABodyIsReadByItsCodec) {
  auto prices = subscribe("prices");
  broker.send({{"event", 1, "prices", {{"hex", "5b315d"}}, {{"codec", 1}}}});
  EXPECT_EQ(prices.next()->get<std::vector<int>>(), std::vector{1});
}

TEST_F(TopicsTest, NoBufferIsAnError) {
  EXPECT_THROW(client.subscribe("prices", {.buffer = 0}), ValueError);
}

}  // namespace
}  // namespace tusk
