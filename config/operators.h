// The operators that a file may call while it is loaded: @env, @file.read, @json.read, @date. What
// they see of the world is a Surroundings, so that a test or a fuzzer gives them another one.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/value.h"

namespace tusk::config {

struct Surroundings {
  // The environment variable of a name, if it is set.
  std::function<std::optional<std::string>(const std::string& name)> environment;
  // The bytes of a file, or why they cannot be had, as the end of a sentence ("is no regular
  // file"). The path is as the file writes it.
  std::function<tl::expected<std::string, std::string>(const std::string& path)> read_file;
  std::chrono::system_clock::time_point now;
};

// The real ones; paths are relative to `folder`, files are regular and of 1 MiB at most.
Surroundings real_surroundings(const std::string& folder);

inline constexpr std::size_t kMaxFile = std::size_t{1} << 20;

// Reads a regular file of at most `most` bytes; the error is the end of a sentence.
tl::expected<std::string, std::string> read_regular_file(const std::string& path, std::size_t most);

// Empty if an operator of this name (without its @) may be called; else why not.
std::string refusal(std::string_view operator_name);

// The value of one call, or what is wrong with it. `room` is how many values it may consist of.
tl::expected<Value, std::string> call(std::string_view operator_name,
                                      const std::vector<Value>& arguments, const Place& place,
                                      const Surroundings& around, std::size_t room);

}  // namespace tusk::config
