// Reads one value that stands in a line: a literal, quoted or bare text, an inline list or map, or
// an expression. Internal to the parser.
//
//   Expression e(state, {line, byte});
//   std::optional<Value> value = e.value(Stop::line);  // empty: the error is reported
//   e.end_of_line();
//
// Grammar, loosest first (LANGUAGE.md has it with examples):
//
//   ternary := or [ "?" ternary ":" ternary ]     or  := and { "||" and }
//   and     := comparison { "&&" comparison }     sum := unary { "+" unary }
//   comparison := sum [ ("==" | "!=" | "<=" | ">=" | "<" | ">") sum ]
//   unary   := "!" unary | primary
//   primary := "(" ternary ")" | quoted | list | map | "$" name | "@" call | token
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "config/parse_state.h"

namespace tusk::config {

// Where a bare text ends: at the end of the line, or also at `,`, `]` and `}`.
enum class Stop { line, item };

class Expression {
 public:
  Expression(State& state, Position at);

  // What stands at the position; empty if it is wrong, with the error reported.
  std::optional<Value> value(Stop stop);
  // The inline map whose `{` stands at the position.
  std::optional<Value> map();

  // Takes a `;` and a comment; anything else is an error. False after an error.
  bool end_of_line();
  // True if nothing but spaces, `;` and a comment follows. Does not move.
  bool at_end_of_line() const;
  Position position() const { return at_; }

 private:
  // A value, or a bare word that is no earlier key: text, unless an operator wants a value of it.
  struct Operand {
    Value value;
    bool unknown_word = false;
    Position at;
  };
  using Maybe = std::optional<Operand>;

  // A text of its own, every place in it being `place`.
  Expression(const Expression& parent, std::string_view text, Place place);

  // scanning
  char peek(std::size_t ahead = 0) const;
  bool starts(std::string_view token) const;
  void skip_spaces();
  bool skip_gaps();  // spaces, comments and line breaks; false at the end of the file
  bool at_end(Stop stop) const;
  Place place() const { return place(at_); }
  Place place(Position at) const;
  std::nullopt_t fail(Position at, std::string message);
  std::nullopt_t fail(std::string message) { return fail(at_, std::move(message)); }
  // Values are made only when they are used: not while it is tried how a text reads, and not in the
  // branch that a condition does not choose.
  bool live() const { return quiet_ == 0 && dead_ == 0; }
  Maybe made(Position at, Value value);

  // expression.cc: operators
  Maybe ternary();
  Maybe branch(bool chosen);
  Maybe either();
  Maybe both();
  Maybe logical(std::string_view token, Maybe (Expression::*side)());
  Maybe comparison();
  Maybe sum();
  Maybe unary();
  Maybe primary();
  Maybe token();
  bool known(const Operand& operand);
  std::optional<bool> truth(const Operand& operand, std::string_view where);
  std::optional<bool> compare(std::string_view comparator, const Operand& a, const Operand& b);
  std::optional<Value> joined(const Operand& a, const Operand& b);

  // bare.cc: texts without quotes
  std::optional<Value> bare(Stop stop);
  std::string_view bare_text(Stop stop) const;
  bool reads_as_expression(Stop stop);

  // quoted.cc: texts in quotes, variables, calls
  Maybe quoted();
  Maybe single_quoted();
  bool escape(std::string& out);
  std::optional<unsigned> hex4();
  bool interpolate(std::string& out);
  Maybe variable();
  Maybe operator_call();
  std::optional<std::vector<Value>> arguments();
  std::optional<Value> quoted_call(Position at, const std::string& text);
  const Value* find_variable(std::string_view name, Position at);

  // collection.cc: inline lists and maps
  Maybe list();
  bool next_item(char close, bool& done);
  std::optional<std::string> key();

  State& state_;
  Position at_;
  std::string_view line_;       // the current one
  std::optional<Place> fixed_;  // where all of this stands, if it is no text of the file
  int quiet_ = 0;               // trying: no errors, no values
  int dead_ = 0;                // in a branch that is not chosen: no values
};

}  // namespace tusk::config
