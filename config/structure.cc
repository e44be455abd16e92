#include "config/structure.h"

#include <algorithm>

#include "config/literal.h"

namespace tusk::config {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t'; }

// Nothing but spaces, `;` and a comment from `byte` on.
bool ends(std::string_view text, std::size_t byte) {
  while (byte < text.size() && (is_space(text[byte]) || text[byte] == ';')) ++byte;
  return byte >= text.size() || text[byte] == '#';
}

std::size_t skip_spaces(std::string_view text, std::size_t byte) {
  while (byte < text.size() && is_space(text[byte])) ++byte;
  return byte;
}

bool only_quotes(std::string_view line) {
  std::size_t from = line.find_first_not_of(" \t");
  if (from == std::string_view::npos) return false;
  std::size_t to = line.find_last_not_of(" \t");
  return line.substr(from, to - from + 1) == "\"\"\"";
}

}  // namespace

Structure::Structure(State& state) : state_(state) { resume_at(0); }

// --- lines ---------------------------------------------------------------------------------------

void Structure::resume_at(std::size_t number) {
  for (; number < state_.source.lines(); ++number) {
    std::string_view line = state_.source.line(number);
    std::size_t indent = line.find_first_not_of(" \t");
    if (indent == std::string_view::npos || line[indent] == '#') continue;
    line_ = {number, indent, line.substr(indent)};
    have_ = true;
    std::size_t tab = line.substr(0, indent).find('\t');
    if (tab != std::string_view::npos) {
      state_.report(state_.source.error(number, tab, "a tab in the indentation; expected spaces"));
    }
    return;
  }
  line_ = {number, 0, {}};
  have_ = false;
}

void Structure::next() { resume_at(line_.number + 1); }

void Structure::step_into(std::size_t bytes) {
  line_.indent += bytes;
  line_.text.remove_prefix(bytes);
}

bool Structure::at_section() const { return line_.indent == 0 && line_.text.starts_with('['); }

bool Structure::at_item() const {
  return line_.text[0] == '-' && (line_.text.size() == 1 || is_space(line_.text[1]) ||
                                  (line_.text[1] == ';' && ends(line_.text, 1)));
}

bool Structure::at_close() const {
  return (line_.text[0] == '}' || line_.text[0] == '<') && ends(line_.text, 1);
}

std::nullopt_t Structure::fail(std::size_t byte, std::string message) {
  state_.report(state_.source.error(line_.number, line_.indent + byte, std::move(message)));
  return std::nullopt;
}

void Structure::skip_deeper(std::size_t indent) {
  while (have() && line_.indent > indent && !at_edge()) next();
}

// --- sections ------------------------------------------------------------------------------------

Map Structure::file() {
  Map root;
  {
    Scope scope(state_, root);
    level(root);
  }
  while (have()) section(root);
  return root;
}

// All lines up to the next section; the first one sets the indentation.
void Structure::level(Map& map) {
  std::size_t indent = line_.indent;
  while (have() && !at_section()) {
    map_lines(map, indent);
    if (!have() || at_section()) return;
    if (at_close()) {
      fail(0, "nothing is open that this could close");
    } else {
      refuse_indent({indent});
    }
    next();
  }
}

void Structure::section(Map& root) {
  std::size_t end = 1;
  while (end < line_.text.size() && is_key_byte(line_.text[end])) ++end;
  Name name{std::string(line_.text.substr(1, end - 1)), {}, false};
  name.place = state_.source.place(line_.number, 0);
  bool closed = end < line_.text.size() && line_.text[end] == ']' && end > 1;
  if (!closed) {
    fail(end, "expected \"]\" behind the section's name");
  } else if (!ends(line_.text, end + 1)) {
    fail(skip_spaces(line_.text, end + 1), "expected the end of the line behind the section");
  }
  next();
  Map map;
  {
    Scope scope(state_, map);
    level(map);
  }
  if (const Map::Key* first = root.find_key(name.text); closed && first != nullptr) {
    state_.report(
        state_.source.error(name.place, "the section [" + name.text + "] stands in line " +
                                            std::to_string(first->place.line) + " already"));
    return;
  }
  store(root, name, Value(name.place, std::move(map)));
}

