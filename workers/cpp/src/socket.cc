#include "socket.h"

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "tusk/error.h"

namespace tusk {
namespace {

// Round the time that a broker needs to notice us gone, and we it: SPEC.md, "Advice about libzmq".
constexpr int kHeartbeatMs = 5'000;
constexpr int kHeartbeatTimeoutMs = 15'000;
constexpr int kReconnectMs = 10;
constexpr int kReconnectMaxMs = 1'000;

void set(void* socket, int option, int value) {
  zmq_setsockopt(socket, option, &value, sizeof value);
}

}  // namespace

proto::Bytes Incoming::take(std::size_t index) {
  auto* message = new zmq_msg_t;
  zmq_msg_init(message);
  zmq_msg_move(message, &frames_[index]);
  return proto::Bytes::adopt(
      static_cast<const char*>(zmq_msg_data(message)), zmq_msg_size(message),
      [](void* owner) {
        auto* held = static_cast<zmq_msg_t*>(owner);
        zmq_msg_close(held);
        delete held;
      },
      message);
}

void Incoming::clear() {
  for (std::size_t i = 0; i < used_; ++i) zmq_msg_close(&frames_[i]);
  used_ = 0;
}

Socket::Socket(const std::string& url) : url_(url) {
  context_ = zmq_ctx_new();
  dealer_ = zmq_socket(context_, ZMQ_DEALER);
  if (!dealer_) {
    const std::string why = zmq_strerror(errno);
    close_all();
    throw Error("unavailable", "no socket: " + why);
  }
  set(dealer_, ZMQ_IMMEDIATE, 1);
  set(dealer_, ZMQ_LINGER, 0);
  set(dealer_, ZMQ_HEARTBEAT_IVL, kHeartbeatMs);
  set(dealer_, ZMQ_HEARTBEAT_TIMEOUT, kHeartbeatTimeoutMs);
  set(dealer_, ZMQ_RECONNECT_IVL, kReconnectMs);
  set(dealer_, ZMQ_RECONNECT_IVL_MAX, kReconnectMaxMs);
  set(dealer_, ZMQ_IPV6, 1);
  constexpr const char* kMonitor = "inproc://monitor";
  zmq_socket_monitor(dealer_, kMonitor, ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED);
  monitor_ = zmq_socket(context_, ZMQ_PAIR);
  set(monitor_, ZMQ_LINGER, 0);
  if (zmq_connect(monitor_, kMonitor) != 0 || zmq_connect(dealer_, url.c_str()) != 0) {
    const std::string why = zmq_strerror(errno);
    close_all();
    throw Unavailable(url, "cannot connect to \"" + url + "\": " + why);
  }
}

Socket::~Socket() { close_all(); }

void Socket::close_all() {
  if (dealer_) zmq_socket_monitor(dealer_, nullptr, 0);
  if (monitor_) zmq_close(monitor_);
  if (dealer_) zmq_close(dealer_);
  if (context_) zmq_ctx_term(context_);
}

void Socket::linger(int milliseconds) { set(dealer_, ZMQ_LINGER, milliseconds); }

Socket::Event Socket::next_event() {
  zmq_msg_t message;
  zmq_msg_init(&message);
  Event event = Event::kNone;
  if (zmq_msg_recv(&message, monitor_, ZMQ_DONTWAIT) >= 0) {
    std::uint16_t number = 0;
    std::memcpy(&number, zmq_msg_data(&message), sizeof number);
    if (number == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) event = Event::kConnected;
    if (number == ZMQ_EVENT_DISCONNECTED) event = Event::kDisconnected;
    zmq_msg_recv(&message, monitor_, 0);  // the address, the event's second frame
  }
  zmq_msg_close(&message);
  return event;
}

bool Socket::receive(Incoming& packet) {
  packet.clear();
  for (;;) {
    if (packet.frames_.size() == packet.used_) packet.frames_.emplace_back();
    zmq_msg_t* message = &packet.frames_[packet.used_];
    zmq_msg_init(message);
    // libzmq delivers a message's frames together: only the first can be missing.
    if (zmq_msg_recv(message, dealer_, packet.used_ == 0 ? ZMQ_DONTWAIT : 0) < 0) {
      zmq_msg_close(message);
      return false;
    }
    ++packet.used_;
    if (!zmq_msg_more(message)) return true;
  }
}

Socket::Sent Socket::send(const proto::Bytes& records, const std::vector<proto::Bytes>& frames) {
  auto send_one = [this](const proto::Bytes& bytes, int flags) {
    zmq_msg_t message;
    zmq_msg_init_data(
        &message, const_cast<char*>(bytes.data()), bytes.size(),
        [](void*, void* share) { proto::Bytes::drop_share(share); }, bytes.share());
    if (zmq_msg_send(&message, dealer_, flags | ZMQ_DONTWAIT) >= 0) return true;
    zmq_msg_close(&message);
    return false;
  };
  if (!send_one(records, frames.empty() ? 0 : ZMQ_SNDMORE)) return Sent::kBlocked;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    // After its first frame a message is taken whole, or its connection has ended: then libzmq
    // wants the rest of the frames all the same, to drop them, and the session sends the packet
    // again on the next connection.
    send_one(frames[i], i + 1 < frames.size() ? ZMQ_SNDMORE : 0);
  }
  return Sent::kDone;
}

bool Socket::reconnect(const std::string& url) {
  zmq_disconnect(dealer_, url_.c_str());
  url_ = url;
  return zmq_connect(dealer_, url_.c_str()) == 0;
}

void Socket::wait(int descriptor, bool for_room, long milliseconds) {
  zmq_pollitem_t items[] = {
      {dealer_, 0, static_cast<short>(ZMQ_POLLIN | (for_room ? ZMQ_POLLOUT : 0)), 0},
      {monitor_, 0, ZMQ_POLLIN, 0},
      {nullptr, descriptor, ZMQ_POLLIN, 0},
  };
  zmq_poll(items, 3, milliseconds);  // EINTR is as good as a wake-up
}

}  // namespace tusk
