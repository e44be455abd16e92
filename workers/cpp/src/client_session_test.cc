// Connections that end, brokers that restart, clients that close: what a client does then.
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <future>
#include <thread>

#include "client_fixture.h"

namespace tusk {
namespace {

TEST_F(ClientTest, AResumedSessionGetsTheLostSuffixUnchanged) {
  meet();
  auto first = client.submit<int>("add", 1);
  Json packet1 = broker.next_packet();
  const auto session = broker.session;
  auto second = client.submit<int>("add", 2);
  Json packet2 = broker.next_packet();
  const std::string bytes2 = broker.last_packet[0];
  broker.restart();
  Json hello = broker.hello();
  EXPECT_EQ(hello["session"], session);
  EXPECT_EQ(hello["ack"], 0);
  broker.in_seq = 1;
  broker.welcome({{"session", session}, {"resumed", true}, {"ack", 1}});
  Json again = broker.next_packet();
  EXPECT_EQ(broker.last_packet[0], bytes2) << "what was acknowledged is not sent again";
  broker.send({{"result", packet1["records"][1][1], 1, body_of(1)},
               {"result", packet2["records"][1][1], 1, body_of(2)}});
  EXPECT_EQ(first.get(), 1);
  EXPECT_EQ(second.get(), 2);
}

TEST_F(ClientTest, ANewSessionGetsWhatHasNoEndingAgainByItsId) {
  meet();
  auto first = client.submit<int>("add", 1);
  auto second = client.submit<int>("add", 2);
  Json submit1 = broker.next("submit");
  Json submit2 = broker.next("submit");
  answer(submit1, 1);
  EXPECT_EQ(first.get(), 1);
  broker.restart();
  broker.hello();  // so it has seen the end of the old connection, and sends nothing into it
  auto third = client.submit<int>("add", 3);
  broker.welcome({{"epoch", 78}});
  Json packet = broker.next_packet();
  EXPECT_EQ(packet["records"][0][2], 1) << "numbers start again";
  Json again = packet["records"][1];
  EXPECT_EQ(again[2], submit2[2]) << "the same id";
  EXPECT_EQ(again[4], submit2[4]);
  EXPECT_EQ(again[5], (Json{{"resent", true}}));
  Json fresh = packet["records"].size() > 2 ? packet["records"][2] : broker.next("submit");
  EXPECT_EQ(fresh[2]["hex"], third.id().hex());
  EXPECT_EQ(fresh.size(), 5u) << "this one was never sent";
  broker.send({{"result", again[1], 1, body_of(2)}, {"result", fresh[1], 1, body_of(3)}});
  EXPECT_EQ(second.get(), 2);
  EXPECT_EQ(third.get(), 3);
}

TEST_F(ClientTest, AStaleSessionIsGreetedAgain) {
  meet();
  auto task = client.submit<int>("add", 1);
  broker.next("submit");
  broker.send_bare({{"error", 0, "stale_session", "say hello"}});
  Json hello = broker.hello();
  EXPECT_TRUE(hello.contains("session"));
  broker.welcome();
  Json submit = broker.next("submit");
  EXPECT_EQ(submit[5]["resent"], true);
  answer(submit, 1);
  EXPECT_EQ(task.get(), 1);
}

TEST_F(ClientTest, AGapIsFilledFromWhereTheBrokerSays) {
  meet();
  broker.acknowledges = false;
  auto a = client.submit<int>("add", 1);
  Json first = broker.next_packet();
  auto b = client.submit<int>("add", 2);
  Json second = broker.next_packet();
  broker.send({{"error", 0, "gap", "a packet is missing", {{"expected", 1}}}});
  EXPECT_EQ(broker.next_packet()["records"][1], first["records"][1]);
  EXPECT_EQ(broker.next_packet()["records"][1], second["records"][1]);
}

TEST_F(ClientTest, AskAgainForWhatTheBrokerSkipped) {
  meet();
  auto task = client.submit<int>("add", 1);
  Json submit = broker.next("submit");
  ++broker.out_seq;  // packet 1 is lost
  answer(submit, 7);
  Json error = broker.next("error");
  EXPECT_EQ(error[2], "gap");
  EXPECT_EQ(error[4]["expected"], 1);
  EXPECT_FALSE(task.ready()) << "nothing of a packet behind a gap is applied";
  broker.out_seq = 0;
  broker.send({{"ping", 5}});
  answer(submit, 7);
  EXPECT_EQ(task.get(), 7);
  EXPECT_EQ(broker.next("pong")[1], 5);
}

TEST_F(ClientTest, APacketThatComesTwiceIsAppliedOnce) {
  std::thread side([&] {
    meet();
    broker.send({{"accepted", broker.next("subscribe")[1]}});
  });
  auto prices = client.subscribe("prices");
  side.join();
  broker.send({{"event", 1, "prices", body_of(1)}});
  --broker.out_seq;
  broker.send({{"event", 1, "prices", body_of(1)}});
  broker.send({{"event", 2, "prices", body_of(2)}});
  EXPECT_EQ(prices.next()->get<int>(), 1);
  EXPECT_EQ(prices.next()->get<int>(), 2);
}

TEST_F(ClientTest, PacketsAreAcknowledgedWithoutTraffic) {
  meet();
  auto task = client.submit<int>("add", 1);
  answer(broker.next("submit"), 1);
  EXPECT_EQ(task.get(), 1);
  while (broker.peer_ack < 1) broker.next_packet();
  EXPECT_EQ(broker.in_seq, 1u) << "a lone header has no number of its own";
}

TEST_F(ClientTest, ATaskOfABrokerThatLeavesGoesToTheNextOne) {
  meet();
  auto task = client.submit<int>("add", 1);
  Json submit = broker.next("submit");
  broker.send({{"goaway", "restart"}, {"error", submit[1], "shutting_down", "later"}, {"ping", 1}});
  broker.next("pong");
  auto second = client.submit<int>("add", 2);
  EXPECT_TRUE(broker.silent_for(milliseconds(30))) << "nothing new goes to a broker that leaves";
  broker.send({{"bye"}});
  Json hello = broker.hello();
  EXPECT_FALSE(hello.contains("session")) << "bye ended it";
  broker.welcome({{"epoch", 78}});
  std::vector<Json> both{broker.next("submit"), broker.next("submit")};
  for (const Json& again : both) {
    const bool is_first = again[2] == submit[2];
    EXPECT_EQ(again.size() > 5 && again[5].value("resent", false), is_first);
    answer(again, is_first ? 1 : 2);
  }
  EXPECT_EQ(task.get(), 1);
  EXPECT_EQ(second.get(), 2);
}

TEST_F(ClientTest, AfterGoawayWhatRunsMayEndAndTheNextSessionIsWhereItSays) {
  ScriptedBroker other;
  meet();
  auto first = client.submit<int>("add", 1);
  auto second = client.submit<int>("add", 2);
  Json here = broker.next("submit");
  Json there = broker.next("submit");
  broker.send({{"goaway", "moved", {"nonsense://", 7, other.url()}}});
  broker.send({{"ping", 1}});
  broker.next("pong");
  answer(here, 1);
  EXPECT_EQ(first.get(), 1);
  broker.send({{"bye"}});
  EXPECT_FALSE(other.hello().contains("session")) << "another broker, another session";
  other.welcome({{"epoch", 78}});
  Json again = other.next("submit");
  EXPECT_EQ(again[2], there[2]) << "the same id";
  EXPECT_EQ(again[5], (Json{{"resent", true}}));
  other.send({{"goaway", "restart"}, {"bye"}});
  other.hello();
  other.welcome({{"epoch", 79}});
  again = other.next("submit");
  other.send({{"result", again[1], 1, body_of(2)}});
  EXPECT_EQ(second.get(), 2) << "who names nobody is meant itself";
}

TEST_F(ClientTest, WhenABrokerHasNamedAnotherTheEndOfItsConnectionIsAGoodbye) {
  ScriptedBroker other;
  meet();
  auto first = client.submit<int>("add", 1);
  auto second = client.submit<int>("add", 2);
  Json here = broker.next("submit");
  broker.next("submit");
  broker.send({{"goaway", "moved", {other.url()}}, {"result", here[1], 1, body_of(1)}});
  EXPECT_EQ(first.get(), 1);
  broker.stop();
  EXPECT_FALSE(other.hello().contains("session"));
  other.welcome({{"epoch", 78}});
  Json again = other.next("submit");
  EXPECT_EQ(again[2]["hex"], second.id().hex());
  other.send({{"result", again[1], 1, body_of(2)}});
  EXPECT_EQ(second.get(), 2);
}

TEST_F(ClientTest, WithoutAnAnswerElsewhereItComesBack) {
  meet();
  auto task = client.submit<int>("add", 1, {.timeout = seconds(30)});
  broker.next("submit");
  testing::internal::CaptureStderr();
  broker.send({{"goaway", "moved", {broker.url() + "-nobody"}}, {"bye"}});
  meet({{"epoch", 78}});
  answer(broker.next("submit"), 1);
  EXPECT_EQ(task.get(), 1);
  EXPECT_NE(testing::internal::GetCapturedStderr().find(broker.url() + "-nobody"),
            std::string::npos);
}

TEST_F(ClientTest, ShuttingDownWithoutAGoodbyeIsTriedAgainAndEndsWithItsTime) {
  meet();
  auto task = client.submit<int>("add", 1, {.timeout = milliseconds(1300)});
  Json submit = broker.next("submit");
  broker.send({{"error", submit[1], "shutting_down", "later"}});
  Json again = broker.next("submit");
  EXPECT_EQ(again[2], submit[2]);
  broker.send({{"error", again[1], "shutting_down", "later"}});
  EXPECT_THROW(task.get(), Timeout);
}

TEST_F(ClientTest, RubbishIsAnsweredAndSurvived) {
  meet();
  broker.send_bytes("\xC1rubbish");
  EXPECT_EQ(broker.next("error")[2], "malformed");
  // With a header in front it counts as received: what follows is no gap.
  Json packet{{"records", {{"header", broker.session, ++broker.out_seq, 0}}},
              {"frames", Json::array()}};
  broker.send_bytes(proto::packet_from_json(packet).records + "\xC1");
  EXPECT_EQ(broker.next("error")[2], "malformed");
  auto task = client.submit<int>("add", 1);
  answer(broker.next("submit"), 1);
  EXPECT_EQ(task.get(), 1);
}

TEST_F(ClientTest, WhatWasAskedInAPacketThatTheBrokerCouldNotReadFails) {
  meet();
  auto fine = client.submit<int>("add", 1);
  Json submit = broker.next("submit");
  const auto malformed = [&](std::uint64_t packet) {
    return Json{"error", 0, "malformed", "cannot be read", {{"record", 1}, {"packet", packet}}};
  };
  auto bad = client.submit<int>("add", 2);
  broker.next("submit");
  const auto number = broker.in_seq;
  auto subscribed = std::async(std::launch::async, [&] { client.subscribe("prices"); });
  broker.next("subscribe");
  EXPECT_EQ(broker.in_seq, number + 1);
  testing::internal::CaptureStderr();
  broker.send({malformed(number)});
  broker.send({malformed(number + 1), {"ping", 1}});
  try {
    bad.get();
    FAIL();
  } catch (const Malformed& e) {
    EXPECT_STREQ(e.what(), "cannot be read");
    EXPECT_EQ(e.task(), bad.id());
  }
  EXPECT_THROW(subscribed.get(), Malformed);
  broker.next("pong");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << "who asked was told";
  EXPECT_FALSE(fine.ready());
  answer(submit, 1);
  EXPECT_EQ(fine.get(), 1);
  testing::internal::CaptureStderr();
  broker.send({malformed(99), {"ping", 2}});
  broker.next("pong");
  EXPECT_NE(testing::internal::GetCapturedStderr().find("malformed"), std::string::npos)
      << "nobody else was there to be told";
}

TEST_F(ClientTest, APromiseThatItDoesNotKnowIsRefused) {
  meet();
  broker.send({{77, 5}});
  Json error = broker.next("error");
  EXPECT_EQ(error[1], 5);
  EXPECT_EQ(error[2], "unsupported");
  EXPECT_EQ(error[4]["kind"], 77);
  broker.send({{200, "x"}, {"ping", 9}});
  EXPECT_EQ(broker.next("pong")[1], 9) << "kinds of 128 and more are let pass";
}

TEST_F(ClientTest, AResultWithAPromiseThatItDoesNotKnowFailsItsTask) {
  meet();
  auto task = client.submit<int>("add", 1);
  broker.send({{"result", broker.next("submit")[1], 1, body_of(1), {{"99", true}}}});
  Json error = broker.next("error");
  EXPECT_EQ(error[2], "unsupported");
  EXPECT_EQ(error[4]["attribute"], 99);
  try {
    task.get();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), "unsupported");
    EXPECT_EQ(e.task(), task.id());
  }
}

