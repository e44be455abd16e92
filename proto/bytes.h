// Immutable bytes that many may hold and nobody copies: a body on its way through the broker.
//
//   Bytes a = Bytes::copy("abc");
//   Bytes b = a;                        // one more holder, the same memory
//   Bytes c = Bytes::adopt(p, n, release, owner);  // somebody else's memory, given back at the end
//
// Holders may live on different threads: the count is atomic. The bytes are freed, or released, by
// whichever holder goes last, on its thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <string_view>
#include <utility>

namespace tusk::proto {

class Bytes {
 public:
  using Release = void (*)(void* owner);

  Bytes() = default;
  Bytes(const Bytes& other) : block_(other.block_) {
    if (block_) block_->holders.fetch_add(1, std::memory_order_relaxed);
  }
  Bytes(Bytes&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Bytes& operator=(Bytes other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Bytes() { drop(block_); }

  // A copy of `text`, in one allocation.
  static Bytes copy(std::string_view text) {
    char* room = make_room(text.size());
    if (!text.empty()) std::memcpy(room, text.data(), text.size());
    return seal(room, text.size());
  }
  // The same in the memory of `old`, if nobody else holds that and it is of about the right size.
  static Bytes copy(std::string_view text, Bytes&& old) {
    Block* block = old.block_;
    const bool fits = block && !block->release && block->room >= text.size() &&
                      block->room <= 2 * text.size() + 256 &&
                      block->holders.load(std::memory_order_acquire) == 1;
    if (!fits) return copy(text);
    if (!text.empty()) std::memcpy(const_cast<char*>(block->data), text.data(), text.size());
    block->size = text.size();
    return std::move(old);
  }

  // For who writes the bytes himself: room for `size` of them, which seal() makes into Bytes, so
  // that nothing is copied, or drop_room() gives back.
  static char* make_room(size_t size) {
    void* memory = std::malloc(sizeof(Block) + size);
    if (!memory) throw std::bad_alloc();
    return static_cast<char*>(memory) + sizeof(Block);
  }
  static Bytes seal(char* room, size_t size) {
    const auto at_least = static_cast<uint32_t>(std::min<size_t>(size, UINT32_MAX));
    return Bytes(new (room - sizeof(Block)) Block{1, at_least, room, size, nullptr, nullptr});
  }
  static void drop_room(char* room) {
    if (room) std::free(room - sizeof(Block));
  }

  // `size` bytes at `data` that live until release(owner) is called.
  static Bytes adopt(const char* data, size_t size, Release release, void* owner) {
    void* memory = std::malloc(sizeof(Block));
    if (!memory) throw std::bad_alloc();
    return Bytes(new (memory) Block{1, 0, data, size, release, owner});
  }

  std::string_view view() const {
    return block_ ? std::string_view(block_->data, block_->size) : std::string_view();
  }
  const char* data() const { return block_ ? block_->data : nullptr; }
  size_t size() const { return block_ ? block_->size : 0; }
  // Whether there are bytes at all; bytes of size 0 are bytes.
  explicit operator bool() const { return block_ != nullptr; }

  // Hands one holder's share to code that only knows pointers (a ZeroMQ message): exactly one
  // drop_share(share) must follow, on any thread.
  void* share() const {
    Bytes held = *this;
    return std::exchange(held.block_, nullptr);
  }
  static void drop_share(void* share) { drop(static_cast<Block*>(share)); }

 private:
  struct Block {
    std::atomic<uint32_t> holders;
    uint32_t room;  // what memory of our own holds at least; 0: it is not
    const char* data;
    size_t size;
    Release release;
    void* owner;
  };

  explicit Bytes(Block* block) : block_(block) {}

  static void drop(Block* block) {
    if (!block) return;
    // Who holds it alone need not count down: nobody can come by another share.
    if (block->holders.load(std::memory_order_acquire) != 1 &&
        block->holders.fetch_sub(1, std::memory_order_acq_rel) != 1) {
      return;
    }
    if (block->release) block->release(block->owner);
    block->~Block();
    std::free(block);
  }

  Block* block_ = nullptr;
};

}  // namespace tusk::proto
