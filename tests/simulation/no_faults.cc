// The core that ships has no faults to choose from.
#include "tests/simulation/faults.h"

int tusk_fault = 0;

namespace tusk::simulation {
std::span<const Fault> all_faults() { return {}; }
}  // namespace tusk::simulation
