// Of the tasks that wait the most important one is next.
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
  worker.task("priority-cpp", [&](const std::string& name) {
    if (name == "first") return gate.get_future().wait();
    std::cout << name << std::endl;
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  client.post("priority-cpp", "first");  // keeps the only slot busy
  auto low = client.submit("priority-cpp", "low", {.priority = "low"});
  client.submit("priority-cpp", "normal");
  client.submit("priority-cpp", "high", {.priority = "high"});
  client.post("priority-cpp", "critical", {.priority = 20});  // any number from -100 to 100
  gate.set_value();
  low.get();
  worker.stop();
}
