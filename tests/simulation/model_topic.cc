// Topics: each event to every session that subscribed, numbered, and to the XPUB edge.
#include <algorithm>

#include "proto/writer.h"
#include "tests/simulation/model.h"

namespace tusk::simulation {

namespace code = proto::code;
using proto::Record;

namespace {

// The tokens of a name between its dots.
std::vector<std::string> tokens(std::string_view name) {
  std::vector<std::string> out(1);
  for (char c : name) c == '.' ? (void)out.emplace_back() : out.back().push_back(c);
  return out;
}

bool is_wild(const std::string& token) { return token == "*" || token == ">"; }

bool is_pattern(std::string_view name) {
  const auto all = tokens(name);
  return std::any_of(all.begin(), all.end(), is_wild);
}

bool is_valid(std::string_view pattern) {
  const auto all = tokens(pattern);
  if (!is_pattern(pattern)) return true;
  const auto tail = std::find(all.begin(), all.end(), ">");
  return std::count(all.begin(), all.end(), "") == 0 &&
         (tail == all.end() || tail + 1 == all.end());
}

bool matches(std::string_view pattern, std::string_view topic) {
  auto wanted = tokens(pattern);
  auto have = tokens(topic);
  if (is_pattern(pattern) && wanted.back() == ">") {
    wanted.pop_back();
    if (have.size() <= wanted.size()) return false;
    have.resize(wanted.size());
  }
  return std::equal(wanted.begin(), wanted.end(), have.begin(), have.end(),
                    [](const auto& w, const auto& h) { return w == "*" || w == h; });
}

bool subscribed(const Session& session, std::string_view topic) {
  return std::any_of(session.subscriptions.begin(), session.subscriptions.end(),
                     [&](const Subscription& s) { return matches(s.pattern, topic); });
}

// Whether all that the session subscribed to of the topic ends rather than misses events.
bool disconnects(const Session& session, std::string_view topic) {
  return subscribed(session, topic) &&
         std::all_of(
             session.subscriptions.begin(), session.subscriptions.end(),
             [&](const Subscription& s) { return s.disconnects || !matches(s.pattern, topic); });
}

size_t waiting_bytes(const std::deque<Waiting>& events, size_t from = 0) {
  size_t bytes = 0;
  for (size_t i = from; i < events.size(); ++i) bytes += events[i].bytes;
  return bytes;
}

}  // namespace

size_t Model::kept_bytes() const {
  size_t bytes = 0;
  for (const auto& [name, topic] : topics_) bytes += topic.last ? topic.last->bytes : 0;
  return bytes;
}

void Model::on_publish(const Who& who, const Record& record) {
  auto it = topics_.find(std::string(record.name));
  if (it == topics_.end()) {
    return error(who, Rule::one_answer, record.ref, code::kUnknownTopic);
  }
  if (!check_body(who, record)) return;
  Topic& topic = it->second;
  if (!topic.bucket.is_open(now_)) {
    ++coverage_[static_cast<size_t>(Rule::topic_rate)];
    return error(who, Rule::topic_rate, record.ref, code::kBusy,
                 {{.key = "limit", .text = "rate", .is_text = true},
                  {.key = "value", .number = static_cast<uint64_t>(topic.bucket.rate)}});
  }
  const size_t most = config_->tuskd.limits.max_memory;
  if (topic.retains && held_bytes() >= most) {
    return error_limit(who, record.ref, code::kFull, "max_memory", most);
  }
  if (topic.bucket.rate > 0) topic.bucket.take(1, now_);
  const Due due{.rule = Rule::events,
                .kind = Kind::kEvent,
                .ref = ++topic.sequence,
                .name = it->first,
                .has_body = record.body.where != proto::BodyRef::Where::kNone,
                .body = std::string(body_view(record)),
                .attributes = forwarded(record.attributes.all, {38, 40})};
  proto::AttributeWriter attributes;
  attributes.forward(record.attributes.all,
                     {proto::Attribute::kMissed, proto::Attribute::kRetained});
  const Waiting event{
      .topic = it->first, .due = due, .bytes = 256 + due.body.size() + attributes.entries().size()};
  if (topic.retains) {
    topic.last.reset();
    if (due.has_body) topic.last = event;
  }
  for (auto& [number, session] : sessions_) {
    if (subscribed(session, it->first)) session.events.push_back(event);
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
  const std::string pattern(record.name);
  if (!is_valid(pattern)) {
    return error(who, Rule::one_answer, record.ref, code::kInvalid,
                 {{.key = "field", .text = "topic", .is_text = true}});
  }
  const auto any = std::find_if(topics_.begin(), topics_.end(),
                                [&](const auto& entry) { return matches(pattern, entry.first); });
  if (any == topics_.end()) return error(who, Rule::one_answer, record.ref, code::kUnknownTopic);
  const bool disconnects = record.attributes.slow == proto::Slow::kDisconnect;
  auto& all = session.subscriptions;
  auto known = std::find_if(all.begin(), all.end(),
                            [&](const Subscription& s) { return s.pattern == pattern; });
  if (known != all.end()) {
    known->disconnects &= disconnects;
  } else if (const size_t most = config_->tuskd.limits.max_subscriptions; all.size() >= most) {
    return error_limit(who, record.ref, code::kBusy, "max_subscriptions", most);
  } else {
    all.push_back({pattern, disconnects});
  }
  session.subscribes = true;
  accepted(who, record.ref);
  for (const auto& [name, topic] : topics_) {
    if (!topic.last || !matches(pattern, name)) continue;
    session.events.push_back(*topic.last);
    Waiting& again = session.events.back();
    again.retained = true;
    again.due.attributes[40] = "\xC3";  // true
  }
}

void Model::on_unsubscribe(Session& session, const Record& record) {
  const std::string pattern(record.name);
  session.subscribes = true;
  std::erase_if(session.subscriptions, [&](const auto& s) { return s.pattern == pattern; });
  leave_topics(session);
  accepted({.session = session.number}, record.ref);
}

// The session gets no more of topics that it no longer subscribes to, or that are gone.
void Model::leave_topics(Session& session) {
  const auto stays = [&](const std::string& topic) {
    return topics_.count(topic) > 0 && subscribed(session, topic);
  };
  for (Waiting& event : session.events) event.left |= !stays(event.topic);
  std::erase_if(session.missed, [&](const auto& entry) { return !stays(entry.first); });
}

// --- what came -----------------------------------------------------------------------------------

// Takes the events out of what the broker sent. Those that a session does not get come before
// others that it gets, and more waited then than may.
void Model::take_events() {
  for (Seen& seen : seen_) {
    const Kind kind = seen.record->kind;
    if (seen.used || (kind != Kind::kEvent && kind != Kind::kUnsubscribed)) continue;
    const SeenPacket& packet = packets_[seen.packet];
    auto it = sessions_.find(connections_[packet.connection].session);
    if (packet.direct || packet.send->envelope || it == sessions_.end()) continue;
    seen.used = true;
    Session& session = it->second;
    if (session.events_unsure) continue;
    if (kind == Kind::kEvent) {
      take_event(session, *seen.record, packet.send->bodies);
    } else {
      take_unsubscribed(session, *seen.record);
    }
  }
}

bool Model::is_crowded(const Session& session) const {
  const config::Limits& limits = config_->tuskd.limits;
  return session.acks &&
         session.bytes >= std::min(limits.subscriber_window, limits.max_session_bytes);
}

void Model::take_event(Session& session, const Record& record, Bodies bodies) {
  must(Rule::slow, !is_crowded(session), [&] {
    return name_of(session) + " has not acknowledged " + std::to_string(session.bytes) +
           " bytes and gets " + describe(record);
  });
  const bool retained = attribute(record.attributes.all, 40).boolean().value_or(false);
  auto& all = session.events;
  const auto at = std::find_if(all.begin(), all.end(), [&](const Waiting& event) {
    return event.topic == record.name && event.due.ref == record.ref && event.retained == retained;
  });
  must(Rule::events, at != all.end(), [&] {
    return name_of(session) + " gets " + describe(record) + ", which is not due: it came before, " +
           "has no such number, or the session did not subscribe";
  });
  for (size_t i = 0; i < static_cast<size_t>(at - all.begin()); ++i) {
    if (all[i].left) continue;
    must(Rule::events, waiting_bytes(all, i) > config_->tuskd.limits.subscriber_backlog, [&] {
      return name_of(session) + " gets " + describe(record) + " and not event " +
             std::to_string(all[i].due.ref) + " of " + all[i].topic + " before it";
    });
    if (!all[i].retained) ++session.missed[all[i].topic];
  }
  Due due = at->due;
  if (!retained && !at->left) {
    if (auto missed = session.missed.find(at->topic); missed != session.missed.end()) {
      due.attributes[38] = packed(missed->second);
      session.missed.erase(missed);
      ++coverage_[static_cast<size_t>(Rule::slow)];
    }
  }
  const char* wrong = mismatch(due, record, bodies);
  must(Rule::events, !wrong,
       [&] { return name_of(session) + " gets " + describe(record) + "; wrong is its " + wrong; });
  all.erase(all.begin(), at + 1);
}

void Model::take_unsubscribed(Session& session, const Record& record) {
  const std::string pattern(record.name);
  auto own = std::find_if(session.subscriptions.begin(), session.subscriptions.end(),
                          [&](const Subscription& s) { return s.pattern == pattern; });
  if (session.subscribes) {  // perhaps it was the other way before
    session.events_unsure = true;
    return;
  }
  must(Rule::slow, own != session.subscriptions.end() && own->disconnects, [&] {
    return name_of(session) + " is told of the end of " + pattern + " and did not ask for that";
  });
  must(Rule::slow, waiting_bytes(session.events) > config_->tuskd.limits.subscriber_backlog, [&] {
    return name_of(session) + " is told that it does not keep up with " + pattern +
           "; there wait " + std::to_string(waiting_bytes(session.events)) + " bytes for it";
  });
  session.ended.push_back(*own);
  session.subscriptions.erase(own);
}

// What waits for a session at the end of a step, once its packets are counted.
void Model::finish_events(Session& session) {
  auto& all = session.events;
  const size_t bound = config_->tuskd.limits.subscriber_backlog;
  const bool subscribed_here = std::exchange(session.subscribes, false);
  if (!std::exchange(session.ended, {}).empty()) {
    // Less waits since it ended, so others may have gone that would have room now.
    leave_topics(session);
    session.events_unsure |= std::any_of(all.begin(), all.end(), [](auto& e) { return !e.left; });
    std::erase_if(all, [](const Waiting& event) { return event.left; });
  }
  if (session.events_unsure) return all.clear();
  if (session.connection == kNoConnection) return;
  if (std::any_of(all.begin(), all.end(), [](auto& event) { return event.left; })) {
    session.events_unsure |= waiting_bytes(all) > bound;
    std::erase_if(all, [](const Waiting& event) { return event.left; });
  }
  while (all.size() > 1 && waiting_bytes(all) > bound) {
    const Waiting oldest = all.front();
    all.pop_front();
    if (oldest.retained) continue;
    ++session.missed[oldest.topic];
    must(Rule::slow, subscribed_here || !disconnects(session, oldest.topic), [&] {
      return name_of(session) + " missed event " + std::to_string(oldest.due.ref) + " of " +
             oldest.topic + " and was to be told that its subscription ends";
    });
  }
  must(Rule::events, all.empty() || is_crowded(session), [&] {
    return name_of(session) + " has room and did not get event " +
           std::to_string(all.front().due.ref) + " of " + all.front().topic;
  });
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
