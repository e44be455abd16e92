// Tasks with one order key run one at a time, in their order, through retries too.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

int main() {
  std::vector<int> booked;
  tusk::Worker worker({.slots = 4, .threads = 4});
  worker.task("order-cpp", [&](int entry, tusk::Context& run) {
    if (entry == 1 && run.attempt() == 1) throw std::runtime_error("the ledger is away");
    booked.push_back(entry);  // no two of them run at the same time
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  std::vector<tusk::Task<>> entries;
  for (int n = 1; n <= 4; ++n) {
    entries.push_back(client.submit("order-cpp", n,
                                    {.attempts = 2,
                                     .backoff = tusk::Backoff{.first = 100ms, .most = 1s},
                                     .order_key = "account 7"}));
  }
  for (auto& entry : entries) entry.get();
  for (const int entry : booked) std::cout << entry << (entry < 4 ? " " : "\n");
  worker.stop();
}
