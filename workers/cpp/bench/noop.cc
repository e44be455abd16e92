// How many tasks that do nothing go through a client, the broker and a worker.
//
//   tusk_cpp_noop worker [slots] [threads]      runs until SIGTERM
//   tusk_cpp_noop client [in flight] [seconds] [bytes]
#include <tusk/client.h>
#include <tusk/worker.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace {

unsigned argument(int argc, char** argv, int index, unsigned otherwise) {
  return argc > index ? static_cast<unsigned>(std::atoi(argv[index])) : otherwise;
}

int work(unsigned slots, unsigned threads) {
  tusk::Worker worker({.slots = slots, .threads = threads});
  worker.task("noop", [](const tusk::Bytes& in) { return in; });
  worker.run();
  return 0;
}

struct Load {
  tusk::Client client;
  tusk::Bytes body;
  std::atomic<bool> stop{false};
  std::atomic<unsigned> in_flight{0};
  std::atomic<std::uint64_t> done{0};
  std::atomic<std::uint64_t> failed{0};

  void submit_one() {
    client.submit("noop", body, [this](const tusk::Ending& ending) {
      (ending.ok() ? done : failed).fetch_add(1, std::memory_order_relaxed);
      if (stop.load(std::memory_order_relaxed)) {
        in_flight.fetch_sub(1);
      } else {
        submit_one();
      }
    });
  }
};

int drive(unsigned in_flight, unsigned seconds, unsigned bytes) {
  Load load;
  load.body.resize(bytes);
  load.client.call<tusk::Bytes>("noop", load.body);
  load.in_flight = in_flight;
  const auto start = std::chrono::steady_clock::now();
  for (unsigned i = 0; i < in_flight; ++i) load.submit_one();
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  const std::uint64_t done = load.done;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  load.stop = true;
  while (load.in_flight > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::printf("%.0f tasks/s, %u in flight, %u bytes, %llu failed\n",
              static_cast<double>(done) / took.count(), in_flight, bytes,
              static_cast<unsigned long long>(load.failed));
  return load.failed > 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "worker") return work(argument(argc, argv, 2, 1000), argument(argc, argv, 3, 0));
  if (what == "client") {
    return drive(argument(argc, argv, 2, 1000), argument(argc, argv, 3, 3),
                 argument(argc, argv, 4, 100));
  }
  std::fprintf(stderr, "usage: %s worker [slots] [threads] | client [in flight] [s] [bytes]\n",
               argv[0]);
  return 2;
}
