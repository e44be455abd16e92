#include "proto/task_id.h"

namespace tusk::proto {

TaskId TaskId::make_v7(uint64_t unix_ms, uint64_t random_a, uint64_t random_b) {
  TaskId id;
  for (int i = 0; i < 6; ++i) id.bytes[i] = static_cast<uint8_t>(unix_ms >> (40 - 8 * i));
  std::memcpy(id.bytes.data() + 6, &random_a, 2);
  std::memcpy(id.bytes.data() + 8, &random_b, 8);
  id.bytes[6] = (id.bytes[6] & 0x0F) | 0x70;  // version 7
  id.bytes[8] = (id.bytes[8] & 0x3F) | 0x80;  // variant 10
  return id;
}

std::optional<TaskId> TaskId::parse(std::string_view text) {
  TaskId id;
  size_t digits = 0;
  for (char c : text) {
    int value;
    if (c >= '0' && c <= '9') {
      value = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      value = c - 'a' + 10;
    } else if (c >= 'A' && c <= 'F') {
      value = c - 'A' + 10;
    } else if (c == '-') {
      continue;
    } else {
      return std::nullopt;
    }
    if (digits == 32) return std::nullopt;
    uint8_t& byte = id.bytes[digits / 2];
    byte = static_cast<uint8_t>(byte << 4 | value);
    ++digits;
  }
  if (digits != 32) return std::nullopt;
  return id;
}

std::string TaskId::hex() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(32);
  for (uint8_t byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

uint64_t TaskId::unix_ms() const {
  uint64_t ms = 0;
  for (int i = 0; i < 6; ++i) ms = ms << 8 | bytes[i];
  return ms;
}

}  // namespace tusk::proto
