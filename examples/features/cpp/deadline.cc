// Tasks that are of no use any more after some time.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <thread>

using namespace std::chrono_literals;

int main() {
  tusk::Worker worker({.slots = 1});
  worker.task("deadline-cpp", [](int ms, tusk::Context& run) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
    while (std::chrono::steady_clock::now() < end) {
      if (run.cancelled()) {
        std::cout << "told to stop: " << run.cancel_reason() << std::endl;
        throw tusk::Cancelled();
      }
      std::this_thread::sleep_for(5ms);
    }
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  auto busy = client.submit("deadline-cpp", 600);
  try {
    client.call("deadline-cpp", 0, {.deadline = 200ms});
  } catch (const tusk::TaskExpired& error) {
    std::cout << "waiting: " << error.code() << std::endl;
  }
  busy.get();
  try {
    client.call("deadline-cpp", 60'000, {.deadline = 200ms});
  } catch (const tusk::TaskExpired& error) {
    std::cout << "running: " << error.code() << std::endl;
  }
  worker.stop();
}
