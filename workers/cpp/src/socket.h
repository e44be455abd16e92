// The one DEALER of a client or worker and its monitor, on libzmq. Belongs to one thread.
#pragma once

#include <zmq.h>

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "proto/bytes.h"

namespace tusk {

// A received packet. Its frames live until the next receive() into it.
class Incoming {
 public:
  Incoming() = default;
  Incoming(const Incoming&) = delete;
  Incoming& operator=(const Incoming&) = delete;
  ~Incoming() { clear(); }

  std::string_view records() const { return frame(0); }
  std::size_t body_frames() const { return used_ - 1; }
  std::string_view frame(std::size_t index) const {
    auto* message = const_cast<zmq_msg_t*>(&frames_[index]);
    return {static_cast<const char*>(zmq_msg_data(message)), zmq_msg_size(message)};
  }
  // Takes a frame over without a copy.
  proto::Bytes take(std::size_t index);

 private:
  friend class Socket;
  void clear();

  std::deque<zmq_msg_t> frames_;  // a message must not move
  std::size_t used_ = 0;
};

class Socket {
 public:
  enum class Event { kNone, kConnected, kDisconnected };
  enum class Sent { kDone, kBlocked };

  // Connects in the background. Throws Error if the URL is none.
  explicit Socket(const std::string& url);
  ~Socket();
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // What happened to the connection since the last call; the last of several counts, but a
  // disconnect is never skipped.
  Event next_event();

  bool receive(Incoming& packet);
  // All of a packet or nothing. The frames are shared, not copied.
  Sent send(const proto::Bytes& records, const std::vector<proto::Bytes>& frames);

  // Ends the connection and makes a new one, to this URL. False if it is none: then there is no
  // connection, and none will come.
  bool reconnect(const std::string& url);
  // Sleeps until something arrives, `descriptor` is readable, there is room to send (if asked for),
  // or the time is over. -1: no end.
  void wait(int descriptor, bool for_room, long milliseconds);
  // What is still to be sent may take so long after the destructor.
  void linger(int milliseconds);

 private:
  void close_all();

  std::string url_;
  void* context_ = nullptr;
  void* dealer_ = nullptr;
  void* monitor_ = nullptr;
};

}  // namespace tusk
