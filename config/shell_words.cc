#include "config/shell_words.h"

namespace tusk::config {
namespace {

tl::unexpected<std::string> wrong(std::string why) {
  return tl::unexpected<std::string>(std::move(why));
}

}  // namespace

tl::expected<std::vector<std::string>, std::string> shell_words(std::string_view line) {
  std::vector<std::string> words;
  bool in_word = false;
  char quote = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    char c = line[i];
    bool space = c == ' ' || c == '\t' || c == '\n' || c == '\r';
    if (quote == 0 && space) {
      in_word = false;
      continue;
    }
    if (!in_word) {
      words.emplace_back();
      in_word = true;
    }
    bool escapes = c == '\\' && quote != '\'';
    if (escapes && i + 1 >= line.size()) return wrong("nothing follows the last backslash");
    // Within double quotes a backslash is itself before anything but a quote and a backslash.
    if (escapes && (quote == 0 || line[i + 1] == '"' || line[i + 1] == '\\')) {
      words.back() += line[++i];
    } else if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
    } else if (quote != 0 && c == quote) {
      quote = 0;
    } else if (quote == 0 && std::string_view("|&;<>$`").find(c) != std::string_view::npos) {
      return wrong(std::string("no shell reads this, so \"") + c +
                   "\" means nothing; quote it, or start a shell: [\"sh\", \"-c\", \"...\"]");
    } else {
      words.back() += c;
    }
  }
  if (quote != 0) return wrong(std::string("the quote ") + quote + " is not closed");
  return words;
}

}  // namespace tusk::config
