#include "proto/topic_pattern.h"

#include <algorithm>

namespace tusk::proto {
namespace {

// The first token; `rest` becomes what is behind it. `more`: whether there is something, if only an
// empty token.
std::string_view take_token(std::string_view& rest, bool& more) {
  const size_t dot = rest.find('.');
  const std::string_view token = rest.substr(0, dot);
  more = dot != std::string_view::npos;
  rest = more ? rest.substr(dot + 1) : std::string_view{};
  return token;
}

}  // namespace

bool is_pattern(std::string_view name) {
  for (bool more = true; more;) {
    const std::string_view token = take_token(name, more);
    if (token == "*" || token == ">") return true;
  }
  return false;
}

std::string_view pattern_fault(std::string_view pattern) {
  if (!is_pattern(pattern)) return {};
  for (bool more = true; more;) {
    const std::string_view token = take_token(pattern, more);
    if (token.empty()) return "has nothing between two dots, or at an end";
    if (token == ">" && more) return "has `>` before its end: `*` stands for one token";
  }
  return {};
}

bool matches(std::string_view pattern, std::string_view topic) {
  for (bool more = true, more_topic = true; more;) {
    if (!more_topic) return false;
    const std::string_view token = take_token(pattern, more);
    if (token == ">" && !more) return true;
    const std::string_view other = take_token(topic, more_topic);
    if (token != "*" && token != other) return false;
    if (!more) return !more_topic;
  }
  return false;
}

}  // namespace tusk::proto
