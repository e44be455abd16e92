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
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "config/orchestration.h"
#include "daemon/control/roster.h"
#include "daemon/control/worker_process.h"

namespace tusk::control {

class Supervisor {
 public:
  using Options = SupervisorOptions;
  using Hooks = SupervisorHooks;

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

  // Whether this process belongs to a worker that runs here.
  bool runs(pid_t pid) const;
  // Kills that worker, which hangs; it is started again as after any death. Nothing if it is gone.
  void replace(pid_t pid);

  std::vector<WorkerStatus> status() const;

 private:
  using Children = std::map<std::string, std::shared_ptr<WorkerProcess>, std::less<>>;

  WorkerProcess* find_running(pid_t pid) const;
  void adopt_former();
  tl::expected<void, std::string> apply(const config::Orchestration& config);
  void remove(WorkerProcess& child);
  void roll(std::string_view worker);
  void ended(WorkerProcess& child);
  void tick();
  void schedule_tick(std::chrono::milliseconds delay);
  void finish_stop();

  tl::expected<void, std::string> write_roster(const Children& more);
  void save_soon();  // once for all that happens in this turn of the loop
  void save();
  void log(config::LogLevel level, const std::string& text) { hooks_.on_log(level, text); }

  boost::asio::io_context& io_;
  Options options_;
  Hooks hooks_;
  Roster roster_;
  WorkerProcess::Surroundings surroundings_;
  Children children_;
  std::chrono::microseconds grace_{0};

  boost::asio::steady_timer tick_;
  boost::asio::steady_timer stop_timer_;
  bool ticking_ = false;
  bool unsaved_ = false;      // the roster is behind
  bool moved_ = false;        // only in its offsets
  bool save_failed_ = false;  // and was logged
  std::chrono::steady_clock::time_point saved_{};
  bool started_ = false;
  bool stopping_ = false;
  std::function<void()> stopped_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for callbacks: this still exists
};

}  // namespace tusk::control
