// A step as a whole: reading what the broker said, alarms, what is owed, and the end of the step.
#include <algorithm>

#include "proto/writer.h"
#include "tests/simulation/model.h"

namespace tusk::simulation {

std::string_view rule_name(Rule rule) {
  static constexpr std::string_view kNames[] = {
#define TUSK_RULE_NAME(name, what) #name,
      TUSK_RULES(TUSK_RULE_NAME)
#undef TUSK_RULE_NAME
  };
  return kNames[static_cast<size_t>(rule)];
}

std::string_view rule_text(Rule rule) {
  static constexpr std::string_view kTexts[] = {
#define TUSK_RULE_TEXT(name, what) what,
      TUSK_RULES(TUSK_RULE_TEXT)
#undef TUSK_RULE_TEXT
  };
  return kTexts[static_cast<size_t>(rule)];
}

namespace {

void write_text(std::string& out, proto::Value value) {
  proto::Buffer buffer;
  proto::Packer packer(buffer);
  proto::write_value(packer, value);
  out = buffer.view();
}

}  // namespace

std::string packed(uint64_t number) {
  proto::Buffer buffer;
  proto::Packer(buffer).pack_uint64(number);
  return std::string(buffer.view());
}

std::string packed(const std::string& text) {
  proto::Buffer buffer;
  proto::Packer packer(buffer);
  packer.pack_str(static_cast<uint32_t>(text.size()));
  packer.pack_str_body(text.data(), static_cast<uint32_t>(text.size()));
  return std::string(buffer.view());
}

proto::Value attribute(proto::Value map, uint64_t wanted) {
  bool is_key = true;
  uint64_t key = 0;
  for (proto::Value v : map.items()) {
    if (!is_key && key == wanted) return v;
    if (is_key) key = v.number().value_or(0);
    is_key = !is_key;
  }
  return {};
}

std::string rendered(proto::Value value) {
  if (!value) return "";
  if (auto text = value.text()) return std::string(*text);
  if (auto number = value.number()) return std::to_string(*number);
  if (auto flag = value.boolean()) return *flag ? "true" : "false";
  if (value.is(proto::Token::Type::kNegative)) {
    return std::to_string(static_cast<int64_t>(value.token()->number));
  }
  return "?";
}

Attributes read_attributes(proto::Value map) {
  Attributes out;
  bool is_key = true;
  uint64_t key = 0;
  for (proto::Value v : map.items()) {
    if (is_key) {
      key = v.number().value_or(0);
    } else {
      write_text(out[key], v);
    }
    is_key = !is_key;
  }
  return out;
}

Attributes forwarded(proto::Value map, std::initializer_list<uint64_t> own) {
  Attributes out = read_attributes(map);
  std::erase_if(out, [&](const auto& entry) {
    const uint64_t key = entry.first;  // codec, compression and no_retry pass
    return (key % 2 == 1 && key != 27 && key != 29 && key != 57) ||
           std::find(own.begin(), own.end(), key) != own.end();
  });
  return out;
}

std::string Model::name_of(const Session& session) const {
  return "session " + std::to_string(session.number) + " (" + session.name + ")";
}

std::string Model::name_of(const Task& task) {
  return (task.is_item ? "item " : "task ") + task.id.hex() + " of " + task.type;
}

// --- a step --------------------------------------------------------------------------------------

void Model::start(Config config, const Machine& machine, Nanos now) {
  sessions_.clear();
  connections_.clear();
  tasks_.clear();
  queue_.clear();
  window_.clear();
  kept_.clear();
  types_.clear();
  topics_.clear();
  alarms_.clear();
  newest_let_go_ = 0;
  paused_.clear();
  rates_.clear();
  key_rates_.clear();
  blocked_.clear();
  closed_.clear();
  turns_.clear();
  passed_.clear();
  stopping_ = false;
  shutdown_due_ = kNever;
  config_ = std::move(config);
  machine_ = machine;
  now_ = started_ = now;
  apply();
}

void Model::step(Nanos now, std::span<const core::Event> events, const core::Actions& actions) {
  must(Rule::time, now >= now_, [] { return std::string("time went back"); });
  now_ = now;
  actions_ = &actions;
  stopped_ = false;
  items_due_.clear();
  events_due_.clear();
  watches_due_.clear();
  read(actions);
  for (const core::Event& event : events) {
    ++event_;
    fire(now);
    ++event_;
    on(event);
    end_event();
    if (stopping_) check_stopped();
  }
  finish(actions);
}

void Model::on(const core::Event& event) {
  std::visit(
      [this](const auto& e) {
        using E = std::decay_t<decltype(e)>;
        if constexpr (std::is_same_v<E, core::PacketReceived>) on_packet(e);
        if constexpr (std::is_same_v<E, core::Disconnected>) on_disconnected(e.connection);
        if constexpr (std::is_same_v<E, core::ProcessEnded>) on_process_ended(e.session);
        if constexpr (std::is_same_v<E, core::EdgeEvents>) on_edge_events(e);
        if constexpr (std::is_same_v<E, core::EdgeItems>) on_edge_items(e);
        if constexpr (std::is_same_v<E, core::Reload>) on_reload(e);
        if constexpr (std::is_same_v<E, core::Shutdown>) on_shutdown();
      },
      event);
}

void Model::read(const core::Actions& actions) {
  packets_.clear();
  seen_.clear();
  while (decoders_.size() < actions.sends.size()) decoders_.emplace_back();
  size_t at = 0;
  for (const core::Send& send : actions.sends) {
    const proto::Decoded decoded = decoders_[at++].decode(send.records.view(), send.bodies.size());
    must(Rule::well_formed, decoded.ok(), [&] {
      return std::string("the broker sent what does not decode: ") + decoded.malformed.why;
    });
    SeenPacket packet{.send = &send, .connection = send.connection};
    const auto index = static_cast<uint32_t>(packets_.size());
    for (const proto::Record& record : decoded.records) {
      must(Rule::well_formed, record.fault.empty(), [&] {
        return std::string("the broker sent a record that is to be refused: ") + record.fault_text;
      });
      if (record.kind == Kind::kHeader) {
        packet.has_header = true;
        packet.session = record.ref;
        packet.seq = record.seq;
        packet.ack = record.ack;
        continue;
      }
      ++packet.records;
      seen_.push_back({&record, index});
    }
    packets_.push_back(packet);
  }
}

// --- alarms --------------------------------------------------------------------------------------

void Model::alarm(Nanos due, Alarm alarm) { alarms_.emplace(std::pair(due, ++serial_), alarm); }

// Alarms ring in the order of their times, and of two with one time the first that was set first.
// Who set one and changed its mind has another time noted, or none.
void Model::fire(Nanos now) {
  for (auto& [number, session] : sessions_) {
    if (session.settle <= now) session.leaving = true;
  }
  if (!closed_.empty()) end_event();  // time has passed: a rate may let somebody start
  while (!alarms_.empty() && alarms_.begin()->first.first <= now) {
    const Nanos due = alarms_.begin()->first.first;
    const Alarm alarm = alarms_.begin()->second;
    alarms_.erase(alarms_.begin());
    auto session = sessions_.find(alarm.number);
    auto task = tasks_.find(alarm.id);
    ++event_;
    switch (alarm.what) {
      case Alarm::kGrace:
        if (session == sessions_.end() || session->second.grace != due) break;
        session->second.grace = kNever;
        for (const Run& run : session->second.runs) {
          if (run.ghost || tasks_.at(run.id).stop != Stop::kNone) continue;
          owe_session(session->second, {.rule = Rule::cancel_told,
                                        .kind = Kind::kCancel,
                                        .ref = run.handle,
                                        .name = "moved",
                                        .id = run.id});
        }
        worker_gone(session->second, false);
        stop_serving(session->second);
        session->second.away = true;
        break;
      case Alarm::kTtl:
        if (session == sessions_.end() || session->second.ttl != due) break;
        for (const TaskId& id : std::exchange(session->second.endings, {})) let_go(id);
        end_session(alarm.number, false);
        break;
      case Alarm::kSettle:
        if (session == sessions_.end() || session->second.settle != due) break;
        end_session(alarm.number, session->second.process_gone);
        break;
      case Alarm::kHold:
        if (task == tasks_.end() || task->second.phase != Phase::kHeld) break;
        must(Rule::held, true, [] { return std::string(); });
        place(task->second);
        settle();
        break;
      case Alarm::kDelay:
        if (task == tasks_.end() || task->second.due != due) break;
        if (task->second.phase == Phase::kBackoff) delay_over(task->second);
        break;
      case Alarm::kDeadline:
        if (task == tasks_.end() || task->second.deadline != due) break;
        if (task->second.phase != Phase::kEnded) deadline_passed(task->second);
        break;
      case Alarm::kRunLimit:
        if (task == tasks_.end() || task->second.limit != due) break;
        if (task->second.phase == Phase::kRunning) run_limit_reached(task->second);
        break;
      case Alarm::kCancel:
        if (task == tasks_.end() || task->second.due != due) break;
        if (task->second.phase == Phase::kRunning) stop_grace_over(task->second);
        break;
      case Alarm::kPause: {
        auto paused = paused_.find({alarm.is_item, alarm.name});
        if (paused == paused_.end() || paused->second != due) break;
        ++coverage_[static_cast<size_t>(Rule::pause)];
        paused_.erase(paused);
        settle();
        break;
      }
      case Alarm::kRate:
        break;
      case Alarm::kAsker:
        asker_timeout(alarm.id, alarm.number);
        break;
      case Alarm::kUnserved:
        unserved_over(alarm.name);
        break;
      case Alarm::kKept:
        if (task == tasks_.end() || task->second.kept_until != due) break;
        std::erase(kept_, alarm.id);
        let_go(alarm.id);
        break;
      case Alarm::kShutdown:
        if (stopping_ && shutdown_due_ == due) stop_now();
        break;
    }
    end_event();
  }
}

// --- what is owed --------------------------------------------------------------------------------

void Model::owe(const Who& who, Due due) {
  if (who.edge) return;
  if (who.session != 0) {
    auto it = sessions_.find(who.session);
    if (it != sessions_.end()) owe_session(it->second, std::move(due));
  } else if (who.req) {
    const Connection& to = connections_[who.connection];
    if (to.open && to.generation == who.generation) match(who.connection, &who.envelope, due);
  } else {
    owe_connection(who.connection, std::move(due));
  }
}

void Model::owe_session(Session& session, Due due) {
  if (session.leaving) return;
  if (session.connection == kNoConnection) {
    session.pending.push_back(std::move(due));
  } else {
    match(session.connection, nullptr, due);
  }
}

// To one that has no session, at a bounded rate: not within 10 ms of the last, surely after a
// second.
void Model::owe_connection(ConnectionId connection, Due due) {
  Connection& to = connections_[connection];
  const bool surely = to.last_error < 0 || now_ - to.last_error > 1000 * kMillisecond;
  for (Seen& seen : seen_) {
    SeenPacket& packet = packets_[seen.packet];
    if (seen.used || packet.connection != connection || packet.has_header ||
        packet.send->envelope || packet.direct || packet.records != 1) {
      continue;
    }
    if (mismatch(due, *seen.record, packet.send->bodies)) continue;
    must(Rule::bounded_errors, to.last_error < 0 || now_ - to.last_error >= 10 * kMillisecond,
         [&] { return "connection " + std::to_string(connection) + " gets errors too often"; });
    seen.used = packet.direct = true;
    to.last_error = now_;
    ++coverage_[static_cast<size_t>(due.rule)];
    return;
  }
  must(due.rule, !surely,
       [&] { return "connection " + std::to_string(connection) + " was not told " + due.name; });
}

// Takes the record out of what was said; it is the first of those that could be meant.
void Model::match(ConnectionId connection, const std::string* envelope, const Due& due) {
  const char* why = nullptr;
  const Seen* meant = nullptr;
  for (Seen& seen : seen_) {
    SeenPacket& packet = packets_[seen.packet];
    if (seen.used || packet.connection != connection || packet.direct) continue;
    if (packet.send->envelope.has_value() != (envelope != nullptr)) continue;
    if (envelope && *packet.send->envelope != *envelope) continue;
    const char* wrong = mismatch(due, *seen.record, packet.send->bodies);
    if (!wrong) {
      seen.used = true;
      ++coverage_[static_cast<size_t>(due.rule)];
      if (envelope) packet.direct = true;
      if (due.ending_of) {
        if (auto it = tasks_.find(due.id); it != tasks_.end()) it->second.packet = packet.seq;
      }
      return;
    }
    const Kind kind = seen.record->kind;
    if (seen.record->ref == due.ref && kind != Kind::kTask && kind != Kind::kItem && !meant) {
      meant = &seen;
      why = wrong;
    }
  }
  must(due.rule, false, [&] {
    std::string details;
    for (const Detail& detail : due.details) {
      details += " " + std::string(detail.key) + "=" +
                 (detail.is_text ? detail.text : std::to_string(detail.number));
    }
    return std::string(proto::kind_name(due.kind)) + (due.name.empty() ? "" : " " + due.name) +
           details + " for " + std::to_string(due.ref) +
           (due.id == TaskId{} ? "" : " (" + due.id.hex() + ")") + " is due on connection " +
           std::to_string(connection) +
           (meant ? "; what came (another " + std::string(why) + "): " + describe(*meant->record)
                  : " and did not come");
  });
}

std::string Model::describe(const proto::Record& r) {
  std::string out = std::string(proto::kind_name(r.kind)) + " " + std::to_string(r.ref);
  if (!r.name.empty()) out += " " + std::string(r.name);
  if (!r.message.empty()) out += ": " + std::string(r.message);
  if (r.has_id()) out += " id " + r.id().hex();
  if (r.kind == Kind::kResult) out += " " + std::string(proto::state_name(r.state));
  if (r.kind == Kind::kTask || r.kind == Kind::kItem) {
    out += " attempt " + std::to_string(r.attempt);
  }
  return out;
}

// What is different from what is due, or nothing.
const char* Model::mismatch(const Due& due, const proto::Record& r, Bodies frames) {
  if (r.kind != due.kind) return "kind";
  if (due.kind == Kind::kBye || due.kind == Kind::kGoaway) return nullptr;
  if (r.ref != due.ref) return "number";
  switch (due.kind) {
    case Kind::kError:
      if (r.name != due.name) return "code";
      if (r.message.empty()) return "message";
      for (const Detail& detail : due.details) {
        const proto::Value value = r.value.get(detail.key);
        if (detail.is_text ? value.text() != detail.text : value.number() != detail.number) {
          return "details";
        }
      }
      return nullptr;
    case Kind::kAnswer:
      if (!due.name.empty() && r.value.get("state").text() != due.name) return "state";
      return same_answer(due, r.value) ? nullptr : "answer";
    case Kind::kCancel:
      if (r.id() != due.id) return "id";
      for (proto::Value value : r.attributes.all.items()) {
        if (value.text() == due.name) return nullptr;
      }
      return "reason";
    case Kind::kResult:
      if (r.state != due.state) return "state";
      break;
    case Kind::kItem:
    case Kind::kTask:
      if (r.id() != due.id) return "id";
      if (r.attempt != 1) return "attempt";
      [[fallthrough]];
    case Kind::kEvent:
      if (r.name != due.name) return "name";
      break;
    default:
      return nullptr;
  }
  if ((r.body.where != proto::BodyRef::Where::kNone) != due.has_body) return "body";
  if (bytes_of(r, frames) != due.body) return "body";
  return same_attributes(due.attributes, r.attributes.all) ? nullptr : "attributes";
}

bool Model::same_attributes(const Attributes& due, proto::Value map) {
  if (map.size() != due.size()) return false;
  if (due.empty()) return true;
  const Attributes have = read_attributes(map);
  for (const auto& [key, value] : due) {
    auto it = have.find(key);
    if (it == have.end()) return false;
    if (value.starts_with(kErrorOf)) {
      const proto::Value error = attribute(map, key);
      if (error.get("type").text() != value.substr(kErrorOf.size())) return false;
      if (error.get("message").text().value_or("").empty()) return false;
    } else if (value.starts_with(kHistoryOf)) {
      if (!same_history(value, attribute(map, key))) return false;
    } else if (value != kAny && it->second != value) {
      return false;
    }
  }
  return true;
}

// Each field of the map that is due, as text.
bool Model::same_answer(const Due& due, proto::Value map) {
  for (const auto& [key, text] : due.fields) {
    const proto::Value value = map.get(key);
    if (text.starts_with(kHistoryOf)) {
      if (!same_history(text, value)) return false;
    } else if (text.starts_with(kErrorOf)) {
      if (value.get("type").text() != text.substr(kErrorOf.size())) return false;
    } else if (text != kAny && rendered(value) != text) {
      return false;
    }
  }
  return true;
}

// One line for each run: attempt, worker, ms from its start and from its end, error.
std::string Model::history_of(const Task& task, Nanos now) {
  std::string out = kHistoryOf;
  for (const FailedRun& run : task.history) {
    out += "\n" + std::to_string(run.attempt) + "|" + run.worker + "|" +
           std::to_string((now - run.started) / kMillisecond) + "|" +
           std::to_string((now - run.ended) / kMillisecond) + "|" + run.type + "|" + run.message;
  }
  return out;
}

bool Model::same_history(std::string_view due, proto::Value list) {
  due.remove_prefix(kHistoryOf.size());
  for (proto::Value run : list.items()) {
    std::string line = "\n" + rendered(run.get("attempt")) + "|" + rendered(run.get("worker")) +
                       "|" + rendered(run.get("started")) + "|" + rendered(run.get("ended")) + "|" +
                       rendered(run.get("error").get("type")) + "|";
    const std::string message = rendered(run.get("error").get("message"));
    if (!due.starts_with(line)) return false;
    due.remove_prefix(line.size());
    line = due.starts_with("*") && !message.empty() ? "*" : message;
    if (!due.starts_with(line)) return false;
    due.remove_prefix(line.size());
  }
  return due.empty();
}

std::string_view Model::bytes_of(const proto::Record& r, Bodies frames) {
  if (r.body.where == proto::BodyRef::Where::kInline) return r.body.inline_bytes;
  if (r.body.where == proto::BodyRef::Where::kFrame) return frames[r.body.frame - 1].view();
  return {};
}

}  // namespace tusk::simulation
