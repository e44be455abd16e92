// Inline lists and maps. They may go over several lines; a line break separates as a comma does.
#include "config/expression.h"
#include "config/literal.h"

namespace tusk::config {

// Behind an item: takes the comma or the line break before the next one, or the closing bracket.
bool Expression::next_item(char close, bool& done) {
  std::size_t line = at_.line;
  bool more = skip_gaps();
  bool separated = at_.line != line;
  if (more && peek() == ',') {
    ++at_.byte;
    separated = true;
    more = skip_gaps();
  }
  done = more && peek() == close;
  if (done) ++at_.byte;
  if (more && (done || separated)) return true;
  fail(std::string("expected \",\" or \"") + close + "\"");
  return false;
}

Expression::Maybe Expression::list() {
  Position at = at_;
  Depth depth(state_);
  if (depth.too_deep()) return fail("nested deeper than " + std::to_string(kMaxDepth));
  ++at_.byte;
  List items;
  if (!skip_gaps()) return fail(at, "the list is not closed; expected \"]\"");
  bool done = peek() == ']';
  at_.byte += done;
  while (!done) {
    std::optional<Value> item = value(Stop::item);
    if (!item) return std::nullopt;
    if (live()) items.push_back(std::move(*item));
    if (!next_item(']', done)) return std::nullopt;
  }
  Maybe result = made(at, Value(place(at)));  // its items are counted already
  if (result) result->value = Value(place(at), std::move(items));
  return result;
}

std::optional<std::string> Expression::key() {
  if (peek() == '"' || peek() == '\'') {
    Maybe name = peek() == '"' ? quoted() : single_quoted();
    if (!name) return std::nullopt;
    if (!live()) return std::string();
    if (!name->value.is(Value::Kind::text)) return fail(name->at, "expected a key, a text");
    return name->value.text();
  }
  if (!starts_key(peek())) return fail("expected a key");
  std::size_t start = at_.byte;
  while (peek() != '\0' && is_key_byte(peek())) ++at_.byte;
  return std::string(line_.substr(start, at_.byte - start));
}

std::optional<Value> Expression::map() {
  Position at = at_;
  Depth depth(state_);
  if (depth.too_deep()) return fail("nested deeper than " + std::to_string(kMaxDepth));
  ++at_.byte;
  Map entries;
  Scope scope(state_, entries);
  if (!skip_gaps()) return fail(at, "the map is not closed; expected \"}\"");
  bool done = peek() == '}';
  at_.byte += done;
  while (!done) {
    Position key_at = at_;
    Place key_place = place(key_at);
    std::optional<std::string> name = key();
    if (!name) return std::nullopt;
    skip_spaces();
    if (peek() != ':' && peek() != '=') return fail("expected \":\" behind the key");
    ++at_.byte;
    skip_spaces();
    std::optional<Value> item = value(Stop::item);
    if (!item) return std::nullopt;
    if (live()) {
      std::size_t name_size = name->size();
      if (const Map::Key* first = entries.find_key(*name)) {
        return fail(key_at, "the key \"" + *name + "\" stands in line " +
                                std::to_string(first->place.line) + " already");
      }
      entries.add(std::move(*name), key_place, std::move(*item));
      if (!state_.take_steps(name_size / 8, [&] { return key_place; })) return std::nullopt;
    }
    if (!next_item('}', done)) return std::nullopt;
  }
  Maybe result = made(at, Value(place(at)));
  if (!result) return std::nullopt;
  return Value(place(at), std::move(entries));
}

}  // namespace tusk::config
