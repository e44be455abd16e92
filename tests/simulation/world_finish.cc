// No more faults: everybody comes back, workers answer, time passes. Then every request has had its
// answer and every task its ending; and when all have left, nothing is held.
#include <algorithm>

#include "tests/simulation/world.h"

namespace tusk::simulation {

using proto::State;
using proto::Writer;

namespace {
constexpr int kRounds = 150;  // far longer than all time-outs of a scene together
}

void World::finish() {
  if (trace_) note("--- no more faults (packets that only acknowledge are left out)");
  finishing_ = true;
  while (notice_connection(0)) {
  }
  for (size_t i = watched_.size(); i > 0 && !stopped_; --i) notice_process(0);
  if (stopped_ || stopping_) restart(0);
  for (auto& peer : peers_) {  // an error may have been about rubbish, or about its session: who
                               // sent some connects again
    if (!peer->misbehaved || peer->connection == kNoConnection) continue;
    network_.cut(peer->connection, 0, SIZE_MAX);
    peer->lost();
  }
  all_come_back();
  for (int round = 0; round < kRounds; ++round) {
    flow(2);
    if (round > 2 && quiet()) break;
    if (stopped_) restart(0);
    for (auto& peer : peers_) {
      for (int i = 0; i < 40; ++i) answer(*peer, 0, 15);
      peer->acknowledge();
    }
    if (round % 10 == 0) all_come_back();
    if (round % 5 == 4) help();
    if (scene_.features.order_keys) unblock();
    advance_to(now_ + milliseconds(round < 20 ? 20 : 150));
  }
  const std::vector<std::string> left = model_.unfinished();
  ++coverage_[static_cast<size_t>(Rule::liveness)];
  if (!left.empty()) throw Broken{Rule::liveness, left[0] + " long after the last fault"};
  for (const auto& peer : peers_) {
    if (peer->asks.empty() || peer->refused) continue;  // some the config does not let in
    const auto& [number, ask] = *peer->asks.begin();
    throw Broken{Rule::liveness, "peer " + std::to_string(network_[peer->connection].owner) +
                                     " never got an answer to its request " +
                                     std::to_string(number) + ", a " +
                                     std::string(proto::kind_name(ask.kind))};
  }
  check_at_rest();
}

// Whether every request has its answer and every task its ending. Those whom the config does not
// let in have asked for nothing.
bool World::quiet() const {
  return model_.unfinished().empty() &&
         std::all_of(peers_.begin(), peers_.end(), [](const std::unique_ptr<Peer>& peer) {
           return peer->refused || peer->asks.empty();
         });
}

void World::all_come_back() {
  for (auto& peer : peers_) {
    if (peer->retired) continue;
    if (peer->connection == kNoConnection || !peer->greeted) connect(*peer, 0);
    if (peer->spec.worker && peer->greeted) {
      peer->send([&](Writer& out) { out.slots(peer->spec.slots); });
    }
  }
}

// An operator lets the order keys go on.
void World::unblock() {
  if (!operator_) {
    add_peer({.client = true});
    operator_ = peers_.back().get();
  }
  if (!operator_->greeted) return connect(*operator_, 0);
  for (size_t which = 0; which < 4; ++which) {
    const uint64_t number = operator_->next_request();
    operator_->ask({.kind = Kind::kControl, .id = {}, .name = {}, .body = {}}, [&](Writer& out) {
      proto::Packer& p = out.start(Kind::kControl, 4);
      p.pack_uint64(number);
      out.text("unblock");
      p.pack_map(2);
      out.text("type");
      out.text(which % 2 == 0 ? "add" : "mul");
      out.text("key");
      out.text(which / 2 == 0 ? "o" : "p");
    });
  }
}

// One worker at a time for what nobody else serves: of one type, or for the items.
void World::help() {
  const bool for_items = helper_ && helper_->spec.types.empty();
  if (helper_ && !for_items && model_.holds(helper_->spec.types[0], false)) {
    return connect(*helper_, 0);
  }
  if (helper_) {
    bye(*helper_);
    helper_->retired = true;
  }
  helper_ = nullptr;
  for (size_t which = 0; which <= kTypes.size(); ++which) {
    const bool items = which == kTypes.size();
    if (!model_.holds(items ? "" : kTypes[which], items)) continue;
    PeerSpec spec{.worker = true, .slots = 50};
    if (items) {
      spec.handlers = kStages;
      spec.language = items_by_cpp_ ? "cpp" : "python";  // a stage may want either
      items_by_cpp_ = !items_by_cpp_;
    } else {
      spec.types = {kTypes[which]};
      spec.pool = config_->type(kTypes[which]).pool.value_or("");
    }
    add_peer(spec);
    helper_ = peers_.back().get();
    return connect(*helper_, 0);
  }
}

// Everybody leaves; after session_ttl an operator who asks for the status sees that nothing is
// left.
void World::check_at_rest() {
  for (auto& peer : peers_) peer->send([](Writer& out) { out.bye("done"); });
  flow(1);
  for (ConnectionId id = 0; id < network_.size(); ++id) {
    if (network_[id].state == Wire::State::kOpen) network_.cut(id, 0, 0);
  }
  while (notice_connection(0)) {
  }
  advance_to(now_ + milliseconds(30'000));
  Writer out;
  out.start(Kind::kQuery, 3).pack_uint64(1);
  out.text("status");
  const std::string records(out.records().view());
  const ConnectionId id = network_.open(9999);
  step(core::PacketReceived{id, records, {}, ""});
  proto::Decoder decoder;
  const proto::Decoded answer = decoder.decode(network_[id].out.front().records.view(), 0);
  const proto::Value status = answer.records[0].value;
  ++coverage_[static_cast<size_t>(Rule::at_rest)];
  for (const char* name :
       {"sessions", "workers", "waiting", "running", "kept_endings", "held_bytes", "timers"}) {
    const uint64_t value = status.get(name).number().value_or(UINT64_MAX);
    // Topics keep their last events.
    const uint64_t kept = std::string_view(name) == "held_bytes" ? model_.kept_bytes() : 0;
    if (value != kept) {
      throw Broken{Rule::at_rest,
                   "everybody has left and the broker holds " + std::to_string(value) + " " + name};
    }
  }
}

}  // namespace tusk::simulation
