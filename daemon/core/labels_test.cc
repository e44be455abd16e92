#include "daemon/core/labels.h"

#include <gtest/gtest.h>

#include <vector>

namespace tusk::core {
namespace {

std::vector<uint32_t> tasks_with(const LabelIndex& labels, std::string_view name,
                                 std::string_view value) {
  std::vector<uint32_t> out;
  for (uint32_t n = labels.first(name, value); n != kNone; n = labels.next(n)) {
    out.push_back(labels.task(n));
  }
  return out;
}

TEST(Labels, FindsTheTasksOfAPair) {
  LabelIndex labels;
  labels.add(7, "customer", "acme");
  const uint32_t middle = labels.add(3, "customer", "acme");
  labels.add(5, "customer", "acme");
  labels.add(5, "build", "42");
  EXPECT_EQ(tasks_with(labels, "customer", "acme"), (std::vector<uint32_t>{7, 3, 5}));
  EXPECT_EQ(labels.count("customer", "acme"), 3u);
  EXPECT_EQ(labels.name(middle), "customer");
  EXPECT_EQ(labels.value(middle), "acme");
  labels.remove(middle);
  EXPECT_EQ(tasks_with(labels, "customer", "acme"), (std::vector<uint32_t>{7, 5}));
  EXPECT_TRUE(tasks_with(labels, "customer", "else").empty());
  EXPECT_TRUE(tasks_with(labels, "else", "acme").empty());
}

TEST(Labels, PairsThatReadTheSameWhenJoinedAreNotTheSame) {
  LabelIndex labels;
  labels.add(1, "ab", "c");
  labels.add(2, "a", "bc");
  EXPECT_EQ(tasks_with(labels, "ab", "c"), (std::vector<uint32_t>{1}));
  EXPECT_EQ(tasks_with(labels, "a", "bc"), (std::vector<uint32_t>{2}));
}

TEST(Labels, APairThatNobodyHasIsForgotten) {
  LabelIndex labels;
  const uint32_t one = labels.add(1, "a", "b");
  const uint32_t two = labels.add(2, "a", "b");
  labels.remove(one);
  EXPECT_EQ(labels.size(), 1u);
  labels.remove(two);
  EXPECT_EQ(labels.size(), 0u);
  EXPECT_EQ(labels.first("a", "b"), kNone);
}

TEST(Labels, ATaskThatMovesKeepsItsLabels) {
  LabelIndex labels;
  const uint32_t node = labels.add(1, "a", "b");
  labels.move(node, 9);
  EXPECT_EQ(tasks_with(labels, "a", "b"), (std::vector<uint32_t>{9}));
}

}  // namespace
}  // namespace tusk::core
