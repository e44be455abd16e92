// Runs that are taken back, cancelled and claimed, brokers that restart, workers that stop.
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <set>

#include "worker_fixture.h"

namespace tusk {
namespace {

TEST_F(WorkerTest, RecallGivesBackWhatHasNotStarted) {
  make(8, 1);
  worker->task("wait", [&](int) { door.wait(); });
  start();
  meet();
  broker.send({task(1, "wait", body_of(0)), task(2, "add", kAdd), task(3, "add", kAdd)});
  while (door.waiting < 1) std::this_thread::yield();
  broker.send({{"recall", 5, {1, 2, 99}}, {"recall", 6, {1}}});
  EXPECT_EQ(broker.next("returned"), (Json{"returned", 5, {2}}));
  EXPECT_EQ(broker.next("returned"), (Json{"returned", 6, Json::array()}));
  door.opened.set_value();
  std::set<int> results{broker.next("result")[1], broker.next("result")[1]};
  EXPECT_EQ(results, (std::set<int>{1, 3})) << "one answer per handle";
}

TEST_F(WorkerTest, CancelStopsARunThatLooksAndOneThatHasNotStarted) {
  std::atomic<bool> started = false;
  make(8, 1);
  worker->task("loop", [&](int, Context& context) -> int {
    started = true;
    while (!context.cancelled()) std::this_thread::yield();
    throw Cancelled();
  });
  start();
  meet();
  broker.send({task(1, "loop", body_of(0)), task(2, "add", kAdd)});
  while (!started) std::this_thread::yield();
  broker.send({{"cancel", 2, {{"hex", hex_id(2)}}}});
  EXPECT_EQ(broker.next("result"), (Json{"result", 2, 4})) << "it had not started";
  broker.send({{"cancel", 1, {{"hex", hex_id(1)}}}, {"cancel", 77, {{"hex", hex_id(77)}}}});
  EXPECT_EQ(broker.next("result"), (Json{"result", 1, 4}));
}

TEST_F(WorkerTest, AResultInSpiteOfACancelCounts) {
  make(8, 1);
  worker->task("wait", [&](int) {
    door.wait();
    return 5;
  });
  start();
  meet();
  broker.send({task(1, "wait", body_of(0))});
  while (door.waiting < 1) std::this_thread::yield();
  broker.send({{"cancel", 1, {{"hex", hex_id(1)}}}, {"ping", 1}});
  broker.next("pong");
  door.opened.set_value();
  EXPECT_EQ(broker.next("result")[2], 1);
}

TEST_F(WorkerTest, DrainEndsWhatRunsAndGivesBackTheRest) {
  make(8, 1, seconds(10));
  worker->task("wait", [&](int) { door.wait(); });
  start();
  meet();
  broker.send({task(1, "wait", body_of(0)), task(2, "add", kAdd), task(3, "add", kAdd)});
  while (door.waiting < 1) std::this_thread::yield();
  broker.send({{"drain", "reload"}});
  EXPECT_EQ(broker.next("slots")[1], 0);
  Json returned = broker.next("returned");
  EXPECT_EQ(returned[1], 0);
  std::set<int> handles;
  for (const Json& handle : returned[2]) handles.insert(handle.get<int>());
  EXPECT_EQ(handles, (std::set<int>{2, 3}));
  broker.send({task(4, "add", kAdd)});
  EXPECT_EQ(broker.next("returned"), (Json{"returned", 0, {4}})) << "nothing new is started";
  door.opened.set_value();
  EXPECT_EQ(broker.next("result")[1], 1);
  broker.acknowledge();
  broker.next("bye");
  end.get();
}

// A result that nobody acknowledged would make another worker run the task again.
TEST_F(WorkerTest, ASlowBrokerIsGivenTimeToAcknowledgeTheLastResults) {
  make(8, 1, seconds(10));
  start();
  meet();
  broker.acknowledges = false;
  broker.send({task(1, "add", kAdd)});
  broker.next("result");
  broker.send({{"drain", "reload"}});
  broker.next("slots");
  EXPECT_TRUE(broker.silent_for(milliseconds(1500)));
  broker.acknowledge();
  broker.next("bye");
  end.get();
}

TEST_F(WorkerTest, SigtermIsADrain) {
  make();
  start();
  meet();
  broker.send({task(1, "add", kAdd)});
  broker.next("result");
  broker.acknowledge();
  kill(getpid(), SIGTERM);
  EXPECT_EQ(broker.next("slots")[1], 0);
  broker.acknowledge();
  broker.next("bye");
  end.get();
}

TEST_F(WorkerTest, AHandlerThatDoesNotEndIsLeftBehind) {
  auto door = std::make_shared<Door>();
  make(8, 1, milliseconds(50));
  worker->task("wait", [door](int) { door->wait(); });
  start();
  meet();
  broker.send({task(1, "wait", body_of(0))});
  while (door->waiting < 1) std::this_thread::yield();
  worker->stop();
  broker.next("slots");
  broker.acknowledge();
  broker.next("bye");
  end.get();
  door->opened.set_value();  // its thread may go now; it has all that it needs
}

TEST_F(WorkerTest, ANewSessionContinuesItsRunsUnderNewHandles) {
  make(8, 1);
  worker->task("wait", [&](int in) {
    door.wait();
    return in;
  });
  start();
  meet();
  broker.acknowledges = false;
  broker.send({task(1, "add", kAdd), task(2, "wait", body_of(20)), task(3, "add", kAdd, 2)});
  broker.next("result");  // of 1, never acknowledged
  while (door.waiting < 1) std::this_thread::yield();
  broker.restart();
  Json hello = broker.hello();
  std::set<std::string> claims;
  for (const Json& claim : hello["claims"]) {
    claims.insert(claim[0]["hex"].get<std::string>() + "/" + claim[1].dump() + "/" +
                  claim[2].get<std::string>() + "/" + claim[3].dump());
  }
  EXPECT_EQ(claims, (std::set<std::string>{hex_id(1) + "/1/add/false", hex_id(2) + "/1/wait/false",
                                           hex_id(3) + "/2/add/false"}));
  broker.welcome({{"claims",
                   {{{{"hex", hex_id(1)}}, 11},
                    {{{"hex", hex_id(2)}}, 12},
                    {{{"hex", hex_id(3)}}, nullptr}}}});
  Json result = broker.next("result");
  EXPECT_EQ(result[1], 11) << "the answer that was not acknowledged";
  EXPECT_EQ(value_of(result[3]), Value(3));
  door.opened.set_value();
  result = broker.next("result");
  EXPECT_EQ(result[1], 12);
  EXPECT_EQ(value_of(result[3]), Value(20));
  EXPECT_TRUE(broker.silent_for(milliseconds(30))) << "3 was dropped";
  broker.send({task(3, "add", kAdd)});
  EXPECT_EQ(broker.next("result")[1], 3) << "its handle may be used again";
}

TEST_F(WorkerTest, AResumedSessionGetsItsResultsAgain) {
  make();
  start();
  meet();
  broker.acknowledges = false;
  broker.send({task(1, "add", kAdd)});
  broker.next("result");
  const auto session = broker.session;
  const std::string bytes = broker.last_packet[0];
  broker.restart();
  Json hello = broker.hello();
  EXPECT_EQ(hello["session"], session);
  EXPECT_EQ(hello["ack"], 1);
  broker.welcome({{"session", session}, {"resumed", true}, {"ack", 0}});
  broker.next("result");
  EXPECT_EQ(broker.last_packet[0], bytes);
}

TEST_F(WorkerTest, ALongRunAfterManyShortOnesKeepsNoOtherWaiting) {
  make(1000, 2);
  worker->task("wait", [&](int in) {
    door.wait();
    return in;
  });
  start();
  meet();
  for (std::uint64_t packet = 0; packet < 20; ++packet) {  // so that no thread is woken for these
    std::vector<Json> runs;
    for (std::uint64_t i = 1; i <= 20; ++i) runs.push_back(task(100 * packet + i, "add", kAdd));
    broker.send(runs);
    for (std::size_t i = 0; i < runs.size(); ++i) broker.next("result");
  }
  broker.send({task(9001, "wait", body_of(0)), task(9002, "add", kAdd)});
  EXPECT_EQ(broker.next("result")[1], 9002);
  broker.send({task(9003, "add", kAdd)});
  EXPECT_EQ(broker.next("result")[1], 9003);
  door.opened.set_value();
  EXPECT_EQ(broker.next("result")[1], 9001);
  broker.acknowledge();
}

TEST_F(WorkerTest, ResultsInAPacketThatTheBrokerCouldNotReadFail) {
  make();
  start();
  meet();
  const auto refuse = [&] {  // acknowledged and refused in one packet, as brokers do
    const Json details{{"record", 1}, {"packet", broker.in_seq}};
    broker.send({{"error", 0, "malformed", "no such byte", details}, {"ping", 1}});
  };
  broker.send({task(1, "add", kAdd)});
  EXPECT_EQ(broker.next("result")[2], 1);
  refuse();
  broker.next("pong");
  const Json failed = broker.next("result");
  EXPECT_EQ(failed[1], 1);
  EXPECT_EQ(failed[2], 2);
  EXPECT_EQ(failed[4]["error"]["type"], "tusk::Malformed");
  EXPECT_EQ(failed[4]["error"]["message"],
            "the broker refused the packet with the result: no such byte");
  EXPECT_EQ(failed[4]["no_retry"], true);
  testing::internal::CaptureStderr();
  refuse();
  broker.next("pong");
  broker.send({task(2, "add", kAdd)});
  EXPECT_EQ(broker.next("result")[1], 2) << "such an answer is not answered again";
  EXPECT_NE(testing::internal::GetCapturedStderr().find("malformed"), std::string::npos);
  broker.acknowledge();
}

TEST_F(WorkerTest, GatheredItemsCanBeRecalledAndGivenBack) {
  make(100);
  worker->stage("slow", Batch{.items = 100, .time = std::chrono::hours(1)},
                [](const std::vector<int>& in) { return in; });
  start();
  meet();
  broker.send({item(1, "slow", body_of(1)), item(2, "slow", body_of(1))});
  broker.send({{"recall", 9, {1}}});
  EXPECT_EQ(broker.next("returned"), (Json{"returned", 9, {1}}));
  broker.send({{"drain"}});
  EXPECT_EQ(broker.next("returned"), (Json{"returned", 0, {2}}));
  broker.acknowledge();
  end.get();
}

TEST_F(WorkerTest, ARefusalEndsRunWithItsReason) {
  make();
  start();
  broker.hello();
  broker.send_bare({{"error", 0, "refused", "cpp may not run add"}});
  try {
    end.get();
    FAIL();
  } catch (const Refused& e) {
    EXPECT_STREQ(e.what(), "cpp may not run add");
  }
}

TEST_F(WorkerTest, WhenItsBrokerStaysAwayASupervisedWorkerEnds) {
  setenv("TUSK_SUPERVISED", "1", 1);
  setenv("TUSK_SLOTS", "5", 1);
  setenv("TUSK_POOL", "gpu", 1);
  setenv("TUSK_WORKER", "gpu-3", 1);
  make(8);
  for (const char* name : {"TUSK_SUPERVISED", "TUSK_SLOTS", "TUSK_POOL", "TUSK_WORKER"}) {
    unsetenv(name);
  }
  start();
  Json hello = broker.hello();
  EXPECT_EQ(hello["slots"], 5);
  EXPECT_EQ(hello["pool"], "gpu");
  EXPECT_EQ(hello["name"], "gpu-3");
  broker.welcome({{"adopt_grace", 50}});
  broker.send({{"ping", 1}});
  broker.next("pong");
  testing::internal::CaptureStderr();
  broker.stop();
  end.get();
  EXPECT_NE(testing::internal::GetCapturedStderr().find("this worker ends"), std::string::npos);
}

}  // namespace
}  // namespace tusk
