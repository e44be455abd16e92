// The way between one client or worker and its broker: a thread that owns the socket, greets,
// numbers, acknowledges, resumes, and sends what its Peer writes. What the records mean is the
// Peer's.
//
//   class MyPeer : public Link::Peer { ... };
//   Link link(url, peer);
//   std::thread thread([&] { link.run(); });
//   link.wake();                          // any thread: the peer has something to do
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proto/decoder.h"
#include "proto/writer.h"
#include "session.h"
#include "socket.h"
#include "wake.h"

namespace tusk {

class Link {
 public:
  using Clock = Session::Clock;

  // What a client or a worker is behind its link. All of it is called on the link's thread.
  class Peer {
   public:
    virtual ~Peer() = default;

    // Packs the fields of hello that are its own, as pairs, into `packer`. Their number is told
    // first.
    virtual std::uint32_t hello_fields() = 0;
    virtual void pack_hello(proto::Writer& out) = 0;
    // A welcome came; the link's limits are those of it. Not resumed: all that was unanswered has
    // to be sent again as new.
    virtual void welcomed(proto::Value fields, bool resumed) = 0;
    // A record came; not for header, hello, welcome, ping, pong and session errors. It has no fault
    // but if it is a task or item, which the peer answers, or a result, which it cannot use.
    virtual void record(const proto::Record& record, Incoming& packet) = 0;
    // All records of a packet came, or it had none that count.
    virtual void packet_ends() {}
    // Takes what other threads handed over, and does what is due at `now`. Returns when it wants to
    // be called again at the latest.
    virtual Clock::time_point work(Clock::time_point now) = 0;
    // Whether another thread handed something over that work() has not taken.
    virtual bool has_work() = 0;
    // Called last before sleep: whether to sleep a millisecond at most.
    virtual bool sleeps_lightly() { return false; }
    // Whether finish() need not wait for it any more.
    virtual bool delivered() = 0;
    // Writes records until `out` is full (Link::full) or there are no more. They travel in packet
    // `seq`.
    virtual void fill(proto::Writer& out, std::uint64_t seq) = 0;
    // Our packets up to this one arrived.
    virtual void acknowledged(std::uint64_t seq) = 0;
    // The broker could not read packet `seq`, as `error` says. Whether somebody was told who had
    // asked in it.
    virtual bool refused_packet([[maybe_unused]] std::uint64_t seq,
                                [[maybe_unused]] const proto::Record& error) {
      return false;
    }
    // The broker refuses this peer: no session will come.
    virtual void refused(std::string_view code, std::string_view message) = 0;
    // The packet made the broker's socket disconnect us every time: it will not be sent again.
    virtual void dropped(std::uint64_t seq) = 0;
  };

  // Throws Unavailable if the URL is none. The wake may be shared with threads that outlive the
  // link.
  Link(std::string url, Peer& peer, std::shared_ptr<Wake> wake = std::make_shared<Wake>());

  // Until finish() was called and its time is over, or what was to be delivered is.
  void run();
  // Any thread, and signal handlers.
  void wake() { wake_->notify(); }

  // --- for the peer, on the link's thread ---

  // Ends run(): as soon as the peer has delivered() and all is acknowledged, at the latest at
  // `deadline`.
  void finish(Clock::time_point deadline) { finish_by_ = deadline; }
  bool finishing() const { return finish_by_ != Clock::time_point::max(); }

  const proto::Limits& limits() const { return limits_; }
  // Whether a record with about `bytes` of its own, and perhaps a body frame, has no place in
  // `out`.
  bool full(const proto::Writer& out, std::size_t bytes, std::size_t frame_bytes) const;
  // Bodies from this size on go into frames.
  std::size_t frame_body() const;

  bool connected() const { return connected_; }
  bool welcome() const { return session_.is_open(); }
  bool was_welcome() const { return was_welcome_; }
  // Between goaway and the next welcome: nothing new is taken by the broker.
  bool leaving() const { return leaving_; }
  Clock::time_point unreachable_since() const { return unreachable_since_; }
  std::uint64_t epoch() const { return epoch_; }
  // Bytes that are sent and not acknowledged. Any thread.
  std::size_t unacked_bytes() const { return unacked_bytes_.load(std::memory_order_relaxed); }
  bool all_acknowledged() { return session_.kept().empty(); }
  // The one that the program gave. Any thread.
  const std::string& url() const { return url_; }

  // One line on stderr, at a bounded rate.
  void complain(const std::string& line);

 private:
  void drain_events(Clock::time_point now);
  void disconnected(Clock::time_point now);
  void take_endpoints(proto::Value endpoints);
  void begin_anew(Clock::time_point now, bool elsewhere);
  Clock::time_point elsewhere_due() const;
  bool receive(Clock::time_point now);
  void take(Clock::time_point now);
  void take_header(Session::Arrival arrival, Clock::time_point now);
  void take_record(const proto::Record& record, bool has_header);
  void take_welcome(const proto::Record& record);
  void take_error(const proto::Record& record, bool has_header);
  void greet();
  bool send(Clock::time_point now);
  void guard_large_packets();
  Clock::time_point next_due(Clock::time_point now, Clock::time_point peer);

  const std::string url_;
  std::vector<std::string> urls_;  // where it connects now, and where it goes from there
  Peer& peer_;
  Socket socket_;
  std::shared_ptr<Wake> wake_;
  Session session_;
  proto::Limits limits_;
  proto::Decoder decoder_;
  Incoming incoming_;
  proto::Writer out_;      // records of the peer
  proto::Writer control_;  // pongs and errors, which go before them
  std::string instance_;

  bool connected_ = false;
  bool greet_ = false;     // hello is to be sent
  bool greeting_ = false;  // hello was sent, welcome has not come
  bool was_welcome_ = false;
  bool leaving_ = false;
  bool moving_ = false;   // the broker goes and has named others
  bool blocked_ = false;  // the socket took no more
  bool over_ = false;     // bye came in the packet that is being read
  std::uint64_t epoch_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::uint64_t gap_told_ = 0;  // the number that was asked for again last
  Clock::time_point greeted_at_{};
  Clock::time_point tried_since_ = Clock::now();  // without a session, at this broker
  Clock::time_point unreachable_since_ = Clock::now();
  Clock::time_point finish_by_ = Clock::time_point::max();
  Clock::time_point complained_at_{};
  std::atomic<std::size_t> unacked_bytes_{0};
};

}  // namespace tusk
