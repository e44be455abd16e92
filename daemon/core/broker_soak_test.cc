// Many sessions, random events. The harness checks the broker's invariants after every step, and
// each peer what it gets; in the end every request has its one answer and nothing is left.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "daemon/core/broker_harness.h"

namespace tusk::core {
namespace {

class Soak {
 public:
  explicit Soak(uint32_t seed) : random_(seed) {
    for (int i = 0; i < 3; ++i) clients_.push_back(&h.client());
    for (int i = 0; i < 4; ++i) hire();
    for (int i = 0; i < 2; ++i) reqs_.push_back(&h.req());
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      step();
      if (::testing::Test::HasFailure()) return;
    }
    settle();
  }

  const Counters& counters() const { return h.counters(); }

 private:
  static void configure(config::Orchestration& c) {
    c.types["add"].attempts = 2;
    c.types["mul"].load_balancing = config::LoadBalancing::least_connections;
    c.types["few"].max_waiting = 3;
    c.types["pooled"].pool = "gpu";
    for (const char* name : {"clean", "enrich", "store"}) {
      c.stages.push_back({.name = name, .language = "", .function = name, .settings = {}});
    }
    c.topics = {{.name = "prices", .message = {}}, {.name = "news", .message = {}}};
    c.tuskd.limits.stage_capacity = 4;
    c.tuskd.limits.push_window = 5;
    c.tuskd.limits.ended_window = 40;
    c.tuskd.limits.max_tasks = 300;
    c.tuskd.limits.max_session_bytes = config::Bytes{60'000};
    c.tuskd.times.session_ttl = std::chrono::hours(1);
  }

  uint32_t pick(size_t n) { return static_cast<uint32_t>(random_() % n); }
  bool chance(uint32_t one_in) { return pick(one_in) == 0; }
  template <typename T>
  T& any(std::vector<T*>& list) {
    return *list[pick(list.size())];
  }

  void hire() {
    static const std::vector<std::string> kTypes = {"add", "mul", "few", "pooled"};
    static const std::vector<std::string> kHandlers = {"clean", "enrich", "store"};
    HelloFields fields{.role = chance(4) ? "both" : "worker",
                       .acks = !chance(4),
                       .slots = 1 + pick(4),
                       .watched = !chance(4)};
    if (chance(2)) fields.pool = "gpu";
    for (const std::string& name : kTypes) {
      if (chance(2) && (name != "pooled" || fields.pool == "gpu")) fields.types.push_back(name);
    }
    for (const std::string& name : kHandlers) {
      if (chance(2)) fields.handlers.push_back(name);
    }
    workers_.push_back(&h.peer(fields));
  }

  TaskId some_id() {
    if (ids_.empty() || !chance(8)) ids_.push_back(h.id());
    return chance(8) ? ids_[pick(ids_.size())] : ids_.back();
  }
  std::string some_body() { return chance(10) ? std::string(9000, 'x') : std::to_string(pick(3)); }

  void asked(Peer& client, uint64_t request) { open_[&client].insert(request); }

  // Every request has one answer, but that one which said so is accepted first.
  void read(Peer& client) {
    for (; !client.inbox.empty(); client.inbox.pop_front()) {
      const Got& got = client.inbox.front();
      if (got.kind == Kind::kEvent || got.ref == 0 || got.kind == Kind::kTask) continue;
      if (got.kind == Kind::kAccepted && both_[&client].count(got.ref)) continue;
      EXPECT_EQ(open_[&client].erase(got.ref), 1u)
          << proto::kind_name(got.kind) << " " << got.name << " for a request that had its answer";
    }
  }

  void submit(Peer& client) {
    static const char* kTypes[] = {"add", "mul", "few", "pooled", "odd"};
    Attrs attributes;
    const uint32_t reply = pick(3);
    if (reply) attributes.number(Attribute::kReply, reply);
    if (chance(6)) attributes.number(Attribute::kWait, 1 + pick(500));
    if (chance(6)) attributes.flag(Attribute::kResent);
    if (chance(40)) attributes.raw(999, 1);
    const uint64_t request =
        client.submit(some_id(), kTypes[chance(20) ? 4 : pick(4)], some_body(), attributes);
    asked(client, request);
    if (reply == 2) both_[&client].insert(request);
  }

  void step() {
    Peer& client = any(clients_);
    switch (pick(16)) {
      case 0:
      case 1:
      case 2:
        if (open_[&client].size() < 40) submit(client);
        break;
      case 3: {
        static const char* kStages[] = {"clean", "enrich", "store", "nowhere"};
        if (open_[&client].size() < 40) {
          asked(client, client.push(some_id(), kStages[chance(20) ? 3 : pick(3)], some_body()));
        }
        break;
      }
      case 4:
        if (!ids_.empty())
          asked(client,
                client.cancel(ids_[ids_.size() - 1 - pick(std::min<size_t>(ids_.size(), 20))]));
        break;
      case 5:
        asked(client, chance(3) ? client.subscribe("prices")
                                : client.publish(chance(2) ? "prices" : "news", some_body()));
        break;
      case 6:
      case 7:
      case 8:
      case 9:
      case 10:
        work(any(workers_), false);
        break;
      case 11:
        if (chance(3)) trouble();
        break;
      case 12:
        if (client.connected() && chance(4)) {
          client.disconnect();
        } else if (!client.connected()) {
          client.come_back();
          EXPECT_EQ(client.welcome["resumed"], true);
        }
        break;
      case 13:
        client.ack();
        any(workers_).ack();
        break;
      case 14:
        h.advance(chance(20) ? 3s : std::chrono::milliseconds(pick(60)));
        break;
      case 15:
        other();
        break;
    }
    for (Peer* c : clients_) read(*c);
  }

  // A worker answers one of its runs.
  void work(Peer& worker, bool well) {
    worker.inbox.clear();
    if (worker.runs.empty() || !worker.connected()) return;
    auto it = std::next(worker.runs.begin(), static_cast<long>(pick(worker.runs.size())));
    const uint64_t handle = it->first;
    switch (well ? 0 : pick(12)) {
      case 1:
        return worker.fail(handle, Attrs().error("E", "m"));
      case 2:
        return worker.fail(handle, Attrs().flag(Attribute::kNoRetry));
      case 3:
        return worker.cancelled(handle);
      case 4:
        return worker.give_back({handle, 12345});
      case 5:
        return worker.drop(handle);
      case 6:
        if (chance(6)) return worker.fail(handle, Attrs().flag(Attribute::kCrashed));
        return worker.succeed(handle, some_body());
      case 7:
        if (chance(4)) return worker.succeed(handle + 1, "not mine");
        return worker.succeed(handle);
      default:
        return worker.succeed(handle, some_body());
    }
  }

  void trouble() {
    const size_t at = pick(workers_.size());
    Peer& worker = *workers_[at];
    if (!worker.connected()) {
      if (chance(2)) h.advance(1s);
      worker.checks_slots = false;
      return worker.come_back();
    }
    switch (pick(4)) {
      case 0:
        return worker.disconnect();
      case 1:
        if (worker.fields.watched) worker.die(chance(2));
        break;
      case 2:
        worker.checks_slots = false;
        return worker.slots(pick(5));
      case 3:
        worker.send([](Writer& w) { w.bye(""); });
        worker.disconnect();
        break;
    }
    if (worker.connected()) return;
    workers_.erase(workers_.begin() + static_cast<long>(at));
    hire();
  }

  void other() {
    ReqPeer& req = any(reqs_);
    switch (pick(5)) {
      case 0:
        req.replies.clear();
        return req.ask([&](Writer& w) { w.submit(1, some_id(), "add", BodyOut::copied("1"), {}); });
      case 1:
        req.replies.clear();
        return req.ask([&](Writer& w) { w.push(1, some_id(), "clean", BodyOut::copied("1"), {}); });
      case 2: {
        Peer& client = any(clients_);
        if (client.connected()) client.send([](Writer& w) { w.packer().pack_nil(), w.ping(1); });
        return;
      }
      case 3:
        h.reload([&](config::Orchestration& c) {
          c.types["mul"].load_balancing = chance(2) ? config::LoadBalancing::least_connections
                                                    : config::LoadBalancing::round_robin;
          c.types["few"].max_waiting = 1 + pick(5);
          c.tuskd.limits.ended_window = 20 + pick(40);
        });
        return;
      case 4: {
        Writer out;
        out.push(0, h.id(), "clean", BodyOut::copied("edge"), {});
        const std::string records(out.records().view());
        if (h.broker->takes_edge_items()) h.handle(EdgeItems{records, {}});
        return;
      }
    }
  }

  // No more trouble: everything that was begun ends.
  void settle() {
    for (Peer* w : workers_) {
      w->checks_slots = false;  // it may have been away for long, and hold runs of others by now
      if (!w->connected()) w->come_back();
      w->send([](Writer& out) { out.bye(""); });
    }
    workers_.clear();
    for (int i = 0; i < 2; ++i) {
      workers_.push_back(&h.peer({.role = "worker",
                                  .pool = "gpu",
                                  .types = {"add", "mul", "few", "pooled", "odd"},
                                  .handlers = {"clean", "enrich", "store"},
                                  .slots = 20}));
    }
    for (Peer* c : clients_) {
      if (!c->connected()) c->come_back();
    }
    auto busy = [&] {
      for (Peer* c : clients_) {
        if (!open_[c].empty()) return true;
      }
      return h.status()["waiting"] != 0 || h.status()["running"] != 0;
    };
    for (int round = 0; round < 1000 && (round % 50 || busy()); ++round) {
      for (Peer* w : workers_) {
        work(*w, true);
        w->ack();
      }
      for (Peer* c : clients_) {
        read(*c);
        c->ack();
      }
      if (round % 10 == 0) h.advance(50ms);
    }
    for (Peer* c : clients_) {
      EXPECT_TRUE(open_[c].empty()) << open_[c].size() << " requests never had an answer";
      c->send([](Writer& out) { out.bye(""); });
    }
    for (Peer* w : workers_) w->send([](Writer& out) { out.bye(""); });
    h.advance(std::chrono::hours(2));
    h.expect_empty();
    EXPECT_EQ(BrokerInspector::live_sessions(*h.broker), 1u) << "that which asks for the status";
    EXPECT_EQ(BrokerInspector::timers(*h.broker), 0u);
  }

  std::mt19937 random_;
  Harness h{configure};
  std::vector<Peer*> clients_, workers_;
  std::vector<ReqPeer*> reqs_;
  std::vector<TaskId> ids_;
  std::map<Peer*, std::set<uint64_t>> open_, both_;
};

// TUSK_SOAK_SEEDS=1000 makes it a long run.
TEST(Soak, EveryRequestHasOneAnswerAndNothingIsLeft) {
  const char* wanted = std::getenv("TUSK_SOAK_SEEDS");
  const uint32_t seeds = wanted ? static_cast<uint32_t>(std::atoi(wanted)) : 4;
  std::map<std::string, uint64_t> sums;
  for (uint32_t seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Soak soak(seed);
    soak.run(1500);
    if (HasFailure()) return;
    soak.counters().each([&](std::string_view name, std::string_view, uint64_t value) {
      sums[std::string(name)] += value;
    });
  }
  // It is worth as much as what happens in it.
  for (const char* name : {"joined",
                           "succeeded",
                           "failed",
                           "cancelled",
                           "dead",
                           "retried",
                           "requeued",
                           "crashed",
                           "pushed",
                           "items_done",
                           "items_dropped",
                           "items_dead",
                           "events_delivered",
                           "sessions_resumed",
                           "packets_refused",
                           "records_refused",
                           "errors_unknown_handle",
                           "errors_full",
                           "timeouts",
                           "reloads"}) {
    EXPECT_GT(sums[name], 0u) << name;
  }
}

}  // namespace
}  // namespace tusk::core
