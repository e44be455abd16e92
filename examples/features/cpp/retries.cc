// Runs that fail, and when there is another one.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>

using namespace std::chrono_literals;

struct Flaky : std::runtime_error {
  Flaky() : std::runtime_error("not this time") {}
};
struct BadInput : std::runtime_error {
  BadInput() : std::runtime_error("never") {}
};

int main() {
  tusk::Worker worker;
  worker.task("retries-cpp", [](const std::string& fails, tusk::Context& run) {
    if (fails == "always" || (fails == "twice" && run.attempt() <= 2)) throw Flaky();
    if (fails == "for good") throw BadInput();
    return run.attempt();
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  tusk::CallOptions options{.attempts = 5,
                            .backoff = tusk::Backoff{.first = 20ms, .most = 1s, .factor = 3},
                            .no_retry_on = {"BadInput"}};
  std::cout << "flaky: attempt " << client.call<int>("retries-cpp", "twice", options) << '\n';
  try {
    client.call("retries-cpp", "for good", options);
  } catch (const tusk::TaskFailed& error) {
    std::cout << "hopeless: " << error.code() << " with " << error.type() << " after attempt "
              << error.attempt() << '\n';
  }
  options.attempts = 2;
  try {
    client.call("retries-cpp", "always", options);
  } catch (const tusk::TaskDead& dead) {
    std::cout << "doomed: " << dead.code();
    for (const tusk::Attempt& run : dead.history()) {
      std::cout << ", attempt " << run.attempt << ' ' << run.type;
    }
    std::cout << '\n';
  }
  worker.stop();
}
