// A scripted peer layer around the broker, for its tests: peers that keep the protocol, a virtual
// clock, and a check of what must hold after every step.
//
//   Harness h;
//   Peer& worker = h.worker({"add"}, 2);
//   Peer& client = h.client();
//   TaskId id = h.id();
//   uint64_t request = client.submit(id, "add", "1+2");
//   Got task = worker.expect(Kind::kTask);
//   worker.succeed(task.ref, "3");
//   EXPECT_EQ(client.expect(Kind::kResult).body, "3");
//   h.advance(1s);
//
// A peer checks what it gets as an SDK would: headers, numbers, limits, its slots, and that every
// request has one ending. Faults are reported as failures of the test that runs.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/core/broker.h"
#include "proto/json.h"

namespace tusk::core {

using proto::Attribute;
using proto::BodyOut;
using proto::Json;
using proto::Kind;
using proto::State;
using proto::TaskId;
using proto::Writer;
namespace code = proto::code;
using namespace std::chrono_literals;

// A record as a peer got it, with nothing borrowed.
struct Got {
  Kind kind{};
  uint64_t ref = 0;
  std::string name, message;  // type, topic, handler, error code, reason; an error's words
  State state{};
  uint32_t attempt = 0;
  uint32_t level = 0;  // of a log line
  TaskId id;
  std::optional<std::string> body;  // nothing: nil
  bool body_in_frame = false;
  std::map<uint64_t, Json> attributes;
  Json value;  // fields, answer or details

  bool is_error(std::string_view code) const { return kind == Kind::kError && name == code; }
  const Json& at(Attribute key) const { return attributes.at(static_cast<uint64_t>(key)); }
  bool has(Attribute key) const { return attributes.count(static_cast<uint64_t>(key)) > 0; }
};

// An id as it stands in the JSON form of records.
Json json_of(const TaskId& id);

// Attributes of a record under construction: Attrs().flag(Attribute::kResent).number(...).
class Attrs {
 public:
  Attrs& flag(Attribute key) { return writer_->flag(key), *this; }
  Attrs& number(Attribute key, uint64_t v) { return writer_->number(key, v), *this; }
  Attrs& text(Attribute key, std::string_view v) { return writer_->text(key, v), *this; }
  Attrs& error(std::string_view type, std::string_view message) {
    return writer_->error(type, message, "python", "a stack"), *this;
  }
  Attrs& priority(int v) { return writer_->key(Attribute::kPriority).pack_int(v), *this; }
  Attrs& backoff(uint64_t first, uint64_t most, double factor, double jitter) {
    proto::Packer& p = writer_->key(Attribute::kBackoff).pack_array(4);
    p.pack_uint64(first).pack_uint64(most).pack_double(factor).pack_double(jitter);
    return *this;
  }
  Attrs& texts(Attribute key, const std::vector<std::string>& list) {
    proto::Packer& p = writer_->key(key).pack_array(static_cast<uint32_t>(list.size()));
    for (const std::string& text : list) {
      p.pack_str(static_cast<uint32_t>(text.size()));
      p.pack_str_body(text.data(), static_cast<uint32_t>(text.size()));
    }
    return *this;
  }
  Attrs& json(Attribute key, const Json& v) {
    return proto::write_json(writer_->key(key), v), *this;
  }
  Attrs& id(Attribute key, const TaskId& id);
  // A key by its number, with a number for its value.
  Attrs& raw(uint64_t key, uint64_t v) { return number(static_cast<Attribute>(key), v); }
  operator proto::AttributeEntries() const { return *writer_; }  // NOLINT

 private:
  std::shared_ptr<proto::AttributeWriter> writer_ = std::make_shared<proto::AttributeWriter>();
};

class Harness;

struct Claim {
  TaskId id;
  uint64_t attempt = 1;
  std::string name;
  bool is_item = false;
};

// What a peer says in its hello.
struct HelloFields {
  std::string role = "client";
  std::string language = "python";
  bool acks = true;
  std::string name = {}, pool = {};
  std::vector<std::string> types = {}, handlers = {};
  uint64_t slots = 1;
  std::vector<Claim> claims = {};
  bool watched = false;  // pid, namespace and boot id are those of the broker's machine
  std::function<void(Writer&)> more = {};  // further keys and values
  uint32_t more_count = 0;
  uint64_t version = 1;
  size_t instance_size = 16;
};

class Peer {
 public:
  Peer(Harness& h, HelloFields fields);

