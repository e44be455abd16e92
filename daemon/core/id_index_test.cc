#include "daemon/core/id_index.h"

#include <gtest/gtest.h>

#include <random>
#include <unordered_map>

namespace tusk::core {
namespace {

auto is(uint32_t wanted) {
  return [wanted](uint32_t ref) { return ref == wanted; };
}

TEST(IdIndex, FindsWhatWasInsertedAndNothingElse) {
  IdIndex index;
  index.insert(42, 1);
  EXPECT_EQ(index.find(42, is(1)), 1u);
  EXPECT_EQ(index.find(42, is(2)), kNone);
  EXPECT_EQ(index.find(uint64_t{43} << 32, is(1)), kNone);
  index.replace(42, 1, 9);
  EXPECT_EQ(index.find(42, is(1)), kNone);
  EXPECT_EQ(index.find(42, is(9)), 9u);
  index.erase(42, 9);
  EXPECT_EQ(index.find(42, is(9)), kNone);
  EXPECT_EQ(index.size(), 0u);
}

TEST(IdIndex, KeepsApartIdsWhoseHashesAreTheSame) {
  IdIndex index;
  for (uint32_t i = 0; i < 100; ++i) index.insert(7, i);
  for (uint32_t i = 0; i < 100; i += 2) index.erase(7, i);
  for (uint32_t i = 0; i < 100; ++i) EXPECT_EQ(index.find(7, is(i)), i % 2 ? i : kNone);
}

// Hashes from few values, so that clusters form, wrap round the table's end and are moved back.
TEST(IdIndex, AgreesWithAMapOverRandomInsertsAndErases) {
  std::mt19937_64 random(3);
  IdIndex index;
  std::unordered_map<uint32_t, uint64_t> model;  // ref -> hash
  uint32_t next = 0;
  for (int step = 0; step < 200'000; ++step) {
    const bool grows = model.size() < 3000;
    if (model.empty() || random() % 100 < (grows ? 60 : 45)) {
      const uint64_t tag = random() % 2 ? random() % 64 : 0xFFFFFFC0 + random() % 64;
      const uint64_t hash = (random() % 4 ? random() : tag << 32);
      index.insert(hash, next);
      model[next++] = hash;
    } else {
      auto it = model.begin();
      index.erase(it->second, it->first);
      model.erase(it);
    }
    ASSERT_EQ(index.size(), model.size());
    if (step % 5000) continue;
    for (const auto& [ref, hash] : model) ASSERT_EQ(index.find(hash, is(ref)), ref);
  }
}

}  // namespace
}  // namespace tusk::core
