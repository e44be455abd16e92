// How a session begins and comes back: hello, welcome, claims.
#include <algorithm>

#include "tests/simulation/model.h"

namespace tusk::simulation {

namespace code = proto::code;
using proto::Record;
using proto::Value;

namespace {

Nanos nanos(config::Duration d) { return std::chrono::nanoseconds(d).count(); }

std::string text_or(Value value, std::string_view otherwise) {
  auto text = value.text();
  return std::string(text ? text->substr(0, 255) : otherwise);
}

bool read_names(Value list, std::vector<std::string>& names) {
  if (!list) return true;
  if (!list.is_array()) return false;
  for (Value item : list.items()) {
    auto name = item.text();
    if (!name || name->empty() || name->size() > 255) return false;
    names.emplace_back(*name);
  }
  return true;
}

size_t size_of(const core::Send& packet) {
  size_t bytes = packet.records.size();
  for (const proto::Bytes& body : packet.bodies) bytes += body.size();
  return bytes;
}

Detail field(const char* name) { return {.key = "field", .text = name, .is_text = true}; }

}  // namespace

// --- hello ---------------------------------------------------------------------------------------

void Model::on_hello(ConnectionId from, const Record& record) {
  const Who who{.connection = from};
  const Value fields = record.value;
  if (record.ref != 1) return error(who, Rule::hello_refused, 0, code::kVersion);
  auto instance = fields.get("instance").binary();
  if (!instance || instance->size() != 16) {
    return error(who, Rule::hello_refused, 0, code::kInvalid, {field("instance")});
  }
  if (fields.get("require").size() > 0) {
    return error(who, Rule::hello_refused, 0, code::kUnsupported);
  }
  if (auto it = sessions_.find(connections_[from].session); it != sessions_.end()) {
    Session& session = it->second;
    if (session.instance != *instance) {
      return error(who, Rule::hello_refused, 0, code::kDuplicateHello);
    }
    const Record* again = nullptr;
    SeenPacket* packet = welcome_on(from, &again);
    must(Rule::welcome, packet && packet->send->records.view() == session.welcome,
         [&] { return name_of(session) + " said hello twice and got another welcome"; });
    return;
  }
  auto old = std::find_if(sessions_.begin(), sessions_.end(),
                          [&](const auto& entry) { return entry.second.instance == *instance; });
  if (old != sessions_.end()) {
    Session& session = old->second;
    if (fields.get("session").number() == session.number && session.acks) {
      return resume(session, from, record);
    }
    end_session(old->first, false);
  }
  if (sessions_.size() >= config_->tuskd.limits.max_sessions) {
    return error_limit(who, 0, code::kFull, "max_sessions", config_->tuskd.limits.max_sessions);
  }
  Session session;
  session.instance = *instance;
  if (read_hello(from, record, session)) open_session(from, record, std::move(session));
}

// Fills the session from hello's fields; false if hello is refused, with the error that is due.
bool Model::read_hello(ConnectionId from, const Record& record, Session& session) {
  const Who who{.connection = from};
  const Value fields = record.value;
  auto invalid = [&](const char* name) {
    error(who, Rule::hello_refused, 0, code::kInvalid, {field(name)});
    return false;
  };
  auto role = fields.get("role").text();
  if (!role || (*role != "client" && *role != "worker" && *role != "both")) return invalid("role");
  auto language = fields.get("language").text();
  if (!language || language->empty() || language->size() > 255) return invalid("language");
  session.language = config::canonical_language(*language);
  session.acks = fields.get("acks").boolean().value_or(false);
  const uint64_t pid = fields.get("pid").number().value_or(0);
  session.name = text_or(fields.get("name"), session.language + "-" + std::to_string(pid));
  session.pool = config::canonical_language(text_or(fields.get("pool"), session.language));
  session.worker = *role != "client";
  session.watched = fields.get("pid_ns").number() == machine_.pid_namespace && pid != 0 &&
                    fields.get("boot_id").text() == machine_.boot_id;
  if (!session.worker) return true;
  const Value slots = fields.get("slots");
  session.slots = slots.number().value_or(1);
  if ((slots && !slots.number()) || session.slots == 0) return invalid("slots");
  if (!read_names(fields.get("types"), session.types)) return invalid("types");
  if (!read_names(fields.get("handlers"), session.handlers)) return invalid("handlers");
  if (Value claims = fields.get("claims"); claims && !claims.is_array()) return invalid("claims");

  bool forbidden = !config::language_allowed(*config_, session.language);
  std::set<std::string> fresh;
  for (const std::string& name : session.types) {
    const auto& pool = config_->type(name).pool;
    forbidden |= pool && *pool != session.pool;
    if (!types_.count(name)) fresh.insert(name);
  }
  if (forbidden) {
    error(who, Rule::hello_refused, 0, code::kRefused);
    return false;
  }
  const size_t most = config_->tuskd.limits.max_types;
  auto fits = [&] {
    std::set<std::string> unknown;
    for (const std::string& name : session.types) {
      if (!types_.count(name)) unknown.insert(name);
    }
    return unknown.empty() || types_.size() + unknown.size() <= most;
  };
  if (!fits()) purge_types();
  if (fits()) return true;
  error_limit(who, 0, code::kFull, "max_types", most);
  return false;
}

SeenPacket* Model::welcome_on(ConnectionId connection, const Record** record) {
  for (Seen& seen : seen_) {
    SeenPacket& packet = packets_[seen.packet];
    if (seen.used || packet.connection != connection || seen.record->kind != Kind::kWelcome) {
      continue;
    }
    seen.used = packet.direct = true;
    *record = seen.record;
    return &packet;
  }
  return nullptr;
}

void Model::open_session(ConnectionId from, const Record& hello, Session fresh) {
  const Record* welcome = nullptr;
  SeenPacket* packet = welcome_on(from, &welcome);
  must(Rule::welcome, packet != nullptr,
       [&] { return "the hello of " + fresh.name + " got no welcome"; });
  const uint64_t number = welcome->value.get("session").number().value_or(0);
  must(Rule::welcome, number != 0 && !sessions_.count(number), [&] {
    return "the welcome of " + fresh.name + " names session " + std::to_string(number) +
           ", which is 0 or another's";
  });
  fresh.number = number;
  Session& session = sessions_[number] = std::move(fresh);
  if (session.watched) watches_due_.push_back({number, true});
  if (session.worker) update_serves(session);
  connections_[from].session = number;
  session.connection = from;
  session.arriving = true;
  check_welcome(session, *packet, *welcome, false, hello);
  session.arriving = false;
  settle();
}

void Model::resume(Session& session, ConnectionId from, const Record& hello) {
  session.arriving = true;  // it gets nothing new until all that it claims is counted
  if (session.connection != kNoConnection) connections_[session.connection].session = 0;
  if (session.away) {
    session.away = false;
    update_serves(session);
  }
  session.grace = session.ttl = kNever;
  connections_[from].session = session.number;
  session.connection = from;
  const Record* welcome = nullptr;
  SeenPacket* packet = welcome_on(from, &welcome);
  must(Rule::welcome, packet != nullptr,
       [&] { return name_of(session) + " came back and got no welcome"; });
  // What is sent again is nothing new.
  for (Seen& seen : seen_) {
    const SeenPacket& of = packets_[seen.packet];
    if (of.connection == from && of.has_header && of.seq <= session.sent) seen.used = true;
  }
  check_welcome(session, *packet, *welcome, true, hello);
  acknowledged(session, hello.value.get("ack").number().value_or(0));
  session.next = session.unacked.empty() ? session.sent + 1 : session.unacked.front().seq;
  session.arriving = false;
  session.acked = session.received;
  session.owes_since = kNever;
  // What was said while it was away comes behind.
  for (const Due& due : std::exchange(session.pending, {})) match(from, nullptr, due);
  // All that is old counts against its bound before it gets anything new.
  size_t old_bytes = 0;
  for (uint32_t i = 0; i < packets_.size(); ++i) {
    const bool fresh = std::any_of(seen_.begin(), seen_.end(), [&](const Seen& seen) {
      return seen.packet == i && !seen.used;
    });
    if (packets_[i].connection == from && !packets_[i].direct && !fresh) {
      old_bytes += size_of(*packets_[i].send);
    }
  }
  session.over = old_bytes > config_->tuskd.limits.max_session_bytes;
  settle();
}

void Model::check_welcome(Session& session, SeenPacket& packet, const Record& welcome, bool resumed,
                          const Record& hello) {
  const Value fields = welcome.value;
  session.welcome = packet.send->records.view();
  const config::Tuskd& c = config_->tuskd;
  auto is = [&](Value value, uint64_t wanted) { return value.number() == wanted; };
  const Value limits = fields.get("limits");
  if (!resumed) {
    session.limits = {.frame = c.limits.max_frame,
                      .body = c.limits.max_body,
                      .records = c.limits.max_records,
                      .frames = c.limits.max_frames,
                      .session_bytes = c.limits.max_session_bytes,
                      .push_window = c.limits.push_window};
  }
  const bool right =
      welcome.ref == 1 && is(fields.get("session"), session.number) &&
      is(fields.get("epoch"), machine_.epoch) && fields.get("resumed").boolean() == resumed &&
      is(fields.get("ack"), session.received) && is(limits.get("frame"), session.limits.frame) &&
      is(limits.get("body"), session.limits.body) &&
      is(limits.get("records"), session.limits.records) &&
      is(limits.get("frames"), session.limits.frames) &&
      is(limits.get("session_bytes"), session.limits.session_bytes) &&
      is(limits.get("push_window"), session.limits.push_window) &&
      is(fields.get("timeout"), static_cast<uint64_t>(config_->default_timeout.count())) &&
      is(fields.get("session_ttl"),
         static_cast<uint64_t>(nanos(c.times.session_ttl) / kMillisecond)) &&
      is(fields.get("adopt_grace"),
         static_cast<uint64_t>(nanos(c.times.adopt_grace) / kMillisecond)) &&
      is(fields.get("compression_threshold"), c.limits.compression_threshold) &&
      fields.get("kinds").size() > 20 && fields.get("attributes").size() > 10 &&
      fields.get("endpoints").get("router").text().has_value();
  must(Rule::welcome, right,
       [&] { return name_of(session) + " got a welcome that says something wrong"; });

  // The answers to its claims stand in their order.
  if (!session.worker) return;
  std::vector<Value> answers;
  for (Value answer : fields.get("claims").items()) answers.push_back(answer);
  size_t at = 0;
  const uint64_t before = hello.value.get("session").number().value_or(0);
  for (Value entry : hello.value.get("claims").items()) {
    std::vector<Value> parts;
    for (Value part : entry.items()) parts.push_back(part);
    if (parts.size() < 4) continue;
    auto id = parts[0].binary();
    if (!id || id->size() != 16 || !parts[1].number() || !parts[2].text() || !parts[3].boolean()) {
      continue;
    }
    std::vector<Value> answer;
    if (at < answers.size()) {
      for (Value part : answers[at].items()) answer.push_back(part);
    }
    ++at;
    const bool named = answer.size() == 2 && answer[0].binary() == *id;
    const uint64_t handle = named ? answer[1].number().value_or(0) : 0;
    const uint64_t due = claim(session, before, TaskId::from_bytes(id->data()),
                               static_cast<uint32_t>(*parts[1].number()), *parts[2].text(),
                               *parts[3].boolean(), handle);
    must(Rule::claims, named && due == handle, [&] {
      return name_of(session) + " claimed " + TaskId::from_bytes(id->data()).hex() +
             (due ? " and may go on" : " and must drop it") + "; its welcome says otherwise";
    });
    if (due == 0) {  // it will not answer: its slot is free
      const TaskId dropped = TaskId::from_bytes(id->data());
      std::erase_if(session.runs, [&](const Run& run) { return run.ghost && run.id == dropped; });
      settle();
    }
  }
  must(Rule::claims, at == answers.size(),
       [&] { return name_of(session) + " got answers to claims that it did not make"; });
}

// The handle under which it may go on, or 0. A handle that the broker chose is taken from it.
uint64_t Model::claim(Session& session, uint64_t before, const TaskId& id, uint32_t attempt,
                      std::string_view name, bool is_item, uint64_t handle) {
  auto it = tasks_.find(id);
  auto handler = [&](const std::string& stage) {
    return config_->stages[stage_index(stage)].function;
  };
  if (it != tasks_.end()) {
    Task& task = it->second;
    const std::string its = task.is_item ? handler(task.type) : task.type;
    if (task.is_item != is_item || its != name) return 0;
    if (task.phase == Phase::kRunning) {
      if (task.session != session.number) return 0;
      for (const Run& run : session.runs) {
        if (!run.ghost && run.id == id) return run.handle == 0 ? handle : run.handle;
      }
      return 0;
    }
    if (task.phase == Phase::kParked || task.phase == Phase::kEnded) return 0;
    if (task.phase == Phase::kBlocked) return 0;  // another of its key goes first
    if (task.claimed_by != 0 && task.claimed_by != before) return 0;
    queue_.erase(task.order);
  } else {
    if (remembered(id)) return 0;
    std::string type;
    if (is_item) {
      for (const config::Stage& stage : config_->stages) {
        if (stage.function == name && session.serves.count({true, stage.name})) type = stage.name;
      }
    } else if (session.serves.count({false, std::string(name)})) {
      type = name;
    }
    if (type.empty() || live_tasks() >= config_->tuskd.limits.max_tasks) return 0;
    Task& task = tasks_[id];
    task.id = id;
    task.type = task.first_type = type;
    task.is_item = is_item;
    task.order = ++order_;
    task.since = now_;
    task.orphan = task.unseen = true;
    add_asker(task, {.edge = true}, 0, 0);
  }
  Task& task = tasks_.at(id);
  task.attempt = std::max({task.attempt, attempt, 1u});
  if (handle == 0) return 1;  // which is what should have been said: any handle
  start_run(task, session, handle);
  return handle;
}

}  // namespace tusk::simulation
