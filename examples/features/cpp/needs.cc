// Tasks run only where there is what they need, as long as it is free.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <mutex>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

int main() {
  std::mutex mutex;
  int running = 0, most = 0;
  const auto count = [&](int change) {
    std::lock_guard lock(mutex);
    running += change;
    most = std::max(most, running);
  };
  tusk::Worker worker({.slots = 4, .threads = 4, .labels = tusk::map("gpu", 2, "region", "earth")});
  worker.task("needs-cpp", [&](std::nullptr_t) {
    count(1);
    std::this_thread::sleep_for(50ms);
    count(-1);
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  std::vector<tusk::Task<>> tasks;
  for (int n = 0; n < 4; ++n) {
    tasks.push_back(client.submit("needs-cpp", nullptr, {.consumes = tusk::map("gpu", 1)}));
  }
  for (auto& task : tasks) task.get();
  std::cout << "at most at a time: " << most << '\n';
  try {
    // A broker that was just started waits for a worker that may still come.
    client.call("needs-cpp", nullptr, {.timeout = 1min, .requires_ = tusk::map("region", "mars")});
  } catch (const tusk::Unserved& error) {
    std::cout << "region mars: " << error.code() << std::endl;
  }
  worker.stop();
}
