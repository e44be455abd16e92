// A handler that cannot run now, which is no failure.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <thread>

using namespace std::chrono_literals;

int main() {
  tusk::Worker worker;
  worker.task("defer-cpp", [](const tusk::Value&, tusk::Context& run) {
    if (run.attempt() < 3) throw tusk::Defer(50ms);  // say, for a lock that somebody holds
    return run.attempt();
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  std::cout << "ran as attempt " << client.call<int>("defer-cpp", nullptr, {.attempts = 1}) << '\n';
  worker.stop();
}
