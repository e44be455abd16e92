// Changing a task while it waits.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <future>
#include <iostream>
#include <string>
#include <thread>

using namespace std::chrono_literals;

int main() {
  std::promise<void> gate;
  tusk::Worker worker({.slots = 1});
  worker.task("update-cpp", [&](const std::string& name) {
    if (name == "first") return gate.get_future().wait();
    std::cout << "ran: " << name << std::endl;
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  client.post("update-cpp", "first");  // keeps the only slot busy
  auto plain = client.submit("update-cpp", "plain");
  const tusk::TaskId id = client.post("update-cpp", "original");
  auto change = client.update(id, "changed");
  if (change.updated) std::cout << "updated: " << change.state << std::endl;
  client.update(id, {.priority = "high"});
  gate.set_value();
  plain.get();
  change = client.update(id, {.delay = 0s});
  if (!change.updated) std::cout << "too late: " << change.state << '\n';
  worker.stop();
}
