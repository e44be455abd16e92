// Topics: each event to every session that subscribed, numbered, and to the XPUB edge.
#include <algorithm>

#include "tests/simulation/model.h"

namespace tusk::simulation {

namespace code = proto::code;
using proto::Record;

void Model::on_publish(const Who& who, const Record& record) {
  auto it = topics_.find(std::string(record.name));
  if (it == topics_.end()) {
    return error(who, Rule::one_answer, record.ref, code::kUnknownTopic);
  }
  if (!check_body(who, record)) return;
  Topic& topic = it->second;
  const Due due{.rule = Rule::events,
                .kind = Kind::kEvent,
                .ref = ++topic.sequence,
                .name = it->first,
                .has_body = record.body.where != proto::BodyRef::Where::kNone,
                .body = std::string(body_view(record)),
                .attributes = forwarded(record.attributes.all)};
  for (uint64_t number : topic.subscribers) {
    Session& session = sessions_.at(number);
    if (!session.over) owe_session(session, due);
  }
  if (machine_.events_out) {
    events_due_.push_back({it->first, due});
    events_due_.back().second.rule = Rule::events_edge;
  }
  if (who.edge) return;
  if (record.ref != 0 || who.req) accepted(who, record.ref);
}

void Model::on_subscribe(Session& session, const Record& record) {
  const Who who{.session = session.number};
  auto it = topics_.find(std::string(record.name));
  if (it == topics_.end()) {
    return error(who, Rule::one_answer, record.ref, code::kUnknownTopic);
  }
  std::vector<uint64_t>& subscribers = it->second.subscribers;
  if (std::find(subscribers.begin(), subscribers.end(), session.number) == subscribers.end()) {
    subscribers.push_back(session.number);
  }
  accepted(who, record.ref);
}

void Model::on_unsubscribe(Session& session, const Record& record) {
  auto it = topics_.find(std::string(record.name));
  if (it != topics_.end()) std::erase(it->second.subscribers, session.number);
  accepted({.session = session.number}, record.ref);
}

void Model::on_edge_events(const core::EdgeEvents& event) {
  bodies_ = event.bodies;
  if (event.topic.empty() || event.topic.back() != '\0') return;
  const bool has_empty = std::any_of(event.bodies.begin(), event.bodies.end(),
                                     [](const proto::Bytes& body) { return body.size() == 0; });
  const proto::Decoded decoded = in_.decode(event.records, event.bodies.size());
  if (!decoded.ok() || has_empty) return;
  const std::string_view topic = event.topic.substr(0, event.topic.size() - 1);
  for (const Record& record : decoded.records) {
    const bool right = record.kind == Kind::kEvent && record.name == topic && record.fault.empty();
    if (right) on_publish({.edge = true}, record);
  }
}

}  // namespace tusk::simulation
