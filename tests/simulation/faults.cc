#include "tests/simulation/faults.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>

#include "tests/simulation/adversary.h"
#include "tests/simulation/run.h"

namespace tusk::simulation {

namespace {

using Clock = std::chrono::steady_clock;

constexpr rlim_t kMemory = rlim_t{2} << 30;
constexpr unsigned kStuck = 5;  // seconds that one history may take

// What a trial came to; written through a pipe.
struct Find {
  uint64_t histories = 0, seed = 0;
  double seconds = 0;
  int rule = -1;  // none: not found
};

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Find search(const Trial& trial) {
  Find find;
  Coverage coverage{};
  const Clock::time_point start = Clock::now();
  for (uint64_t seed = trial.seed_from; find.histories < trial.histories; ++seed) {
    if (since(start) > trial.seconds) break;
    alarm(kStuck);
    const Outcome outcome = run(draw_history(seed), coverage);
    ++find.histories;
    if (!outcome.broken) continue;
    find.seed = seed;
    find.rule = static_cast<int>(outcome.broken->rule);
    break;
  }
  alarm(0);
  find.seconds = since(start);
  return find;
}

// In a child, so that a crash or a hang is no more than a find.
Find search_apart(int number, const Trial& trial, std::string& died) {
  int ends[2];
  if (pipe(ends) != 0) return {};
  const pid_t child = fork();
  if (child == 0) {
    const rlimit memory{kMemory, kMemory};
    setrlimit(RLIMIT_AS, &memory);
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    if (!freopen("/dev/null", "w", stderr)) _exit(1);
    tusk_fault = number;
    const Find find = search(trial);
    _exit(write(ends[1], &find, sizeof find) == sizeof find ? 0 : 1);
  }
  close(ends[1]);
  Find find;
  const bool told = read(ends[0], &find, sizeof find) == sizeof find;
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (told) return find;
  died = !WIFSIGNALED(status) ? "out of memory" : WTERMSIG(status) == SIGALRM ? "hangs" : "crashes";
  return {};
}

}  // namespace

bool try_faults(const Trial& trial) {
  size_t missed = 0, number = 0;
  double longest = 0;
  std::printf("%-24s %9s %8s  %s\n", "fault", "histories", "seconds", "found by");
  for (const Fault& fault : all_faults()) {
    std::string died;
    const Find find = search_apart(static_cast<int>(++number), trial, died);
    const bool found = find.rule >= 0 || (trial.crash_counts && !died.empty());
    const std::string by = find.rule >= 0 ? std::string(rule_name(static_cast<Rule>(find.rule)))
                           : died.empty() ? "NOT FOUND"
                                          : died;
    std::printf("%-24s %9llu %8.2f  %-18s %s: %s\n", fault.name,
                static_cast<unsigned long long>(find.histories), find.seconds, by.c_str(),
                fault.where, fault.says);
    std::fflush(stdout);
    missed += !found;
    if (found) longest = std::max(longest, find.seconds);
  }
  const size_t found = number - missed;
  std::printf("%zu of %zu found, %.1f %%; the slowest took %.2f s\n", found, number,
              100.0 * static_cast<double>(found) / static_cast<double>(number), longest);
  return number > 0 && found * 100 >= number * static_cast<size_t>(trial.at_least);
}

}  // namespace tusk::simulation
