#include "daemon/transport/spin.h"

#include <gtest/gtest.h>

namespace tusk::transport {
namespace {

using namespace std::chrono_literals;

TEST(Spin, GoesOnWhileEventsAreClose) {
  Spin spin(300us);
  EXPECT_EQ(spin.budget(), 300us);
  spin.waited(300us);
  EXPECT_EQ(spin.budget(), 300us);
}

TEST(Spin, EndsWhenSleepsAreLong) {
  Spin spin(300us);
  spin.waited(5ms);
  EXPECT_EQ(spin.budget(), 150us);
  for (int i = 0; i < 3; ++i) spin.waited(5ms);
  EXPECT_EQ(spin.budget(), 0us) << "an idle broker must not poll at all";
}

TEST(Spin, ComesBackAtTheFirstShortSleep) {
  Spin spin(300us);
  for (int i = 0; i < 10; ++i) spin.waited(1s);
  spin.waited(200us);
  EXPECT_EQ(spin.budget(), 300us);
}

TEST(Spin, OfZeroNeverPolls) {
  Spin spin(0us);
  spin.waited(0us);
  EXPECT_EQ(spin.budget(), 0us);
}

}  // namespace
}  // namespace tusk::transport
