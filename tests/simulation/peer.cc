#include "tests/simulation/peer.h"

#include <algorithm>

namespace tusk::simulation {

using proto::Attribute;
using proto::AttributeWriter;
using proto::Bytes;
using proto::Record;
using proto::State;
using proto::Value;
using proto::Writer;
namespace code = proto::code;

namespace {

proto::BodyOut body_out(const std::string& body) {
  if (body.size() < proto::kFrameBody) return proto::BodyOut::copied(body);
  return {true, {}, Bytes::copy(body)};
}

void pack_id(Writer& out, const TaskId& id) {
  out.packer().pack_bin(16);
  out.packer().pack_bin_body(reinterpret_cast<const char*>(id.bytes.data()), 16);
}

}  // namespace

// A process knows nothing of the one before it.
void Peer::new_process() {
  ++process_;
  pid = 100 + index + 1000 * process_;
  instance_.assign(16, '\0');
  instance_[0] = static_cast<char>(index + 1);
  instance_[1] = static_cast<char>(process_);
  instance_[2] = static_cast<char>(process_ >> 8);
  session = received_ = acked_ = 0;
  next_seq_ = 1;
  arrived_ = 0;
  kept_.clear();
  asks.clear();
  runs.clear();
  subscribed.clear();
  connection = kNoConnection;
  greeted = wants_hello = false;
}

Packet Peer::hello(uint32_t how) {
  Writer out;
  proto::Packer& p = out.start(Kind::kHello, 3);
  p.pack_int(how == 1 ? 2 : 1);
  const bool resume = session != 0 && how != 2 && spec.acks;
  p.pack_map(6 + (spec.worker ? 4 : 0) + !spec.pool.empty() + 2 * resume + 3 * spec.watched +
             (how == 3));
  auto text = [&](const char* key, const std::string& value) {
    out.text(key);
    out.text(value);
  };
  auto number = [&](const char* key, uint64_t value) {
    out.text(key);
    p.pack_uint64(value);
  };
  auto names = [&](const char* key, const std::vector<std::string>& list) {
    out.text(key);
    p.pack_array(static_cast<uint32_t>(list.size()));
    for (const std::string& name : list) out.text(name);
  };
  text("role", how == 4 ? "boss" : !spec.worker ? "client" : spec.client ? "both" : "worker");
  out.text("instance");
  const uint32_t size = how == 5 ? 15 : 16;
  p.pack_bin(size);
  p.pack_bin_body(instance_.data(), size);
  text("language", spec.language);
  out.text("acks");
  spec.acks ? p.pack_true() : p.pack_false();
  text("name", "peer-" + std::to_string(index) + "." + std::to_string(process_));
  number("extra", 1);
  if (!spec.pool.empty()) text("pool", spec.pool);
  if (how == 3) names("require", {"telepathy"});
  if (resume) {
    number("session", how == 6 ? session + 1 : session);
    number("ack", received_);
  }
  if (spec.watched) {
    number("pid", pid);
    number("pid_ns", kPidNamespace);
    text("boot_id", kBootId);
  }
  claimed_.clear();
  if (!spec.worker) return {Bytes::copy(out.records().view())};
  std::vector<std::string> types = spec.types;
  if (how == 10 || how == 11) types.emplace_back(245 + how, 'n');  // as long as it may be; longer
  names("types", types);
  names("handlers", spec.handlers);
  number("slots", how == 7 ? 0 : spec.slots);
  if (how == 8 && !spec.types.empty()) {  // claims what it never got, and may not answer yet
    runs[1] = {.id = TaskId::make_v7(1, 8, pid),
               .attempt = 5,
               .name = spec.types[0],
               .answered = UINT64_MAX};
  }
  for (const auto& run : runs) claimed_.push_back(run);
  if (how == 9 && !runs.empty()) claimed_.push_back(*runs.begin());  // claims one twice
  out.text("claims");
  p.pack_array(static_cast<uint32_t>(claimed_.size()));
  for (const auto& [handle, run] : claimed_) {
    p.pack_array(4);
    pack_id(out, run.id);
    p.pack_uint64(run.attempt);
    out.text(run.name);
    run.is_item ? p.pack_true() : p.pack_false();
  }
  return {Bytes::copy(out.records().view())};
}

void Peer::connected(ConnectionId id, uint32_t how) {
  if (id != connection || wants_hello || refused || how != 0) hello_ = hello(how);
  connection = id;
  greeted = wants_hello = refused = expects_stale = false;
  transmit(hello_);
}

void Peer::lost() {
  connection = kNoConnection;
  welcomed_on_ = kNoConnection;
  greeted = wants_hello = false;
  if (spec.acks) return;
  session = 0;  // without acks a session ends with its connection
  runs.clear();
  asks.clear();
  subscribed.clear();
}

// --- sending -------------------------------------------------------------------------------------

Bytes Peer::with_header(const Bytes& records, uint64_t seq) {
  Bytes copy = Bytes::copy(records.view());
  Writer::fill_header(const_cast<char*>(copy.data()), session, seq, received_);
  return copy;
}

void Peer::put(Writer& out, uint64_t seq, bool keep) {
  Packet packet{.records = Bytes::copy(out.records().view()), .bodies = std::move(out.frames())};
  if (spec.acks) {
    if (keep) kept_.push_back({seq, packet.records, packet.bodies});
    packet.records = with_header(packet.records, seq);
    if (greeted) acked_ = received_;
  }
  if (greeted || !keep) transmit(std::move(packet));
}

void Peer::send(const Write& write) {
  if (!spec.acks && !greeted) return;
  Writer out;
  if (spec.acks) out.reserve_header();
  write(out);
  put(out, next_seq_, true);
  ++next_seq_;
}

void Peer::send_raw(uint64_t of_session, uint64_t seq, const Write& write) {
  Writer out;
  if (spec.acks) out.reserve_header();
  write(out);
  std::swap(session, of_session);
  put(out, seq, false);
  std::swap(session, of_session);
}

void Peer::acknowledge() {
  if (!greeted || !spec.acks) return;
  send_raw(session, 0, [](Writer&) {});
}

uint64_t Peer::ask(Ask ask, const Write& write) {
  if (!spec.acks && !greeted) return 0;
  const uint64_t request = next_request_++;
  asks[request] = std::move(ask);
  send(write);
  return request;
}

// --- receiving -----------------------------------------------------------------------------------

void Peer::receive(const Packet& packet) {
  const proto::Decoded decoded = decoder_.decode(packet.records.view(), packet.bodies.size());
  if (!decoded.ok()) return;
  if (decoded.records[0].kind == Kind::kWelcome) {
    // The same again answers nothing that was claimed since.
    const bool again = welcomed_on_ == connection && welcome_.view() == packet.records.view();
    welcome_ = packet.records;
    welcomed_on_ = connection;
    if (again) {
      greeted = true;
      wants_hello = refused = false;
      return send_again();
    }
  }
  size_t at = 0;
  uint64_t ack = 0;
  if (decoded.records[0].kind == Kind::kHeader) {
    const Record& header = decoded.records[0];
    if (header.ref != session) return;
    if (header.seq != 0 && header.seq != received_ + 1) return;  // came already
    if (header.seq != 0) received_ = header.seq;
    while (!kept_.empty() && kept_.front().seq <= header.ack) kept_.pop_front();
    ack = header.ack;
    arrived_ = std::max(arrived_, ack);
    at = 1;
  }
  for (; at < decoded.records.size(); ++at) on_record(decoded.records[at]);
  std::erase_if(runs, [&](const auto& run) {
    return run.second.answered != 0 && run.second.answered <= ack;
  });
}

void Peer::on_record(const Record& r) {
  switch (r.kind) {
    case Kind::kWelcome:
      return on_welcome(r);
    case Kind::kError:
      if (r.name == code::kStaleSession && !std::exchange(expects_stale, false)) {
        greeted = false;
        wants_hello = true;
      }
      if (r.name == code::kGap) send_again();
      refused = !greeted && !wants_hello;
      [[fallthrough]];
    case Kind::kResult:
    case Kind::kAnswer:
      asks.erase(r.ref);
      return;
    case Kind::kAccepted:
      if (auto it = asks.find(r.ref); it != asks.end() && it->second.reply != 2) asks.erase(it);
      return;
    case Kind::kPing:
      return send([token = r.ref](Writer& out) { out.pong(token); });
    case Kind::kTask:
    case Kind::kItem:
      runs[r.ref] = {.id = r.id(),
                     .attempt = r.attempt,
                     .name = std::string(r.name),
                     .is_item = r.kind == Kind::kItem};
      return;
    case Kind::kCancel:
      if (auto it = runs.find(r.ref); it != runs.end()) it->second.cancelled = true;
      return;
    case Kind::kBye:
      greeted = false;
      return;
    default:
      return;
  }
}

void Peer::on_welcome(const Record& r) {
  const bool resumed = r.value.get("resumed").boolean().value_or(false);
  const uint64_t ack = r.value.get("ack").number().value_or(0);
  const bool same = session != 0 && session == r.value.get("session").number();
  greeted = true;
  wants_hello = refused = false;
  session = r.value.get("session").number().value_or(0);
  // New handles for what may go on; the rest is forgotten. An answer that has not arrived is given
  // again under the new handle. A welcome that is the same as before does not know of later claims.
  // The answers stand in the order of the claims; one id may be there twice (an item in two
  // stages).
  std::vector<std::pair<TaskId, uint64_t>> answers;
  for (Value claim : r.value.get("claims").items()) {
    TaskId id;
    uint64_t handle = 0;
    for (Value part : claim.items()) {
      if (part.binary()) id = TaskId::from_bytes(part.binary()->data());
      handle = part.number().value_or(0);
    }
    answers.emplace_back(id, handle);
  }
  const std::map<TaskId, uint64_t> handles(answers.begin(), answers.end());
  std::map<uint64_t, uint64_t> fresh;  // by the old handle
  for (size_t i = 0; i < claimed_.size(); ++i) {
    const auto& [old, run] = claimed_[i];
    if (i < answers.size() && answers[i].first == run.id) {
      fresh[old] = answers[i].second;
    } else if (auto it = handles.find(run.id); it != handles.end()) {
      fresh[old] = it->second;
    }
  }
  const bool known = resumed || same;
  const std::map<uint64_t, WorkerRun> old_runs = std::exchange(runs, {});
  for (const auto& [old, run] : old_runs) {
    auto it = fresh.find(old);
    if (known && (it == fresh.end() || it->second == old)) runs[old] = run;
  }
  for (const auto& [old, run] : claimed_) {
    auto it = fresh.find(old);
    if (it == fresh.end() || it->second == 0 || runs.count(it->second)) continue;
    runs[it->second] = run;
    runs[it->second].answered = 0;
  }
  // A hello that was sent earlier may have claimed what it no longer runs: given back.
  std::vector<uint64_t> strange;
  for (const auto& [id, handle] : handles) {
    const bool runs_it =
        std::any_of(runs.begin(), runs.end(), [&](const auto& run) { return run.second.id == id; });
    if (handle != 0 && !runs_it) strange.push_back(handle);
  }
  if (!resumed && !same) {
    next_seq_ = 1;
    received_ = arrived_ = 0;
    kept_.clear();
    give_back(strange);
    return ask_again();
  }
  give_back(strange);
  while (!kept_.empty() && kept_.front().seq <= ack) kept_.pop_front();
  send_again();
}

void Peer::give_back(const std::vector<uint64_t>& handles) {
  if (handles.empty()) return;
  send([&](Writer& out) { out.returned(0, handles.data(), handles.size()); });
}

void Peer::send_again() {
  for (const Kept& kept : kept_) transmit({with_header(kept.records, kept.seq), kept.bodies});
}

// The broker knows nothing of what was asked: tasks are submitted again, under the same ids.
void Peer::ask_again() {
  const std::map<uint64_t, Ask> old = std::exchange(asks, {});
  for (const std::string& topic : std::exchange(subscribed, {})) {
    const uint64_t request = next_request_;
    ask({.kind = Kind::kSubscribe, .id = {}, .name = topic, .body = {}},
        [&](Writer& out) { out.subscribe(request, topic); });
    subscribed.insert(topic);
  }
  for (const auto& [number, asked] : old) {
    if (asked.kind != Kind::kSubmit && asked.kind != Kind::kPush) continue;
    const uint64_t request = next_request_;
    AttributeWriter attributes;
    attributes.flag(Attribute::kResent);
    if (asked.reply) attributes.number(Attribute::kReply, asked.reply);
    if (asked.wait) attributes.number(Attribute::kWait, asked.wait);
    if (!asked.trace.empty()) attributes.text(Attribute::kTrace, asked.trace);
    attributes.raw(asked.terms, asked.term_count);
    ask(asked, [&](Writer& out) {
      if (asked.kind == Kind::kSubmit) {
        out.submit(request, asked.id, asked.name, body_out(asked.body), attributes);
      } else {
        out.push(request, asked.id, asked.name, body_out(asked.body), attributes);
      }
    });
  }
}

// Writes an answer to a run; how: which.
void Peer::result(Writer& out, uint64_t handle, uint32_t how) {
  AttributeWriter attributes;
  auto it = runs.find(handle);
  if (it != runs.end() && it->second.cancelled && how % 2 == 0) how = 3;
  const std::string body = "r" + std::to_string(handle % 7);
  switch (how % 16) {
    case 1:
      attributes.error("ValueError", how % 64 == 1 ? std::string(1500, 'e') : "no", "python");
      attributes.number(Attribute::kTrace, 5);
      out.result(handle, State::kFailed, {}, attributes);
      break;
    case 2:
      attributes.flag(Attribute::kNoRetry);
      attributes.error("ValueError", "never", "python");
      out.result(handle, State::kFailed, body_out(body), attributes);
      break;
    case 3:
      out.result(handle, State::kCancelled, {}, {});
      break;
    case 4:
      out.returned(0, &handle, 1);
      break;
    case 5:  // a run that took more than it said, or less
      if (how % 64 != 5) attributes.number(Attribute::kCost, how / 16 * 3);
      out.result(handle, State::kSucceeded, {}, attributes);
      break;
    case 6:
      attributes.flag(Attribute::kCrashed);
      out.result(handle, State::kFailed, {}, attributes);
      break;
    case 7:
      attributes.number(Attribute::kCodec, 1);
      attributes.text(Attribute::kTrace, "trace");
      attributes.number(static_cast<Attribute>(200), 7);
      out.result(handle, State::kSucceeded, body_out(body), attributes);
      break;
    case 8:  // with what is passed on, and what the broker knows better
      attributes.number(Attribute::kCodec, 1);
      attributes.number(Attribute::kAttempt, 99);
      attributes.text(Attribute::kWorker, "another");
      attributes.number(static_cast<Attribute>(200), 7);
      out.result(handle, State::kFailed, body_out(body), attributes);
      break;
    case 9:
      out.result(handle, State::kSucceeded, body_out(std::string(9000, 'b')), {});
      break;
    default:
      out.result(handle, State::kSucceeded, body_out(body), {});
  }
  answered(handle);
}

void Peer::answered(uint64_t handle) {
  auto it = runs.find(handle);
  if (it == runs.end()) return;
  it->second.answered = next_seq_;
  if (!spec.acks) runs.erase(it);
}

}  // namespace tusk::simulation
