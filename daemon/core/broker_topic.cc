// Topics: an event goes to every session that subscribed, and to the XPUB edge.
#include <algorithm>

#include "daemon/core/broker.h"
#include "proto/topic_pattern.h"

namespace tusk::core {

using proto::Attribute;
using proto::BodyOut;
using proto::Bytes;
using proto::Kind;
using proto::Record;
using proto::Writer;
namespace code = proto::code;

Topic* Broker::find_topic(std::string_view name) const {
  auto it = topics_.find(name);
  return it == topics_.end() ? nullptr : it->second.get();
}

std::string Broker::no_topic(std::string_view name) const {
  std::string best;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const auto& [other, topic] : topics_) {
    if (size_t d = edit_distance(name, other); d < best_distance) {
      best_distance = d;
      best = other;
    }
  }
  return "the config names no topic \"" + std::string(name) + "\"" +
         (best.empty() ? "" : "; did you mean \"" + best + "\"?");
}

// --- publishing ----------------------------------------------------------------------------------

void Broker::publish(const Caller& caller, const Record& record) {
  Topic* topic = find_topic(record.name);
  if (!topic) {
    const std::string message = no_topic(record.name);
    if (!caller.edge) return error(caller, record.ref, code::kUnknownTopic, message);
    ++counters_.edge_dropped;
    return log(config::LogLevel::warning, LogTopic::kEdge, [&] { return message; });
  }
  const bool clears = topic->retains && record.body.where == proto::BodyRef::Where::kNone;
  if (!check_body(caller, record) || !may_publish(caller, record, *topic)) {
    counters_.edge_dropped += caller.edge;
    return;
  }
  if (!clears && !check_schema(caller, record, topic->bodies, topic->name)) return;
  topic->bucket.take(1, now_);
  ++topic->sequence;
  ++topic->published;
  ++counters_.published;
  scratch_.clear();
  scratch_.forward(record.attributes.all, {Attribute::kMissed, Attribute::kRetained});
  const BodyOut body = body_out(record);
  HeldEventPtr held;
  auto hold = [&] {
    if (!held) held = held_event(*topic, record);
    return held;
  };
  if (topic->retains) keep_last(*topic, clears ? nullptr : hold());
  for (uint32_t subscriber : topic->subscribers) {
    Session& session = sessions_[subscriber];
    if (session.backlog.empty() && !is_crowded(session)) {
      send_event(session, *topic, topic->sequence, body, scratch_);
    } else {
      append_event(session, {hold()});
    }
  }
  end_slow_subscriptions();
  if (!around_.events_out.empty()) {
    const size_t more = kRecordOverhead + body.inline_bytes.size() + scratch_.entries().size();
    if (topic->edge.empty()) {
      dirty_topics_.push_back(topics_.find(topic->name)->second);
    } else if (!has_room(topic->edge, more)) {
      send_topic(*topic);
    }
    topic->edge.event(topic->sequence, topic->name, body, scratch_);
  }
  // An asynchronous publish (request 0) hears only of errors; a REQ peer always gets its reply.
  if (record.ref != 0 || caller.request != kNone) accept(caller, record.ref);
}

// Whether the topic takes another event now; if not, says so.
bool Broker::may_publish(const Caller& caller, const Record& record, Topic& topic) {
  auto refuse = [&](std::string_view why, const std::string& message, std::string_view limit,
                    size_t value) {
    ++topic.refused;
    if (!caller.edge) full(caller, record.ref, why, message, limit, value);
    log(config::LogLevel::warning, LogTopic::kLimit, [&] { return message; });
    return false;
  };
  if (!topic.bucket.open(now_)) {
    return refuse(code::kBusy,
                  "topic \"" + topic.name + "\" takes no more events than its rate allows", "rate",
                  static_cast<size_t>(topic.bucket.rate()));
  }
  const size_t most = config_->tuskd.limits.max_memory;
  if (topic.retains && held_bytes_ >= most) {
    return refuse(code::kFull,
                  "the bodies held by the broker are as large as they may be, so topic \"" +
                      topic.name + "\" cannot keep its last event",
                  "max_memory", most);
  }
  return true;
}

// The event being published, for later: its attributes are in scratch_.
HeldEventPtr Broker::held_event(Topic& topic, const Record& record) {
  auto held = std::make_shared<HeldEvent>();
  held->topic = &topic;
  held->sequence = topic.sequence;
  held->body = body_of(record);
  if (scratch_.count() > 0) held->attributes = Bytes::copy(scratch_.entries());
  held->attribute_count = static_cast<uint32_t>(scratch_.count());
  return held;
}

