#include "config/units.h"

#include <gtest/gtest.h>

namespace tusk::config {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Bytes, AreANumberAndAPowerOf1024) {
  EXPECT_EQ(parse_bytes("16MB")->count, 16u * 1024 * 1024);
  EXPECT_EQ(parse_bytes("4KB")->count, 4096u);
  EXPECT_EQ(parse_bytes("4 KiB")->count, 4096u);
  EXPECT_EQ(parse_bytes("1gb")->count, 1u << 30);
  EXPECT_EQ(parse_bytes("0B")->count, 0u);
  EXPECT_EQ(parse_bytes("2TB")->count, std::size_t{2} << 40);
}

TEST(Bytes, RefuseWhatIsNoSize) {
  for (const char* text : {"", "MB", "16", "-1MB", "1.5MB", "16MBs", "16 M",
                           "9223372036854775807KB", "99999999999999999999B", "1IB"}) {
    EXPECT_FALSE(parse_bytes(text)) << text;
  }
}

TEST(Durations, AreANumberAndAUnit) {
  EXPECT_EQ(*parse_duration("100us"), Duration(100));
  EXPECT_EQ(*parse_duration("5ms"), milliseconds(5));
  EXPECT_EQ(*parse_duration("5m"), seconds(300));
  EXPECT_EQ(*parse_duration("2 h"), hours(2));
  EXPECT_EQ(*parse_duration("1d"), hours(24));
  EXPECT_EQ(*parse_duration("0s"), seconds(0));
}

TEST(Durations, RefuseWhatIsNoDuration) {
  for (const char* text :
       {"", "s", "5", "-5s", "1h30m", "5 minutes", "36501d", "1.5s", "9223372036854775807d"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(Rates, AreAnAmountPerTime) {
  EXPECT_DOUBLE_EQ(parse_rate("100k_events_per_second")->per_second, 100'000);
  EXPECT_DOUBLE_EQ(parse_rate("100000/s")->per_second, 100'000);
  EXPECT_DOUBLE_EQ(parse_rate("2M/s")->per_second, 2'000'000);
  EXPECT_DOUBLE_EQ(parse_rate("60_per_minute")->per_second, 1);
  EXPECT_DOUBLE_EQ(parse_rate("36 requests/h")->per_second, 0.01);
}

TEST(Rates, RefuseWhatIsNoRate) {
  for (const char* text : {"", "100", "100k", "fast", "100k_events", "100k_events_per_fortnight",
                           "per_second", "100q/s", "-1/s"}) {
    EXPECT_FALSE(parse_rate(text)) << text;
  }
}

TEST(Quantities, AreWrittenInTheirLargestWholeUnit) {
  EXPECT_EQ(to_text(Bytes{65536}), "64KB");
  EXPECT_EQ(to_text(Bytes{65537}), "65537B");
  EXPECT_EQ(to_text(4_GB), "4GB");
  EXPECT_EQ(to_text(Bytes{0}), "0B");
  EXPECT_EQ(to_text(Duration(1500)), "1500us");
  EXPECT_EQ(to_text(milliseconds(100)), "100ms");
  EXPECT_EQ(to_text(seconds(60)), "1m");
  EXPECT_EQ(to_text(seconds(0)), "0us");
}

}  // namespace
}  // namespace tusk::config
