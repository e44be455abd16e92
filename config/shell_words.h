// A command line cut into words the way a shell does it, without a shell.
//
//   shell_words("python3 -u 'my worker.py'");  // {"python3", "-u", "my worker.py"}
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace tusk::config {

// Spaces separate; single quotes keep everything, double quotes everything but \" and \\, and a
// backslash keeps the next character. What only a shell could carry out (| & ; < > $ ` outside of
// quotes) is an error, as are quotes that do not close; the error is the end of a sentence.
tl::expected<std::vector<std::string>, std::string> shell_words(std::string_view line);

}  // namespace tusk::config