// The topic's last event, for those who subscribe later; or none any longer.
void Broker::keep_last(Topic& topic, HeldEventPtr event) {
  if (topic.retained) held_bytes_ -= topic.retained->bytes();
  if (event) held_bytes_ += event->bytes();
  topic.retained = std::move(event);
}

// --- on the way to a session ---------------------------------------------------------------------

// Whether so much is on its way to the session that its events wait. What goes to a peer that does
// not acknowledge is bounded by its connection.
bool Broker::is_crowded(const Session& session) const {
  const config::Limits& limits = config_->tuskd.limits;
  return session.acks &&
         session.out.bytes() >= std::min(limits.subscriber_window, limits.max_session_bytes);
}

void Broker::send_event(Session& session, const Topic& topic, uint64_t sequence,
                        const BodyOut& body, proto::AttributeEntries attributes, bool retained) {
  auto missed = session.missed.find(&topic);
  const bool told = !retained && missed != session.missed.end();
  if (retained || told) {
    run_scratch_.clear();
    run_scratch_.raw(attributes.entries, attributes.count);
    if (retained) run_scratch_.flag(Attribute::kRetained);
    if (told) run_scratch_.number(Attribute::kMissed, missed->second);
    attributes = run_scratch_;
  }
  if (told) session.missed.erase(missed);
  writer(session, kRecordOverhead + body.inline_bytes.size() + attributes.entries.size())
      .event(sequence, topic.name, body, attributes);
  ++counters_.events_delivered;
}

// The session gets the event when others were acknowledged. Beyond the bound the oldest go.
void Broker::append_event(Session& session, WaitingEvent waiting) {
  ++waiting.event->topic->waiting;
  session.backlog_bytes += waiting.event->bytes();
  session.backlog.push_back(std::move(waiting));
  while (session.backlog_bytes > config_->tuskd.limits.subscriber_backlog &&
         session.backlog.size() > 1) {
    const WaitingEvent oldest = take_waiting(session);
    if (oldest.retained) continue;
    Topic& topic = *oldest.event->topic;
    ++topic.missed;
    ++counters_.events_missed;
    ++session.missed[&topic];
    slow_.emplace_back(session.index, &topic);
  }
}

WaitingEvent Broker::take_waiting(Session& session) {
  WaitingEvent first = std::move(session.backlog.front());
  session.backlog.pop_front();
  session.backlog_bytes -= first.event->bytes();
  --first.event->topic->waiting;
  return first;
}

// Sends what waits, as far as the session has room for it.
void Broker::send_waiting(Session& session) {
  while (!session.backlog.empty() && !is_crowded(session)) {
    const WaitingEvent waiting = take_waiting(session);
    const HeldEvent& event = *waiting.event;
    send_event(session, *event.topic, event.sequence, BodyOut::shared(event.body),
               {event.attributes.view(), event.attribute_count}, waiting.retained);
  }
}

// Of the sessions that just missed an event of a topic, those that would rather be told and end.
void Broker::end_slow_subscriptions() {
  for (auto& [index, topic] : std::exchange(slow_, {})) {
    Session& session = sessions_[index];
    auto concerns = [&, name = std::string_view(topic->name)](const Subscription& s) {
      return proto::matches(s.pattern, name);
    };
    // One that takes what is left keeps the topic for all.
    const bool all =
        std::all_of(session.subscriptions.begin(), session.subscriptions.end(),
                    [&](const Subscription& s) { return !concerns(s) || s.disconnects; });
    if (!all) continue;
    const std::string message =
        "the subscriber did not keep up: events of more than subscriber_backlog, which is " +
        std::to_string(config_->tuskd.limits.subscriber_backlog.count) + " bytes, waited for it";
    std::vector<std::string> ended;
    for (const Subscription& s : session.subscriptions) {
      if (concerns(s)) ended.push_back(s.pattern);
    }
    for (const std::string& pattern : ended) {
      end_subscription(session, pattern);
      writer(session, kRecordOverhead + message.size()).unsubscribed(pattern, message);
      ++counters_.subscriptions_ended;
    }
  }
}

void Broker::send_topic(Topic& topic) {
  if (topic.edge.empty()) return;
  actions_->events.push_back({topic.name + '\0', Bytes::copy(topic.edge.records().view()),
                              std::move(topic.edge.frames())});
  topic.edge.clear();
}

// --- subscribing ---------------------------------------------------------------------------------

namespace {

bool subscribed(const Session& session, std::string_view topic) {
  return std::any_of(session.subscriptions.begin(), session.subscriptions.end(),
                     [&](const Subscription& s) { return proto::matches(s.pattern, topic); });
}

}  // namespace

