// A peer as an SDK is: it says hello, numbers its packets, keeps them until they are acknowledged,
// sends them again, claims its runs after a broken connection, submits again after a restart. It
// does nothing on its own but answer the broker: what it asks and how it misbehaves is the
// adversary's choice.
#pragma once

#include <functional>
#include <map>
#include <set>

#include "proto/decoder.h"
#include "proto/writer.h"
#include "tests/simulation/network.h"
#include "tests/simulation/scene.h"

namespace tusk::simulation {

using proto::Kind;
using proto::TaskId;

// A request that has no answer yet: enough to ask again.
struct Ask {
  Kind kind{};
  TaskId id;
  std::string name, body;
  uint32_t reply = 0, wait = 0;
  std::string trace = {};
  std::string terms = {};  // encoded, and how many
  size_t term_count = 0;
};

// A run that was not answered, or whose answer was not acknowledged.
struct WorkerRun {
  TaskId id = {};
  uint32_t attempt = 1;
  std::string name = {};
  bool is_item = false, cancelled = false;
  uint64_t answered = 0;  // the packet that holds the answer
};

class Peer {
 public:
  Peer(uint32_t index, const PeerSpec& spec) : spec(spec), index(index) { new_process(); }

  const PeerSpec spec;
  const uint32_t index;
  ConnectionId connection = kNoConnection;
  bool greeted = false;        // it was welcomed on this connection, and knows of no trouble
  bool refused = false;        // its last hello was not welcome
  bool retired = false;        // it is not to come back
  bool misbehaved = false;     // it sent rubbish on purpose
  bool expects_stale = false;  // it sent what is of another session
  bool wants_hello = false;    // it was told that it has no session: hello is due
  uint64_t session = 0;
  uint32_t pid = 0;
  std::map<uint64_t, Ask> asks;        // by request
  std::map<uint64_t, WorkerRun> runs;  // by handle
  std::set<std::string> subscribed;

  // Where its packets go.
  std::function<void(Packet)> transmit;

  void new_process();
  // `how`: what is odd about this hello; 0: nothing.
  Packet hello(uint32_t how);
  const Packet& last_hello() const { return hello_; }
  void connected(ConnectionId id, uint32_t how);
  void lost();  // it noticed the end of its connection

  // One packet of these records, kept until acknowledged.
  using Write = std::function<void(proto::Writer&)>;
  void send(const Write& write);
  // The same with this header and not kept.
  void send_raw(uint64_t of_session, uint64_t seq, const Write& write);
  void acknowledge();
  bool owes_ack() const { return greeted && spec.acks && received_ > acked_; }
  uint64_t next_seq() const { return next_seq_; }
  uint64_t arrived() const { return arrived_; }  // its last packet that the broker has
  uint64_t ask(Ask ask, const Write& write);
  uint64_t next_request() const { return next_request_; }

  void receive(const Packet& packet);
  void result(proto::Writer& out, uint64_t handle, uint32_t how);
  void answered(uint64_t handle);  // in the packet in hand

 private:
  struct Kept {
    uint64_t seq;
    proto::Bytes records;
    std::vector<proto::Bytes> bodies;
  };
  void on_record(const proto::Record& record);
  void on_welcome(const proto::Record& record);
  void ask_again();
  void send_again();
  void give_back(const std::vector<uint64_t>& handles);
  void put(proto::Writer& out, uint64_t seq, bool keep);
  proto::Bytes with_header(const proto::Bytes& records, uint64_t seq);

  uint32_t process_ = 0;
  std::string instance_;
  Packet hello_;          // the last
  proto::Bytes welcome_;  // the last
  ConnectionId welcomed_on_ = kNoConnection;
  std::deque<Kept> kept_;
  std::vector<std::pair<uint64_t, WorkerRun>> claimed_;  // in the last hello, in its order
  uint64_t next_seq_ = 1, received_ = 0, acked_ = 0, arrived_ = 0, next_request_ = 1;
  proto::Decoder decoder_;
};

inline constexpr const char* kBootId = "01234567-89ab-cdef-0123-456789abcdef";
inline constexpr uint64_t kPidNamespace = 4026531836;

}  // namespace tusk::simulation
