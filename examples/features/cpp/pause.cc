// A handler that knows that no task of its type can run for a while.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <thread>

using namespace std::chrono_literals;

int main() {
  tusk::Worker worker({.slots = 2});
  worker.task("pause-cpp", [](bool limited, tusk::Context& run) {
    if (limited) run.pause_type(400ms);  // say, by a service that wants no more requests now
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  const auto began = std::chrono::steady_clock::now();
  client.call("pause-cpp", true);
  client.call("pause-cpp", false);
  const bool paused = std::chrono::steady_clock::now() - began >= 400ms;
  std::cout << "paused: " << (paused ? "yes" : "no") << '\n';
  worker.stop();
}
