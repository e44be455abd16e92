// A run submits tasks and waits for them; its slot is lent out meanwhile.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

int main() {
  tusk::Worker worker({.slots = 1});
  worker.task("children-square-cpp", [](int n) { return n * n; });
  worker.task("children-sum-cpp", [](const std::vector<int>& numbers, tusk::Context& run) {
    int sum = 0;
    for (int square : run.call_many<int>("children-square-cpp", numbers)) sum += square;
    return sum;
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  for (const std::vector<int>& numbers : {std::vector{1, 2, 3}, {4, 5, 6}}) {
    const int sum = client.call<int>("children-sum-cpp", numbers);
    std::cout << "sum of squares of " << numbers[0] << ", " << numbers[1] << ", " << numbers[2]
              << ": " << sum << std::endl;
  }
  worker.stop();
}
