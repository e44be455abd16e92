// Keys of which one task lives, and what anybody may ask by an id, against a broker that is told
// what to do.
#include <future>

#include "client_fixture.h"

namespace tusk {
namespace {

Json hex(const TaskId& id) { return {{"hex", id.hex()}}; }

TEST_F(ClientTest, AKeyThatAnotherTaskHasIsAnErrorThatNamesIt) {
  meet();
  const TaskId holder = TaskId::make();
  for (const auto& [details, id, state] :
       {std::tuple(Json{{"id", holder.hex()}, {"state", "running"}}, holder, "running"),
        {Json::object(), TaskId{}, ""},
        {Json{{"id", "no id"}, {"state", 7}}, TaskId{}, ""}}) {
    auto task = client.submit<int>("add", 1, {.unique = "k", .unique_policy = "refuse"});
    broker.send({{"error", broker.next("submit")[1], "duplicate", "task x has it", details}});
    try {
      task.get();
      FAIL();
    } catch (const Duplicate& e) {
      EXPECT_EQ(e.code(), "duplicate");
      EXPECT_EQ(e.task(), task.id());
      EXPECT_EQ(e.id(), id);
      EXPECT_EQ(e.state(), state);
    }
  }
}

TEST_F(ClientTest, AnEndingNamesTheTaskThatCounts) {
  meet();
  const TaskId other = TaskId::make();
  const auto answer_with = [&](int state, const Json& body, const Json& attributes) {
    broker.send({{"result", broker.next("submit")[1], state, body, attributes}});
  };
  auto joined = client.submit<int>("add", 1, {.unique = "k"});
  EXPECT_EQ(joined.joined_id(), joined.id()) << "nothing yet";
  answer_with(1, body_of(7), {{"task", hex(other)}});
  EXPECT_EQ(joined.get(), 7);
  EXPECT_EQ(joined.joined_id(), other);
  EXPECT_NE(joined.id(), other);

  auto own = client.submit<int>("add", 1, {.unique = "k"});
  answer_with(1, body_of(7), {{"worker", "w"}});
  own.get();
  EXPECT_EQ(own.joined_id(), own.id());

  std::promise<TaskId> told;
  client.submit("add", 1, [&](const Ending& ending) { told.set_value(ending.joined_id()); });
  answer_with(1, nullptr, {{"task", hex(other)}});
  EXPECT_EQ(told.get_future().get(), other);

  auto failed = client.submit<int>("add", 1, {.unique = "k"});
  answer_with(2, nullptr, {{"task", hex(other)}, {"error", {{"type", "A"}}}});
  try {
    failed.get();
    FAIL();
  } catch (const TaskFailed& e) {
    EXPECT_EQ(e.task(), other);
  }
  auto odd = client.submit<int>("add", 1, {.unique = "k"});
  answer_with(1, body_of(7), {{"task", {{"hex", "00"}}}});
  EXPECT_EQ(odd.get(), 7);
  EXPECT_EQ(odd.joined_id(), odd.id()) << "that is no id";
}

TEST_F(ClientTest, AwaitTakesWhateverATasksEndingIs) {
  meet();
  const TaskId id = TaskId::make();
  const auto ask = [&](CallOptions options) {
    return std::async(std::launch::async,
                      [&, options] { return client.await_task<int>(id, options); });
  };
  std::vector<int> told;
  auto found = ask({.on_progress = [&](const Progress& p) { told.push_back(p.get<int>()); }});
  Json await = broker.next("await");
  EXPECT_EQ(await[2], hex(id));
  EXPECT_EQ(await[3], (Json{{"follow", 1}}));
  broker.send({{"progress", await[1], body_of(3)}, {"result", await[1], 1, body_of(7)}});
  EXPECT_EQ(found.get(), 7);
  EXPECT_EQ(told, std::vector<int>{3});

  found = ask({});
  await = broker.next("await");
  EXPECT_EQ(await.size(), 3u);
  broker.send({{"result", await[1], 4}});
  EXPECT_THROW(found.get(), TaskCancelled);
  found = ask({});
  broker.send({{"error", broker.next("await")[1], "unknown_task", "no such task"}});
  EXPECT_THROW(found.get(), UnknownTask);
  found = ask({});
  broker.send({{"error", broker.next("await")[1], "already_ended", "let go", {{"state", "dead"}}}});
  EXPECT_THROW(found.get(), AlreadyEnded);
  try {
    client.await_task(id, {.timeout = milliseconds(1)});
    FAIL();
  } catch (const Timeout& e) {
    EXPECT_EQ(e.task(), id);
    EXPECT_NE(std::string(e.what()).find("goes on"), std::string::npos);
  }
  broker.next("await");

  std::promise<int> later;
  client.await_task(id, [&](const Ending& ending) { later.set_value(ending.get<int>()); });
  answer(broker.next("await"), 9);
  EXPECT_EQ(later.get_future().get(), 9);
}

TEST_F(ClientTest, AwaitAllAsksInOnePacketAndKeepsTheOrder) {
  meet();
  client.submit("add", 1);
  broker.next("submit");  // so that the session is up
  const TaskId first = TaskId::make(), second = TaskId::make(), third = TaskId::make();
  auto done = std::async(std::launch::async, [&] {
    return client.await_all<int>({first, second, third, first});
  });
  const Json packet = broker.next_packet()["records"];
  ASSERT_EQ(packet.size(), 5u) << packet;
  for (const auto& [at, id] : {std::pair(1, first), {2, second}, {3, third}, {4, first}}) {
    EXPECT_EQ(packet[at][0], "await");
    EXPECT_EQ(packet[at][2], hex(id));
  }
  broker.send({{"result", packet[3][1], 1, body_of(30)},
               {"error", packet[2][1], "unknown_task", "no such task"},
               {"result", packet[1][1], 1, body_of("text")},
               {"result", packet[4][1], 4}});
  const auto tasks = done.get();
  ASSERT_EQ(tasks.size(), 4u);
  EXPECT_EQ(tasks[0].id(), first);
  EXPECT_THROW(tasks[0].get(), ValueError);
  EXPECT_THROW(tasks[1].get(), UnknownTask);
  EXPECT_EQ(tasks[2].get(), 30);
  EXPECT_THROW(tasks[3].get(), TaskCancelled);
  EXPECT_TRUE(client.await_all({}).empty());
  for (const auto& task : client.await_all({first, second}, {.timeout = milliseconds(1)})) {
    EXPECT_THROW(task.get(), Timeout);
  }
}

TEST_F(ClientTest, AwaitsAreAskedAgainInAnotherSessionAndAtAnotherBroker) {
  const TaskId id = TaskId::make();
  auto found = std::async(std::launch::async, [&] { return client.await_task<int>(id); });
  meet();
  broker.next("await");
  broker.restart();
  meet();
  Json again = broker.next("await");
  EXPECT_EQ(again.size(), 3u) << again;
  EXPECT_EQ(again[2], hex(id));
  broker.send({{"error", again[1], "shutting_down", "was not run"}, {"bye"}});
  meet();
  broker.send({{"error", broker.next("await")[1], "unknown_task", "no such task"}});
  EXPECT_THROW(found.get(), UnknownTask);
}

TEST_F(ClientTest, UpdateSendsWhatChanges) {
  meet();
  const TaskId id = TaskId::make();
  const auto check = [&](const Json& rest, auto&&... arguments) {
    auto done = std::async(std::launch::async, [&] { return client.update(id, arguments...); });
    Json sent = broker.next("update");
    broker.send({{"answer", sent[1], {{"state", "delayed"}, {"updated", true}, {"more", 1}}}});
    const Updated got = done.get();
    EXPECT_EQ(got.state, "delayed");
    EXPECT_TRUE(got.updated);
    EXPECT_EQ(sent[2], hex(id));
    sent.erase(sent.begin(), sent.begin() + 3);
    EXPECT_EQ(sent, rest);
  };
  check({{{"priority", -10}}}, CallOptions{.priority = "low"});
  check({{{"delay", 0}}}, CallOptions{.delay = milliseconds(0)});
  check({{{"delay", 0}}},
        CallOptions{.not_before = std::chrono::system_clock::now() - seconds(60)});
  check(Json{Json::object(), body_of(nullptr)}, nullptr);
  check({{{"priority", 3}}, body_of(7)}, 7, CallOptions{.timeout = seconds(9), .priority = 3});
  check(Json{Json::object(), 1}, std::string(10'000, 'x'));
  check(Json{Json::object()}, CallOptions{});

  auto done = std::async(std::launch::async, [&] { return client.update(id, {.priority = 1}); });
  broker.send({{"answer", broker.next("update")[1], {{"state", "dead"}, {"updated", false}}}});
  EXPECT_FALSE(done.get().updated);
  done = std::async(std::launch::async, [&] { return client.update(id, 1); });
  broker.send({{"error", broker.next("update")[1], "unknown_task", "no such task"}});
  EXPECT_THROW(done.get(), UnknownTask);
}

TEST_F(ClientTest, WhatCannotBeChangedOrAskedIsAnErrorAtTheCaller) {
  const TaskId id = TaskId::make();
  std::vector<CallOptions> fixed{{.id = id},
                                 {.resent = true},
                                 {.rerun_ok = true},
                                 {.trace = "t"},
                                 {.baggage = "b"},
                                 {.deadline = seconds(1)},
                                 {.run_timeout = seconds(1)},
                                 {.heartbeat_timeout = seconds(1)},
                                 {.attempts = 1},
                                 {.backoff = Backoff{}},
                                 {.no_retry_on = {"x"}},
                                 {.unique = "k"},
                                 {.unique_policy = "join"},
                                 {.unique_for = seconds(1)},
                                 {.retention = seconds(1)}};
  for (const CallOptions& options : fixed) {
    EXPECT_THROW(client.update(id, options), Invalid);
    EXPECT_THROW(client.update(id, 1, options), Invalid);
    EXPECT_THROW(client.await_task(id, options), Invalid);
    EXPECT_THROW(client.await_all({id}, options), Invalid);
    EXPECT_THROW(client.await_task(
                     id, [](const Ending&) {}, options),
                 Invalid);
  }
  EXPECT_THROW(client.update(id, {.on_log = [](const LogLine&) {}}), Invalid);
  EXPECT_THROW(client.await_task(id, {.priority = 1}), Invalid);
  EXPECT_THROW(client.await_task(id, {.delay = seconds(1)}), Invalid);
  EXPECT_THROW(client.update(id, {.priority = 101}), Invalid);
  EXPECT_THROW(client.update(id, {.delay = milliseconds(-1)}), Invalid);
  EXPECT_THROW(client.update(id, std::string("\xFF")), ValueError);
}

TEST_F(ClientTest, WhatTheBrokerKnowsOfATask) {
  meet();
  const TaskId id = TaskId::make();
  const auto ask = [&](const Json& answer) {
    auto done = std::async(std::launch::async, [&] { return client.task(id); });
    const Json query = broker.next("query");
    EXPECT_EQ(query[2], "task");
    EXPECT_EQ(query[3], (Json{{"id", hex(id)}}));
    broker.send({{"answer", query[1], answer}});
    return done.get();
  };
  const Json error{{"type", "A"}, {"message", "no"}, {"language", "python"}, {"stack", "at"}};
  const Json run{
      {"attempt", 1}, {"worker", "w1"}, {"started", 900}, {"ended", 700}, {"error", error}};
  const TaskStatus dead = ask({{"state", "dead"},
                               {"type", "add"},
                               {"attempts", 3},
                               {"failures", 1},
                               {"crashes", 2},
                               {"priority", -5},
                               {"age", 1500},
                               {"worker", "w"},
                               {"later", 1},
                               {"history", {run}},
                               {"error", error}});
  EXPECT_EQ(dead.state, "dead");
  EXPECT_EQ(dead.type, "add");
  EXPECT_EQ(dead.attempts, 3u);
  EXPECT_EQ(dead.failures, 1u);
  EXPECT_EQ(dead.crashes, 2u);
  EXPECT_EQ(dead.priority, -5);
  EXPECT_EQ(dead.age, milliseconds(1500));
  EXPECT_EQ(dead.worker, "w");
  ASSERT_EQ(dead.history.size(), 1u);
  EXPECT_EQ(dead.history[0].started, milliseconds(900));
  EXPECT_EQ(dead.history[0].ended, milliseconds(700));
  EXPECT_EQ(dead.history[0].type, "A");
  ASSERT_TRUE(dead.error);
  EXPECT_EQ(dead.error->message, "no");
  EXPECT_EQ(dead.error->stack, "at");
  const TaskStatus unknown = ask({{"state", "unknown"}});
  EXPECT_EQ(unknown.state, "unknown");
  EXPECT_EQ(unknown.type, "");
  EXPECT_FALSE(unknown.error);
  EXPECT_THROW(ask({{"state", 7}}), ValueError);
}

TEST_F(ClientTest, AnOperatorPausesTypesAndUnblocksKeys) {
  meet();
  const auto ask = [&](auto what, const Json& wanted, const Json& answer) {
    auto done = std::async(std::launch::async, what);
    const Json control = broker.next("control");
    EXPECT_EQ(control[2], wanted[0]);
    EXPECT_EQ(control[3], wanted[1]);
    broker.send({{"answer", control[1], answer}});
    return done.get();
  };
  const Json done{{"done", true}}, nothing{{"done", false}};
  EXPECT_TRUE(ask([&] { return client.pause_type("add", milliseconds(1500)); },
                  {"pause", {{"ms", 1500}, {"type", "add"}}}, done));
  EXPECT_FALSE(ask([&] { return client.pause_type("add", milliseconds(0)); },
                   {"pause", {{"ms", 0}, {"type", "add"}}}, nothing));
  EXPECT_FALSE(ask([&] { return client.pause_type("add", milliseconds(3'153'600'000'000)); },
                   {"pause", {{"ms", 3'153'600'000'000}, {"type", "add"}}}, Json::object()));
  EXPECT_TRUE(ask([&] { return client.unblock("add", "k"); },
                  {"unblock", {{"key", "k"}, {"type", "add"}}}, done));
  EXPECT_THROW(ask([&] { return client.unblock("add", "k"); },
                   {"unblock", {{"key", "k"}, {"type", "add"}}}, {{"done", "text"}}),
               ValueError);
  auto refused = std::async(std::launch::async, [&] { return client.unblock("none", "k"); });
  broker.send(
      {{"error", broker.next("control")[1], "invalid", "there is no type", {{"field", "type"}}}});
  EXPECT_THROW(refused.get(), Invalid);

  const std::string longer(256, 'k');
  const auto says = [](auto what) -> std::string {
    try {
      what();
    } catch (const ValueError& error) {
      return error.what();
    }
    return "taken";
  };
  EXPECT_EQ(says([&] { client.pause_type("add", milliseconds(-1)); }),
            "the pause of add is -1 ms, and has to be from 0 ms to 100 years");
  EXPECT_NE(says([&] { client.pause_type("add", kForever); }).find("100 years"), std::string::npos);
  EXPECT_EQ(says([&] { client.pause_type("", seconds(1)); }),
            "the type has 0 bytes, and has to be UTF-8 of 1 to 255");
  EXPECT_EQ(says([&] { client.unblock(longer, "k"); }).find("the type has 256 bytes"), 0u);
  EXPECT_EQ(says([&] { client.unblock("add", ""); }).find("the key has 0 bytes"), 0u);
  EXPECT_EQ(says([&] { client.unblock("add", "\xFF"); }).find("the key has 1 bytes"), 0u);
  EXPECT_THROW(client.unblock("add", "k", {.delay = seconds(1)}), Invalid);
  EXPECT_EQ(broker.skipped(), std::vector<Json>{});
}

TEST_F(ClientTest, ACallbackMayAskForTheEndingOfAnotherTaskAndNotWaitForIt) {
  meet();
  const TaskId id = TaskId::make();
  std::promise<std::string> refused;
  std::promise<int> later;
  client.submit("add", 1, [&](const Ending&) {
    std::string codes;
    for (const auto& what : std::vector<std::function<void()>>{
             [&] { client.await_task(id); }, [&] { client.await_all({id}); },
             [&] { client.update(id, 1); }, [&] { client.task(id); },
             [&] { client.pause_type("add", seconds(1)); }}) {
      try {
        what();
      } catch (const Error& error) {
        codes += error.code() + " ";
      }
    }
    client.await_task(id, [&](const Ending& ending) { later.set_value(ending.get<int>()); });
    refused.set_value(codes);
  });
  answer(broker.next("submit"), 1);
  EXPECT_EQ(refused.get_future().get(), "deadlock deadlock deadlock deadlock deadlock ");
  answer(broker.next("await"), 7);
  EXPECT_EQ(later.get_future().get(), 7);
}

}  // namespace
}  // namespace tusk
