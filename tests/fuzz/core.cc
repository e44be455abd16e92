// A broker whose peers say anything. The input is a script: connections open and end, processes
// die, time passes, the configuration changes, and packets come that are well-formed, half right or
// noise, from sessions, REQ peers and edges. Whatever it is: the core's assertions and the
// invariants of its tests hold, what goes out decodes and goes where somebody is, a REQ peer gets
// no reply that it did not ask for, and a broker that is told to stop stops.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "daemon/core/broker.h"
#include "daemon/core/broker_harness.h"
#include "daemon/messages/compile.h"
#include "tests/fuzz/core_peers.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/require.h"

using namespace tusk;
using namespace std::chrono_literals;
using fuzz::Input;
using fuzz::Packet;
using fuzz::Peers;
using fuzz::require;

namespace {

constexpr size_t kMostSteps = 200;

// Small limits, so that a script reaches them, and as the choice says limits and checks of the type
// `b`, its stages and its topic.
std::string config_text(uint8_t choice) {
  std::string text =
      "[tuskd]\nmax_tasks: 40\nmax_waiting: 20\nended_window: 16\nstage_capacity: 2\n"
      "push_window: 3\nmax_sticky_keys: 2\nmax_suspended: 2\nageing_share: 2\nageing: 1s\n"
      "max_frame: 64KB\nmax_body: 1KB\nmax_memory: 1MB\nmax_session_bytes: 1MB\nmax_checkpoint: "
      "64B\n"
      "[types]\nb:\n  attempts: 2\n";
  if (choice & 1) text += "  concurrency: 1\n";
  if (choice & 2) text += "  rate: 2/s\n";
  if (choice & 4) text += "  key_concurrency: 1\n";
  if (choice & 8) text += "  order_on_dead: block\n";
  if (choice & 16) text += "  consumes: {gpu: 1}\n";
  if (choice & 32) text += "  retention: 10s\n";
  if (choice & 64) {
    text +=
        "  message: checked\n[message_types]\nchecked:\n  format: msgpack\n  validation: true\n"
        "  schema: '{\"type\": \"integer\"}'\n";
  }
  text += "[data_pipeline]\none:\n  function: f\n";
  if (!(choice & 128)) text += "two:\n  function: g\n[topics]\nt:\n";
  return text;
}

struct Configuration {
  std::shared_ptr<const config::Orchestration> config;
  core::BodyCheckers checkers;
};

const Configuration& config_of(uint8_t choice) {
  static std::array<Configuration, 256> all;
  Configuration& one = all[choice];
  if (!one.config) {
    auto loaded = config::load_text(config_text(choice), "fuzz.tsk");
    require(loaded.has_value(), "the script's configuration loads");
    auto checkers = messages::compile(loaded->orchestration);
    require(checkers.has_value(), "and its schema compiles");
    one = {std::make_shared<const config::Orchestration>(std::move(loaded->orchestration)),
           std::move(*checkers)};
  }
  return one;
}

class Script {
 public:
  explicit Script(Input& input)
      : input_(input), peers_(input), broker_(surroundings(input.byte()), now_) {}

  void run() {
    for (size_t step = 0; step < kMostSteps && input_.more(); ++step) {
      act(static_cast<core::ConnectionId>(input_.below(Peers::kConnections)));
    }
    pass(1h);
    handle(core::Shutdown{});
    pass(1h);
    require(stopped_, "a broker that is told to stop stops");
  }

 private:
  static core::Surroundings surroundings(uint8_t choice) {
    core::Surroundings around;
    around.config = config_of(choice).config;
    around.checkers = config_of(choice).checkers;
    around.epoch = 7;
    around.boot_id = "boot";
    around.pid_namespace = 1;
    return around;
  }

