// A run that goes on where the one before it failed.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <stdexcept>
#include <thread>

using namespace std::chrono_literals;

int main() {
  tusk::Worker worker;
  worker.task("checkpoint-cpp", [](int steps, tusk::Context& run) {
    int at = run.last_checkpoint<int>().value_or(0);
    std::cout << "attempt " << run.attempt() << " begins at " << at << std::endl;
    for (; at < steps; ++at) {
      if (at == 2 && run.attempt() == 1) throw std::runtime_error("the power went out");
      run.checkpoint(at + 1);
    }
    return at;
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  const tusk::CallOptions twice{.attempts = 2, .backoff = tusk::Backoff{}};  // again at once
  const int result = client.call<int>("checkpoint-cpp", 4, twice);
  std::cout << "result " << result << '\n';
  worker.stop();
}
