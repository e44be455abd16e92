// Sessions: hello and welcome, connections that come and go, the deaths of workers, claims.
#include <algorithm>
#include <cassert>
#include <set>
#include <tuple>

#include "daemon/core/broker.h"

namespace tusk::core {

using proto::Kind;
using proto::Record;
using proto::TaskId;
using proto::Value;
using proto::Writer;
namespace code = proto::code;

namespace {

constexpr size_t kMaxAnnounced = 10'000;  // names in one hello

std::string text_or(Value value, std::string_view otherwise) {
  auto text = value.text();
  return std::string(text && proto::is_utf8(*text) ? text->substr(0, proto::kMaxName) : otherwise);
}

// A list of names, each of 1 to 255 bytes; false if it is something else.
bool read_names(Value list, std::vector<std::string>& names) {
  if (!list) return true;
  if (!list.is_array() || list.size() > kMaxAnnounced) return false;
  for (Value item : list.items()) {
    auto name = item.text();
    if (!name || name->empty() || name->size() > proto::kMaxName || !proto::is_utf8(*name)) {
      return false;
    }
    names.emplace_back(*name);
  }
  return true;
}

}  // namespace

// --- hello ---------------------------------------------------------------------------------------

// Fills the session from hello's fields; returns what is wrong with them.
Broker::HelloFault Broker::read_hello(Value fields, Session& session, uint32_t& slots) const {
  auto role = fields.get("role").text();
  if (!role || (*role != "client" && *role != "worker" && *role != "both")) {
    return {"role", "hello's role must be client, worker or both"};
  }
  auto language = fields.get("language").text();
  if (!language || language->empty() || language->size() > proto::kMaxName) {
    return {"language", "hello's language must be a text of 1 to 255 bytes"};
  }
  session.language = config::canonical_language(*language);
  session.acks = fields.get("acks").boolean().value_or(false);
  session.pid = static_cast<uint32_t>(fields.get("pid").number().value_or(0));
  session.name = text_or(fields.get("name"), session.language + "-" + std::to_string(session.pid));
  session.pool = config::canonical_language(text_or(fields.get("pool"), session.language));
  session.sdk = text_or(fields.get("sdk"), "");
  slots = 0;
  if (*role == "client") return {};
  Value wanted = fields.get("slots");
  slots = static_cast<uint32_t>(std::min<uint64_t>(wanted.number().value_or(1), 1 << 20));
  if ((wanted && !wanted.number()) || slots == 0) {
    return {"slots", "hello's slots must be 1 or more"};
  }
  if (!read_names(fields.get("types"), session.announced_types)) {
    return {"types", "hello's types must be a list of names of 1 to 255 bytes"};
  }
  if (!read_names(fields.get("handlers"), session.announced_handlers)) {
    return {"handlers", "hello's handlers must be a list of names of 1 to 255 bytes"};
  }
  if (!are_labels(fields.get("labels"))) {
    return {
        "labels",
        "hello's labels must be a map of at most 32 names to texts of 1 to 255 bytes or numbers "
        "up to 10^9"};
  }
  if (Value claims = fields.get("claims"); claims && !claims.is_array()) {
    return {"claims", "hello's claims must be a list"};
  }
  return {};
}

void Broker::hello(ConnectionId from, const Record& record) {
  const Value fields = record.value;
  const Caller caller{.connection = from};
  if (record.ref < 1 || record.ref > proto::kVersion) {
    return answer(caller, 0, [&](Writer& out) {
      out.start(Kind::kError, 5).pack_int(0);
      out.text(code::kVersion);
      out.text("this broker speaks version 1 of TUSK, not " + std::to_string(record.ref));
      out.packer().pack_map(1);
      out.text("versions");
      out.packer().pack_array(1);
      out.packer().pack_int(proto::kVersion);
    });
  }
  auto instance_bytes = fields.get("instance").binary();
  if (!instance_bytes || instance_bytes->size() != 16) {
    return error(caller, 0, code::kInvalid, "hello's instance must be 16 bytes", "field",
                 "instance");
  }
  for (Value wanted : fields.get("require").items()) {
    return error(
        caller, 0, code::kUnsupported,
        "hello requires \"" + text_or(wanted, "?") + "\", which this broker does not know");
  }
  Instance instance;
  std::copy(instance_bytes->begin(), instance_bytes->end(), instance.begin());

  if (uint32_t there = connections_[from].session; there != kNone) {
    Session& session = sessions_[there];
    if (session.instance != instance) {
      ++counters_.records_refused;
      return error(caller, 0, code::kDuplicateHello, "this connection already has a session");
    }
    // The same hello twice: a peer's queue may hold one from before its connection stood.
    actions_->sends.push_back({from, {}, session.welcome, {}});
    return;
  }
  if (auto it = session_by_instance_.find(instance); it != session_by_instance_.end()) {
    Session& session = sessions_[it->second];
    if (fields.get("session").number() == session.number && session.acks) {
      return resume(session, from, fields);
    }
    end_session(it->second, false);  // it lost its memory, or never learned of this session
  }
  open_session(from, instance, fields);
}

void Broker::open_session(ConnectionId from, const Instance& instance, Value fields) {
  const Caller caller{.connection = from};
  if (sessions_.live() >= config_->tuskd.limits.max_sessions) {
    const size_t most = config_->tuskd.limits.max_sessions;
    log(config::LogLevel::warning, LogTopic::kLimit,
        [&] { return "a peer was refused: [tuskd] max_sessions is " + std::to_string(most); });
    return full(caller, 0, code::kFull, "the broker has max_sessions peers already", "max_sessions",
                most);
  }
  const uint32_t index = sessions_.add();
  Session& session = sessions_[index];
  auto refused = [&](const std::string& why) {
    ++counters_.records_refused;
    log(config::LogLevel::warning, LogTopic::kRefused,
        [&] { return "refused the hello of " + session.name + ": " + why; });
    sessions_.remove(index);
  };
  uint32_t slots;
  if (const HelloFault fault = read_hello(fields, session, slots); fault.why) {
    refused(fault.why);
    return error(caller, 0, code::kInvalid, fault.why, "field", fault.field);
  }
  if (slots > 0) {
    if (std::string why = forbidden(session); !why.empty()) {
      refused(why);
      return error(caller, 0, code::kRefused, why);
    }
    const size_t most = config_->tuskd.limits.max_types;
    // Who brings no new type does not make it worse: a reload may have named more than there fit.
    auto fits = [&] {
      const size_t fresh = unknown_types(session);
      return fresh == 0 || scheduler_.type_count() + fresh <= most;
    };
    if (!fits()) purge_types();
    if (!fits()) {
      refused("[tuskd] max_types is " + std::to_string(most));
      return full(caller, 0, code::kFull, "the broker knows max_types types already", "max_types",
                  most);
    }
  }

  session.index = index;
  session.instance = instance;
  do {
    session.number = random_() & proto::kMaxInteger;
  } while (session.number == 0 || session_by_number_.count(session.number));
  session.limits = limits();
  session.out.open(session.number, session.acks, session.limits);
  session_by_number_[session.number] = index;
  session_by_instance_[instance] = index;
  ++counters_.sessions_opened;

  if (fields.get("pid_ns").number() == around_.pid_namespace && session.pid != 0 &&
      !around_.boot_id.empty() && fields.get("boot_id").text() == around_.boot_id) {
    session.watched = true;
    actions_->watches.push_back({session.number, session.pid});
  }
  Claims claims;
  if (slots > 0) {
    session.worker = workers_.add();
    WorkerState& worker = workers_[session.worker];
    worker.session = index;
    worker.slots = slots;
    worker.offers = properties_of(fields.get("labels"));
    scheduler_.join(session.worker, serves(session));
    claims = adopt_claims(session, fields);
  }
  connections_[from].session = index;
  session.connection = from;
  welcome(session, false, claims);
  update_worker(session);
}

void Broker::resume(Session& session, ConnectionId from, Value fields) {
  if (session.connection != kNoConnection) {  // its old connection's end has not come yet
    connections_[session.connection].session = kNone;
  }
  if (session.worker != kNone && workers_[session.worker].away) {
    workers_[session.worker].away = false;
    scheduler_.join(session.worker, serves(session));
  }
  timers_.cancel(session.grace_timer);
  timers_.cancel(session.ttl_timer);
  connections_[from].session = session.index;
  session.connection = from;
  ++counters_.sessions_resumed;
  Claims claims;
  if (session.worker != kNone) {
    // It gets nothing new until all that it claims is counted.
    workers_[session.worker].available = false;
    scheduler_.changed(session.worker);
    claims = adopt_claims(session, fields);
  }
  welcome(session, true, claims);
  // Only now: it may bring a worker under its bound again, which is then given what waits.
  acknowledged(session, fields.get("ack").number().value_or(0));
  session.out.resend();
  touch(session);
  update_worker(session);
}

// Why the config does not let this worker in, or "".
std::string Broker::forbidden(const Session& session) const {
  if (!config::language_allowed(*config_, session.language)) {
    std::string allowed = config_->master_language;
    for (const std::string& language : *config_->worker_languages) allowed += ", " + language;
    return "[orchestration] allows workers in " + allowed + "; this one is in " + session.language;
  }
  for (const std::string& name : session.announced_types) {
    const config::TaskType& settings = config_->type(name);
    if (settings.pool && *settings.pool != session.pool) {
      return "the config binds type \"" + name + "\" to pool \"" + *settings.pool +
             "\"; this worker is of pool \"" + session.pool + "\"";
    }
  }
  return "";
}

// How many of the types that a worker announces nobody named before.
size_t Broker::unknown_types(const Session& session) const {
  std::set<std::string_view> names;
  for (const std::string& name : session.announced_types) {
    if (scheduler_.find_type(name) == kNone) names.insert(name);
  }
  return names.size();
}

// The types and stages whose tasks may go to this worker. Types that nobody named before are made.
std::vector<uint32_t> Broker::serves(const Session& session) {
  std::vector<uint32_t> out;
  for (const std::string& name : session.announced_types) {
    uint32_t t = scheduler_.find_type(name);
    if (t == kNone) {
      if (scheduler_.type_count() >= config_->tuskd.limits.max_types) continue;
      t = scheduler_.add_type(name, false);
      configure_type(t);
    }
    const auto& pool = scheduler_.type(t).settings.pool;
    if (!pool || *pool == session.pool) out.push_back(t);
  }
  for (uint32_t t : scheduler_.stages()) {
    const Type& stage = scheduler_.type(t);
    const config::Stage& settings = config_->stages[stage.stage];
    const bool announced =
        std::find(session.announced_handlers.begin(), session.announced_handlers.end(),
                  stage.handler) != session.announced_handlers.end();
    if (announced && (settings.language.empty() || settings.language == session.language)) {
      out.push_back(t);
    }
  }
  return out;
}

void Broker::welcome(Session& session, bool resumed, const Claims& claims) {
  const config::Orchestration& c = *config_;
  Writer out;
  proto::Packer& p = out.start(Kind::kWelcome, 3);
  p.pack_int(proto::kVersion);
  auto number = [&](std::string_view key, uint64_t value) {
    out.text(key);
    p.pack_uint64(value);
  };
  const std::pair<std::string_view, std::string_view> endpoints[] = {
      {"router", around_.router},
      {"events_in", around_.events_in},
      {"events_out", around_.events_out},
      {"pipeline_in", around_.pipeline_in},
      {"pipeline_out", around_.pipeline_out}};

  p.pack_map(16);
  number("session", session.number);
  number("epoch", around_.epoch);
  out.text("resumed");
  resumed ? p.pack_true() : p.pack_false();
  number("ack", session.received);
  out.text("limits");
  const proto::Limits& limit = session.limits;
  p.pack_map(7);
  number("frame", limit.frame);
  number("body", limit.body);
  number("records", limit.records);
  number("frames", limit.frames);
  number("session_bytes", limit.session_bytes);
  number("push_window", limit.push_window);
  number("checkpoint", limit.checkpoint);
  out.text("endpoints");
  p.pack_map(static_cast<uint32_t>(std::count_if(std::begin(endpoints), std::end(endpoints),
                                                 [](auto& e) { return !e.second.empty(); })));
  for (auto& [name, endpoint] : endpoints) {
    if (endpoint.empty()) continue;
    out.text(name);
    out.text(endpoint);
  }
  number("timeout", static_cast<uint64_t>(c.default_timeout.count()));
  out.text("compression");
  out.text(c.compression == config::Compression::lz4 ? "lz4" : "none");
  number("compression_threshold", c.tuskd.limits.compression_threshold);
  number("session_ttl", static_cast<uint64_t>(milliseconds(c.tuskd.times.session_ttl)));
  number("adopt_grace", static_cast<uint64_t>(milliseconds(c.tuskd.times.adopt_grace)));
  static constexpr Kind kKinds[] = {
      Kind::kHeader,    Kind::kHello,       Kind::kWelcome,    Kind::kPing,    Kind::kPong,
      Kind::kError,     Kind::kBye,         Kind::kGoaway,     Kind::kSubmit,  Kind::kCancel,
      Kind::kQuery,     Kind::kControl,     Kind::kUpdate,     Kind::kAwait,   Kind::kPublish,
      Kind::kSubscribe, Kind::kUnsubscribe, Kind::kPush,       Kind::kResult,  Kind::kReturned,
      Kind::kProgress,  Kind::kLog,         Kind::kCheckpoint, Kind::kSlots,   Kind::kDefer,
      Kind::kPause,     Kind::kAccepted,    Kind::kAnswer,     Kind::kEvent,   Kind::kTask,
      Kind::kItem,      Kind::kRecall,      Kind::kDrain,      Kind::kSuspend, Kind::kResume,
      Kind::kChunk,     Kind::kCredit};
  out.text("kinds");
  p.pack_array(std::size(kKinds));
  for (Kind kind : kKinds) p.pack_uint16(static_cast<uint16_t>(kind));
  static constexpr uint8_t kAttributes[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 13, 15, 16, 17,
                                            18, 19, 21, 23, 24, 25, 26, 27, 28, 29, 30, 33, 49, 51,
                                            53, 55, 57, 59, 61, 63, 65, 67, 69, 71, 73, 75, 32, 34};
  out.text("attributes");
  p.pack_array(std::size(kAttributes));
  for (uint8_t key : kAttributes) p.pack_uint8(key);
  out.text("claims");
  p.pack_array(static_cast<uint32_t>(claims.size()));
  for (const auto& [id, handle] : claims) {
    p.pack_array(2);
    p.pack_bin(16);
    p.pack_bin_body(reinterpret_cast<const char*>(id.bytes.data()), 16);
    handle == 0 ? p.pack_nil() : p.pack_uint64(handle);
  }
  out.text("messages");
  write_writing(out);
  out.text("server");
  out.text(around_.server);

  session.welcome = proto::Bytes::copy(out.records().view());
  ++counters_.packets_sent;
  actions_->sends.push_back({session.connection, {}, session.welcome, {}});
}

void Broker::write_writing(Writer& out) const {
  static constexpr std::array<std::string_view, 3> kNames = {"types", "stages", "topics"};
  proto::Packer& p = out.packer();
  p.pack_map(kNames.size());
  for (size_t i = 0; i < kNames.size(); ++i) {
    out.text(kNames[i]);
    p.pack_map(static_cast<uint32_t>(writing_[i].size()));
    for (const Writing& writing : writing_[i]) {
      const auto& [format, compression] =
          std::tie(writing.message->format, writing.message->compression);
      out.text(writing.name);
      p.pack_map(format.has_value() + compression.has_value());
      if (format) {
        out.text("codec");
        p.pack_uint32(codec_of(*format));
      }
      if (compression) {
        out.text("compress");
        *compression ? p.pack_true() : p.pack_false();
      }
    }
  }
}

// --- claims --------------------------------------------------------------------------------------

Broker::Claims Broker::adopt_claims(Session& session, Value fields) {
  const Value list = fields.get("claims");
  const uint64_t before = fields.get("session").number().value_or(0);
  Claims answers;
  if (!list.is_array()) return answers;
  for (Value claim : list.items()) {
    if (!claim.is_array() || claim.size() < 4) continue;
    Value parts[4];
    size_t n = 0;
    for (Value part : claim.items()) {
      if (n < 4) parts[n++] = part;
    }
    auto id = parts[0].binary();
    auto attempt = parts[1].number();
    auto name = parts[2].text();
    auto is_item = parts[3].boolean();
    if (!id || id->size() != 16 || !attempt || !name || !is_item) continue;
    const TaskId task = TaskId::from_bytes(id->data());
    const uint64_t handle =
        adopt_claim(session, before, task, static_cast<uint32_t>(*attempt), *name, *is_item);
    if (handle == 0) drop_ghost(session.worker, task);
    ++(handle ? counters_.claims_adopted : counters_.claims_dropped);
    answers.emplace_back(task, handle);
  }
  return answers;
}

// A worker that is told to drop a run will not answer it: the slot that it held is free.
void Broker::drop_ghost(uint32_t worker, const TaskId& id) {
  for (uint32_t t = workers_[worker].running.head; t != kNone; t = tasks_[t].next) {
    if (tasks_[t].state != TaskState::kGhost || tasks_[t].id != id) continue;
    const uint32_t type = tasks_[t].type;
    release(t);
    free_task(t);
    return run_left(type);
  }
}

// The handle under which the worker may go on with a run, or 0: drop it.
uint64_t Broker::adopt_claim(Session& session, uint64_t before, const TaskId& id, uint32_t attempt,
                             std::string_view name, bool is_item) {
  const WorkerState& worker = workers_[session.worker];
  uint32_t t = find_task(id);
  if (t != kNone && !is_ended(t)) {
    Task& task = tasks_[t];
    Type& type = scheduler_.type(task.type);
    if (type.handler != name || type.is_stage != is_item) return 0;  // it has moved on
    switch (task.state) {
      case TaskState::kRunning:
      case TaskState::kGhost:
        return task.worker == session.worker ? handle_of(t) : 0;
      case TaskState::kWaiting:
      case TaskState::kHeld:
      case TaskState::kDelayed:
        // The run may go on if this broker never saw its end: it ran before a restart, or was taken
        // from this worker while it was away. Otherwise it was answered, and only the worker does
        // not know that the answer arrived.
        if (task.claimed_by != Task::kAnybody && task.claimed_by != before) return 0;
        leave_queue(t);
        break;
      default:
        return 0;
    }
  } else if (t != kNone) {
    return 0;  // it ended
  } else {
    // Not known: the broker restarted. The client's resend will join this run.
    uint32_t type = kNone;
    for (uint32_t served : worker.serves) {
      const Type& candidate = scheduler_.type(served);
      if (candidate.is_stage == is_item && candidate.handler == name) type = served;
    }
    if (type == kNone || tasks_.live() >= config_->tuskd.limits.max_tasks) return 0;
    t = tasks_.add();
    Task& task = tasks_[t];
    task.id = id;
    task.type = type;
    task.order = ++order_;
    task.orphan = true;
    task.since = now_;
    index_.insert(id.hash(), t);
  }
  Task& task = tasks_[t];
  task.attempt = std::max({task.attempt, attempt, 1u});
  start_run(t, session.worker);
  return handle_of(t);
}

// --- connections and deaths ----------------------------------------------------------------------

// Acknowledged endings are let go.
void Broker::acknowledged(Session& session, uint64_t seq) {
  seq = std::min(seq, session.out.last_sent());  // nobody has what was never sent
  session.out.acknowledge(seq);
  while (!session.endings.empty() && tasks_[session.endings.head].packet <= seq) {
    const uint32_t t = session.endings.head;
    session.endings.remove(tasks_, t);
    if (const uint32_t next = session.endings.head; next != kNone) {
      index_.prefetch(tasks_[next].id.hash());
    }
    retain(t);
  }
  if (session.over_bound && session.out.bytes() <= config_->tuskd.limits.max_session_bytes) {
    session.over_bound = false;
    update_worker(session);
  }
  send_waiting(session);  // last: what it may ask for does not depend on its events
}

void Broker::update_worker(Session& session) {
  if (session.worker == kNone) return;
  WorkerState& worker = workers_[session.worker];
  worker.available =
      session.connection != kNoConnection && !session.over_bound && !worker.condemned;
  scheduler_.changed(session.worker);
  resume_runs(session.worker);
  if (!worker.sticky.empty()) leave_sticky_lanes(session.worker);
  fill_worker(session.worker);
}

void Broker::detach(Session& session) {
  connections_[session.connection].session = kNone;
  session.connection = kNoConnection;
  if (session.process_gone) return end_session(session.index, true);
  if (!session.acks && !session.watched) return end_session(session.index, false);
  update_worker(session);
  if (!session.acks) {
    // It cannot come back, but whether its process died is about to be known.
    session.process_timer =
        timers_.add(now_ + kProcessSettles, {Timer::Kind::kProcessGone, session.index});
    return;
  }
  const config::Times& times = config_->tuskd.times;
  if (session.worker != kNone) {
    session.grace_timer =
        timers_.add(now_ + times.reconnect_grace, {Timer::Kind::kReconnectGrace, session.index});
  }
  session.ttl_timer =
      timers_.add(now_ + times.session_ttl, {Timer::Kind::kSessionTtl, session.index});
}

// What ran on the worker runs elsewhere. `died`: its process ended, so what ran may be to blame.
void Broker::worker_gone(Session& session, bool died) {
  if (session.worker == kNone) return;
  WorkerState& worker = workers_[session.worker];
  const uint32_t suspect = worker.suspect;
  const bool charged = died && !worker.condemned;  // not if it is the broker that had it killed
  if (died && !worker.running.empty()) {
    ++worker.counters.crashed;
    log(config::LogLevel::warning, LogTopic::kWorkerDied, [&] {
      return "worker " + session.name + " died with " + std::to_string(worker.running.count) +
             " running tasks; they run elsewhere";
    });
  }
  // One by one, so that a stage never seems to have room that the next of them needs. None of them
  // comes back here: the worker is not available.
  assert(!worker.available);
  while (!worker.running.empty()) {
    const uint32_t t = worker.running.head;
    Task& task = tasks_[t];
    const uint32_t type = task.type;
    release(t);
    if (task.state == TaskState::kGhost) {
      free_task(t);
    } else if (ended_as_told(t, session.name)) {
      // It was told to stop for good.
    } else if (task.stop != Stop::kNone) {
      run_lost(t, session.name);
    } else if (charged && (suspect == kNone || t == suspect)) {
      crash(t, session.name, "its worker");
    } else {
      if (!died) task.claimed_by = session.number;
      requeue(t);
    }
    run_left(type);
  }
}

// A worker stayed away for reconnect_grace: others do its work.
void Broker::grace_over(Session& session) {
  // Should it come back to find tasks that were on their way, they are no longer its own.
  WorkerState& worker = workers_[session.worker];
  for (uint32_t t = worker.running.head; t != kNone; t = tasks_[t].next) {
    if (tasks_[t].stop != Stop::kNone) continue;
    writer(session, kRecordOverhead).cancel(handle_of(t), tasks_[t].id, "moved");
  }
  worker_gone(session, false);
  stop_serving(session);
  worker.away = true;
}

void Broker::stop_serving(Session& session) {
  const std::vector<uint32_t> served = workers_[session.worker].serves;
  scheduler_.leave(session.worker, now_);
  leave_sticky_lanes(session.worker);
  for (uint32_t type : served) {
    if (scheduler_.has_unserved(type)) wait_for_worker(type);
  }
}

// The peer stayed away for session_ttl: its endings have been kept for long enough.
void Broker::forget_session(uint32_t index) {
  Session& session = sessions_[index];
  while (!session.endings.empty()) {
    const uint32_t t = session.endings.head;
    session.endings.remove(tasks_, t);
    retain(t);
  }
  end_session(index, false);
}

void Broker::end_session(uint32_t index, bool died) {
  Session& session = sessions_[index];
  assert(session.number != 0);
  ++counters_.sessions_ended;
  if (session.worker != kNone) {
    workers_[session.worker].available = false;
    scheduler_.changed(session.worker);
    worker_gone(session, died);
    stop_serving(session);
    timers_.cancel(workers_[session.worker].condemned_timer);
    workers_.remove(session.worker);
  }
  while (!session.endings.empty()) {
    const uint32_t t = session.endings.head;
    session.endings.remove(tasks_, t);
    keep(t);
  }
  end_subscriptions(session);
  timers_.cancel(session.grace_timer);
  timers_.cancel(session.ttl_timer);
  timers_.cancel(session.process_timer);
  if (session.watched) actions_->unwatches.push_back({session.number});
  if (session.connection != kNoConnection) connections_[session.connection].session = kNone;
  session_by_number_.erase(session.number);
  session_by_instance_.erase(session.instance);
  sessions_.remove(index);
}

}  // namespace tusk::core
