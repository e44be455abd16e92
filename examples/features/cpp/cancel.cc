// What becomes of tasks that are cancelled.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <future>
#include <iostream>
#include <string>
#include <thread>

using namespace std::chrono_literals;

std::string cancel(tusk::Client& client, const tusk::TaskId& id) {
  try {
    return client.cancel(id);
  } catch (const tusk::UnknownTask& error) {
    return error.code();
  }
}

int main() {
  std::promise<void> runs;
  tusk::Worker worker({.slots = 1});
  worker.task("cancel-cpp", [&](bool waits, tusk::Context& run) {
    if (!waits) return;
    runs.set_value();
    while (!run.cancelled()) std::this_thread::sleep_for(5ms);
    std::cout << "told to stop: " << run.cancel_reason() << std::endl;
    throw tusk::Cancelled();
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  auto running = client.submit("cancel-cpp", true);
  runs.get_future().wait();
  auto waiting = client.submit("cancel-cpp", false);
  std::cout << "waiting: " << cancel(client, waiting.id()) << std::endl;
  cancel(client, running.id());  // "cancelling": its worker winds down
  try {
    running.get();
  } catch (const tusk::TaskCancelled& error) {
    std::cout << "running: " << error.code() << std::endl;
  }
  auto ended = client.submit("cancel-cpp", false);
  ended.get();
  std::cout << "ended: " << cancel(client, ended.id()) << '\n';
  std::cout << "unknown: " << cancel(client, tusk::TaskId::make()) << '\n';
  worker.stop();
}
