// What a target believes of the code under test: where it does not hold the program ends, and
// libFuzzer keeps the input.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace tusk::fuzz {

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

}  // namespace tusk::fuzz
