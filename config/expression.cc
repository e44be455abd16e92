#include "config/expression.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "config/literal.h"

namespace tusk::config {

Expression::Expression(State& state, Position at)
    : state_(state), at_(at), line_(state.source.line(at.line)) {}

Expression::Expression(const Expression& parent, std::string_view text, Place place)
    : state_(parent.state_), line_(text), fixed_(std::move(place)), dead_(parent.dead_) {}

// --- scanning ------------------------------------------------------------------------------------

char Expression::peek(std::size_t ahead) const {
  return at_.byte + ahead < line_.size() ? line_[at_.byte + ahead] : '\0';
}

bool Expression::starts(std::string_view token) const {
  return line_.substr(std::min(at_.byte, line_.size())).starts_with(token);
}

void Expression::skip_spaces() {
  while (peek() == ' ' || peek() == '\t') ++at_.byte;
}

bool Expression::skip_gaps() {
  for (;;) {
    skip_spaces();
    if (peek() != '\0' && peek() != '#') return true;
    if (fixed_ || at_.line + 1 >= state_.source.lines()) return false;
    at_ = {at_.line + 1, 0};
    line_ = state_.source.line(at_.line);
  }
}

bool Expression::at_end_of_line() const {
  std::size_t i = at_.byte;
  while (i < line_.size() && (line_[i] == ' ' || line_[i] == '\t' || line_[i] == ';')) ++i;
  return i >= line_.size() || line_[i] == '#';
}

bool Expression::at_end(Stop stop) const {
  if (at_end_of_line()) return true;
  std::size_t i = line_.find_first_not_of(" \t", at_.byte);
  return stop == Stop::item && std::string_view(",]}").find(line_[i]) != std::string_view::npos;
}

bool Expression::end_of_line() {
  if (at_end_of_line()) return true;
  skip_spaces();
  fail("expected the end of the line");
  return false;
}

Place Expression::place(Position at) const {
  return fixed_ ? *fixed_ : state_.source.place(at.line, at.byte);
}

std::nullopt_t Expression::fail(Position at, std::string message) {
  if (quiet_ == 0) state_.report(state_.source.error(place(at), std::move(message)));
  return std::nullopt;
}

Expression::Maybe Expression::made(Position at, Value value) {
  if (live() && !state_.take(value, value.place)) return std::nullopt;
  return Operand{std::move(value), false, at};
}

std::optional<Value> Expression::value(Stop stop) {
  if (std::string_view("\"'[{$@").find(peek()) == std::string_view::npos) return bare(stop);
  Maybe operand = ternary();
  if (!operand) return std::nullopt;
  return std::move(operand->value);
}

// --- operators -----------------------------------------------------------------------------------

Expression::Maybe Expression::ternary() {
  Depth depth(state_);
  if (depth.too_deep()) return fail("nested deeper than " + std::to_string(kMaxDepth));
  Maybe condition = either();
  if (!condition) return std::nullopt;
  skip_spaces();
  if (peek() != '?') return condition;
  std::optional<bool> chosen = truth(*condition, "before \"?\"");
  if (!chosen) return std::nullopt;
  ++at_.byte;
  Maybe first = branch(*chosen);
  if (!first) return std::nullopt;
  skip_spaces();
  if (peek() != ':') return fail("expected \":\" and what holds otherwise");
  ++at_.byte;
  Maybe second = branch(!*chosen);
  if (!second) return std::nullopt;
  Maybe& result = *chosen ? first : second;
  result->unknown_word = false;  // a branch may be a word: it is text
  return result;
}

Expression::Maybe Expression::branch(bool chosen) {
  dead_ += !chosen;
  Maybe operand = ternary();
  dead_ -= !chosen;
  return operand;
}

Expression::Maybe Expression::either() { return logical("||", &Expression::both); }

Expression::Maybe Expression::both() { return logical("&&", &Expression::comparison); }

// `a && b && c` or `a || b || c`; what no longer decides is not evaluated.
Expression::Maybe Expression::logical(std::string_view token, Maybe (Expression::*side)()) {
  Maybe left = (this->*side)();
  if (!left) return std::nullopt;
  for (skip_spaces(); starts(token); skip_spaces()) {
    std::string where = "beside \"" + std::string(token) + "\"";
    std::optional<bool> a = truth(*left, where);
    if (!a) return std::nullopt;
    at_.byte += token.size();
    bool decided = *a == (token == "||");
    dead_ += decided;
    Maybe right = (this->*side)();
    std::optional<bool> b = right ? truth(*right, where) : std::nullopt;
    dead_ -= decided;
    if (!b) return std::nullopt;
    left = made(left->at, Value(place(left->at), decided ? *a : *b));
    if (!left) return std::nullopt;
  }
  return left;
}

Expression::Maybe Expression::comparison() {
  static constexpr std::array<std::string_view, 6> kComparators = {
      "==", "!=", "<=", ">=", "<", ">"};
  Maybe left = sum();
  if (!left) return std::nullopt;
  skip_spaces();
  auto comparator = std::find_if(kComparators.begin(), kComparators.end(),
                                 [this](std::string_view c) { return starts(c); });
  if (comparator == kComparators.end()) return left;
  if (!known(*left)) return std::nullopt;
  at_.byte += comparator->size();
  Maybe right = sum();
  if (!right) return std::nullopt;
  std::optional<bool> result = compare(*comparator, *left, *right);
  if (!result) return std::nullopt;
  return made(left->at, Value(place(left->at), *result));
}

Expression::Maybe Expression::sum() {
  Maybe left = unary();
  if (!left) return std::nullopt;
  for (skip_spaces(); peek() == '+'; skip_spaces()) {
    if (!known(*left)) return std::nullopt;
    ++at_.byte;
    Maybe right = unary();
    if (!right || !known(*right)) return std::nullopt;
    std::optional<Value> both = joined(*left, *right);
    if (!both) return std::nullopt;
    left = made(left->at, std::move(*both));
    if (!left) return std::nullopt;
  }
  return left;
}

Expression::Maybe Expression::unary() {
  skip_spaces();
  if (peek() != '!') return primary();
  Position at = at_;
  ++at_.byte;
  Depth depth(state_);
  if (depth.too_deep()) return fail("nested deeper than " + std::to_string(kMaxDepth));
  Maybe operand = unary();
  std::optional<bool> value = operand ? truth(*operand, "behind \"!\"") : std::nullopt;
  if (!value) return std::nullopt;
  return made(at, Value(place(at), !*value));
}

Expression::Maybe Expression::primary() {
  // Trying counts as well: a text is tried once for each list that it is nested in.
  if (!state_.take_steps(1, [&] { return place(); })) return std::nullopt;
  Position at = at_;
  switch (peek()) {
    case '(': {
      ++at_.byte;
      Maybe inner = ternary();
      if (!inner) return std::nullopt;
      skip_spaces();
      if (peek() != ')') return fail("expected \")\"");
      ++at_.byte;
      inner->at = at;
      return inner;
    }
    case '"':
      return quoted();
    case '\'':
      return single_quoted();
    case '[':
      return list();
    case '{': {
      std::optional<Value> value = map();
      if (!value) return std::nullopt;
      return Operand{std::move(*value), false, at};
    }
    case '$':
      return variable();
    case '@':
      return operator_call();
    default:
      return token();
  }
}

Expression::Maybe Expression::token() {
  Position at = at_;
  std::string_view rest = line_.substr(at_.byte);
  std::size_t length = number_length(rest);
  if (length == 0 || (length < rest.size() && is_word_byte(rest[length]))) {
    length = 0;
    while (length < rest.size() && is_word_byte(rest[length])) ++length;
  }
  std::string_view text = rest.substr(0, length);
  if (length == 0 || (text[0] == '-' && number_length(text) == 0)) return fail("expected a value");
  at_.byte += length;
  auto value = literal(text, place(at));
  if (!value) return quiet_ > 0 ? Maybe(Operand{Value(), false, at}) : fail(at, value.error());
  if (*value) return made(at, std::move(**value));
  if (const Value* earlier = state_.find_word(text)) {
    return live() ? made(at, *earlier) : Operand{Value(), false, at};
  }
  Maybe word = made(at, Value(place(at), std::string(text)));
  if (word) word->unknown_word = !is_digit(text[0]);  // `10ms` is text
  return word;
}

bool Expression::known(const Operand& operand) {
  if (!operand.unknown_word) return true;
  if (quiet_ > 0) return true;  // whoever tries wants to know how it reads, not what it says
  std::string_view word = operand.value.text();
  fail(operand.at, "\"" + std::string(word) + "\" is no earlier key of this section" +
                       did_you_mean(word, state_.words()) + "; text needs quotes here");
  return false;
}

// What a condition says; false while nothing is evaluated.
std::optional<bool> Expression::truth(const Operand& operand, std::string_view where) {
  if (!known(operand)) return std::nullopt;
  if (!live()) return false;
  if (operand.value.is(Value::Kind::boolean)) return operand.value.boolean();
  return fail(operand.at, "expected true or false " + std::string(where) + ", found " +
                              std::string(kind_name(operand.value.kind())));
}

// Numbers by value, whole or not; texts by their bytes. Values of different kinds are unequal and
// in no order.
std::optional<bool> Expression::compare(std::string_view comparator, const Operand& a,
                                        const Operand& b) {
  if (!live()) return false;
  using Kind = Value::Kind;
  const Value& x = a.value;
  const Value& y = b.value;
  auto number = [](const Value& v) {
    return v.is(Kind::integer) ? static_cast<long double>(v.integer())
                               : static_cast<long double>(v.real());
  };
  auto is_number = [](const Value& v) { return v.is(Kind::integer) || v.is(Kind::real); };
  std::optional<int> order;  // of x against y, if they have one
  bool equal = false;
  if (is_number(x) && is_number(y)) {
    order = number(x) < number(y) ? -1 : number(x) > number(y) ? 1 : 0;
  } else if (x.is(Kind::text) && y.is(Kind::text)) {
    order = x.text().compare(y.text());
  } else if (x.kind() == y.kind()) {
    if (x.is(Kind::list) || x.is(Kind::map)) return fail(a.at, "lists and maps are not compared");
    equal = x.is_null() || x.boolean() == y.boolean();
  }
  if (order) equal = *order == 0;
  if (comparator == "==") return equal;
  if (comparator == "!=") return !equal;
  if (!order) return fail(a.at, "only two numbers or two texts have an order");
  if (comparator == "<") return *order < 0;
  if (comparator == ">") return *order > 0;
  return comparator == "<=" ? *order <= 0 : *order >= 0;
}

// Two numbers are added; with a text on either side, both are joined as text.
std::optional<Value> Expression::joined(const Operand& a, const Operand& b) {
  if (!live()) return Value();
  using Kind = Value::Kind;
  const Value& x = a.value;
  const Value& y = b.value;
  if (x.is(Kind::integer) && y.is(Kind::integer)) {
    std::int64_t total = 0;
    if (__builtin_add_overflow(x.integer(), y.integer(), &total)) {
      return fail(a.at, "the sum does not fit 64 bits");
    }
    return Value(x.place, total);
  }
  auto is_number = [](const Value& v) { return v.is(Kind::integer) || v.is(Kind::real); };
  auto number = [](const Value& v) {
    return v.is(Kind::integer) ? static_cast<double>(v.integer()) : v.real();
  };
  if (is_number(x) && is_number(y)) {
    double total = number(x) + number(y);
    if (!std::isfinite(total)) return fail(a.at, "the sum does not fit a double");
    return Value(x.place, total);
  }
  for (const Operand* side : {&a, &b}) {
    Kind kind = side->value.kind();
    if (kind == Kind::null || kind == Kind::list || kind == Kind::map) {
      return fail(side->at,
                  "expected text or a number beside \"+\", found " + std::string(kind_name(kind)));
    }
  }
  if (!x.is(Kind::text) && !y.is(Kind::text)) {
    return fail(a.at, "expected two numbers, or a text on one side of \"+\"");
  }
  return Value(x.place, scalar_text(x) + scalar_text(y));
}

}  // namespace tusk::config
