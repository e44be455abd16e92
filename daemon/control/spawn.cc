// spawn() of process.h. It stands on posix_spawn with glibc's additions (working folder, closing of
// descriptors): that is vfork underneath, so that starting a worker neither copies the page tables
// of a broker that holds gigabytes nor stops its data plane, and it reports what exec said.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "daemon/control/process.h"

namespace tusk::control {
namespace {

// Variables by which systemd speaks to tuskd and to nobody else: a worker that believed them would
// answer in tuskd's name or take its standard error for the journal.
constexpr std::array<std::string_view, 7> kNotForWorkers = {
    "NOTIFY_SOCKET", "WATCHDOG_USEC",  "WATCHDOG_PID",  "LISTEN_FDS",
    "LISTEN_PID",    "LISTEN_FDNAMES", "JOURNAL_STREAM"};

std::string_view name_of(std::string_view variable) {
  return variable.substr(0, variable.find('='));
}

std::vector<std::string> make_environment(const config::Named<std::string>& more) {
  std::vector<std::string> all;
  auto set = [&](std::string_view name, std::string variable) {
    for (std::string& old : all) {
      if (name_of(old) != name) continue;
      old = std::move(variable);
      return;
    }
    all.push_back(std::move(variable));
  };
  for (char** variable = environ; *variable; ++variable) {
    std::string_view name = name_of(*variable);
    bool ours =
        std::find(kNotForWorkers.begin(), kNotForWorkers.end(), name) != kNotForWorkers.end();
    if (!ours) all.emplace_back(*variable);
  }
  for (const auto& [name, value] : more) set(name, name + "=" + value);
  return all;
}

bool is_program(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         ::access(path.c_str(), X_OK) == 0;
}

// Where a command without a slash is, by the PATH that the worker itself will have. Relative
// entries count from its folder. Empty if it is nowhere.
std::string find_in_path(const std::string& command, const std::string& directory,
                         const std::vector<std::string>& environment) {
  std::string path = "/usr/local/bin:/usr/bin:/bin";
  for (const std::string& variable : environment) {
    if (name_of(variable) == "PATH") path = variable.substr(5);
  }
  for (std::size_t from = 0; from <= path.size();) {
    std::size_t to = std::min(path.find(':', from), path.size());
    std::string candidate = path.substr(from, to - from);
    if (candidate.empty()) candidate = ".";
    candidate += "/" + command;
    if (candidate[0] != '/' && !directory.empty()) candidate = directory + "/" + candidate;
    if (is_program(candidate)) return candidate;
    from = to + 1;
  }
  return {};
}

std::string shown(const std::vector<std::string>& command) {
  std::string all;
  for (const std::string& word : command) all += (all.empty() ? "" : " ") + word;
  return all.size() <= 200 ? all : all.substr(0, 200) + "...";
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (const std::string& text : texts) all.push_back(const_cast<char*>(text.c_str()));
  all.push_back(nullptr);
  return all;
}

// What posix_spawn is to do between fork and exec, freed when done.
struct Plan {
  Plan(const std::string& directory, int output) {
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, output, 2);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    if (!directory.empty()) posix_spawn_file_actions_addchdir_np(&actions, directory.c_str());

    posix_spawnattr_init(&attributes);
    sigset_t signals;
    sigemptyset(&signals);
    posix_spawnattr_setsigmask(&attributes, &signals);
    sigfillset(&signals);
    posix_spawnattr_setsigdefault(&attributes, &signals);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~Plan() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

std::string why(int error, const std::string& program) {
  std::string reason = std::strerror(error);
  if (error == ENOENT && is_program(program)) reason += " (the interpreter of its first line)";
  return reason;
}

}  // namespace

tl::expected<pid_t, std::string> spawn(const Launch& launch, int output) {
  auto failed = [&](const std::string& reason) {
    std::string folder = launch.directory.empty() ? "tuskd's own folder" : launch.directory;
    return tl::unexpected("cannot run `" + shown(launch.command) + "` in " + folder + ": " +
                          reason);
  };
  struct stat status;
  if (!launch.directory.empty() && ::stat(launch.directory.c_str(), &status) != 0) {
    return failed("the folder: " + std::string(std::strerror(errno)));
  }
  std::vector<std::string> environment = make_environment(launch.environment);
  std::string program = launch.command.front();
  if (program.find('/') == std::string::npos) {
    program = find_in_path(program, launch.directory, environment);
    if (program.empty()) return failed("`" + launch.command.front() + "` is not in PATH");
  }
  Plan plan(launch.directory, output);
  pid_t pid = 0;
  int error = ::posix_spawn(&pid, program.c_str(), &plan.actions, &plan.attributes,
                            pointers(launch.command).data(), pointers(environment).data());
  if (error != 0) return failed(why(error, program));
  return pid;
}

}  // namespace tusk::control
