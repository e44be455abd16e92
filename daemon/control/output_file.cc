#include "daemon/control/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace tusk::control {
namespace {

constexpr std::string_view kCutMark = " ... (cut)";

tl::expected<Fd, std::string> open_append(const std::string& path) {
  // Read and write: the same descriptor is followed, emptied, and handed to the process.
  Fd fd(::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return tl::unexpected("cannot write " + path + ": " + std::strerror(errno));
  return fd;
}

bool same_file(const Fd& a, const std::string& path) {
  struct stat one, other;
  return ::fstat(a.get(), &one) == 0 && ::stat(path.c_str(), &other) == 0 &&
         one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

// A line as it may stand in a log: what a terminal would show of a progress bar, and nothing that
// moves its cursor.
std::string printable(std::string_view line) {
  while (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  if (std::size_t at = line.rfind('\r'); at != std::string_view::npos) line.remove_prefix(at + 1);
  std::string clean(line);
  for (char& c : clean) {
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) c = '?';
  }
  return clean;
}

}  // namespace

tl::expected<OutputFile, std::string> OutputFile::open(const std::string& path,
                                                       std::optional<std::uint64_t> offset,
                                                       const Bounds& bounds) {
  auto fd = open_append(path);
  if (!fd) return tl::unexpected(fd.error());
  OutputFile file(path, std::move(*fd), 0, bounds);
  file.offset_ = offset.value_or(file.size());
  return file;
}

OutputFile::OutputFile(std::string path, Fd fd, std::uint64_t offset, const Bounds& bounds)
    : path_(std::move(path)), fd_(std::move(fd)), offset_(offset), bounds_(bounds) {
  bounds_.step = std::min<std::uint64_t>(bounds_.step, bounds_.max_file);
}

tl::expected<void, std::string> OutputFile::reopen() {
  if (same_file(fd_, path_)) return {};
  auto fd = open_append(path_);
  if (!fd) return tl::unexpected(fd.error());
  fd_ = std::move(*fd);
  offset_ = 0;
  partial_.clear();
  cutting_ = false;
  return {};
}

std::uint64_t OutputFile::size() const {
  struct stat status;
  return ::fstat(fd_.get(), &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

bool OutputFile::follow(Clock::time_point now, const Sink& sink) {
  close_window(now, false, sink);
  std::uint64_t end = size();
  if (end < offset_) {  // somebody emptied it
    offset_ = 0;
    partial_.clear();
    cutting_ = false;
  }
  skip_if_far_behind(end, sink);
  std::vector<char> buffer(std::min<std::uint64_t>(bounds_.step, end - offset_));
  if (buffer.empty()) return false;
  ssize_t got = ::pread(fd_.get(), buffer.data(), buffer.size(), static_cast<off_t>(offset_));
  if (got <= 0) return false;
  offset_ += static_cast<std::uint64_t>(got);
  take({buffer.data(), static_cast<std::size_t>(got)}, sink);
  if (offset_ < end) return true;
  empty_if_large();
  return false;
}

void OutputFile::finish(Clock::time_point now, const Sink& sink) {
  // Bounded though others may still print into the file: what they add is for the next follow().
  for (std::uint64_t steps = bounds_.max_file / bounds_.step + 1; steps > 0; --steps) {
    if (!follow(now, sink)) break;
  }
  if (!partial_.empty()) end_line(sink);
  cutting_ = false;
  close_window(now, true, sink);
}

void OutputFile::skip_if_far_behind(std::uint64_t size, const Sink& sink) {
  if (size - offset_ <= bounds_.max_file) return;
  std::uint64_t from = size - bounds_.step;
  sink("(" + std::to_string(from - offset_) + " bytes skipped: printed faster than followed)");
  offset_ = from;
  partial_.clear();
  cutting_ = true;  // the middle of some line
}

void OutputFile::take(std::string_view bytes, const Sink& sink) {
  while (!bytes.empty()) {
    std::size_t end = std::min(bytes.find('\n'), bytes.size());
    bool ended = end < bytes.size();
    std::string_view part = bytes.substr(0, end);
    bytes.remove_prefix(ended ? end + 1 : end);
    if (cutting_) {
      cutting_ = !ended;
      continue;
    }
    std::size_t room = bounds_.max_line - partial_.size();
    partial_.append(part.substr(0, room));
    if (part.size() > room) {
      partial_ += kCutMark;
      cutting_ = !ended;
      end_line(sink);
    } else if (ended) {
      end_line(sink);
    }
  }
}

void OutputFile::end_line(const Sink& sink) {
  std::string line = printable(partial_);
  partial_.clear();
  if (last_lines_.size() >= bounds_.last_lines) last_lines_.pop_front();
  last_lines_.push_back(line);
  if (++in_window_ > bounds_.lines_per_second) {
    ++suppressed_;
  } else {
    sink(line);
  }
}

void OutputFile::close_window(Clock::time_point now, bool last, const Sink& sink) {
  if (!last && now - window_ < std::chrono::seconds(1)) return;
  window_ = now;
  in_window_ = 0;
  if (suppressed_ == 0) return;
  sink("(" + std::to_string(suppressed_) + " lines left out: more than " +
       std::to_string(bounds_.lines_per_second) + " a second)");
  suppressed_ = 0;
}

void OutputFile::empty_if_large() {
  if (offset_ <= bounds_.max_file || size() != offset_) return;
  if (::ftruncate(fd_.get(), 0) == 0) offset_ = 0;
}

}  // namespace tusk::control
