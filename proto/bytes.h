// Immutable bytes that many may hold and nobody copies: a body on its way through the broker.
//
//   Bytes a = Bytes::copy("abc");
//   Bytes b = a;                        // one more holder, the same memory
//   Bytes c = Bytes::adopt(p, n, release, owner);  // somebody else's memory, given back at the end
//
// Holders may live on different threads: the count is atomic. The bytes are freed, or released, by
// whichever holder goes last, on its thread.
#pragma once

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
    void* memory = std::malloc(sizeof(Block) + text.size());
    if (!memory) throw std::bad_alloc();
    char* data = static_cast<char*>(memory) + sizeof(Block);
    if (!text.empty()) std::memcpy(data, text.data(), text.size());
    return Bytes(new (memory) Block{1, data, text.size(), nullptr, nullptr});
  }

  // `size` bytes at `data` that live until release(owner) is called.
  static Bytes adopt(const char* data, size_t size, Release release, void* owner) {
    void* memory = std::malloc(sizeof(Block));
    if (!memory) throw std::bad_alloc();
    return Bytes(new (memory) Block{1, data, size, release, owner});
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
    const char* data;
    size_t size;
    Release release;
    void* owner;
  };

  explicit Bytes(Block* block) : block_(block) {}

  static void drop(Block* block) {
    if (!block || block->holders.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    if (block->release) block->release(block->owner);
    block->~Block();
    std::free(block);
  }

  Block* block_ = nullptr;
};

}  // namespace tusk::proto
