// Adds to a JSON object whose names are known to differ: ordered_json's own operators look through
// all of it each time.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace tusk::config {

inline void append(nlohmann::ordered_json& object, std::string name, nlohmann::ordered_json value) {
  using Entries = nlohmann::ordered_json::object_t;
  std::vector<Entries::value_type>& entries = object.get_ref<Entries&>();
  entries.emplace_back(std::move(name), std::move(value));
}

}  // namespace tusk::config
