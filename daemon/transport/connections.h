// The ROUTER's peers by number. libzmq gives every connection a routing id of its own (five bytes,
// the first 0) and tells of its end by its descriptor, which the next connection may get at once:
// so this keeps, per descriptor, which connection it belongs to now.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/core/event.h"

namespace tusk::transport {

class Connections {
 public:
  // The number of the connection with this routing id, or nothing if it is new (or not libzmq's
  // own five bytes: peers set no routing ids).
  std::optional<core::ConnectionId> find(std::string_view routing_id) const {
    auto it = by_routing_id_.find(key(routing_id));
    if (it == by_routing_id_.end()) return std::nullopt;
    return it->second;
  }

  static bool is_own(std::string_view routing_id) {
    return routing_id.size() == 5 && routing_id[0] == 0;
  }

  // A new connection; `descriptor` is -1 if unknown.
  core::ConnectionId add(std::string_view routing_id, int descriptor) {
    core::ConnectionId id;
    if (free_.empty()) {
      id = static_cast<core::ConnectionId>(peers_.size());
      peers_.emplace_back();
    } else {
      id = free_.back();
      free_.pop_back();
    }
    peers_[id] = {key(routing_id), descriptor, true};
    by_routing_id_[key(routing_id)] = id;
    if (descriptor >= 0) by_descriptor_[descriptor] = id;
    return id;
  }

  // The connection that the descriptor belonged to has ended: its number, if it ever sent anything.
  // The number stays taken until remove().
  std::optional<core::ConnectionId> descriptor_closed(int descriptor) {
    auto it = by_descriptor_.find(descriptor);
    if (it == by_descriptor_.end()) return std::nullopt;
    core::ConnectionId id = it->second;
    by_descriptor_.erase(it);
    peers_[id].descriptor = -1;
    return id;
  }

  bool is_open(core::ConnectionId id) const { return id < peers_.size() && peers_[id].open; }

  void remove(core::ConnectionId id) {
    Peer& peer = peers_[id];
    if (!peer.open) return;
    by_routing_id_.erase(peer.routing_key);
    if (peer.descriptor >= 0) by_descriptor_.erase(peer.descriptor);
    peer = {};
    free_.push_back(id);
  }

  // Writes the five bytes of the routing id.
  void routing_id(core::ConnectionId id, char* out) const {
    const uint32_t k = peers_[id].routing_key;
    out[0] = 0;
    for (int i = 0; i < 4; ++i) out[1 + i] = static_cast<char>(k >> (24 - 8 * i));
  }

  size_t size() const { return by_routing_id_.size(); }

 private:
  struct Peer {
    uint32_t routing_key = 0;
    int descriptor = -1;
    bool open = false;
  };

  static uint32_t key(std::string_view routing_id) {
    uint32_t k = 0;
    for (size_t i = 1; i < 5; ++i) k = k << 8 | static_cast<unsigned char>(routing_id[i]);
    return k;
  }

  std::vector<Peer> peers_;
  std::vector<core::ConnectionId> free_;
  std::unordered_map<uint32_t, core::ConnectionId> by_routing_id_;
  std::unordered_map<int, core::ConnectionId> by_descriptor_;
};

}  // namespace tusk::transport
