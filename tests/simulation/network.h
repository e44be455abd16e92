// Connections as ZeroMQ gives them: in order, both ways, and cut without a word. What was sent
// before a cut arrives up to some packet; the rest is lost. The broker learns of the end later,
// after the last packet; the peer may learn of it at once, or go on sending on a new connection.
#pragma once

#include <algorithm>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "daemon/core/event.h"

namespace tusk::simulation {

using core::ConnectionId;
using core::kNoConnection;

struct Packet {
  proto::Bytes records;
  std::vector<proto::Bytes> bodies = {};
  std::optional<std::string> envelope = {};
};

struct Wire {
  enum class State : uint8_t { kFree, kOpen, kCut } state = State::kFree;
  uint32_t owner = 0;      // which peer, or REQ peer behind them
  std::deque<Packet> in;   // to the broker
  std::deque<Packet> out;  // to the peer
};

class Network {
 public:
  // The lowest number that is free: it is so again only when the broker knows of the end.
  ConnectionId open(uint32_t owner) {
    ConnectionId id = 0;
    while (id < wires_.size() && wires_[id].state != Wire::State::kFree) ++id;
    if (id == wires_.size()) wires_.emplace_back();
    wires_[id] = {.state = Wire::State::kOpen, .owner = owner, .in = {}, .out = {}};
    return id;
  }

  // The last `lose_in` packets to the broker are lost, and the last `lose_out` to the peer; those
  // that are not are returned, for the peer to read.
  std::deque<Packet> cut(ConnectionId id, size_t lose_in, size_t lose_out) {
    Wire& wire = wires_[id];
    wire.in.resize(wire.in.size() - std::min(lose_in, wire.in.size()));
    wire.out.resize(wire.out.size() - std::min(lose_out, wire.out.size()));
    wire.state = Wire::State::kCut;
    return std::exchange(wire.out, {});
  }

  // The broker was told.
  void close(ConnectionId id) { wires_[id] = {}; }
  void reset() { wires_.clear(); }

  Wire& operator[](ConnectionId id) { return wires_[id]; }
  size_t size() const { return wires_.size(); }

 private:
  std::deque<Wire> wires_;
};

}  // namespace tusk::simulation
