// KEYS.md, the reference of every key, from the tables.
#pragma once

#include <string>
#include <vector>

namespace tusk::config {

// The whole file, as Markdown.
std::string keys_reference();

// The keys that a running daemon cannot change, as "[section] key".
std::vector<std::string> restart_only_keys();

}  // namespace tusk::config
