// Tasks that wait for a while, or for a point in time.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <string>
#include <thread>

using namespace std::chrono_literals;

using Clock = std::chrono::system_clock;

int main() {
  tusk::Worker worker({.slots = 2});
  worker.task("delay-cpp", [](Clock::time_point earliest) {
    return std::string(Clock::now() < earliest ? "too early" : "in time");
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  auto at = Clock::now() + 300ms;
  std::cout << "delay: " << client.call<std::string>("delay-cpp", at, {.delay = 300ms}) << '\n';
  at = Clock::now() + 300ms;
  std::cout << "not_before: " << client.call<std::string>("delay-cpp", at, {.not_before = at})
            << '\n';
  worker.stop();
}