  HelloFields fields;
  std::string instance;  // 16 bytes
  ConnectionId connection = kNoConnection;
  uint64_t session = 0;
  Json welcome;            // the fields of the last one
  std::deque<Got> inbox;   // behind the welcome, in order
  uint64_t lone_acks = 0;  // packets that were nothing but a header
  uint64_t acked = 0;      // the broker's last acknowledgement
  uint64_t received = 0;   // the broker's last packet
  uint64_t next_seq = 1;
  bool checks_slots = true;
  std::map<uint64_t, Got> runs;         // as a worker: by handle, not answered
  std::vector<std::string> resendable;  // packets since the last acknowledgement, headers blank

  // --- connection
  // Says hello on a new connection; with `resume` as a peer that remembers its session.
  Peer& connect(bool resume = false);
  // The connection ends; what was sent before has arrived.
  void disconnect();
  // The process dies: connection first, or process first.
  void die(bool process_first = false);
  bool connected() const { return connection != kNoConnection; }
  // As if nothing behind this packet of the broker had arrived.
  void lose_behind(uint64_t seq) {
    received = seq;
    inbox.clear();
    ended_.clear();
    runs.clear();
  }
  // Connects again and, if resumed, sends again what was not acknowledged.
  void come_back();

  // --- sending
  using Write = std::function<void(Writer&)>;
  // One packet of these records, with a header if the peer acknowledges.
  void send(const Write& write);
  // The same without keeping it and with this header: to send wrong ones.
  void send_raw(uint64_t session, uint64_t seq, uint64_t ack, const Write& write);
  void send_bytes(std::string_view records, const std::vector<std::string>& bodies = {});
  void ack();  // a lone header

  uint64_t submit(const TaskId& id, std::string_view type, std::string_view body = "",
                  const Attrs& attributes = {});
  uint64_t push(const TaskId& id, std::string_view stage, std::string_view body = "",
                const Attrs& attributes = {});
  uint64_t cancel(const TaskId& id);
  uint64_t await(const TaskId& id, const Attrs& attributes = {});
  // pause, unblock, ...; `arguments` packs a map.
  Json control(const std::string& what, const std::function<void(Writer&)>& arguments);
  Json control(const std::string& what, const Json& arguments);
  // Without a body, it stays as it is.
  uint64_t update(const TaskId& id, const Attrs& attributes,
                  std::optional<std::string> body = std::nullopt);
  uint64_t publish(std::string_view topic, std::string_view body, const Attrs& attributes = {});
  uint64_t subscribe(std::string_view topic, const Attrs& attributes = {});
  void succeed(uint64_t handle, std::string_view body = "", const Attrs& attributes = {});
  void drop(uint64_t handle);  // succeeded without a body
  void fail(uint64_t handle, const Attrs& attributes = {});
  void cancelled(uint64_t handle);
  void give_back(const std::vector<uint64_t>& handles, uint64_t recall = 0);
  void slots(uint64_t slots);
  // An empty body is none.
  void progress(uint64_t handle, std::string_view body = "", const Attrs& attributes = {});
  void log(uint64_t handle, uint32_t level, std::string_view text);
  void checkpoint(uint64_t handle, std::string_view body);
  void defer(uint64_t handle, Duration after);
  void pause(uint64_t handle, Duration time);
  // Until `count` of them have ended; 0: all.
  void suspend(uint64_t handle, const std::vector<TaskId>& ids, uint64_t count = 0);
  // A query's answer. Does not count among the packets that other queries see.
  Json query(const std::string& what, const TaskId* id = nullptr);
  Json query(const std::string& what, const Json& arguments);

  // --- receiving
  // The next record, which must be of this kind.
  Got expect(Kind kind);
  Got expect_error(std::string_view code);
  // All records of this kind, taken out of the inbox.
  std::vector<Got> take(Kind kind);
  bool quiet() const { return inbox.empty(); }
  // The next request number.
  uint64_t request() { return next_request_++; }

  // For the harness.
  void receive(const Send& packet);

 private:
  std::string hello(bool resume);

  Harness& h_;
  uint64_t next_request_ = 1;
  bool fresh_ = true;                             // no welcome on this connection yet
  std::set<uint64_t> suspended_;                  // handles
  std::set<uint64_t> ended_;                      // requests that had their one ending
  std::vector<std::vector<std::string>> bodies_;  // of the resendable packets
};

// A plain REQ peer: one request, one reply.
class ReqPeer {
 public:
  ReqPeer(Harness& h, ConnectionId connection) : h_(h), connection(connection) {}
  void ask(const Peer::Write& write, std::string_view envelope = "");
  void ask_bytes(std::string_view records, std::string_view envelope = "");
  // The one reply that must be there.
  Got reply();
  void disconnect();
  void receive(const Send& packet);

 private:
  Harness& h_;

