// Texts in quotes with what they may hold, `$variables`, and calls of operators.
#include <algorithm>

#include "config/expression.h"
#include "config/literal.h"

namespace tusk::config {
namespace {

std::size_t name_length(std::string_view text, bool dots) {
  std::size_t i = 0;
  while (i < text.size() && (is_letter(text[i]) || (i > 0 && is_digit(text[i])) ||
                             (dots && i > 0 && text[i] == '.'))) {
    ++i;
  }
  return i;
}

void append_utf8(std::string& out, unsigned code) {
  auto byte = [&out](unsigned b) { out += static_cast<char>(b); };
  if (code < 0x80) {
    byte(code);
  } else if (code < 0x800) {
    byte(0xC0 | code >> 6);
    byte(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    byte(0xE0 | code >> 12);
    byte(0x80 | (code >> 6 & 0x3F));
    byte(0x80 | (code & 0x3F));
  } else {
    byte(0xF0 | code >> 18);
    byte(0x80 | (code >> 12 & 0x3F));
    byte(0x80 | (code >> 6 & 0x3F));
    byte(0x80 | (code & 0x3F));
  }
}

// Is the text `@name(...)`, the last `)` closing the first `(`?
bool is_one_call(std::string_view text) {
  if (!text.starts_with('@')) return false;
  std::size_t i = 1 + name_length(text.substr(1), true);
  if (i == 1 || i >= text.size() || text[i] != '(') return false;
  std::size_t open = 0;
  char quote = 0;
  for (; i < text.size(); ++i) {
    char c = text[i];
    if (quote != 0) {
      if (c == '\\' && quote == '"') {
        ++i;
      } else if (c == quote) {
        quote = 0;
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '(') {
      ++open;
    } else if (c == ')' && --open == 0) {
      return i + 1 == text.size();
    }
  }
  return false;
}

}  // namespace

Expression::Maybe Expression::single_quoted() {
  Position at = at_;
  std::size_t end = line_.find('\'', at.byte + 1);
  if (end == std::string_view::npos) return fail(at, "the text is not closed; expected '");
  at_.byte = end + 1;
  if (!state_.take_steps((end - at.byte) / 8, [&] { return place(at); })) return std::nullopt;
  return made(at, Value(place(at), std::string(line_.substr(at.byte + 1, end - at.byte - 1))));
}

Expression::Maybe Expression::quoted() {
  Position at = at_;
  ++at_.byte;
  bool may_be_call = peek() == '@';  // written as \@ it is text
  std::string out;
  for (;;) {
    std::size_t end = line_.find_first_of("\"\\$", at_.byte);
    if (end == std::string_view::npos) return fail(at, "the text is not closed; expected \"");
    if (!state_.take_steps(1 + (end - at_.byte) / 8, [&] { return place(at); }))
      return std::nullopt;
    out.append(line_.substr(at_.byte, end - at_.byte));
    at_.byte = end;
    if (peek() == '"') break;
    if (peek() == '\\') {
      // Whoever tries wants to know where the text ends, not whether it is right.
      if (!escape(out) && quiet_ == 0) return std::nullopt;
    } else if (peek(1) == '{') {
      if (!interpolate(out) && quiet_ == 0) return std::nullopt;
    } else {
      out += '$';
      ++at_.byte;
    }
  }
  ++at_.byte;
  if (!may_be_call || !is_one_call(out)) return made(at, Value(place(at), std::move(out)));
  if (quiet_ > 0) return Operand{Value(), false, at};
  std::optional<Value> result = quoted_call(at, out);
  if (!result) return std::nullopt;
  return Operand{std::move(*result), false, at};
}

// The user's "@file.read('x')": the quoted text is the call.
std::optional<Value> Expression::quoted_call(Position at, const std::string& text) {
  Expression inner(*this, text, place(at));
  Maybe result = inner.ternary();
  if (!result) return std::nullopt;
  if (inner.at_.byte != text.size()) return fail(at, "expected one call and nothing behind it");
  return std::move(result->value);
}

bool Expression::escape(std::string& out) {
  Position at = at_;
  char c = peek(1);
  at_.byte = std::min(at_.byte + 2, line_.size());
  switch (c) {
    case '"':
    case '\\':
    case '@':
      out += c;
      return true;
    case 'n':
      out += '\n';
      return true;
    case 't':
      out += '\t';
      return true;
    case 'r':
      out += '\r';
      return true;
    case 'u':
      break;
    default:
      fail(at, "unknown escape; expected \\\" \\\\ \\n \\t \\r \\uXXXX or \\@");
      return false;
  }
  std::optional<unsigned> code = hex4();
  if (code && *code >= 0xD800 && *code < 0xDC00 && peek() == '\\' && peek(1) == 'u') {
    at_.byte += 2;
    std::optional<unsigned> low = hex4();
    bool pair = low && *low >= 0xDC00 && *low < 0xE000;
    code =
        pair ? std::optional(0x10000 + ((*code - 0xD800) << 10) + (*low - 0xDC00)) : std::nullopt;
  } else if (code && (*code == 0 || (*code >= 0xD800 && *code < 0xE000))) {
    code = std::nullopt;
  }
  if (!code) {
    fail(at,
         "expected \\u and four hexadecimal digits of a character (not of NUL, nor of half a "
         "surrogate pair)");
    return false;
  }
  append_utf8(out, *code);
  return true;
}

std::optional<unsigned> Expression::hex4() {
  unsigned code = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    char c = peek(i);
    unsigned digit = 0;
    if (is_digit(c)) {
      digit = static_cast<unsigned>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<unsigned>(c - 'a') + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<unsigned>(c - 'A') + 10;
    } else {
      return std::nullopt;
    }
    code = code << 4 | digit;
  }
  at_.byte += 4;
  return code;
}

// `${name}`: a variable, else an earlier key of the section.
bool Expression::interpolate(std::string& out) {
  Position at = at_;
  std::size_t end = line_.find('}', at.byte);
  if (end == std::string_view::npos) {
    at_.byte += 2;
    fail(at, "expected \"}\" behind the name");
    return false;
  }
  std::string_view name = line_.substr(at.byte + 2, end - at.byte - 2);
  at_.byte = end + 1;
  const Value* value = state_.variables.find(name);
  if (value == nullptr) value = state_.find_word(name);
  if (value == nullptr) {
    std::vector<std::string_view> names = state_.variable_names();
    for (std::string_view word : state_.words()) names.push_back(word);
    fail(at, "\"" + std::string(name) +
                 "\" is neither a variable nor an earlier key of this section" +
                 did_you_mean(name, names));
    return false;
  }
  if (!live()) return true;
  if (value->is_null() || value->is(Value::Kind::list) || value->is(Value::Kind::map)) {
    fail(at, "\"" + std::string(name) + "\" is " + std::string(kind_name(value->kind())) +
                 ", which does not go into a text");
    return false;
  }
  out += scalar_text(*value);
  // Counted at once: a line of ${a}${a}${a} grows by a at each.
  return state_.take(*value, [&] { return place(at); });
}

const Value* Expression::find_variable(std::string_view name, Position at) {
  const Value* value = state_.variables.find(name);
  if (value == nullptr) {
    fail(at,
         "unknown variable $" + std::string(name) + did_you_mean(name, state_.variable_names()));
  }
  return value;
}

Expression::Maybe Expression::variable() {
  Position at = at_;
  ++at_.byte;
  std::size_t length = name_length(line_.substr(at_.byte), false);
  if (length == 0) return fail(at, "expected the name of a variable behind \"$\"");
  std::string_view name = line_.substr(at_.byte, length);
  at_.byte += length;
  if (quiet_ > 0) return Operand{Value(), false, at};
  const Value* value = find_variable(name, at);
  if (value == nullptr) return std::nullopt;
  return live() ? made(at, *value) : Operand{Value(), false, at};
}

Expression::Maybe Expression::operator_call() {
  Position at = at_;
  ++at_.byte;
  std::size_t length = name_length(line_.substr(at_.byte), true);
  std::string name(line_.substr(at_.byte, length));
  at_.byte += length;
  if (length == 0) return fail(at, "expected the name of an operator behind \"@\"");
  if (quiet_ == 0) {
    if (std::string reason = refusal(name); !reason.empty()) return fail(at, std::move(reason));
  }
  if (peek() != '(') return fail("expected \"(\" and the arguments of @" + name);
  ++at_.byte;
  std::optional<std::vector<Value>> given = arguments();
  if (!given) return std::nullopt;
  if (!live()) return Operand{Value(), false, at};
  if (!state_.take_call(place(at))) return std::nullopt;
  auto result = call(name, *given, place(at), state_.around, state_.values_left());
  if (!result) return fail(at, result.error());
  return made(at, std::move(*result));
}

// What stands between the `(` just taken and its `)`.
std::optional<std::vector<Value>> Expression::arguments() {
  std::vector<Value> values;
  skip_spaces();
  if (peek() == ')') {
    ++at_.byte;
    return values;
  }
  for (;;) {
    skip_spaces();
    Maybe argument = ternary();
    if (!argument || !known(*argument)) return std::nullopt;
    values.push_back(std::move(argument->value));
    skip_spaces();
    char c = peek();
    if (c != ',' && c != ')') return fail("expected \",\" or \")\"");
    ++at_.byte;
    if (c == ')') return values;
  }
}

}  // namespace tusk::config
