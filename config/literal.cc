#include "config/literal.h"

#include <array>
#include <charconv>
#include <cmath>

namespace tusk::config {
namespace {

using Outcome = tl::expected<std::optional<Value>, std::string>;

tl::unexpected<std::string> error(std::string message) {
  return tl::unexpected<std::string>(std::move(message));
}

std::size_t digits(std::string_view text, std::size_t from) {
  std::size_t i = from;
  while (i < text.size() && is_digit(text[i])) ++i;
  return i - from;
}

std::optional<std::int64_t> whole(std::string_view token) {
  std::int64_t number = 0;
  auto [end, code] = std::from_chars(token.data(), token.data() + token.size(), number);
  if (code != std::errc() || end != token.data() + token.size()) return std::nullopt;
  return number;
}

Outcome number(std::string_view token, const Place& place) {
  if (token.find_first_of(".eE") == std::string_view::npos) {
    if (auto value = whole(token)) return Value(place, *value);
    return error(
        "a whole number must lie between -2^63 and 2^63 - 1; put it in quotes if "
        "it is text");
  }
  double value = 0;
  auto [end, code] = std::from_chars(token.data(), token.data() + token.size(), value);
  if (code != std::errc() || !std::isfinite(value)) {
    return error("the number does not fit a double");
  }
  return Value(place, value);
}

Outcome range(std::string_view token, std::size_t dash, const Place& place) {
  auto from = whole(token.substr(0, dash));
  auto to = whole(token.substr(dash + 1));
  if (!from || !to) return error("the ends of a range must be below 2^63");
  if (*from > *to) return error("a range must not end before it starts");
  Map ends;
  ends.add("min", place, Value(place, *from));
  ends.add("max", place, Value(place, *to));
  return Value(place, std::move(ends));
}

}  // namespace

std::size_t number_length(std::string_view text) {
  std::size_t i = text.starts_with('-') ? 1 : 0;
  std::size_t whole_digits = digits(text, i);
  if (whole_digits == 0 || (whole_digits > 1 && text[i] == '0')) return 0;
  i += whole_digits;
  if (i < text.size() && text[i] == '.') {
    std::size_t fraction = digits(text, i + 1);
    if (fraction == 0) return i;
    i += 1 + fraction;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    std::size_t sign = i + 1 < text.size() && (text[i + 1] == '+' || text[i + 1] == '-') ? 1 : 0;
    std::size_t exponent = digits(text, i + 1 + sign);
    if (exponent > 0) i += 1 + sign + exponent;
  }
  return i;
}

Outcome literal(std::string_view token, const Place& place) {
  if (token == "null") return Value(place);
  if (token == "true") return Value(place, true);
  if (token == "false") return Value(place, false);
  std::size_t length = number_length(token);
  if (length == 0) return std::nullopt;
  if (length == token.size()) return number(token, place);
  bool dash_and_number = length == digits(token, 0) && token[length] == '-' &&
                         number_length(token.substr(length + 1)) == token.size() - length - 1 &&
                         digits(token, length + 1) == token.size() - length - 1;
  if (dash_and_number && length + 1 < token.size()) return range(token, length, place);
  return std::nullopt;
}

std::string scalar_text(const Value& value) {
  if (value.is(Value::Kind::text)) return value.text();
  if (value.is(Value::Kind::boolean)) return value.boolean() ? "true" : "false";
  if (value.is(Value::Kind::integer)) return std::to_string(value.integer());
  std::array<char, 64> buffer;
  auto [end, code] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value.real());
  return std::string(buffer.data(), end);
}

}  // namespace tusk::config
