#include "link.h"

#include <algorithm>
#include <cstdio>

#include "identity.h"

namespace tusk {
namespace {

using proto::Kind;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kHelloAgain = seconds(5);      // no welcome on a living connection
constexpr auto kElsewhereAfter = seconds(5);  // no welcome here, when a broker named others
constexpr std::size_t kElsewhereMost = 16;    // of the others that it names
constexpr auto kComplainAfter = seconds(2);   // without a broker
constexpr auto kComplainEvery = seconds(30);
constexpr int kLingerMs = 1'000;
// Read before anything is sent, whichever is reached first. Both sides and the broker work on other
// parts of what is in flight only as long as nobody gathers all of it.
constexpr int kPacketsPerTurn = 64;
constexpr std::size_t kBytesPerTurn = 32 << 10;
constexpr std::size_t kPacketRecords = 512;
constexpr std::size_t kPacketBytes = 4 << 20;  // body frames of one packet, so that none is huge
// A packet with a body frame from this size on, after which the connection ended so often, is not
// sent again: the broker's socket may have refused it without a word.
constexpr std::size_t kSuspectFrame = 1 << 20;
constexpr unsigned kSuspectSends = 3;

std::size_t limit_of(proto::Value limits, std::string_view name, std::size_t otherwise) {
  auto number = limits.get(name).number();
  return number && *number > 0 ? static_cast<std::size_t>(*number) : otherwise;
}

}  // namespace

Link::Link(std::string url, Peer& peer, std::shared_ptr<Wake> wake)
    : url_(std::move(url)), urls_{url_}, peer_(peer), socket_(url_), wake_(std::move(wake)) {
  auto bytes = random_bytes();
  instance_.assign(bytes.data(), bytes.size());
  Session::start(out_);
  Session::start(control_);
}

bool Link::full(const proto::Writer& out, std::size_t bytes, std::size_t frame_bytes) const {
  if (out.count() >= std::min(limits_.records, kPacketRecords)) return true;
  if (out.records().size() + bytes > limits_.frame) return true;
  const std::size_t here = out.records().size() + out.frame_bytes();
  const bool alone = session_.unacked_bytes() == 0 && out.empty();
  if (!alone && session_.unacked_bytes() + here + bytes + frame_bytes > limits_.session_bytes) {
    return true;
  }
  if (frame_bytes == 0) return false;
  if (const_cast<proto::Writer&>(out).frames().size() >= limits_.frames) return true;
  return out.frame_bytes() > 0 && out.frame_bytes() + frame_bytes > kPacketBytes;
}

std::size_t Link::frame_body() const { return std::min(proto::kFrameBody, limits_.frame / 4); }

void Link::complain(const std::string& line) {
  const auto now = Clock::now();
  if (complained_at_ != Clock::time_point{} && now - complained_at_ < kComplainEvery) return;
  complained_at_ = now;
  std::fprintf(stderr, "tusk: %s\n", line.c_str());
}

void Link::run() {
  for (;;) {
    const auto now = Clock::now();
    if (session_.is_open()) tried_since_ = now;
    drain_events(now);
    bool busy = receive(now);
    // When the broker has named others the end of its connection is as good as its bye, but what it
    // said before is read.
    if ((moving_ && !connected_ && !busy) || elsewhere_due() <= now) begin_anew(now, true);
    const auto peer_due = peer_.work(now);
    busy |= send(now);
    if (finishing()) {
      const bool delivered = session_.kept().empty() && peer_.delivered();
      if (delivered || now >= finish_by_) break;
    }
    if (!connected_ && now - unreachable_since_ > kComplainAfter && !finishing()) {
      complain("no broker at " + urls_.front() + " yet, trying again");
    }
    if (busy) continue;

    wake_->about_to_sleep();
    if (!peer_.has_work()) {
      const auto due = next_due(now, peer_due);
      long wait = -1;
      if (due != Clock::time_point::max()) {
        const auto left = std::chrono::ceil<milliseconds>(due - Clock::now()).count();
        wait = std::clamp<long>(left, 0, 60'000);
      }
      if (peer_.sleeps_lightly()) wait = wait < 0 ? 1 : std::min(wait, 1L);
      socket_.wait(wake_->descriptor(), blocked_ || greet_, wait);
    }
    wake_->woke();
  }
  if (session_.is_open()) {
    // Behind everything that was delivered; if it is lost the broker learns of the end by itself.
    out_.bye("");
    session_.add(out_);
    while (Session::Packet* packet = session_.next()) {
      if (socket_.send(packet->records, packet->frames) != Socket::Sent::kDone) break;
      session_.sent();
    }
    socket_.linger(kLingerMs);
  }
}

Link::Clock::time_point Link::next_due(Clock::time_point now, Clock::time_point peer) {
  auto due = std::min({peer, session_.ack_due(), finish_by_, elsewhere_due()});
  if (greeting_) due = std::min(due, greeted_at_ + kHelloAgain);
  if (!connected_ && !finishing()) {
    due = std::min(
        due,
        std::max(unreachable_since_ + kComplainAfter,
                 complained_at_ == Clock::time_point{} ? now : complained_at_ + kComplainEvery) +
            milliseconds(1));
  }
  return due;
}

void Link::drain_events(Clock::time_point now) {
  for (;;) {
    switch (socket_.next_event()) {
      case Socket::Event::kNone:
        return;
      case Socket::Event::kConnected:
        connected_ = greet_ = true;
        greeting_ = blocked_ = false;
        session_.suspend();
        break;
      case Socket::Event::kDisconnected:
        disconnected(now);
        break;
    }
  }
}

void Link::disconnected(Clock::time_point now) {
  if (connected_) unreachable_since_ = now;
  connected_ = greet_ = greeting_ = blocked_ = false;
  guard_large_packets();
  session_.suspend();
}

// A packet over twice the broker's body limit makes libzmq disconnect without a word, and would do
// so for ever if it was sent for ever. Packets keep the limit of the last welcome, so this guards
// against a broker that has another one now.
void Link::guard_large_packets() {
  for (Session::Packet& packet : session_.kept()) {
    if (packet.times_sent == 0) break;
    if (packet.largest < kSuspectFrame || packet.times_sent < kSuspectSends) continue;
    session_.blank(packet);
    unacked_bytes_.store(session_.unacked_bytes(), std::memory_order_relaxed);
    peer_.dropped(packet.seq);
  }
}

void Link::greet() {
  proto::Writer out;
  out.start(Kind::kHello, 3).pack_uint64(proto::kVersion);
  const bool resume = session_.number() != 0;
  proto::Packer& packer = out.packer();
  packer.pack_map(3 + (resume ? 2 : 0) + peer_.hello_fields());
  out.text("instance");
  packer.pack_bin(16).pack_bin_body(instance_.data(), 16);
  out.text("language");
  out.text("cpp");
  out.text("acks");
  packer.pack_true();
  if (resume) {
    out.text("session");
    packer.pack_uint64(session_.number());
    out.text("ack");
    packer.pack_uint64(session_.received());
  }
  peer_.pack_hello(out);
  if (socket_.send(proto::Bytes::copy(out.records().view()), {}) != Socket::Sent::kDone) return;
  greet_ = false;
  greeting_ = true;
  greeted_at_ = Clock::now();
}

bool Link::receive(Clock::time_point now) {
  int packets = 0;
  std::size_t bytes = 0;
  while (packets < kPacketsPerTurn && bytes < kBytesPerTurn && socket_.receive(incoming_)) {
    ++packets;
    bytes += incoming_.records().size();
    take(now);
  }
  return packets > 0;
}

void Link::take(Clock::time_point now) {
  bool empty_body = false;
  for (std::size_t i = 1; i <= incoming_.body_frames(); ++i) {
    empty_body |= incoming_.frame(i).empty();
  }
  proto::Decoded packet = decoder_.decode(incoming_.records(), incoming_.body_frames());
  proto::Malformed malformed = packet.malformed;
  if (packet.ok() && empty_body) malformed = {"an empty body frame", 0};
  if (malformed.why) {
    // It has been received all the same: its number is counted, or we would wait for it for ever.
    packet = decoder_.decode_first(incoming_.records());
    if (!packet.ok()) packet = {};
  }
  bool has_header = false;
  if (!packet.records.empty() && packet.records[0].kind == Kind::kHeader) {
    const proto::Record& header = packet.records[0];
    const auto arrival = session_.arrived(header.ref, header.seq, header.ack);
    has_header = true;
    take_header(arrival, now);
    if (arrival != Session::Arrival::kNew) return peer_.packet_ends();
    if (header.seq > 0) session_.schedule_ack(now);
    packet.records = packet.records.subspan(1);
  }
  if (malformed.why) {
    control_.error(0, proto::code::kMalformed, malformed.why, "record", malformed.record);
    complain("a packet of " + urls_.front() + " is malformed: " + malformed.why);
    return peer_.packet_ends();
  }
  over_ = false;
  for (const proto::Record& record : packet.records) take_record(record, has_header);
  peer_.packet_ends();
  if (over_) begin_anew(now, moving_);
}

// The broker leaves and names others. What runs may still end, so that its bye is waited for.
void Link::take_endpoints(proto::Value endpoints) {
  std::vector<std::string> urls{urls_.front()};
  const auto add = [&urls](std::string_view url) {
    if (std::find(urls.begin(), urls.end(), url) == urls.end()) urls.emplace_back(url);
  };
  std::size_t count = 0;
  for (proto::Value endpoint : endpoints.items()) {
    if (++count > kElsewhereMost) break;
    if (auto url = endpoint.text()) {
      moving_ = true;
      add(*url);
    }
  }
  if (!moving_) return;
  add(url_);  // last: for when none of these answers
  urls_ = std::move(urls);
}

// The session is gone on both sides: a new connection, a new session; with the next broker, if one
// has named others.
void Link::begin_anew(Clock::time_point now, bool elsewhere) {
  session_.forget();
  if (elsewhere) std::rotate(urls_.begin(), urls_.begin() + 1, urls_.end());
  while (!socket_.reconnect(urls_.front()) && urls_.size() > 1) {
    urls_.erase(urls_.begin());  // it makes no sense to libzmq; the one that was given did
  }
  moving_ = false;
  tried_since_ = now;
  disconnected(now);
}

// When to try the next of the brokers that one has named.
Link::Clock::time_point Link::elsewhere_due() const {
  const bool waits = urls_.size() > 1 && !session_.is_open();
  return waits ? tried_since_ + kElsewhereAfter : Clock::time_point::max();
}

void Link::take_header(Session::Arrival arrival, Clock::time_point now) {
  if (session_.acknowledged() != acknowledged_) {
    acknowledged_ = session_.acknowledged();
    // Before the packet's results are told: who submits more because of one finds the room.
    unacked_bytes_.store(session_.unacked_bytes(), std::memory_order_relaxed);
    peer_.acknowledged(acknowledged_);
  }
  switch (arrival) {
    case Session::Arrival::kNew:
      gap_told_ = 0;
      break;
    case Session::Arrival::kDuplicate:
      session_.schedule_ack(now);
      break;
    case Session::Arrival::kGap:
      // All that follows the hole has gaps too: one error for all of them.
      if (gap_told_ != session_.received() + 1) {
        gap_told_ = session_.received() + 1;
        control_.error(0, proto::code::kGap, "a packet is missing", "expected", gap_told_);
      }
      break;
    case Session::Arrival::kForeign:
      break;  // of a session that is over
  }
}

void Link::take_record(const proto::Record& record, bool has_header) {
  switch (record.kind) {
    case Kind::kHeader:
    case Kind::kHello:
    case Kind::kPong:
    case Kind::kIgnorable:
      return;
    case Kind::kWelcome:
      if (greeting_) take_welcome(record);
      return;
    case Kind::kPing:
      control_.pong(record.ref);
      return;
    case Kind::kGoaway:
      leaving_ = true;
      if (record.value.is_array()) take_endpoints(record.value);
      return;
    case Kind::kBye:
      over_ = true;
      return;
    case Kind::kError:
      if (record.ref == 0) {
        take_error(record, has_header);
        return;
      }
      break;
    default:
      break;
  }
  // An error record answers no task: its fault is the worker's to tell, in a result. And who waits
  // for a result hears of its fault too.
  const bool is_run = record.kind == Kind::kTask || record.kind == Kind::kItem;
  if (!record.fault.empty() && !is_run) {
    control_.error(record.ref, record.fault, record.fault_text, record.fault_field,
                   record.fault_number);
    if (record.kind != Kind::kResult) return;
  }
  peer_.record(record, incoming_);
}

void Link::take_welcome(const proto::Record& record) {
  const proto::Value fields = record.value;
  const auto number = fields.get("session").number();
  if (!number || *number == 0) {
    complain("a welcome of " + urls_.front() + " has no session");
    return;
  }
  const bool resumed =
      fields.get("resumed").boolean().value_or(false) && *number == session_.number();
  const std::uint64_t ack = fields.get("ack").number().value_or(0);
  const proto::Value limits = fields.get("limits");
  limits_.frame = limit_of(limits, "frame", limits_.frame);
  limits_.body = limit_of(limits, "body", limits_.body);
  limits_.records = limit_of(limits, "records", limits_.records);
  limits_.frames = limit_of(limits, "frames", limits_.frames);
  limits_.session_bytes = limit_of(limits, "session_bytes", limits_.session_bytes);
  limits_.push_window = limit_of(limits, "push_window", limits_.push_window);
  limits_.checkpoint = limit_of(limits, "checkpoint", limits_.checkpoint);
  decoder_.set_limits(limits_);
  epoch_ = fields.get("epoch").number().value_or(0);

  session_.open(*number, ack, resumed);
  if (!resumed) Session::start(control_);
  greeting_ = leaving_ = moving_ = false;
  was_welcome_ = true;
  gap_told_ = 0;
  acknowledged_ = session_.acknowledged();
  unacked_bytes_.store(session_.unacked_bytes(), std::memory_order_relaxed);
  if (resumed) peer_.acknowledged(acknowledged_);
  peer_.welcomed(fields, resumed);
}

// Errors about the packet or the session.
void Link::take_error(const proto::Record& record, bool has_header) {
  if (record.name == proto::code::kStaleSession) {
    session_.suspend();
    greet_ = connected_;
    greeting_ = false;
  } else if (record.name == proto::code::kGap) {
    const auto expected = record.value.get("expected").number().value_or(0);
    if (!session_.resend_from(expected)) {
      // It wants what was acknowledged or never made: only a new session can help.
      session_.forget();
      greet_ = connected_;
    }
  } else if (greeting_ && !has_header) {
    // The answer to hello. It is said again after a while: the config may have changed.
    const bool passes = record.name == proto::code::kFull || record.name == proto::code::kBusy ||
                        record.name == proto::code::kShuttingDown;
    if (!passes) peer_.refused(record.name, record.message);
  } else {
    const auto packet = record.value.get("packet").number();
    if (record.name == proto::code::kMalformed && packet && peer_.refused_packet(*packet, record)) {
      return;
    }
    complain("an error from " + urls_.front() + ": " + std::string(record.name) + ": " +
             std::string(record.message));
  }
}

bool Link::send(Clock::time_point now) {
  if (!connected_) return false;
  if (greeting_ && now - greeted_at_ >= kHelloAgain) greet_ = true;
  if (greet_) greet();
  if (!session_.is_open()) return false;

  bool sent = false;
  blocked_ = false;
  for (;;) {
    // Only when all is sent that is there: then packets become as large as the socket is slow.
    if (session_.all_sent()) {
      if (!control_.empty()) {
        session_.add(control_);
      } else {
        peer_.fill(out_, session_.next_seq());
        if (out_.empty()) break;
        session_.add(out_);
      }
      unacked_bytes_.store(session_.unacked_bytes(), std::memory_order_relaxed);
    }
    Session::Packet* packet = session_.next();
    if (socket_.send(packet->records, packet->frames) != Socket::Sent::kDone) {
      blocked_ = true;
      break;
    }
    session_.sent();
    sent = true;
  }
  if (session_.ack_due() <= now) {
    // If the socket takes it not, the next packet says the same.
    socket_.send(session_.lone_ack(), {});
  }
  return sent && !blocked_;
}

}  // namespace tusk
