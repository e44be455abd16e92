// How lines make a tree: sections, keys, indentation, lists, blocks, raw texts. What stands behind
// a key in its line is read by Expression. Internal to the parser.
//
//   State state(source, surroundings);
//   Map root = Structure(state).file();  // of use only if state.errors is empty
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/expression.h"
#include "config/parse_state.h"

namespace tusk::config {

class Structure {
 public:
  explicit Structure(State& state);

  Map file();

 private:
  // A line that counts, from its first character that is no space. Behind the `-` of a list what
  // follows is a line of its own, which starts where it stands.
  struct Line {
    std::size_t number = 0;
    std::size_t indent = 0;  // bytes before the first character
    std::string_view text;   // from there on
  };
  struct Name {
    std::string text;
    Place place;
    bool variable = false;  // $name
  };
  struct Block {
    Place place;  // of its name
    char close;   // `}` or `<`
  };

  // moving over the lines
  bool have() const { return have_ && !state_.stopped(); }
  void next();                         // to the next line that counts
  void resume_at(std::size_t number);  // to the first one from there on
  void step_into(std::size_t bytes);   // into what follows a `-`
  bool at_section() const;
  bool at_item() const;
  bool at_close() const;
  bool at_edge() const { return at_section() || at_close(); }

  // trees
  void level(Map& map);
  void section(Map& root);
  Value body(std::size_t indent);  // the map or list whose lines are indented so
  void map_lines(Map& map, std::size_t indent);
  Value list_lines(std::size_t indent);
  std::optional<Value> item(std::size_t indent);
  void entry(Map& map, std::size_t indent);
  std::optional<Name> name(std::size_t& byte);
  std::optional<Value> after_colon(std::size_t indent, std::size_t byte);
  std::optional<Value> nested(std::size_t indent, Place place, bool list_may_align);
  std::optional<Value> block(const Name& name, char close);
  std::optional<Value> raw_text(std::size_t byte);
  std::optional<Value> in_line(std::size_t byte, bool block_map);
  void store(Map& map, Name name, Value value);

  // after an error
  std::nullopt_t fail(std::size_t byte, std::string message);  // at a byte of the current line
  void skip_deeper(std::size_t indent);
  void refuse_indent(const std::vector<std::size_t>& open);

  bool starts_entry() const;

  State& state_;
  Line line_;
  bool have_ = false;
  std::vector<Block> blocks_;
};

}  // namespace tusk::config
