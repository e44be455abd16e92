// Clock, broker, network and peers of one history. One decision is one step; after each thing that
// crosses the broker's boundary the model judges it.
//
//   World world(Scene(seed), coverage);
//   for (const Decision& d : decisions) world.apply(d);   // throws Broken
//   world.finish();                                       // no more faults: everything must end
#pragma once

#include <memory>

#include "tests/simulation/broker_box.h"
#include "tests/simulation/decision.h"
#include "tests/simulation/peer.h"

namespace tusk::simulation {

class World {
 public:
  // `trace`: gets a readable account, if it is there.
  World(const Scene& scene, Coverage& coverage, std::string* trace = nullptr);

  void apply(const Decision& decision);
  void finish();
  // Batches of events that the broker handled.
  uint64_t steps() const { return steps_; }

 private:
  struct ReqPeer {
    ConnectionId connection = kNoConnection;
    uint64_t requests = 0;
  };
  // An id that was used, and for what.
  struct Known {
    TaskId id;
    std::string name, body;
  };
  struct ProcessEnd {
    uint32_t pid;
    bool seen;
  };

  // --- world.cc: the boundary
  void step(std::span<const core::Event> events);
  void step(core::Event event) { step(std::span<const core::Event>(&event, 1)); }
  void carry_out(const core::Actions& actions);
  void advance_to(Nanos time);
  void add_peer(const PeerSpec& spec);
  void start_broker();
  void deliver(ConnectionId id, size_t count);
  void deliver_burst(size_t count);
  void peer_reads(Peer& peer, size_t count);
  void flow(size_t rounds);
  bool notice_connection(size_t which);
  void notice_process(size_t which);
  void restart(uint32_t keep);
  void note(const std::string& text);
  void note_packet(const char* arrow, ConnectionId id, const Packet& packet);

  // --- world_acts.cc: one decision each
  void connect(Peer& peer, uint32_t how);
  void cut(Peer& peer, const Decision& d);
  void bye(Peer& peer);
  void die(Peer& peer, uint32_t how);
  void submit(Peer& peer, const Decision& d);
  void push(Peer& peer, const Decision& d);
  void cancel(Peer& peer, uint32_t id);
  void publish(Peer& peer, const Decision& d);
  void subscribe(Peer& peer, const Decision& d);
  void query(Peer& peer, const Decision& d);
  void control(Peer& peer, const Decision& d);
  void answer(Peer& peer, uint32_t run, uint32_t how);
  void answer_all(Peer& peer, uint32_t how);
  void put_off(Peer& peer, const Decision& d);
  void wrong(Peer& peer, const Decision& d);
  void garbage(Peer& peer, uint32_t how);
  void request(const Decision& d);
  void edge(const Decision& d);
  Known known(uint32_t number, const std::string& name, uint32_t body, bool* again = nullptr);
  TaskId id_of(uint32_t number) const;
  std::string body(uint32_t pick) const;

  // --- world_finish.cc
  bool quiet() const;
  void all_come_back();
  void help();
  void unblock();
  void check_at_rest();

  Peer& peer(uint32_t pick) { return *peers_[pick % scene_.peers.size()]; }
  Nanos milliseconds(int64_t ms) const { return ms * kMillisecond; }

  const Scene& scene_;
  Coverage& coverage_;
  std::string* trace_;
  Model model_;
  Machine machine_;
  Model::Config config_, reloaded_;  // in force; offered last
  std::unique_ptr<BrokerBox> broker_;
  Network network_;
  std::vector<std::unique_ptr<Peer>> peers_;  // those of the scene, then helpers of finish()
  Peer *helper_ = nullptr, *operator_ = nullptr;
  bool items_by_cpp_ = false;
  std::vector<ReqPeer> reqs_;
  std::map<uint32_t, Known> known_;
  std::vector<std::pair<uint64_t, uint32_t>> watched_;  // session and process
  std::vector<uint32_t> dead_;                          // processes that have ended
  Nanos now_;
  uint64_t starts_ = 0, steps_ = 0, ticks_ = 0;
  bool stopping_ = false, stopped_ = false, finishing_ = false;
  core::Actions actions_;
};

}  // namespace tusk::simulation
