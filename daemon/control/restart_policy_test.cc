#include "daemon/control/restart_policy.h"

#include <gtest/gtest.h>

namespace tusk::control {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(RestartPolicy, PausesDoubleUpToTheirBound) {
  RestartPolicy policy({.max_deaths = 100});
  EXPECT_EQ(policy.died(milliseconds(0)), milliseconds(100));
  EXPECT_EQ(policy.died(milliseconds(0)), milliseconds(200));
  EXPECT_EQ(policy.died(milliseconds(0)), milliseconds(400));
  for (int i = 0; i < 20; ++i) policy.died(milliseconds(0));
  EXPECT_EQ(policy.died(milliseconds(0)), seconds(30));
}

TEST(RestartPolicy, GivesUpAfterARowOfDeaths) {
  RestartPolicy policy({});
  for (int i = 0; i < 9; ++i) EXPECT_TRUE(policy.died(milliseconds(9999))) << i;
  EXPECT_FALSE(policy.died(milliseconds(9999)));
}

TEST(RestartPolicy, AHealthyRunEndsTheRowButNotThePauses) {
  RestartPolicy policy({});
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(policy.died(seconds(10))) << i;
  EXPECT_EQ(policy.died(seconds(10)), seconds(30));
}

TEST(RestartPolicy, ASteadyRunForgetsThePauses) {
  RestartPolicy policy({});
  for (int i = 0; i < 5; ++i) policy.died(milliseconds(0));
  EXPECT_EQ(policy.died(seconds(60)), milliseconds(100));
  EXPECT_EQ(policy.deaths(), 1u);
}

TEST(RestartPolicy, ResetBeginsAnew) {
  RestartPolicy policy({.max_deaths = 2});
  policy.died(milliseconds(0));
  policy.reset();
  EXPECT_EQ(policy.died(milliseconds(0)), milliseconds(100));
}

}  // namespace
}  // namespace tusk::control
