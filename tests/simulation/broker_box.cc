#include "tests/simulation/broker_box.h"

#include "daemon/core/broker.h"

namespace tusk::simulation {

struct BrokerBox::Inside {
  core::Broker broker;
};

BrokerBox::BrokerBox(Model::Config config, const Machine& machine, uint64_t seed, Nanos now) {
  core::Surroundings around{.config = std::move(config),
                            .epoch = machine.epoch,
                            .seed = seed,
                            .boot_id = machine.boot_id,
                            .pid_namespace = machine.pid_namespace,
                            .router = "tcp://127.0.0.1:7420",
                            .events_in = {},
                            .events_out = machine.events_out ? "tcp://127.0.0.1:7423" : "",
                            .pipeline_in = {},
                            .pipeline_out = machine.pipeline_out ? "tcp://127.0.0.1:7425" : ""};
  inside_.reset(new Inside{{std::move(around), core::Time(core::Duration(now))}});
}

BrokerBox::~BrokerBox() = default;

void BrokerBox::step(Nanos now, std::span<const core::Event> events, core::Actions& actions) {
  const core::Time time{core::Duration(now)};
  for (const core::Event& event : events) inside_->broker.handle(event, time, actions);
  inside_->broker.flush(time, actions);
}

Nanos BrokerBox::next_wake() const {
  const auto wake = inside_->broker.next_wake();
  return wake ? wake->time_since_epoch().count() : kNever;
}

bool BrokerBox::takes_edge_items() const { return inside_->broker.takes_edge_items(); }

}  // namespace tusk::simulation
