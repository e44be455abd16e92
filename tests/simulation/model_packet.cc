// The door: is a packet whole, of this session, the next in its order? Then its records, one by
// one.
#include <algorithm>

#include "tests/simulation/model.h"

namespace tusk::simulation {

namespace code = proto::code;
using proto::Record;

namespace {

proto::Limits limits_of(const config::Orchestration& c) {
  const config::Limits& from = c.tuskd.limits;
  return {.frame = from.max_frame,
          .body = from.max_body,
          .records = from.max_records,
          .frames = from.max_frames,
          .session_bytes = from.max_session_bytes,
          .push_window = from.push_window};
}

}  // namespace

void Model::error(const Who& who, Rule rule, uint64_t ref, std::string_view code,
                  std::vector<Detail> details) {
  owe(who, {.rule = rule,
            .kind = Kind::kError,
            .ref = ref,
            .name = std::string(code),
            .details = std::move(details)});
}

void Model::error_limit(const Who& who, uint64_t ref, std::string_view code, std::string_view limit,
                        uint64_t value) {
  error(who, Rule::limit, ref, code,
        {{.key = "limit", .text = std::string(limit), .is_text = true},
         {.key = "value", .number = value}});
}

void Model::accepted(const Who& who, uint64_t request) {
  owe(who, {.rule = Rule::one_answer, .kind = Kind::kAccepted, .ref = request});
}

Session* Model::session_of(const Who& who) {
  auto it = sessions_.find(who.session);
  return who.session == 0 || it == sessions_.end() ? nullptr : &it->second;
}

void Model::on_packet(const core::PacketReceived& packet) {
  if (packet.connection >= connections_.size()) connections_.resize(packet.connection + 1);
  Connection& from = connections_[packet.connection];
  from.open = true;
  bodies_ = packet.bodies;
  if (packet.envelope) return on_request(packet);

  auto it = sessions_.find(from.session);
  Session* session = it == sessions_.end() ? nullptr : &it->second;
  std::span<const Record> records;
  Fault fault = open(packet, session ? session->limits : limits_of(*config_), records);
  if (!fault.any() && records[0].kind == Kind::kHello) {
    if (records.size() == 1) return on_hello(packet.connection, records[0]);
    fault.malformed = true;
  }
  if (!session) {
    const Who stranger{.connection = packet.connection};
    if (fault.any()) return refuse(stranger, fault);
    return error(stranger, Rule::stale_session, 0, code::kStaleSession);
  }
  const bool has_header = !records.empty() && records[0].kind == Kind::kHeader;
  // Who says bye in a packet that counts hears nothing more, from its acknowledgement on.
  const bool counts = !session->acks || (has_header && records[0].ref == session->number &&
                                         records[0].seq == session->received + 1);
  for (const Record& record : records) {
    session->leaving |= counts && !fault.any() && record.kind == Kind::kBye;
  }
  if (session->acks && has_header) {
    if (!count(*session, records[0], records.size() == 1, fault)) return;
    records = records.subspan(1);
  } else if (session->acks != has_header && !fault.any()) {
    fault.malformed = true;
  }
  const Who who{.session = session->number};
  if (fault.any()) return refuse(who, fault);
  for (const Record& record : records) {
    ++event_;
    on_record(who, record);
    end_event();
    if (!session_of(who)) return;
  }
}

// Why a packet is refused whole; its header is read all the same, if it is short enough to be one.
Model::Fault Model::open(const core::PacketReceived& packet, const proto::Limits& limits,
                         std::span<const Record>& records) {
  Fault fault;
  const bool has_empty = std::any_of(packet.bodies.begin(), packet.bodies.end(),
                                     [](const proto::Bytes& body) { return body.size() == 0; });
  if (packet.records.size() > limits.frame) {
    fault = {.limit = "frame", .value = limits.frame};
  } else if (packet.bodies.size() > limits.frames) {
    fault = {.limit = "frames", .value = limits.frames};
  } else {
    const proto::Decoded decoded = in_.decode(packet.records, packet.bodies.size());
    if (has_empty) {
      fault = {.malformed = true};
    } else if (!decoded.ok()) {
      fault = {.malformed = true, .record = decoded.malformed.record};
    } else {
      const bool has_header = decoded.records[0].kind == Kind::kHeader;
      records = decoded.records;
      if (records.size() - has_header <= limits.records) return fault;
      fault = {.limit = "records", .value = limits.records};
    }
  }
  const proto::Decoded first = in_.decode_first(packet.records);
  const bool has_header = first.ok() && first.records[0].kind == Kind::kHeader;
  records = has_header ? first.records : std::span<const Record>();
  return fault;
}

// Books a packet; false if that is all.
bool Model::count(Session& session, const Record& header, bool alone, Fault& fault) {
  fault.packet = header.seq;
  if (header.ref != session.number) {
    error({.connection = session.connection}, Rule::stale_session, 0, code::kStaleSession);
    return false;
  }
  acknowledged(session, header.ack);
  if (header.seq == 0) {
    fault.malformed |= !alone;
    return true;
  }
  if (header.seq > session.received + 1) {
    error({.session = session.number}, Rule::gap, 0, code::kGap,
          {{.key = "expected", .number = session.received + 1}});
    return false;
  }
  if (session.owes_since == kNever) session.owes_since = now_;
  if (header.seq <= session.received) return false;
  session.received = header.seq;
  return true;
}

void Model::refuse(const Who& who, const Fault& fault) {
  if (fault.limit) return error_limit(who, 0, code::kTooLarge, fault.limit, fault.value);
  std::vector<Detail> details{{.key = "record", .number = fault.record}};
  if (fault.packet) details.push_back({.key = "packet", .number = fault.packet});
  error(who, Rule::malformed, 0, code::kMalformed, std::move(details));
}

// A REQ peer's message gets exactly one reply.
void Model::on_request(const core::PacketReceived& packet) {
  const Who who{.connection = packet.connection,
                .generation = connections_[packet.connection].generation,
                .envelope = std::string(*packet.envelope),
                .req = true};
  std::span<const Record> records;
  proto::Limits limits = limits_of(*config_);
  limits.records = SIZE_MAX;
  const Fault fault = open(packet, limits, records);
  if (fault.any()) return refuse(who, fault);
  const Record& record = records[0];
  if (records.size() != 1) return error(who, Rule::one_answer, record.ref, code::kInvalid);
  switch (record.kind) {
    case Kind::kSubmit:
      if (record.attributes.reply != proto::Reply::kBoth) break;
      return error(who, Rule::one_answer, record.ref, code::kInvalid,
                   {{.key = "field", .text = "reply", .is_text = true}});
    case Kind::kCancel:
    case Kind::kQuery:
    case Kind::kControl:
    case Kind::kPublish:
    case Kind::kPush:
    case Kind::kPing:
    case Kind::kUnknown:
      break;
    default:
      return error(who, Rule::one_answer, record.ref, code::kUnsupported,
                   {{.key = "kind", .number = static_cast<uint64_t>(record.kind)}});
  }
  on_record(who, record);
}

void Model::refuse_record(const Who& who, const Record& record) {
  std::vector<Detail> details;
  if (record.fault == code::kTooLarge) {
    return error_limit(who, record.ref, record.fault, record.fault_field, record.fault_number);
  }
  if (record.fault == code::kInvalid) {
    details.push_back({.key = "field", .text = std::string(record.fault_field), .is_text = true});
  } else {
    details.push_back({.key = record.fault_field, .number = record.fault_number});
  }
  error(who, Rule::refused_record, record.ref, record.fault, std::move(details));
}

void Model::on_record(const Who& who, const Record& record) {
  Session* session = session_of(who);
  const bool worker = session && session->worker;
  if (!record.fault.empty()) {
    refuse_record(who, record);
    if (record.kind == Kind::kResult && worker) on_result(*session, record, true);
    return;
  }
  switch (record.kind) {
    case Kind::kSubmit:
      return on_submit(who, record);
    case Kind::kCancel:
      return on_cancel(who, record);
    case Kind::kQuery:
      return on_query(who, record);
    case Kind::kPublish:
      return on_publish(who, record);
    case Kind::kPush:
      return on_push(who, record);
    case Kind::kControl:
      return on_control(who, record);
    case Kind::kPing:
      return owe(who, {.rule = Rule::one_answer, .kind = Kind::kPong, .ref = record.ref});
    case Kind::kIgnorable:
    case Kind::kPong:
    case Kind::kError:
      return;
    case Kind::kSubscribe:
      return on_subscribe(*session, record);
    case Kind::kUnsubscribe:
      return on_unsubscribe(*session, record);
    case Kind::kBye:
      return end_session(session->number, false);
    case Kind::kResult:
    case Kind::kReturned:
    case Kind::kSlots:
    case Kind::kDefer:
    case Kind::kPause:
      if (!worker) {
        return error(who, Rule::refused_record, record.ref, code::kInvalid,
                     {{.key = "field", .text = "role", .is_text = true}});
      }
      if (record.kind == Kind::kResult) return on_result(*session, record, false);
      if (record.kind == Kind::kReturned) return on_returned(*session, record);
      if (record.kind == Kind::kDefer) return on_defer(*session, record);
      if (record.kind == Kind::kPause) return on_pause(*session, record);
      return on_slots(*session, record);
    default:
      return error(who, Rule::refused_record, record.ref, code::kUnsupported,
                   {{.key = "kind", .number = static_cast<uint64_t>(record.kind)}});
  }
}

void Model::on_query(const Who& who, const Record& record) {
  Due due{.rule = Rule::query, .kind = Kind::kAnswer, .ref = record.ref};
  if (record.name == "task") {
    auto id = record.value.get("id").binary();
    if (!id || id->size() != 16) {
      return error(who, Rule::query, record.ref, code::kInvalid,
                   {{.key = "field", .text = "id", .is_text = true}});
    }
    const TaskId wanted = TaskId::from_bytes(id->data());
    auto it = tasks_.find(wanted);
    const Ended* ended = remembered(wanted);
    if (it == tasks_.end()) {
      due.name = ended ? proto::state_name(ended->state) : "unknown";
    } else if (it->second.phase == Phase::kEnded) {
      due.name = proto::state_name(it->second.ending);
    } else {
      const Phase phase = it->second.phase;
      due.name = phase == Phase::kRunning   ? "running"
                 : phase == Phase::kBackoff ? "delayed"
                                            : "waiting";
    }
  } else if (record.name != "status" && record.name != "workers" && record.name != "types" &&
             record.name != "stages" && record.name != "topics") {
    return error(who, Rule::query, record.ref, code::kInvalid,
                 {{.key = "field", .text = "what", .is_text = true}});
  }
  owe(who, std::move(due));
}

}  // namespace tusk::simulation
