// What a task may ask for, and what its runs tell, against a broker that is told what to do.
#include <cmath>
#include <thread>

#include "client_fixture.h"
#include "proto/lz4.h"
#include "tusk/client.h"

namespace tusk {
namespace {

using std::chrono::hours;
using std::chrono::system_clock;

constexpr milliseconds kLongest{3'153'600'000'000};

TEST_F(ClientTest, WhatATaskAsksForBecomesAttributes) {
  meet();
  const auto ask = [&](CallOptions options) {
    options.timeout = kForever;
    client.submit("add", 1, options);
    Json submit = broker.next("submit");
    return submit.size() > 5 ? submit[5] : Json::object();
  };
  Json sent = ask({.priority = "critical",
                   .delay = hours(1),
                   .deadline = hours(2),
                   .run_timeout = seconds(2),
                   .heartbeat_timeout = milliseconds(500),
                   .attempts = 4,
                   .backoff = Backoff{.first = seconds(1), .most = seconds(60)},
                   .no_retry_on = {"std::out_of_range", "ValueError"},
                   .on_progress = [](const Progress&) {},
                   .on_log = [](const LogLine&) {}});
  for (const auto& [name, most] : {std::pair("delay", 3'600'000), {"deadline", 7'200'000}}) {
    EXPECT_LE(sent[name], most);
    EXPECT_GT(sent[name], most - 10'000);
    sent.erase(name);
  }
  EXPECT_EQ(sent, (Json{{"run_timeout", 2000},
                        {"heartbeat_timeout", 500},
                        {"attempts", 4},
                        {"priority", 20},
                        {"backoff", {1000, 60'000, 2, 0.25}},
                        {"no_retry_on", {"std::out_of_range", "ValueError"}},
                        {"follow", 3}}));
  EXPECT_EQ(ask({}), Json::object());
  EXPECT_EQ(ask({.priority = -100, .delay = milliseconds(0)}),
            (Json{{"delay", 0}, {"priority", -100}}));
  EXPECT_EQ(ask({.priority = 0}), (Json{{"priority", 0}})) << "not what the type is configured to";
  EXPECT_EQ(ask({.priority = "normal"}), (Json{{"priority", 0}}));
  EXPECT_EQ(ask({.priority = std::string("low")}), (Json{{"priority", -10}}));
  EXPECT_EQ(ask({.not_before = system_clock::now() - hours(1)}), (Json{{"delay", 0}}));
  EXPECT_EQ(ask({.not_before = system_clock::time_point::min()}), (Json{{"delay", 0}}));
  EXPECT_EQ(ask({.deadline = milliseconds(0), .attempts = 1000}),
            (Json{{"deadline", 0}, {"attempts", 1000}}));
  EXPECT_EQ(ask({.run_timeout = kLongest}), (Json{{"run_timeout", kLongest.count()}}));
  EXPECT_EQ(ask({.backoff = Backoff{.factor = 100, .jitter = 0}}),
            (Json{{"backoff", {0, 0, 100.0, 0.0}}}));
  EXPECT_EQ(ask({.on_log = [](const LogLine&) {}}), (Json{{"follow", 2}}));
  EXPECT_EQ(ask({.retention = hours(1)}), (Json{{"retention", 3'600'000}}));
  EXPECT_EQ(ask({.unique = "k", .unique_policy = "join"}), (Json{{"unique", "k"}}));
  EXPECT_EQ(ask({.unique = std::string(255, 'k'),
                 .unique_policy = UniquePolicy::kFollowUp,
                 .unique_for = seconds(1)}),
            (Json{{"unique", std::string(255, 'k')}, {"unique_policy", 4}, {"unique_for", 1000}}));
  const std::string longest = std::string(253, 'k') + "\u00e4";
  EXPECT_EQ(ask({.labels = {{"customer", "acme"}, {"build", longest}}, .sticky_key = "k"}),
            (Json{{"sticky_key", "k"}, {"labels", {{"build", longest}, {"customer", "acme"}}}}));
  EXPECT_EQ(ask({.requires_ = map("gb", 4, "region", "eu"),
                 .prefers = map("disk", "ssd"),
                 .consumes = map("gpu", 1'000'000'000)}),
            (Json{{"needs",
                   {{"requires", {{"gb", 4}, {"region", "eu"}}},
                    {"prefers", {{"disk", "ssd"}}},
                    {"consumes", {{"gpu", 1'000'000'000}}}}}}));
  EXPECT_EQ(ask({.requires_ = Map()}), (Json{{"needs", {{"requires", Json::object()}}}}))
      << "none, whatever the type requires";
  EXPECT_EQ(ask({.order_key = "a", .limit_key = "b", .group = "c", .cost = 1}),
            (Json{{"order_key", "a"}, {"limit_key", "b"}, {"group", "c"}, {"cost", 1}}));
  EXPECT_EQ(
      ask({.order_key = longest, .limit_key = longest, .group = longest, .cost = 0}),
      (Json{{"order_key", longest}, {"limit_key", longest}, {"group", longest}, {"cost", 0}}));
  EXPECT_EQ(ask({.cost = 1'000'000'000}), (Json{{"cost", 1'000'000'000}}));
  const auto delay =
      ask({.not_before = system_clock::now() + hours(1)})["delay"].get<std::int64_t>();
  EXPECT_LE(delay, 3'600'000);
  EXPECT_GT(delay, 3'590'000);
}

TEST_F(ClientTest, WhatIsOutOfRangeIsAnErrorThatNamesTheOptionAndTheBound) {
  const auto says = [&](const CallOptions& options) -> std::string {
    try {
      client.submit("add", 1, options);
    } catch (const Invalid& e) {
      EXPECT_EQ(e.code(), "invalid");
      return e.what();
    }
    return "taken";
  };
  const auto far = system_clock::now() + kLongest + hours(1);
  EXPECT_EQ(says({.delay = milliseconds(-1)}),
            "delay is -1 ms, and has to be from 0 ms to 100 years");
  EXPECT_NE(says({.delay = kLongest + hours(1)}).find("100 years"), std::string::npos);
  EXPECT_EQ(says({.not_before = far}), "not_before is more than 100 years from now");
  EXPECT_NE(says({.delay = seconds(1), .not_before = far}).find("give one"), std::string::npos);
  EXPECT_NE(says({.deadline = kForever}).find("deadline is 9223372036854775807"),
            std::string::npos);
  EXPECT_EQ(says({.run_timeout = milliseconds(0)}),
            "run_timeout is 0 ms, and has to be from 1 ms to 100 years");
  EXPECT_EQ(says({.heartbeat_timeout = milliseconds(0)}).find("heartbeat_timeout is 0"), 0u);
  EXPECT_EQ(says({.attempts = 0}), "attempts is 0, and has to be from 1 to 1000");
  EXPECT_EQ(says({.attempts = 1001}), "attempts is 1001, and has to be from 1 to 1000");
  EXPECT_EQ(says({.priority = 101}), "priority is 101, and has to be from -100 to 100");
  EXPECT_EQ(says({.priority = -101}), "priority is -101, and has to be from -100 to 100");
  EXPECT_NE(says({.priority = std::uint64_t{1} << 63}).find("-100 to 100"), std::string::npos);
  EXPECT_EQ(says({.backoff = Backoff{.first = seconds(-1)}}).find("backoff.first is -1000"), 0u);
  EXPECT_EQ(says({.backoff = Backoff{.most = kForever}}).find("backoff.most is"), 0u);
  EXPECT_NE(says({.backoff = Backoff{.factor = 0.5}}).find("from 1 to 100"), std::string::npos);
  EXPECT_NE(says({.backoff = Backoff{.factor = NAN}}).find("from 1 to 100"), std::string::npos);
  EXPECT_NE(says({.backoff = Backoff{.jitter = 1.5}}).find("from 0 to 1"), std::string::npos);
  EXPECT_EQ(says({.no_retry_on = std::vector<std::string>(33, "x")}),
            "no_retry_on has 33 types, and may have 32");
  EXPECT_NE(says({.no_retry_on = {std::string(256, 'x')}}).find("255"), std::string::npos);
  EXPECT_NE(says({.no_retry_on = {"\xFF"}}).find("UTF-8"), std::string::npos);
  try {
    Priority("urgent");
    FAIL();
  } catch (const Invalid& e) {
    EXPECT_STREQ(e.what(),
                 "priority \"urgent\" does not exist; the names are low, normal, high, critical");
  }
  EXPECT_EQ(says({.retention = milliseconds(-1)}),
            "retention is -1 ms, and has to be from 0 ms to 100 years");
  EXPECT_EQ(says({.unique = "k", .unique_for = kForever}).find("unique_for is "), 0u);
  EXPECT_NE(says({.unique_for = seconds(1)}).find("give unique"), std::string::npos);
  EXPECT_NE(says({.unique_policy = "refuse"}).find("give unique"), std::string::npos);
  EXPECT_EQ(says({.unique = ""}), "unique has 0 bytes, and has to be UTF-8 of 1 to 255");
  EXPECT_EQ(says({.unique = std::string(256, 'k')}).find("unique has 256 bytes"), 0u);
  EXPECT_NE(says({.unique = "\xFF"}).find("UTF-8"), std::string::npos);
  EXPECT_EQ(says({.unique = "k", .unique_policy = static_cast<UniquePolicy::Kind>(5)}),
            "unique_policy 5 does not exist; the names are join, refuse, replace, debounce, "
            "follow_up");
  EXPECT_EQ(says({.order_key = ""}), "order_key has 0 bytes, and has to be UTF-8 of 1 to 255");
  EXPECT_EQ(says({.order_key = std::string(256, 'k')}).find("order_key has 256 bytes"), 0u);
  EXPECT_EQ(says({.limit_key = ""}).find("limit_key has 0 bytes"), 0u);
  EXPECT_EQ(says({.limit_key = "\xFF"}).find("limit_key has 1 bytes, and has to be UTF-8"), 0u);
  EXPECT_EQ(says({.group = ""}).find("group has 0 bytes"), 0u);
  EXPECT_EQ(says({.group = std::string(256, 'k')}).find("group has 256 bytes"), 0u);
  EXPECT_EQ(says({.cost = -1}), "cost is -1 units, and has to be from 0 to 1,000,000,000");
  EXPECT_EQ(says({.cost = 1'000'000'001}).find("cost is 1000000001 units"), 0u);
  EXPECT_EQ(says({.sticky_key = ""}).find("sticky_key has 0 bytes"), 0u);
  std::map<std::string, std::string> many;
  for (int n = 0; n < 17; ++n) many[std::to_string(n)] = "x";
  const Map needs(many.begin(), many.end());
  EXPECT_EQ(says({.labels = many}), "labels has 17 entries, and may have 16");
  EXPECT_EQ(says({.labels = {{"", "x"}}}),
            "labels has a name of 0 bytes, and names have to be UTF-8 of 1 to 255");
  EXPECT_EQ(says({.labels = {{"a", ""}}}),
            "labels: \"a\" is \"\", and has to be a text of 1 to 255 bytes of UTF-8");
  EXPECT_EQ(says({.labels = {{std::string(256, 'x'), "x"}}}).find("labels has a name of 256"), 0u);
  EXPECT_EQ(says({.requires_ = needs}), "requires has 17 entries, and may have 16");
  EXPECT_EQ(says({.requires_ = map("a", 1.5)}),
            "requires: \"a\" is 1.5, and has to be a text of 1 to 255 bytes of UTF-8 or a whole "
            "number from 0 to 1,000,000,000");
  EXPECT_EQ(says({.requires_ = map("a", -1)}).find("requires: \"a\" is -1, and has"), 0u);
  EXPECT_EQ(says({.prefers = map("a", nullptr)}).find("prefers: \"a\" is null, and has"), 0u);
  EXPECT_EQ(says({.prefers = map("a", std::string(256, 'x'))}).find("prefers: \"a\" is"), 0u);
  EXPECT_EQ(says({.consumes = map("a", 0)}),
            "consumes: \"a\" is 0, and has to be a whole number from 1 to 1,000,000,000");
  EXPECT_EQ(says({.consumes = map("a", "two")}).find("consumes: \"a\" is \"two\", and has"), 0u);
  EXPECT_EQ(says({.consumes = map("a", 1'000'000'001)}).find("consumes: \"a\" is"), 0u);
  EXPECT_EQ(says({.window = 4}), "window is for Client::stream; this has no chunks");
  EXPECT_THROW(client.update(TaskId::make(), CallOptions{.labels = {{"a", "b"}}}), Invalid);
  EXPECT_THROW(client.await_task(TaskId::make(), CallOptions{.requires_ = Map()}), Invalid);
  for (const auto& [name, kind] : {std::pair("join", UniquePolicy::kJoin),
                                   {"refuse", UniquePolicy::kRefuse},
                                   {"replace", UniquePolicy::kReplace},
                                   {"debounce", UniquePolicy::kDebounce},
                                   {"follow_up", UniquePolicy::kFollowUp}}) {
    EXPECT_EQ(UniquePolicy(name).kind(), kind);
  }
  try {
    UniquePolicy("Join");
    FAIL();
  } catch (const Invalid& e) {
    EXPECT_STREQ(e.what(),
                 "unique_policy \"Join\" does not exist; the names are join, refuse, replace, "
                 "debounce, follow_up");
  }
  EXPECT_THROW(client.push("clean", 1, CallOptions{.unique = "k"}), Invalid);
  EXPECT_THROW(client.push("clean", 1, CallOptions{.delay = seconds(1)}), Invalid);
  EXPECT_THROW(client.push("clean", 1, CallOptions{.group = "g"}), Invalid);
  EXPECT_THROW(client.update(TaskId::make(), CallOptions{.cost = 1}), Invalid);
  EXPECT_THROW(client.await_task(TaskId::make(), CallOptions{.order_key = "k"}), Invalid);
  EXPECT_THROW(client.publish("prices", 1, CallOptions{.priority = 1}), Invalid);
  EXPECT_THROW(client.post("add", 1, CallOptions{.on_log = [](const LogLine&) {}}), Invalid);
  EXPECT_THROW(Defer(milliseconds(-1)), Invalid);
}

TEST_F(ClientTest, ATaskThatIsSentLateHasWhatIsLeftOfItsTimes) {
  client.submit("add", 1,
                {.delay = milliseconds(20), .deadline = hours(1), .run_timeout = seconds(60)});
  std::this_thread::sleep_for(milliseconds(30));  // no welcome yet
  const auto check = [&](bool resent) {
    const Json sent = broker.next("submit")[5];
    EXPECT_EQ(sent["delay"], 0) << "that time has passed";
    EXPECT_LE(sent["deadline"], 3'600'000 - 30);
    EXPECT_GT(sent["deadline"], 3'500'000);
    EXPECT_EQ(sent["run_timeout"], 60'000) << "of each run";
    EXPECT_EQ(sent.value("resent", false), resent);
  };
  meet();
  check(false);
  const std::string first = broker.last_packet[0];
  const auto session = broker.session;
  broker.restart();
  broker.hello();
  broker.welcome({{"session", session}, {"resumed", true}});
  broker.next("submit");
  EXPECT_EQ(broker.last_packet[0], first) << "a resumed session sends the same packet";
  broker.restart();
  meet();
  check(true);
}

TEST_F(ClientTest, ProgressAndLogsComeInOrderAndBeforeTheResult) {
  meet();
  std::vector<std::string> told;
  auto task = client.submit<int>(
      "add", 1,
      {.on_progress =
           [&](const Progress& p) {
             told.push_back(std::to_string(p.attempt()) + " " + p.get<std::string>());
           },
       .on_log =
           [&](const LogLine& line) {
             told.push_back(std::to_string(line.attempt) + " " +
                            std::string(to_string(line.level)) + ": " + std::string(line.text));
             throw 42;  // the client goes on
           }});
  const Json ref = broker.next("submit")[1];
  const std::string longer(20'000, 'x');
  testing::internal::CaptureStderr();
  broker.send({{"progress", ref, body_of("one"), {{"attempt", 1}}},
               {"log", ref, 2, "half way", {{"attempt", 1}}},
               {"progress", 999, body_of("nobody's")},
               {"progress", ref, 1, {{"attempt", 2}, {"compression", 1}}},
               {"progress", ref, body_of(7)},  // is no text: its callback throws
               {"log", ref, 4, "it broke"},
               {"result", ref, 1, body_of(3)}},
              {proto::lz4_compress(to_body(longer))});
  EXPECT_EQ(task.get(), 3);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("no std::exception"), std::string::npos);
  EXPECT_EQ(told, (std::vector<std::string>{"1 one", "1 info: half way", "2 " + longer,
                                            "0 error: it broke"}));
}

TEST_F(ClientTest, ADeadTaskTellsWhatItsRunsDiedOf) {
  meet();
  auto task = client.submit<int>("add", 1);
  const Json ref = broker.next("submit")[1];
  const auto error = [](const char* type) {
    return Json{{"type", type}, {"message", "no"}, {"language", "python"}, {"stack", "at"}};
  };
  const auto run = [&](int attempt, const char* type, int started, int ended) {
    return Json{{"attempt", attempt},
                {"worker", "w"},
                {"started", started},
                {"ended", ended},
                {"error", error(type)}};
  };
  broker.send({{"result",
                ref,
                5,
                nullptr,
                {{"error", error("B")},
                 {"attempt", 2},
                 {"history", {run(1, "A", 900, 700), run(2, "B", 500, 0)}}}}});
  auto late = client.submit<int>("add", 1);
  broker.send(
      {{"result", broker.next("submit")[1], 3, nullptr, {{"history", {run(1, "A", 900, 700)}}}}});
  try {
    late.get();
    FAIL();
  } catch (const TaskExpired& e) {
    EXPECT_EQ(e.history().at(0).type, "A");
  }
  try {
    task.get();
    FAIL();
  } catch (const TaskDead& e) {
    ASSERT_EQ(e.history().size(), 2u);
    const Attempt& first = e.history()[0];
    EXPECT_EQ(first.attempt, 1u);
    EXPECT_EQ(first.worker, "w");
    EXPECT_EQ(first.started, milliseconds(900));
    EXPECT_EQ(first.ended, milliseconds(700));
    EXPECT_EQ(first.type, "A");
    EXPECT_EQ(first.message, "no");
    EXPECT_EQ(first.language, "python");
    EXPECT_EQ(first.stack, "at");
    EXPECT_EQ(e.history()[1].type, "B");
  }
}

}  // namespace
}  // namespace tusk
