// Tells when the processes behind sessions end: one pidfd each, gathered in one epoll descriptor.
//
//   processes.watch(session, pid);
//   poll(processes.descriptor()) ...
//   processes.ended([](uint64_t session) { ... });
//
// A process that has ended already when watch() is called is reported as ended. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace tusk::transport {

class Processes {
 public:
  Processes();
  ~Processes();
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  void watch(uint64_t session, uint32_t pid);
  void unwatch(uint64_t session);
  int descriptor() const { return epoll_; }

  // Calls ended(session) for each process that ended since; returns whether there was one.
  template <typename Ended>
  bool take(Ended ended) {
    collect();
    for (uint64_t session : ended_) ended(session);
    const bool any = !ended_.empty();
    ended_.clear();
    return any;
  }

 private:
  void collect();

  int epoll_;
  std::unordered_map<uint64_t, int> pidfds_;  // by session
  std::vector<uint64_t> ended_;
};

// Who this process is, for comparison with what peers say of themselves in hello: the text of
// /proc/sys/kernel/random/boot_id and the inode of /proc/self/ns/pid; "" and 0 where there is no
// /proc.
std::string boot_id();
uint64_t pid_namespace();

}  // namespace tusk::transport
