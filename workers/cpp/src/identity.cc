#include "identity.h"

#include <pthread.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <system_error>

#include "proto/task_id.h"
#include "tusk/task_id.h"

namespace tusk {
namespace {

std::atomic<unsigned> forks{0};

// xoshiro256++ of Blackman and Vigna (prng.di.unimi.it), seeded by the kernel, once more per fork.
class Random {
 public:
  std::uint64_t next() {
    if (generation_ != fork_generation()) seed();
    const std::uint64_t result = rotate(s_[0] + s_[3], 23) + s_[0];
    const std::uint64_t t = s_[1] << 17;
    s_[2] ^= s_[0];
    s_[3] ^= s_[1];
    s_[1] ^= s_[2];
    s_[0] ^= s_[3];
    s_[2] ^= t;
    s_[3] = rotate(s_[3], 45);
    return result;
  }

 private:
  static std::uint64_t rotate(std::uint64_t x, int k) { return x << k | x >> (64 - k); }
  void seed() {
    generation_ = fork_generation();
    auto first = random_bytes(), second = random_bytes();
    std::memcpy(s_, first.data(), 16);
    std::memcpy(s_ + 2, second.data(), 16);
  }

  std::uint64_t s_[4] = {};
  unsigned generation_ = ~0u;
};

}  // namespace

unsigned fork_generation() {
  [[maybe_unused]] static const int once = pthread_atfork(nullptr, nullptr, [] { ++forks; });
  return forks.load(std::memory_order_relaxed);
}

std::array<char, 16> random_bytes() {
  std::array<char, 16> bytes;
  std::size_t got = 0;
  while (got < bytes.size()) {
    const ssize_t n = getrandom(bytes.data() + got, bytes.size() - got, 0);
    if (n < 0 && errno != EINTR) {
      throw std::system_error(errno, std::generic_category(), "getrandom");
    }
    if (n > 0) got += static_cast<std::size_t>(n);
  }
  return bytes;
}

Identity Identity::of_this_process() {
  Identity who;
  who.pid = static_cast<std::uint64_t>(getpid());
  struct stat info;
  if (stat("/proc/self/ns/pid", &info) == 0) who.pid_ns = info.st_ino;
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::getline(file, who.boot_id);
  return who;
}

std::string environment(const char* name, std::string otherwise) {
  const char* value = std::getenv(name);
  return value && *value ? std::string(value) : otherwise;
}

TaskId TaskId::make() {
  static thread_local Random random;
  timespec now;  // of the last tick, which is a few milliseconds ago, and costs a fifth
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  const auto ms = static_cast<std::uint64_t>(now.tv_sec * 1000 + now.tv_nsec / 1'000'000);
  TaskId id;
  id.bytes = proto::TaskId::make_v7(ms, random.next(), random.next()).bytes;
  return id;
}

std::optional<TaskId> TaskId::parse(std::string_view text) {
  auto id = proto::TaskId::parse(text);
  if (!id) return std::nullopt;
  return TaskId{id->bytes};
}

std::string TaskId::hex() const { return proto::TaskId{bytes}.hex(); }

}  // namespace tusk
