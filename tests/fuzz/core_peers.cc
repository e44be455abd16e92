#include "tests/fuzz/core_peers.h"

#include <initializer_list>

namespace tusk::fuzz {

using proto::Attribute;
using proto::BodyOut;
using proto::Kind;
using proto::TaskId;
using proto::Writer;

namespace {

void pack_id(proto::Packer& p, const TaskId& id) {
  p.pack_bin(16).pack_bin_body(reinterpret_cast<const char*>(id.bytes.data()), 16);
}

}  // namespace

TaskId Peers::id_of(uint32_t n) {
  return TaskId::make_v7(1'700'000'000'000 + n, 0, static_cast<uint64_t>(n));
}

Packet Peers::packed(Writer& out) {
  return {std::string(out.records().view()), std::move(out.frames())};
}

void Peers::heard(core::ConnectionId to, const proto::Decoded& packet) {
  Peer& peer = peers_[to];
  for (const proto::Record& r : packet.records) {
    if (r.kind == Kind::kWelcome) {
      peer.session = r.value.get("session").number().value_or(0);
      if (r.value.get("resumed").boolean() != true) peer.seq = peer.ack = 0;
    }
    if (r.kind == Kind::kHeader && r.seq > 0) peer.ack = r.seq;
    if (r.kind == Kind::kTask || r.kind == Kind::kItem) handles_.push_back(r.ref);
  }
}

Packet Peers::hello(core::ConnectionId from) {
  Writer out;
  Peer& peer = peers_[from];
  const uint8_t choice = input_.byte(), more = input_.byte();
  const bool resumes = choice & 8, watched = more & 1, claims = more & 2;
  proto::Packer& p = out.start(Kind::kHello, 3).pack_int(1);
  auto list = [&](const char* key, std::initializer_list<const char*> names) {
    out.text(key);
    p.pack_array(static_cast<uint32_t>(names.size()));
    for (const char* name : names) out.text(name);
  };
  p.pack_map(9 + (resumes ? 2 : 0) + (watched ? 3 : 0) + (claims ? 1 : 0));
  out.text("role");
  out.text(choice & 1 ? "both" : choice & 64 ? "worker" : "client");
  out.text("instance");
  const std::string instance(16, static_cast<char>('a' + from + (choice & 16 ? 4 : 0)));
  p.pack_bin(16).pack_bin_body(instance.data(), 16);
  out.text("language");
  out.text("python");
  out.text("acks");
  peer.acks = choice & 2;
  peer.acks ? p.pack_true() : p.pack_false();
  list("types", {"a", "b"});
  if (choice & 128) {
    list("handlers", {"f", "g"});
  } else {
    list("handlers", {"f"});
  }
  out.text("slots");
  p.pack_int(1 + choice % 3);
  out.text("labels");
  p.pack_map(2);
  out.text("gpu");
  p.pack_int(choice % 3);
  out.text("region");
  out.text(choice & 32 ? "eu" : "us");
  if (more & 4) {
    list("capabilities", {"lookahead"});
  } else {
    list("capabilities", {});
  }
  if (resumes) {
    out.text("session");
    p.pack_uint64(peer.session);
    out.text("ack");
    p.pack_uint64(peer.ack);
  }
  if (watched) {
    out.text("pid");
    p.pack_int(100 + static_cast<int>(from));
    out.text("pid_ns");
    p.pack_int(1);
    out.text("boot_id");
    out.text("boot");
  }
  if (claims) {
    out.text("claims");
    const uint32_t count = input_.below(3);
    p.pack_array(count);
    for (uint32_t i = 0; i < count; ++i) {
      const bool item = input_.below(4) == 0;
      p.pack_array(4);
      pack_id(p, id());
      p.pack_uint64(input_.below(4));
      out.text(item ? "f" : "b");
      item ? p.pack_true() : p.pack_false();
    }
  }
  return packed(out);
}

Packet Peers::said(core::ConnectionId from) {
  Writer out;
  Peer& peer = peers_[from];
  if (peer.acks) {
    const bool wrong = input_.one_in(16);
    proto::Packer& p = out.start(Kind::kHeader, 4).pack_uint64(peer.session);
    p.pack_uint64(++peer.seq + (wrong ? input_.byte() : 0)).pack_uint64(peer.ack);
  }
  const uint32_t records = 1 + input_.below(3);
  for (uint32_t i = 0; i < records; ++i) record(out);
  return packed(out);
}

Packet Peers::asked() {
  Writer out;
  record(out);
  return packed(out);
}

Packet Peers::items() {
  Writer out;
  const uint32_t records = 1 + input_.below(3);
  for (uint32_t i = 0; i < records; ++i) {
    out.push(0, id(), input_.one_in(4) ? "two" : "one", body(), {});
  }
  return packed(out);
}

Packet Peers::events() {
  Writer out;
  const uint32_t records = 1 + input_.below(3);
  for (uint32_t i = 0; i < records; ++i) {
    out.event(input_.byte(), input_.one_in(8) ? "u" : "t", body(), {});
  }
  return packed(out);
}

Packet Peers::damaged(core::ConnectionId from) {
  Packet packet = said(from);
  const uint32_t changes = 1 + input_.below(4);
  for (uint32_t i = 0; i < changes; ++i) {
    const size_t at = input_.two_bytes() % packet.records.size();
    packet.records[at] = static_cast<char>(input_.byte());
  }
  if (input_.one_in(4)) packet.records.resize(input_.two_bytes() % (packet.records.size() + 1));
  return packet;
}

Packet Peers::noise() {
  Packet packet;
  const uint32_t frames = input_.below(3);
  packet.records = input_.bytes(input_.byte());
  for (uint32_t i = 0; i < frames; ++i) packet.bodies.push_back(proto::Bytes::copy("x"));
  return packet;
}

uint64_t Peers::handle() {
  return handles_.empty() ? input_.byte() : handles_[input_.byte() % handles_.size()];
}

BodyOut Peers::body() {
  switch (input_.below(4)) {
    case 0:
      return BodyOut::copied("\xA1x");  // a text, which the schema of `b` refuses
    case 1:
      return {true, {}, proto::Bytes::copy("b")};
    default:
      return BodyOut::copied("b");
  }
}

void Peers::letter(Attribute key) {
  attributes_.text(key, std::string(1, static_cast<char>('a' + input_.below(3))));
}

proto::AttributeEntries Peers::terms() {
  attributes_.clear();
  const uint32_t bits = input_.two_bytes(), more = input_.byte();
  auto number = [&](Attribute key, uint64_t n) { attributes_.number(key, n); };
  if (bits & 1 << 0) number(Attribute::kDelay, input_.byte() * 10);
  if (bits & 1 << 1) number(Attribute::kDeadline, input_.byte() * 20);
  if (bits & 1 << 2) number(Attribute::kRunTimeout, 1 + input_.byte());
  if (bits & 1 << 3) number(Attribute::kRetention, 1000);
  if (bits & 1 << 4) letter(Attribute::kUnique);
  if (bits & 1 << 5) number(Attribute::kUniquePolicy, input_.below(5));
  if (bits & 1 << 6) letter(Attribute::kOrderKey);
  if (bits & 1 << 7) letter(Attribute::kLimitKey);
  if (bits & 1 << 8) letter(Attribute::kStickyKey);
  if (bits & 1 << 9) letter(Attribute::kGroup);
  if (bits & 1 << 10) number(Attribute::kStream, 1 + input_.below(3));
  if (bits & 1 << 11) number(Attribute::kFollow, 3);
  if (bits & 1 << 12) flag(Attribute::kResent);
  if (bits & 1 << 13) {
    attributes_.key(Attribute::kPriority).pack_int(static_cast<int>(input_.below(7)) - 3);
  }
  if (bits & 1 << 14) pack_id(attributes_.key(Attribute::kParent), id());
  if (bits & 1 << 15) {
    proto::Packer& p = attributes_.key(Attribute::kNeeds).pack_map(1);
    p.pack_str(8).pack_str_body("consumes", 8).pack_map(1);
    p.pack_str(3).pack_str_body("gpu", 3).pack_uint32(1 + input_.below(2));
  }
  if (more & 1 << 0) number(Attribute::kAttempts, 1 + input_.below(3));
  if (more & 1 << 1) number(Attribute::kUniqueFor, input_.byte() * 10);
  if (more & 1 << 2) number(Attribute::kHeartbeatTimeout, 1 + input_.byte());
  if (more & 1 << 3) number(Attribute::kReply, input_.below(3));
  if (more & 1 << 4) number(Attribute::kWait, input_.byte() * 10);
  if (more & 1 << 5) number(Attribute::kCost, input_.byte());
  if (more & 1 << 6) flag(Attribute::kRerunOk);
  if (more & 1 << 7) {
    proto::Packer& p = attributes_.key(Attribute::kLabels).pack_map(1);
    p.pack_str(1).pack_str_body("l", 1).pack_str(1).pack_str_body(input_.below(2) ? "x" : "y", 1);
  }
  return attributes_;
}

void Peers::record(Writer& out) {
  switch (input_.below(8)) {
    case 0:
    case 1:
      return out.submit(++request_, id(), input_.one_in(4) ? "a" : "b", body(), terms());
    case 2:
    case 3:
      return of_client(out);
    case 4:
    case 5:
    case 6:
      return of_worker(out);
    default:
      return of_any_kind(out);
  }
}

void Peers::of_client(Writer& out) {
  const uint64_t request = ++request_;
  switch (input_.below(12)) {
    case 0:
    case 1:
      return out.push(request, id(), input_.below(2) ? "one" : "two", body(), {});
    case 2:
      return out.cancel(request, id());
    case 3:
      attributes_.clear();
      if (input_.below(2)) attributes_.number(Attribute::kWait, input_.byte() * 10);
      if (input_.below(2)) attributes_.number(Attribute::kFollow, 3);
      return out.await(request, id(), attributes_);
    case 4: {
      attributes_.clear();
      attributes_.number(Attribute::kDelay, input_.byte());
      const BodyOut fresh = body();
      return out.update(request, id(), attributes_, input_.below(2) ? &fresh : nullptr);
    }
    case 5:
      return out.credit(request, id(), 1 + input_.below(5));
    case 6:
      return out.publish(input_.below(2) ? request : 0, "t", body(), {});
    case 7:
      return out.subscribe(request, "t");
    case 8:
      return out.unsubscribe(request, "t");
    case 9:
      return out.ping(input_.byte());
    case 10:
      if (input_.one_in(4)) return out.bye("");
      return out.pong(0);
    default:
      return control(out);
  }
}

void Peers::of_worker(Writer& out) {
  switch (input_.below(12)) {
    case 0:
    case 1:
    case 2:
    case 3: {
      attributes_.clear();
      const uint8_t what = input_.byte();
      if (what & 8) attributes_.number(Attribute::kCost, input_.byte());
      if (what & 16) flag(Attribute::kNoRetry);
      if (what & 32) flag(Attribute::kCrashed);
      const uint64_t run = handle();
      const BodyOut value = what & 64 ? body() : BodyOut{};
      return out.result(run, static_cast<proto::State>(1 + (what & 7) % 5), value, attributes_);
    }
    case 4: {
      const uint64_t handles[] = {handle(), handle()};
      return out.returned(input_.below(3), handles, 1 + input_.below(2));
    }
    case 5: {
      const TaskId ids[] = {id(), id()};
      const size_t count = 1 + input_.below(2);
      return out.suspend(handle(), ids, count, 1 + input_.below(static_cast<uint32_t>(count)));
    }
    case 6:
      return out.chunk(handle(), body(), {});
    case 7:
      return out.defer(handle(), input_.byte());
    case 8:
      return out.pause(handle(), input_.byte());
    case 9:
      return input_.below(2) ? out.slots(input_.below(4)) : out.checkpoint(handle(), body());
    case 10:
      return out.progress(handle(), body(), {});
    default:
      return out.log(handle(), 1 + input_.below(4), "line", {});
  }
}

void Peers::control(Writer& out) {
  static constexpr const char* kJobs[] = {"cancel", "retry", "reprioritise"};
  static constexpr const char* kQueries[] = {"status", "workers", "types", "stages",
                                             "jobs",   "topics",  "task",  "unknown"};
  const uint64_t request = ++request_;
  proto::Packer& p = out.packer();
  switch (input_.below(5)) {
    case 0:
      out.start(Kind::kQuery, 4).pack_uint64(request);
      out.text("tasks");
      p.pack_map(1);
      break;
    case 1:
      out.start(Kind::kQuery, 4).pack_uint64(request);
      out.text(kQueries[input_.below(8)]);
      p.pack_map(1);
      out.text("id");
      return pack_id(p, id());
    case 2: {
      const bool unblocks = input_.below(2);
      out.start(Kind::kControl, 4).pack_uint64(request);
      out.text(unblocks ? "unblock" : "pause");
      p.pack_map(2);
      out.text("type");
      out.text("b");
      out.text(unblocks ? "key" : "ms");
      if (unblocks) return out.text(std::string(1, static_cast<char>('a' + input_.below(3))));
      p.pack_uint64(input_.byte());
      return;
    }
    default:
      out.start(Kind::kControl, 4).pack_uint64(request);
      out.text(kJobs[input_.below(3)]);
      p.pack_map(3);
      out.text("id");
      pack_id(p, id_of(100 + input_.below(100)));
      out.text("priority");
      p.pack_int(5);
  }
  out.text("filter");
  p.pack_map(1);
  if (input_.below(2)) {
    out.text("all");
    p.pack_true();
  } else {
    out.text("labels");
    p.pack_map(1);
    out.text("l");
    input_.below(2) ? out.text("x") : static_cast<void>(p.pack_nil());
  }
}

// A kind with elements of any type: the decoder takes some of them.
void Peers::of_any_kind(Writer& out) {
  const uint32_t elements = 1 + input_.below(7);
  out.start(static_cast<Kind>(input_.below(80)), elements);
  for (uint32_t i = 1; i < elements; ++i) value(out.packer(), 0);
}

void Peers::value(proto::Packer& p, int depth) {
  const uint32_t choice = input_.below(depth < 3 ? 12 : 9);
  switch (choice) {
    case 0:
      p.pack_uint64(handle());
      return;
    case 1:
      p.pack_uint64(input_.byte());
      return;
    case 2:
      return pack_id(p, id());
    case 3:
      p.pack_str(1).pack_str_body("b", 1);
      return;
    case 4:
      p.pack_bin(1).pack_bin_body("b", 1);
      return;
    case 5:
      p.pack_nil();
      return;
    case 6:
      input_.below(2) ? p.pack_true() : p.pack_false();
      return;
    case 7:
      p.pack_int64(-static_cast<int64_t>(input_.byte()));
      return;
    case 8:
      p.pack_uint64((uint64_t{1} << 53) - input_.below(2));
      return;
    case 9: {
      const uint32_t size = input_.below(4);
      p.pack_array(size);
      for (uint32_t i = 0; i < size; ++i) value(p, depth + 1);
      return;
    }
    default: {
      // Attributes, mostly.
      const uint32_t size = input_.below(4);
      p.pack_map(size);
      for (uint32_t i = 0; i < size; ++i) {
        if (choice == 10) {
          p.pack_uint64(input_.below(80));
        } else {
          value(p, depth + 1);
        }
        value(p, depth + 1);
      }
    }
  }
}

}  // namespace tusk::fuzz
