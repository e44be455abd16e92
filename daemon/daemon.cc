#include "daemon/daemon.h"

#include <malloc.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <fstream>
#include <stdexcept>

#include "daemon/control/log.h"
#include "daemon/control/notify.h"
#include "daemon/version.h"

namespace tusk {
namespace {

// Where a worker process on this machine connects: a wildcard address is not one to connect to.
std::string local_url(const transport::Endpoints& endpoints) {
  if (!endpoints.ipc.empty()) return endpoints.ipc;
  std::string url = endpoints.router;
  if (size_t at = url.find("//0.0.0.0:"); at != std::string::npos) {
    url.replace(at, 10, "//127.0.0.1:");
  }
  return url;
}

size_t processes(const config::Orchestration& config) {
  size_t count = 0;
  for (const auto& [name, worker] : config.workers) count += worker.instances;
  return count;
}

// Memory of this process that is in RAM; 0 if the system does not say.
std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

Daemon::Daemon(Configuration configuration, std::string file)
    : config_(std::move(configuration.config)),
      file_(std::move(file)),
      signals_(io_, {.stop = [this](int) { stop(); }, .reload = [this] { reload(); }}) {
  if (auto ok = control::log::open(config_->tuskd); !ok) throw std::runtime_error(ok.error());
  plane_ =
      std::make_unique<transport::DataPlane>(config_, std::move(configuration.checkers), kServer);
  plane_->on_log = [](const core::LogLine& line) { control::log::write(line.level, line.text); };
  plane_->on_reload = [this](const core::ReloadOutcome& outcome) {
    boost::asio::post(io_, [this, outcome] { reload_decided(outcome); });
  };
  plane_->on_hang = [this](const core::Hang& hang) {
    boost::asio::post(io_, [this, hang] {
      const auto pid = static_cast<pid_t>(hang.pid);
      if (supervisor_ && supervisor_->runs(pid)) plane_->post(core::Replaceable{hang.session});
    });
  };
  plane_->on_kill = [this](const core::Kill& kill) {
    boost::asio::post(io_, [this, kill] {
      if (supervisor_) supervisor_->replace(static_cast<pid_t>(kill.pid));
    });
  };
  if (!config_->workers.empty()) open_state();
}

Daemon::~Daemon() {
  if (data_.joinable()) data_.join();
}

int Daemon::run() {
  data_ = std::thread([this] {
    std::string error;
    try {
      plane_->run();
    } catch (const std::exception& e) {
      error = e.what();
    }
    boost::asio::post(io_, [this, error] { data_plane_ended(error); });
  });
  say_what_runs();
  start_workers();
  if (!stopping_) control::notify::ready(summary());
  auto work = boost::asio::make_work_guard(io_);
  tidy();
  io_.run();
  data_.join();
  return exit_status_;
}

// --- what an operator reads ----------------------------------------------------------------------

std::string Daemon::summary() const {
  return "listens on " + plane_->endpoints().router + ", " + std::to_string(processes(*config_)) +
         " worker processes";
}

void Daemon::say_what_runs() const {
  const transport::Endpoints& at = plane_->endpoints();
  spdlog::info("{} starts", kServer);
  spdlog::info("config: {}", file_.empty() ? "none, running on defaults" : file_);
  std::string endpoints = at.router;
  if (!at.ipc.empty()) endpoints += ", " + at.ipc;
  auto edge = [&](const char* name, const std::string& endpoint) {
    if (!endpoint.empty()) endpoints += std::string(", ") + name + " " + endpoint;
  };
  edge("events in", at.events_in);
  edge("events out", at.events_out);
  edge("pipeline in", at.pipeline_in);
  edge("pipeline out", at.pipeline_out);
  spdlog::info("listens on {}", endpoints);
  std::string workers;
  for (const auto& [name, worker] : config_->workers) {
    if (!workers.empty()) workers += ", ";
    workers += name + " (" + worker.language;
    if (worker.instances != 1) workers += ", " + std::to_string(worker.instances) + " processes";
    workers += ")";
  }
  spdlog::info("workers to start: {}", workers.empty() ? "none" : workers);
}

// --- workers -------------------------------------------------------------------------------------

void Daemon::open_state() {
  auto state = control::StateFolder::open(config_->tuskd.state);
  if (!state) throw std::runtime_error(state.error());
  state_ = std::move(*state);
  control::Supervisor::Hooks hooks;
  hooks.on_line = [](std::string_view process, std::string_view line) {
    spdlog::info("[{}] {}", process, line);
  };
  hooks.on_log = [](config::LogLevel level, const std::string& text) {
    control::log::write(level, text);
  };
  supervisor_ = std::make_unique<control::Supervisor>(
      io_,
      control::Supervisor::Options{.state = state_->path(), .url = local_url(plane_->endpoints())},
      hooks);
}

void Daemon::start_workers() {
  if (!supervisor_) return;
  if (auto ok = supervisor_->start(*config_); !ok) {
    spdlog::error("{}", ok.error());
    exit_status_ = 1;
    stop();
  }
}

// --- reload --------------------------------------------------------------------------------------

void Daemon::reload() {
  if (stopping_) return;
  if (fresh_) {
    reload_again_ = true;
    return;
  }
  control::notify::reloading();
  auto keep_old = [this](const std::string& why) {
    control::log::write(config::LogLevel::error,
                        "reload refused, the old configuration stays: " + why);
    control::notify::ready(summary());
  };
  if (file_.empty()) return keep_old("tuskd was started without a file");
  auto loaded = load_config(file_);
  if (!loaded) return keep_old(config::format(loaded.error()));
  for (const config::Error& warning : loaded->warnings) {
    control::log::write(config::LogLevel::warning, config::format(warning));
  }
  config::Orchestration fresh = *loaded->configuration.config;
  for (const std::string& key : config::keep_restart_only(*config_, fresh)) {
    spdlog::warn("{} changes only with a restart; it keeps its old value", key);
  }
  const auto problems = control::Supervisor::problems(fresh);
  if (!problems.empty()) return keep_old(problems.front());
  try {
    if (!supervisor_ && !fresh.workers.empty()) open_state();
  } catch (const std::runtime_error& e) {
    return keep_old(e.what());
  }
  fresh_ = std::make_shared<const config::Orchestration>(std::move(fresh));
  if (!plane_->post(core::Reload{fresh_, std::move(loaded->configuration.checkers)})) {
    fresh_.reset();
    keep_old("the data plane is behind; try again");
  }
}

void Daemon::reload_decided(const core::ReloadOutcome& outcome) {
  if (outcome.refused.empty()) {
    config_ = std::move(fresh_);
    control::log::set_level(config_->tuskd.log_level);
    if (supervisor_) {
      if (auto ok = supervisor_->reload(*config_); !ok) spdlog::error("{}", ok.error());
    }
    spdlog::info("reloaded {}", file_);
  } else {
    for (const std::string& why : outcome.refused) {
      spdlog::error("reload refused, the old configuration stays: {}", why);
    }
  }
  fresh_.reset();
  control::notify::ready(summary());
  if (std::exchange(reload_again_, false)) reload();
}

// --- stop ----------------------------------------------------------------------------------------

// The first call lets what runs end; the second does not wait.
void Daemon::stop() {
  if (!stopping_) {
    spdlog::info(
        "stopping: nothing new is taken, running tasks may end; once more to stop at once");
    control::notify::stopping();
  }
  stopping_ = true;
  if (plane_ended_ && supervisor_) {
    supervisor_->stop([this] { io_.stop(); });  // it waits for workers; the second call does not
  } else {
    plane_->post(core::Shutdown{});
  }
}

// The workers go last, so that running tasks could end.
void Daemon::data_plane_ended(const std::string& error) {
  if (!error.empty()) {
    spdlog::critical("the data plane failed: {}", error);
    exit_status_ = 1;
  }
  stopping_ = plane_ended_ = true;
  auto done = [this] {
    spdlog::info("stopped");
    io_.stop();
  };
  supervisor_ ? supervisor_->stop(done) : done();
}

// --- memory --------------------------------------------------------------------------------------

// What the allocator keeps free between things in use goes back to the system now and then: under
// steady load it grows by some percent a minute. A large heap is left alone, for to walk through it
// would hold up the data plane; there it matters less.
void Daemon::tidy() {
  constexpr auto kEvery = std::chrono::seconds(10);
  constexpr std::size_t kSmall = 64 << 20;
  tidy_.expires_after(kEvery);
  tidy_.async_wait([this](const boost::system::error_code& cancelled) {
    if (cancelled) return;
    if (resident_bytes() <= kSmall) ::malloc_trim(0);
    tidy();
  });
}

}  // namespace tusk
