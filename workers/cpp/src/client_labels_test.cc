// Tasks that fit a filter, and jobs on them, against a broker that is told what to do.
#include <future>

#include "client_fixture.h"

namespace tusk {
namespace {

Json hex(const TaskId& id) { return {{"hex", id.hex()}}; }

TEST_F(ClientTest, TasksAreListedPageByPage) {
  meet();
  const TaskId parent = TaskId::make();
  const std::vector<TaskId> ids{TaskId::make(), TaskId::make(), TaskId::make()};
  std::vector<TaskId> found;
  auto list = std::async(std::launch::async, [&] {
    client.tasks(
        {.type = "f",
         .state = "waiting",
         .labels = {{"customer", "acme"}, {"build", std::nullopt}},
         .parent = parent,
         .min_age = seconds(2),
         .all = true},
        [&](const TaskStatus& task) {
          EXPECT_EQ(task.type, "f");
          EXPECT_EQ(task.state, "waiting");
          EXPECT_EQ(task.labels.at("customer"), "acme");
          EXPECT_EQ(task.parent, parent);
          EXPECT_EQ(task.group, "g");
          found.push_back(task.id);
          return true;
        },
        2);
  });
  // Keys in their order, as they are sent.
  const Json filter{{"age", 2000},
                    {"all", true},
                    {"labels", {{"build", nullptr}, {"customer", "acme"}}},
                    {"parent", hex(parent)},
                    {"state", "waiting"},
                    {"type", "f"}};
  Json arguments{{"filter", filter}, {"limit", 2}};
  const auto told = [&](const TaskId& id) {
    return Json{{"id", hex(id)}, {"type", "f"},           {"state", "waiting"},
                {"age", 1000},   {"parent", hex(parent)}, {"labels", {{"customer", "acme"}}},
                {"group", "g"}};
  };
  // The second page is empty, which does not mean that there are no more.
  const std::vector<Json> pages{{{"tasks", {told(ids[0]), told(ids[1])}}, {"next", "here"}},
                                {{"tasks", Json::array()}, {"next", 7}},
                                {{"tasks", {told(ids[2])}}}};
  for (const Json& page : pages) {
    Json query = broker.next("query");
    EXPECT_EQ(query[2], "tasks");
    EXPECT_EQ(query[3], arguments);
    broker.send({{"answer", query[1], page}});
    if (page.contains("next")) {
      arguments = {{"after", page["next"]}, {"filter", filter}, {"limit", 2}};
    }
  }
  list.get();
  EXPECT_EQ(found, ids);

  auto first = std::async(std::launch::async, [&] {
    client.tasks({.all = true}, [](const TaskStatus&) { return false; });
  });
  Json query = broker.next("query");
  EXPECT_EQ(query[3], (Json{{"filter", {{"all", true}}}, {"limit", 100}}));
  broker.send({{"answer", query[1], pages[0]}});
  first.get();  // asks for no other page
  auto all = std::async(std::launch::async, [&] { return client.tasks({.type = "f"}); });
  broker.send({{"answer", broker.next("query")[1], pages[2]}});
  EXPECT_EQ(all.get().size(), 1u);
}

TEST_F(ClientTest, AJobIsWaitedFor) {
  meet();
  const Filter filter{.labels = {{"customer", "acme"}}};
  const Json sent{{"labels", {{"customer", "acme"}}}};
  std::vector<std::uint64_t> seen;
  JobOptions watched{.on_progress = [&](const Job& job) { seen.push_back(job.looked); }};
  const std::vector<std::tuple<std::function<Job()>, std::string, Json>> asked{
      {[&] { return client.cancel_all(filter, watched); }, "cancel", {{"filter", sent}}},
      {[&] { return client.cancel_all(filter, {.dry_run = true}); },
       "cancel",
       {{"dry_run", true}, {"filter", sent}}},
      {[&] { return client.retry_all(filter); }, "retry", {{"filter", sent}}},
      {[&] { return client.reprioritise_all(filter, "low"); },
       "reprioritise",
       {{"filter", sent}, {"priority", -10}}}};
  for (const auto& [job, what, arguments] : asked) {
    auto done = std::async(std::launch::async, job);
    Json control = broker.next("control");
    EXPECT_EQ(control[2], what);
    EXPECT_EQ(control[3].contains("id"), what == "retry");
    control[3].erase("id");
    EXPECT_EQ(control[3], arguments);
    broker.send({{"answer", control[1], {{"done", true}, {"job", 7}}}});
    Json told{{"job", 7},    {"what", what}, {"state", "running"}, {"dry_run", false}, {"total", 9},
              {"looked", 4}, {"matched", 3}, {"changed", 2},       {"failed", 0},      {"age", 1}};
    Json other = told;
    other["job"] = 6;
    other["state"] = "done";
    for (const char* state : {"running", "running", "done"}) {
      told["state"] = state;
      if (told["state"] == "done") told["looked"] = 9;
      Json query = broker.next("query");
      EXPECT_EQ(query[2], "jobs");
      broker.send({{"answer", query[1], {other, told}}});
    }
    const Job found = done.get();
    EXPECT_EQ(found.number, 7u);
    EXPECT_EQ(found.what, what);
    EXPECT_EQ(found.state, "done");
    EXPECT_EQ(std::tuple(found.total, found.looked, found.matched, found.changed, found.failed),
              std::tuple(9u, 9u, 3u, 2u, 0u));
  }
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{4, 4, 9}));

