// A handler sends its results one by one, and the caller takes them as they come.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <string>
#include <thread>

using namespace std::chrono_literals;

int main() {
  tusk::Worker worker({.slots = 1});
  worker.task("stream-cpp", [](int chunks, tusk::Context& run) {
    for (int n = 1; n <= chunks; ++n) run.send("chunk " + std::to_string(n));
    return std::to_string(chunks) + " chunks";
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  auto stream = client.stream<std::string>("stream-cpp", 3);
  while (auto chunk = stream.next()) std::cout << *chunk << '\n';
  std::cout << "result: " << stream.result<std::string>() << std::endl;
  worker.stop();
}
