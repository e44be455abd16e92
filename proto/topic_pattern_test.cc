#include "proto/topic_pattern.h"

#include <gtest/gtest.h>

namespace tusk::proto {
namespace {

TEST(TopicPattern, AStarIsOneToken) {
  EXPECT_TRUE(matches("prices.*", "prices.eu"));
  EXPECT_FALSE(matches("prices.*", "prices"));
  EXPECT_FALSE(matches("prices.*", "prices.eu.paris"));
  EXPECT_FALSE(matches("prices.*", "news.eu"));
  EXPECT_TRUE(matches("*.eu", "prices.eu"));
  EXPECT_TRUE(matches("*", "prices"));
  EXPECT_FALSE(matches("*", "prices.eu"));
}

TEST(TopicPattern, AGreaterIsTheRestAndAtLeastOneToken) {
  EXPECT_TRUE(matches(">", "prices"));
  EXPECT_TRUE(matches(">", "prices.eu.paris"));
  EXPECT_TRUE(matches("prices.>", "prices.eu.paris"));
  EXPECT_FALSE(matches("prices.>", "prices"));
  EXPECT_TRUE(matches("*.eu.>", "prices.eu.paris"));
}

TEST(TopicPattern, ANameStandsForItself) {
  EXPECT_TRUE(matches("prices.eu", "prices.eu"));
  EXPECT_FALSE(matches("prices.eu", "prices"));
  EXPECT_FALSE(matches("prices", "prices.eu"));
  EXPECT_TRUE(matches("a*b", "a*b"));
  EXPECT_FALSE(matches("a*b", "axb")) << "a star inside a token is a letter";
  EXPECT_FALSE(is_pattern("a*b.>c"));
  EXPECT_TRUE(is_pattern("a.*.c"));
  EXPECT_TRUE(is_pattern(">"));
}

TEST(TopicPattern, FaultsAreNamed) {
  EXPECT_EQ(pattern_fault("prices.*"), "");
  EXPECT_EQ(pattern_fault("prices..eu"), "") << "a name may be anything";
  EXPECT_NE(pattern_fault("prices.>.eu").find("before its end"), std::string_view::npos);
  EXPECT_NE(pattern_fault("prices..*").find("between two dots"), std::string_view::npos);
  EXPECT_NE(pattern_fault("*.").find("between two dots"), std::string_view::npos);
}

}  // namespace
}  // namespace tusk::proto