  auto begun =
      std::async(std::launch::async, [&] { return client.cancel_all(filter, {.wait = false}); });
  broker.send({{"answer", broker.next("control")[1], {{"done", true}, {"job", 8}}}});
  EXPECT_EQ(begun.get().number, 8u);
  // A broker that was restarted meanwhile knows of no job.
  auto lost = std::async(std::launch::async, [&] { return client.cancel_all(filter); });
  broker.send({{"answer", broker.next("control")[1], {{"done", true}, {"job", 9}}}});
  broker.send({{"answer", broker.next("query")[1], Json::array()}});
  try {
    lost.get();
    FAIL();
  } catch (const UnknownOutcome& e) {
    EXPECT_NE(std::string(e.what()).find("no longer knows job 9"), std::string::npos);
  }
  auto full = std::async(std::launch::async, [&] { return client.cancel_all(filter); });
  broker.send({{"error", broker.next("control")[1], "full", "16 jobs run"}});
  EXPECT_THROW(full.get(), Full);
}

TEST_F(ClientTest, AFilterThatIsOutOfRangeIsNotSent) {
  meet();
  const auto says = [](auto what) -> std::string {
    try {
      what();
    } catch (const Invalid& e) {
      return e.what();
    }
    return "taken";
  };
  const auto list = [&](const Filter& filter, unsigned limit = 100) {
    return says([&] {
      client.tasks(
          filter, [](const TaskStatus&) { return true; }, limit);
    });
  };
  EXPECT_EQ(list({}), "the filter has no entry; .all = true means all tasks");
  EXPECT_EQ(says([&] { client.cancel_all({}); }).find("the filter has no entry"), 0u);
  EXPECT_EQ(says([&] { client.reprioritise_all({.all = true}, 101); }),
            "priority is 101, and has to be from -100 to 100");
  EXPECT_EQ(list({.all = true}, 0), "limit is 0, and has to be from 1 to 1000");
  EXPECT_EQ(list({.all = true}, 1001), "limit is 1001, and has to be from 1 to 1000");
  EXPECT_EQ(list({.min_age = milliseconds(-1)}),
            "the filter's min_age is -1 ms, and has to be from 0 ms to 100 years");
  EXPECT_EQ(list({.labels = {{"", "x"}}}).find("the filter has a name of 0 bytes"), 0u);
  EXPECT_EQ(broker.skipped(), std::vector<Json>{});
}

}  // namespace
}  // namespace tusk
