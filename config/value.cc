#include "config/value.h"

#include <nlohmann/json.hpp>

#include "config/json_object.h"

namespace tusk::config {

std::size_t Map::position(std::string_view name) const {
  if (index_.empty()) {
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      if (keys_[i].name == name) return i;
    }
    return kNone;
  }
  auto it = index_.find(std::string(name));
  return it == index_.end() ? kNone : it->second;
}

bool Map::add(std::string name, Place place, Value value) {
  if (position(name) != kNone) return false;
  if (!index_.empty()) index_.emplace(name, keys_.size());
  keys_.push_back({std::move(name), std::move(place)});
  values_.push_back(std::move(value));
  if (index_.empty() && keys_.size() > kScan) {
    for (std::size_t i = 0; i < keys_.size(); ++i) index_.emplace(keys_[i].name, i);
  }
  return true;
}

const Value* Map::find(std::string_view name) const {
  std::size_t i = position(name);
  return i == kNone ? nullptr : &values_[i];
}

Value* Map::find(std::string_view name) {
  std::size_t i = position(name);
  return i == kNone ? nullptr : &values_[i];
}

const Map::Key* Map::find_key(std::string_view name) const {
  std::size_t i = position(name);
  return i == kNone ? nullptr : &keys_[i];
}

std::string_view kind_name(Value::Kind kind) {
  switch (kind) {
    case Value::Kind::null:
      return "null";
    case Value::Kind::boolean:
      return "true or false";
    case Value::Kind::integer:
      return "a whole number";
    case Value::Kind::real:
      return "a number";
    case Value::Kind::text:
      return "text";
    case Value::Kind::list:
      return "a list";
    case Value::Kind::map:
      return "a map";
  }
  return "a value";
}

namespace {

nlohmann::ordered_json json(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::null:
      return nullptr;
    case Value::Kind::boolean:
      return value.boolean();
    case Value::Kind::integer:
      return value.integer();
    case Value::Kind::real:
      return value.real();
    case Value::Kind::text:
      return value.text();
    case Value::Kind::list: {
      auto list = nlohmann::ordered_json::array();
      for (const Value& item : value.list()) list.push_back(json(item));
      return list;
    }
    case Value::Kind::map: {
      auto map = nlohmann::ordered_json::object();
      for (std::size_t i = 0; i < value.map().size(); ++i) {
        append(map, value.map().key(i).name, json(value.map().value(i)));
      }
      return map;
    }
  }
  return nullptr;
}

}  // namespace

std::string to_json(const Value& value) { return json(value).dump(2); }

}  // namespace tusk::config
