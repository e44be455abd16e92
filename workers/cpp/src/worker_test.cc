// What a worker does in every corner of SPEC.md, against a broker that is told what to do.
#include "tusk/worker.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <future>
#include <set>
#include <thread>

#include "proto/lz4.h"
#include "scripted_broker.h"

namespace tusk {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::body_of;
using test::Json;
using test::ScriptedBroker;
using test::value_of;

struct Add {
  int a = 0, b = 0;
  TUSK_FIELDS(a, b);
};

// A door that a handler waits at until the test opens it.
struct Door {
  std::promise<void> opened;
  std::shared_future<void> open = opened.get_future().share();
  std::atomic<int> waiting{0};
  void wait() {
    ++waiting;
    open.wait();
  }
};

std::string hex_id(unsigned n) {
  char text[33];
  std::snprintf(text, sizeof text, "018f3c2a7b1e70008000%012x", n);
  return text;
}

Json task(std::uint64_t handle, const char* type, const Json& body, unsigned attempt = 1,
          const Json& attributes = nullptr, const char* kind = "task") {
  Json record{kind, handle, {{"hex", hex_id(static_cast<unsigned>(handle))}}, type, attempt, body};
  if (!attributes.is_null()) record.push_back(attributes);
  return record;
}
Json item(std::uint64_t handle, const char* handler, const Json& body) {
  return task(handle, handler, body, 1, nullptr, "item");
}

struct WorkerTest : testing::Test {
  ScriptedBroker broker;
  std::unique_ptr<Worker> worker;
  std::thread thread;
  std::promise<void> ended;
  std::future<void> end = ended.get_future();

