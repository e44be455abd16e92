// The configuration: applied at the start and, all or nothing, by a reload.
#include <algorithm>
#include <set>

#include "daemon/core/broker.h"

namespace tusk::core {

proto::Limits Broker::limits() const {
  const config::Limits& from = config_->tuskd.limits;
  return {.frame = from.max_frame,
          .body = from.max_body,
          .records = from.max_records,
          .frames = from.max_frames,
          .session_bytes = from.max_session_bytes,
          .push_window = from.push_window,
          .checkpoint = from.max_checkpoint};
}

void Broker::on(const Reload& event) {
  ReloadOutcome outcome;
  outcome.refused = reload_obstacles(*event.config);
  if (outcome.refused.empty()) {
    config_ = event.config;
    around_.checkers = event.checkers;
    apply(*config_);
    ++counters_.reloads;
  } else {
    ++counters_.reloads_refused;
  }
  actions_->reload = std::move(outcome);
}

// What a new configuration would take away although it still holds something.
std::vector<std::string> Broker::reload_obstacles(const config::Orchestration& fresh) const {
  std::vector<std::string> out;
  std::set<std::string_view> stages, topics;
  for (const config::Stage& stage : fresh.stages) stages.insert(stage.name);
  for (const config::Topic& topic : fresh.topics) topics.insert(topic.name);
  for (uint32_t t = 0; t < scheduler_.types(); ++t) {
    if (!scheduler_.exists(t)) continue;
    const Type& type = scheduler_.type(t);
    const bool stays = type.is_stage ? stages.count(type.name) > 0
                                     : !type.configured || fresh.types.count(type.name) > 0;
    if (stays || type.held() == 0) continue;
    out.push_back((type.is_stage ? "stage \"" : "type \"") + type.name + "\" cannot go: it holds " +
                  std::to_string(type.held()) + (type.is_stage ? " items" : " tasks"));
  }
  for (const auto& [name, topic] : topics_) {
    if (topics.count(name) > 0) continue;
    // Those that came by a pattern did not ask for this one.
    const auto by_name = std::count_if(
        topic->subscribers.begin(), topic->subscribers.end(), [&, &name = name](uint32_t s) {
          const auto& all = sessions_[s].subscriptions;
          return std::any_of(all.begin(), all.end(),
                             [&](const Subscription& own) { return own.pattern == name; });
        });
    if (by_name == 0) continue;
    out.push_back("topic \"" + name + "\" cannot go: it has " + std::to_string(by_name) +
                  " subscribers");
  }
  return out;
}

// Makes types, stages and topics those of `fresh`. Nothing that it removes holds anything.
void Broker::apply(const config::Orchestration& fresh) {
  // Workers leave, and come back to what they may serve then; what they run goes on.
  for (uint32_t w = 0; w < workers_.size(); ++w) {
    if (workers_[w].session != kNone) scheduler_.leave(w, now_);
  }
  apply_types(fresh);
  apply_stages(fresh);
  apply_topics(fresh);
  list_writing();
  scheduler_.set_ageing_share(fresh.tuskd.limits.ageing_share);
  resize_ended_window(fresh.tuskd.limits.ended_window);
  for (uint32_t w = 0; w < workers_.size(); ++w) {
    if (workers_[w].session == kNone || workers_[w].away) continue;
    scheduler_.join(w, serves(sessions_[workers_[w].session]));
    leave_sticky_lanes(w);
  }
  for (uint32_t t = 0; t < scheduler_.types(); ++t) {
    if (!scheduler_.exists(t)) continue;
    serve_type(t);
    if (scheduler_.type(t).is_stage) admit(t);
    if (scheduler_.has_unserved(t)) wait_for_worker(t);
  }
}

void Broker::apply_types(const config::Orchestration& fresh) {
  for (const auto& [name, settings] : fresh.types) {
    if (scheduler_.find_type(name) == kNone) scheduler_.add_type(name, false);
  }
  for (uint32_t t = 0; t < scheduler_.types(); ++t) {
    if (!scheduler_.exists(t) || scheduler_.type(t).is_stage) continue;
    Type& type = scheduler_.type(t);
    type.configured = fresh.types.count(type.name) > 0;
    configure_type(t);
    if (type.limited || type.settings.concurrency || type.settings.rate) refresh_type(t);
    for (const auto* keys : {&type.limit_keys, &type.order_keys}) {
      for (const auto& [key, gate] : *keys) {
        set_key_rate(gates_[gate]);
        look_at(gate);
      }
    }
  }
}

void Broker::apply_stages(const config::Orchestration& fresh) {
  std::vector<uint32_t> order;
  for (const config::Stage& stage : fresh.stages) {
    uint32_t t = scheduler_.find_stage(stage.name);
    if (t == kNone) t = scheduler_.add_type(stage.name, true);
    Type& type = scheduler_.type(t);
    type.configured = true;
    type.handler = stage.function;
    type.settings = fresh.type(stage.name);
    type.bodies = rule_for(stage.message);
    type.capacity = fresh.tuskd.limits.stage_capacity;
    type.stage = static_cast<uint32_t>(order.size());
    type.reserved = order.empty() ? 0 : scheduler_.type(order.back()).running;
    order.push_back(t);
  }
  for (uint32_t t : scheduler_.stages()) {
    if (std::find(order.begin(), order.end(), t) != order.end()) continue;
    timers_.cancel(scheduler_.type(t).unserved_timer);
    timers_.cancel(scheduler_.type(t).pause_timer);
    scheduler_.remove_type(t);
  }
  scheduler_.stages() = std::move(order);
}

namespace {

// Whether these settings ask nothing of a task that it would have to remember.
bool is_plain(const config::TaskType& type) {
  return !type.deadline && !type.timeout && !type.heartbeat_timeout &&
         type.retention == config::Duration{0} && type.required.empty() && type.prefers.empty() &&
         type.consumes.empty();
}

}  // namespace

// A task type gets what the config says of it.
void Broker::configure_type(uint32_t t) {
  Type& type = scheduler_.type(t);
  type.settings = config_->type(type.name);
  type.plain = is_plain(type.settings);
  type.bodies = rule_for(config_->message_of(type.name));
}

BodyRule Broker::rule_for(const std::optional<std::string>& message) const {
  if (!message) return {};
  auto checker = around_.checkers.find(*message);
  return {*message, checker == around_.checkers.end() ? nullptr : checker->second};
}

// What welcome tells of message types: those that say a format or a compression.
void Broker::list_writing() {
  auto& [types, stages, topics] = writing_;
  size_t bytes = 0;
  auto add = [&](std::vector<Writing>& to, const std::string& name,
                 const std::optional<std::string>& message) {
    auto found = message ? config_->messages.find(*message) : config_->messages.end();
    if (found == config_->messages.end()) return;
    const config::MessageType& entry = found->second.entry;
    if (!entry.format && !entry.compression) return;
    // A config of thousands of long names must not make a welcome that is over the limit of a
    // packet. Who is not told writes as always, and hears of it if that is wrong.
    constexpr size_t kOverhead = 32;
    bytes += name.size() + kOverhead;
    if (bytes <= config_->tuskd.limits.max_frame.count / 2) to.push_back({name, &entry});
  };
  types.clear();
  stages.clear();
  topics.clear();
  for (const auto& [name, type] : config_->types) add(types, name, type.message);
  for (const auto& entry : config_->messages) {
    if (!config_->types.contains(entry.first)) add(types, entry.first, entry.first);
  }
  for (const config::Stage& stage : config_->stages) add(stages, stage.name, stage.message);
  for (const config::Topic& topic : config_->topics) add(topics, topic.name, topic.message);
}

// The window of ended ids gets a new size; the oldest ids go if there are too many.
void Broker::resize_ended_window(size_t window) {
  if (ended_.size() <= window && ended_next_ == 0) return;  // it may still grow as it is
  std::vector<EndedTask> old(ended_.size());
  for (size_t i = 0; i < ended_.size(); ++i) old[i] = ended_[(ended_next_ + i) % ended_.size()];
  for (const EndedTask& ended : ended_) index_.erase(ended.id.hash(), find_task(ended.id));
  const size_t dropped = old.size() > window ? old.size() - window : 0;
  for (size_t i = 0; i < dropped; ++i) {
    newest_let_go_ = std::max(newest_let_go_, old[i].id.unix_ms());
  }
  ended_.clear();
  ended_next_ = 0;
  for (size_t i = dropped; i < old.size(); ++i) {
    index_.insert(old[i].id.hash(), remember(old[i]));
  }
}

}  // namespace tusk::core
