// The faults that are woven into a copy of the core (weave.py), and how they are tried: one after
// the other, each in a process of its own, for as many histories as it takes to find it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

// Which fault is in force; 0: none. The woven core asks it.
extern int tusk_fault;

namespace tusk::simulation {

struct Fault {
  const char* name;
  const char* says;   // what it does wrong
  const char* where;  // file:line
};

// Number 1 first. Empty in the binary with the core that ships.
std::span<const Fault> all_faults();

struct Trial {
  uint64_t seed_from = 1;
  uint64_t histories = UINT64_MAX;
  double seconds = 10;        // for each fault
  bool crash_counts = false;  // a crash or a hang is a find too
  int at_least = 100;         // percent that must be found
};

// Tries each and prints a table. Whether enough were found.
bool try_faults(const Trial& trial);

}  // namespace tusk::simulation
