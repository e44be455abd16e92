// Quantities as people write them: `16MB`, `250ms`, `100k_events_per_second`.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace tusk::config {

// An amount of memory. Reads as a plain number of bytes.
struct Bytes {
  std::size_t count = 0;
  constexpr operator std::size_t() const { return count; }  // NOLINT: a quantity, not a wrapper
};

constexpr Bytes operator""_KB(unsigned long long n) { return {static_cast<std::size_t>(n) << 10}; }
constexpr Bytes operator""_MB(unsigned long long n) { return {static_cast<std::size_t>(n) << 20}; }
constexpr Bytes operator""_GB(unsigned long long n) { return {static_cast<std::size_t>(n) << 30}; }

// A length of time; the file's smallest unit is the microsecond.
using Duration = std::chrono::microseconds;

// How often something happens.
struct Rate {
  double per_second = 0;
  friend bool operator==(const Rate&, const Rate&) = default;
};

// `4KB`, `4 KB`, `4KiB`, `4096B`: a whole number and a unit (B, KB, MB, GB, TB, with or without an
// i, in any case), powers of 1024. Nothing if the text is no size or exceeds 2^63 - 1 bytes.
std::optional<Bytes> parse_bytes(std::string_view text);

// `100us`, `5ms`, `30s`, `5m`, `2h`, `1d`: a whole number and a unit. Nothing if the text is no
// duration or exceeds 36,500 days.
std::optional<Duration> parse_duration(std::string_view text);

// A number, maybe k, M or G (powers of 1000), then `/s` or `_per_second` (s, m, h, d; second,
// minute, hour, day), maybe with the name of what happens between: `100k_events_per_second` is
// 100,000 a second. Nothing if the text is no rate.
std::optional<Rate> parse_rate(std::string_view text);

// The shortest exact way to write them: 65536 is `64KB`, 1500 us is `1500us`.
std::string to_text(Bytes bytes);
std::string to_text(Duration duration);

}  // namespace tusk::config
