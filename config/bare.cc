// Texts without quotes. Most of them are one word or plain prose; a few are expressions that start
// with a word or a number, such as `debug ? 1 : 4` or `8000 + 80`.
#include "config/expression.h"
#include "config/literal.h"

namespace tusk::config {
namespace {

constexpr std::string_view kOperatorBytes = "?+=!<>&|(";

bool is_word(std::string_view text) {
  for (char c : text) {
    if (!is_word_byte(c)) return false;
  }
  return !text.empty() && !is_digit(text[0]) && text[0] != '-';
}

}  // namespace

// The text from here to the end of the line, a comment (`#` after a space) or, in a list or map,
// its end; without the spaces and `;` at its end.
std::string_view Expression::bare_text(Stop stop) const {
  std::string_view rest = line_.substr(std::min(at_.byte, line_.size()));
  std::size_t end = 0;
  for (; end < rest.size(); ++end) {
    char c = rest[end];
    if (c == '#' && (end == 0 || rest[end - 1] == ' ' || rest[end - 1] == '\t')) break;
    if (stop == Stop::item && (c == ',' || c == ']' || c == '}')) break;
  }
  while (end > 0 && (rest[end - 1] == ' ' || rest[end - 1] == '\t' || rest[end - 1] == ';')) --end;
  return rest.substr(0, end);
}

// Does an expression take all of the text? It is tried without errors or values: what is no
// expression is plain text and no mistake. Moves only if the answer is yes and somebody further out
// is trying too: reading it again would double the work at each level of nesting.
bool Expression::reads_as_expression(Stop stop) {
  Position start = at_;
  std::string_view line = line_;
  ++quiet_;
  bool all = ternary().has_value() && at_end(stop);
  --quiet_;
  if (all && quiet_ > 0) return true;
  at_ = start;
  line_ = line;
  return all;
}

std::optional<Value> Expression::bare(Stop stop) {
  Position start = at_;
  std::string_view text = bare_text(stop);
  if (text.empty()) return fail("expected a value");
  if (!state_.take_steps(1 + text.size() / 8, [&] { return place(); })) return std::nullopt;
  auto take = [&](Value value) -> std::optional<Value> {
    at_.byte = start.byte + text.size();
    Maybe operand = made(start, std::move(value));
    if (!operand) return std::nullopt;
    return std::move(operand->value);
  };
  auto value = literal(text, place());
  if (!value) return fail(value.error());
  if (*value) return take(std::move(**value));
  if (is_word(text)) {
    if (const Value* earlier = state_.find_word(text)) return take(live() ? *earlier : Value());
    return take(Value(place(), std::string(text)));
  }
  bool may_be_expression = text.find_first_of(kOperatorBytes) != std::string_view::npos;
  if (may_be_expression && reads_as_expression(stop)) {
    if (quiet_ > 0) return Value();
    Maybe operand = ternary();
    if (!operand) return std::nullopt;
    if (!operand->unknown_word) return std::move(operand->value);
    at_ = start;  // `(none)`: a word in parentheses is text, as it stands
  }
  return take(Value(place(), std::string(text)));
}

}  // namespace tusk::config
