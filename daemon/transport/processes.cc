#include "daemon/transport/processes.h"

#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <system_error>

namespace tusk::transport {

Processes::Processes() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_ < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
}

Processes::~Processes() {
  for (const auto& [session, descriptor] : pidfds_) close(descriptor);
  close(epoll_);
}

void Processes::watch(uint64_t session, uint32_t pid) {
  const int descriptor = static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0));
  if (descriptor < 0) {
    // Gone already. Other failures (too many descriptors) leave it to the connection's end.
    if (errno == ESRCH) ended_.push_back(session);
    return;
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = session;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event) != 0) {
    close(descriptor);
    return;
  }
  pidfds_[session] = descriptor;
}

void Processes::unwatch(uint64_t session) {
  auto it = pidfds_.find(session);
  if (it == pidfds_.end()) return;
  close(it->second);  // which takes it out of the epoll set
  pidfds_.erase(it);
}

void Processes::collect() {
  epoll_event events[64];
  int count;
  do {
    count = epoll_wait(epoll_, events, 64, 0);
    for (int i = 0; i < count; ++i) {
      ended_.push_back(events[i].data.u64);
      unwatch(events[i].data.u64);
    }
  } while (count == 64);
}

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string text;
  std::getline(file, text);
  return text;
}

uint64_t pid_namespace() {
  struct stat info;
  return stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

}  // namespace tusk::transport
