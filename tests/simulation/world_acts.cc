// What each decision does. Numbers are taken modulo what there is.
#include <algorithm>

#include "proto/lz4.h"
#include "tests/simulation/world.h"

namespace tusk::simulation {

using proto::Attribute;
using proto::AttributeWriter;
using proto::BodyOut;
using proto::Bytes;
using proto::State;
using proto::Writer;

namespace {

BodyOut body_out(const std::string& body) {
  if (body.size() < proto::kFrameBody) return BodyOut::copied(body);
  return {true, {}, Bytes::copy(body)};
}

}  // namespace

void World::apply(const Decision& d) {
  if (trace_) note(to_text(d));
  Peer& p = peer(d.with[0]);
  switch (d.act) {
    case Act::connect:
      connect(p, d.with[1]);
      break;
    case Act::cut:
      cut(p, d);
      break;
    case Act::notice:
      if (d.with[0] % 2 == 0 || !notice_connection(d.with[0] / 2)) notice_process(d.with[0] / 2);
      break;
    case Act::die:
      die(p, d.with[1]);
      break;
    case Act::bye:
      bye(p);
      break;
    case Act::deliver:
      if (p.connection != kNoConnection) deliver(p.connection, 1 + d.with[1] % 8);
      break;
    case Act::burst:
      deliver_burst(1 + d.with[0] % 8);
      break;
    case Act::read:
      peer_reads(p, 1 + d.with[1] % 8);
      break;
    case Act::flow:
      flow(1 + d.with[0] % 3);
      break;
    case Act::submit:
      submit(p, d);
      break;
    case Act::push:
      push(p, d);
      break;
    case Act::cancel:
      cancel(p, d.with[1]);
      break;
    case Act::publish:
      publish(p, d);
      break;
    case Act::subscribe:
      subscribe(p, d);
      break;
    case Act::query:
      query(p, d);
      break;
    case Act::answer:
      answer(p, d.with[1], d.with[2]);
      break;
    case Act::answer_all:
      answer_all(p, d.with[1]);
      break;
    case Act::put_off:
      put_off(p, d);
      break;
    case Act::control:
      control(p, d);
      break;
    case Act::wrong:
      wrong(p, d);
      break;
    case Act::slots:
      p.send([&](Writer& out) { out.slots(d.with[1] % 5); });
      break;
    case Act::ack:
      p.acknowledge();
      break;
    case Act::garbage:
      garbage(p, d.with[1]);
      break;
    case Act::request:
      request(d);
      break;
    case Act::hang_up: {
      ReqPeer& req = reqs_[d.with[0] % reqs_.size()];
      if (req.connection != kNoConnection) network_.cut(req.connection, 0, SIZE_MAX);
      req.connection = kNoConnection;
      break;
    }
    case Act::edge:
      edge(d);
      break;
    case Act::advance:
      advance_to(now_ + milliseconds(d.with[0] % 10'000));
      break;
    case Act::reload: {
      reloaded_ = scene_.config(d.with[0] % 64);
      step(core::Reload{reloaded_});
      break;
    }
    case Act::restart:
      restart(d.with[0]);
      break;
    case Act::shutdown:
      stopping_ = true;
      step(core::Shutdown{});
      break;
    case Act::kCount:
      break;
  }
  if (stopped_) restart(0);
}

// --- connections ---------------------------------------------------------------------------------

void World::connect(Peer& peer, uint32_t how) {
  if (peer.connection == kNoConnection) {
    peer.connected(network_.open(peer.index), how);
  } else if (peer.refused) {
    peer.connected(peer.connection, how);
  } else if (how % 4 == 1 || !peer.greeted) {
    peer.transmit(peer.last_hello());  // once more
  }
}

void World::cut(Peer& peer, const Decision& d) {
  if (peer.connection == kNoConnection) return;
  const uint32_t owner = network_[peer.connection].owner;
  const std::deque<Packet> rest = network_.cut(peer.connection, d.with[1] % 4, d.with[2] % 4);
  for (const Packet& packet : rest) peer.receive(packet);
  const bool was_greeted = peer.greeted;
  if (d.with[3] % 4 == 0 && was_greeted && peer.spec.acks) {
    peer.connection = network_.open(owner);  // ZeroMQ connected again, and nobody noticed
    peer.wants_hello = peer.expects_stale = false;
    return;
  }
  peer.lost();
  if (d.with[3] % 4 == 1) peer.connected(network_.open(owner), 0);
}

// It leaves in good order; who comes next in its place knows nothing of it.
void World::bye(Peer& peer) {
  if (!peer.greeted) return;
  peer.send([](Writer& out) { out.bye("done"); });
  network_.cut(peer.connection, 0, SIZE_MAX);
  dead_.push_back(peer.pid);
  peer.new_process();
}

void World::die(Peer& peer, uint32_t how) {
  dead_.push_back(peer.pid);
  if (peer.connection != kNoConnection) {
    network_.cut(peer.connection, how % 3, SIZE_MAX);
  }
  const uint32_t pid = peer.pid;
  peer.new_process();
  if (how % 4 >= 2) return;  // the broker learns of it when the adversary wants
  for (size_t i = 0; i < watched_.size(); ++i) {
    if (watched_[i].second != pid) continue;
    const uint64_t session = watched_[i].first;
    watched_.erase(watched_.begin() + static_cast<long>(i));
    step(core::ProcessEnded{session});
    break;
  }
}

// --- workers -------------------------------------------------------------------------------------

void World::answer(Peer& peer, uint32_t pick, uint32_t how) {
  std::vector<uint64_t> open;
  for (const auto& [handle, run] : peer.runs) {
    if (!run.answered) open.push_back(handle);
  }
  if (open.empty() || (!peer.spec.acks && !peer.greeted)) return;
  peer.send([&](Writer& out) { peer.result(out, open[pick % open.size()], how); });
}

void World::answer_all(Peer& peer, uint32_t how) {
  std::vector<uint64_t> open;
  for (const auto& [handle, run] : peer.runs) {
    if (!run.answered) open.push_back(handle);
  }
  if (open.empty() || (!peer.spec.acks && !peer.greeted)) return;
  const size_t most = config_->tuskd.limits.max_records;
  for (size_t at = 0; at < open.size(); at += most) {
    peer.send([&](Writer& out) {
      for (size_t i = at; i < std::min(at + most, open.size()); ++i) {
        peer.result(out, open[i], how++);
      }
    });
  }
}

void World::put_off(Peer& peer, const Decision& d) {
  std::vector<uint64_t> open;
  for (const auto& [handle, run] : peer.runs) {
    if (!run.answered) open.push_back(handle);
  }
  if (open.empty() || (!peer.spec.acks && !peer.greeted)) return;
  const uint64_t handle = open[d.with[1] % open.size()];
  const uint32_t how = d.with[2], ms = how / 3 % (how % 7 == 0 ? 300 : 30);
  if (how % 3 == 0) return peer.send([&](Writer& out) { out.pause(handle, ms); });
  peer.send([&](Writer& out) {
    out.defer(handle, ms);
    peer.answered(handle);
  });
}

void World::wrong(Peer& peer, const Decision& d) {
  const uint64_t some =
      peer.runs.empty() ? 7 : std::next(peer.runs.begin(), d.with[1] % peer.runs.size())->first;
  auto run = peer.runs.find(some);
  peer.send([&](Writer& out) {
    switch (d.with[2] % 8) {
      case 0:  // a handle of nobody's
        out.result(some + 12'345, State::kSucceeded, BodyOut::copied("x"), {});
        return;
      case 1:  // twice
        out.result(some, State::kSucceeded, BodyOut::copied("1"), {});
        out.result(some, State::kFailed, BodyOut::copied("2"), {});
        break;
      case 2:  // a state that is none
        out.result(some, static_cast<State>(9), {}, {});
        break;
      case 3:  // given back, one of them not its own
      {
        const uint64_t handles[] = {some + 999, some};
        out.returned(5, handles, 2);
        break;
      }
      case 4: {  // an attribute that nobody knows
        AttributeWriter attributes;
        attributes.number(static_cast<Attribute>(203), 1);
        out.result(some, State::kSucceeded, BodyOut::copied("x"), attributes);
        break;
      }
      case 5:  // too large, for some limits
        out.result(some, State::kSucceeded, body_out(std::string(20'000, 'z')), {});
        break;
      case 6:  // a handle of another worker
        for (auto& other : peers_) {
          if (other.get() == &peer || other->runs.empty()) continue;
          out.result(other->runs.begin()->first, State::kSucceeded, BodyOut::copied("x"), {});
          return;
        }
        out.result(0, State::kSucceeded, {}, {});
        return;
      default:  // an error answers no task
        out.error(some, "oops", "cannot");
        return;
    }
    if (run != peer.runs.end()) run->second.answered = peer.next_seq();
  });
  if (!peer.spec.acks && run != peer.runs.end() && run->second.answered) peer.runs.erase(run);
}

// --- rubbish -------------------------------------------------------------------------------------

void World::garbage(Peer& peer, uint32_t how) {
  if (peer.connection == kNoConnection) return;
  peer.misbehaved = true;
  const uint64_t next = peer.next_seq();
  switch (how % 11) {
    case 0:
      return peer.transmit({Bytes::copy("\xc1rubbish")});
    case 1:  // behind a header, so its number counts
      return peer.send([](Writer& out) { out.packer().pack_nil(); });
    case 2:  // a gap
      return peer.send_raw(peer.session, next + 3, [](Writer& out) { out.ping(1); });
    case 3:  // a packet that came already
      if (peer.arrived() == 0) return;
      return peer.send_raw(peer.session, peer.arrived(), [](Writer& out) { out.ping(2); });
    case 4:  // of another session
      peer.expects_stale = true;
      return peer.send_raw(peer.session + 1, next, [](Writer& out) { out.ping(3); });
    case 5:  // records of the other direction, unknown ones, and one that is fine
      return peer.send([](Writer& out) {
        out.accepted(1);
        out.start(static_cast<Kind>(19), 2).pack_int(8);
        out.start(static_cast<Kind>(200), 2).pack_int(9);
        out.ping(4);
      });
    case 6:  // a frame that nobody names
      return peer.send([](Writer& out) {
        out.ping(5);
        out.frames().push_back(Bytes::copy("frame"));
      });
    case 7:  // many records
      return peer.send([](Writer& out) {
        for (int i = 0; i < 9; ++i) out.ping(6);
      });
    case 8:  // many frames
      return peer.send([](Writer& out) {
        for (int i = 0; i < 4; ++i) {
          out.publish(0, "prices", {true, {}, Bytes::copy(std::string(8192, 'f'))}, {});
        }
      });
    case 9:  // many packets that ask for nothing
      for (int i = 0; i < 70; ++i) peer.send([](Writer& out) { out.pong(8); });
      return;
    default:  // a header's number 0 with more than the header
      return peer.send_raw(peer.session, 0, [](Writer& out) { out.ping(7); });
  }
}

}  // namespace tusk::simulation
