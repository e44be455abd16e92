// The tasks of one key go to one worker.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

int main() {
  // Two workers in one process: neither of them takes its signals.
  tusk::Worker first({.slots = 1, .name = "first", .handle_signals = false});
  tusk::Worker second({.slots = 1, .name = "second", .handle_signals = false});
  first.task("sticky-cpp", [](std::nullptr_t) { return std::string("first"); });
  second.task("sticky-cpp", [](std::nullptr_t) { return std::string("second"); });
  std::jthread serving_first([&] { first.run(); }), serving_second([&] { second.run(); });
  first.wait_until_ready(10s);
  second.wait_until_ready(10s);

  tusk::Client client;
  for (const std::string key : {"a", "b"}) {
    std::vector<tusk::Task<std::string>> tasks;
    for (int n = 0; n < 10; ++n) {
      tasks.push_back(client.submit<std::string>("sticky-cpp", nullptr, {.sticky_key = key}));
    }
    std::set<std::string> workers;
    for (auto& task : tasks) workers.insert(task.get());
    std::cout << "workers that ran key \"" << key << "\": " << workers.size() << std::endl;
  }
  first.stop();
  second.stop();
}
