// The results of tasks that somebody else submitted.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

int main() {
  tusk::Worker worker;
  worker.task("results-cpp", [](int n) { return 10 * n; });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  std::vector<tusk::TaskId> ids;
  {
    tusk::Client first;
    for (const int n : {1, 2}) ids.push_back(first.post("results-cpp", n, {.retention = 1min}));
  }

  tusk::Client client;
  for (const auto& task : client.await_all<int>(ids)) std::cout << task.get() << '\n';
  std::cout << "state: " << client.task(ids[0]).state << '\n';
  try {
    client.await_task(tusk::TaskId::make());
  } catch (const tusk::UnknownTask& error) {
    std::cout << "unknown: " << error.code() << '\n';
  }
  worker.stop();
}
