#include "tests/simulation/run.h"

#include <algorithm>

#include "tests/simulation/world.h"

namespace tusk::simulation {

Outcome run(const History& history, Coverage& coverage, std::string* trace) {
  Outcome outcome;
  const Scene scene(history.seed);
  World world(scene, coverage, trace);
  try {
    for (const Decision& decision : history.decisions) {
      ++outcome.at;
      world.apply(decision);
    }
    world.finish();
  } catch (const Broken& broken) {
    outcome.broken = broken;
  }
  outcome.steps = world.steps();
  return outcome;
}

History shrink(const History& history, Rule rule, size_t most) {
  Coverage ignored{};
  size_t runs = 0;
  auto breaks = [&](const History& candidate) {
    ++runs;
    const Outcome outcome = run(candidate, ignored);
    return outcome.broken && outcome.broken->rule == rule;
  };
  History best = history;
  // What comes behind the break does no harm and no good.
  const Outcome first = run(best, ignored);
  best.decisions.resize(std::min(best.decisions.size(), first.at));
  for (size_t piece = best.decisions.size() / 2; piece > 0;) {
    bool shorter = false;
    for (size_t at = 0; at < best.decisions.size() && runs < most;) {
      History candidate = best;
      const size_t end = std::min(at + piece, candidate.decisions.size());
      candidate.decisions.erase(candidate.decisions.begin() + static_cast<long>(at),
                                candidate.decisions.begin() + static_cast<long>(end));
      if (breaks(candidate)) {
        best = std::move(candidate);
        shorter = true;
      } else {
        at += piece;
      }
    }
    if (runs >= most) break;
    if (!shorter || piece > best.decisions.size()) piece /= 2;
  }
  return best;
}

}  // namespace tusk::simulation
