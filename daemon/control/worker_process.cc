#include "daemon/control/worker_process.h"

#define XXH_INLINE_ALL
#include <signal.h>
#include <spdlog/fmt/fmt.h>
#include <sys/wait.h>
#include <xxhash.h>

#include <cctype>
#include <random>

namespace tusk::control {
namespace {

using config::LogLevel;

std::string random_token() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

std::string text(std::chrono::nanoseconds duration) {
  auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  return ms < 1000 ? fmt::format("{} ms", ms) : fmt::format("{:.1f} s", ms / 1000.0);
}

// A worker's name as a file's: injective, without slashes, and short enough for a file system.
std::string file_name(const std::string& name) {
  std::string safe;
  for (unsigned char c : name) {
    bool plain = std::isalnum(c) || c == '-' || c == '_' || c == '.';
    safe += plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02x}", c);
  }
  if (safe.size() <= 200) return safe;
  return safe.substr(0, 180) + fmt::format("%{:016x}", XXH3_64bits(name.data(), name.size()));
}

}  // namespace

std::string_view to_text(WorkerStatus::State state) {
  switch (state) {
    case WorkerStatus::State::idle:
      return "idle";
    case WorkerStatus::State::running:
      return "running";
    case WorkerStatus::State::ending:
      return "ending";
    case WorkerStatus::State::pausing:
      return "pausing";
    case WorkerStatus::State::given_up:
      return "given up";
  }
  return "";
}

WorkerProcess::WorkerProcess(Surroundings& surroundings, Wanted wanted)
    : around_(surroundings),
      wanted_(std::move(wanted)),
      token_(random_token()),
      policy_(surroundings.options.restart),
      timer_(surroundings.io) {}

bool WorkerProcess::adopt(const Roster::Entry& entry, pid_t pid) {
  auto process = Process::watch(around_.io, pid, false);
  std::optional<std::uint64_t> since = start_time(pid);
  if (!process || !since) return false;
  process_ = std::move(*process);
  start_time_ = *since;
  running_digest_ = entry.digest;
  token_ = entry.token;
  started_ = Clock::now();
  state_ = State::running;
  open_output(entry.offset);
  watch_end();
  log(LogLevel::info, fmt::format("was running (pid {}) and goes on", pid));
  return true;
}

void WorkerProcess::start() {
  if (!open_output(std::nullopt)) return died("its output has no place", {});
  output_->forget_last_lines();
  around_.save();
  Launch launch = wanted_.launch;
  launch.environment.entries.emplace_back("TUSK_LAUNCH", token_);
  auto pid = spawn(launch, output_->fd());
  if (!pid) {
    if (pid.error() != last_failure_) log(LogLevel::error, pid.error());
    last_failure_ = pid.error();
    return died(pid.error(), {});
  }
  last_failure_.clear();
  auto process = Process::watch(around_.io, *pid, true);
  if (!process) {
    // Unwatched it could be doubled: better none.
    ::kill(-*pid, SIGKILL);
    ::waitpid(*pid, nullptr, 0);
    log(LogLevel::error, process.error());
    return died(process.error(), {});
  }
  process_ = std::move(*process);
  start_time_ = start_time(*pid).value_or(0);
  running_digest_ = wanted_.digest;
  started_ = Clock::now();
  state_ = State::running;
  watch_end();
  log(LogLevel::info, fmt::format("started (pid {})", *pid));
  around_.changed();
  after(around_.options.settled, [](WorkerProcess& self) { self.around_.settled(self); });
}

void WorkerProcess::begin_anew() {
  policy_.reset();
  last_failure_.clear();
  start();
}

void WorkerProcess::end(std::chrono::microseconds grace) {
  ++timer_use_;
  if (!process_) {
    state_ = State::idle;
    return;
  }
  if (state_ == State::ending) return;
  state_ = State::ending;
  process_->signal(SIGTERM);
  after(grace, [grace](WorkerProcess& self) {
    self.log(LogLevel::warning,
             fmt::format("did not end within {} of SIGTERM: killed", text(grace)));
    self.kill();
  });
}

void WorkerProcess::kill() {
  if (process_) process_->signal_group(SIGKILL);
}

void WorkerProcess::want(Wanted wanted) {
  removed = false;
  wanted_ = std::move(wanted);
}

bool WorkerProcess::follow() {
  bool more = output_ && output_->follow(Clock::now(), [this](auto line) { on_line(line); });
  if (leader_ended_ && !group_alive(process_->pid())) gone();
  return more;
}

