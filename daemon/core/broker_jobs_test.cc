// Labels, the list of tasks, and jobs that change many of them.
#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

Attrs labelled(const Json& labels, uint64_t delay = 0) {
  Attrs attributes;
  attributes.json(Attribute::kLabels, labels);
  if (delay > 0) attributes.number(Attribute::kDelay, delay);
  return attributes;
}

Json with_label(const std::string& name, const Json& value) {
  return {{"labels", {{name, value}}}};
}

std::vector<std::string> ids(const Json& tasks) {
  std::vector<std::string> out;
  for (const Json& task : tasks) out.push_back(task["id"]["hex"]);
  return out;
}

class Jobs : public testing::Test {
 protected:
  // Lets the job that `answer` names come to its end.
  Json done(const Json& answer) {
    h.advance(1s);
    const Json jobs = client.query("jobs");
    for (const Json& job : jobs) {
      if (job["job"] != answer["job"]) continue;
      EXPECT_EQ(job["state"], "done");
      EXPECT_EQ(job["looked"], job["total"]);
      return job;
    }
    ADD_FAILURE() << "no job " << answer << " in " << jobs;
    return {};
  }
  Json job(const std::string& what, Json arguments) {
    return done(client.control(what, arguments));
  }
  std::string refusal(const std::string& what, const Json& arguments) {
    client.send([&](Writer& w) {
      w.start(Kind::kControl, 4).pack_uint64(client.request());
      w.text(what);
      proto::write_json(w.packer(), arguments);
    });
    const Got got = client.expect_error(code::kInvalid);
    return got.value["field"].get<std::string>() + ": " + got.message;
  }

  Harness h;
  Peer& client = h.client();
};

TEST_F(Jobs, LabelsAreToldToTheWorkerAndShown) {
  Peer& worker = h.worker({"add"});
  const TaskId id = h.id();
  client.submit(id, "add", "", labelled({{"customer", "acme"}, {"build", "42"}}));
  EXPECT_EQ(worker.expect(Kind::kTask).at(Attribute::kLabels),
            (Json{{"customer", "acme"}, {"build", "42"}}));
  EXPECT_EQ(client.query("task", &id)["labels"], (Json{{"customer", "acme"}, {"build", "42"}}));
}

