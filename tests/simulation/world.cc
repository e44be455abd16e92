#include "tests/simulation/world.h"

#include <algorithm>

#include "proto/json.h"

namespace tusk::simulation {

World::World(const Scene& scene, Coverage& coverage, std::string* trace)
    : scene_(scene),
      coverage_(coverage),
      trace_(trace),
      model_(coverage),
      config_(scene.config(0)),
      now_(3600 * 1000 * kMillisecond) {
  for (const PeerSpec& spec : scene.peers) add_peer(spec);
  reqs_.resize(scene.reqs);
  start_broker();
}

void World::add_peer(const PeerSpec& spec) {
  peers_.push_back(std::make_unique<Peer>(static_cast<uint32_t>(peers_.size()), spec));
  peers_.back()->transmit = [this, peer = peers_.back().get()](Packet packet) {
    if (peer->connection != kNoConnection) {
      network_[peer->connection].in.push_back(std::move(packet));
    }
  };
}

void World::start_broker() {
  ++starts_;
  machine_ = {.epoch = 1000 + starts_,
              .boot_id = kBootId,
              .pid_namespace = kPidNamespace,
              .events_out = scene_.events_out,
              .pipeline_out = scene_.pipeline_out};
  broker_ =
      std::make_unique<BrokerBox>(config_, machine_, scene_.seed * 1000 + starts_ * 77 + 1, now_);
  model_.start(config_, machine_, now_);
  stopped_ = stopping_ = false;
}

// --- the boundary --------------------------------------------------------------------------------

void World::step(std::span<const core::Event> events) {
  ++steps_;
  actions_.clear();
  broker_->step(now_, events, actions_);
  try {
    model_.step(now_, events, actions_);
  } catch (const Broken&) {
    if (trace_) carry_out(actions_);  // what it was that broke the promise
    throw;
  }
  carry_out(actions_);
  // As the daemon does: what is due now is done before anything else happens.
  if (stopped_ || broker_->next_wake() > now_) return;
  if (++ticks_ > 1000) throw Broken{Rule::time, "the broker wakes for nothing, again and again"};
  step(core::Tick{});
  ticks_ = 0;
}

void World::carry_out(const core::Actions& actions) {
  for (const core::Send& send : actions.sends) {
    Wire& wire = network_[send.connection];
    Packet packet{send.records, send.bodies, send.envelope};
    if (trace_) note_packet("  <- broker to ", send.connection, packet);
    if (wire.state == Wire::State::kOpen) wire.out.push_back(std::move(packet));
  }
  for (const core::Watch& watch : actions.watches) watched_.push_back({watch.session, watch.pid});
  for (const core::Unwatch& unwatch : actions.unwatches) {
    std::erase_if(watched_, [&](const auto& w) { return w.first == unwatch.session; });
  }
  stopped_ |= actions.stopped;
  if (actions.reload && actions.reload->refused.empty()) config_ = reloaded_;
}

// Time passes, and the broker wakes whenever it asked to. So does the model when its own alarm is
// due: a broker that overslept is found then.
void World::advance_to(Nanos time) {
  while (!stopped_) {
    const Nanos wake = std::max(std::min(broker_->next_wake(), model_.next_alarm()), now_);
    if (wake > time) break;
    now_ = wake;
    step(core::Tick{});
  }
  now_ = std::max(now_, time);
  for (auto& peer : peers_) {
    if (peer->owes_ack() && !peer->spec.lazy) peer->acknowledge();
  }
}

void World::deliver(ConnectionId id, size_t count) {
  for (size_t i = 0; i < count && !network_[id].in.empty() && !stopped_; ++i) {
    const Packet packet = std::move(network_[id].in.front());
    network_[id].in.pop_front();
    if (trace_) note_packet("  -> ", id, packet);
    std::optional<std::string_view> envelope;
    if (packet.envelope) envelope = *packet.envelope;
    step(core::PacketReceived{id, packet.records.view(), packet.bodies, envelope});
  }
}

// Packets of many peers before the broker answers. A hello and a bye are handled alone: what the
// broker says to a session that ends before it is sent, nobody sees.
void World::deliver_burst(size_t count) {
  std::vector<std::pair<ConnectionId, Packet>> packets;
  proto::Decoder decoder;
  auto alone = [&](const Packet& packet) {
    const proto::Decoded decoded = decoder.decode(packet.records.view(), packet.bodies.size());
    return std::any_of(decoded.records.begin(), decoded.records.end(), [](const auto& record) {
      return record.kind == Kind::kHello || record.kind == Kind::kBye;
    });
  };
  for (size_t round = 0; round < count; ++round) {
    for (ConnectionId id = 0; id < network_.size(); ++id) {
      Wire& wire = network_[id];
      if (wire.in.empty() || alone(wire.in.front())) continue;
      packets.emplace_back(id, std::move(wire.in.front()));
      wire.in.pop_front();
    }
  }
  std::vector<core::Event> events;
  for (const auto& [id, packet] : packets) {
    if (trace_) note_packet("  => ", id, packet);
    std::optional<std::string_view> envelope;
    if (packet.envelope) envelope = *packet.envelope;
    events.push_back(core::PacketReceived{id, packet.records.view(), packet.bodies, envelope});
  }
  if (!events.empty() && !stopped_) step(events);
  for (ConnectionId id = 0; id < network_.size(); ++id) deliver(id, 1);
}

void World::peer_reads(Peer& peer, size_t count) {
  for (size_t i = 0; i < count && peer.connection != kNoConnection; ++i) {
    std::deque<Packet>& out = network_[peer.connection].out;
    if (out.empty()) return;
    const Packet packet = std::move(out.front());
    out.pop_front();
    peer.receive(packet);
    // Told that it has no session: it says hello where it is.
    if (peer.wants_hello && peer.connection != kNoConnection) peer.connected(peer.connection, 0);
  }
}

void World::flow(size_t rounds) {
  for (size_t round = 0; round < rounds && !stopped_; ++round) {
    for (ConnectionId id = 0; id < network_.size(); ++id) {
      deliver(id, SIZE_MAX);
      if (network_[id].owner >= peers_.size()) network_[id].out.clear();  // REQ peers
    }
    for (auto& peer : peers_) peer_reads(*peer, SIZE_MAX);
  }
}

// --- ends that the broker learns of --------------------------------------------------------------

// The end of a cut connection, behind its last packet; false if there is none.
bool World::notice_connection(size_t which) {
  std::vector<ConnectionId> ended;
  for (ConnectionId id = 0; id < network_.size(); ++id) {
    if (network_[id].state == Wire::State::kCut) ended.push_back(id);
  }
  if (ended.empty()) return false;
  const ConnectionId id = ended[which % ended.size()];
  deliver(id, SIZE_MAX);
  if (stopped_) return false;
  if (trace_) note("  the broker learns that connection " + std::to_string(id) + " ended");
  step(core::Disconnected{id});
  network_.close(id);
  return true;
}

void World::notice_process(size_t which) {
  std::vector<uint64_t> ended;
  for (const auto& [session, pid] : watched_) {
    if (std::find(dead_.begin(), dead_.end(), pid) != dead_.end()) ended.push_back(session);
  }
  if (ended.empty()) return;
  const uint64_t session = ended[which % ended.size()];
  std::erase_if(watched_, [&](const auto& w) { return w.first == session; });
  if (trace_)
    note("  the broker learns that the process of session " + std::to_string(session) + " ended");
  step(core::ProcessEnded{session});
}

// The broker's process ends and another starts. What peers had queued and not sent may stay in
// their sockets: it reaches the new broker in front of their hello.
void World::restart(uint32_t keep) {
  std::vector<std::deque<Packet>> queued(peers_.size());
  for (ConnectionId id = 0; id < network_.size(); ++id) {
    Wire& wire = network_[id];
    if (wire.state == Wire::State::kOpen && wire.owner < peers_.size()) {
      queued[wire.owner] = std::move(wire.in);
    }
  }
  network_.reset();
  watched_.clear();
  for (ReqPeer& req : reqs_) req.connection = kNoConnection;
  start_broker();
  for (auto& peer : peers_) {
    const size_t index = static_cast<size_t>(&peer - peers_.data());
    const bool silent = keep >> (index % 8) & 1;
    if (peer->connection == kNoConnection) continue;
    const bool was_greeted = peer->greeted;
    peer->lost();
    if (!silent || !was_greeted) continue;
    const ConnectionId id = network_.open(static_cast<uint32_t>(index));
    network_[id].in = std::move(queued[index]);
    if (keep >> 8 & 1) {  // it has not noticed anything
      peer->connection = id;
      peer->greeted = true;
    } else {
      peer->connected(id, 0);
    }
  }
}

// --- the account ---------------------------------------------------------------------------------

void World::note(const std::string& text) {
  const int64_t us = (now_ - 3600 * 1000 * kMillisecond) / 1000;
  char time[32];
  std::snprintf(time, sizeof time, "%8lld.%03lld ms  ", static_cast<long long>(us / 1000),
                static_cast<long long>(us % 1000));
  *trace_ += time + text + "\n";
}

void World::note_packet(const char* arrow, ConnectionId id, const Packet& packet) {
  proto::Decoder decoder;
  const proto::Decoded decoded = decoder.decode(packet.records.view(), packet.bodies.size());
  const bool lone = decoded.ok() && decoded.records.size() == 1;
  if (finishing_ && lone && decoded.records[0].kind == Kind::kHeader) return;
  std::string text = arrow + std::to_string(id);
  const uint32_t owner = network_[id].owner;
  text += owner < peers_.size() ? " (peer " + std::to_string(owner) + ")" : " (REQ)";
  if (!decoded.ok()) text += std::string(": rubbish, ") + decoded.malformed.why;
  for (const proto::Record& r : decoded.records) {
    text += "\n" + std::string(24, ' ') + std::string(proto::kind_name(r.kind)) + " " +
            std::to_string(r.ref);
    if (r.kind == Kind::kHeader) {
      text += " seq " + std::to_string(r.seq) + " ack " + std::to_string(r.ack);
    }
    if (!r.name.empty()) text += " " + std::string(r.name);
    if (r.has_id()) text += " id .." + r.id().hex().substr(24);
    if (r.kind == Kind::kResult) text += " " + std::string(proto::state_name(r.state));
    if (r.attempt) text += " attempt " + std::to_string(r.attempt);
    if (!r.message.empty()) text += ": " + std::string(r.message);
    if (r.attributes.all.size() > 0) text += " " + proto::value_to_json(r.attributes.all).dump();
    if (r.kind == Kind::kAnswer) text += " " + proto::value_to_json(r.value).dump();
    for (const char* key : {"session", "resumed", "claims"}) {
      const proto::Value value = r.value.get(key);
      if (value) text += std::string(" ") + key + " " + proto::value_to_json(value).dump();
    }
  }
  note(text);
}

}  // namespace tusk::simulation
