// What runs say and ask while they go on, and those that are put off.
#include <map>

#include "worker_fixture.h"

namespace tusk {
namespace {

TEST_F(WorkerTest, WhatARunSaysComesInOrderAndBeforeItsResult) {
  make();
  worker->task("talk", [](int, Context& run) {
    run.heartbeat();
    run.progress(map("n", 1));
    run.log(LogLevel::kInfo, "half\xFF way");
    run.progress(nullptr);
    std::string longer;
    while (longer.size() <= 16 << 10) longer += "\u00e4";
    run.log(LogLevel::kError, longer);
    run.checkpoint(list(1, 2));
    run.pause_type(milliseconds(1500));
    run.progress(std::string(20'000, 'x'));
    return 7;
  });
  start();
  meet();
  broker.send({task(1, "talk", body_of(0))});
  EXPECT_EQ(broker.next("progress"), (Json{"progress", 1, nullptr})) << "a sign of life";
  EXPECT_EQ(broker.next("progress"), (Json{"progress", 1, body_of(map("n", 1))}));
  EXPECT_EQ(broker.next("log"), (Json{"log", 1, 2, "half? way"}));
  EXPECT_EQ(broker.next("progress"), (Json{"progress", 1, body_of(nullptr)}));
  const std::string line = broker.next("log")[3];
  EXPECT_LE(line.size(), 16u << 10);
  EXPECT_GT(line.size(), (16u << 10) - 3);
  EXPECT_TRUE(line.ends_with("\u00e4 ... [cut]"));
  EXPECT_EQ(broker.next("checkpoint"), (Json{"checkpoint", 1, body_of(list(1, 2))}));
  EXPECT_EQ(broker.next("pause"), (Json{"pause", 1, 1500}));
  EXPECT_EQ(broker.next("progress"), (Json{"progress", 1, 1})) << "in a frame of its own";
  EXPECT_EQ(value_of(broker.next("result")[3]), Value(7));
  EXPECT_EQ(broker.skipped(), std::vector<Json>{});
}

TEST_F(WorkerTest, WhatARunMayNotSayIsAnErrorThere) {
  make();
  worker->task("talk", [](int, Context& run) {
    std::vector<std::string> said;
    const auto attempt = [&](auto what) {
      try {
        what();
        said.push_back("taken");
      } catch (const Error& error) {
        said.push_back(error.code() + ": " + error.what());
      }
    };
    attempt([&] { run.progress(std::string("\xFF")); });
    attempt([&] { run.progress(std::string(2'000, 'x')); });
    attempt([&] { run.log(LogLevel{}, "x"); });
    attempt([&] { run.log(static_cast<LogLevel>(5), "x"); });
    attempt([&] { run.checkpoint(std::string("\xFF")); });
    attempt([&] { run.checkpoint(std::string(1'000, 'x')); });
    attempt([&] { run.pause_type(milliseconds(-1)); });
    attempt([&] { throw Defer(milliseconds::max()); });
    attempt([&] { run.set_cost(-1); });
    attempt([&] { run.set_cost(1'000'000'001); });
    return said;
  });
  start();
  meet({{"limits", {{"body", 2000}, {"checkpoint", 1000}}}});
  broker.send({task(1, "talk", body_of(0))});
  const auto said = from_body<std::vector<std::string>>(
      *proto::hex_decode(broker.next("result")[3].at("hex").get<std::string>()));
  const std::vector<std::string> want{
      "value: ",
      "too_large: the progress has 2003 bytes, the limit \"body\" is 2000",
      "invalid: a log level of 0 does not exist",
      "invalid: a log level of 5 does not exist",
      "value: ",
      "too_large: the checkpoint has 1003 bytes, the limit \"checkpoint\" is 1000",
      "invalid: the pause is -1 ms, and has to be from 0 ms to 100 years",
      "invalid: defer is ",
      "invalid: cost is -1 units, and has to be from 0 to 1,000,000,000",
      "invalid: cost is 1000000001 units"};
  ASSERT_EQ(said.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_EQ(said[i].find(want[i]), 0u) << said[i];
}

TEST_F(WorkerTest, ARunThatIsDeferredAnswersWithThat) {
  make(100);
  worker->task("later", [](int ms) -> int { throw Defer{milliseconds(ms)}; });
  worker->stage("later", Batch{.items = 2},
                [](const std::vector<int>&) -> std::vector<int> { throw Defer{seconds(1)}; });
  start();
  meet();
  broker.send({task(1, "later", body_of(1500)), task(2, "later", body_of(-1))});
  EXPECT_EQ(broker.next("defer"), (Json{"defer", 1, 1500}));
  EXPECT_EQ(broker.next("result")[4]["error"]["type"], "tusk::Invalid");
  broker.send({item(3, "later", body_of(1)), item(4, "later", body_of(1))});
  EXPECT_EQ(broker.next("defer"), (Json{"defer", 3, 1000}));
  EXPECT_EQ(broker.next("defer"), (Json{"defer", 4, 1000}));
  broker.send({task(1, "add", kAdd)});
  EXPECT_EQ(broker.next("result")[2], 1) << "nothing of it stays with the run's place";

  broker.acknowledges = false;
  broker.send({task(5, "later", body_of(70))});
  broker.next("defer");
  broker.restart();
  broker.hello();
  broker.welcome({{"claims", {{{{"hex", hex_id(5)}}, 105}}}});
  EXPECT_EQ(broker.next("defer"), (Json{"defer", 105, 70})) << "another session gets it again";
}

TEST_F(WorkerTest, AFailureMayNameItsType) {
  make();
  worker->task("fail", [](int) -> int { throw TypedError("NotFound", "no such thing"); });
  start();
  meet();
  broker.send({task(1, "fail", body_of(0))});
  const Json error = broker.next("result")[4]["error"];
  EXPECT_EQ(error["type"], "NotFound");
  EXPECT_EQ(error["message"], "no such thing");
}

TEST_F(WorkerTest, ARunKnowsItsTimeItsCheckpointAndWhyItIsToStop) {
  std::atomic<int> running = 0;
  make();
  worker->task("ask", [&](int, Context& run) -> Value {
    const auto left = run.time_left();
    const auto kept = run.last_checkpoint<int>();
    if (!run.cancel_reason().empty()) throw std::runtime_error("too soon");
    ++running;
    while (!run.cancelled()) std::this_thread::yield();
    return map("bounded", left.has_value(), "left", left.value_or(milliseconds(0)).count(), "kept",
               kept.value_or(-1), "reason", run.cancel_reason());
  });
  start();
  meet();
  std::uint64_t handle = 0;
  const auto ask = [&](const Json& attributes, const Json& cancel) {
    ++handle;
    broker.send({task(handle, "ask", body_of(0), 2, attributes)});
    while (running < static_cast<int>(handle)) std::this_thread::yield();
    broker.send({{"cancel", handle, {{"hex", hex_id(1)}}, cancel}});
    return value_of(broker.next("result")[3]);
  };
  const Value first =
      ask({{"time_left", 60'000}, {"checkpoint", body_of(42)}}, {{"reason", "run_timeout"}});
  EXPECT_EQ(first["bounded"], Value(true));
  EXPECT_GT(first["left"].as<int>(), 50'000);
  EXPECT_LE(first["left"].as<int>(), 60'000);
  EXPECT_EQ(first["kept"], Value(42));
  EXPECT_EQ(first["reason"], Value("run_timeout"));
  const Value plain = ask({{"trace", "00-x"}}, Json::object());
  EXPECT_EQ(plain["bounded"], Value(false));
  EXPECT_EQ(plain["kept"], Value(-1));
  EXPECT_EQ(plain["reason"], Value("cancelled"));
  EXPECT_EQ(ask({{"time_left", 0}}, {{"reason", "deadline"}})["left"], Value(0));
  EXPECT_EQ(ask(nullptr, {{"reason", "moved"}})["reason"], Value("moved"));
  EXPECT_EQ(ask(nullptr, {{"reason", "of a later version"}})["reason"], Value("cancelled"));
  broker.send({task(99, "ask", body_of(0), 2, {{"checkpoint", body_of("x")}})});
  EXPECT_EQ(broker.next("result")[4]["error"]["type"], "tusk::ValueError");
}

TEST_F(WorkerTest, WhatIsSaidWhileNoBrokerIsThereComesUnderTheNewHandle) {
  const auto second = std::make_shared<Door>();  // the handler's too
  make();
  worker->task("talk", [this, second](int, Context& run) {
    run.checkpoint("first");
    door.wait();
    run.checkpoint("second");
    run.progress(1);
    run.checkpoint("third");
    const std::string large(1 << 20, 'x');
    for (int i = 0; i < 40; ++i) run.progress(large);  // told at most once, and not without end
    second->wait();
    return 7;
  });
  start();
  meet();
  broker.send({task(1, "talk", body_of(0))});
  EXPECT_EQ(broker.next("checkpoint")[2], body_of("first"));
  broker.restart();
  broker.hello();
  broker.welcome({{"claims", {{{{"hex", hex_id(1)}}, 70}}}});
  EXPECT_EQ(broker.next("checkpoint"), (Json{"checkpoint", 70, body_of("first")}))
      << "the broker of the new session may not know it";
  broker.stop();
  door.opened.set_value();
  while (second->waiting == 0) std::this_thread::yield();
  broker.restart();
  broker.hello();
  broker.welcome({{"claims", {{{{"hex", hex_id(1)}}, 71}}}});
  second->opened.set_value();
  EXPECT_EQ(broker.next("result")[1], 71);
  std::map<std::string, int> kinds;
  for (const Json& record : broker.skipped()) {
    EXPECT_EQ(record[1], 71);
    if (record[0] == "checkpoint") {
      EXPECT_EQ(record[2], body_of("third"));
    }
    ++kinds[record[0]];
  }
  EXPECT_EQ(kinds["checkpoint"], 1) << "the last one";
  EXPECT_GT(kinds["progress"], 1);
  EXPECT_LE(kinds["progress"], 1 + 16);
}

TEST_F(WorkerTest, ARunThatIsAnothersNowSaysNothing) {
  make(8, 1);
  worker->task("talk", [&](int, Context& run) {
    door.wait();
    run.checkpoint("kept");
    run.log(LogLevel::kInfo, "gone");
    return 7;
  });
  start();
  meet();
  broker.send({task(1, "talk", body_of(0))});
  while (door.waiting == 0) std::this_thread::yield();
  broker.restart();
  broker.hello();
  broker.welcome({{"claims", {{{{"hex", hex_id(1)}}, nullptr}}}});
  door.opened.set_value();
  broker.send({task(2, "add", kAdd)});
  EXPECT_EQ(broker.next("result")[1], 2);
  broker.send({{"ping", 1}});
  broker.next("pong");
  EXPECT_EQ(broker.skipped(), std::vector<Json>{});
}

TEST_F(WorkerTest, WhatARunSaysOfItsCostGoesWithItsAnswer) {
  make(8, 1);
  worker->task("cost", [](const std::string& then, Context& run) {
    if (then == "nothing") return then;
    run.set_cost(3);
    run.set_cost(then == "large" ? 1'000'000'000 : 0);
    if (then == "fail") throw std::runtime_error(then);
    if (then == "defer") throw Defer(milliseconds(0));
    if (then == "stop") {
      run.heartbeat();
      while (!run.cancelled()) std::this_thread::yield();
      throw Cancelled();
    }
    return std::string(5000, 'x');
  });
  worker->stage("cost", Batch{.items = 2},
                [](const std::vector<int>& items, std::vector<Context>& runs) {
                  for (std::size_t i = 0; i < items.size(); ++i) runs[i].set_cost(items[i]);
                  return items;
                });
  start();
  meet({{"compression", "lz4"}});
  std::uint64_t handle = 0;
  const auto run = [&](const char* then) {
    broker.send({task(++handle, "cost", body_of(then))});
    return broker.next("result");
  };
  EXPECT_EQ(run("end")[4]["cost"], 0);
  EXPECT_EQ(run("large")[4], (Json{{"compression", 1}, {"cost", 1'000'000'000}}));
  const Json failed = run("fail");
  EXPECT_EQ(failed[2], 2);
  EXPECT_EQ(failed[4]["cost"], 0);
  EXPECT_EQ(run("nothing").size(), 4u) << "nothing of it stays with the run's place";
  broker.send({task(++handle, "cost", body_of("defer"))});
  EXPECT_EQ(broker.next("defer"), (Json{"defer", handle, 0}));
  broker.send({task(++handle, "cost", body_of("stop"))});
  broker.next("progress");
  broker.send({{"cancel", handle, {{"hex", hex_id(static_cast<unsigned>(handle))}}}});
  const Json stopped = broker.next("result");
  EXPECT_EQ(stopped[2], 4);
  EXPECT_EQ(stopped[4], (Json{{"cost", 0}}));
  broker.send({item(20, "cost", body_of(5)), item(21, "cost", body_of(6))});
  EXPECT_EQ(broker.next("result")[4]["cost"], 5);
  EXPECT_EQ(broker.next("result")[4]["cost"], 6);

  broker.acknowledges = false;
  run("end");
  broker.restart();
  broker.hello();
  broker.welcome({{"claims", {{{{"hex", hex_id(static_cast<unsigned>(handle))}}, 105}}}});
  EXPECT_EQ(broker.next("result")[4]["cost"], 0) << "another session gets it again";
}

TEST_F(WorkerTest, EachItemOfABatchHasARunOfItsOwn) {
  make(100, 1);
  worker->stage("store", Batch{.items = 6},
                [&](std::vector<int> items, std::vector<Context>& runs) {
                  EXPECT_EQ(items.size(), 5u) << "one cannot be read";
                  EXPECT_EQ(runs.size(), 5u);
                  for (std::size_t i = 0; i < items.size(); ++i) {
                    EXPECT_EQ(runs[i].id().hex(), hex_id(static_cast<unsigned>(items[i])));
                    runs[i].progress(items[i]);
                    runs[i].log(LogLevel::kInfo, "line");
                    runs[i].checkpoint(10 * items[i]);
                  }
                  while (!runs[3].cancelled()) std::this_thread::yield();
                  EXPECT_EQ(runs[3].cancel_reason(), "deadline");
                  EXPECT_FALSE(runs[0].cancelled());
                  EXPECT_FALSE(runs[1].last_checkpoint<int>());
                  std::vector<Output<Value>> out;
                  out.push_back(Value(list(runs[0].last_checkpoint<int>().value_or(-1),
                                           runs[0].time_left().has_value(), runs[0].attempt())));
                  out.push_back(Defer(seconds(2)));
                  out.push_back(drop);
                  out.push_back(Cancelled());
                  out.push_back(std::make_exception_ptr(NoRetry("not this one")));
                  return out;
                });
  start();
  meet();
  const Json given{{"time_left", 60'000}, {"checkpoint", body_of(5)}};
  broker.send({task(1, "store", body_of(1), 1, given, "item"), item(2, "store", body_of("text")),
               item(3, "store", body_of(3)), item(4, "store", body_of(4)),
               item(5, "store", body_of(5)), item(6, "store", body_of(6))});
  for (const int handle : {1, 3, 4, 5, 6}) {
    EXPECT_EQ(broker.next("progress"), (Json{"progress", handle, body_of(handle)}));
    EXPECT_EQ(broker.next("log"), (Json{"log", handle, 2, "line"}));
    EXPECT_EQ(broker.next("checkpoint"), (Json{"checkpoint", handle, body_of(10 * handle)}));
  }
  broker.send({{"cancel", 5, {{"hex", hex_id(5)}}, {{"reason", "deadline"}}}});
  std::map<int, Json> answers;
  while (answers.size() < 6 && !HasFailure()) {
    const Json packet = broker.next_packet();
    for (const Json& record : packet["records"]) {
      if (record[0] == "result" || record[0] == "defer") answers[record[1].get<int>()] = record;
    }
  }
  EXPECT_EQ(value_of(answers[1][3]), Value(list(5, true, 1)));
  EXPECT_EQ(answers[2][4]["error"]["type"], "tusk::ValueError");
  EXPECT_EQ(answers[3], (Json{"defer", 3, 2000}));
  EXPECT_EQ(answers[4], (Json{"result", 4, 1}));
  EXPECT_EQ(answers[5][2], 4) << "it has stopped";
  EXPECT_EQ(answers[6][4]["error"]["message"], "not this one");
  EXPECT_EQ(answers[6][4]["no_retry"], true);
  EXPECT_EQ(broker.skipped(), std::vector<Json>{});
}

TEST_F(WorkerTest, SaysWhenABrokerHasTakenItAndWhenNoneWill) {
  make();
  EXPECT_FALSE(worker->wait_until_ready(milliseconds(0)));
  start();
  broker.hello();
  EXPECT_FALSE(worker->wait_until_ready(milliseconds(5)));
  broker.welcome();
  EXPECT_TRUE(worker->wait_until_ready(seconds(10)));
  worker->stop();
  while (!is_over) broker.acknowledge_for(milliseconds(5));
  EXPECT_FALSE(worker->wait_until_ready(milliseconds::max()));
}

}  // namespace
}  // namespace tusk
