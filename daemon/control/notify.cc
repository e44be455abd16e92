#include "daemon/control/notify.h"

#include <spdlog/fmt/fmt.h>
#include <systemd/sd-daemon.h>

#include <chrono>

namespace tusk::control::notify {
namespace {

void send(const std::string& state) { ::sd_notify(/*unset_environment=*/0, state.c_str()); }

// A status is one line: what follows would be read as further assignments.
std::string one_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

void ready(const std::string& status) { send("READY=1\nSTATUS=" + one_line(status)); }

void reloading() {
  auto now = std::chrono::steady_clock::now().time_since_epoch();  // CLOCK_MONOTONIC here
  auto us = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", us));
}

void stopping() { send("STOPPING=1\nSTATUS=stopping"); }

void status(const std::string& text) { send("STATUS=" + one_line(text)); }

}  // namespace tusk::control::notify
