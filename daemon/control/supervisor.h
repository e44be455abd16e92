// Starts the worker processes that the config names, keeps them running and hands on what they
// print. They outlive a killed tuskd; the next one finds them and starts no second.
//
//   Supervisor supervisor(io, {.state = folder, .url = "tcp://127.0.0.1:7420"}, hooks);
//   if (auto ok = supervisor.start(config); !ok) fail(ok.error());
//   supervisor.reload(new_config);                     // SIGHUP
//   supervisor.stop([&] { io.stop(); });               // SIGTERM; call again: at once
//
// One thread, that of the io_context; hooks are called on it and must not destroy the supervisor.
// Destroyed without stop() it leaves the processes running. The caller holds the state folder's
// lock. SUPERVISOR.md says what happens when.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "config/orchestration.h"
#include "daemon/control/output_file.h"
#include "daemon/control/process.h"
#include "daemon/control/restart_policy.h"

namespace tusk::control {

// One process, for people and for tuskctl.
struct WorkerStatus {
  enum class State { running, ending, pausing, given_up };
  std::string name;    // "pandas-2"
  std::string worker;  // "pandas", the name in the config
  State state;
  pid_t pid;  // 0: none at this moment
  std::size_t restarts;
  bool adopted;   // started by a former tuskd
  bool outdated;  // runs with former settings until its turn to be replaced comes
};

class Supervisor {
 public:
  struct Options {
    std::string state;  // the state folder
    std::string url;    // TUSK_URL: what a process on this machine connects to
    RestartPolicy::Bounds restart = {};
    OutputFile::Bounds output = {};
    std::chrono::milliseconds poll{100};     // how often output is looked for
    std::chrono::milliseconds settled{500};  // a replacement ran this long: the next one's turn
  };

  struct Hooks {
    // A line that a process printed, of at most OutputFile::Bounds::max_line and a mark.
    std::function<void(std::string_view process, std::string_view line)> on_line;
    std::function<void(config::LogLevel level, const std::string& text)> on_log;
  };

  Supervisor(boost::asio::io_context& io, Options options, Hooks hooks);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // What is wrong with these workers, one line each: two processes of one name. Ask before a reload
  // is applied.
  static std::vector<std::string> problems(const config::Orchestration& config);

  // Finds what a former tuskd left running, then makes it what the config says. An error: the state
  // folder cannot be used, and nothing was started. Call once.
  tl::expected<void, std::string> start(const config::Orchestration& config);

  // Starts what was added, drains what was removed (SIGTERM, after shutdown_grace SIGKILL),
  // replaces what changed one process at a time, and begins anew with what had been given up. An
  // error: the state file cannot be written, and nothing was changed.
  tl::expected<void, std::string> reload(const config::Orchestration& config);

  // SIGTERM to all, after shutdown_grace SIGKILL; `done` is called when none is left. The second
  // call kills at once; its `done` takes the place of the first.
  void stop(std::function<void()> done);

  std::vector<WorkerStatus> status() const;

 private:
  struct Child;
  using ChildPtr = std::shared_ptr<Child>;

  boost::asio::io_context& io_;
  Options options_;
  Hooks hooks_;
};

}  // namespace tusk::control
