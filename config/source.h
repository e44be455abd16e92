// The text of one file, cut into lines, with the places in it.
//
//   Source source("a.tsk", text);
//   source.line(0);                       // the first line, without its break
//   source.error(0, 4, "expected a key"); // at byte 4 of the first line
//
// Lines and bytes count from 0 here, as the parser does; a Place counts from 1, as people do.
// A Source is used by one thread at a time (it remembers the last column that it counted).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/error.h"

namespace tusk::config {

class Source {
 public:
  // Takes a byte order mark away; a line ends with \n or \r\n.
  Source(std::string name, std::string_view text);

  std::size_t lines() const { return lines_.size(); }
  std::string_view line(std::size_t number) const { return lines_[number]; }
  const std::string& name() const { return *name_; }

  Place place(std::size_t line, std::size_t byte);
  Error error(std::size_t line, std::size_t byte, std::string message);
  // With the source line of a place that this source has made.
  Error error(const Place& place, std::string message) const;
  // About the file as a whole.
  Error error(std::string message) const;

  // The first byte that no text file holds: one that is not UTF-8, or a control character other
  // than tab and line break.
  std::optional<Error> first_odd_byte();

 private:
  std::shared_ptr<const std::string> name_;
  std::string text_;
  std::vector<std::string_view> lines_;
  // The column (from 0) of byte_ in line_: columns are asked for nearly in order, so counting
  // starts from the last answer.
  std::size_t line_ = 0, byte_ = 0, column_ = 0;
};

// How many bytes the character at the start of `text` has; 0 if there is none in valid UTF-8.
std::size_t utf8_length(std::string_view text);

// Is all of it UTF-8 without NUL?
bool is_text(std::string_view text);

}  // namespace tusk::config
