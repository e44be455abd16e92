#include "daemon/control/signals.h"

#include <csignal>

namespace tusk::control {

Signals::Signals(boost::asio::io_context& io, Hooks hooks)
    : signals_(io, SIGTERM, SIGINT, SIGHUP), hooks_(std::move(hooks)) {
  std::signal(SIGPIPE, SIG_IGN);
  wait();
}

void Signals::wait() {
  signals_.async_wait([this](auto error, int signal) {
    if (error) return;
    wait();
    if (signal == SIGHUP) {
      hooks_.reload();
    } else {
      hooks_.stop(signal);
    }
  });
}

}  // namespace tusk::control
