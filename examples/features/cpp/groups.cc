// Groups take turns: whoever brings much does not hold up whoever brings little.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

int main() {
  std::binary_semaphore busy(0), all_sent(0);
  tusk::Worker worker({.slots = 1});
  worker.task("groups-cpp", [&](const std::string& tenant) {
    if (tenant == "first") {
      busy.release();
      all_sent.acquire();
    } else {
      std::cout << tenant << std::endl;
    }
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  client.post("groups-cpp", "first");
  busy.acquire();
  std::vector<tusk::Task<>> tasks;
  for (const std::string tenant : {"big", "big", "big", "big", "big", "small"}) {
    tasks.push_back(client.submit("groups-cpp", tenant, {.group = tenant}));
  }
  client.query("status");  // answered behind the tasks: the broker has them all
  all_sent.release();
  for (auto& task : tasks) task.get();
  worker.stop();
}
