// Of the tasks with one key only one lives.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <semaphore>
#include <string>
#include <thread>

using namespace std::chrono_literals;

int main() {
  std::binary_semaphore begun(0);
  std::counting_semaphore gate(0);
  int runs = 0;
  tusk::Worker worker({.slots = 1});
  worker.task("unique-cpp", [&](const tusk::Value&) {
    const int run = ++runs;
    begun.release();
    gate.acquire();
    return "run " + std::to_string(run);
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  const auto submit = [&](const char* policy) {
    return client.submit<std::string>("unique-cpp", nullptr,
                                      {.unique = "report 7", .unique_policy = policy});
  };
  auto first = submit("join");
  begun.acquire();
  auto joined = submit("join");
  auto follow_up = submit("follow_up");
  try {
    submit("refuse").get();
  } catch (const tusk::Duplicate& duplicate) {
    if (duplicate.id() == first.id()) std::cout << "refused: " << duplicate.code() << '\n';
  }
  gate.release(2);
  std::cout << "first: " << first.get() << '\n';
  std::cout << "joined: " << joined.get() << '\n';
  std::cout << "follow-up: " << follow_up.get() << '\n';
  if (joined.joined_id() != first.id()) std::cout << "it joined another task\n";
  worker.stop();
}
