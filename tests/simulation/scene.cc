#include "tests/simulation/scene.h"

#include <chrono>

namespace tusk::simulation {

namespace {

using std::chrono::milliseconds;

config::Stage stage(const std::string& name) {
  return {.name = name, .language = "", .function = name, .settings = {}};
}

PeerSpec draw_worker(Dice& dice) {
  PeerSpec spec;
  spec.worker = true;
  spec.client = dice.one_in(5);
  spec.acks = !dice.one_in(4);
  spec.watched = !dice.one_in(3);
  spec.lazy = dice.one_in(8);
  spec.language = dice.one_in(8) ? "rust" : "python";
  if (dice.one_in(2)) spec.pool = "gpu";
  spec.slots = 1 + dice.below(dice.one_in(3) ? 5 : 2);
  for (const std::string& type : kTypes) {
    const bool rare = type == "odd" || type == "rare" || type == "misc" || type == "late";
    if (type == "gpu" && spec.pool != "gpu" && !dice.one_in(40)) continue;
    if (dice.one_in(rare ? 5 : 2)) spec.types.push_back(type);
  }
  for (const std::string& name : kStages) {
    if (dice.one_in(2)) spec.handlers.push_back(name);
  }
  return spec;
}

// With dice of its own: what else there is does not depend on topics.
void draw_topics(config::Orchestration& c, uint64_t seed) {
  Dice dice(seed * 0x9E3779B97F4A7C15u + 2);
  for (const std::string& name : kTopics) {
    c.topics.push_back({.name = name, .message = {}, .retain = dice.one_in(3)});
    if (dice.one_in(4)) c.topics.back().rate = config::Rate{1.0 + dice.below(20)};
    if (dice.one_in(8)) c.topics.back().burst = 1 + dice.below(5);
  }
  config::Limits& limit = c.tuskd.limits;
  if (dice.one_in(6)) limit.max_subscriptions = 1 + dice.below(2);
  if (dice.one_in(2)) limit.subscriber_window = config::Bytes{100 + dice.below(1500)};
  if (dice.one_in(2)) limit.subscriber_backlog = config::Bytes{300 + dice.below(1500)};
}

}  // namespace

Scene::Scene(uint64_t s) : seed(s) {
  Dice dice(s * 0x9E3779B97F4A7C15u + 1);
  const uint32_t clients = 1 + dice.below(3), workers = 1 + dice.below(5);
  for (uint32_t i = 0; i < clients; ++i) {
    peers.push_back({.client = true, .acks = !dice.one_in(4), .lazy = dice.one_in(6)});
  }
  for (uint32_t i = 0; i < workers; ++i) peers.push_back(draw_worker(dice));
  reqs = 1 + dice.below(2);
  events_out = dice.one_in(2);
  pipeline_out = dice.one_in(2);
  big_bodies = dice.one_in(4);

  config::Orchestration& c = base_;
  c.types["add"].attempts = 1 + dice.below(3);
  c.types["mul"].load_balancing = config::LoadBalancing::least_connections;
  c.types["few"].max_waiting = 1 + dice.below(4);
  c.types["gpu"].pool = "gpu";
  c.types["late"].unserved = config::Unserved::wait;
  draw_topics(c, s);
  const uint32_t stages = dice.below(4);
  for (uint32_t i = 0; i < stages; ++i) {
    c.stages.push_back(stage(kStages[i]));
    if (dice.one_in(6)) c.stages.back().language = "cpp";
  }
  c.default_timeout = milliseconds(200 + dice.below(2000));
  config::Limits& limit = c.tuskd.limits;
  auto few = [&](uint32_t one_in, size_t much, size_t least, size_t span) {
    return dice.one_in(one_in) ? least + dice.below(span) : much;
  };
  limit.stage_capacity = 1 + dice.below(4);
  limit.push_window = 1 + dice.below(5);
  limit.ended_window = few(2, 1000, 2, 12);
  limit.max_tasks = few(4, 1000, 3, 15);
  limit.max_types = few(4, 1000, 6, 3);
  limit.max_sessions = few(6, 1000, peers.size() + 2, 3);  // a helper, an operator
  if (dice.one_in(3)) {  // bounds that peers reach who do not acknowledge
    limit.max_session_bytes = config::Bytes{1000 + dice.below(dice.one_in(2) ? 2000 : 20'000)};
    for (PeerSpec& spec : peers) spec.lazy |= dice.one_in(2);
  }
  limit.max_memory = config::Bytes{few(6, 1 << 30, 50, 400)};
  limit.max_body = config::Bytes{few(4, 64'000, 100, 9000)};
  limit.max_frame = config::Bytes{64'000};
  limit.max_records = few(3, 1024, 2, 8);
  limit.max_frames = few(3, 256, 2, 3);
  limit.max_crashes = 1 + dice.below(3);
  config::Times& time = c.tuskd.times;
  time.session_ttl = milliseconds(1500 + dice.below(4000));
  time.reconnect_grace = milliseconds(50 + dice.below(600));
  time.unserved_grace = milliseconds(200 + dice.below(1500));
  time.cancel_grace = milliseconds(20 + dice.below(500));
  time.shutdown_grace = milliseconds(100 + dice.below(1000));
  time.retry_backoff = milliseconds(5 + dice.below(60));
  time.max_backoff = milliseconds(40 + dice.below(200));
  if (dice.one_in(8)) {
    c.worker_languages = std::vector<std::string>{"python"};
    for (config::Stage& each : c.stages) each.language = "";  // or nobody may serve it
  }
  c.master_language = "python";
  if ((features.times = dice.one_in(2))) {
    c.types["mul"].timeout = milliseconds(10 + dice.below(200));
    c.types["few"].heartbeat_timeout = milliseconds(10 + dice.below(200));
    if (dice.one_in(3)) c.types["few"].delay = milliseconds(dice.below(60));
    if (dice.one_in(3)) c.types["add"].deadline = milliseconds(50 + dice.below(400));
  }
  if ((features.retries = dice.one_in(2))) {
    c.types["mul"].attempts = 1 + dice.below(4);
    if (dice.one_in(2)) c.types["mul"].no_retry_on = {"RunTimeout", "Failed"};
    c.types["add"].backoff_factor = 1 + dice.below(3);
  }
  if ((features.order_keys = dice.one_in(3))) {
    for (const char* name : {"add", "mul"}) {
      if (dice.one_in(2)) c.types[name].order_on_dead = config::OnDead::block;
    }
  }
  features.limits = dice.one_in(3);
  // With groups, it is not said which of the aged tasks goes.
  c.tuskd.times.ageing = std::chrono::hours(1);
  if (dice.one_in(3)) {
    features.groups = true;
  } else if (dice.one_in(2)) {
    features.priorities = true;
    c.types["mul"].priority.level = 5;
    c.tuskd.times.ageing = milliseconds(dice.one_in(3) ? 100'000 : 1 + dice.below(60));
    c.tuskd.limits.ageing_share = 1 + dice.below(4);
  } else {
    features.limit_keys = features.limits;  // which of a key is next is not said
  }
  if (features.limits) {
    draw_limits(c, dice);
    limit.max_types = 1000;
  }
  set_backoff(c);
}

// Limits of types and keys; a task that they keep back waits.
void Scene::draw_limits(config::Orchestration& c, Dice& dice) const {
  auto rate = [&] { return config::Rate{.per_second = static_cast<double>(2 + dice.below(60))}; };
  for (const char* name : {"add", "mul", "few", "odd"}) {
    config::TaskType& type = c.types[name];
    type.unserved = config::Unserved::wait;
    type.concurrency = type.key_concurrency = type.burst = type.key_burst = {};
    type.rate = type.key_rate = {};
    if (dice.one_in(3)) type.concurrency = 1 + dice.below(3);
    if (dice.one_in(3)) type.rate = rate();
    if (dice.one_in(3)) type.burst = 1 + dice.below(4);
    if (!features.limit_keys) continue;
    if (dice.one_in(2)) type.key_concurrency = 1 + dice.below(2);
    if (dice.one_in(3)) type.key_rate = rate();
    if (dice.one_in(3)) type.key_burst = 1 + dice.below(4);
  }
}

// The core's dice would be drawn between two packets: without them the model knows when a task is
// due. That they keep their bounds is for a unit test to say.
void Scene::set_backoff(config::Orchestration& c) {
  auto set = [&](config::TaskType& type) {
    type.retry_backoff = c.tuskd.times.retry_backoff;
    type.max_backoff = c.tuskd.times.max_backoff;
    type.backoff_jitter = 0;
  };
  set(c.other_type);
  for (auto& [name, type] : c.types) set(type);
}

std::shared_ptr<const config::Orchestration> Scene::config(uint32_t variant) const {
  auto out = std::make_shared<config::Orchestration>(base_);
  if (variant == 0) return out;
  config::Orchestration& c = *out;
  Dice dice(seed * 31 + variant);
  if (dice.one_in(2)) c.types["add"].attempts = 1 + dice.below(3);
  if (dice.one_in(2)) {
    std::swap(c.types["mul"].load_balancing, c.types["add"].load_balancing);
  }
  if (dice.one_in(2)) c.types["few"].max_waiting = 1 + dice.below(5);
  if (dice.one_in(3)) c.types.erase("gpu");
  if (dice.one_in(3)) c.types.erase("few");
  if (dice.one_in(4)) c.types["add"].pool = "gpu";
  if (dice.one_in(4)) c.types["late"].unserved = config::Unserved::error;
  if (dice.one_in(4)) c.types["rare"].attempts = 2;
  if (dice.one_in(3) && !c.stages.empty()) c.stages.pop_back();
  if (dice.one_in(4) && c.stages.size() < kStages.size()) {
    c.stages.push_back(stage(kStages[c.stages.size()]));
  }
  if (dice.one_in(6) && c.stages.size() > 1) std::swap(c.stages[0], c.stages[1]);
  if (dice.one_in(3)) c.topics.pop_back();
  if (dice.one_in(3)) c.tuskd.limits.stage_capacity = 1 + dice.below(4);
  if (dice.one_in(3)) c.tuskd.limits.ended_window = 2 + dice.below(20);
  if (dice.one_in(4)) c.tuskd.limits.max_crashes = 1 + dice.below(3);
  if (dice.one_in(4)) c.tuskd.times.cancel_grace = milliseconds(20 + dice.below(500));
  if (features.limits) draw_limits(c, dice);
  set_backoff(c);
  return out;
}

}  // namespace tusk::simulation
