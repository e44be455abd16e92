#include "daemon/transport/data_plane.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <thread>

#include "daemon/transport/clock.h"
#include "daemon/transport/spin.h"

namespace tusk::transport {
namespace {

using proto::Bytes;

// Messages taken from the ROUTER before the core's answers go out. libzmq takes them from its peers
// in turn, one message each.
constexpr size_t kBatch = 256;
// Records, in bytes, after which the answers go out before more is taken. Small, so that client,
// broker and worker work at the same time, each on another part of what is in flight; all of it in
// one lump would keep two of the three waiting.
constexpr size_t kFlushEvery = 32 << 10;
// Before the end of a connection is applied, what it sent last must be; at most this many messages
// are taken for that in one go.
constexpr size_t kDrainBeforeEnd = 100'000;
// Smaller messages are copied: cheaper than a count of holders.
constexpr size_t kCopyBelow = 512;
// Messages that libzmq keeps for one peer; beyond it they wait here, bounded in bytes.
constexpr int kHighWater = 4000;

void release_message(void* message) { delete static_cast<zmq::message_t*>(message); }

// A body frame that the core may keep: the message lives as long as somebody holds it.
Bytes hold(zmq::message_t&& message) {
  auto* held = new zmq::message_t(std::move(message));
  return Bytes::adopt(held->data<char>(), held->size(), release_message, held);
}

zmq::message_t to_message(const Bytes& bytes) {
  if (bytes.size() < kCopyBelow) return zmq::message_t(bytes.data(), bytes.size());
  return zmq::message_t(
      const_cast<char*>(bytes.data()), bytes.size(),
      [](void*, void* share) { Bytes::drop_share(share); }, bytes.share());
}

std::string_view view(const zmq::message_t& message) {
  return {message.data<char>(), message.size()};
}

// Takes the frames of one message without blocking; false if there is none.
bool receive(zmq::socket_t& socket, std::vector<zmq::message_t>& frames) {
  frames.clear();
  do {
    zmq::message_t& frame = frames.emplace_back();
    if (!socket.recv(frame,
                     frames.size() == 1 ? zmq::recv_flags::dontwait : zmq::recv_flags::none)) {
      frames.clear();
      return false;
    }
  } while (frames.back().more());
  return true;
}

uint64_t random_number() {
  std::random_device device;
  return (uint64_t{device()} << 32 | device()) & proto::kMaxInteger;
}

// Whether somebody listens on this UNIX socket. libzmq would take it over without a word.
bool ipc_in_use(const std::string& endpoint) {
  const std::string path = endpoint.substr(std::strlen("ipc://"));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path[0] == '@' || path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return false;
  const bool used = connect(probe, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(probe);
  return used;
}

}  // namespace

DataPlane::DataPlane(std::shared_ptr<const config::Orchestration> config,
                     core::BodyCheckers checkers, const std::string& server)
    : config_(std::move(config)), context_(1) {
  bind_all(config_->tuskd);
  core::Surroundings around;
  around.config = config_;
  around.checkers = std::move(checkers);
  around.epoch = random_number() | 1;
  around.seed = random_number();
  around.server = server;
  around.boot_id = boot_id();
  around.pid_namespace = pid_namespace();
  around.router = config_->tuskd.advertise.value_or(advertised(endpoints_.router));
  around.events_in = advertised(endpoints_.events_in);
  around.events_out = advertised(endpoints_.events_out);
  around.pipeline_in = advertised(endpoints_.pipeline_in);
  around.pipeline_out = advertised(endpoints_.pipeline_out);
  broker_ = std::make_unique<core::Broker>(std::move(around), now());
}

DataPlane::~DataPlane() = default;

// --- sockets -------------------------------------------------------------------------------------

void DataPlane::bind_all(const config::Tuskd& tuskd) {
  const int heartbeat = static_cast<int>(core::milliseconds(tuskd.times.heartbeat));
  const int64_t most = 2 * static_cast<int64_t>(tuskd.limits.max_body);
  auto open = [&](zmq::socket_type type) {
    zmq::socket_t socket(context_, type);
    socket.set(zmq::sockopt::linger, 1000);
    socket.set(zmq::sockopt::maxmsgsize, most);
    socket.set(zmq::sockopt::sndhwm, kHighWater);
    socket.set(zmq::sockopt::rcvhwm, kHighWater);
    return socket;
  };
  router_ = open(zmq::socket_type::router);
  router_.set(zmq::sockopt::router_mandatory, true);
  router_.set(zmq::sockopt::router_handover, false);
  if (heartbeat > 0) {
    // Only here: a socket that may stay unread loses data by heartbeats.
    router_.set(zmq::sockopt::heartbeat_ivl, heartbeat);
    router_.set(zmq::sockopt::heartbeat_timeout, 3 * heartbeat);
    router_.set(zmq::sockopt::heartbeat_ttl, 3 * heartbeat);
  }
  const std::string monitor = "inproc://tuskd-monitor";
  if (zmq_socket_monitor(router_.handle(), monitor.c_str(),
                         ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED) != 0) {
    throw zmq::error_t();
  }
  monitor_ = zmq::socket_t(context_, zmq::socket_type::pair);
  monitor_.set(zmq::sockopt::linger, 0);
  monitor_.set(zmq::sockopt::rcvhwm, 0);
  monitor_.connect(monitor);

  endpoints_.router = bind(router_, tuskd.endpoint, "endpoint");
  if (tuskd.ipc) endpoints_.ipc = bind(router_, *tuskd.ipc, "ipc");
  if (tuskd.events_in) {
    events_in_ = open(zmq::socket_type::xsub);
    events_in_.set(zmq::sockopt::tcp_keepalive, 1);
    endpoints_.events_in = bind(events_in_, *tuskd.events_in, "events_in");
    events_in_.send(zmq::message_t("\x01", 1), zmq::send_flags::none);  // everything
  }
  if (tuskd.events_out) {
    events_out_ = open(zmq::socket_type::xpub);
    endpoints_.events_out = bind(events_out_, *tuskd.events_out, "events_out");
  }
  if (tuskd.pipeline_in) {
    items_in_ = open(zmq::socket_type::pull);
    items_in_.set(zmq::sockopt::tcp_keepalive, 1);
    endpoints_.pipeline_in = bind(items_in_, *tuskd.pipeline_in, "pipeline_in");
  }
  if (tuskd.pipeline_out) {
    items_out_ = open(zmq::socket_type::push);
    endpoints_.pipeline_out = bind(items_out_, *tuskd.pipeline_out, "pipeline_out");
  }
}

std::string DataPlane::bind(zmq::socket_t& socket, const std::string& endpoint,
                            const std::string& key) {
  if (endpoint.rfind("ipc://", 0) == 0 && ipc_in_use(endpoint)) {
    throw BindError(endpoint, key, "another process listens there; stop it, or change the key");
  }
  try {
    socket.bind(endpoint);
  } catch (const zmq::error_t& e) {
    std::string why = e.what();
    if (e.num() == EADDRINUSE) why += "; stop the process that listens there, or change the key";
    throw BindError(endpoint, key, why);
  }
  return socket.get(zmq::sockopt::last_endpoint);
}

// What WELCOME names: the host of `advertise` where there is one, with the endpoint's own port.
std::string DataPlane::advertised(const std::string& endpoint) const {
  const auto& advertise = config_->tuskd.advertise;
  if (!advertise || endpoint.rfind("tcp://", 0) != 0) return endpoint;
  const std::string host = advertise->substr(0, advertise->rfind(':'));
  return host + endpoint.substr(endpoint.rfind(':'));
}

// --- the loop ------------------------------------------------------------------------------------

void DataPlane::run() {
  Spin spin(config_->tuskd.times.spin);
  core::Time last_event = now();
  // The other sockets seldom have anything, and asking each costs a system call.
  constexpr size_t kAskAll = 8;
  size_t round = 0;
  while (!stopped_) {
    bool busy = receive_router(kBatch);
    if (round++ % kAskAll == 0) {
      busy |= receive_monitor();
      busy |= receive_edges();
      busy |= mailbox_.take([this](core::Event&& event) { handle(event); });
      busy |= apply_ends();
    }
    if (!blocked_.empty()) busy |= retry_queued();
    auto wake = broker_->next_wake();
    const core::Time time = now();
    if (wake && *wake <= time) {
      handle(core::Tick{});
      busy = true;
    }
    step();
    if (busy) {
      last_event = time;
    } else if (time - last_event < spin.budget()) {
      std::this_thread::yield();  // polls in nobody's way
    } else {
      sleep();
      spin.waited(now() - last_event);
      last_event = now();
      round = 0;
    }
  }
}

void DataPlane::handle(const core::Event& event) { broker_->handle(event, now(), actions_); }

void DataPlane::step() {
  taken_bytes_ = 0;
  broker_->flush(now(), actions_);
  carry_out();
}

void DataPlane::sleep() {
  zmq::pollitem_t items[8];
  size_t count = 0;
  auto add = [&](zmq::socket_t& socket) {
    if (socket) items[count++] = {socket.handle(), 0, ZMQ_POLLIN, 0};
  };
  add(router_);
  add(monitor_);
  add(events_in_);
  add(events_out_);
  if (broker_->takes_edge_items()) add(items_in_);
  items[count++] = {nullptr, mailbox_.descriptor(), ZMQ_POLLIN, 0};
  items[count++] = {nullptr, processes_.descriptor(), ZMQ_POLLIN, 0};

  std::chrono::milliseconds timeout{-1};
  if (auto wake = broker_->next_wake()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*wake - now());
    timeout = std::clamp(left, std::chrono::milliseconds(0), std::chrono::milliseconds(60'000));
  }
  if (!blocked_.empty()) timeout = std::chrono::milliseconds(1);
  try {
    zmq::poll(items, count, timeout);
  } catch (const zmq::error_t& e) {
    if (e.num() != EINTR) throw;
  }
}

// --- receiving -----------------------------------------------------------------------------------

bool DataPlane::receive_router(size_t most) {
  size_t count = 0;
  while (count < most && receive_one()) {
    ++count;
    if (taken_bytes_ >= kFlushEvery) step();
  }
  return count > 0;
}

bool DataPlane::receive_one() {
  if (!receive(router_, frames_)) return false;
  if (frames_.size() < 2) return true;  // nothing behind the routing id
  auto id = connection_of(view(frames_[0]), frames_[1]);
  if (!id) return true;

  core::PacketReceived packet{.connection = *id, .records = {}, .bodies = {}, .envelope = {}};
  size_t first = 1;
  if (frames_[1].size() == 0) {
    packet.envelope = std::string_view();
    first = 2;
  } else if (frames_.size() > 2 && frames_[2].size() == 0) {
    packet.envelope = view(frames_[1]);
    first = 3;
  }
  if (first < frames_.size()) packet.records = view(frames_[first]);
  bodies_.clear();
  for (size_t i = first + 1; i < frames_.size(); ++i)
    bodies_.push_back(hold(std::move(frames_[i])));
  packet.bodies = bodies_;
  taken_bytes_ += packet.records.size();
  handle(packet);
  bodies_.clear();
  return true;
}

// The connection that a message came from. Before a new one gets its number, the ends of old ones
// are taken note of: its descriptor may have been theirs.
std::optional<core::ConnectionId> DataPlane::connection_of(std::string_view routing_id,
                                                           const zmq::message_t& frame) {
  if (!Connections::is_own(routing_id)) return std::nullopt;  // peers set no routing ids
  if (auto id = connections_.find(routing_id)) return id;
  receive_monitor();
  const core::ConnectionId id =
      connections_.add(routing_id, const_cast<zmq::message_t&>(frame).get(ZMQ_SRCFD));
  if (id >= outgoing_.size()) outgoing_.resize(id + 1);
  return id;
}

// Takes note of connections that ended. Their ends are applied by apply_ends(), behind what they
// sent.
bool DataPlane::receive_monitor() {
  bool any = false;
  zmq::message_t event, address;
  while (monitor_.recv(event, zmq::recv_flags::dontwait)) {
    if (event.more()) (void)monitor_.recv(address, zmq::recv_flags::none);
    uint16_t number;
    int32_t descriptor;
    std::memcpy(&number, event.data<char>(), sizeof number);
    std::memcpy(&descriptor, event.data<char>() + sizeof number, sizeof descriptor);
    if (number == ZMQ_EVENT_DISCONNECTED) {
      if (auto id = connections_.descriptor_closed(descriptor)) ended_.push_back(*id);
    }
    any = true;
  }
  return any;
}

// Applies the ends of connections and processes, once everything that they sent has been.
bool DataPlane::apply_ends() {
  bool any = false;
  auto drain = [&] {
    if (!any) receive_router(kDrainBeforeEnd);
    any = true;
  };
  if (!ended_.empty()) drain();
  // The connection before the process: the core then knows at once that a worker died.
  for (size_t i = 0; i < ended_.size(); ++i) drop_connection(ended_[i]);
  ended_.clear();
  processes_.take([&](uint64_t session) {
    drain();
    handle(core::ProcessEnded{session});
  });
  return any;
}

void DataPlane::drop_connection(core::ConnectionId id) {
  if (!connections_.is_open(id)) return;
  handle(core::Disconnected{id});
  connections_.remove(id);
  outgoing_[id] = {};
}

bool DataPlane::receive_edges() {
  bool any = events_in_ && receive_events();
  if (items_in_) any |= receive_items();
  // XPUB tells who subscribes; libzmq keeps the list itself.
  zmq::message_t subscription;
  while (events_out_ && events_out_.recv(subscription, zmq::recv_flags::dontwait)) any = true;
  return any;
}

bool DataPlane::receive_events() {
  size_t count = 0;
  for (; count < kBatch && receive(events_in_, frames_); ++count) {
    if (frames_.size() < 2) {
      handle(core::EdgeEvents{{}, {}, {}});  // counted and logged as a drop
      continue;
    }
    bodies_.clear();
    for (size_t i = 2; i < frames_.size(); ++i) bodies_.push_back(hold(std::move(frames_[i])));
    handle(core::EdgeEvents{view(frames_[0]), view(frames_[1]), bodies_});
    bodies_.clear();
  }
  return count > 0;
}

bool DataPlane::receive_items() {
  size_t count = 0;
  for (; count < kBatch && broker_->takes_edge_items() && receive(items_in_, frames_); ++count) {
    bodies_.clear();
    for (size_t i = 1; i < frames_.size(); ++i) bodies_.push_back(hold(std::move(frames_[i])));
    handle(core::EdgeItems{view(frames_[0]), bodies_});
    bodies_.clear();
  }
  return count > 0;
}

// --- sending -------------------------------------------------------------------------------------

void DataPlane::carry_out() {
  // A connection that ends while we send adds an event, and that more actions: hence the loop.
  for (size_t i = 0; i < actions_.sends.size(); ++i) send_or_queue(std::move(actions_.sends[i]));
  for (core::SendEvents& events : actions_.events) {
    events_out_.send(zmq::buffer(events.topic), zmq::send_flags::sndmore);
    zmq::message_t records = to_message(events.records);
    events_out_.send(records,
                     events.bodies.empty() ? zmq::send_flags::none : zmq::send_flags::sndmore);
    for (size_t i = 0; i < events.bodies.size(); ++i) {
      zmq::message_t body = to_message(events.bodies[i]);
      events_out_.send(
          body, i + 1 < events.bodies.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
    }
  }
  for (core::SendItems& items : actions_.items) {
    zmq::message_t records = to_message(items.records);
    const bool more = !items.bodies.empty();
    const auto flags = zmq::send_flags::dontwait;
    if (!items_out_.send(records, more ? flags | zmq::send_flags::sndmore : flags)) {
      broker_->count_undelivered_items(1);  // nobody pulls
      continue;
    }
    for (size_t i = 0; i < items.bodies.size(); ++i) {
      zmq::message_t body = to_message(items.bodies[i]);
      items_out_.send(
          body, i + 1 < items.bodies.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
    }
  }
  for (const core::Watch& watch : actions_.watches) processes_.watch(watch.session, watch.pid);
  for (const core::Unwatch& watch : actions_.unwatches) processes_.unwatch(watch.session);
  if (on_hang) {
    for (const core::Hang& hang : actions_.hangs) on_hang(hang);
  }
  if (on_kill) {
    for (const core::Kill& kill : actions_.kills) on_kill(kill);
  }
  if (on_log) {
    for (const core::LogLine& line : actions_.log) on_log(line);
  }
  if (actions_.reload) {
    if (actions_.reload->refused.empty()) config_ = broker_->shared_config();
    if (on_reload) on_reload(*actions_.reload);
  }
  stopped_ |= actions_.stopped;
  actions_.clear();
}

void DataPlane::send_or_queue(core::Send&& packet) {
  if (!connections_.is_open(packet.connection)) return;
  Outgoing& out = outgoing_[packet.connection];
  if (out.queue.empty() && send(packet)) return;
  size_t bytes = packet.records.size();
  for (const Bytes& body : packet.bodies) bytes += body.size();
  out.bytes += bytes;
  if (out.queue.empty()) blocked_.push_back(packet.connection);
  if (out.bytes > config_->tuskd.limits.max_session_bytes) {
    // Peers that acknowledge are bounded by the core before it comes to this. For others this is
    // the end: ROUTER cannot disconnect one peer, so the core hears that it is gone.
    return drop_queue(packet.connection);
  }
  out.queue.push_back(std::move(packet));
}

// Sends a packet whole; false if libzmq does not take it now. A peer that is gone takes everything.
bool DataPlane::send(const core::Send& packet) {
  char routing_id[5];
  connections_.routing_id(packet.connection, routing_id);
  zmq::message_t head(routing_id, sizeof routing_id);
  try {
    // libzmq decides at the first frame; those behind it always go where it went.
    if (!router_.send(head, zmq::send_flags::sndmore | zmq::send_flags::dontwait)) return false;
  } catch (const zmq::error_t& e) {
    if (e.num() == EHOSTUNREACH) return true;  // its end will come by the monitor
    throw;
  }
  auto rest = [&](zmq::message_t message, bool more) {
    router_.send(message, more ? zmq::send_flags::sndmore : zmq::send_flags::none);
  };
  if (packet.envelope) {
    if (!packet.envelope->empty()) {
      rest(zmq::message_t(packet.envelope->data(), packet.envelope->size()), true);
    }
    rest(zmq::message_t(), true);
  }
  rest(to_message(packet.records), !packet.bodies.empty());
  for (size_t i = 0; i < packet.bodies.size(); ++i) {
    rest(to_message(packet.bodies[i]), i + 1 < packet.bodies.size());
  }
  return true;
}

bool DataPlane::retry_queued() {
  bool any = false;
  std::erase_if(blocked_, [&](core::ConnectionId id) {
    Outgoing& out = outgoing_[id];
    while (!out.queue.empty() && send(out.queue.front())) {
      out.bytes -= out.queue.front().records.size();
      for (const Bytes& body : out.queue.front().bodies) out.bytes -= body.size();
      out.queue.pop_front();
      any = true;
    }
    return out.queue.empty();
  });
  return any;
}

void DataPlane::drop_queue(core::ConnectionId id) {
  outgoing_[id] = {};
  std::erase(blocked_, id);
  ended_.push_back(id);
}

}  // namespace tusk::transport