void Broker::subscribe(Session& session, const Record& record) {
  const Caller caller{.session = session.index};
  const std::string_view pattern = record.name;
  if (const std::string_view fault = proto::pattern_fault(pattern); !fault.empty()) {
    return error(caller, record.ref, code::kInvalid,
                 "the pattern \"" + std::string(pattern) + "\" " + std::string(fault), "field",
                 "topic");
  }
  std::vector<Topic*> matching;
  for (const auto& [name, topic] : topics_) {
    if (proto::matches(pattern, name)) matching.push_back(topic.get());
  }
  if (matching.empty()) {
    return error(caller, record.ref, code::kUnknownTopic,
                 proto::is_pattern(pattern)
                     ? "the config names no topic that matches \"" + std::string(pattern) + "\""
                     : no_topic(pattern));
  }
  const bool disconnects = record.attributes.slow == proto::Slow::kDisconnect;
  auto& all = session.subscriptions;
  auto known = std::find_if(all.begin(), all.end(),
                            [&](const Subscription& s) { return s.pattern == pattern; });
  if (known != all.end()) {
    // Whoever subscribes again on the same session has several readers: the mildest wish counts.
    known->disconnects = known->disconnects && disconnects;
  } else if (const size_t most = config_->tuskd.limits.max_subscriptions; all.size() >= most) {
    return full(caller, record.ref, code::kBusy, "this peer has as many subscriptions as it may",
                "max_subscriptions", most);
  } else {
    all.push_back({std::string(pattern), disconnects});
  }
  for (Topic* topic : matching) join_topic(session, *topic);
  accept(caller, record.ref);
  for (Topic* topic : matching) {
    if (topic->retained) append_event(session, {topic->retained, true});
  }
  send_waiting(session);
  end_slow_subscriptions();
}

void Broker::join_topic(const Session& session, Topic& topic) {
  auto& subscribers = topic.subscribers;
  if (std::find(subscribers.begin(), subscribers.end(), session.index) == subscribers.end()) {
    subscribers.push_back(session.index);
  }
}

void Broker::unsubscribe(Session& session, const Record& record) {
  end_subscription(session, record.name);
  accept(Caller{.session = session.index}, record.ref);
}

// The session gets nothing more of what only this subscription stood for.
void Broker::end_subscription(Session& session, std::string_view pattern) {
  const size_t ended = std::erase_if(session.subscriptions,
                                     [&](const Subscription& s) { return s.pattern == pattern; });
  if (ended == 0) return;
  for (const auto& [name, topic] : topics_) {
    if (!subscribed(session, name)) leave_topic(session, *topic);
  }
}

void Broker::leave_topic(Session& session, Topic& topic) {
  std::erase(topic.subscribers, session.index);
  session.missed.erase(&topic);
  std::erase_if(session.backlog, [&](const WaitingEvent& waiting) {
    if (waiting.event->topic != &topic) return false;
    session.backlog_bytes -= waiting.event->bytes();
    --topic.waiting;
    return true;
  });
}

void Broker::end_subscriptions(Session& session) {
  if (session.subscriptions.empty()) return;
  session.subscriptions.clear();
  for (const auto& [name, topic] : topics_) leave_topic(session, *topic);
}

void Broker::apply_topics(const config::Orchestration& fresh) {
  std::map<std::string, std::shared_ptr<Topic>, std::less<>> old = std::exchange(topics_, {});
  for (const config::Topic& wanted : fresh.topics) {
    auto& topic = topics_[wanted.name];
    if (auto it = old.find(wanted.name); it != old.end()) {
      topic = std::move(it->second);
      old.erase(it);
    } else {
      topic = std::make_shared<Topic>();
      topic->name = wanted.name;
      for (uint32_t s = 0; s < sessions_.size(); ++s) {
        if (subscribed(sessions_[s], wanted.name)) join_topic(sessions_[s], *topic);
      }
    }
    topic->bodies = rule_for(wanted.message);
    topic->retains = wanted.retain;
    if (!wanted.retain) keep_last(*topic, nullptr);
    const double rate = wanted.rate ? wanted.rate->per_second : 0;
    topic->bucket.set(rate, wanted.burst ? static_cast<double>(*wanted.burst) : std::max(rate, 1.0),
                      now_);
  }
  for (const auto& [name, topic] : old) {
    while (!topic->subscribers.empty()) leave_topic(sessions_[topic->subscribers.back()], *topic);
    keep_last(*topic, nullptr);
  }
}

// --- the event edge ------------------------------------------------------------------------------

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
