// What the peers of a fuzzed broker know and say: packets that are well-formed, half right or
// noise, as the input chooses. They remember sessions, packet numbers and handles, so that much of
// what they say means something.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "daemon/core/event.h"
#include "proto/decoder.h"
#include "proto/writer.h"
#include "tests/fuzz/input.h"

namespace tusk::fuzz {

// A packet as the broker gets it.
struct Packet {
  std::string records;
  std::vector<proto::Bytes> bodies;
};

class Peers {
 public:
  static constexpr uint32_t kConnections = 4;

  explicit Peers(Input& input) : input_(input) {}

  Packet hello(core::ConnectionId from);
  // A few records, behind a header if this peer's hello said acks.
  Packet said(core::ConnectionId from);
  // One record, as a REQ peer says it.
  Packet asked();
  // Items for the edge, and events; of the latter, most of the topic.
  Packet items();
  Packet events();
  // What said() says with some bytes changed, and bytes of the input as they are.
  Packet damaged(core::ConnectionId from);
  Packet noise();

  // The broker's packet to the peer, decoded: numbers and handles are noted.
  void heard(core::ConnectionId to, const proto::Decoded& packet);
  void gone(core::ConnectionId connection) { peers_[connection].seq = 0; }

 private:
  struct Peer {
    uint64_t session = 0, seq = 0, ack = 0;
    bool acks = false;
  };

  static proto::TaskId id_of(uint32_t n);
  proto::TaskId id() { return id_of(input_.below(8)); }
  uint64_t handle();
  proto::BodyOut body();
  proto::AttributeEntries terms();
  void flag(proto::Attribute key) { attributes_.flag(key); }
  void letter(proto::Attribute key);
  void record(proto::Writer& out);
  void of_client(proto::Writer& out);
  void of_worker(proto::Writer& out);
  void control(proto::Writer& out);
  void of_any_kind(proto::Writer& out);
  void value(proto::Packer& p, int depth);
  static Packet packed(proto::Writer& out);

  Input& input_;
  std::array<Peer, kConnections> peers_;
  std::vector<uint64_t> handles_;
  uint64_t request_ = 0;
  proto::AttributeWriter attributes_;
};

}  // namespace tusk::fuzz