bool WorkerProcess::is_settled() const {
  if (state_ != State::running) return false;
  return outdated() || !process_->own() || Clock::now() - started_ >= around_.options.settled;
}

WorkerStatus WorkerProcess::status() const {
  return {.name = wanted_.name,
          .worker = wanted_.worker,
          .state = state_,
          .pid = process_ ? process_->pid() : 0,
          .restarts = restarts_,
          .adopted = process_ && !process_->own(),
          .outdated = outdated()};
}

Roster::Entry WorkerProcess::entry() const {
  return {.name = wanted_.name,
          .worker = wanted_.worker,
          .token = token_,
          .pid = process_ ? process_->pid() : 0,
          .start_time = process_ ? start_time_ : 0,
          .digest = process_ ? running_digest_ : wanted_.digest,
          .offset = offset()};
}

void WorkerProcess::watch_end() {
  process_->on_end([this] { on_end(); });
}

void WorkerProcess::on_end() {
  auto keep = shared_from_this();  // the supervisor may forget us amid this
  if (output_) output_->finish(Clock::now(), [this](auto line) { on_line(line); });
  if (state_ == State::ending) {
    process_->reap();
    if (!group_alive(process_->pid())) return gone();
    // A shell, `npm` or `go run` that did not pass the signal on: its children have what is left of
    // the grace.
    leader_ended_ = true;
    process_->signal_group(SIGTERM);
    return;
  }
  // What it leaves behind would hold its sockets open, and tuskd believe that it lives.
  process_->signal_group(SIGKILL);
  Ending ending = process_->reap();
  Clock::duration ran = Clock::now() - started_;
  process_.reset();
  token_ = random_token();
  ++restarts_;
  around_.changed();
  died(fmt::format("ended by itself, {}, after {}", control::text(ending), text(ran)), ran);
}

void WorkerProcess::died(const std::string& how, Clock::duration ran) {
  auto pause = policy_.died(std::chrono::duration_cast<RestartPolicy::Duration>(ran));
  if (!pause) return give_up(how);
  state_ = State::pausing;
  LogLevel level = last_failure_.empty() ? LogLevel::warning : LogLevel::debug;
  log(level, fmt::format("{}; starts again in {}", how, text(*pause)));
  after(*pause, [](WorkerProcess& self) { self.start(); });
}

void WorkerProcess::give_up(const std::string& how) {
  ++timer_use_;
  state_ = State::given_up;
  std::string obituary = fmt::format(
      "is given up until the next reload, after {} deaths in a row, each within {}; the last: {}",
      policy_.deaths(), text(around_.options.restart.healthy), how);
  if (output_ && !output_->last_lines().empty()) {
    obituary += "; it printed last:";
    for (const std::string& line : output_->last_lines()) obituary += "\n    " + line;
  }
  log(LogLevel::error, obituary);
  around_.changed();
}

void WorkerProcess::gone() {
  auto keep = shared_from_this();
  ++timer_use_;
  process_.reset();
  leader_ended_ = false;
  token_ = random_token();
  state_ = State::idle;
  log(LogLevel::info, "ended");
  around_.changed();
  around_.ended(*this);
}

bool WorkerProcess::open_output(std::optional<std::uint64_t> offset) {
  std::string path = around_.options.state + "/workers/" + file_name(wanted_.name) + ".log";
  tl::expected<void, std::string> opened;
  if (output_) {
    opened = output_->reopen();
  } else if (auto file = OutputFile::open(path, offset, around_.options.output)) {
    output_.emplace(std::move(*file));
  } else {
    opened = tl::unexpected(file.error());
  }
  if (!opened && opened.error() != last_failure_) log(LogLevel::error, opened.error());
  if (!opened) last_failure_ = opened.error();
  return opened.has_value();
}

template <class Action>
void WorkerProcess::after(std::chrono::microseconds delay, Action action) {
  timer_.expires_after(delay);
  timer_.async_wait([weak = weak_from_this(), action, use = ++timer_use_](auto error) {
    auto self = weak.lock();
    if (!error && self && self->timer_use_ == use) action(*self);
  });
}

void WorkerProcess::log(LogLevel level, const std::string& what) {
  around_.hooks.on_log(level, fmt::format("worker {} {}", wanted_.name, what));
}

}  // namespace tusk::control
