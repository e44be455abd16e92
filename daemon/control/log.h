// tuskd's log: spdlog's default logger, to standard error or a file.
//
//   if (auto ok = log::open(config.tuskd); !ok) fail(ok.error());
//   spdlog::info("tuskd {} starts", version);
//   log::set_level(fresh.tuskd.log_level);    // a reload
//   log::write(action.level, action.text);    // a line whose level is one of the config's
//
// A line is `2026-01-31T08:15:30.123+01:00 info text`. Without the time where standard error is
// systemd's journal, which has its own. Every line is on its way before the call returns. open() at
// start, before other threads; the others from any thread.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "config/orchestration.h"

namespace tusk::control::log {

tl::expected<void, std::string> open(const config::Tuskd& tuskd);
void set_level(config::LogLevel level);
// Line breaks at the end of `text` are not written: the log ends each line itself.
void write(config::LogLevel level, std::string_view text);

}  // namespace tusk::control::log