  void make(unsigned slots = 8, unsigned threads = 2, milliseconds stop = milliseconds(200)) {
    worker = std::make_unique<Worker>(WorkerOptions{.url = broker.url(),
                                                    .slots = slots,
                                                    .threads = threads,
                                                    .stop_timeout = stop});
    worker->task("add", [](const Add& in) { return in.a + in.b; });
  }
  void start() {
    thread = std::thread([this] {
      try {
        worker->run();
        ended.set_value();
      } catch (...) {
        ended.set_exception(std::current_exception());
      }
    });
  }
  void meet(Json welcome = Json::object()) {
    broker.hello();
    broker.welcome(std::move(welcome));
  }
  void TearDown() override {
    if (worker) worker->stop();
    if (thread.joinable()) thread.join();
  }
};

const Json kAdd = body_of(map("a", 1, "b", 2));

TEST_F(WorkerTest, SaysWhatItRunsAndAnswers) {
  make(16);
  worker->stage("clean", [](int i) { return i; });
  start();
  Json hello = broker.hello();
  EXPECT_EQ(hello["role"], "worker");
  EXPECT_EQ(hello["language"], "cpp");
  EXPECT_EQ(hello["types"], Json({"add"}));
  EXPECT_EQ(hello["handlers"], Json({"clean"}));
  EXPECT_EQ(hello["slots"], 16);
  EXPECT_EQ(hello["claims"], Json::array());
  EXPECT_EQ(hello["capabilities"], Json({"lookahead"}));
  broker.welcome();
  broker.send({task(7, "add", kAdd)});
  Json result = broker.next("result");
  EXPECT_EQ(result[1], 7);
  EXPECT_EQ(result[2], 1);
  EXPECT_EQ(value_of(result[3]), Value(3));
  EXPECT_EQ(result.size(), 4u);
}

TEST_F(WorkerTest, HandlersTakeAndReturnWhatTheyLike) {
  make();
  worker->task("any", [](const Value& in, Context& context) {
    return map("in", in, "type", context.type(), "attempt", context.attempt(), "id",
               context.id().hex());
  });
  worker->task("nothing", [](std::optional<int>) {});
  worker->task("optional", [](int in) { return in ? std::optional(in) : std::nullopt; });
  start();
  meet();
  broker.send({task(1, "any", body_of("x"), 3)});
  Value any = value_of(broker.next("result")[3]);
  EXPECT_EQ(any["in"], Value("x"));
  EXPECT_EQ(any["type"], Value("any"));
  EXPECT_EQ(any["attempt"], Value(3));
  EXPECT_EQ(any["id"], Value(hex_id(1)));
  broker.send({task(2, "nothing", nullptr)});
  EXPECT_EQ(value_of(broker.next("result")[3]), Value());
  broker.send({task(3, "optional", body_of(0))});
  EXPECT_EQ(value_of(broker.next("result")[3]), Value()) << "a task's empty optional is null";
}

struct Gone : std::runtime_error {
  using std::runtime_error::runtime_error;
};

TEST_F(WorkerTest, WhatIsThrownIsAFailedRun) {
  make();
  worker->task("throw", [](int how) -> int {
    switch (how) {
      case 0:
        throw std::out_of_range("too far");
      case 1:
        throw NoRetry("never");
      case 2:
        throw Gone("it\xFF");
      case 3:
        throw 42;
      default:
        throw std::runtime_error(std::string(100'000, 'x'));
    }
  });
  start();
  meet();
  auto run = [&](int how) {
    broker.send({task(100 + static_cast<unsigned>(how), "throw", body_of(how))});
    Json result = broker.next("result");
    EXPECT_EQ(result[2], 2);
    return result[4];
  };
  Json a = run(0);
  EXPECT_EQ(a["error"]["type"], "std::out_of_range");
  EXPECT_EQ(a["error"]["message"], "too far");
  EXPECT_EQ(a["error"]["language"], "cpp");
  EXPECT_FALSE(a.contains("no_retry"));
  EXPECT_EQ(run(1)["no_retry"], true);
  EXPECT_EQ(run(2)["error"]["message"], "it?") << "text on the wire is UTF-8";
  EXPECT_EQ(run(3)["error"]["type"], "int");
  EXPECT_EQ(run(4)["error"]["message"].get<std::string>().size(), 16u << 10);
}

TEST_F(WorkerTest, ABodyThatCannotBeReadFailsForGoodAndTheWorkerGoesOn) {
  make();
  start();
  meet({{"limits", {{"body", 1 << 20}}}});
  auto refused = [&](const Json& body, const Json& attributes, std::vector<std::string> frames) {
    broker.send({task(1, "add", body, 1, attributes)}, frames);
    Json result = broker.next("result");
    EXPECT_EQ(result[2], 2);
    EXPECT_EQ(result[4].value("no_retry", false), true);
    return result[4]["error"]["message"].get<std::string>();
  };
  EXPECT_NE(refused({{"hex", "c1"}}, nullptr, {}).find("not msgpack"), std::string::npos);
  EXPECT_NE(refused({{"hex", "82a16101a16101"}}, nullptr, {}).find("twice"), std::string::npos);
  EXPECT_NE(refused(body_of("text"), nullptr, {}).find("expected a map"), std::string::npos);
  EXPECT_NE(refused(body_of(map("a", 1)), nullptr, {}).find("\"b\" is missing"), std::string::npos);
  EXPECT_NE(refused(kAdd, {{"codec", 1}}, {}).find("codec 1"), std::string::npos);
  EXPECT_NE(refused(kAdd, {{"compression", 1}}, {}).find("LZ4"), std::string::npos);
  EXPECT_NE(refused(1, {{"compression", 1}}, {proto::lz4_compress(std::string(8 << 20, '\0'))})
                .find("LZ4"),
            std::string::npos);
  broker.send({task(9, "add", kAdd)});
  EXPECT_EQ(broker.next("result")[2], 1);
}

TEST_F(WorkerTest, AResultThatCannotBeWrittenFailsAndSaysWhy) {
  make();
  worker->task("bad", [](int) { return std::string("\xFF"); });
  worker->task("big", [](int) { return std::string(2000, 'x'); });
  start();
  meet({{"limits", {{"body", 1000}}}});
  broker.send({task(1, "bad", body_of(1))});
  EXPECT_NE(broker.next("result")[4]["error"]["message"].get<std::string>().find("UTF-8"),
            std::string::npos);
  broker.send({task(2, "big", body_of(1))});
  Json error = broker.next("result")[4]["error"];
  EXPECT_EQ(error["type"], "tusk::TooLarge");
  EXPECT_NE(error["message"].get<std::string>().find("1000"), std::string::npos);
}

TEST_F(WorkerTest, LargeBodiesTravelAsFramesAndCompressed) {
  make();
  worker->task("echo", [](const std::string& in) { return in; });
  start();
  meet({{"compression", "lz4"}, {"compression_threshold", 50'000}});
  const std::string text(20'000, 'x'), longer(100'000, 'x');
  broker.send({task(1, "echo", 1)}, {to_body(text)});
  EXPECT_EQ(broker.next("result")[3], 1);
  EXPECT_EQ(from_body<std::string>(broker.last_packet[1]), text);
  broker.send({task(2, "echo", 1, 1, {{"compression", 1}})},
              {proto::lz4_compress(to_body(longer))});
  Json result = broker.next("result");
  EXPECT_EQ(result[4], (Json{{"compression", 1}}));
  const std::string frame = *proto::hex_decode(result[3]["hex"].get<std::string>());
  EXPECT_EQ(from_body<std::string>(*proto::lz4_decompress(frame, 1 << 20)), longer);
}

TEST_F(WorkerTest, ManyTasksOfAPacketAreEachAnsweredOnceInFewPackets) {
  make(1000);
  start();
  meet();
  std::set<std::uint64_t> answered;
  std::size_t packets = 0;
  for (int round = 0; round < 5; ++round) {
    std::vector<Json> tasks;
    for (unsigned i = 0; i < 1000; ++i) {
      tasks.push_back(task(1 + i + 1000u * static_cast<unsigned>(round), "add", kAdd));
    }
    broker.send(tasks);
    std::size_t results = 0;
    while (results < 1000) {
      Json packet = broker.next_packet();
      ++packets;
      for (const Json& record : packet["records"]) {
        if (record[0] != "result") continue;
        ++results;
        EXPECT_TRUE(answered.insert(record[1].get<std::uint64_t>()).second);
        EXPECT_EQ(record[2], 1);
      }
    }
  }
  EXPECT_EQ(answered.size(), 5000u);
  EXPECT_LT(packets, 2500u) << "results travel together";
}

TEST_F(WorkerTest, AResultDoesNotWaitForALongRunBehindIt) {
  Door door;
  make(8, 1);
  worker->task("wait", [&](int) { door.wait(); });
  start();
  meet();
  broker.send({task(1, "add", kAdd), task(2, "wait", body_of(0))});
  EXPECT_EQ(broker.next("result")[1], 1);
  door.opened.set_value();
  EXPECT_EQ(broker.next("result")[1], 2);
}

TEST_F(WorkerTest, PingIsAnsweredAndNoMoreThanThreadsRunMeanwhile) {
  Door door;
  make(8, 2);
  worker->task("wait", [&](int) { door.wait(); });
  start();
  meet();
  broker.send({task(1, "wait", body_of(0)), task(2, "wait", body_of(0)),
               task(3, "wait", body_of(0))});
  while (door.waiting < 2) std::this_thread::yield();
  broker.send({{"ping", -7}});
  EXPECT_EQ(broker.next("pong")[1], -7);
  EXPECT_EQ(door.waiting, 2);
  door.opened.set_value();
  for (int i = 0; i < 3; ++i) broker.next("result");
}

TEST_F(WorkerTest, RecallGivesBackWhatHasNotStarted) {
  Door door;
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
  Door door;
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
  Door door;
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
  Door door;
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
                   {{{{"hex", hex_id(1)}}, 11}, {{{"hex", hex_id(2)}}, 12},
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

TEST_F(WorkerTest, StagesDropPassAndFailItems) {
  make();
  worker->stage("odd", [](int i) -> std::optional<int> {
    if (i < 0) throw std::runtime_error("negative");
    if (i % 2 == 0) return drop;
    return 10 * i;
  });
  worker->stage("sink", [](int) {});
  start();
  meet();
  broker.send({item(1, "odd", body_of(3))});
  EXPECT_EQ(broker.next("result"), (Json{"result", 1, 1, body_of(30)}));
  broker.send({item(2, "odd", body_of(4))});
  EXPECT_EQ(broker.next("result"), (Json{"result", 2, 1}));
  broker.send({item(3, "odd", body_of(-1))});
  EXPECT_EQ(broker.next("result")[2], 2);
  broker.send({item(4, "sink", body_of(1))});
  EXPECT_EQ(broker.next("result"), (Json{"result", 4, 1}));
  broker.send({task(5, "odd", body_of(1))});
  EXPECT_EQ(broker.next("result")[4]["error"]["type"], "tusk::UnknownType")
      << "a stage is no task";
}

TEST_F(WorkerTest, BatchesAreGatheredByNumberAndByTime) {
  std::mutex mutex;
  std::vector<std::size_t> sizes;
  make(100);
  worker->stage("double", Batch{.items = 3, .time = milliseconds(20)},
                [&](const std::vector<int>& in) {
                  std::lock_guard lock(mutex);
                  sizes.push_back(in.size());
                  std::vector<std::optional<int>> out;
                  for (int i : in) out.push_back(i == 0 ? std::nullopt : std::optional(2 * i));
                  return out;
                });
  start();
  meet();
  broker.send({item(1, "double", body_of(1)), item(2, "double", body_of(0)),
               item(3, "double", body_of(3)), item(4, "double", body_of(4)),
               item(5, "double", body_of("no number"))});
  std::map<int, Json> results;
  for (int i = 0; i < 5; ++i) {
    Json result = broker.next("result");
    results[result[1]] = result;
  }
  EXPECT_EQ(value_of(results[1][3]), Value(2));
  EXPECT_EQ(results[2], (Json{"result", 2, 1}));
  EXPECT_EQ(value_of(results[3][3]), Value(6));
  EXPECT_EQ(value_of(results[4][3]), Value(8)) << "its neighbour's body is no matter";
  EXPECT_EQ(results[5][2], 2);
  EXPECT_EQ(results[5][4]["no_retry"], true);
  std::lock_guard lock(mutex);
  EXPECT_EQ(sizes, (std::vector<std::size_t>{3, 1}));
}

TEST_F(WorkerTest, ABatchThatThrowsOrMiscountsFailsAsAWhole) {
  make(100);
  worker->stage("throw", Batch{.items = 2}, [](const std::vector<int>&) -> std::vector<int> {
    throw std::runtime_error("boom");
  });
  worker->stage("few", Batch{.items = 2}, [](const std::vector<int>&) {
    return std::vector<int>{1};
  });
  start();
  meet();
  broker.send({item(1, "throw", body_of(1)), item(2, "throw", body_of(1)),
               item(3, "few", body_of(1)), item(4, "few", body_of(1))});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(broker.next("result")[2], 2);
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

TEST_F(WorkerTest, AnUnknownTypeIsAFailedRun) {
  make();
  start();
  meet();
  broker.send({task(1, "sub", kAdd)});
  EXPECT_EQ(broker.next("result")[4]["error"]["type"], "tusk::UnknownType");
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

TEST(Worker, RefusesAHandlerThatIsThereAlready) {
  Worker worker;
  worker.task("add", [](int i) { return i; });
  EXPECT_THROW(worker.task("add", [](int i) { return i; }), std::invalid_argument);
  EXPECT_THROW(worker.task("", [](int i) { return i; }), std::invalid_argument);
  worker.stage("add", [](int i) { return i; });  // stages have names of their own
}

}  // namespace
}  // namespace tusk
