// Who this process is, as hello says it, and randomness for ids.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace tusk {

struct Identity {
  std::uint64_t pid = 0;
  std::uint64_t pid_ns = 0;  // inode of /proc/self/ns/pid; 0: not known
  std::string boot_id;       // empty: not known

  static Identity of_this_process();
};

// 16 bytes from the kernel.
std::array<char, 16> random_bytes();

// Counts the forks between the first call in this program and this process: an object that
// remembers the number of its making knows whether it is in a child.
unsigned fork_generation();

// $name, or `otherwise` if it is not set or empty.
std::string environment(const char* name, std::string otherwise = {});

inline constexpr const char* kDefaultUrl = "tcp://127.0.0.1:7420";

}  // namespace tusk
