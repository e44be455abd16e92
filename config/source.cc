#include "config/source.h"

#include <algorithm>

namespace tusk::config {
namespace {

bool continues(std::string_view text, std::size_t i) {
  return i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80;
}

std::size_t characters(std::string_view text) {
  std::size_t count = 0;
  for (char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

}  // namespace

// The table of well-formed sequences: Unicode 15, table 3-7.
std::size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return 1;
  if (!continues(text, 1)) return 0;
  auto second = static_cast<unsigned char>(text[1]);
  if (first >= 0xC2 && first <= 0xDF) return 2;
  if (first >= 0xE0 && first <= 0xEF) {
    bool overlong = first == 0xE0 && second < 0xA0;
    bool surrogate = first == 0xED && second >= 0xA0;
    return !overlong && !surrogate && continues(text, 2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    bool overlong = first == 0xF0 && second < 0x90;
    bool beyond = first == 0xF4 && second >= 0x90;
    return !overlong && !beyond && continues(text, 2) && continues(text, 3) ? 4 : 0;
  }
  return 0;
}

bool is_text(std::string_view text) {
  while (!text.empty()) {
    std::size_t length = utf8_length(text);
    if (length == 0 || text[0] == '\0') return false;
    text.remove_prefix(length);
  }
  return true;
}

Source::Source(std::string name, std::string_view text)
    : name_(std::make_shared<const std::string>(std::move(name))), text_(text) {
  std::string_view rest = text_;
  if (rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);
  while (!rest.empty()) {
    std::size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines_.push_back(line);
  }
}

Place Source::place(std::size_t line, std::size_t byte) {
  if (line >= lines_.size()) {  // behind the last line
    return {name_, static_cast<int>(lines_.size()) + 1, 1};
  }
  if (line != line_) line_ = line, byte_ = 0, column_ = 0;
  std::string_view text = lines_[line];
  byte = std::min(byte, text.size());
  if (byte >= byte_) {
    column_ += characters(text.substr(byte_, byte - byte_));
  } else {
    column_ -= characters(text.substr(byte, byte_ - byte));
  }
  byte_ = byte;
  return {name_, static_cast<int>(line) + 1, static_cast<int>(column_) + 1};
}

Error Source::error(std::size_t line, std::size_t byte, std::string message) {
  return error(place(line, byte), std::move(message));
}

Error Source::error(const Place& place, std::string message) const {
  auto line = static_cast<std::size_t>(place.line);
  bool known = line >= 1 && line <= lines_.size();
  return {place, std::move(message), known ? std::string(lines_[line - 1]) : std::string()};
}

Error Source::error(std::string message) const { return {{name_, 0, 0}, std::move(message), ""}; }

std::optional<Error> Source::first_odd_byte() {
  for (std::size_t number = 0; number < lines_.size(); ++number) {
    std::string_view line = lines_[number];
    for (std::size_t i = 0; i < line.size();) {
      std::size_t length = utf8_length(line.substr(i));
      auto byte = static_cast<unsigned char>(line[i]);
      if (length == 0 || (byte < 0x20 && byte != '\t') || byte == 0x7F) {
        Place at = place(number, i);
        // The line itself is left out of the message: it cannot be shown.
        return Error{at, length == 0 ? "expected UTF-8" : "a control character stands here", ""};
      }
      i += length;
    }
  }
  return std::nullopt;
}

}  // namespace tusk::config