TEST_F(ClientTest, APublishThatMayHaveHappenedIsNotRepeated) {
  meet();
  std::promise<bool> published;
  client.publish("prices", 1, [&](const Ending& e) { published.set_value(e.ok()); });
  broker.next("publish");
  broker.restart();
  meet({{"epoch", 78}});
  EXPECT_FALSE(published.get_future().get());
  EXPECT_TRUE(broker.silent_for(milliseconds(20)));
}

TEST_F(ClientTest, ARefusalIsSaidToWhoeverWaits) {
  auto task = client.submit<int>("add", 1);
  broker.hello();
  broker.send_bare({{"error", 0, "refused", "not you"}});
  EXPECT_THROW(task.get(), Refused);
}

TEST(ClientAlone, CloseDeliversWhatWasPosted) {
  ScriptedBroker broker;
  std::thread side([&] {
    broker.hello();
    broker.welcome();
    for (int i = 0; i < 10; ++i) broker.send({{"accepted", broker.next("submit")[1]}});
    broker.next("bye");
  });
  int accepted = 0;
  Client patient(broker.url());
  for (int i = 0; i < 10; ++i) patient.post("add", i, [&](const Ending& e) { accepted += e.ok(); });
  testing::internal::CaptureStderr();
  patient.close();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(accepted, 10);
  side.join();
}

