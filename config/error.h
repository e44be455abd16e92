// Where something stands in a configuration file, and what is wrong there.
//
//   Error e{value.place, "unknown key \"wokers\"", "  wokers: 3"};
//   std::cerr << format(e);
//
// prints
//
//   tuskd.tsk:7:3: unknown key "wokers"
//     7 |   wokers: 3
//       |   ^
//
// Values of this header are plain data: copy them as you like, share them between threads once they
// no longer change.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace tusk::config {

// A place in a file. Lines and columns count from 1; a column counts characters (code points), not
// bytes. Line 0 means the file as a whole.
struct Place {
  std::shared_ptr<const std::string> file;
  int line = 0;
  int column = 0;
};

// One mistake in a file, or one warning about it.
struct Error {
  Place place;
  std::string message;
  std::string source;  // the line it stands in, without its line break; empty where line is 0
};

// A T, or everything that is wrong with the input: never an empty list.
template <class T>
using Result = tl::expected<T, std::vector<Error>>;

// `file:line:column: message`, the line and a caret below it, each line ended by a line break. A
// line of more than 160 characters is shown around its caret only.
std::string format(const Error& error);
std::string format(const std::vector<Error>& errors);

// The candidate that `name` was probably meant to be: the one with the fewest typing errors
// (insertions, deletions, replacements, neighbours swapped), if these are at most a third of the
// name's length (at least one is always forgiven). Empty if there is none. Names of more than 64
// bytes are not compared, nor candidates beyond the first 1,000.
std::string_view nearest(std::string_view name, const std::vector<std::string_view>& candidates);

// `; did you mean "x"?` for the nearest candidate, or nothing.
std::string did_you_mean(std::string_view name, const std::vector<std::string_view>& candidates);

}  // namespace tusk::config
