#include "session.h"

#include <algorithm>

namespace tusk {
namespace {

constexpr auto kAckDelay = std::chrono::milliseconds(50);
constexpr std::uint64_t kAckPackets = 64;

}  // namespace

void Session::open(std::uint64_t number, std::uint64_t ack, bool resumed) {
  if (resumed && number == number_) {
    drop_until(ack);
    unsent_ = 0;
  } else {
    forget();
    number_ = number;
  }
  open_ = true;
}

void Session::forget() {
  number_ = 0;
  open_ = false;
  last_seq_ = acknowledged_ = received_ = told_ = 0;
  kept_.clear();
  unsent_ = unacked_bytes_ = 0;
  ack_due_ = Clock::time_point::max();
}

void Session::add(proto::Writer& out) {
  Packet packet;
  packet.seq = ++last_seq_;
  proto::Writer::fill_header(out.records().data(), number_, packet.seq, received_);
  told_ = received_;
  ack_due_ = Clock::time_point::max();
  packet.bytes = out.records().size() + out.frame_bytes();
  packet.records = out.records().take();
  packet.frames = std::move(out.frames());
  packet.largest = 0;
  for (const proto::Bytes& frame : packet.frames) {
    packet.largest = std::max(packet.largest, frame.size());
  }
  unacked_bytes_ += packet.bytes;
  kept_.push_back(std::move(packet));
  start(out);
}

void Session::start(proto::Writer& out) {
  out.clear();
  out.reserve_header();
}

void Session::sent() {
  ++kept_[unsent_].times_sent;
  ++unsent_;
}

bool Session::resend_from(std::uint64_t seq) {
  if (seq <= acknowledged_ || seq > last_seq_) return false;
  unsent_ = std::min<std::size_t>(unsent_, seq - acknowledged_ - 1);
  return true;
}

void Session::blank(Packet& packet) {
  proto::Writer out;
  start(out);
  out.ping(packet.seq);
  proto::Writer::fill_header(out.records().data(), number_, packet.seq, received_);
  unacked_bytes_ -= packet.bytes;
  packet.records = out.records().take();
  packet.frames.clear();
  packet.bytes = packet.records.size();
  packet.largest = 0;
  unacked_bytes_ += packet.bytes;
}

Session::Arrival Session::arrived(std::uint64_t session, std::uint64_t seq, std::uint64_t ack) {
  if (number_ == 0 || session != number_) return Arrival::kForeign;
  drop_until(ack);
  if (seq == 0) return Arrival::kNew;
  if (seq <= received_) return Arrival::kDuplicate;
  if (seq != received_ + 1) return Arrival::kGap;
  ++received_;
  return Arrival::kNew;
}

void Session::drop_until(std::uint64_t ack) {
  // An ack of what was never made is a fault of the other side, and is not believed.
  if (ack > last_seq_) return;
  while (acknowledged_ < ack) {
    ++acknowledged_;
    unacked_bytes_ -= kept_.front().bytes;
    kept_.pop_front();
    if (unsent_ > 0) --unsent_;
  }
}

void Session::schedule_ack(Clock::time_point now) {
  if (received_ - told_ >= kAckPackets) {
    ack_due_ = now;
  } else if (ack_due_ == Clock::time_point::max()) {
    ack_due_ = now + kAckDelay;
  }
}

proto::Bytes Session::lone_ack() {
  char header[proto::Writer::kHeaderSize];
  proto::Writer::fill_header(header, number_, 0, received_);
  told_ = received_;
  ack_due_ = Clock::time_point::max();
  return proto::Bytes::copy({header, sizeof header});
}

}  // namespace tusk
