#include "daemon/core/pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace tusk::core {
namespace {

struct Item {
  uint32_t prev = kNone;
  uint32_t next = kNone;
  int value = 7;
};

std::vector<uint32_t> forward(const List<Item>& list, const Pool<Item>& pool) {
  std::vector<uint32_t> out;
  for (uint32_t i = list.head; i != kNone; i = pool[i].next) out.push_back(i);
  return out;
}

std::vector<uint32_t> backward(const List<Item>& list, const Pool<Item>& pool) {
  std::vector<uint32_t> out;
  for (uint32_t i = list.tail; i != kNone; i = pool[i].prev) out.push_back(i);
  std::reverse(out.begin(), out.end());
  return out;
}

TEST(Pool, GivesTheIndexFreedLastAgainAndADefaultItemThere) {
  Pool<Item> pool;
  EXPECT_EQ(pool.add(), 0u);
  EXPECT_EQ(pool.add(), 1u);
  EXPECT_EQ(pool.add(), 2u);
  pool[0].value = pool[1].value = 1;
  pool.remove(0);
  pool.remove(1);
  EXPECT_EQ(pool.live(), 1u);
  EXPECT_EQ(pool.size(), 3u);
  EXPECT_EQ(pool.add(), 1u);
  EXPECT_EQ(pool[1].value, 7);
  EXPECT_EQ(pool.add(), 0u);
  EXPECT_EQ(pool[0].value, 7);
  EXPECT_EQ(pool.add(), 3u);
}

TEST(Pool, NeverMovesWhatItHolds) {
  Pool<Item> pool;
  const Item* first = &pool[pool.add()];
  for (int i = 0; i < 5000; ++i) pool.add();
  EXPECT_EQ(&pool[0], first);
  EXPECT_EQ(pool.live(), 5001u);
}

TEST(List, InsertsInFrontOfTheOneNamedAndAtTheEnd) {
  Pool<Item> pool;
  for (int i = 0; i < 4; ++i) pool.add();
  List<Item> list;
  list.push_back(pool, 1);
  list.insert(pool, 0, 1);      // at the head
  list.insert(pool, 3, kNone);  // at the end
  list.insert(pool, 2, 3);      // between
  EXPECT_EQ(forward(list, pool), (std::vector<uint32_t>{0, 1, 2, 3}));
  EXPECT_EQ(backward(list, pool), (std::vector<uint32_t>{0, 1, 2, 3}));
  EXPECT_EQ(list.count, 4u);
}

TEST(List, SurvivesRandomInsertsAndRemoves) {
  std::mt19937 random(1);
  Pool<Item> pool;
  List<Item> list;
  std::vector<uint32_t> model;
  for (int step = 0; step < 20'000; ++step) {
    if (model.size() < 2 || random() % 2) {
      const uint32_t i = pool.add();
      const size_t at = random() % (model.size() + 1);
      list.insert(pool, i, at == model.size() ? kNone : model[at]);
      model.insert(model.begin() + static_cast<long>(at), i);
    } else {
      const size_t at = random() % model.size();
      list.remove(pool, model[at]);
      EXPECT_EQ(pool[model[at]].prev, kNone);
      EXPECT_EQ(pool[model[at]].next, kNone);
      pool.remove(model[at]);
      model.erase(model.begin() + static_cast<long>(at));
    }
    if (step % 100) continue;
    ASSERT_EQ(forward(list, pool), model);
    ASSERT_EQ(backward(list, pool), model);
    ASSERT_EQ(list.count, model.size());
    ASSERT_EQ(list.empty(), model.empty());
  }
}

}  // namespace
}  // namespace tusk::core
