// The door: packets come in, are opened and counted, and their records handed to who deals with
// them.
#include <algorithm>

#include "daemon/core/broker.h"

namespace tusk::core {

using proto::Kind;
using proto::Record;
using proto::Writer;
namespace code = proto::code;

namespace {

bool has_empty(std::span<const proto::Bytes> bodies) {
  return std::any_of(bodies.begin(), bodies.end(),
                     [](const proto::Bytes& body) { return body.size() == 0; });
}

}  // namespace

Broker::Connection& Broker::connection(ConnectionId id) {
  if (id >= connections_.size()) connections_.resize(id + 1);
  connections_[id].open = true;
  return connections_[id];
}

// A packet comes in: whole and within its limits, of this session and the next in its order? Only
// then are its records looked at, one by one.
void Broker::on(const PacketReceived& packet) {
  ++counters_.packets_received;
  const Connection& from = connection(packet.connection);
  bodies_ = packet.bodies;
  if (packet.envelope) return on_request_packet(packet);

  // A session goes by the limits that its welcome stated.
  const bool greeted = from.session != kNone;
  PacketFault fault;
  std::span<const Record> records =
      open_packet(packet, greeted ? sessions_[from.session].limits : limits(), fault);
  if (!fault.why && records[0].kind == Kind::kHello) {
    if (records.size() == 1) return hello(packet.connection, records[0]);
    fault.why = "a hello is not alone in its packet";
  }
  if (!greeted) return refuse_stranger(packet.connection, fault);

  Session& session = sessions_[from.session];
  const bool has_header = !records.empty() && records[0].kind == Kind::kHeader;
  if (session.acks && has_header) {
    if (!count_packet(session, records[0], records.size() == 1, fault)) return;
    records = records.subspan(1);
  } else if (!fault.why && session.acks) {
    fault.why = "the packet has no header";
  } else if (!fault.why && has_header) {
    fault.why = "a header from a peer whose hello did not say acks";
  }
  if (!fault.why) return on_session_packet(session, records);
  log(config::LogLevel::warning, LogTopic::kMalformed, [&] {
    return "refused a packet of " + session.name + ": " + fault.why + " (record " +
           std::to_string(fault.record) + ")";
  });
  refuse_packet(Caller{.session = session.index}, fault);
}

// The packet's records, or why it is refused whole. Even then its header is read where there is
// one, and returned alone: a refused packet has been received, and its number counts.
std::span<const Record> Broker::open_packet(const PacketReceived& packet,
                                            const proto::Limits& limit, PacketFault& fault) {
  auto too_large = [&](const char* why, std::string_view name, size_t value) {
    fault = {.why = why, .limit = name, .value = value, .record = 0, .packet = 0};
  };
  if (packet.records.size() > limit.frame) {
    too_large("the packet's records are larger than the limit", "frame", limit.frame);
  } else if (packet.bodies.size() > limit.frames) {
    too_large("the packet has more body frames than the limit", "frames", limit.frames);
  } else {
    const proto::Decoded decoded = decode(packet.records, packet.bodies);
    if (has_empty(packet.bodies)) {
      fault.why = "a body frame is empty";
    } else if (!decoded.ok()) {
      fault.why = decoded.malformed.why;
      fault.record = decoded.malformed.record;
    } else {
      const bool has_header = decoded.records[0].kind == Kind::kHeader;
      if (decoded.records.size() - has_header <= limit.records) return decoded.records;
      too_large("the packet has more records than the limit", "records", limit.records);
    }
  }
  const proto::Decoded first = decoder_.decode_first(packet.records);
  const bool has_header = first.ok() && first.records[0].kind == Kind::kHeader;
  return has_header ? first.records : std::span<const Record>();
}

// Books a packet by its header. False if that is all there is to it: it is of another session, not
// the next in order, or came already.
bool Broker::count_packet(Session& session, const Record& header, bool alone, PacketFault& fault) {
  fault.packet = header.seq;
  if (header.ref != session.number) {
    ++counters_.errors_stale_session;
    error(Caller{.connection = session.connection}, 0, code::kStaleSession,
          "the packet is of another session: send hello");
    return false;
  }
  acknowledged(session, header.ack);
  if (header.seq == 0) {
    if (!alone) fault.why = "a packet with number 0 has more than its header";
    return true;
  }
  if (header.seq <= session.received) {
    ++counters_.packets_duplicate;
    owe_ack(session);
    return false;
  }
  if (header.seq != session.received + 1) {
    error(Caller{.session = session.index}, 0, code::kGap, "a packet is missing", "expected",
          session.received + 1);
    return false;
  }
  session.received = header.seq;
  owe_ack(session);
  return true;
}

void Broker::refuse_stranger(ConnectionId from, const PacketFault& fault) {
  ++counters_.errors_stale_session;
  log(config::LogLevel::warning, LogTopic::kStaleSession, [] {
    return "a packet on a connection without hello was refused; its sender must greet first";
  });
  const Caller caller{.connection = from};
  if (fault.why) return refuse_packet(caller, fault);
  error(caller, 0, code::kStaleSession, "there is no session on this connection: send hello");
}

void Broker::refuse_packet(const Caller& caller, const PacketFault& fault) {
  ++counters_.packets_refused;
  if (!fault.limit.empty()) return too_large(caller, 0, fault.why, fault.limit, fault.value);
  answer(caller, kRecordOverhead,
         [&](Writer& out) { out.error_malformed(fault.why, fault.record, fault.packet); });
}

void Broker::on_session_packet(Session& session, std::span<const Record> records) {
  const Caller caller{.session = session.index};
  const uint64_t number = session.number;
  constexpr size_t kAhead = 8;
  for (size_t i = 0; i < records.size(); ++i) {
    if (i + kAhead < records.size() && records[i + kAhead].has_id()) {
      index_.prefetch(records[i + kAhead].id().hash());
    }
    on_record(caller, records[i]);
    settle();
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
    log(config::LogLevel::warning, LogTopic::kMalformed,
        [&] { return std::string("refused a packet of a REQ peer: ") + decoded.malformed.why; });
    return refuse_packet(caller,
                         {.why = decoded.malformed.why, .record = decoded.malformed.record});
  }
  const Record& record = decoded.records[0];
  request.request = record.ref;
  if (decoded.records.size() != 1) {
    return error(caller, record.ref, code::kInvalid, "a REQ peer sends one record a message");
  }
  switch (record.kind) {
    case Kind::kSubmit:
      if (record.attributes.terms && record.attributes.terms->stream > 0) {
        return error(caller, record.ref, code::kInvalid, "a REQ peer gets one reply, and no stream",
                     "field", "stream");
      }
      if (record.attributes.reply == proto::Reply::kBoth) {
        return error(caller, record.ref, code::kInvalid, "a REQ peer gets one reply", "field",
                     "reply");
      }
      break;
    case Kind::kCancel:
    case Kind::kQuery:
    case Kind::kControl:
    case Kind::kUpdate:
    case Kind::kAwait:
    case Kind::kPublish:
    case Kind::kPush:
    case Kind::kPing:
    case Kind::kUnknown:
      break;
    default:
      return error(caller, record.ref, code::kUnsupported,
                   "a REQ peer may submit, await, update, cancel, query, publish, push and ping",
                   "kind", static_cast<uint64_t>(record.kind));
  }
  on_record(caller, record);
}

void Broker::refuse_record(const Caller& caller, const Record& record) {
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
    return error(caller, record.ref, record.fault, record.fault_text, "field", record.fault_field);
  }
  error(caller, record.ref, record.fault, record.fault_text, record.fault_field,
        record.fault_number);
}

