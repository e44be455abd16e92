#include "daemon/control/supervisor.h"

#include <spdlog/fmt/fmt.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <set>
#include <vector>

namespace tusk::control {
namespace {

using config::LogLevel;
using Clock = std::chrono::steady_clock;

// How often at most the roster is written only because output was followed further: what a killed
// tuskd may hand on twice.
constexpr std::chrono::seconds kOffsetsSaved{1};

// How long a stop waits for processes that were killed: one in the kernel's hands (a dead disk)
// must not hold up the daemon's end.
constexpr std::chrono::seconds kKilledEnd{2};

tl::expected<void, std::string> make_folder(const std::string& path) {
  struct stat status;
  if (::mkdir(path.c_str(), 0700) == 0) return {};
  if (errno == EEXIST && ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) return {};
  int error = errno == EEXIST ? ENOTDIR : errno;
  return tl::unexpected("cannot make the folder " + path + ": " + std::strerror(error));
}

}  // namespace

Supervisor::Supervisor(boost::asio::io_context& io, Options options, Hooks hooks)
    : io_(io),
      options_(std::move(options)),
      hooks_(std::move(hooks)),
      roster_(options_.state),
      surroundings_{.io = io_,
                    .options = options_,
                    .hooks = hooks_,
                    .save = [this] { save(); },
                    .changed = [this] { save_soon(); },
                    .settled = [this](WorkerProcess& child) { roll(child.wanted().worker); },
                    .ended = [this](WorkerProcess& child) { ended(child); }},
      tick_(io),
      stop_timer_(io) {}

Supervisor::~Supervisor() = default;

std::vector<std::string> Supervisor::problems(const config::Orchestration& config) {
  std::vector<std::string> all;
  std::map<std::string, std::string> owners;
  for (const Wanted& wanted : expand(config, "")) {
    auto [it, fresh] = owners.emplace(wanted.name, wanted.worker);
    if (fresh) continue;
    all.push_back(fmt::format("[workers]: {} and {} both have a process {}; rename one of them",
                              it->second, wanted.worker, wanted.name));
  }
  return all;
}

tl::expected<void, std::string> Supervisor::start(const config::Orchestration& config) {
  started_ = true;
  if (auto made = make_folder(options_.state + "/workers"); !made) return made;
  adopt_former();
  auto applied = apply(config);
  if (applied) schedule_tick(options_.poll);
  return applied;
}

tl::expected<void, std::string> Supervisor::reload(const config::Orchestration& config) {
  if (stopping_) return {};
  if (!started_) return start(config);  // the first configuration that names workers
  auto applied = apply(config);
  schedule_tick(options_.poll);
  return applied;
}

void Supervisor::adopt_former() {
  auto entries = roster_.read();
  if (!entries) {
    // Better to go on: it is damaged by a crash of the machine, which left no process, or by hand.
    log(LogLevel::warning, entries.error() + "; workers of a former tuskd are not looked for");
    return;
  }
  for (const Roster::Entry& entry : *entries) {
    pid_t pid = find(entry);
    if (pid == 0) continue;
    Wanted former{entry.name, entry.worker, {}, entry.digest};
    auto child = std::make_shared<WorkerProcess>(surroundings_, std::move(former));
    if (child->adopt(entry, pid)) children_.emplace(entry.name, std::move(child));
  }
}

tl::expected<void, std::string> Supervisor::apply(const config::Orchestration& config) {
  std::vector<Wanted> wanted = expand(config, options_.url);
  Children added;
  std::set<std::string> names, workers;
  for (const Wanted& process : wanted) {
    names.insert(process.name);
    workers.insert(process.worker);
    if (children_.contains(process.name)) continue;
    added.emplace(process.name, std::make_shared<WorkerProcess>(surroundings_, process));
  }
  // On disk before any of them runs; what cannot be written must not be started.
  if (auto written = write_roster(added); !written) return written;
  grace_ = config.tuskd.times.shutdown_grace;

  children_.merge(added);
  std::vector<std::shared_ptr<WorkerProcess>> to_start, to_remove;
  for (const auto& [name, child] : children_) {
    if (!names.contains(name)) to_remove.push_back(child);
  }
  for (Wanted& process : wanted) {
    const auto& child = children_.at(process.name);
    bool same = child->wanted().digest == process.digest;
    child->want(std::move(process));
    auto state = child->state();
    bool again = state == WorkerStatus::State::pausing && !same;
    if (again || state == WorkerStatus::State::idle || state == WorkerStatus::State::given_up) {
      to_start.push_back(child);
    }
  }
  for (const auto& child : to_remove) remove(*child);
  for (const auto& child : to_start) child->begin_anew();
  for (const std::string& worker : workers) roll(worker);
  return {};
}

void Supervisor::remove(WorkerProcess& child) {
  child.removed = true;
  child.end(grace_);
  if (child.state() == WorkerStatus::State::idle) ended(child);
}

// Takes down one process that runs with former settings, if all others of its worker run well: with
// new settings that do not work only one is lost.
void Supervisor::roll(std::string_view worker) {
  if (stopping_) return;
  std::shared_ptr<WorkerProcess> next;
  for (const auto& [name, child] : children_) {
    if (child->wanted().worker != worker || child->removed) continue;
    if (!child->is_settled()) return;
    if (child->outdated() && !next) next = child;
  }
  if (next) next->end(grace_);
}

void Supervisor::ended(WorkerProcess& child) {
  save_soon();
  if (!stopping_ && !child.removed) return child.begin_anew();
  std::string name = child.wanted().name;  // the child may go with its entry
  children_.erase(name);
  if (stopping_ && children_.empty()) finish_stop();
}

void Supervisor::stop(std::function<void()> done) {
  bool again = stopping_;
  stopping_ = true;
  stopped_ = std::move(done);
  auto copy = children_;
  for (const auto& [name, child] : copy) {
    if (again) {
      child->kill();
    } else {
      remove(*child);
    }
  }
  if (children_.empty()) return finish_stop();
  stop_timer_.expires_after(again ? kKilledEnd : grace_ + kKilledEnd);
  stop_timer_.async_wait([this, exists = std::weak_ptr(alive_)](auto error) {
    if (error || exists.expired()) return;
    for (const auto& [name, child] : children_) {
      log(LogLevel::error,
          fmt::format("worker {} (pid {}) does not end though killed", name, child->status().pid));
    }
    finish_stop();
  });
}

void Supervisor::finish_stop() {
  stop_timer_.cancel();
  save();
  if (stopped_) boost::asio::post(io_, std::exchange(stopped_, nullptr));
}

// A worker's processes are a group of their own; which of them said hello is its own affair.
WorkerProcess* Supervisor::find_running(pid_t pid) const {
  const pid_t group = getpgid(pid);
  for (const auto& [name, child] : children_) {
    const bool running = child->state() == WorkerProcess::State::running;
    if (group > 0 && running && child->status().pid == group) return child.get();
  }
  return nullptr;
}

bool Supervisor::runs(pid_t pid) const { return find_running(pid) != nullptr; }

void Supervisor::replace(pid_t pid) {
  if (WorkerProcess* child = find_running(pid)) child->kill();
}

std::vector<WorkerStatus> Supervisor::status() const {
  std::vector<WorkerStatus> all;
  for (const auto& [name, child] : children_) all.push_back(child->status());
  return all;
}

void Supervisor::schedule_tick(std::chrono::milliseconds delay) {
  if (ticking_) return;
  ticking_ = true;
  tick_.expires_after(delay);
  tick_.async_wait([this, exists = std::weak_ptr(alive_)](auto error) {
    if (error || exists.expired()) return;
    ticking_ = false;
    tick();
  });
}

void Supervisor::tick() {
  bool more = false;
  auto copy = children_;  // a child that ended may be forgotten amid this
  for (const auto& [name, child] : copy) {
    std::uint64_t before = child->offset();
    more |= child->follow();
    moved_ |= child->offset() != before;
  }
  if (unsaved_ || (moved_ && Clock::now() - saved_ >= kOffsetsSaved)) save();
  if (!children_.empty()) schedule_tick(more ? std::chrono::milliseconds(0) : options_.poll);
}

tl::expected<void, std::string> Supervisor::write_roster(const Children& more) {
  std::vector<Roster::Entry> entries;
  for (const auto& [name, child] : children_) entries.push_back(child->entry());
  for (const auto& [name, child] : more) entries.push_back(child->entry());
  return roster_.write(entries);
}

void Supervisor::save_soon() {
  if (std::exchange(unsaved_, true)) return;
  boost::asio::post(io_, [this, exists = std::weak_ptr(alive_)] {
    if (!exists.expired() && unsaved_) save();
  });
}

void Supervisor::save() {
  auto written = write_roster({});
  unsaved_ = !written;  // the next tick tries again
  moved_ = false;
  saved_ = Clock::now();
  if (!written && !save_failed_) log(LogLevel::error, written.error());
  save_failed_ = !written;
}

}  // namespace tusk::control
