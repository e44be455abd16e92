#include "daemon/core/broker.h"

#include <algorithm>
#include <cassert>

namespace tusk::core {

using proto::Kind;
using proto::Record;
using proto::Writer;
namespace code = proto::code;

namespace {
// A record's share of a packet besides its body and attributes: id, names, numbers.
constexpr size_t kRecordOverhead = 640;
// Errors that answer no request go to one connection at most this often.
constexpr Duration kErrorInterval = std::chrono::milliseconds(20);
// A peer that acknowledges on its own is told so after this many packets, or this long.
constexpr uint64_t kPacketsPerAck = 32;
constexpr Duration kAckDelay = std::chrono::milliseconds(40);

bool has_empty(std::span<const proto::Bytes> bodies) {
  return std::any_of(bodies.begin(), bodies.end(),
                     [](const proto::Bytes& body) { return body.size() == 0; });
}

}  // namespace

Broker::Broker(Surroundings surroundings, Time now)
    : around_(std::move(surroundings)),
      config_(around_.config),
      now_(now),
      started_(now),
      random_(around_.seed) {
  apply(*config_);
}

Broker::~Broker() = default;

void Broker::handle(const Event& event, Time now, Actions& actions) {
  assert(now >= now_);
  now_ = now;
  actions_ = &actions;
  while (auto timer = timers_.due(now_)) fire(*timer);
  std::visit([this](const auto& e) { on(e); }, event);
  if (stopping_) check_stopped();
  actions_ = nullptr;
}

void Broker::fire(Timer timer) {
  switch (timer.kind) {
    case Timer::Kind::kBackoff:
    case Timer::Kind::kHold:
      tasks_[timer.subject].timer = kNoTimer;
      --scheduler_.type(tasks_[timer.subject].type).elsewhere;
      place(timer.subject);
      break;
    case Timer::Kind::kCancelGrace:
      tasks_[timer.subject].timer = kNoTimer;
      cancel_grace_over(timer.subject);
      break;
    case Timer::Kind::kRequestTimeout:
      requests_[timer.subject].timer = kNoTimer;
      request_timeout(timer.subject);
      break;
    case Timer::Kind::kReconnectGrace:
      sessions_[timer.subject].grace_timer = kNoTimer;
      grace_over(sessions_[timer.subject]);
      break;
    case Timer::Kind::kSessionTtl:
      sessions_[timer.subject].ttl_timer = kNoTimer;
      forget_session(timer.subject);
      break;
    case Timer::Kind::kProcessGone:
      sessions_[timer.subject].process_timer = kNoTimer;
      end_session(timer.subject, sessions_[timer.subject].process_gone);
      break;
    case Timer::Kind::kUnserved:
      scheduler_.type(timer.subject).unserved_timer = kNoTimer;
      unserved_over(timer.subject);
      break;
    case Timer::Kind::kAcknowledge:
      ack_timer_ = kNoTimer;
      for (uint32_t index : owing_) {
        Session& session = sessions_[index];
        if (!session.owes_ack) continue;
        session.ack_now = true;
        touch(session);
      }
      owing_.clear();
      break;
    case Timer::Kind::kKept:
      kept_timer_ = kNoTimer;
      while (!kept_.empty() &&
             now_ - tasks_[kept_.head].since >= config_->tuskd.times.session_ttl) {
        const uint32_t t = kept_.head;
        kept_.remove(tasks_, t);
        kept_bytes_ -= tasks_[t].result.size();
        let_go(t);
      }
      if (!kept_.empty()) {
        kept_timer_ = timers_.add(tasks_[kept_.head].since + config_->tuskd.times.session_ttl,
                                  {Timer::Kind::kKept, 0});
      }
      break;
    case Timer::Kind::kShutdown:
      shutdown_timer_ = kNoTimer;
      stop_now();
      break;
  }
}

// --- packets -------------------------------------------------------------------------------------

proto::Decoded Broker::decode(std::string_view records, std::span<const proto::Bytes> bodies) {
  for (const proto::Bytes& body : bodies) {
    if (body.size() == 0) return {{}, {"a body frame is empty", 0}};
  }
  return decoder_.decode(records, bodies.size());
}

Broker::Connection& Broker::connection(ConnectionId id) {
  if (id >= connections_.size()) connections_.resize(id + 1);
  connections_[id].open = true;
  return connections_[id];
}

void Broker::on(const PacketReceived& packet) {
  ++counters_.packets_received;
  Connection& from = connection(packet.connection);
  bodies_ = packet.bodies;
  if (packet.envelope) return on_request_packet(packet);

  // A session goes by the limits that its welcome stated.
  const proto::Limits limit = from.session == kNone ? limits() : sessions_[from.session].limits;
  const char* whole = nullptr;  // why the packet is refused whole
  std::string_view whole_code = code::kMalformed;
  std::string_view limit_name;
  size_t limit_value = 0, at = 0;
  proto::Decoded decoded;
  auto too_large = [&](const char* why, std::string_view name, size_t value) {
    whole = why;
    whole_code = code::kTooLarge;
    limit_name = name;
    limit_value = value;
    ++counters_.errors_too_large;
  };
  if (packet.records.size() > limit.frame) {
    too_large("the packet's records are larger than the limit", "frame", limit.frame);
  } else if (packet.bodies.size() > limit.frames) {
    too_large("the packet has more body frames than the limit", "frames", limit.frames);
  } else {
    decoded = decode(packet.records, packet.bodies);
    if (has_empty(packet.bodies)) {
      whole = "a body frame is empty";
    } else if (!decoded.ok()) {
      whole = decoded.malformed.why;
      at = decoded.malformed.record;
    } else if (decoded.records.size() - (decoded.records[0].kind == Kind::kHeader) >
               limit.records) {
      too_large("the packet has more records than the limit", "records", limit.records);
    }
  }

  // A refused packet has been received all the same: its number, if it has one, counts.
  std::span<const Record> records = decoded.records;
  if (whole) {
    decoded = decoder_.decode_first(packet.records);
    bool has_header = decoded.ok() && decoded.records[0].kind == Kind::kHeader;
    records = has_header ? decoded.records : std::span<const Record>();
  }
  if (!whole && records[0].kind == Kind::kHello) {
    if (records.size() == 1) return hello(packet.connection, records[0]);
    whole = "a hello is not alone in its packet";
  }
  if (from.session == kNone) {
    ++counters_.errors_stale_session;
    log(config::LogLevel::warning, LogTopic::kStaleSession, [&] {
      return "a packet on a connection without hello was refused; its sender must greet first";
    });
    const Caller caller{.connection = packet.connection};
    if (!whole) {
      return error(caller, 0, code::kStaleSession,
                   "there is no session on this connection: send hello");
    }
    if (whole_code == code::kMalformed) return error(caller, 0, whole_code, whole, "record", at);
    return answer(caller, 0, [&](Writer& out) {
      out.error_limit(0, whole_code, whole, limit_name, limit_value);
    });
  }

  Session& session = sessions_[from.session];
  if (session.acks && !records.empty() && records[0].kind == Kind::kHeader) {
    const Record& header = records[0];
    if (header.ref != session.number) {
      ++counters_.errors_stale_session;
      return error(Caller{.connection = packet.connection}, 0, code::kStaleSession,
                   "the packet is of another session: send hello");
    }
    acknowledged(session, header.ack);
    if (header.seq == 0) {
      if (records.size() > 1) whole = "a packet with number 0 has more than its header";
    } else if (header.seq <= session.received) {
      ++counters_.packets_duplicate;
      owe_ack(session);
      return;
    } else if (header.seq != session.received + 1) {
      return error(Caller{.session = session.index}, 0, code::kGap, "a packet is missing",
                   "expected", session.received + 1);
    } else {
      session.received = header.seq;
      owe_ack(session);
    }
    if (!whole) return on_session_packet(session, records.subspan(1));
  } else if (!whole && session.acks) {
    whole = "the packet has no header";
  } else if (!whole && records[0].kind == Kind::kHeader) {
    whole = "a header from a peer whose hello did not say acks";
  }
  if (!whole) return on_session_packet(session, records);

  ++counters_.packets_refused;
  log(config::LogLevel::warning, LogTopic::kMalformed, [&] {
    return "refused a packet of " + session.name + ": " + whole + " (record " + std::to_string(at) +
           ")";
  });
  const Caller caller{.session = session.index};
  if (whole_code == code::kTooLarge) {
    writer(session, kRecordOverhead).error_limit(0, whole_code, whole, limit_name, limit_value);
  } else {
    error(caller, 0, whole_code, whole, "record", at);
  }
}

void Broker::on_session_packet(Session& session, std::span<const Record> records) {
  const Caller caller{.session = session.index};
  const uint64_t number = session.number;
  for (const Record& record : records) {
    on_record(caller, record);
    if (session.number != number) return;  // it said bye
  }
}

// A REQ peer's message: one record, exactly one reply.
void Broker::on_request_packet(const PacketReceived& packet) {
  const uint32_t index = requests_.add();
  Request& request = requests_[index];
  request.connection = packet.connection;
  request.serial = ++request_serial_;
  request.generation = connections_[packet.connection].generation;
  request.envelope = *packet.envelope;
  const Caller caller{.request = index, .connection = packet.connection};

  if (packet.records.size() > limits().frame) {
    return too_large(caller, 0, "the request is larger than the limit", "frame", limits().frame);
  }
  if (packet.bodies.size() > limits().frames) {
    return too_large(caller, 0, "the request has more body frames than the limit", "frames",
                     limits().frames);
  }
  proto::Decoded decoded = decode(packet.records, packet.bodies);
  if (!decoded.ok()) {
    ++counters_.packets_refused;
    log(config::LogLevel::warning, LogTopic::kMalformed,
        [&] { return std::string("refused a packet of a REQ peer: ") + decoded.malformed.why; });
    return error(caller, 0, code::kMalformed, decoded.malformed.why, "record",
                 decoded.malformed.record);
  }
  const Record& record = decoded.records[0];
  request.request = record.ref;
  if (decoded.records.size() != 1) {
    return error(caller, record.ref, code::kInvalid, "a REQ peer sends one record a message");
  }
  switch (record.kind) {
    case Kind::kSubmit:
      if (record.attributes.reply == proto::Reply::kBoth) {
        return error(caller, record.ref, code::kInvalid, "a REQ peer gets one reply", "field",
                     "reply");
      }
      break;
    case Kind::kCancel:
    case Kind::kQuery:
    case Kind::kPublish:
    case Kind::kPush:
    case Kind::kPing:
    case Kind::kUnknown:
      break;
    default:
      return error(caller, record.ref, code::kUnsupported,
                   "a REQ peer may submit, cancel, query, publish, push and ping", "kind",
                   static_cast<uint64_t>(record.kind));
  }
  on_record(caller, record);
}

void Broker::on_record(const Caller& caller, const Record& record) {
  if (!record.fault.empty()) {
    ++counters_.records_refused;
    log(config::LogLevel::warning, LogTopic::kRefused, [&] {
      return std::string("refused a record: ") + record.fault_text + " (" +
             std::string(record.fault_field) + " " + std::to_string(record.fault_number) + ")";
    });
    if (record.fault == code::kTooLarge) {
      return too_large(caller, record.ref, record.fault_text, record.fault_field,
                       record.fault_number);
    }
    if (record.fault == code::kInvalid) {
      return error(caller, record.ref, record.fault, record.fault_text, "field",
                   record.fault_field);
    }
    return error(caller, record.ref, record.fault, record.fault_text, record.fault_field,
                 record.fault_number);
  }
  Session* session = caller.session == kNone ? nullptr : &sessions_[caller.session];
  switch (record.kind) {
    case Kind::kSubmit:
      return submit(caller, record);
    case Kind::kCancel:
      return cancel(caller, record);
    case Kind::kQuery:
      return query(caller, record);
    case Kind::kPublish:
      return publish(caller, record);
    case Kind::kPush:
      return push(caller, record);
    case Kind::kPing:
      return answer(caller, kRecordOverhead, [&](Writer& out) { out.pong(record.ref); });
    case Kind::kIgnorable:
    case Kind::kPong:
      return;
    case Kind::kError:  // a peer that cannot carry out what it was sent
      return log(config::LogLevel::warning, LogTopic::kPeer, [&] {
        return (session ? session->name : "a peer") + " answers: " + std::string(record.name) +
               ": " + std::string(record.message);
      });
    case Kind::kSubscribe:
      return subscribe(*session, record);
    case Kind::kUnsubscribe:
      return unsubscribe(*session, record);
    case Kind::kBye:
      return end_session(session->index, false);
    case Kind::kResult:
    case Kind::kReturned:
    case Kind::kSlots:
      if (session->worker == kNone) {
        ++counters_.records_refused;
        return error(caller, record.ref, code::kInvalid, "the session is not a worker's", "field",
                     "role");
      }
      if (record.kind == Kind::kResult) return result(*session, record);
      if (record.kind == Kind::kReturned) return returned(*session, record);
      workers_[session->worker].slots =
          static_cast<uint32_t>(std::min<uint64_t>(record.ref, config_->tuskd.limits.max_tasks));
      return update_worker(*session);
    default:
      ++counters_.records_refused;
      return error(caller, record.ref, code::kUnsupported,
                   "this kind of record does not come from peers, or not here", "kind",
                   static_cast<uint64_t>(record.kind));
  }
}

void Broker::on(const Disconnected& event) {
  if (event.connection >= connections_.size()) return;
  Connection& from = connections_[event.connection];
  if (!from.open) return;
  from.open = false;
  from.last_error = {};
  ++from.generation;  // requests that wait for a reply on it have nobody
  from.last_error = {};
  if (from.session != kNone) detach(sessions_[from.session]);
}

void Broker::on(const ProcessEnded& event) {
  auto it = session_by_number_.find(event.session);
  if (it == session_by_number_.end()) return;
  Session& session = sessions_[it->second];
  session.watched = false;
  session.process_gone = true;
  if (session.connection == kNoConnection) return end_session(it->second, true);
  // Its connection ends in a moment, behind its last packets; unless a child of it holds it open.
  session.process_timer =
      timers_.add(now_ + kProcessSettles, {Timer::Kind::kProcessGone, session.index});
}

// --- answers -------------------------------------------------------------------------------------

void Broker::touch(Session& session) {
  if (session.dirty) return;
  session.dirty = true;
  dirty_.push_back(session.index);
}

Writer& Broker::writer(Session& session, size_t more) {
  touch(session);
  return session.out.writer(more);
}

// Whether a record of about `more` bytes still fits into a packet for an edge.
bool Broker::has_room(Writer& packet, size_t more) const {
  const config::Limits& limit = config_->tuskd.limits;
  return packet.count() < limit.max_records && packet.frames().size() < limit.max_frames &&
         packet.records().size() + more <= limit.max_frame;
}

void Broker::error(const Caller& caller, uint64_t ref, std::string_view code,
                   std::string_view message) {
  answer(caller, kRecordOverhead + message.size(),
         [&](Writer& out) { out.error(ref, code, message); });
}

void Broker::error(const Caller& caller, uint64_t ref, std::string_view code,
                   std::string_view message, std::string_view key, uint64_t value) {
  answer(caller, kRecordOverhead + message.size(),
         [&](Writer& out) { out.error(ref, code, message, key, value); });
}

void Broker::error(const Caller& caller, uint64_t ref, std::string_view code,
                   std::string_view message, std::string_view key, std::string_view value) {
  answer(caller, kRecordOverhead + message.size(),
         [&](Writer& out) { out.error(ref, code, message, key, value); });
}

void Broker::too_large(const Caller& caller, uint64_t ref, std::string_view message,
                       std::string_view limit, size_t value) {
  ++counters_.errors_too_large;
  answer(caller, kRecordOverhead + message.size(),
         [&](Writer& out) { out.error_limit(ref, code::kTooLarge, message, limit, value); });
}

void Broker::full(const Caller& caller, uint64_t ref, std::string_view code,
                  std::string_view message, std::string_view limit, size_t value) {
  ++counters_.errors_full;
  answer(caller, kRecordOverhead + message.size(),
         [&](Writer& out) { out.error_limit(ref, code, message, limit, value); });
}

void Broker::accept(const Caller& caller, uint64_t request) {
  answer(caller, kRecordOverhead, [&](Writer& out) { out.accepted(request); });
}

// An error to a connection that has no session, or whose packet is of another one.
void Broker::answer_connection(ConnectionId id, const Writer& reply) {
  Connection& to = connections_[id];
  if (to.last_error != Time{} && now_ - to.last_error < kErrorInterval) return;
  to.last_error = now_;
  ++counters_.packets_sent;
  actions_->sends.push_back({id, {}, proto::Bytes::copy(reply.records().view()), {}});
}

void Broker::send_reply(uint32_t index, Writer& reply) {
  Request& request = requests_[index];
  const Connection& to = connections_[request.connection];
  if (to.open && to.generation == request.generation) {
    ++counters_.packets_sent;
    actions_->sends.push_back({request.connection, request.envelope,
                               proto::Bytes::copy(reply.records().view()),
                               std::move(reply.frames())});
  }
  drop_request(index);
}

void Broker::drop_request(uint32_t index) {
  timers_.cancel(requests_[index].timer);
  requests_.remove(index);
}

void Broker::log(config::LogLevel level, LogTopic topic, const std::function<std::string()>& text) {
  uint64_t suppressed;
  if (!log_limiter_.allow(topic, now_, suppressed)) {
    ++counters_.log_suppressed;
    return;
  }
  std::string line = text();
  if (suppressed > 0) line += " (and " + std::to_string(suppressed) + " more like it)";
  actions_->log.push_back({level, std::move(line)});
}

void Broker::owe_ack(Session& session) {
  if (session.received - session.acknowledged >= kPacketsPerAck) {
    session.ack_now = true;
    touch(session);
  }
  if (session.owes_ack) return;
  session.owes_ack = true;
  owing_.push_back(session.index);
  if (ack_timer_ == kNoTimer) {
    ack_timer_ = timers_.add(now_ + kAckDelay, {Timer::Kind::kAcknowledge, 0});
  }
}

void Broker::flush(Time now, Actions& actions) {
  now_ = std::max(now_, now);
  actions_ = &actions;
  for (size_t i = 0; i < dirty_.size(); ++i) {  // it may grow: a worker under its bound gets tasks
    Session& session = sessions_[dirty_[i]];
    if (session.number == 0 || !session.dirty) continue;  // it ended meanwhile
    session.dirty = false;
    if (session.connection == kNoConnection) {
      session.out.close();
    } else {
      bool sent = false;
      session.out.flush(session.received, [&](const SentPacket& packet) {
        sent = true;
        ++counters_.packets_sent;
        actions.sends.push_back({session.connection, {}, packet.records, packet.bodies});
      });
      if (!sent && session.ack_now) {
        Writer lone;
        lone.reserve_header();
        Writer::fill_header(lone.records().data(), session.number, 0, session.received);
        actions.sends.push_back(
            {session.connection, {}, proto::Bytes::copy(lone.records().view()), {}});
        sent = true;
      }
      if (sent && session.acks) {
        session.acknowledged = session.received;
        session.owes_ack = session.ack_now = false;
      }
    }
    const bool over = session.out.bytes() > config_->tuskd.limits.max_session_bytes;
    if (over != session.over_bound) {
      session.over_bound = over;
      update_worker(session);
    }
  }
  dirty_.clear();
  for (uint32_t index : dirty_topics_) {
    send_topic(*topics_[index]);
  }
  dirty_topics_.clear();
  send_items();
  actions_ = nullptr;
}

// --- stopping ------------------------------------------------------------------------------------

void Broker::on(const Shutdown&) {
  if (stopping_) return stop_now();
  stopping_ = true;
  for (uint32_t i = 0; i < sessions_.size(); ++i) {
    if (sessions_[i].number != 0) writer(sessions_[i], kRecordOverhead).goaway("shutting down");
  }
  // Tasks that do not run are given back. Items of the pipeline have nobody to be given back to:
  // they may go on for as long as running tasks may.
  for (uint32_t t = 0; t < tasks_.size(); ++t) {
    Task& task = tasks_[t];
    const bool item = task.type != kNone && scheduler_.type(task.type).is_stage;
    if (task.state == TaskState::kParked ||
        (!item && (task.state == TaskState::kWaiting || task.state == TaskState::kBackoff ||
                   task.state == TaskState::kHeld))) {
      give_back(t, code::kShuttingDown, "tuskd is shutting down and did not run the task");
    }
  }
  shutdown_timer_ =
      timers_.add(now_ + config_->tuskd.times.shutdown_grace, {Timer::Kind::kShutdown, 0});
}

void Broker::check_stopped() {
  for (uint32_t t = 0; t < scheduler_.types(); ++t) {
    if (!scheduler_.exists(t)) continue;
    const Type& type = scheduler_.type(t);
    if (type.running > 0 || (type.is_stage && type.held() > 0)) return;
  }
  stop_now();
}

void Broker::stop_now() {
  if (actions_->stopped) return;
  size_t left = 0;
  for (uint32_t t = 0; t < scheduler_.types(); ++t) {
    if (scheduler_.exists(t)) left += scheduler_.type(t).held();
  }
  if (left > 0) {
    log(config::LogLevel::warning, LogTopic::kOperator, [&] {
      return std::to_string(left) + " tasks and items were still running or in the pipeline; " +
             "clients submit tasks again, items are lost";
    });
  }
  for (uint32_t i = 0; i < sessions_.size(); ++i) {
    if (sessions_[i].number != 0) writer(sessions_[i], kRecordOverhead).bye("shutting down");
  }
  timers_.cancel(shutdown_timer_);
  actions_->stopped = true;
}

}  // namespace tusk::core
