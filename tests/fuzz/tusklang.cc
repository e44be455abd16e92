// Any bytes as a TuskLang file: a tree or errors that can be shown. Line ends and a byte order mark
// change nothing of the tree.
#include <cstdint>
#include <string>
#include <string_view>

#include "config/parser.h"
#include "tests/fuzz/require.h"
#include "tests/fuzz/surroundings.h"

using namespace tusk;
using fuzz::require;

namespace {

std::string with_line_ends_of_windows(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\n') out += '\r';
    out += c;
  }
  return out;
}

// The tree as text, or nothing if there are errors.
std::string tree_of(std::string_view text, const config::Surroundings& around) {
  auto document = config::parse(text, "fuzz.tsk", around);
  if (document) return config::to_json(document->root);
  const auto& errors = document.error();
  require(!errors.empty(), "a file that is refused has an error");
  require(errors.size() <= config::kMaxErrors + 1, "no more errors than are shown");
  require(config::is_text(config::format(errors)), "errors are text, whatever the file is");
  return "";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const config::Surroundings around = fuzz::made_up_world();
  const std::string tree = tree_of(text, around);
  if (text.find('\r') == text.npos) {
    require(tree_of(with_line_ends_of_windows(text), around) == tree, "\\r\\n is as \\n");
  }
  if (!text.starts_with("\xEF\xBB\xBF")) {
    require(tree_of("\xEF\xBB\xBF" + std::string(text), around) == tree,
            "a byte order mark is skipped");
  }
  return 0;
}
