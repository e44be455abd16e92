#include "config/reader.h"

#include "config/literal.h"
#include "config/parser.h"

namespace tusk::config {
namespace {

constexpr std::size_t kLongestName = 255;  // bytes of a name that the user chose
constexpr std::size_t kShownText = 40;

std::string found(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::boolean:
    case Value::Kind::integer:
    case Value::Kind::real:
      return scalar_text(value);
    case Value::Kind::text: {
      const std::string& text = value.text();
      bool plain = text.size() <= kShownText && text.find('\n') == std::string::npos;
      return plain ? "\"" + text + "\"" : "a text of " + std::to_string(text.size()) + " bytes";
    }
    default:
      return std::string(kind_name(value.kind()));
  }
}

}  // namespace

const Key* Table::find(std::string_view name) const {
  for (const Key& key : keys) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

std::vector<std::string_view> Table::names() const {
  std::vector<std::string_view> names;
  for (const Key& key : keys) names.push_back(key.name);
  return names;
}

void Reader::read(const Value& root, Orchestration& into) {
  const Table& sections = table<Orchestration>();
  const Map& map = root.map();
  for (std::size_t i = 0; i < map.size() && !full(); ++i) {
    const Map::Key& name = map.key(i);
    const Key* section = sections.find(name.name);
    if (section == nullptr) {
      bool is_section = map.value(i).is(Value::Kind::map);
      error(name.place, is_section ? "unknown section [" + name.name + "]" +
                                         did_you_mean(name.name, sections.names())
                                   : "the key \"" + name.name +
                                         "\" stands in no section; expected a [section] before it");
      continue;
    }
    Step step(*this, name.name);
    idle_.push_back({section->name, {}, name.place});
    section->type->read(*this, *section, map.value(i), section->reach(&into));
    if (idle_.back().keys.empty()) idle_.pop_back();
  }
}

void Reader::read_table(const Table& table, const Value& value, void* owner) {
  static const Map kNothing;
  if (!value.is_null() && !expect_map(value)) return;
  const Map& map = value.is_null() ? kNothing : value.map();
  for (std::size_t i = 0; i < map.size() && !full(); ++i) {
    const Map::Key& name = map.key(i);
    const Key* key = table.find(name.name);
    if (key == nullptr) {
      error(name.place, "unknown key \"" + name.name + "\" in " + where() +
                            did_you_mean(name.name, table.names()));
      continue;
    }
    Step step(*this, key->name);
    key->type->read(*this, *key, map.value(i), key->reach(owner));
  }
  for (const Key& key : table.keys) {
    if (key.required && map.find(key.name) == nullptr) {
      error(value.place, where() + " needs the key \"" + std::string(key.name) + "\"");
    }
  }
}

void Reader::leaf(const Key& key) {
  if (key.acts) return;
  std::string name;
  for (std::size_t i = 1; i < path_.size(); ++i) name += (i > 1 ? "." : "") + path_[i];
  idle_.back().keys.push_back(std::move(name));
}

bool Reader::expect_map(const Value& value) {
  if (value.is(Value::Kind::map)) return true;
  expected(value, "keys below it");
  return false;
}

bool Reader::good_name(const Map::Key& name) {
  if (!name.name.empty() && name.name.size() <= kLongestName) return true;
  error(name.place, "a name has 1 to " + std::to_string(kLongestName) + " bytes");
  return false;
}

bool Reader::full() const { return errors_.size() > kMaxErrors; }

std::string Reader::where() const {
  std::string out;
  for (std::size_t i = 0; i < path_.size(); ++i) {
    out += i == 0 ? "[" + path_[0] + "]" : (i == 1 ? " " : ".") + path_[i];
  }
  return out;
}

void Reader::expected(const Value& value, const std::string& what, const std::string& hint) {
  error(value.place, where() + ": expected " + what + ", found " + found(value) + hint);
}

// Each error holds a copy of its line, so more of them than are shown would cost dearly.
void Reader::error(const Place& place, std::string message) {
  if (full()) return;
  errors_.push_back(source_.error(place, std::move(message)));
}

}  // namespace tusk::config
