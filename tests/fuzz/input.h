// Takes a fuzzer's input apart, choice by choice. At its end every choice is 0.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tusk::fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}

  bool more() const { return at_ != end_; }
  uint8_t byte() { return more() ? *at_++ : uint8_t{0}; }
  uint16_t two_bytes() {
    const uint8_t low = byte();
    return static_cast<uint16_t>(low | byte() << 8);
  }
  // 0 to n - 1; n at most 256.
  uint32_t below(uint32_t n) { return byte() % n; }
  bool one_in(uint32_t n) { return below(n) == n - 1; }
  std::string_view bytes(size_t most) {
    const size_t size = std::min<size_t>(most, static_cast<size_t>(end_ - at_));
    const std::string_view out(reinterpret_cast<const char*>(at_), size);
    at_ += size;
    return out;
  }
  std::string_view rest() { return bytes(SIZE_MAX); }

 private:
  const uint8_t *at_, *end_;
};

}  // namespace tusk::fuzz
