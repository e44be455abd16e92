// Runs that may take only so long.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <thread>

using namespace std::chrono_literals;

int main() {
  tusk::Worker worker;
  worker.task("run_timeout-cpp", [](const tusk::Value&, tusk::Context& run) {
    while (!run.cancelled()) std::this_thread::sleep_for(5ms);  // for ever, but for being told
    std::cout << "told to stop: " << run.cancel_reason() << std::endl;
    throw tusk::Cancelled();
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  try {
    client.call(
        "run_timeout-cpp", nullptr,
        {.run_timeout = 200ms, .attempts = 2, .backoff = tusk::Backoff{.first = 10ms, .most = 1s}});
  } catch (const tusk::TaskDead& dead) {
    std::cout << "dead after " << dead.attempt() << " runs: " << dead.history().at(0).type << ", "
              << dead.history().at(1).type << '\n';
  }
  worker.stop();
}
