#include "daemon/control/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

namespace tusk::control::log {
namespace {

// systemd sets JOURNAL_STREAM to the device and inode of the journal's socket. Children that were
// given another standard error inherit the variable too, hence the comparison.
bool stderr_is_journal() {
  const char* journal = std::getenv("JOURNAL_STREAM");
  struct stat status;
  if (!journal || ::fstat(STDERR_FILENO, &status) != 0) return false;
  return fmt::format("{}:{}", status.st_dev, status.st_ino) == journal;
}

spdlog::level::level_enum to_spdlog(config::LogLevel level) {
  switch (level) {
    case config::LogLevel::trace:
      return spdlog::level::trace;
    case config::LogLevel::debug:
      return spdlog::level::debug;
    case config::LogLevel::info:
      return spdlog::level::info;
    case config::LogLevel::warning:
      return spdlog::level::warn;
    case config::LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

}  // namespace

tl::expected<void, std::string> open(const config::Tuskd& tuskd) {
  bool to_stderr = tuskd.log == "stderr";
  std::shared_ptr<spdlog::sinks::sink> sink;
  try {
    if (to_stderr) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(tuskd.log);
    }
  } catch (const spdlog::spdlog_ex& error) {
    return tl::unexpected(std::string("the log cannot be opened (`log` in [tuskd]): ") +
                          error.what());
  }
  auto logger = std::make_shared<spdlog::logger>("tuskd", std::move(sink));
  logger->set_pattern(to_stderr && stderr_is_journal() ? "%l %v" : "%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  logger->flush_on(spdlog::level::trace);
  logger->set_level(to_spdlog(tuskd.log_level));
  spdlog::set_default_logger(std::move(logger));
  return {};
}

void set_level(config::LogLevel level) { spdlog::set_level(to_spdlog(level)); }

void write(config::LogLevel level, std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  spdlog::log(to_spdlog(level), text);
}

}  // namespace tusk::control::log
