#include "config/refine.h"

#include <array>
#include <charconv>

#include "config/literal.h"
#include "config/orchestration.h"

namespace tusk::config {
namespace {

constexpr std::size_t kLongestName = 255;
constexpr std::size_t kLongestLanguage = 64;
constexpr std::size_t kLongestIpc = 107;    // what sockaddr_un holds, its NUL aside
constexpr std::size_t kLongestPath = 4095;  // PATH_MAX without its NUL

}  // namespace

std::string_view canonical_language(std::string_view language) {
  return language == "rust" ? "cpp" : language;
}

std::string refine_language(std::string& text) {
  if (text.empty() || text.size() > kLongestLanguage) return "it has 1 to 64 bytes";
  for (char c : text) {
    bool letter = is_digit(c) || (c >= 'a' && c <= 'z') || c == '_' || c == '+' || c == '-';
    if (!letter) return "it consists of a-z, 0-9, _, + and -";
  }
  text = canonical_language(text);
  return {};
}

std::string refine_worker_language(std::string& text) {
  static constexpr std::array<std::string_view, 4> kKnown = {"python", "javascript", "go", "cpp"};
  text = canonical_language(text);
  for (std::string_view known : kKnown) {
    if (text == known) return {};
  }
  std::string_view close = nearest(text, {kKnown.begin(), kKnown.end()});
  return close.empty() ? "tuskd has no kit for it" : "did you mean " + std::string(close) + "?";
}

std::string refine_name(std::string& text) {
  if (!text.empty() && text.size() <= kLongestName) return {};
  return text.empty() ? "it is empty" : "it is too long";
}

std::string refine_pool(std::string& text) {
  std::string wrong = refine_name(text);
  text = canonical_language(text);
  return wrong;
}

std::string refine_tcp(std::string& text) {
  std::string_view rest = text;
  if (!rest.starts_with("tcp://")) return "it starts with tcp://";
  rest.remove_prefix(6);
  std::size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return "host and port are missing";
  std::string_view host = rest.substr(0, colon);
  std::string_view port = rest.substr(colon + 1);
  bool bracketed = host.front() == '[' && host.back() == ']';
  if (host.find_first_of(" /\t") != std::string_view::npos ||
      (!bracketed && host.find(':') != std::string_view::npos)) {
    return "the host is odd; an IPv6 address stands in brackets";
  }
  if (port == "*") return {};  // any that is free
  int number = 0;
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  bool whole = error == std::errc() && end == port.data() + port.size() && is_digit(port[0]);
  if (!whole || number < 1 || number > 65535)
    return "the port is a number from 1 to 65535, or * for any free one";
  return {};
}

std::string refine_ipc(std::string& text) {
  if (!text.starts_with("ipc://") || text.size() == 6) return "it starts with ipc://";
  if (text.size() - 6 > kLongestIpc) return "the path of a socket has at most 107 bytes";
  return {};
}

std::string refine_endpoint(std::string& text) {
  return text.starts_with("ipc://") ? refine_ipc(text) : refine_tcp(text);
}

std::string refine_path(std::string& text) {
  if (!text.empty() && text.size() <= kLongestPath) return {};
  return text.empty() ? "it is empty" : "it is too long";
}

}  // namespace tusk::config
