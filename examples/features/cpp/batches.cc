// A handler takes several tasks at once.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

int main() {
  std::vector<std::size_t> sizes;
  tusk::Worker worker({.slots = 3, .threads = 1});
  worker.task("batches-cpp", {.items = 3, .time = 200ms}, [&](std::vector<int> numbers) {
    sizes.push_back(numbers.size());
    for (int& number : numbers) number *= number;
    return numbers;
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  std::vector<tusk::Task<int>> tasks;
  for (int n = 1; n <= 7; ++n) tasks.push_back(client.submit<int>("batches-cpp", n));
  std::vector<int> squares;
  for (auto& task : tasks) squares.push_back(task.get());
  std::cout << "sizes of the batches:";
  for (std::size_t size : sizes) std::cout << ' ' << size;
  std::cout << "\nresults:";
  for (int square : squares) std::cout << ' ' << square;
  std::cout << std::endl;
  worker.stop();
}
