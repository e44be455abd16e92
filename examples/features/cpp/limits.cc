// The config lets two tasks of a limit key run at a time; the keys do not hold each other up.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

int main() {
  std::mutex mutex;
  std::map<std::string, int> now;
  int all = 0, most = 0, most_of_all = 0;
  tusk::Worker worker({.slots = 6, .threads = 6});
  worker.task("limits-cpp", [&](const std::string& host) {
    {
      std::lock_guard lock(mutex);
      most = std::max(most, ++now[host]);
      most_of_all = std::max(most_of_all, ++all);
    }
    std::this_thread::sleep_for(200ms);
    std::lock_guard lock(mutex);
    --now[host];
    --all;
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  std::vector<tusk::Task<>> tasks;
  for (const std::string host : {"one.example", "two.example"}) {
    for (int n = 0; n < 6; ++n) {
      tasks.push_back(client.submit("limits-cpp", host, {.timeout = 30s, .limit_key = host}));
    }
  }
  for (auto& task : tasks) task.get();
  std::cout << "at most at a time: " << most << '\n';
  std::cout << "both keys at once: " << most_of_all << '\n';
  worker.stop();
}
