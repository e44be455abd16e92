// What clients ask, with sessions, with REQ and on the plain edges.
#include <algorithm>

#include "proto/lz4.h"
#include "tests/simulation/wish.h"
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

std::string World::body(uint32_t pick) const {
  const size_t most = config_->tuskd.limits.max_body;
  if (pick % 16 == 5 && most <= 10'000) return std::string(most + pick / 16 % 2, 'm');
  if (scene_.big_bodies && pick % 8 == 7) return std::string(8200 + pick % 600, 'x');
  if (pick % 16 == 3) return std::string(200, 'y');
  return std::to_string(pick % 5);
}

// Ids have numbers that the adversary chooses: one that was used before comes with its name and
// body.
World::Known World::known(uint32_t number, const std::string& name, uint32_t body_pick,
                          bool* again) {
  auto it = known_.find(number);
  if (again) *again = it != known_.end();
  if (it != known_.end()) return it->second;
  return known_[number] = {id_of(number), name, body(body_pick)};
}

TaskId World::id_of(uint32_t number) const {
  auto it = known_.find(number);
  if (it != known_.end()) return it->second.id;
  const uint64_t unix_ms = 1'700'000'000'000 + static_cast<uint64_t>(now_ / kMillisecond);
  return TaskId::make_v7(unix_ms, 0, (number + 1) * 0x9E3779B97F4A7C15u);
}

void World::submit(Peer& peer, const Decision& d) {
  const uint32_t how = d.with[2];
  bool again;
  Known task = known(d.with[3], kTypes[d.with[1] % kTypes.size()], how / 7, &again);
  if (again && how % 13 == 0) task.body += "!";
  if (again && how % 17 == 0) task.name = kTypes[d.with[1] % kTypes.size()];
  Ask ask{.kind = Kind::kSubmit,
          .id = task.id,
          .name = task.name,
          .body = task.body,
          .reply = how % 5 < 3 ? 0 : how % 5 - 2,
          .wait = how % 11 == 0 ? 1 + how % 700 : 0};
  AttributeWriter attributes;
  if (ask.reply) attributes.number(Attribute::kReply, ask.reply);
  if (ask.wait) attributes.number(Attribute::kWait, ask.wait);
  if (again || how % 19 == 0) attributes.flag(Attribute::kResent);
  if (how % 23 == 0) attributes.flag(Attribute::kRerunOk);
  if (how % 7 == 1) ask.trace = "t" + std::to_string(how % 3);
  if (!ask.trace.empty()) attributes.text(Attribute::kTrace, ask.trace);
  AttributeWriter terms;
  write_wish(terms, d.with[4], scene_.features);
  ask.terms = terms.entries();
  ask.term_count = terms.count();
  attributes.raw(terms.entries(), terms.count());
  if (how % 29 == 0) attributes.number(static_cast<Attribute>(201), 1);  // an unknown promise
  if (how % 31 == 0) attributes.number(Attribute::kCompression, 1);      // and no LZ4 frame
  if (how % 31 == 1 && !again) {  // one that becomes just as large as it may, or too large
    attributes.number(Attribute::kCompression, 1);
    const size_t most = std::min<size_t>(config_->tuskd.limits.max_body, 20'000);
    task.body = proto::lz4_compress(std::string(most + how / 31 % 2, 'z'));
    known_[d.with[3]].body = ask.body = task.body;
  }
  const uint64_t number =
      how % 37 == 0 && !peer.asks.empty() ? peer.asks.begin()->first : peer.next_request();
  if (number != peer.next_request()) {  // a request number that is in use
    if (!peer.spec.acks && !peer.greeted) return;
    return peer.send([&](Writer& out) {
      out.submit(number, task.id, task.name, body_out(task.body), attributes);
    });
  }
  peer.ask(std::move(ask), [&](Writer& out) {
    out.submit(number, task.id, task.name, body_out(task.body), attributes);
  });
}

void World::push(Peer& peer, const Decision& d) {
  const uint32_t how = d.with[2];
  const std::string stage = how % 29 == 0 ? "nowhere" : kStages[d.with[1] % kStages.size()];
  bool again;
  const Known item = known(d.with[3], stage, how / 7, &again);
  AttributeWriter attributes;
  if (again) attributes.flag(Attribute::kResent);
  if (how % 7 == 1) attributes.text(Attribute::kTrace, "t");
  const std::string name = how % 13 == 0 ? stage : item.name;
  if (how % 23 == 0 && !peer.asks.empty() && peer.greeted) {  // a number that is in use
    const uint64_t number = peer.asks.rbegin()->first;
    return peer.send(
        [&](Writer& out) { out.push(number, item.id, name, body_out(item.body), attributes); });
  }
  const uint64_t number = peer.next_request();
  peer.ask({.kind = Kind::kPush, .id = item.id, .name = name, .body = item.body},
           [&](Writer& out) { out.push(number, item.id, name, body_out(item.body), attributes); });
}

void World::cancel(Peer& peer, uint32_t id) {
  const TaskId task = id_of(id);
  const uint64_t number = peer.next_request();
  peer.ask({.kind = Kind::kCancel, .id = task, .name = {}, .body = {}},
           [&](Writer& out) { out.cancel(number, task); });
}

void World::publish(Peer& peer, const Decision& d) {
  const uint32_t how = d.with[2];
  const std::string topic = how % 17 == 0 ? "pieces" : kTopics[d.with[1] % kTopics.size()];
  AttributeWriter attributes;
  if (how % 7 == 1) attributes.text(Attribute::kTrace, "t");
  if (how % 31 == 7) attributes.number(Attribute::kMissed, 7);  // the broker's word alone
  const BodyOut sent = how % 11 == 5 ? BodyOut::none() : body_out(body(how / 7));
  if (how % 3 == 0) {
    return peer.send([&](Writer& out) { out.publish(0, topic, sent, attributes); });
  }
  const uint64_t number = peer.next_request();
  peer.ask({.kind = Kind::kPublish, .id = {}, .name = topic, .body = {}},
           [&](Writer& out) { out.publish(number, topic, sent, attributes); });
}

void World::subscribe(Peer& peer, const Decision& d) {
  const uint32_t how = d.with[2];
  std::string topic = how % 17 == 0 ? "nothing" : kTopics[d.with[1] % kTopics.size()];
  if (how % 5 == 3) topic = kPatterns[d.with[1] % kPatterns.size()];
  const uint64_t number = peer.next_request();
  const bool leave = how % 4 == 1;
  AttributeWriter attributes;
  if (how / 4 % 3 == 0) attributes.number(Attribute::kSlow, 1);
  peer.ask(
      {.kind = leave ? Kind::kUnsubscribe : Kind::kSubscribe, .id = {}, .name = topic, .body = {}},
      [&](Writer& out) {
        leave ? out.unsubscribe(number, topic) : out.subscribe(number, topic, attributes);
      });
  leave ? (void)peer.subscribed.erase(topic) : (void)peer.subscribed.insert(topic);
}

void World::query(Peer& peer, const Decision& d) {
  static const char* kWhat[] = {"task",  "task",   "task",   "status", "workers",
                                "types", "stages", "topics", "weather"};
  const char* what = kWhat[d.with[1] % std::size(kWhat)];
  const bool task = std::string_view(what) == "task" && d.with[2] % 20 != 0;
  const uint64_t number = peer.next_request();
  peer.ask({.kind = Kind::kQuery, .id = {}, .name = what, .body = {}}, [&](Writer& out) {
    out.start(Kind::kQuery, task ? 4 : 3).pack_uint64(number);
    out.text(what);
    if (!task) return;
    const TaskId id = id_of(d.with[2]);
    out.packer().pack_map(1);
    out.text("id");
    out.packer().pack_bin(16);
    out.packer().pack_bin_body(reinterpret_cast<const char*>(id.bytes.data()), 16);
  });
}

void World::control(Peer& peer, const Decision& d) {
  const uint32_t how = d.with[2];
  const uint64_t number = peer.next_request();
  peer.ask({.kind = Kind::kControl, .id = {}, .name = {}, .body = {}}, [&](Writer& out) {
    proto::Packer& p = out.start(Kind::kControl, 4);
    p.pack_uint64(number);
    const bool unblock = scene_.features.order_keys && how % 2 == 1;
    out.text(how % 19 == 0 ? "explode" : unblock ? "unblock" : "pause");
    p.pack_map(unblock ? 3 : 2);
    out.text("type");
    out.text(how % 17 == 0 ? "nothing" : kTypes[d.with[1] % (unblock ? 2 : kTypes.size())]);
    if (unblock) {
      out.text("key");
      how % 23 == 0 ? (void)p.pack_nil() : out.text(how % 4 == 1 ? "o" : "p");
    }
    out.text("ms");
    if (how % 13 == 0) {
      p.pack_nil();
    } else {
      p.pack_uint64(how % 3 == 0 ? 0 : how % 300);
    }
  });
}

// --- REQ peers and plain edges -------------------------------------------------------------------

void World::request(const Decision& d) {
  ReqPeer& req = reqs_[d.with[0] % reqs_.size()];
  if (req.connection == kNoConnection) {
    req.connection = network_.open(static_cast<uint32_t>(1000 + d.with[0] % reqs_.size()));
  }
  Writer out;
  const uint64_t number = ++req.requests;
  const std::string& type = kTypes[d.with[2] % kTypes.size()];
  const uint32_t how = d.with[1];
  switch (how % 12) {
    case 0:
    case 1:
    case 2:
    case 3: {
      const Known task = known(d.with[3], type, how);
      AttributeWriter attributes;
      if (how % 12 == 1) attributes.number(Attribute::kReply, 1);
      if (how % 12 == 2) attributes.number(Attribute::kWait, 1 + how % 300);
      if (how % 12 == 3 && how % 3 == 0) attributes.number(Attribute::kReply, 2);
      write_wish(attributes, d.with[4], scene_.features);
      out.submit(number, task.id, task.name, body_out(task.body), attributes);
      break;
    }
    case 4: {
      const Known item = known(d.with[3], kStages[d.with[2] % kStages.size()], how);
      out.push(number, item.id, item.name, body_out(item.body), {});
      break;
    }
    case 5:
      out.publish(number, kTopics[d.with[2] % kTopics.size()], BodyOut::copied("req"), {});
      break;
    case 6:
      out.ping(number);
      break;
    case 7:
      out.cancel(number, id_of(d.with[3]));
      break;
    case 8:
      out.subscribe(number, "prices");
      break;
    case 9:
      out.ping(1);
      out.ping(2);
      break;
    case 10:
      out.start(static_cast<Kind>(26), 2).pack_uint64(number);
      break;
    default:
      out.packer().pack_nil();
  }
  if (out.records().size() == 0) return;
  const std::string envelope = "e" + std::to_string(number % 3);
  network_[req.connection].in.push_back(
      {Bytes::copy(out.records().view()), std::move(out.frames()), envelope});
}

void World::edge(const Decision& d) {
  Writer out;
  const uint32_t how = d.with[2];
  if (d.with[0] % 2 == 0) {
    const std::string topic = kTopics[d.with[1] % kTopics.size()];
    out.event(99, how % 5 == 0 ? "other" : topic, BodyOut::copied("edge"), {});
    for (uint32_t i = 0; i <= how % 13 * (how % 3); ++i) {
      out.event(1, topic, BodyOut::copied("edge " + std::to_string(i)), {});
    }
    if (how % 7 == 0) out.packer().pack_nil();
    const std::string frame = topic + (how % 11 == 0 ? "" : std::string(1, '\0'));
    const std::string records(out.records().view());
    return step(core::EdgeEvents{frame, records, {}});
  }
  if (!broker_->takes_edge_items()) return;
  const Known item = known(d.with[1], kStages[d.with[1] % kStages.size()], how);
  out.push(0, item.id, item.name, body_out(item.body), {});
  if (how % 5 == 0) out.ping(1);
  const std::string records(out.records().view());
  const std::vector<Bytes> bodies = std::move(out.frames());
  step(core::EdgeItems{records, bodies});
}

}  // namespace tusk::simulation
