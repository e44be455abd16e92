// The data plane: one thread that owns the ZeroMQ sockets and the core. It takes what has arrived,
// steps the core, sends what comes back, spins for a moment, and sleeps.
//
//   DataPlane plane(config, checkers, "tuskd 0.1.0");  // binds; throws BindError
//   plane.on_reload = [](const core::ReloadOutcome& o) { ... };
//   std::thread thread([&] { plane.run(); });     // until the core has stopped
//   plane.post(core::Reload{fresh, checkers});    // any thread
//   plane.post(core::Shutdown{});
//
// The callbacks are called on the data plane's thread and must not block.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "config/orchestration.h"
#include "daemon/core/broker.h"
#include "daemon/core/event.h"
#include "daemon/transport/connections.h"
#include "daemon/transport/mailbox.h"
#include "daemon/transport/processes.h"

namespace tusk::transport {

// An endpoint that cannot be used: which, by what key of the config, and why.
class BindError : public std::runtime_error {
 public:
  BindError(const std::string& endpoint, const std::string& key, const std::string& why)
      : std::runtime_error("cannot listen on " + endpoint + " ([tuskd] " + key + "): " + why) {}
};

// Where the sockets listen, wildcards resolved; empty where an edge is off.
struct Endpoints {
  std::string router, ipc, events_in, events_out, pipeline_in, pipeline_out;
};

class DataPlane {
 public:
  DataPlane(std::shared_ptr<const config::Orchestration> config, core::BodyCheckers checkers,
            const std::string& server);
  ~DataPlane();

  const Endpoints& endpoints() const { return endpoints_; }

  // Runs until the core has stopped. Once.
  void run();

  // From any thread; false if the mailbox is full.
  bool post(core::Event event) { return mailbox_.post(std::move(event)); }

  std::function<void(const core::ReloadOutcome&)> on_reload;
  std::function<void(const core::LogLine&)> on_log;
  std::function<void(const core::Hang&)> on_hang;
  std::function<void(const core::Kill&)> on_kill;

 private:
  struct Outgoing {  // packets that libzmq would not take at once
    std::deque<core::Send> queue;
    size_t bytes = 0;
  };

  void bind_all(const config::Tuskd& tuskd);
  std::string bind(zmq::socket_t& socket, const std::string& endpoint, const std::string& key);
  std::string advertised(const std::string& endpoint) const;

  bool receive_router(size_t most);
  bool receive_one();
  std::optional<core::ConnectionId> connection_of(std::string_view routing_id,
                                                  const zmq::message_t& frame);
  bool receive_monitor();
  bool receive_edges();
  bool receive_events();
  bool receive_items();
  bool apply_ends();
  void handle(const core::Event& event);
  void step();
  void carry_out();
  bool send(const core::Send& send);
  void send_or_queue(core::Send&& send);
  bool retry_queued();
  void drop_connection(core::ConnectionId id);
  void drop_queue(core::ConnectionId id);
  void sleep();

  std::shared_ptr<const config::Orchestration> config_;
  zmq::context_t context_;
  zmq::socket_t router_, monitor_, events_in_, events_out_, items_in_, items_out_;
  Endpoints endpoints_;
  Mailbox mailbox_;
  Processes processes_;
  Connections connections_;
  std::unique_ptr<core::Broker> broker_;
  core::Actions actions_;
  bool stopped_ = false;
  size_t taken_bytes_ = 0;  // of records, since the last step

  std::vector<zmq::message_t> frames_;       // of the message in hand
  std::vector<proto::Bytes> bodies_;         // of the packet in hand
  std::vector<core::ConnectionId> ended_;    // connections whose end is to be applied
  std::vector<Outgoing> outgoing_;           // by connection
  std::vector<core::ConnectionId> blocked_;  // those whose queue is not empty
};

}  // namespace tusk::transport
