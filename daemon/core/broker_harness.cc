#include "daemon/core/broker_harness.h"

#include <algorithm>
#include <numeric>

#include "daemon/messages/compile.h"

namespace tusk::core {

namespace {

std::string text_of(proto::Bytes bytes) { return std::string(bytes.view()); }

Got to_got(const proto::Record& r, const std::vector<proto::Bytes>& bodies) {
  Got got;
  got.kind = r.kind;
  got.ref = r.ref;
  got.name = r.name;
  got.message = r.message;
  got.state = r.state;
  got.attempt = r.attempt;
  got.level = r.level;
  if (r.has_id()) got.id = r.id();
  if (r.body.where == proto::BodyRef::Where::kInline) got.body = std::string(r.body.inline_bytes);
  if (r.body.where == proto::BodyRef::Where::kFrame) {
    got.body = text_of(bodies[r.body.frame - 1]);
    got.body_in_frame = true;
    EXPECT_FALSE(got.body->empty()) << "body frames are never empty";
  }
  uint64_t key = 0;
  bool is_key = true;
  for (proto::Value v : r.attributes.all.items()) {
    if (is_key) {
      key = *v.number();
    } else {
      got.attributes[key] = proto::value_to_json(v);
    }
    is_key = !is_key;
  }
  if (r.value) got.value = proto::value_to_json(r.value);
  EXPECT_TRUE(r.fault.empty()) << "the broker sent a record that is refused: " << r.fault_text;
  return got;
}

}  // namespace

std::vector<Got> decode_all(std::string_view records, const std::vector<proto::Bytes>& bodies) {
  proto::Decoder decoder;
  proto::Decoded decoded = decoder.decode(records, bodies.size());
  EXPECT_TRUE(decoded.ok()) << "the broker sent what does not decode: " << decoded.malformed.why;
  std::vector<Got> out;
  for (const proto::Record& r : decoded.records) {
    out.push_back(to_got(r, bodies));
    if (r.kind == Kind::kCredit) out.back().value = r.time;
    if (r.kind == Kind::kHeader) {  // as the only kind with two more numbers
      out.back().value = Json{{"seq", r.seq}, {"ack", r.ack}};
    }
  }
  return out;
}

// --- Peer ----------------------------------------------------------------------------------------

Peer::Peer(Harness& h, HelloFields f) : fields(std::move(f)), h_(h) {
  const uint32_t pid = h.next_pid();
  instance.assign(fields.instance_size, '\0');
  for (size_t i = 0; i < instance.size() && i < 4; ++i) {
    instance[i] = static_cast<char>(pid >> (8 * i));
  }
  if (fields.name.empty()) fields.name = fields.role + "-" + std::to_string(pid);
}

std::string Peer::hello(bool resume) {
  Writer out;
  proto::Packer& p = out.start(Kind::kHello, 3);
  p.pack_uint64(fields.version);
  const bool works = fields.role != "client";
  p.pack_map(5 + !fields.pool.empty() + (works ? 4 : 0) + (resume ? 2 : 0) +
             (fields.watched ? 3 : 0) + fields.more_count);
  auto entry = [&](const char* key, const std::string& value) {
    out.text(key);
    out.text(value);
  };
  auto number = [&](const char* key, uint64_t value) {
    out.text(key);
    p.pack_uint64(value);
  };
  auto names = [&](const char* key, const std::vector<std::string>& list) {
    out.text(key);
    p.pack_array(static_cast<uint32_t>(list.size()));
    for (const std::string& name : list) out.text(name);
  };
  entry("role", fields.role);
  out.text("instance");
  p.pack_bin(static_cast<uint32_t>(instance.size()));
  p.pack_bin_body(instance.data(), static_cast<uint32_t>(instance.size()));
  entry("language", fields.language);
  out.text("acks");
  fields.acks ? p.pack_true() : p.pack_false();
  entry("name", fields.name);
  if (!fields.pool.empty()) entry("pool", fields.pool);
  if (works) {
    names("types", fields.types);
    names("handlers", fields.handlers);
    number("slots", fields.slots);
    out.text("claims");
    p.pack_array(static_cast<uint32_t>(fields.claims.size()));
    for (const Claim& claim : fields.claims) {
      p.pack_array(4);
      p.pack_bin(16);
      p.pack_bin_body(reinterpret_cast<const char*>(claim.id.bytes.data()), 16);
      p.pack_uint64(claim.attempt);
      out.text(claim.name);
      claim.is_item ? p.pack_true() : p.pack_false();
    }
  }
  if (resume) {
    number("session", session);
    number("ack", received);
  }
  if (fields.watched) {
    number("pid", h_.next_pid());
    number("pid_ns", Harness::kPidNamespace);
    entry("boot_id", Harness::kBootId);
  }
  if (fields.more) fields.more(out);
  return std::string(out.records().view());
}

Peer& Peer::connect(bool resume) {
  if (!connected()) connection = h_.open(this);
  fresh_ = true;
  send_bytes(hello(resume));
  return *this;
}

void Peer::disconnect() {
  if (connected()) h_.close(connection);
  connection = kNoConnection;
}

void Peer::die(bool process_first) {
  const uint64_t was = session;
  if (process_first) h_.handle(ProcessEnded{was});
  disconnect();
  if (!process_first) h_.handle(ProcessEnded{was});
  runs.clear();
}

void Peer::come_back() {
  const uint64_t was = session;
  connect(true);
  if (session != was || !fields.acks) return;
  // What the broker has not received, again, unchanged but for the header's acknowledgement.
  const uint64_t first = next_seq - resendable.size();
  for (size_t i = 0; i < resendable.size(); ++i) {
    if (first + i <= acked) continue;
    std::string packet = resendable[i];
    Writer::fill_header(packet.data(), session, first + i, received);
    send_bytes(packet, bodies_[i]);
  }
}

void Peer::send(const Write& write) {
  Writer out;
  if (fields.acks) out.reserve_header();
  write(out);
  std::string records(out.records().view());
  std::vector<std::string> bodies;
  for (const proto::Bytes& frame : out.frames()) bodies.push_back(text_of(frame));
  if (fields.acks) {
    while (!resendable.empty() && next_seq - resendable.size() <= acked) {
      resendable.erase(resendable.begin());
      bodies_.erase(bodies_.begin());
    }
    resendable.push_back(records);
    bodies_.push_back(bodies);
    Writer::fill_header(records.data(), session, next_seq++, received);
  }
  if (connected()) send_bytes(records, bodies);
}

void Peer::send_raw(uint64_t of_session, uint64_t seq, uint64_t ack, const Write& write) {
  Writer out;
  out.reserve_header();
  if (write) write(out);
  Writer::fill_header(out.records().data(), of_session, seq, ack);
  std::vector<std::string> bodies;
  for (const proto::Bytes& frame : out.frames()) bodies.push_back(text_of(frame));
  send_bytes(out.records().view(), bodies);
}

void Peer::send_bytes(std::string_view records, const std::vector<std::string>& bodies) {
  ASSERT_TRUE(connected());
  std::vector<proto::Bytes> frames;
  for (const std::string& body : bodies) frames.push_back(proto::Bytes::copy(body));
  // In memory of its own, of just this size: reading beyond it is seen by ASan, and keeping a view
  // of it too.
  const std::vector<char> memory(records.begin(), records.end());
  h_.handle(PacketReceived{connection, {memory.data(), memory.size()}, frames, std::nullopt});
}

void Peer::ack() {
  if (connected() && fields.acks) send_raw(session, 0, received, {});
}

uint64_t Peer::submit(const TaskId& id, std::string_view type, std::string_view body,
                      const Attrs& attributes) {
  const uint64_t number = request();
  const BodyOut out = body.size() < proto::kFrameBody ? BodyOut::copied(body)
                                                      : BodyOut{true, {}, proto::Bytes::copy(body)};
  send([&](Writer& w) { w.submit(number, id, type, out, attributes); });
  return number;
}

uint64_t Peer::push(const TaskId& id, std::string_view stage, std::string_view body,
                    const Attrs& attributes) {
  const uint64_t number = request();
  send([&](Writer& w) { w.push(number, id, stage, BodyOut::copied(body), attributes); });
  return number;
}

uint64_t Peer::cancel(const TaskId& id) {
  const uint64_t number = request();
  send([&](Writer& w) { w.cancel(number, id); });
  return number;
}

uint64_t Peer::await(const TaskId& id, const Attrs& attributes) {
  const uint64_t number = request();
  send([&](Writer& w) { w.await(number, id, attributes); });
  return number;
}

Json Peer::control(const std::string& what, const std::function<void(Writer&)>& arguments) {
  const uint64_t number = request();
  send([&](Writer& w) {
    w.start(Kind::kControl, 4).pack_uint64(number);
    w.text(what);
    arguments(w);
  });
  const Got got = expect(Kind::kAnswer);
  EXPECT_EQ(got.ref, number);
  return got.value;
}

Json Peer::control(const std::string& what, const Json& arguments) {
  return control(what, [&](Writer& w) { proto::write_json(w.packer(), arguments); });
}

uint64_t Peer::update(const TaskId& id, const Attrs& attributes, std::optional<std::string> body) {
  const uint64_t number = request();
  const BodyOut out = body ? BodyOut::copied(*body) : BodyOut{};
  send([&](Writer& w) { w.update(number, id, attributes, body ? &out : nullptr); });
  return number;
}

uint64_t Peer::publish(std::string_view topic, std::string_view body, const Attrs& attributes) {
  const uint64_t number = request();
  send([&](Writer& w) { w.publish(number, topic, BodyOut::copied(body), attributes); });
  return number;
}

uint64_t Peer::subscribe(std::string_view topic, const Attrs& attributes) {
  const uint64_t number = request();
  send([&](Writer& w) { w.subscribe(number, topic, attributes); });
  return number;
}

void Peer::succeed(uint64_t handle, std::string_view body, const Attrs& attributes) {
  runs.erase(handle);
  const BodyOut out = body.size() < proto::kFrameBody ? BodyOut::copied(body)
                                                      : BodyOut{true, {}, proto::Bytes::copy(body)};
  send([&](Writer& w) { w.result(handle, State::kSucceeded, out, attributes); });
}

void Peer::drop(uint64_t handle) {
  runs.erase(handle);
  send([&](Writer& w) { w.result(handle, State::kSucceeded, {}, {}); });
}

void Peer::fail(uint64_t handle, const Attrs& attributes) {
  runs.erase(handle);
  send([&](Writer& w) { w.result(handle, State::kFailed, {}, attributes); });
}

void Peer::cancelled(uint64_t handle) {
  runs.erase(handle);
  send([&](Writer& w) { w.result(handle, State::kCancelled, {}, {}); });
}

void Peer::give_back(const std::vector<uint64_t>& handles, uint64_t recall) {
  for (uint64_t handle : handles) runs.erase(handle);
  send([&](Writer& w) { w.returned(recall, handles.data(), handles.size()); });
}

void Peer::slots(uint64_t slots) {
  fields.slots = slots;
  send([&](Writer& w) { w.slots(slots); });
}

void Peer::progress(uint64_t handle, std::string_view body, const Attrs& attributes) {
  const BodyOut out = body.empty() ? BodyOut{} : BodyOut::copied(body);
  send([&](Writer& w) { w.progress(handle, out, attributes); });
}

void Peer::log(uint64_t handle, uint32_t level, std::string_view text) {
  send([&](Writer& w) { w.log(handle, level, text, {}); });
}

void Peer::checkpoint(uint64_t handle, std::string_view body) {
  const BodyOut out = body.empty() ? BodyOut{} : BodyOut::copied(body);
  send([&](Writer& w) { w.checkpoint(handle, out); });
}

void Peer::defer(uint64_t handle, Duration after) {
  runs.erase(handle);
  send([&](Writer& w) { w.defer(handle, static_cast<uint64_t>(milliseconds(after))); });
}

void Peer::pause(uint64_t handle, Duration time) {
  send([&](Writer& w) { w.pause(handle, static_cast<uint64_t>(milliseconds(time))); });
}

void Peer::suspend(uint64_t handle, const std::vector<TaskId>& ids, uint64_t count) {
  suspended_.insert(handle);
  send([&](Writer& w) { w.suspend(handle, ids.data(), ids.size(), count ? count : ids.size()); });
}

Json json_of(const TaskId& id) { return {{"hex", id.hex()}}; }

Attrs& Attrs::id(Attribute key, const TaskId& id) { return json(key, json_of(id)); }

Json Peer::query(const std::string& what, const TaskId* id) {
  return query(what, id ? Json{{"id", json_of(*id)}} : Json::object());
}

Json Peer::query(const std::string& what, const Json& arguments) {
  const uint64_t number = request();
  send([&](Writer& w) {
    w.start(Kind::kQuery, arguments.empty() ? 3 : 4).pack_uint64(number);
    w.text(what);
    if (!arguments.empty()) proto::write_json(w.packer(), arguments);
  });
  auto at = std::find_if(inbox.begin(), inbox.end(), [&](const Got& g) {
    return g.ref == number && (g.kind == Kind::kAnswer || g.kind == Kind::kError);
  });
  if (at == inbox.end()) {
    ADD_FAILURE() << "query " << what << " got no answer";
    return {};
  }
  const Json answer = at->value;
  EXPECT_EQ(at->kind, Kind::kAnswer) << at->message;
  inbox.erase(at);
  return answer;
}

Got Peer::expect(Kind kind) {
  if (inbox.empty()) {
    ADD_FAILURE() << fields.name << " got nothing; expected " << proto::kind_name(kind);
    return {};
  }
  Got got = std::move(inbox.front());
  inbox.pop_front();
  EXPECT_EQ(proto::kind_name(got.kind), proto::kind_name(kind))
      << fields.name << ": " << got.name << " " << got.message;
  return got;
}

Got Peer::expect_error(std::string_view wanted) {
  Got got = expect(Kind::kError);
  EXPECT_EQ(got.name, wanted) << got.message;
  EXPECT_FALSE(got.message.empty());
  return got;
}

std::vector<Got> Peer::take(Kind kind) {
  std::vector<Got> out;
  std::deque<Got> rest;
  for (Got& got : inbox) {
    if (got.kind == kind) {
      out.push_back(std::move(got));
    } else {
      rest.push_back(std::move(got));
    }
  }
  inbox = std::move(rest);
  return out;
}

void Peer::receive(const Send& packet) {
  EXPECT_FALSE(packet.envelope) << fields.name << " is no REQ peer";
  std::vector<Got> records = decode_all(packet.records.view(), packet.bodies);
  if (records.empty()) return;
  EXPECT_LE(packet.bodies.size(), 256u);
  EXPECT_LE(records.size(), 1025u);
  if (records[0].kind == Kind::kWelcome) {
    EXPECT_EQ(records.size(), 1u) << "a welcome is alone in its packet";
    welcome = records[0].value;
    session = welcome["session"];
    if (!welcome["resumed"].get<bool>() && fresh_) {
      received = acked = 0;
      next_seq = 1;
      resendable.clear();
      bodies_.clear();
      runs.clear();
      ended_.clear();
    }
    fresh_ = false;
    acked = welcome["ack"];
    return;
  }
  if (records[0].kind == Kind::kHeader) {
    EXPECT_TRUE(fields.acks) << "a header for a peer of the minimal profile";
    EXPECT_EQ(records[0].ref, session);
    const uint64_t seq = records[0].value["seq"], ack = records[0].value["ack"];
    EXPECT_LT(ack, next_seq) << "acknowledges what was not sent";
    EXPECT_GE(ack, acked) << "an acknowledgement went back";
    acked = ack;
    if (seq == 0) {
      EXPECT_EQ(records.size(), 1u);
      ++lone_acks;
      return;
    }
    if (seq <= received) return;  // again: a peer drops it
    EXPECT_EQ(seq, received + 1) << "a gap in the broker's packets";
    received = seq;
    records.erase(records.begin());
  } else if (fields.acks && !(records.size() == 1 && records[0].kind == Kind::kError)) {
    ADD_FAILURE() << fields.name << " got a packet without a header";
  }
  for (Got& got : records) {
    if (got.kind == Kind::kTask || got.kind == Kind::kItem) {
      EXPECT_TRUE(runs.emplace(got.ref, got).second) << "a handle twice";
      if (checks_slots) {
        const auto busy = std::count_if(runs.begin(), runs.end(), [&](const auto& run) {
          return suspended_.count(run.first) == 0;
        });
        EXPECT_LE(busy, fields.slots) << fields.name << " got more runs than slots";
      }
    }
    if (got.kind == Kind::kResume) {
      EXPECT_EQ(suspended_.erase(got.ref), 1u) << "resumed, and was not suspended";
    }
    if (got.kind == Kind::kError) suspended_.erase(got.ref);
    if (got.kind == Kind::kResult) {
      EXPECT_TRUE(ended_.insert(got.ref).second) << "request " << got.ref << " ended twice";
    }
    if (got.kind == Kind::kAccepted) {
      EXPECT_FALSE(ended_.count(got.ref)) << "accepted behind the ending of " << got.ref;
    }
    inbox.push_back(std::move(got));
  }
}

// --- ReqPeer -------------------------------------------------------------------------------------

void ReqPeer::ask(const Peer::Write& write, std::string_view with) {
  Writer out;
  write(out);
  std::vector<proto::Bytes> frames = out.frames();
  const std::vector<char> memory(out.records().view().begin(), out.records().view().end());
  h_.handle(PacketReceived{connection, {memory.data(), memory.size()}, frames, with});
}

void ReqPeer::ask_bytes(std::string_view records, std::string_view with) {
  h_.handle(PacketReceived{connection, records, {}, with});
}

Got ReqPeer::reply() {
  EXPECT_EQ(replies.size(), 1u) << "a REQ peer gets exactly one reply";
  if (replies.empty()) return {};
  Got got = std::move(replies.front());
  replies.pop_front();
  return got;
}

void ReqPeer::disconnect() { h_.close(connection); }

void ReqPeer::receive(const Send& packet) {
  ASSERT_TRUE(packet.envelope) << "a reply without its envelope";
  envelope = *packet.envelope;
  std::vector<Got> records = decode_all(packet.records.view(), packet.bodies);
  EXPECT_EQ(records.size(), 1u);
  replies.insert(replies.end(), records.begin(), records.end());
}

// --- Harness -------------------------------------------------------------------------------------

Harness::Harness(const std::function<void(config::Orchestration&)>& change) {
  auto fresh = std::make_shared<config::Orchestration>();
  if (change) change(*fresh);
  config_ = fresh;
  broker = std::make_unique<Broker>(surroundings(), now_);
}

Surroundings Harness::surroundings() {
  Surroundings around;
  around.config = config_;
  around.checkers = checkers(*config_);
  around.epoch = ++epoch_;
  around.seed = seed + epoch_;
  around.server = "tuskd test";
  around.boot_id = kBootId;
  around.pid_namespace = kPidNamespace;
  around.router = "tcp://127.0.0.1:7420";
  around.events_out = "tcp://127.0.0.1:7423";
  around.pipeline_out = "tcp://127.0.0.1:7425";
  return around;
}

BodyCheckers Harness::checkers(const config::Orchestration& config) {
  auto compiled = messages::compile(config);
  if (compiled) return std::move(*compiled);
  ADD_FAILURE() << config::format(compiled.error());
  return {};
}

Peer& Harness::peer(HelloFields fields, bool connect) {
  peers_.push_back(std::make_unique<Peer>(*this, std::move(fields)));
  if (connect) peers_.back()->connect();
  return *peers_.back();
}

Peer& Harness::client(bool acks) { return peer({.acks = acks}); }

Peer& Harness::worker(std::vector<std::string> types, uint64_t slots) {
  return peer({.role = "worker", .types = std::move(types), .slots = slots});
}

Peer& Harness::stage_worker(std::vector<std::string> handlers, uint64_t slots) {
  return peer({.role = "worker", .handlers = std::move(handlers), .slots = slots});
}

ReqPeer& Harness::req() {
  reqs_.push_back(std::make_unique<ReqPeer>(*this, kNoConnection));
  reqs_.back()->connection = open(nullptr, reqs_.back().get());
  return *reqs_.back();
}

ConnectionId Harness::open(Peer* peer, ReqPeer* req) {
  ConnectionId id;
  if (free_.empty()) {
    id = next_connection_++;
  } else {  // numbers are used again
    id = *free_.begin();
    free_.erase(free_.begin());
  }
  ends_[id] = {peer, req};
  return id;
}

void Harness::close(ConnectionId connection) {
  if (ends_.erase(connection) == 0) return;
  handle(Disconnected{connection});
  free_.insert(connection);
}

void Harness::handle(const Event& event) {
  broker->handle(event, now_, actions_);
  if (checks) BrokerInspector::check(*broker, exact_room);
  if (!held_) flush();
}

void Harness::flush() {
  broker->flush(now_, actions_);
  carry_out();
  if (checks) BrokerInspector::check(*broker, exact_room);
}

void Harness::release() {
  held_ = false;
  flush();
}

void Harness::carry_out() {
  Actions actions = std::move(actions_);
  actions_.clear();
  for (const Send& send : actions.sends) {
    auto it = ends_.find(send.connection);
    if (it == ends_.end()) continue;  // gone
    if (it->second.peer) it->second.peer->receive(send);
    if (it->second.req) it->second.req->receive(send);
  }
  for (const SendItems& items : actions.items) {
    std::vector<Got> records = decode_all(items.records.view(), items.bodies);
    EXPECT_LE(items.records.size(), config_->tuskd.limits.max_frame);
    EXPECT_LE(records.size(), config_->tuskd.limits.max_records);
    EXPECT_LE(items.bodies.size(), config_->tuskd.limits.max_frames);
    edge_item_packets.push_back(records.size());
    edge_items.insert(edge_items.end(), records.begin(), records.end());
  }
  for (const SendEvents& events : actions.events) {
    EXPECT_LE(events.records.size(), config_->tuskd.limits.max_frame);
    EXPECT_LE(events.bodies.size(), config_->tuskd.limits.max_frames);
    for (Got& got : decode_all(events.records.view(), events.bodies)) {
      edge_events.emplace_back(events.topic, std::move(got));
    }
  }
  watches.insert(watches.end(), actions.watches.begin(), actions.watches.end());
  unwatches.insert(unwatches.end(), actions.unwatches.begin(), actions.unwatches.end());
  hangs.insert(hangs.end(), actions.hangs.begin(), actions.hangs.end());
  kills.insert(kills.end(), actions.kills.begin(), actions.kills.end());
  log.insert(log.end(), actions.log.begin(), actions.log.end());
  if (actions.reload) outcome = actions.reload;
  stopped |= actions.stopped;
}

void Harness::advance(Duration time) {
  const Time end = now_ + time;
  for (;;) {
    auto wake = broker->next_wake();
    if (!wake || *wake > end) break;
    now_ = std::max(now_, *wake);
    handle(Tick{});
  }
  now_ = end;
  handle(Tick{});
}

std::vector<std::string> Harness::reload(
    const std::function<void(config::Orchestration&)>& change) {
  auto fresh = std::make_shared<config::Orchestration>(*config_);
  change(*fresh);
  outcome.reset();
  handle(Reload{fresh, checkers(*fresh)});
  EXPECT_TRUE(outcome) << "a reload has an outcome";
  if (!outcome) return {"no outcome"};
  if (outcome->refused.empty()) config_ = fresh;
  EXPECT_EQ(broker->shared_config(), config_);
  return outcome->refused;
}

void Harness::restart() {
  for (auto& peer : peers_) peer->connection = kNoConnection;
  ends_.clear();
  free_.clear();
  next_connection_ = 0;
  actions_.clear();
  observer_ = nullptr;
  stopped = false;
  broker = std::make_unique<Broker>(surroundings(), now_);
}

bool Harness::logged(std::string_view text) const {
  return std::any_of(log.begin(), log.end(),
                     [&](const LogLine& line) { return line.text.find(text) != line.text.npos; });
}

Json Harness::status() {
  if (!observer_ || !observer_->connected()) observer_ = &client(false);
  return observer_->query("status");
}

Json Harness::named(const std::string& what, const std::string& name) {
  if (!observer_ || !observer_->connected()) observer_ = &client(false);
  for (const Json& entry : observer_->query(what)) {
    if (entry["name"] == name) return entry;
  }
  return {};
}

void Harness::expect_empty() {
  EXPECT_EQ(BrokerInspector::live_tasks(*broker), 0u);
  EXPECT_EQ(BrokerInspector::live_requests(*broker), 0u);
  EXPECT_EQ(BrokerInspector::held_bytes(*broker), 0u);
}

}  // namespace tusk::core
