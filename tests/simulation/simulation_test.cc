// The simulator itself: a history replays exactly, is saved and read again, and can be shortened.
#include <gtest/gtest.h>

#include <random>

#include "tests/simulation/adversary.h"
#include "tests/simulation/faults.h"
#include "tests/simulation/run.h"

namespace tusk::simulation {
namespace {

TEST(Simulation, ASeedReplaysExactly) {
  Coverage coverage{};
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    std::string first, second;
    const History history = draw_history(seed);
    EXPECT_EQ(history.decisions, draw_history(seed).decisions);
    run(history, coverage, &first);
    run(history, coverage, &second);
    EXPECT_FALSE(first.empty());
    EXPECT_EQ(first, second) << "seed " << seed;
  }
}

TEST(Simulation, TheAccountChangesNothing) {
  Coverage coverage{};
  std::string trace;
  EXPECT_EQ(run(draw_history(7), coverage).steps, run(draw_history(7), coverage, &trace).steps);
}

TEST(Simulation, AHistoryIsReadAsItWasSaved) {
  const History history = draw_history(42);
  std::string why;
  const auto read = parse_history(to_text(history), why);
  ASSERT_TRUE(read) << why;
  EXPECT_EQ(read->seed, 42u);
  EXPECT_EQ(read->decisions, history.decisions);
}

TEST(Simulation, WhatIsNoHistoryIsRefusedWithItsLine) {
  std::string why;
  EXPECT_FALSE(parse_history("seed 1\nfly peer=1\n", why));
  EXPECT_EQ(why, "line 2 is no decision: fly peer=1");
  EXPECT_FALSE(parse_history("seed 1\n\ncancel peer=1 job=2\n", why));
  EXPECT_EQ(why, "line 3: expected id=NUMBER, not job=2");
  EXPECT_TRUE(parse_history("# a comment\nseed 1\ncancel peer=1 id=2\n", why)) << why;
}

// Shrinking is right because of this.
TEST(Simulation, WhateverIsDeletedTheRestIsAHistory) {
  Coverage coverage{};
  std::mt19937_64 random(1);
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    History history = draw_history(seed);
    std::erase_if(history.decisions, [&](const Decision&) { return random() % 3 == 0; });
    const Outcome outcome = run(history, coverage);
    EXPECT_FALSE(outcome.broken) << "seed " << seed << ": " << outcome.broken->what;
  }
}

// A promise that nothing ever touches is not checked.
TEST(Simulation, EveryRuleIsChecked) {
  Coverage coverage{};
  for (uint64_t seed = 1; seed <= 1000; ++seed) run(draw_history(seed), coverage);
  for (size_t i = 0; i < kRules; ++i) {
    EXPECT_GT(coverage[i], 0u) << rule_name(static_cast<Rule>(i));
  }
}

// With a fault in the core (this test has the woven one) a history fails, and a shorter one too.
TEST(Simulation, ShrinkingKeepsTheBrokenPromise) {
  const auto faults = all_faults();
  ASSERT_FALSE(faults.empty());
  for (size_t i = 0; i < faults.size(); ++i) {
    if (faults[i].name == std::string_view("lose_cancel")) tusk_fault = static_cast<int>(i + 1);
  }
  ASSERT_NE(tusk_fault, 0);
  Coverage coverage{};
  for (uint64_t seed = 1;; ++seed) {
    const History history = draw_history(seed);
    const Outcome outcome = run(history, coverage);
    if (!outcome.broken) continue;
    const History shorter = shrink(history, outcome.broken->rule);
    EXPECT_LT(shorter.decisions.size(), 12u) << to_text(shorter);
    const Outcome again = run(shorter, coverage);
    ASSERT_TRUE(again.broken);
    EXPECT_EQ(again.broken->rule, outcome.broken->rule);
    break;
  }
  tusk_fault = 0;
}

}  // namespace
}  // namespace tusk::simulation
