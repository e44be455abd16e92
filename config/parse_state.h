// What the parts of one parse share: the source, the errors so far, the names that can be used, and
// how much work is left. Internal to the parser.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/operators.h"
#include "config/parser.h"
#include "config/source.h"
#include "config/value.h"

namespace tusk::config {

// A byte of a line, both from 0.
struct Position {
  std::size_t line = 0;
  std::size_t byte = 0;
};

class State {
 public:
  State(Source& source, const Surroundings& around) : source(source), around(around) {}

  void report(Error error);
  // Nothing more is to be parsed: too many errors, or a bound is reached.
  bool stopped() const { return stopped_; }

  // Each takes from what one file may use and is false, with an error at the place that `where`
  // returns, when that is used up. (To count the columns of a long line costs more than the work.)
  template <class Where>
  bool take_steps(std::size_t count, const Where& where) {
    steps_ += count;
    return steps_ <= kMaxSteps ||
           exhausted(where(), "the file is too complicated: parsing it takes too many steps");
  }
  template <class Where>
  bool take(const Value& value, const Where& where) {  // with all that is in it
    std::string_view over = count(value);
    return over.empty() || exhausted(where(), "more than " + std::string(over));
  }
  bool take(const Value& value, const Place& place) {
    return take(value, [&] { return place; });
  }
  bool take_call(const Place& place);
  std::size_t values_left() const { return kMaxValues - values_; }

  // The value that a bare word stands for: the nearest earlier key of that name in the maps that
  // are open, from the innermost out to the section. Maps are no such value: their key is a
  // heading.
  const Value* find_word(std::string_view word) const;
  std::vector<std::string_view> words() const;
  std::vector<std::string_view> variable_names() const;

  Source& source;
  const Surroundings& around;
  std::vector<Error> errors;
  Map variables;                  // $name
  std::vector<const Map*> scope;  // open maps, the section first
  std::size_t depth = 0;          // of maps, lists, blocks, parentheses that are open

 private:
  bool exhausted(const Place& place, std::string what);
  std::string_view count(const Value& value);  // which bound it exceeds, if any

  std::size_t steps_ = 0, calls_ = 0, values_ = 0, text_ = 0;
  bool stopped_ = false;
};

// One level deeper for as long as it lives.
class Depth {
 public:
  explicit Depth(State& state) : state_(state) { ++state_.depth; }
  ~Depth() { --state_.depth; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;
  bool too_deep() const { return state_.depth > kMaxDepth; }

 private:
  State& state_;
};

// A map whose keys are words for as long as it lives.
class Scope {
 public:
  Scope(State& state, const Map& map) : state_(state) { state_.scope.push_back(&map); }
  ~Scope() { state_.scope.pop_back(); }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  State& state_;
};

}  // namespace tusk::config
