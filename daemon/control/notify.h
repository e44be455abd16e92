// What tuskd tells systemd about itself; nothing happens where it was not started by systemd.
//
//   notify::ready("7420, 4 workers");   // the endpoints are bound
//   notify::reloading(); ... notify::ready("7420, 5 workers");
//   notify::stopping();
//
// Any thread. The texts are one line each; they show in `systemctl status`.
#pragma once

#include <string>

namespace tusk::control::notify {

void ready(const std::string& status);
// Carries the monotonic time, as Type=notify-reload asks for.
void reloading();
void stopping();
void status(const std::string& text);

}  // namespace tusk::control::notify
