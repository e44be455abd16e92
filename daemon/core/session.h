// A peer that said hello: what it sent, what it was sent, and what it works on. It outlives its
// connection.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "daemon/core/event.h"
#include "daemon/core/scheduler.h"
#include "daemon/core/topic.h"
#include "proto/writer.h"

namespace tusk::core {

using Instance = std::array<uint8_t, 16>;

// The end of a connection and that of its process come one after the other, within this time.
inline constexpr Duration kProcessSettles = std::chrono::milliseconds(50);

struct SentPacket {
  uint64_t seq;
  proto::Bytes records;
  std::vector<proto::Bytes> bodies;
  size_t bytes;
};

// What goes to one peer: records gather in a packet; closed packets of a peer that acknowledges are
// kept until it does.
class Outbox {
 public:
  // `keeps`: the peer acknowledges, so packets have headers and are kept.
  void open(uint64_t session, bool keeps, const proto::Limits& limits) {
    session_ = session;
    keeps_ = keeps;
    limits_ = limits;
  }

  // Where the next record goes. Closes the packet under construction first if `more` bytes would
  // not fit any longer. The number of the packet is then next_packet().
  proto::Writer& writer(size_t more) {
    if (writer_.empty()) {
      if (keeps_ && writer_.records().size() == 0) writer_.reserve_header();
    } else if (writer_.count() >= limits_.records || writer_.frames().size() >= limits_.frames ||
               writer_.records().size() + more > limits_.frame) {
      close();
      if (keeps_) writer_.reserve_header();
    }
    return writer_;
  }
  uint64_t next_packet() const { return last_seq_ + 1; }

  // Ends the packet under construction, if there is one.
  void close();

  // Forgets packets up to and including this one.
  void acknowledge(uint64_t seq);

  // The packets that were closed and not sent yet; all kept ones after resend().
  template <typename SendFn>
  void flush(uint64_t ack, SendFn send) {
    close();
    for (; unsent_ < packets_.size(); ++unsent_) {
      SentPacket& packet = packets_[unsent_];
      if (keeps_) fill(packet, ack);
      send(packet);
    }
    if (!keeps_) {
      packets_.clear();
      bytes_ = unsent_ = 0;
    }
  }
  void resend() { unsent_ = 0; }
  void forget() {
    packets_.clear();
    writer_.clear();
    bytes_ = unsent_ = 0;
  }

  bool idle() const { return writer_.empty() && unsent_ == packets_.size(); }
  uint64_t last_seq() const { return last_seq_; }
  uint64_t last_sent() const { return last_seq_ - (packets_.size() - unsent_); }
  // Bytes that are not acknowledged, those of the packet under construction too.
  size_t bytes() const { return bytes_ + writer_.records().size() + writer_.frame_bytes(); }

 private:
  void fill(SentPacket& packet, uint64_t ack);

  uint64_t session_ = 0;
  bool keeps_ = false;
  proto::Limits limits_;
  proto::Writer writer_;
  std::deque<SentPacket> packets_;
  size_t unsent_ = 0;  // index of the first packet that is not sent
  size_t bytes_ = 0;
  uint64_t last_seq_ = 0;
};

struct Session {
  uint64_t number = 0;  // 0: this place in the pool is free
  uint32_t index = kNone;
  Instance instance{};
  ConnectionId connection = kNoConnection;
  uint32_t worker = kNone;  // its worker side, if it is one
  bool acks = false;
  bool process_gone = false;
  bool watched = false;
  bool over_bound = false;  // too many bytes unacknowledged: no tasks, no submits
  bool dirty = false;       // has records to send
  bool owes_ack = false;    // in the list of those that owe an acknowledgement
  bool ack_now = false;     // it is due
  uint32_t pid = 0;
  std::string name, language, pool, sdk;

  uint64_t received = 0;      // highest packet up to which all arrived
  uint64_t acknowledged = 0;  // what it was last told of that
  Outbox out;
  proto::Limits limits;  // as welcome stated them

  uint32_t pushes = 0;  // not answered
  List<Task> endings;   // told and not acknowledged, in the order of their packets
  std::vector<Subscription> subscriptions;
  std::deque<WaitingEvent> backlog;  // the oldest first
  size_t backlog_bytes = 0;
  std::map<const Topic*, uint64_t> missed;  // events, since the last one that it got
  std::vector<std::string> announced_types, announced_handlers;
  proto::Bytes welcome;  // as it was sent, for a hello that comes twice

  TimerId grace_timer = kNoTimer;
  TimerId ttl_timer = kNoTimer;
  TimerId process_timer = kNoTimer;
};

}  // namespace tusk::core
