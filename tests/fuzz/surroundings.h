// The world that a file's operators see, made up: a run touches no file and repeats exactly.
#pragma once

#include <optional>
#include <string>

#include "config/operators.h"

namespace tusk::fuzz {

inline config::Surroundings made_up_world() {
  config::Surroundings around;
  around.environment = [](const std::string& name) -> std::optional<std::string> {
    if (name.size() > 3) return std::nullopt;
    return name.size() == 1 ? std::string("12") : name;
  };
  around.read_file = [](const std::string& path) -> tl::expected<std::string, std::string> {
    if (path.empty()) return tl::unexpected<std::string>("does not exist");
    return path;  // a file holds its own name: whatever the fuzzer likes
  };
  return around;
}

}  // namespace tusk::fuzz
