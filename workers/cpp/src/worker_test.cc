// What a worker makes of its tasks and items, against a broker that is told what to do.
#include "tusk/worker.h"

#include <map>
#include <mutex>
#include <set>

#include "proto/lz4.h"
#include "worker_fixture.h"

namespace tusk {
namespace {

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

TEST_F(WorkerTest, WhatIsThrownIsAAttempt) {
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
  EXPECT_NE(refused(kAdd, {{"codec", 1}}, {}).find("no JSON at byte"), std::string::npos);
  auto json = [](const std::string& text) { return Json{{"hex", proto::hex_encode(text)}}; };
  const Json in_json = {{"codec", 1}};
  EXPECT_NE(refused(json(R"({"a":1,"a":2})"), in_json, {}).find("twice"), std::string::npos);
  EXPECT_NE(refused(json(R"({"a":18446744073709551616})"), in_json, {}).find("beyond 64 bits"),
            std::string::npos);
  EXPECT_NE(refused(json(std::string(100, '[')), in_json, {}).find("64 deep"), std::string::npos);
  EXPECT_NE(refused(json("1 2"), in_json, {}).find("no JSON at byte"), std::string::npos);
  broker.send({task(2, "add", json(R"({"b": 2, "a": 1})"), 1, in_json)});
  EXPECT_EQ(broker.next("result")[3], body_of(3));
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
  make(8, 2);
  worker->task("wait", [&](int) { door.wait(); });
  start();
  meet();
  broker.send(
      {task(1, "wait", body_of(0)), task(2, "wait", body_of(0)), task(3, "wait", body_of(0))});
  while (door.waiting < 2) std::this_thread::yield();
  broker.send({{"ping", -7}});
  EXPECT_EQ(broker.next("pong")[1], -7);
  EXPECT_EQ(door.waiting, 2);
  door.opened.set_value();
  for (int i = 0; i < 3; ++i) broker.next("result");
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
  EXPECT_EQ(broker.next("result")[4]["error"]["type"], "tusk::UnknownType") << "a stage is no task";
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

TEST_F(WorkerTest, TasksComeInBatchesToo) {
  make(3, 1);
  worker->task("square", Batch{.items = 3, .time = std::chrono::hours(1)},
               [](const std::vector<int>& in) {
                 std::vector<Output<int>> out;
                 for (int n : in) {
                   if (n < 0) {
                     out.emplace_back(NoRetry("negative"));
                   } else {
                     out.emplace_back(n * n);
                   }
                 }
                 return out;
               });
  start();
  EXPECT_EQ(broker.hello()["types"].size(), 2u);
  broker.welcome();
  broker.send({task(1, "square", body_of(3)), task(2, "square", body_of(-1)),
               task(3, "square", body_of(4))});
  EXPECT_EQ(value_of(broker.next("result")[3]), Value(9));
  EXPECT_EQ(broker.next("result")[2], 2);
  EXPECT_EQ(value_of(broker.next("result")[3]), Value(16));
}

TEST_F(WorkerTest, ABatchThatCouldNeverBeFullIsAMistakeOfTheProgram) {
  make(4);
  const auto same = [](const std::vector<int>& in) { return in; };
  for (const auto& [batch, says] :
       {std::pair(Batch{.items = 0}, "has 0 items, and has to have from 1 to the worker's 4 slots"),
        {Batch{.items = 5}, "has 5 items, and has to have from 1 to the worker's 4 slots"},
        {Batch{.items = 1, .time = milliseconds(-1)}, "has a time of -1 ms, and has to have 0"}}) {
    for (const bool is_stage : {false, true}) {
      try {
        is_stage ? worker->stage("f", batch, same) : worker->task("f", batch, same);
        FAIL() << says;
      } catch (const std::invalid_argument& e) {
        EXPECT_NE(std::string(e.what()).find("the batch of \"f\" " + std::string(says)),
                  std::string::npos)
            << e.what();
      }
    }
  }
  worker->task("f", Batch{.items = 4, .time = milliseconds(0)}, same);
}

TEST_F(WorkerTest, AWorkerSaysWhatItHas) {
  setenv("TUSK_LABELS", R"({"gpu": 2, "region": "eu", "disk": "hdd"})", 1);
  worker = std::make_unique<Worker>(
      WorkerOptions{.url = broker.url(), .labels = map("disk", "ssd", "gb", 64)});
  unsetenv("TUSK_LABELS");
  worker->task("add", [](const Add& in) { return in.a + in.b; });
  start();
  EXPECT_EQ(broker.hello()["labels"],
            (Json{{"disk", "ssd"}, {"gb", 64}, {"gpu", 2}, {"region", "eu"}}));
  broker.welcome();
}

TEST(WorkerLabels, OutOfRangeTheyKeepAWorkerFromStarting) {
  const auto says = [](const Map& labels) -> std::string {
    try {
      Worker worker({.labels = labels});
      return "nothing";
    } catch (const Invalid& e) {
      return e.what();
    }
  };
  for (const auto& [text, expected] :
       {std::pair(R"({"gpu": 2)", "TUSK_LABELS is no JSON object"),
        {"null", "TUSK_LABELS is no JSON object"},
        {R"(["gpu"])", "TUSK_LABELS is no JSON object"},
        {"{} {}", "TUSK_LABELS is no JSON object"},
        {R"({"gpu": 1.5})", "TUSK_LABELS: \"gpu\" is 1.5, and has to be a text of 1 to 255 bytes"},
        {R"({"gpu": true})", "TUSK_LABELS: \"gpu\" is true, and has to be"},
        {R"({"gpu": -1})", "TUSK_LABELS: \"gpu\" is -1, and has to be"},
        {R"({"gpu": 1000000001})", "labels: \"gpu\" is 1000000001, and has to be"},
        {R"({"": "x"})", "labels has a name of 0 bytes"},
        {R"({"region": ""})", "labels: \"region\" is \"\", and has to be"}}) {
    setenv("TUSK_LABELS", text, 1);
    EXPECT_NE(says({}).find(expected), std::string::npos) << text << ": " << says({});
  }
  unsetenv("TUSK_LABELS");
  Map many;
  for (int n = 0; n < 33; ++n) many[std::to_string(n)] = "x";
  EXPECT_EQ(says(many), "labels has 33 entries, and may have 32");
  many.erase("0");
  EXPECT_EQ(says(many), "nothing");
}

TEST_F(WorkerTest, AHandlerSeesTheLabelsOfItsTask) {
  make();
  worker->task("labelled", [](const Value&, Context& context) { return context.labels(); });
  start();
  meet();
  broker.send({task(1, "labelled", body_of(0), 1, {{"labels", {{"customer", "acme"}}}})});
  EXPECT_EQ(value_of(broker.next("result")[3]), Value(map("customer", "acme")));
  broker.send({task(2, "labelled", body_of(0))});
  EXPECT_EQ(value_of(broker.next("result")[3]), Value(map()));
}

TEST_F(WorkerTest, AnItemThatRanBeforeDoesNotWaitForItsBatch) {
  std::mutex mutex;
  std::vector<std::size_t> sizes;
  make(100);
  worker->stage("list", Batch{.items = 100, .time = std::chrono::hours(1)},
                [&](const std::vector<int>& in) {
                  std::lock_guard lock(mutex);
                  sizes.push_back(in.size());
                  return in;
                });
  start();
  meet();
  broker.send({item(1, "list", body_of(1), 2)});
  EXPECT_EQ(broker.next("result")[1], 1);
  broker.send({item(2, "list", body_of(1)), {"ping", 1}});
  broker.next("pong");
  broker.send({item(3, "list", body_of(1), 3), item(4, "list", body_of(1))});
  for (int i = 0; i < 3; ++i) broker.next("result");
  std::lock_guard lock(mutex);
  EXPECT_EQ(sizes, (std::vector<std::size_t>{1, 3})) << "with what was gathered, at once";
}

TEST_F(WorkerTest, ABatchThatThrowsOrMiscountsFailsAsAWhole) {
  make(100);
  worker->stage("throw", Batch{.items = 2}, [](const std::vector<int>&) -> std::vector<int> {
    throw std::runtime_error("boom");
  });
  worker->stage("few", Batch{.items = 2},
                [](const std::vector<int>&) { return std::vector<int>{1}; });
  start();
  meet();
  broker.send({item(1, "throw", body_of(1)), item(2, "throw", body_of(1)),
               item(3, "few", body_of(1)), item(4, "few", body_of(1))});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(broker.next("result")[2], 2);
}

TEST_F(WorkerTest, WhatItCannotCarryOutGetsOneFailedResultAndNoErrorRecord) {
  make();
  start();
  meet();
  unsigned handle = 0;
  auto refused = [&](const char* type, const Json& attributes, const char* kind) {
    broker.send({task(++handle, type, kAdd, 1, attributes, kind)});
    Json result = broker.next("result");
    EXPECT_EQ(result[1], handle);
    EXPECT_EQ(result[2], 2);
    EXPECT_EQ(result[4].value("no_retry", false), true);
    return result[4]["error"]["message"].get<std::string>();
  };
  EXPECT_EQ(refused("sub", nullptr, "task"), "this worker has no such handler");
  EXPECT_EQ(refused("add", nullptr, "item"), "this worker has no such handler");
  EXPECT_EQ(refused("add", {{"999", 1}}, "task"), "attribute 999 is unknown here");
  EXPECT_EQ(refused("add", {{"999", 1}}, "item"), "attribute 999 is unknown here");
  EXPECT_EQ(refused("add", {{"codec", 9}}, "task"), "an attribute is out of its range: codec");
  refused(std::string(300, 'x').c_str(), nullptr, "task");
  broker.send({task(++handle, "add", kAdd)});
  EXPECT_EQ(broker.next("result")[2], 1);
  broker.send({{"ping", 1}});
  broker.next("pong");
  EXPECT_EQ(broker.skipped(), std::vector<Json>{}) << "an error record answers no task";
}

TEST_F(WorkerTest, NoSecondResultFollowsARefusedOne) {
  make();
  start();
  meet();
  broker.send({task(1, "add", kAdd), task(2, "add", kAdd)});
  broker.next("result");
  broker.next("result");
  testing::internal::CaptureStderr();
  broker.send({{"error", 2, "unknown_handle", "not yours"}, {"ping", 1}});
  broker.next("pong");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << "the broker counts those";
  testing::internal::CaptureStderr();
  broker.send({{"error", 1, "too_large", "over 10 bytes", {{"limit", "body"}}}, {"ping", 2}});
  broker.next("pong");
  EXPECT_NE(testing::internal::GetCapturedStderr().find("too_large for run 1: over 10 bytes"),
            std::string::npos);
  broker.send({task(3, "add", kAdd)});
  EXPECT_EQ(broker.next("result")[1], 3);
  EXPECT_EQ(broker.skipped(), std::vector<Json>{});
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
