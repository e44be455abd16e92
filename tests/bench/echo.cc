// The processes of the echo benchmark; tests/bench/echo starts them and compares.
//
//   tusk_echo proxy FRONT BACK           zmq_proxy, ROUTER to DEALER
//   tusk_echo raw-worker BACK            answers every message with itself
//   tusk_echo raw-client FRONT N S       N in flight for S seconds, then one line of JSON
//   tusk_echo worker URL                 the C++ SDK, 1,000 slots
//   tusk_echo client URL TYPE N S        the same for the C++ SDK
//
// Every body is 100 bytes. The line of JSON: {"per_second": ..., "p50_us": ..., "p99_us": ...}; the
// latencies only with one in flight.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "tusk/client.h"
#include "tusk/worker.h"

namespace {

using Clock = std::chrono::steady_clock;
using Microseconds = std::chrono::duration<double, std::micro>;

constexpr size_t kBody = 100;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void report(size_t done, double seconds, std::vector<double>& latencies) {
  std::printf("{\"per_second\": %.1f", static_cast<double>(done) / seconds);
  if (!latencies.empty()) {
    std::sort(latencies.begin(), latencies.end());
    std::printf(", \"p50_us\": %.1f, \"p99_us\": %.1f", latencies[latencies.size() / 2],
                latencies[latencies.size() * 99 / 100]);
  }
  std::printf("}\n");
}

int proxy(const std::string& front, const std::string& back) {
  zmq::context_t context;
  zmq::socket_t clients(context, zmq::socket_type::router);
  zmq::socket_t workers(context, zmq::socket_type::dealer);
  clients.set(zmq::sockopt::sndhwm, 0);
  clients.set(zmq::sockopt::rcvhwm, 0);
  workers.set(zmq::sockopt::sndhwm, 0);
  workers.set(zmq::sockopt::rcvhwm, 0);
  clients.bind(front);
  workers.bind(back);
  zmq::proxy(clients, workers);
  return 0;
}

int raw_worker(const std::string& back) {
  zmq::context_t context;
  zmq::socket_t socket(context, zmq::socket_type::dealer);
  socket.connect(back);
  std::vector<zmq::message_t> frames;
  for (;;) {
    frames.clear();
    do {
      (void)socket.recv(frames.emplace_back());
    } while (frames.back().more());
    for (size_t i = 0; i < frames.size(); ++i) {
      socket.send(frames[i],
                  i + 1 < frames.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
    }
  }
}

int raw_client(const std::string& front, size_t in_flight, double seconds) {
  zmq::context_t context;
  zmq::socket_t socket(context, zmq::socket_type::dealer);
  socket.connect(front);
  const std::string body(kBody, 'x');
  size_t done = 0;
  std::vector<double> latencies;
  auto send = [&] { socket.send(zmq::buffer(body)); };
  zmq::message_t message;
  send();  // until the first answer everything is set-up
  (void)socket.recv(message);
  const auto start = Clock::now();
  for (size_t i = 0; i < in_flight; ++i) send();
  auto sent = start;
  while (seconds_since(start) < seconds) {
    // Look at the clock now and then only.
    for (size_t i = 0; i < std::max<size_t>(in_flight / 10, 1); ++i) {
      (void)socket.recv(message);
      ++done;
      if (in_flight == 1) {
        const auto now = Clock::now();
        latencies.push_back(Microseconds(now - sent).count());
        sent = now;
      }
      send();
    }
  }
  report(done, seconds_since(start), latencies);
  socket.set(zmq::sockopt::linger, 0);
  return 0;
}

int worker(const std::string& url) {
  tusk::Worker worker({.url = url, .slots = 1000});
  worker.task("echo", [](std::string body) { return body; });
  worker.run();
  return 0;
}

// One task in flight: each waits for its result before the next goes.
int lone_client(tusk::Client& client, const std::string& type, const std::string& body,
                double seconds) {
  std::vector<double> latencies;
  const auto start = Clock::now();
  while (seconds_since(start) < seconds) {
    const auto sent = Clock::now();
    client.call(type, body);
    latencies.push_back(Microseconds(Clock::now() - sent).count());
  }
  const size_t done = latencies.size();
  report(done, seconds_since(start), latencies);
  return 0;
}

int client(const std::string& url, const std::string& type, size_t in_flight, double seconds) {
  tusk::Client client(url);
  const std::string body(kBody, 'x');
  client.call(type, body, {.timeout = std::chrono::seconds(30)});  // all of it stands
  if (in_flight == 1) return lone_client(client, type, body, seconds);

  // Each result sends the next task, on the client's own thread.
  std::mutex mutex;
  std::condition_variable all_back;
  std::atomic<size_t> done{0}, flying{0};
  std::atomic<bool> over{false};
  std::function<void(const tusk::Ending&)> on_result;
  auto send = [&] {
    client.submit(type, body, [&on_result](const tusk::Ending& ending) { on_result(ending); });
  };
  on_result = [&](const tusk::Ending& ending) {
    if (!ending.ok()) {
      std::fprintf(stderr, "a task did not succeed\n");
      std::exit(1);
    }
    done.fetch_add(1, std::memory_order_relaxed);
    if (!over.load(std::memory_order_relaxed)) return send();
    if (flying.fetch_sub(1) == 1) {
      std::lock_guard lock(mutex);
      all_back.notify_one();
    }
  };
  flying = in_flight;
  const auto start = Clock::now();
  for (size_t i = 0; i < in_flight; ++i) send();
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  over = true;
  const size_t count = done;
  const double took = seconds_since(start);
  std::unique_lock lock(mutex);
  all_back.wait(lock, [&] { return flying == 0; });
  std::vector<double> none;
  report(count, took, none);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string role = argc > 1 ? argv[1] : "";
  if (role == "proxy" && argc == 4) return proxy(argv[2], argv[3]);
  if (role == "raw-worker" && argc == 3) return raw_worker(argv[2]);
  if (role == "raw-client" && argc == 5) {
    return raw_client(argv[2], std::strtoul(argv[3], nullptr, 10), std::atof(argv[4]));
  }
  if (role == "worker" && argc == 3) return worker(argv[2]);
  if (role == "client" && argc == 6) {
    return client(argv[2], argv[3], std::strtoul(argv[4], nullptr, 10), std::atof(argv[5]));
  }
  std::fprintf(stderr, "see tests/bench/echo\n");
  return 2;
}
