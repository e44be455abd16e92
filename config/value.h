// The untyped tree that a TuskLang file parses to: maps (in the order of the file), lists, whole
// numbers, doubles, true/false, null and text, each with its place.
//
//   Map m;
//   m.add("port", place, Value(place, std::int64_t{8080}));
//   m.find("port")->integer();  // 8080
//
// A tree is a value: copies are deep, nothing is shared but the file's name in the places. Many
// threads may read one tree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "config/error.h"

namespace tusk::config {

class Value;

// Names with values, in the order in which they were added. A lookup takes constant time.
class Map {
 public:
  struct Key {
    std::string name;
    Place place;
  };

  // False, and nothing changes, if the name is there already.
  bool add(std::string name, Place place, Value value);
  // Null if there is no such name. The pointer holds until the next add.
  const Value* find(std::string_view name) const;
  Value* find(std::string_view name);

  std::size_t size() const { return keys_.size(); }
  bool empty() const { return keys_.empty(); }
  const Key& key(std::size_t i) const { return keys_[i]; }
  const Value& value(std::size_t i) const;
  const Key* find_key(std::string_view name) const;

 private:
  static constexpr std::size_t kScan = 8;  // up to here a scan is faster than a hash
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  std::size_t position(std::string_view name) const;

  std::vector<Key> keys_;
  std::vector<Value> values_;
  std::unordered_map<std::string, std::size_t> index_;  // empty up to kScan names
};

using List = std::vector<Value>;

class Value {
 public:
  enum class Kind { null, boolean, integer, real, text, list, map };

  Value() = default;  // null, nowhere
  explicit Value(Place place) : place(std::move(place)) {}
  Value(Place place, bool value) : place(std::move(place)), data_(value) {}
  Value(Place place, std::int64_t value) : place(std::move(place)), data_(value) {}
  Value(Place place, double value) : place(std::move(place)), data_(value) {}
  Value(Place place, std::string value) : place(std::move(place)), data_(std::move(value)) {}
  Value(Place place, List value) : place(std::move(place)), data_(std::move(value)) {}
  Value(Place place, Map value) : place(std::move(place)), data_(std::move(value)) {}

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind kind) const { return this->kind() == kind; }
  bool is_null() const { return is(Kind::null); }

  // Each may be called only on a value of its kind.
  bool boolean() const { return std::get<bool>(data_); }
  std::int64_t integer() const { return std::get<std::int64_t>(data_); }
  double real() const { return std::get<double>(data_); }
  const std::string& text() const { return std::get<std::string>(data_); }
  const List& list() const { return std::get<List>(data_); }
  List& list() { return std::get<List>(data_); }
  const Map& map() const { return std::get<Map>(data_); }
  Map& map() { return std::get<Map>(data_); }

  Place place;
  // A text that came from an environment variable. Whoever wants a number or true/false from it may
  // read it as one: the environment has no other way to write them.
  bool from_environment = false;
  // The file that a text was read from, as the config names it; null for every other value.
  std::shared_ptr<const std::string> file;

 private:
  // In the order of Kind.
  std::variant<std::monostate, bool, std::int64_t, double, std::string, List, Map> data_;
};

inline const Value& Map::value(std::size_t i) const { return values_[i]; }

// "a whole number", "text", "a map", ...: for messages.
std::string_view kind_name(Value::Kind kind);

// The tree as JSON, indented by two spaces, keys in their order; without a line break at its end.
std::string to_json(const Value& value);

}  // namespace tusk::config