TEST_F(ClientTest, CloseSaysWhatIsLeft) {
  meet();
  auto task = client.submit<int>("add", 1);
  broker.next("submit");
  broker.acknowledge();
  testing::internal::CaptureStderr();
  client.close();
  EXPECT_NE(testing::internal::GetCapturedStderr().find("0 tasks unsent and 1 unfinished"),
            std::string::npos);
  EXPECT_THROW(task.get(), Closed);
  EXPECT_THROW(client.submit("add", 1), Closed);
}

TEST(ClientAlone, CloseIsBoundedWithoutABroker) {
  testing::internal::CaptureStderr();
  {
    Client client({.url = "ipc:///tmp/tusk-test-nobody", .close_timeout = milliseconds(50)});
    client.submit("add", 1);
  }
  EXPECT_NE(testing::internal::GetCapturedStderr().find("1 tasks unsent and 0 unfinished"),
            std::string::npos);
}

TEST_F(ClientTest, InAForkedChildItSaysSo) {
  const pid_t child = fork();
  if (child == 0) {
    int status = 1;
    try {
      client.submit("add", 1);
    } catch (const Error& e) {
      status = e.code() == "forked" ? 0 : 2;
    }
    _exit(status);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  meet();
  auto task = client.submit<int>("add", 1);
  answer(broker.next("submit"), 1);
  EXPECT_EQ(task.get(), 1) << "the parent's goes on";
}

TEST(TaskIds, AreUniqueAcrossAFork) {
  TaskId::make();  // the generator has been seeded before
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const TaskId id = TaskId::make();
    [[maybe_unused]] auto n = write(ends[1], id.bytes.data(), id.bytes.size());
    _exit(0);
  }
  TaskId theirs;
  ASSERT_EQ(read(ends[0], theirs.bytes.data(), 16), 16);
  waitpid(child, nullptr, 0);
  const TaskId ours = TaskId::make();
  EXPECT_NE(std::memcmp(ours.bytes.data() + 9, theirs.bytes.data() + 9, 7), 0);
}

}  // namespace
}  // namespace tusk
