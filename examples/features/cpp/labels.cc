// Tasks are listed, counted and cancelled by their labels.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <thread>

using namespace std::chrono_literals;

int main() {
  tusk::Worker worker({.slots = 1});
  worker.task("labels-cpp", [](std::nullptr_t) {});
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  for (const char* customer : {"acme", "acme", "other", "acme", "other", "acme"}) {
    client.post("labels-cpp", nullptr, {.delay = 1h, .labels = {{"customer", customer}}});
  }
  const tusk::Filter acme{
      .type = "labels-cpp", .state = "delayed", .labels = {{"customer", "acme"}}};
  const tusk::Filter all{.type = "labels-cpp", .state = "delayed"};
  std::cout << "acme: " << client.tasks(acme).size() << " tasks\n";
  std::cout << "would cancel: " << client.cancel_all(acme, {.dry_run = true}).matched << '\n';
  std::cout << "cancelled: " << client.cancel_all(acme).changed << '\n';
  std::cout << "left: " << client.tasks(all).size() << std::endl;
  client.cancel_all(all);
  worker.stop();
}
