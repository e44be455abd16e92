// One worker process that the config asks for, over its restarts: `pandas-2`.
//
//   WorkerProcess process(surroundings, wanted);
//   process.start();                      // it restarts by itself, with growing pauses
//   process.want(changed); process.end(grace); ... on ended(): process.start();
//
//                       ended by itself
//   idle --start()--> running ---------> pausing --pause over--> running
//    ^                   |                  |  no more tries
//    |                 end()                +----------------> given_up --begin_anew()--> running
//    +---- ended() <-- ending
//
// Owned by the Supervisor in a shared_ptr; on its thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "config/orchestration.h"
#include "daemon/control/output_file.h"
#include "daemon/control/process.h"
#include "daemon/control/restart_policy.h"
#include "daemon/control/roster.h"
#include "daemon/control/wanted.h"

namespace tusk::control {

// What the supervisor is told at its construction.
struct SupervisorOptions {
  std::string state;  // the state folder
  std::string url;    // TUSK_URL: what a process on this machine connects to
  RestartPolicy::Bounds restart = {};
  OutputFile::Bounds output = {};
  std::chrono::milliseconds poll{100};     // how often output is looked for
  std::chrono::milliseconds settled{500};  // a replacement ran this long: the next one's turn
};

struct SupervisorHooks {
  // A line that a process printed, of at most OutputFile::Bounds::max_line and a mark.
  std::function<void(std::string_view process, std::string_view line)> on_line;
  std::function<void(config::LogLevel level, const std::string& text)> on_log;
};

// One process, for people and for tuskctl.
struct WorkerStatus {
  enum class State { idle, running, ending, pausing, given_up };
  std::string name;    // "pandas-2"
  std::string worker;  // "pandas", the name in the config
  State state = State::idle;
  pid_t pid = 0;  // 0: none at this moment
  std::size_t restarts = 0;
  bool adopted = false;   // started by a former tuskd
  bool outdated = false;  // runs with former settings until its turn to be replaced comes
};
std::string_view to_text(WorkerStatus::State state);

class WorkerProcess : public std::enable_shared_from_this<WorkerProcess> {
 public:
  using State = WorkerStatus::State;
  using Clock = std::chrono::steady_clock;

  // Must outlive it.
  struct Surroundings {
    boost::asio::io_context& io;
    const SupervisorOptions& options;
    const SupervisorHooks& hooks;
    std::function<void()> save;                   // the roster, now: a process is to be started
    std::function<void()> changed;                // the roster is to be saved soon
    std::function<void(WorkerProcess&)> settled;  // it runs, and has for a while
    std::function<void(WorkerProcess&)> ended;    // end() is done: now idle
  };

  WorkerProcess(Surroundings& surroundings, Wanted wanted);

  // Takes over a running process. False if it is gone by now.
  bool adopt(const Roster::Entry& entry, pid_t pid);

  // From idle.
  void start();
  // From pausing and given_up: forgets what happened and starts at once. From idle: start().
  void begin_anew();
  // SIGTERM, after `grace` SIGKILL, to what runs; then ended(). Where nothing runs: idle at once,
  // without ended().
  void end(std::chrono::microseconds grace);
  // SIGKILL to all of its group. From running it starts again, as after any death.
  void kill();

  // What it is to be at its next start.
  void want(Wanted wanted);
  const Wanted& wanted() const { return wanted_; }

  // Reads what it printed, a bounded step; true if there is more at once. Notices the end of the
  // last of its group.
  bool follow();

  State state() const { return state_; }
  bool outdated() const { return process_ && running_digest_ != wanted_.digest; }
  // Runs well enough for another to be taken down.
  bool is_settled() const;
  WorkerStatus status() const;
  Roster::Entry entry() const;
  // How far its output was followed.
  std::uint64_t offset() const { return output_ ? output_->offset() : 0; }

  // The config no longer names it: at its end it is forgotten.
  bool removed = false;

 private:
  void on_end();
  void died(const std::string& how, Clock::duration ran);
  void give_up(const std::string& how);
  void gone();
  bool open_output(std::optional<std::uint64_t> offset);
  void watch_end();
  template <class Action>
  void after(std::chrono::microseconds delay, Action action);
  void log(config::LogLevel level, const std::string& text);
  void on_line(std::string_view line) { around_.hooks.on_line(wanted_.name, line); }

  Surroundings& around_;
  Wanted wanted_;
  State state_ = State::idle;
  std::unique_ptr<Process> process_;
  bool leader_ended_ = false;  // in ending: others of its group are left
  std::uint64_t start_time_ = 0;
  std::string running_digest_;
  std::string token_;
  Clock::time_point started_{};
  std::size_t restarts_ = 0;
  RestartPolicy policy_;
  std::string last_failure_;  // to start; the same one again is no news
  std::optional<OutputFile> output_;
  boost::asio::steady_timer timer_;
  std::uint64_t timer_use_ = 0;  // an expired wait of a former use does nothing
};

}  // namespace tusk::control