 public:
  ConnectionId connection;
  std::deque<Got> replies;
  std::string envelope;  // of the last reply
};

// Looks into a broker (it is its friend).
class BrokerInspector {
 public:
  // Reports what must hold at any time and does not. `exact_room`: stages hold no more than their
  // capacity and workers one suspect (claims and reloads may exceed both for a while).
  static void check(const Broker& broker, bool exact_room);
  static size_t live_tasks(const Broker& b) { return b.tasks_.live(); }
  static size_t live_requests(const Broker& b) { return b.requests_.live(); }
  static size_t gates(const Broker& b) { return b.gates_.live(); }
  static size_t sticky_keys(const Broker& b) { return b.sticky_.live(); }
  static size_t lanes(const Broker& b) { return b.scheduler_.other_lanes(); }
  static size_t live_sessions(const Broker& b) { return b.sessions_.live(); }
  static size_t held_bytes(const Broker& b) { return b.held_bytes_; }
  static size_t timers(const Broker& b) { return b.timers_.size(); }
  static size_t outbox_bytes(const Broker& b, uint64_t session);
};

class Harness {
 public:
  // The configuration may be changed by `change` before the broker starts.
  explicit Harness(const std::function<void(config::Orchestration&)>& change = {});

  // --- peers; they live as long as the harness
  Peer& peer(HelloFields fields, bool connect = true);
  Peer& client(bool acks = true);
  Peer& worker(std::vector<std::string> types, uint64_t slots = 1);
  Peer& stage_worker(std::vector<std::string> handlers, uint64_t slots = 1);
  ReqPeer& req();

  // --- time and events
  Time now() const { return now_; }
  void advance(Duration time);
  void handle(const Event& event);
  void flush();
  // Between these the broker's answers are held back, as when many packets arrive at once.
  void hold() { held_ = true; }
  void release();

  // --- configuration
  // Applies a changed configuration; the reasons why not, if it was refused.
  std::vector<std::string> reload(const std::function<void(config::Orchestration&)>& change);
  const config::Orchestration& config() const { return *config_; }

  // A new broker in the place of the old one, which knows nothing. Peers lose their connections.
  void restart();

  // --- ids
  TaskId id() { return id_at(next_unix_ms_++); }
  TaskId id_at(uint64_t unix_ms) { return TaskId::make_v7(unix_ms, 0, ++id_serial_); }

  // --- what the broker did
  const Counters& counters() const { return broker->counters(); }
  // Whether a log line holds this text.
  bool logged(std::string_view text) const;
  Json status();
  // One map of a list that a query answers, by its name.
  Json named(const std::string& what, const std::string& name);
  // Nothing is left of tasks and requests: what the broker remembers aside.
  void expect_empty();

  std::unique_ptr<Broker> broker;
  std::vector<LogLine> log;
  std::vector<Watch> watches;
  std::vector<Unwatch> unwatches;
  std::vector<Hang> hangs;
  std::vector<Kill> kills;
  std::vector<Got> edge_items;                           // that left by PUSH
  std::vector<size_t> edge_item_packets;                 // records in each
  std::vector<std::pair<std::string, Got>> edge_events;  // topic frame and event
  std::optional<ReloadOutcome> outcome;
  bool stopped = false;
  bool exact_room = true;
  bool checks = true;  // invariants after every step
  uint64_t seed = 1;

  // For peers.
  ConnectionId open(Peer* peer, ReqPeer* req = nullptr);
  void close(ConnectionId connection);
  uint32_t next_pid() { return ++pid_; }

  static constexpr const char* kBootId = "01234567-89ab-cdef-0123-456789abcdef";
  static constexpr uint64_t kPidNamespace = 4026531836;

 private:
  Surroundings surroundings();
  // Of the message types in this configuration: the real ones.
  static BodyCheckers checkers(const config::Orchestration& config);
  void carry_out();

  std::shared_ptr<const config::Orchestration> config_;
  Time now_ = Time{} + 1h;
  bool held_ = false;
  Actions actions_;
  std::vector<std::unique_ptr<Peer>> peers_;
  std::vector<std::unique_ptr<ReqPeer>> reqs_;
  struct End {
    Peer* peer = nullptr;
    ReqPeer* req = nullptr;
  };
  std::map<ConnectionId, End> ends_;
  std::set<ConnectionId> free_;
  ConnectionId next_connection_ = 0;
  uint64_t next_unix_ms_ = 1'700'000'000'000;
  uint64_t id_serial_ = 0;
  uint64_t epoch_ = 1000;
  uint32_t pid_ = 100;
  Peer* observer_ = nullptr;
};

// Decodes a packet's records into owned ones; a packet that does not decode fails the test.
std::vector<Got> decode_all(std::string_view records, const std::vector<proto::Bytes>& bodies);

}  // namespace tusk::core
