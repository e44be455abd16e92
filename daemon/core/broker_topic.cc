// Topics: an event goes to every session that subscribed, and to the XPUB edge.
#include <algorithm>

#include "daemon/core/broker.h"

namespace tusk::core {

using proto::Kind;
using proto::Record;
using proto::Writer;
namespace code = proto::code;

uint32_t Broker::find_topic(std::string_view name) const {
  for (uint32_t i = 0; i < topics_.size(); ++i) {
    if (topics_[i]->name == name) return i;
  }
  return kNone;
}

std::string Broker::nearest_topic(std::string_view name) const {
  std::string best;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const auto& topic : topics_) {
    if (size_t d = edit_distance(name, topic->name); d < best_distance) {
      best_distance = d;
      best = topic->name;
    }
  }
  return best.empty() ? "" : "; did you mean \"" + best + "\"?";
}

void Broker::publish(const Caller& caller, const Record& record) {
  const uint32_t index = find_topic(record.name);
  if (index == kNone) {
    const std::string message = "the config names no topic \"" + std::string(record.name) + "\"" +
                                nearest_topic(record.name);
    if (!caller.edge) return error(caller, record.ref, code::kUnknownTopic, message);
    ++counters_.edge_dropped;
    return log(config::LogLevel::warning, LogTopic::kEdge, [&] { return message; });
  }
  if (!check_body(caller, record)) {
    counters_.edge_dropped += caller.edge;
    return;
  }
  Topic& topic = *topics_[index];
  if (!check_schema(caller, record, topic.bodies, topic.name)) return;
  ++topic.sequence;
  ++topic.published;
  ++counters_.published;
  scratch_.clear();
  scratch_.forward(record.attributes.all);
  const proto::BodyOut body = body_out(record);
  const size_t more = kRecordOverhead + body.inline_bytes.size() + scratch_.entries().size();
  for (uint32_t subscriber : topic.subscribers) {
    Session& session = sessions_[subscriber];
    if (session.over_bound) {
      ++topic.missed;
      ++counters_.events_missed;
      continue;
    }
    writer(session, more).event(topic.sequence, topic.name, body, scratch_);
    ++counters_.events_delivered;
  }
  if (!around_.events_out.empty()) {
    if (topic.edge.empty()) {
      dirty_topics_.push_back(index);
    } else if (!has_room(topic.edge, more)) {
      send_topic(topic);
    }
    topic.edge.event(topic.sequence, topic.name, body, scratch_);
  }
  // An asynchronous publish (request 0) hears only of errors; a REQ peer always gets its reply.
  if (record.ref != 0 || caller.request != kNone) accept(caller, record.ref);
}

void Broker::send_topic(Topic& topic) {
  if (topic.edge.empty()) return;
  actions_->events.push_back({topic.name + '\0', proto::Bytes::copy(topic.edge.records().view()),
                              std::move(topic.edge.frames())});
  topic.edge.clear();
}

void Broker::subscribe(Session& session, const Record& record) {
  const Caller caller{.session = session.index};
  const uint32_t index = find_topic(record.name);
  if (index == kNone) {
    return error(caller, record.ref, code::kUnknownTopic,
                 "the config names no topic \"" + std::string(record.name) + "\"" +
                     nearest_topic(record.name));
  }
  std::vector<uint32_t>& subscribers = topics_[index]->subscribers;
  if (std::find(subscribers.begin(), subscribers.end(), session.index) == subscribers.end()) {
    subscribers.push_back(session.index);
    session.topics.push_back(index);
  }
  accept(caller, record.ref);
}

void Broker::unsubscribe(Session& session, const Record& record) {
  const uint32_t index = find_topic(record.name);
  if (index != kNone) {
    std::erase(topics_[index]->subscribers, session.index);
    std::erase(session.topics, index);
  }
  accept(Caller{.session = session.index}, record.ref);
}

void Broker::on(const EdgeEvents& event) {
  bodies_ = event.bodies;
  auto drop = [&](const char* why) {
    ++counters_.edge_dropped;
    log(config::LogLevel::warning, LogTopic::kEdge,
        [&] { return std::string("dropped a message on the event edge: ") + why; });
  };
  if (event.topic.empty() || event.topic.back() != '\0') {
    return drop("frame 0 must be the topic and one 0x00 byte");
  }
  const std::string_view topic = event.topic.substr(0, event.topic.size() - 1);
  proto::Decoded decoded = decode(event.records, event.bodies);
  if (!decoded.ok()) return drop(decoded.malformed.why);
  for (const Record& record : decoded.records) {
    if (record.kind != Kind::kEvent || record.name != topic || !record.fault.empty()) {
      drop("a record that is not an event of the topic in frame 0");
    } else {
      publish(Caller{.edge = true}, record);
    }
  }
}

}  // namespace tusk::core
