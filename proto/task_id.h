// A task's id: 16 bytes that its client makes, unique, UUIDv7 by custom (SPEC.md, "Ids").
//
//   TaskId id = TaskId::make_v7(unix_ms, random);   // the caller brings clock and randomness
//   id.hex();                                       // "0190163d8694739bb5fe2e9f3a0a0d5e"
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace tusk::proto {

struct TaskId {
  std::array<uint8_t, 16> bytes{};

  // UUIDv7 as RFC 9562 section 5.7 lays it out. `unix_ms`: milliseconds since 1970, below 2^48.
  static TaskId make_v7(uint64_t unix_ms, uint64_t random_a, uint64_t random_b);

  // The first 16 of `from`, which must have them.
  static TaskId from_bytes(const void* from) {
    TaskId id;
    std::memcpy(id.bytes.data(), from, id.bytes.size());
    return id;
  }

  // 32 hexadecimal digits, dashes allowed between them; nothing if it is not that.
  static std::optional<TaskId> parse(std::string_view text);

  std::string hex() const;

  // The time that a UUIDv7 carries: milliseconds since 1970.
  uint64_t unix_ms() const;

  // Good enough as a hash of its own for random ids, and mixed so that others do no harm.
  uint64_t hash() const {
    uint64_t a, b;
    std::memcpy(&a, bytes.data(), 8);
    std::memcpy(&b, bytes.data() + 8, 8);
    uint64_t h = (a ^ (b >> 29)) * 0x9E3779B97F4A7C15u + b;
    h ^= h >> 32;
    return h * 0xD6E8FEB86659FD93u;
  }

  auto operator<=>(const TaskId&) const = default;
};

}  // namespace tusk::proto
