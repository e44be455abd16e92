// One session of TUSK/1 as bookkeeping (SPEC.md, "Sessions"): packets numbered and kept until they
// are acknowledged, what arrived, what is to be acknowledged. No socket, no clock of its own.
//
//   session.open(number, ack, resumed);
//   session.add(writer);                       // a packet
//   while (auto* packet = session.next()) { send(*packet); session.sent(); }
//   if (session.arrived(header) == Arrival::kNew) apply(...)
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <vector>

#include "proto/bytes.h"
#include "proto/writer.h"

namespace tusk {

class Session {
 public:
  using Clock = std::chrono::steady_clock;

  struct Packet {
    std::uint64_t seq;
    proto::Bytes records;
    std::vector<proto::Bytes> frames;
    std::size_t bytes;    // of all frames
    std::size_t largest;  // of its body frames
    unsigned times_sent = 0;
  };

  enum class Arrival { kNew, kDuplicate, kGap, kForeign };

  bool is_open() const { return open_; }
  // 0: there is none to resume.
  std::uint64_t number() const { return number_; }
  std::uint64_t received() const { return received_; }

  // A welcome came. Not resumed: both sides start at 1, and what was kept is forgotten.
  void open(std::uint64_t number, std::uint64_t ack, bool resumed);
  // The connection ended: nothing is sent until the next open().
  void suspend() { open_ = false; }
  // The session is over: the next hello asks for a new one.
  void forget();

  // Takes the records and frames of `out` as the next packet. Its first bytes are a reserved
  // header: start() gives it one, and add() leaves it with a new one.
  static void start(proto::Writer& out);
  void add(proto::Writer& out);
  std::uint64_t next_seq() const { return last_seq_ + 1; }
  // The packet that is to be sent next, or nothing.
  Packet* next() { return open_ && unsent_ < kept_.size() ? &kept_[unsent_] : nullptr; }
  void sent();
  // The other side misses packets from `seq` on. False: that is not kept any more.
  bool resend_from(std::uint64_t seq);
  // What replaces a packet that must not be sent again: the same number, a ping in place of its
  // records.
  void blank(Packet& packet);

  // A header came: whose packet it is. kNew is counted as received; ack is applied if it is ours.
  Arrival arrived(std::uint64_t session, std::uint64_t seq, std::uint64_t ack);
  // A lone header's number is 0: it acknowledges and is not counted.

  // When a lone acknowledgement has to go out at the latest; time_point::max(): none is due.
  Clock::time_point ack_due() const { return ack_due_; }
  void schedule_ack(Clock::time_point now);
  proto::Bytes lone_ack();

  std::deque<Packet>& kept() { return kept_; }
  std::uint64_t acknowledged() const { return acknowledged_; }
  std::size_t unacked_bytes() const { return unacked_bytes_; }
  bool all_sent() const { return unsent_ == kept_.size(); }

 private:
  void drop_until(std::uint64_t ack);

  std::uint64_t number_ = 0;
  bool open_ = false;
  std::uint64_t last_seq_ = 0;      // of the last packet made
  std::uint64_t acknowledged_ = 0;  // of ours, by the other side
  std::uint64_t received_ = 0;      // of theirs
  std::uint64_t told_ = 0;          // of those, acknowledged by us
  std::deque<Packet> kept_;
  std::size_t unsent_ = 0;  // index of the first kept packet that is not sent on this connection
  std::size_t unacked_bytes_ = 0;
  Clock::time_point ack_due_ = Clock::time_point::max();
};

}  // namespace tusk
