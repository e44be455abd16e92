// Processes as the supervisor needs them: started in a session of their own, recognised after a
// restart of tuskd, signalled without hitting a stranger.
//
//   auto pid = spawn({.command = {"python3", "worker.py"}, .directory = "/srv"}, output_fd);
//   if (!pid) log_error(pid.error());        // which command, which folder, why
//   auto process = Process::watch(io, *pid, /*own=*/true);
//   process->on_end([&] { log(text(process->reap())); });
//   process->signal(SIGTERM);
//
// Linux with pidfd. All on the thread of the io_context.
#pragma once

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "config/sections.h"

namespace tusk::control {

// What to start.
struct Launch {
  std::vector<std::string> command;        // never empty; the program is looked for in PATH
  std::string directory;                   // where it runs; empty: where tuskd does
  config::Named<std::string> environment;  // on top of tuskd's own; the last of a name counts
};

// Starts it as leader of a new session, so that neither a terminal nor tuskd's end takes it down:
// standard input empty, standard output and error appended to `output`, every other descriptor
// closed, every signal as by default. Environment variables by which systemd speaks to tuskd alone
// are left out. The error is one line: command, folder, reason.
tl::expected<pid_t, std::string> spawn(const Launch& launch, int output);

// When the process started, in clock ticks after boot: with the pid this names a process for good.
// Nothing if there is none, or only its zombie.
std::optional<std::uint64_t> start_time(pid_t pid);

// The leader of a session that has NAME=VALUE in its environment, 0 if there is none. Looks at
// every process of this machine that tuskd may look at.
pid_t find_session_leader(std::string_view name, std::string_view value);

// Whether the process group has a member that is not a zombie.
bool group_alive(pid_t group);

// How a process ended; neither: nobody can know, as it was not our child.
struct Ending {
  std::optional<int> exit_code;
  std::optional<int> signal;
};
// "exit code 3", "signal SIGSEGV", "unknown status".
std::string text(const Ending& ending);

class Process {
 public:
  // `own`: it is our child. The error is why it cannot be watched, a process that is gone included.
  static tl::expected<std::unique_ptr<Process>, std::string> watch(boost::asio::io_context& io,
                                                                   pid_t pid, bool own);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  // Destroyed early: the process goes on, the handler is not called.
  ~Process() = default;

  pid_t pid() const { return pid_; }
  bool own() const { return own_; }

  // Calls back once, when it ended. Call once.
  void on_end(std::function<void()> handler);

  // After the end: frees the pid of our own child and says how it ended. Once.
  Ending reap();

  // To the process alone; nothing if it ended.
  void signal(int number);

  // To it and to all that it started and that stayed in its group, also after its end.
  void signal_group(int number);

 private:
  Process(boost::asio::io_context& io, pid_t pid, bool own, int pidfd);

  pid_t pid_;
  bool own_;
  boost::asio::posix::stream_descriptor pidfd_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for callbacks: this still exists
};

}  // namespace tusk::control