TEST_F(Jobs, TasksAreFoundByEachEntryOfAFilter) {
  Peer& worker = h.worker({"add", "mul"});
  const TaskId a = h.id(), b = h.id(), c = h.id(), d = h.id();
  client.submit(a, "add", "", labelled({{"customer", "acme"}}));
  client.submit(b, "add", "", labelled({{"customer", "acme"}, {"build", "1"}}));
  h.advance(10s);
  client.submit(c, "mul", "", labelled({{"customer", "else"}, {"build", "1"}}));
  client.submit(d, "mul", "", Attrs().number(Attribute::kDelay, 60'000));
  using Ids = std::vector<std::string>;
  auto found = [&](const Json& filter) {
    return ids(client.query("tasks", Json{{"filter", filter}})["tasks"]);
  };
  EXPECT_EQ(found(with_label("customer", "acme")), (Ids{a.hex(), b.hex()}));
  EXPECT_EQ(found(with_label("build", nullptr)), (Ids{b.hex(), c.hex()}));
  EXPECT_EQ(found({{"labels", {{"build", "1"}, {"customer", "acme"}}}}), (Ids{b.hex()}));
  EXPECT_EQ(found({{"type", "mul"}}), (Ids{c.hex(), d.hex()}));
  EXPECT_EQ(found({{"type", "none"}}), Ids{});
  EXPECT_EQ(found({{"state", "running"}}), (Ids{a.hex()}));
  EXPECT_EQ(found({{"state", "delayed"}}), (Ids{d.hex()}));
  EXPECT_EQ(found({{"age", 10'000}}), (Ids{a.hex(), b.hex()}));
  EXPECT_EQ(found({{"all", true}}).size(), 4u);
  worker.succeed(worker.expect(Kind::kTask).ref);
  EXPECT_EQ(found(with_label("customer", "acme")), (Ids{b.hex()})) << "it ended";
}

TEST_F(Jobs, AListGoesOnWhereItStopped) {
  std::vector<std::string> all;
  TaskId last;  // of the first page
  for (int i = 0; i < 25; ++i) {
    const TaskId id = h.id();
    if (i == 9) last = id;
    all.push_back(id.hex());
    client.submit(id, "add", "", labelled({{"a", "b"}}, 60'000));
  }
  for (const Json& filter : {with_label("a", "b"), Json{{"all", true}}}) {
    std::vector<std::string> found;
    Json after;
    for (int page = 0; page < 3; ++page) {
      Json ask{{"filter", filter}, {"limit", 10}};
      if (page > 0) ask["after"] = after;
      const Json answer = client.query("tasks", ask);
      for (const std::string& id : ids(answer["tasks"])) found.push_back(id);
      EXPECT_EQ(answer.contains("next"), page < 2);
      if (page < 2) after = answer["next"];
    }
    EXPECT_EQ(found, all);
  }
  // The task at which it stopped may be gone by then.
  const Json first = client.query("tasks", Json{{"filter", with_label("a", "b")}, {"limit", 10}});
  client.cancel(last);
  client.inbox.clear();
  const Json second = client.query(
      "tasks", Json{{"filter", with_label("a", "b")}, {"limit", 10}, {"after", first["next"]}});
  EXPECT_EQ(ids(second["tasks"])[0], all[10]);
}

TEST_F(Jobs, AnAnswerFitsIntoAPacket) {
  Harness small([](config::Orchestration& c) { c.tuskd.limits.max_frame = config::Bytes{4096}; });
  Peer& peer = small.client();
  for (int i = 0; i < 100; ++i) {
    peer.submit(small.id(), "add", "", labelled({{"a", std::string(200, 'x')}}, 60'000));
  }
  size_t found = 0, answers = 0;
  for (Json after; !after.is_boolean(); ++answers) {
    Json ask{{"filter", {{"all", true}}}};
    if (!after.is_null()) ask["after"] = after;
    const Json answer = peer.query("tasks", ask);
    found += answer["tasks"].size();
    after = answer.contains("next") ? answer["next"] : Json(true);
  }
  EXPECT_EQ(found, 100u);
  EXPECT_GT(answers, 5u);
}

TEST_F(Jobs, CancelChangesWhatFitsAndNothingElse) {
  Peer& worker = h.worker({"add"});
  const TaskId runs = h.id(), waits = h.id(), other = h.id();
  client.submit(runs, "add", "", labelled({{"customer", "acme"}}));
  client.submit(waits, "add", "", labelled({{"customer", "acme"}}));
  client.submit(other, "add", "", labelled({{"customer", "else"}}));
  const Json dry = job("cancel", {{"filter", with_label("customer", "acme")}, {"dry_run", true}});
  EXPECT_EQ(dry["matched"], 2);
  EXPECT_EQ(dry["changed"], 0);
  EXPECT_TRUE(client.take(Kind::kResult).empty());
  const Json did = job("cancel", {{"filter", with_label("customer", "acme")}});
  EXPECT_EQ(did["matched"], 2);
  EXPECT_EQ(did["changed"], 2);
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kCancelled);
  worker.cancelled(worker.take(Kind::kCancel).at(0).ref);
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kCancelled);
  const auto tasks = worker.take(Kind::kTask);
  EXPECT_EQ(tasks.back().id, other);
}

TEST_F(Jobs, AJobLeavesAloneWhatCameBehindIt) {
  for (int i = 0; i < 3000; ++i) client.submit(h.id(), "add", "", labelled({{"a", "b"}}, 60'000));
  const Json answer = client.control("cancel", Json{{"filter", with_label("a", "b")}});
  const Json everything =
      client.control("reprioritise", Json{{"filter", {{"all", true}}}, {"priority", 5}});
  const TaskId late = h.id();
  client.submit(late, "add", "", labelled({{"a", "b"}}, 60'000));
  const Json job = done(answer);
  EXPECT_EQ(job["matched"], 3000);
  EXPECT_EQ(job["changed"], 3000);
  done(everything);
  EXPECT_EQ(client.query("task", &late)["state"], "delayed");
  EXPECT_EQ(client.query("task", &late)["priority"], 0);
}

TEST_F(Jobs, AJobTakesSmallSteps) {
  for (int i = 0; i < 3000; ++i) client.submit(h.id(), "add", "", labelled({{"a", "b"}}, 60'000));
  const Json answer = client.control("cancel", Json{{"filter", with_label("a", "b")}});
  h.advance(1ms);
  Json job = client.query("jobs")[0];
  EXPECT_EQ(job["state"], "running");
  EXPECT_EQ(job["looked"], 1024);
  EXPECT_EQ(job["total"], 3000);
  EXPECT_EQ(done(answer)["changed"], 3000);
}

TEST_F(Jobs, ReprioritiseMovesWhatWaits) {
  Peer& worker = h.worker({"add"});
  client.submit(h.id(), "add");
  const TaskId first = h.id(), second = h.id();
  client.submit(first, "add", "", labelled({{"a", "1"}}));
  client.submit(second, "add", "", labelled({{"a", "2"}}));
  const Json did = job("reprioritise", {{"filter", with_label("a", "2")}, {"priority", 20}});
  EXPECT_EQ(did["changed"], 1);
  worker.succeed(worker.expect(Kind::kTask).ref);
  EXPECT_EQ(worker.expect(Kind::kTask).id, second);
}

TEST_F(Jobs, RetryRunsAtOnceWhatIsDelayed) {
  Peer& worker = h.worker({"add"});
  const TaskId id = h.id();
  client.submit(
      id, "add", "",
      labelled({{"a", "1"}}).number(Attribute::kAttempts, 2).backoff(60'000, 60'000, 1, 0));
  worker.fail(worker.expect(Kind::kTask).ref);
  const Json did = job("retry", {{"filter", with_label("a", "1")}, {"id", json_of(h.id())}});
  EXPECT_EQ(did["changed"], 1);
  EXPECT_EQ(worker.expect(Kind::kTask).id, id);
}

TEST_F(Jobs, RetrySubmitsAgainWhatFailedForGood) {
  Peer& worker = h.worker({"add"});
  const TaskId id = h.id();
  client.submit(id, "add", "body",
                labelled({{"a", "1"}})
                    .number(Attribute::kRetention, 600'000)
                    .text(Attribute::kUnique, "u")
                    .text(Attribute::kOrderKey, "o")
                    .number(Attribute::kDeadline, 60'000)
                    .number(Attribute::kCodec, 2));
  worker.fail(worker.expect(Kind::kTask).ref, Attrs().error("E", "no").flag(Attribute::kNoRetry));
  EXPECT_EQ(client.expect(Kind::kResult).state, State::kFailed);
  client.ack();
  const Json filter = {{"labels", {{"a", "1"}}}, {"state", "failed"}};
  const TaskId base = h.id();
  const Json did = job("retry", {{"filter", filter}, {"id", json_of(base)}});
  EXPECT_EQ(did["changed"], 1);
  const Got again = worker.expect(Kind::kTask);
  EXPECT_NE(again.id, id);
  EXPECT_EQ(again.id.unix_ms(), base.unix_ms());
  EXPECT_EQ(again.body, "body");
  EXPECT_EQ(again.attempt, 1u);
  EXPECT_EQ(again.at(Attribute::kCodec), 2);
  EXPECT_EQ(again.at(Attribute::kLabels), (Json{{"a", "1"}}));
  EXPECT_EQ(again.at(Attribute::kTimeLeft), 60'000);
  // The key is its own again, and it is not submitted twice.
  client.submit(h.id(), "add", "",
                Attrs().text(Attribute::kUnique, "u").number(Attribute::kUniquePolicy, 1));
  client.expect_error(code::kDuplicate);
  EXPECT_EQ(job("retry", {{"filter", filter}, {"id", json_of(h.id())}})["changed"], 0);
  worker.succeed(again.ref, "well");
  client.await(again.id);
  EXPECT_EQ(client.expect(Kind::kResult).body, "well");
  client.ack();
  h.advance(11min);
  h.expect_empty();
}

TEST_F(Jobs, RetryLeavesAloneWhoseUniqueKeyIsTaken) {
  Peer& worker = h.worker({"add"});
  const Attrs attributes =
      Attrs().number(Attribute::kRetention, 600'000).text(Attribute::kUnique, "u");
  client.submit(h.id(), "add", "", attributes);
  worker.fail(worker.expect(Kind::kTask).ref, Attrs().flag(Attribute::kNoRetry));
  client.submit(h.id(), "add", "", attributes);
  client.inbox.clear();
  const Json did = job("retry", {{"filter", {{"state", "failed"}}}, {"id", json_of(h.id())}});
  EXPECT_EQ(did["matched"], 1);
  EXPECT_EQ(did["failed"], 1);
}

TEST_F(Jobs, WhatIsAskedWronglyIsRefused) {
  EXPECT_NE(refusal("cancel", Json::object()).find("filter: which tasks"), std::string::npos);
  EXPECT_NE(refusal("cancel", {{"filter", Json::object()}}).find("\"all\""), std::string::npos);
  EXPECT_NE(refusal("cancel", {{"filter", {{"labels", Json::object()}}}}).find("1 to 16"),
            std::string::npos);
  EXPECT_NE(refusal("cancel", {{"filter", {{"state", "asleep"}}}}).find("\"asleep\""),
            std::string::npos);
  EXPECT_NE(refusal("cancel", {{"filter", {{"colour", "red"}}}}).find("\"colour\""),
            std::string::npos);
  EXPECT_NE(refusal("cancel", {{"filter", {{"all", false}}}}).find("`all`"), std::string::npos);
  EXPECT_NE(refusal("reprioritise", {{"filter", {{"all", true}}}}).find("priority"),
            std::string::npos);
  EXPECT_NE(refusal("reprioritise", {{"filter", {{"all", true}}}, {"priority", 101}}).find("100"),
            std::string::npos);
  EXPECT_NE(refusal("retry", {{"filter", {{"all", true}}}}).find("id: "), std::string::npos);
  EXPECT_NE(refusal("stop", Json::object()).find("reprioritise"), std::string::npos);
}

TEST_F(Jobs, SoManyRunAtATime) {
  for (int i = 0; i < 16; ++i) client.control("cancel", Json{{"filter", {{"all", true}}}});
  client.send([&](Writer& w) {
    w.start(Kind::kControl, 4).pack_uint64(client.request());
    w.text("cancel");
    proto::write_json(w.packer(), Json{{"filter", {{"all", true}}}});
  });
  EXPECT_EQ(client.expect_error(code::kFull).value["limit"], "jobs");
  h.advance(1s);
  for (int i = 0; i < 100; ++i) {
    client.control("cancel", Json{{"filter", {{"all", true}}}});
    h.advance(10ms);
  }
  EXPECT_EQ(client.query("jobs").size(), 65u - 1u);
}

TEST_F(Jobs, LabelsAreBoundedAsBodiesAre) {
  Harness small([](config::Orchestration& c) { c.tuskd.limits.max_memory = config::Bytes{1000}; });
  Peer& peer = small.client();
  for (int i = 0; i < 4; ++i) {
    peer.submit(small.id(), "add", "", labelled({{"a", std::string(255, 'x')}}, 1000));
  }
  peer.submit(small.id(), "add", "", labelled({{"a", "x"}}, 1000));
  EXPECT_EQ(peer.expect_error(code::kFull).value["limit"], "max_memory");
}

}  // namespace
}  // namespace tusk::core
