// The signals that an operator or the system sends to tuskd.
//
//   Signals signals(io, {.stop = [&] { ... }, .reload = [&] { ... }});
//
// SIGTERM and SIGINT are `stop`, SIGHUP is `reload`, each as often as it comes, on the thread of
// the io_context. SIGPIPE is ignored from construction on: a peer that is gone is an error, not a
// death. One object per process; construct it before other threads start.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <functional>

namespace tusk::control {

class Signals {
 public:
  struct Hooks {
    std::function<void(int signal)> stop;
    std::function<void()> reload;
  };

  Signals(boost::asio::io_context& io, Hooks hooks);

 private:
  void wait();

  boost::asio::signal_set signals_;
  Hooks hooks_;
};

}  // namespace tusk::control
