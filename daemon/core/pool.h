// Objects by dense index: addresses that never move, indices that are used again, last freed first.
//
//   Pool<Task> tasks;
//   uint32_t i = tasks.add();     // a default-constructed Task
//   tasks[i].attempt = 1;
//   tasks.remove(i);              // reset to a default-constructed one
//
// Also the list that links pooled objects by index, through their members prev and next: an object
// is in at most one list at a time.
#pragma once

#include <cassert>
#include <cstdint>
#include <memory>
#include <vector>

namespace tusk::core {

inline constexpr uint32_t kNone = UINT32_MAX;

template <typename T>
class Pool {
 public:
  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() {
    for (uint32_t i = 0; i < size_; ++i) std::destroy_at(&(*this)[i]);
    for (T* chunk : chunks_) std::allocator<T>().deallocate(chunk, kChunk);
  }

  uint32_t add() {
    if (free_.empty()) {
      // Of a new chunk no object is made before its turn: a thousand sessions own megabytes.
      if (size_ % kChunk == 0) chunks_.push_back(std::allocator<T>().allocate(kChunk));
      std::construct_at(&chunks_.back()[size_ % kChunk]);
      ++live_;
      return size_++;
    }
    uint32_t index = free_.back();
    free_.pop_back();
    ++live_;
    return index;
  }

  void remove(uint32_t index) {
    assert(live_ > 0);
    T* item = &(*this)[index];
    std::destroy_at(item);
    std::construct_at(item);
    free_.push_back(index);
    --live_;
  }

  T& operator[](uint32_t index) {
    assert(index < size_);
    return chunks_[index / kChunk][index % kChunk];
  }
  const T& operator[](uint32_t index) const {
    assert(index < size_);
    return chunks_[index / kChunk][index % kChunk];
  }

  // Every index is below this; those that were removed are among them.
  uint32_t size() const { return size_; }
  uint32_t live() const { return live_; }

 private:
  static constexpr uint32_t kChunk = 1024;
  std::vector<T*> chunks_;
  std::vector<uint32_t> free_;
  uint32_t size_ = 0;
  uint32_t live_ = 0;
};

// A doubly linked list through T::prev and T::next.
template <typename T>
struct List {
  uint32_t head = kNone;
  uint32_t tail = kNone;
  uint32_t count = 0;

  bool empty() const { return count == 0; }

  void push_back(Pool<T>& pool, uint32_t i) {
    pool[i].prev = tail;
    pool[i].next = kNone;
    (tail == kNone ? head : pool[tail].next) = i;
    tail = i;
    ++count;
  }

  // In front of `before`, or at the end if that is kNone.
  void insert(Pool<T>& pool, uint32_t i, uint32_t before) {
    if (before == kNone) return push_back(pool, i);
    uint32_t after = pool[before].prev;
    pool[i].prev = after;
    pool[i].next = before;
    pool[before].prev = i;
    (after == kNone ? head : pool[after].next) = i;
    ++count;
  }

  void remove(Pool<T>& pool, uint32_t i) {
    assert(count > 0);
    T& item = pool[i];
    (item.prev == kNone ? head : pool[item.prev].next) = item.next;
    (item.next == kNone ? tail : pool[item.next].prev) = item.prev;
    item.prev = item.next = kNone;
    --count;
  }
};

}  // namespace tusk::core
