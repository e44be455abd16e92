// The broker under test, behind a door: only broker_box.cc knows the core, so that the same
// simulator can be linked with the core that ships or with one that has faults woven in.
#pragma once

#include <memory>
#include <span>

#include "daemon/core/event.h"
#include "tests/simulation/model.h"

namespace tusk::simulation {

class BrokerBox {
 public:
  BrokerBox(Model::Config config, const Machine& machine, uint64_t seed, Nanos now);
  ~BrokerBox();

  // Hands over the events, in order, then flushes.
  void step(Nanos now, std::span<const core::Event> events, core::Actions& actions);
  Nanos next_wake() const;
  bool takes_edge_items() const;

 private:
  struct Inside;
  std::unique_ptr<Inside> inside_;
};

}  // namespace tusk::simulation