  void act(core::ConnectionId from) {
    switch (input_.below(20)) {
      case 0:
        return disconnect(from);
      case 1:
        return pass(std::chrono::milliseconds(1) * (1u << input_.below(17)));
      case 2: {
        const Configuration& next = config_of(input_.byte());
        return handle(core::Reload{next.config, next.checkers});
      }
      case 3:
        return packet(from, peers_.noise());
      case 4:
        return packet(from, peers_.damaged(from));
      case 5:
      case 6:
        return packet(from, peers_.hello(from));
      case 7:
      case 8:
        return ask(input_.one_in(8) ? peers_.noise() : peers_.asked());
      case 9: {
        const Packet events = peers_.events();
        return handle(core::EdgeEvents{std::string_view("t\0", 2), events.records, events.bodies});
      }
      case 10: {
        if (!broker_.takes_edge_items()) return;
        const Packet items = peers_.items();
        return handle(core::EdgeItems{items.records, items.bodies});
      }
      case 11:
        return end_process();
      case 12:
        if (input_.one_in(16)) return handle(core::Shutdown{});
        [[fallthrough]];
      default:
        return packet(from, peers_.said(from));
    }
  }

  void disconnect(core::ConnectionId connection) {
    if (!open_[connection]) return;  // the transport says so once
    handle(core::Disconnected{connection});
    open_[connection] = false;
    peers_.gone(connection);
  }

  // The transport says it once for each time that it was asked.
  void end_process() {
    if (watched_.empty()) return;
    const size_t which = input_.byte() % watched_.size();
    const uint64_t session = watched_[which];
    watched_.erase(watched_.begin() + static_cast<ptrdiff_t>(which));
    handle(core::ProcessEnded{session});
  }

  void packet(core::ConnectionId from, const Packet& packet) {
    open_[from] = true;
    handle(core::PacketReceived{from, packet.records, packet.bodies, {}});
  }

  // Over a connection of its own: a REQ peer is not one that has a session.
  void ask(const Packet& packet) {
    open_[kReq] = true;
    ++asked_;
    handle(core::PacketReceived{kReq, packet.records, packet.bodies, std::string_view("envelope")});
  }

  void pass(core::Duration time) {
    now_ += time;
    handle(core::Tick{});
  }

  void handle(const core::Event& event) {
    actions_.clear();
    broker_.handle(event, now_, actions_);
    broker_.flush(now_, actions_);
    core::BrokerInspector::check(broker_, false);
    read();
    // Its answer is an event again.
    if (hanging_.empty()) return;
    const uint64_t session = hanging_.back();
    hanging_.pop_back();
    handle(core::Replaceable{session});
  }

  void read() {
    for (const core::Send& send : actions_.sends) {
      require(send.connection < open_.size() && open_[send.connection], "somebody is there");
      const proto::Decoded packet = decode(send.records.view(), send.bodies);
      if (send.connection != kReq) {
        peers_.heard(send.connection, packet);
        continue;
      }
      require(send.envelope == "envelope", "the envelope comes back");
      require(packet.records.size() == 1, "a reply is one record");
      require(asked_-- > 0, "a reply answers a request");
    }
    for (const core::SendEvents& send : actions_.events) decode(send.records.view(), send.bodies);
    for (const core::SendItems& send : actions_.items) decode(send.records.view(), send.bodies);
    for (const core::Watch& watch : actions_.watches) {
      std::erase(watched_, watch.session);
      watched_.push_back(watch.session);
    }
    for (const core::Unwatch& end : actions_.unwatches) std::erase(watched_, end.session);
    for (const core::Hang& hang : actions_.hangs) hanging_.push_back(hang.session);
    stopped_ |= actions_.stopped;
  }

  proto::Decoded decode(std::string_view records, const std::vector<proto::Bytes>& bodies) {
    const proto::Decoded packet = decoder_.decode(records, bodies.size());
    require(packet.ok(), "what the broker sends decodes");
    for (const proto::Record& r : packet.records) require(r.fault.empty(), "and is within limits");
    return packet;
  }

  static constexpr core::ConnectionId kReq = Peers::kConnections;

  Input& input_;
  Peers peers_;
  core::Time now_ = core::Time{} + 1h;
  core::Broker broker_;
  core::Actions actions_;
  proto::Decoder decoder_;
  std::array<bool, Peers::kConnections + 1> open_{};
  std::vector<uint64_t> watched_, hanging_;  // sessions
  uint64_t asked_ = 0;                       // of the REQ peer, not answered
  bool stopped_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // What the inspector does not find as it should be ends the program: nobody catches it.
  static const bool set = [] { return GTEST_FLAG_SET(throw_on_failure, true), true; }();
  (void)set;
  Input input(data, size);
  Script(input).run();
  return 0;
}
