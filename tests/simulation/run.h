// Runs one history from its first decision to the last answer.
#pragma once

#include <optional>

#include "tests/simulation/decision.h"
#include "tests/simulation/rule.h"

namespace tusk::simulation {

struct Outcome {
  std::optional<Broken> broken;
  size_t at = 0;  // how many decisions were carried out
  uint64_t steps = 0;
};

Outcome run(const History& history, Coverage& coverage, std::string* trace = nullptr);

// A shorter history that breaks the same promise: deletes from it for as long as it still does
// (delta debugging: Zeller and Hildebrandt, 2002), at most `most` runs.
History shrink(const History& history, Rule rule, size_t most = 4000);

}  // namespace tusk::simulation
