// What a run tells its caller while it runs.
#include <tusk/client.h>
#include <tusk/worker.h>

#include <chrono>
#include <iostream>
#include <thread>

using namespace std::chrono_literals;

int main() {
  tusk::Worker worker;
  worker.task("progress-cpp", [](int steps, tusk::Context& run) {
    for (int n = 1; n <= steps; ++n) {
      run.progress(n);  // any value
      if (n == 2) run.log(tusk::LogLevel::kInfo, "half way");
    }
    return steps;
  });
  std::jthread serving([&] { worker.run(); });
  worker.wait_until_ready(10s);

  tusk::Client client;
  const int result = client.call<int>(
      "progress-cpp", 3,
      {.on_progress =
           [](const tusk::Progress& p) { std::cout << "progress " << p.get<int>() << '\n'; },
       .on_log =
           [](const tusk::LogLine& line) {
             std::cout << tusk::to_string(line.level) << ": " << line.text << '\n';
           }});
  std::cout << "result " << result << '\n';
  worker.stop();
}
