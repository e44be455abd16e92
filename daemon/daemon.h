// tuskd as a running service: the data plane on a thread of its own, signals and worker processes
// on this one.
//
//   Daemon daemon(load_config(file)->configuration, "/etc/tuskd/orchestration.tsk");
//   return daemon.run();             // until it was told to stop; the exit status
//
// A reload (SIGHUP) is applied whole or not at all: the file is read and checked here, the data
// plane says whether it can apply it, and only then do the worker processes follow.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "daemon/control/signals.h"
#include "daemon/control/state_folder.h"
#include "daemon/control/supervisor.h"
#include "daemon/load_config.h"
#include "daemon/transport/data_plane.h"

namespace tusk {

class Daemon {
 public:
  // `file`: where reloads read from; "" without a file. Opens the log, the sockets and, if there
  // are workers to start, the state folder. Throws std::runtime_error with one line for a person.
  Daemon(Configuration configuration, std::string file);
  ~Daemon();

  int run();

 private:
  void say_what_runs() const;
  std::string summary() const;
  void open_state();
  void start_workers();
  void reload();
  void reload_decided(const core::ReloadOutcome& outcome);
  void stop();
  void data_plane_ended(const std::string& error);
  void tidy();

  std::shared_ptr<const config::Orchestration> config_;
  const std::string file_;
  boost::asio::io_context io_;
  control::Signals signals_;
  std::unique_ptr<transport::DataPlane> plane_;
  std::optional<control::StateFolder> state_;
  std::unique_ptr<control::Supervisor> supervisor_;
  std::thread data_;
  boost::asio::steady_timer tidy_{io_};
  std::shared_ptr<const config::Orchestration> fresh_;  // a reload that is under way
  bool reload_again_ = false;                           // another SIGHUP came meanwhile
  bool stopping_ = false;
  bool plane_ended_ = false;
  int exit_status_ = 0;
};

}  // namespace tusk