// --- maps ----------------------------------------------------------------------------------------

Value Structure::body(std::size_t indent) {
  Place place = state_.source.place(line_.number, line_.indent);
  if (at_item()) return list_lines(indent);
  Map map;
  Scope scope(state_, map);
  map_lines(map, indent);
  return Value(place, std::move(map));
}

// Takes every line of this level. Ends before a line further out, a section, or the end of a block.
void Structure::map_lines(Map& map, std::size_t indent) {
  while (have() && !at_edge() && line_.indent >= indent) {
    if (line_.indent > indent) {
      fail(0, "this is indented deeper than the line before it, which opens nothing");
      skip_deeper(indent);
    } else {
      entry(map, indent);
    }
  }
}

void Structure::entry(Map& map, std::size_t indent) {
  if (at_item()) {
    fail(0, "expected a key; a list stands below a key that has no value in its own line");
    next();
    skip_deeper(indent);
    return;
  }
  std::size_t number = line_.number;
  std::size_t byte = 0;
  std::optional<Name> key = name(byte);
  std::optional<Value> value;
  if (key) {
    byte = skip_spaces(line_.text, byte);
    char sign = byte < line_.text.size() ? line_.text[byte] : '\0';
    bool last = sign != '\0' && ends(line_.text, byte + 1);
    if (sign == '=' && line_.text.substr(byte).starts_with("==")) {
      fail(byte, "expected one \"=\" behind a key");
    } else if (sign == ':' || sign == '=') {
      value = after_colon(indent, byte + 1);
    } else if ((sign == '{' || sign == '>') && last && !key->variable) {
      value = block(*key, sign == '{' ? '}' : '<');
    } else if (sign == '{') {
      value = in_line(byte, true);
    } else {
      fail(byte, "expected \":\" behind the key \"" + key->text + "\"");
    }
  }
  if (value) {
    store(map, std::move(*key), std::move(*value));
  } else if (have() && line_.number == number) {
    next();  // past the line with the error
    skip_deeper(indent);
  }
}

std::optional<Structure::Name> Structure::name(std::size_t& byte) {
  Name name;
  name.place = state_.source.place(line_.number, line_.indent);
  char first = line_.text[0];
  if (first == '"' || first == '\'') {
    std::size_t end = line_.text.find(first, 1);
    if (end == std::string_view::npos) return fail(0, "the key's quotes are not closed");
    name.text = line_.text.substr(1, end - 1);
    if (name.text.find_first_of("\\$@") != std::string::npos && first == '"') {
      return fail(0, "a key has no escapes, variables or operators; put it in single quotes");
    }
    byte = end + 1;
    return name;
  }
  name.variable = first == '$';
  std::size_t start = name.variable ? 1 : 0;
  std::size_t end = start;
  while (end < line_.text.size() &&
         (name.variable ? is_letter(line_.text[end]) || is_digit(line_.text[end])
                        : is_key_byte(line_.text[end]))) {
    ++end;
  }
  if (end == start || (!name.variable && !starts_key(first)) ||
      (name.variable && is_digit(line_.text[1]))) {
    if (first == '[') return fail(0, "a section starts in column 1");
    return fail(0, name.variable ? "expected the name of a variable" : "expected a key");
  }
  name.text = line_.text.substr(start, end - start);
  byte = end;
  return name;
}

// The key is counted as a value's text is; a second one of its name names the first's line.
void Structure::store(Map& map, Name name, Value value) {
  if (!state_.take(Value(name.place, name.text), name.place)) return;
  Map& target = name.variable ? state_.variables : map;
  if (const Map::Key* first = target.find_key(name.text)) {
    state_.report(state_.source.error(
        name.place, std::string(name.variable ? "the variable $" : "the key \"") + name.text +
                        (name.variable ? "" : "\"") + " stands in line " +
                        std::to_string(first->place.line) + " already"));
    return;
  }
  target.add(std::move(name.text), std::move(name.place), std::move(value));
}

