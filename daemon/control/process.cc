#include "daemon/control/process.h"

#include <dirent.h>
#include <signal.h>
extern "C" {  // glibc 2.36 declares these without C linkage
#include <sys/pidfd.h>
}
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <system_error>
#include <thread>

namespace tusk::control {
namespace {

// The fields of /proc/PID/stat that follow the name, from the state (field 3) on. The name may hold
// blanks and brackets, so they are counted from its last bracket.
struct Stat {
  char state = 0;
  pid_t group = 0;
  std::uint64_t start_time = 0;
};

std::optional<Stat> read_stat(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  std::size_t at = line.rfind(')');
  if (at == std::string::npos) return std::nullopt;
  std::string_view rest = std::string_view(line).substr(at + 1);
  Stat stat;
  for (int field = 3; field <= 22; ++field) {
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    std::string_view word = rest.substr(0, rest.find(' '));
    if (word.empty()) return std::nullopt;
    if (field == 3) stat.state = word[0];
    if (field == 5) std::from_chars(word.data(), word.data() + word.size(), stat.group);
    if (field == 22) std::from_chars(word.data(), word.data() + word.size(), stat.start_time);
    rest.remove_prefix(word.size());
  }
  return stat;
}

bool is_dead(const Stat& stat) { return stat.state == 'Z' || stat.state == 'X'; }

// Empty where it may not be read. It also reads as empty while the process is amid an exec (a shell
// that becomes its command, say), so that is given a few milliseconds to pass.
std::string read_environment(pid_t pid) {
  std::string content;
  for (int tries = 0; tries < 5 && content.empty(); ++tries) {
    if (tries > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::ifstream file("/proc/" + std::to_string(pid) + "/environ", std::ios::binary);
    if (!file) break;
    content.assign(std::istreambuf_iterator<char>(file), {});
  }
  return content;
}

// Calls `look` with every pid until it returns true; that pid, or 0.
template <class Look>
pid_t find_process(Look look) {
  DIR* folder = ::opendir("/proc");
  if (!folder) return 0;
  pid_t found = 0;
  while (dirent* entry = ::readdir(folder)) {
    std::string_view name = entry->d_name;
    pid_t pid = 0;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || end != name.data() + name.size() || !look(pid)) continue;
    found = pid;
    break;
  }
  ::closedir(folder);
  return found;
}

}  // namespace

std::optional<std::uint64_t> start_time(pid_t pid) {
  std::optional<Stat> stat = read_stat(pid);
  if (!stat || is_dead(*stat)) return std::nullopt;
  return stat->start_time;
}

pid_t find_session_leader(std::string_view name, std::string_view value) {
  std::string wanted = '\0' + std::string(name) + '=' + std::string(value) + '\0';
  return find_process([&](pid_t pid) {
    if (::getsid(pid) != pid) return false;
    return ('\0' + read_environment(pid)).find(wanted) != std::string::npos;
  });
}

bool group_alive(pid_t group) {
  if (::kill(-group, 0) != 0 && errno == ESRCH) return false;
  // A group may consist of zombies that their parent has not reaped yet.
  return find_process([&](pid_t pid) {
           std::optional<Stat> stat = read_stat(pid);
           return stat && stat->group == group && !is_dead(*stat);
         }) != 0;
}

std::string text(const Ending& ending) {
  if (ending.exit_code) return "exit code " + std::to_string(*ending.exit_code);
  if (!ending.signal) return "unknown status";
  const char* name = ::sigabbrev_np(*ending.signal);
  return name ? "signal SIG" + std::string(name) : "signal " + std::to_string(*ending.signal);
}

tl::expected<std::unique_ptr<Process>, std::string> Process::watch(boost::asio::io_context& io,
                                                                   pid_t pid, bool own) {
  int pidfd = ::pidfd_open(pid, 0);
  if (pidfd < 0) {
    return tl::unexpected("cannot watch process " + std::to_string(pid) + ": " +
                          std::strerror(errno));
  }
  return std::unique_ptr<Process>(new Process(io, pid, own, pidfd));
}

Process::Process(boost::asio::io_context& io, pid_t pid, bool own, int pidfd)
    : pid_(pid), own_(own), pidfd_(io, pidfd) {}

void Process::on_end(std::function<void()> handler) {
  pidfd_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                    [exists = std::weak_ptr(alive_), handler = std::move(handler)](auto error) {
                      if (!error && !exists.expired()) handler();
                    });
}

Ending Process::reap() {
  siginfo_t info{};
  if (!own_ || ::waitid(P_PID, pid_, &info, WEXITED | WNOHANG) != 0 || info.si_pid != pid_) {
    return {};
  }
  if (info.si_code == CLD_EXITED) return {.exit_code = info.si_status, .signal = {}};
  return {.exit_code = {}, .signal = info.si_status};
}

void Process::signal(int number) {
  ::pidfd_send_signal(pidfd_.native_handle(), number, nullptr, 0);
}

void Process::signal_group(int number) {
  // Once the leader is reaped its pid may belong to a stranger: then nobody of the group is left,
  // as a member would have kept the number taken.
  bool ours = ::pidfd_send_signal(pidfd_.native_handle(), 0, nullptr, 0) == 0;
  bool taken = ::access(("/proc/" + std::to_string(pid_)).c_str(), F_OK) == 0;
  if (ours || !taken) ::kill(-pid_, number);
}

}  // namespace tusk::control
