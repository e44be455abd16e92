// Words of the file that stand for themselves: numbers, ranges, true, false, null; and which
// letters names consist of.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "config/value.h"

namespace tusk::config {

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
inline bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
// Of a bare word: letters, digits, `_`, `.`, `-`, and whatever is not ASCII.
inline bool is_word_byte(char c) {
  return is_letter(c) || is_digit(c) || c == '.' || c == '-' ||
         static_cast<unsigned char>(c) >= 0x80;
}
// Of a bare key: those of a word and `/`.
inline bool is_key_byte(char c) { return is_word_byte(c) || c == '/'; }
inline bool starts_key(char c) {
  return is_letter(c) || is_digit(c) || static_cast<unsigned char>(c) >= 0x80;
}

// How long the number at the start of `text` is: JSON's grammar of numbers; 0 if there is none.
std::size_t number_length(std::string_view text);

// The value that all of `token` stands for: a number, a range `8000-9000` (the map {min, max}),
// true, false or null. Nothing if it stands for none; an error if a number does not fit.
tl::expected<std::optional<Value>, std::string> literal(std::string_view token, const Place& place);

// Numbers, true and false as text, the way the file writes them.
std::string scalar_text(const Value& value);

}  // namespace tusk::config
