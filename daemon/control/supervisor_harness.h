// For tests of the supervisor: real processes below a folder of its own, and an event loop that
// turns until a condition holds, up to a deadline that only a broken supervisor reaches.
//
//   add("a", kPrintAndStay).instances = 2;
//   start();
//   EXPECT_TRUE(until_line("[a-1] a-1 up"));
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "daemon/control/supervisor.h"
#include "daemon/control/test_folder.h"

namespace tusk::control {

// A worker that says its name and stays.
inline constexpr const char* kPrintAndStay = "echo \"$TUSK_WORKER up\"; exec sleep 1000";

struct SupervisorTest : testing::Test {
  SupervisorTest() { config.tuskd.times.shutdown_grace = std::chrono::seconds(20); }
  ~SupervisorTest() override {
    if (supervisor) stop();
    for (auto [pid, since] : pids) {
      if (start_time(pid) == since) ::kill(-pid, SIGKILL);
    }
  }

  config::Worker& add(const std::string& name, const std::string& script) {
    config::Worker worker{.language = "python",
                          .command = {"sh", "-c", script},
                          .directory = folder.path(),
                          .environment = {},
                          .labels = {},
                          .slots = {},
                          .pool = "python"};
    config.workers.entries.emplace_back(name, worker);
    return config.workers.entries.back().second;
  }
  config::Worker& worker(const std::string& name) {
    for (auto& [key, value] : config.workers.entries) {
      if (key == name) return value;
    }
    throw std::out_of_range(name);
  }

  void make() {
    supervisor = std::make_unique<Supervisor>(
        io, options,
        SupervisorHooks{.on_line =
                            [this](auto process, auto line) {
                              lines.push_back("[" + std::string(process) + "] " +
                                              std::string(line));
                            },
                        .on_log =
                            [this](config::LogLevel level, const std::string& text) {
                              (level == config::LogLevel::error ? errors : log).push_back(text);
                            }});
  }
  void start() {
    make();
    auto started = supervisor->start(config);
    ASSERT_TRUE(started) << started.error();
  }
  void reload() {
    auto reloaded = supervisor->reload(config);
    ASSERT_TRUE(reloaded) << reloaded.error();
  }
  void stop() {
    bool stopped = false;
    supervisor->stop([&] { stopped = true; });
    EXPECT_TRUE(until([&] { return stopped; }));
    EXPECT_TRUE(supervisor->status().empty());
    supervisor.reset();
  }
  // tuskd is gone, its workers are not. (That it was killed is another test.)
  void vanish() {
    supervisor.reset();
    io.poll();
  }

  template <class Condition>
  bool until(Condition condition) {
    auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      io.restart();
      io.run_one_for(std::chrono::milliseconds(10));
    }
    return true;
  }
  bool until_line(const std::string& line) {
    return until([&] { return std::count(lines.begin(), lines.end(), line) > 0; });
  }
  template <class Matcher>
  bool until_error(const Matcher& matcher) {
    return until([&] { return testing::Value(errors, testing::Contains(matcher)); });
  }
  template <class Matcher>
  bool until_log(const Matcher& matcher) {
    return until([&] { return testing::Value(log, testing::Contains(matcher)); });
  }
  std::optional<WorkerStatus> status(const std::string& name) {
    for (WorkerStatus& one : supervisor->status()) {
      if (one.pid > 0) pids.emplace(one.pid, start_time(one.pid));
      if (one.name == name) return one;
    }
    return {};
  }
  pid_t pid(const std::string& name) {
    auto one = status(name);
    return one ? one->pid : 0;
  }
  std::vector<std::string> names() {
    std::vector<std::string> all;
    for (const WorkerStatus& one : supervisor->status()) all.push_back(one.name);
    return all;
  }

  TestFolder folder;
  boost::asio::io_context io;
  config::Orchestration config;
  SupervisorOptions options{.state = folder.path(),
                            .url = "tcp://127.0.0.1:7420",
                            .restart = {.first_pause = std::chrono::milliseconds(1),
                                        .max_pause = std::chrono::milliseconds(4),
                                        .max_deaths = 4},
                            .poll = std::chrono::milliseconds(5),
                            .settled = std::chrono::milliseconds(20)};
  std::unique_ptr<Supervisor> supervisor;
  std::vector<std::string> lines, log, errors;
  std::map<pid_t, std::optional<std::uint64_t>> pids;  // all that were seen, and when they started
};

}  // namespace tusk::control
