// Finds tasks by id: an open-addressing table of 8 bytes per entry (a piece of the hash and a
// reference; the ids stand in what is referred to). Linear probing, at most 7/10 full, deletion by
// moving back (Knuth, The Art of Computer Programming 3, 6.4, algorithm R).
//
//   IdIndex index;
//   index.insert(id.hash(), ref);
//   uint32_t ref = index.find(id.hash(), [&](uint32_t ref) { return id_of(ref) == id; });
#pragma once

#include <cassert>
#include <cstdint>
#include <vector>

#include "daemon/core/pool.h"

namespace tusk::core {

class IdIndex {
 public:
  IdIndex() : slots_(1024) {}

  // `ref` must not be kNone. The id must not be there yet.
  void insert(uint64_t hash, uint32_t ref) {
    if ((count_ + 1) * 10 > slots_.size() * 7) grow();
    place({static_cast<uint32_t>(hash >> 32), ref});
    ++count_;
  }

  // The reference for which same(ref) holds, or kNone.
  template <typename Same>
  uint32_t find(uint64_t hash, Same same) const {
    size_t at = locate(hash, same);
    return at == kNowhere ? kNone : slots_[at].ref;
  }

  // Puts `fresh` in the place of `old`, which must be there.
  void replace(uint64_t hash, uint32_t old, uint32_t fresh) {
    size_t at = locate(hash, [old](uint32_t ref) { return ref == old; });
    assert(at != kNowhere);
    slots_[at].ref = fresh;
  }

  // Asks for the memory of an id that will be looked for soon. A large index is never in a cache:
  // without this each look costs a wait for memory.
  void prefetch(uint64_t hash) const {
    __builtin_prefetch(&slots_[home_of(static_cast<uint32_t>(hash >> 32))]);
  }

  void erase(uint64_t hash, uint32_t ref) {
    size_t hole = locate(hash, [ref](uint32_t r) { return r == ref; });
    assert(hole != kNowhere);
    const size_t mask = slots_.size() - 1;
    for (size_t at = (hole + 1) & mask; slots_[at].ref != kNone; at = (at + 1) & mask) {
      size_t home = home_of(slots_[at].tag);
      // Whether home lies cyclically outside (hole, at]: then the entry may move into the hole.
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        slots_[hole] = slots_[at];
        hole = at;
      }
    }
    slots_[hole] = Slot{};
    --count_;
  }

  size_t size() const { return count_; }

 private:
  struct Slot {
    uint32_t tag = 0;
    uint32_t ref = kNone;
  };
  static constexpr size_t kNowhere = SIZE_MAX;

  // The home slot comes from the tag, so that a slot can be moved without its id. 2^32 slots at
  // most.
  size_t home_of(uint32_t tag) const { return tag & (slots_.size() - 1); }

  template <typename Same>
  size_t locate(uint64_t hash, Same same) const {
    const auto tag = static_cast<uint32_t>(hash >> 32);
    const size_t mask = slots_.size() - 1;
    for (size_t at = home_of(tag);; at = (at + 1) & mask) {
      if (slots_[at].ref == kNone) return kNowhere;
      if (slots_[at].tag == tag && same(slots_[at].ref)) return at;
    }
  }

  void place(Slot slot) {
    const size_t mask = slots_.size() - 1;
    size_t at = home_of(slot.tag);
    while (slots_[at].ref != kNone) at = (at + 1) & mask;
    slots_[at] = slot;
  }

  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.ref != kNone) place(slot);
    }
  }

  std::vector<Slot> slots_;
  size_t count_ = 0;
};

}  // namespace tusk::core