// What follows the `:` at `byte` - 1: in the line, as a raw text, or in the lines below.
std::optional<Value> Structure::after_colon(std::size_t indent, std::size_t byte) {
  byte = skip_spaces(line_.text, byte);
  Place place = state_.source.place(line_.number, line_.indent + byte);
  if (ends(line_.text, byte)) {
    next();
    return nested(indent, place, true);
  }
  if (line_.text.substr(byte).starts_with("\"\"\"")) return raw_text(byte);
  return in_line(byte, false);
}

// The lines below a key or a `-` that has nothing in its own line.
std::optional<Value> Structure::nested(std::size_t indent, Place place, bool list_may_align) {
  bool deeper = have() && !at_edge() && line_.indent > indent;
  bool aligned = have() && list_may_align && line_.indent == indent && !at_edge() && at_item();
  if (!deeper && !aligned) return Value(place);
  Depth depth(state_);
  if (depth.too_deep()) {
    fail(0, "nested deeper than " + std::to_string(kMaxDepth));
    skip_deeper(indent);
    return Value(place);
  }
  std::size_t level = line_.indent;
  Value value = body(level);
  while (have() && !at_edge() && line_.indent > indent) {
    refuse_indent({indent, level});
    next();
  }
  return value;
}

// The line is at none of the levels that are open, or is no item where a list is open.
void Structure::refuse_indent(const std::vector<std::size_t>& open) {
  if (line_.indent == open.back()) {
    fail(0, "expected \"- \", as the lines before it have");
    return;
  }
  std::string levels;
  for (std::size_t level : open) {
    levels += (levels.empty() ? "" : " or ") + std::to_string(level);
  }
  fail(0, "the indentation returns to no level that is open; expected " + levels +
              " spaces, found " + std::to_string(line_.indent));
}

// --- lists ---------------------------------------------------------------------------------------

Value Structure::list_lines(std::size_t indent) {
  Place place = state_.source.place(line_.number, line_.indent);
  List items;
  while (have() && !at_edge() && line_.indent >= indent) {
    if (line_.indent > indent) {
      fail(0, "this is indented deeper than the item before it, which opens nothing");
      skip_deeper(indent);
      continue;
    }
    if (!at_item()) break;
    std::size_t number = line_.number;
    std::optional<Value> value = item(indent);
    if (value && state_.take(Value(place), place)) {
      items.push_back(std::move(*value));
    } else if (have() && line_.number == number) {
      next();
      skip_deeper(indent);
    }
  }
  return Value(place, std::move(items));
}

std::optional<Value> Structure::item(std::size_t indent) {
  std::size_t byte = skip_spaces(line_.text, 1);
  Place place = state_.source.place(line_.number, line_.indent + std::min<std::size_t>(byte, 1));
  if (ends(line_.text, byte)) {
    next();
    return nested(indent, place, false);
  }
  if (line_.text.substr(byte).starts_with("\"\"\"")) return raw_text(byte);
  Line outer = line_;
  step_into(byte);
  if (at_item() || starts_entry()) {
    Depth depth(state_);
    if (depth.too_deep()) return fail(0, "nested deeper than " + std::to_string(kMaxDepth));
    return body(line_.indent);
  }
  line_ = outer;
  return in_line(byte, false);
}

