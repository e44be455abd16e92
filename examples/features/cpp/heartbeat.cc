// Runs that have to give a sign of life.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <string>
#include <thread>

using namespace std::chrono_literals;

int main() {
  tusk::Worker worker;
  worker.task("heartbeat-cpp", [](bool speaks, tusk::Context& run) {
    for (int i = 0; speaks && i < 12; ++i) {
      std::this_thread::sleep_for(50ms);
      run.heartbeat();  // progress, logs and checkpoints are signs of life too
    }
    if (speaks) return std::string("done");
    while (!run.cancelled()) std::this_thread::sleep_for(5ms);
    std::cout << "told to stop: " << run.cancel_reason() << std::endl;
    throw tusk::Cancelled();
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  const tusk::CallOptions lively{.heartbeat_timeout = 300ms, .attempts = 1};
  std::cout << "spoke: " << client.call<std::string>("heartbeat-cpp", true, lively) << std::endl;
  try {
    client.call("heartbeat-cpp", false, lively);
  } catch (const tusk::TaskFailed& error) {
    std::cout << "silent: " << error.type() << '\n';
  }
  worker.stop();
}
