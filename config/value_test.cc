#include "config/value.h"

#include <gtest/gtest.h>

namespace tusk::config {
namespace {

TEST(Maps, KeepTheOrderOfTheFileAndFindEveryName) {
  Map map;
  for (std::int64_t i = 0; i < 1000; ++i) {
    ASSERT_TRUE(map.add("k" + std::to_string(999 - i), {}, Value({}, i)));
    ASSERT_FALSE(map.add("k" + std::to_string(999 - i), {}, Value()));
  }
  ASSERT_EQ(map.size(), 1000u);
  for (std::int64_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(map.key(static_cast<std::size_t>(i)).name, "k" + std::to_string(999 - i));
    EXPECT_EQ(map.find("k" + std::to_string(999 - i))->integer(), i);
  }
  EXPECT_EQ(map.find("other"), nullptr);
  EXPECT_EQ(map.find_key("k3")->name, "k3");
}

TEST(Values, WriteThemselvesAsJson) {
  Map map;
  map.add("b", {}, Value({}, std::string("x\"ä\n")));
  map.add("a", {}, Value({}, List{Value(), Value({}, true), Value({}, 1.5)}));
  map.add("n", {}, Value({}, Map()));
  EXPECT_EQ(to_json(Value({}, std::move(map))),
            "{\n  \"b\": \"x\\\"ä\\n\",\n  \"a\": [\n    null,\n    true,\n    1.5\n  ],\n"
            "  \"n\": {}\n}");
}

}  // namespace
}  // namespace tusk::config
