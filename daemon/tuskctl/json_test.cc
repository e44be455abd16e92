#include "daemon/tuskctl/json.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tusk::ctl {
namespace {

TEST(CtlJson, WholeNumbersStayIntegersAndFloatsFloats) {
  EXPECT_EQ(from_json(Json::parse("1")), Value(1));
  EXPECT_EQ(from_json(Json::parse("1.0")), Value(1.0));
  EXPECT_EQ(from_json(Json::parse("18446744073709551615")), Value(UINT64_MAX));
  EXPECT_EQ(from_json(Json::parse("-9223372036854775808")), Value(INT64_MIN));
}

TEST(CtlJson, EverythingComesBack) {
  const Json json = Json::parse(R"({"a":[1,2.5,"x",true,null],"b":{"c":-1}})");
  EXPECT_EQ(to_json(from_json(json)), json);
}

TEST(CtlJson, WhatJsonLacksIsShownAsText) {
  EXPECT_EQ(to_json(Value(Bytes{std::byte{0xab}, std::byte{0x01}})).dump(), R"({"bytes":"ab01"})");
  EXPECT_EQ(to_json(Value(Timestamp{0, 5})).dump(), R"("1970-01-01T00:00:00.000000005Z")");
  EXPECT_EQ(to_json(Value(std::nan(""))).dump(), R"("NaN")");
}

}  // namespace
}  // namespace tusk::ctl