void Broker::on_worker_record(Session& session, const Record& record) {
  switch (record.kind) {
    case Kind::kResult:
      result(session, record);
      break;
    case Kind::kReturned:
      returned(session, record);
      break;
    case Kind::kProgress:
      return progress(session, record);
    case Kind::kLog:
      return run_log(session, record);
    case Kind::kCheckpoint:
      return checkpoint(session, record);
    case Kind::kDefer:
      defer(session, record);
      break;
    case Kind::kPause:
      return pause(session, record);
    case Kind::kSuspend:
      return suspend(session, record);
    case Kind::kChunk:
      return chunk(session, record);
    default:  // kSlots
      workers_[session.worker].slots =
          static_cast<uint32_t>(std::min<uint64_t>(record.ref, config_->tuskd.limits.max_tasks));
      return update_worker(session);
  }
  if (workers_[session.worker].condemned) check_condemned(session.worker);
}

void Broker::on_record(const Caller& caller, const Record& record) {
  Session* session = caller.session == kNone ? nullptr : &sessions_[caller.session];
  if (!record.fault.empty()) {
    refuse_record(caller, record);
    const bool ends_a_run = record.kind == Kind::kResult && session && session->worker != kNone &&
                            running_task(session->worker, record.ref) != kNone;
    if (ends_a_run) on_worker_record(*session, record);
    return;
  }
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
    case Kind::kControl:
      return control(caller, record);
    case Kind::kUpdate:
      return update(caller, record);
    case Kind::kAwait:
      return await(caller, record);
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
    case Kind::kCredit:
      return credit(caller, record);
    case Kind::kSubscribe:
      return subscribe(*session, record);
    case Kind::kUnsubscribe:
      return unsubscribe(*session, record);
    case Kind::kBye:
      return end_session(session->index, false);
    case Kind::kResult:
    case Kind::kReturned:
    case Kind::kProgress:
    case Kind::kLog:
    case Kind::kCheckpoint:
    case Kind::kDefer:
    case Kind::kPause:
    case Kind::kSuspend:
    case Kind::kChunk:
    case Kind::kSlots:
      if (session->worker == kNone) {
        ++counters_.records_refused;
        return error(caller, record.ref, code::kInvalid, "the session is not a worker's", "field",
                     "role");
      }
      return on_worker_record(*session, record);
    default:
      ++counters_.records_refused;
      return error(caller, record.ref, code::kUnsupported,
                   "this kind of record does not come from peers, or not here", "kind",
                   static_cast<uint64_t>(record.kind));
  }
}

}  // namespace tusk::core