// Behind a `-`: does `key: value`, `key = value` or a block start here? A colon inside a text such
// as a URL is followed by something other than a space.
bool Structure::starts_entry() const {
  std::string_view text = line_.text;
  std::size_t end = 0;
  if (text[0] == '"' || text[0] == '\'') {
    end = text.find(text[0], 1);
    if (end == std::string_view::npos) return false;
    ++end;
  } else {
    if (!starts_key(text[0])) return false;
    while (end < text.size() && is_key_byte(text[end])) ++end;
  }
  std::size_t sign = skip_spaces(text, end);
  if (sign >= text.size()) return false;
  bool space_behind = sign + 1 >= text.size() || is_space(text[sign + 1]) || ends(text, sign + 1);
  if (text[sign] == ':') return space_behind;
  if (text[sign] == '=') return space_behind && sign > end;
  return (text[sign] == '{' || text[sign] == '>') && sign > end && ends(text, sign + 1);
}

// --- values --------------------------------------------------------------------------------------

// `name {` or `name >` at the end of a line: the lines up to its close, on levels of their own.
std::optional<Value> Structure::block(const Name& name, char close) {
  Depth depth(state_);
  if (depth.too_deep()) {
    return fail(0, "nested deeper than " + std::to_string(kMaxDepth));
  }
  blocks_.push_back({name.place, close});
  next();
  Value value(name.place, Map());
  if (have() && !at_edge()) {
    std::size_t level = line_.indent;
    value = body(level);
    for (; have() && !at_edge(); next()) refuse_indent({level});
  }
  blocks_.pop_back();
  if (have() && at_close() && line_.text[0] == close) {
    next();
    return value;
  }
  if (state_.stopped()) return std::nullopt;
  std::string expected =
      std::string("the block \"") + name.text + "\" is not closed; expected \"" + close + "\"";
  if (have() && at_close()) {
    fail(0, expected + ", for the block of line " + std::to_string(name.place.line));
    next();
    return value;
  }
  state_.report(state_.source.error(name.place, expected + " in a line of its own"));
  return value;
}

std::optional<Value> Structure::raw_text(std::size_t byte) {
  std::size_t opened = line_.number;
  Place place = state_.source.place(opened, line_.indent + byte);
  if (line_.text.find_first_not_of(" \t", byte + 3) != std::string_view::npos) {
    return fail(byte + 3, "expected the end of the line; a raw text starts in the next one");
  }
  std::size_t close = opened + 1;
  while (close < state_.source.lines() && !only_quotes(state_.source.line(close))) ++close;
  if (close >= state_.source.lines()) {
    fail(byte, "the raw text is not closed; expected a line that holds only \"\"\"");
    resume_at(close);
    return Value(place, std::string());
  }
  std::string_view last = state_.source.line(close);
  std::string_view indent = last.substr(0, last.find('"'));
  std::string text;
  for (std::size_t number = opened + 1; number < close; ++number) {
    std::string_view line = state_.source.line(number);
    std::size_t blank = std::min(line.find_first_not_of(" \t"), line.size());
    if (line.starts_with(indent)) {
      text.append(line.substr(indent.size()));
    } else if (blank < line.size()) {
      state_.report(state_.source.error(
          number, blank, "a line of a raw text is indented as its closing \"\"\" at least"));
    }
    text += '\n';
  }
  Value value(place, std::move(text));
  resume_at(close + 1);
  if (!state_.take(value, place)) return std::nullopt;
  return value;
}

// A value that starts in this line; brackets may take it over more of them.
std::optional<Value> Structure::in_line(std::size_t byte, bool block_map) {
  std::size_t indent = line_.indent;
  std::size_t number = line_.number;
  Expression expression(state_, {number, line_.indent + byte});
  std::optional<Value> value = block_map ? expression.map() : expression.value(Stop::line);
  if (value && !expression.end_of_line()) value.reset();
  std::size_t last = expression.position().line;
  resume_at(std::max(number, last) + 1);
  if (value) return value;
  // After an error inside brackets their rest is deeper, or a closing bracket.
  while (have() && !at_section() &&
         (line_.indent > indent ||
          (last > number && (line_.text[0] == ']' || line_.text[0] == '}')))) {
    next();
  }
  return std::nullopt;
}

}  // namespace tusk::config
