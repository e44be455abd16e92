#include "config/units.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <limits>

namespace tusk::config {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kLongestDays = 36'500;

struct Unit {
  std::string_view name;
  std::int64_t factor;
};

constexpr std::array<Unit, 6> kDurations = {{{"d", 86'400'000'000},
                                             {"h", 3'600'000'000},
                                             {"m", 60'000'000},
                                             {"s", 1'000'000},
                                             {"ms", 1000},
                                             {"us", 1}}};
constexpr std::array<Unit, 5> kSizes = {{{"TB", std::int64_t{1} << 40},
                                         {"GB", std::int64_t{1} << 30},
                                         {"MB", std::int64_t{1} << 20},
                                         {"KB", std::int64_t{1} << 10},
                                         {"B", 1}}};

// Takes the digits that `text` starts with.
std::optional<std::int64_t> take_number(std::string_view& text) {
  std::int64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0 || text[0] == '-') return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

void skip_spaces(std::string_view& text) {
  while (!text.empty() && text[0] == ' ') text.remove_prefix(1);
}

std::optional<std::int64_t> scaled(std::int64_t number, std::int64_t factor, std::int64_t most) {
  if (number > most / factor) return std::nullopt;
  return number * factor;
}

std::string upper_without_i(std::string_view unit) {
  std::string out;
  for (char c : unit) out += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  if (out.size() == 3 && out[1] == 'I') out.erase(1, 1);
  return out;
}

std::optional<double> period_seconds(std::string_view text) {
  if (text == "s" || text == "second") return 1;
  if (text == "m" || text == "minute") return 60;
  if (text == "h" || text == "hour") return 3600;
  if (text == "d" || text == "day") return 86400;
  return std::nullopt;
}

template <std::size_t N>
std::string largest_unit(std::int64_t count, const std::array<Unit, N>& units) {
  for (const Unit& unit : units) {
    if (count != 0 && count % unit.factor == 0) {
      return std::to_string(count / unit.factor).append(unit.name);
    }
  }
  return "0" + std::string(units.back().name);
}

}  // namespace

std::optional<Bytes> parse_bytes(std::string_view text) {
  std::optional<std::int64_t> number = take_number(text);
  if (!number) return std::nullopt;
  skip_spaces(text);
  std::string name = upper_without_i(text);
  for (const Unit& unit : kSizes) {
    if (unit.name != name) continue;
    std::optional<std::int64_t> count = scaled(*number, unit.factor, kMost);
    if (!count) return std::nullopt;
    return Bytes{static_cast<std::size_t>(*count)};
  }
  return std::nullopt;
}

std::optional<Duration> parse_duration(std::string_view text) {
  std::optional<std::int64_t> number = take_number(text);
  if (!number) return std::nullopt;
  skip_spaces(text);
  for (const Unit& unit : kDurations) {
    if (unit.name != text) continue;
    std::optional<std::int64_t> count = scaled(*number, unit.factor, kLongestDays * 86'400'000'000);
    if (!count) return std::nullopt;
    return Duration(*count);
  }
  return std::nullopt;
}

std::optional<Rate> parse_rate(std::string_view text) {
  std::optional<std::int64_t> number = take_number(text);
  if (!number) return std::nullopt;
  double count = static_cast<double>(*number);
  if (!text.empty() && (text[0] == 'k' || text[0] == 'M' || text[0] == 'G')) {
    count *= text[0] == 'k' ? 1e3 : text[0] == 'M' ? 1e6 : 1e9;
    text.remove_prefix(1);
  }
  std::string_view per;
  if (std::size_t at = text.rfind("_per_"); at != std::string_view::npos) {
    per = text.substr(at + 5);
    text = text.substr(0, at);
    if (!text.empty() && text[0] != '_') return std::nullopt;
  } else if (std::size_t slash = text.rfind('/'); slash != std::string_view::npos) {
    per = text.substr(slash + 1);
    text = text.substr(0, slash);
    if (!text.empty() && text[0] != '_' && text[0] != ' ') return std::nullopt;
  }
  std::optional<double> period = period_seconds(per);
  if (!period) return std::nullopt;
  return Rate{count / *period};
}

std::string to_text(Bytes bytes) {
  return largest_unit(static_cast<std::int64_t>(bytes.count), kSizes);
}

std::string to_text(Duration duration) { return largest_unit(duration.count(), kDurations); }

}  // namespace tusk::config
