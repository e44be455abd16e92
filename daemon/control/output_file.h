// The file that a worker process prints into, followed as it grows. A pipe would end the worker
// with tuskd; a file lets it print on while tuskd is away.
//
//   auto file = OutputFile::open("/var/lib/tuskd/workers/pandas-1.log", saved_offset, {});
//   spawn(launch, file->fd());                       // appends standard output and error
//   bool more = file->follow(Clock::now(), on_line); // whole lines, a bounded step
//   file->finish(Clock::now(), on_line);             // the process ended: what is left
//   file->last_lines();
//
// Bounds: a line is cut at `max_line`, at most `lines_per_second` are handed on (the others are
// counted and the count is handed on), the file is emptied when it was read beyond `max_file`, and
// what is more than `max_file` behind is skipped with a line that says so. Between reading the end
// and emptying the file lie microseconds; what is printed just then is lost. One thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "daemon/control/fd.h"

namespace tusk::control {

class OutputFile {
 public:
  using Clock = std::chrono::steady_clock;
  using Sink = std::function<void(std::string_view line)>;

  struct Bounds {
    std::size_t max_line = 8 * 1024;            // bytes
    std::size_t lines_per_second = 1000;        // handed on
    std::uint64_t max_file = 16 * 1024 * 1024;  // bytes
    std::size_t step = 256 * 1024;              // bytes read in one follow()
    std::size_t last_lines = 10;                // kept for an obituary
  };

  // Creates the file if need be. `offset`: where a former tuskd had stopped; nothing: at the end.
  static tl::expected<OutputFile, std::string> open(const std::string& path,
                                                    std::optional<std::uint64_t> offset,
                                                    const Bounds& bounds);

  // The path names another file than the one followed, or none: someone moved or removed it. Follow
  // a new one from its start.
  tl::expected<void, std::string> reopen();

  // To be a process's standard output: append only.
  int fd() const { return fd_.get(); }

  // Reads at most `step` bytes and hands on the lines that ended in them, without control
  // characters. True if there is more to read at once.
  bool follow(Clock::time_point now, const Sink& sink);

  // Reads what is left, at most `max_file` bytes, and hands on a last line that has no end, too.
  void finish(Clock::time_point now, const Sink& sink);

  // Where to go on after a restart: the start of the first line not handed on, or the file's start
  // if the file was emptied amid that line.
  std::uint64_t offset() const {
    return offset_ - std::min<std::uint64_t>(offset_, partial_.size());
  }

  // The newest lines, oldest first, those left out for their number included.
  const std::deque<std::string>& last_lines() const { return last_lines_; }
  void forget_last_lines() { last_lines_.clear(); }

 private:
  OutputFile(std::string path, Fd fd, std::uint64_t offset, const Bounds& bounds);

  std::uint64_t size() const;
  void skip_if_far_behind(std::uint64_t size, const Sink& sink);
  void take(std::string_view bytes, const Sink& sink);
  void end_line(const Sink& sink);
  void close_window(Clock::time_point now, bool last, const Sink& sink);
  void empty_if_large();

  std::string path_;
  Fd fd_;
  std::uint64_t offset_;        // read so far
  std::string partial_;         // the line that has not ended, at most max_line
  bool cutting_ = false;        // the rest of a line that was too long is left out
  Clock::time_point window_{};  // the second in which lines are counted
  std::size_t in_window_ = 0;
  std::size_t suppressed_ = 0;
  std::deque<std::string> last_lines_;
  Bounds bounds_;
};

}  // namespace tusk::control
