// The seeded adversary: which decisions a history consists of. Each seed draws weights of its own,
// so that some histories are all about broken connections and others about crashes.
#pragma once

#include "tests/simulation/decision.h"

namespace tusk::simulation {

History draw_history(uint64_t seed);

}  // namespace tusk::simulation
