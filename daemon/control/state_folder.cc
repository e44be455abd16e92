#include "daemon/control/state_folder.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace tusk::control {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string home() {
  if (std::string home = variable("HOME"); !home.empty()) return home;
  passwd* user = ::getpwuid(::getuid());
  return user && user->pw_dir ? user->pw_dir : "";
}

// Empty if there is nothing to go by.
std::string choose(const std::optional<std::string>& configured) {
  if (configured && !configured->empty()) return *configured;
  // systemd names several, separated by colons, where a unit asks for several.
  if (std::string all = variable("STATE_DIRECTORY"); !all.empty()) {
    return all.substr(0, all.find(':'));
  }
  if (::geteuid() == 0) return "/var/lib/tuskd";
  // The specification tells to ignore a relative one.
  if (std::string xdg = variable("XDG_STATE_HOME"); xdg.starts_with('/')) return xdg + "/tuskd";
  std::string base = home();
  return base.empty() ? "" : base + "/.local/state/tuskd";
}

tl::unexpected<std::string> failed(const std::string& folder, const std::string& reason) {
  return tl::unexpected("the state folder " + folder + " " + reason +
                        "; another one: `state` in [tuskd]");
}

bool is_folder(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// 0, or why not. The folders above it are made as the user's umask says, the last for nobody else.
int make_folders(const std::string& path) {
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    ::mkdir(path.substr(0, at).c_str(), 0777);
  }
  if (::mkdir(path.c_str(), 0700) == 0 || is_folder(path)) return 0;
  return errno == EEXIST ? ENOTDIR : errno;
}

std::string holder(int lock) {
  char pid[16] = {};
  ssize_t size = ::pread(lock, pid, sizeof pid - 1, 0);
  std::string digits(pid, size > 0 ? static_cast<std::size_t>(size) : 0);
  digits.resize(std::min(digits.find_first_not_of("0123456789"), digits.size()));
  return digits.empty() ? "another process" : "process " + digits;
}

}  // namespace

tl::expected<StateFolder, std::string> StateFolder::open(
    const std::optional<std::string>& configured) {
  std::string path = choose(configured);
  if (path.empty()) {
    return tl::unexpected<std::string>(
        "there is no state folder: neither HOME nor XDG_STATE_HOME is set; name one as `state` in "
        "[tuskd]");
  }
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (int error = make_folders(path)) {
    return failed(path, std::string("cannot be made: ") + std::strerror(error));
  }
  std::string file = path + "/lock";
  Fd lock(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return failed(path, std::string("cannot be written: ") + std::strerror(errno));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return failed(path, "is in use by " + holder(lock.get()) + " (one tuskd per folder)");
    }
    return failed(path, std::string("cannot be locked: ") + std::strerror(errno));
  }
  // Written through to see a full disk now.
  std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock.get(), 0) != 0 ||
      ::pwrite(lock.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size()) ||
      ::fsync(lock.get()) != 0) {
    return failed(path, std::string("cannot be written: ") + std::strerror(errno));
  }
  return StateFolder(std::move(path), std::move(lock));
}

}  // namespace tusk::control
