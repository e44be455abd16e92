// Unsigned integers as msgpack has them: big-endian, at any address.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace tusk::proto {

template <typename T>
T swap_if_little_endian(T value) {
  if constexpr (std::endian::native == std::endian::big || sizeof(T) == 1) {
    return value;
  } else if constexpr (sizeof(T) == 2) {
    return __builtin_bswap16(value);
  } else if constexpr (sizeof(T) == 4) {
    return __builtin_bswap32(value);
  } else {
    return __builtin_bswap64(value);
  }
}

template <typename T>
T load_big_endian(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return swap_if_little_endian(value);
}

template <typename T>
void store_big_endian(char* at, T value) {
  value = swap_if_little_endian(value);
  std::memcpy(at, &value, sizeof value);
}

}  // namespace tusk::proto
