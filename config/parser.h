// TuskLang text to the untyped tree. LANGUAGE.md is the grammar.
//
//   auto document = parse("[a]\nport: 80", "a.tsk", real_surroundings("."));
//   document->root.map().find("a")->map().find("port")->integer();  // 80
//
// Everything is bounded: whatever the text, parsing ends, in time and memory that the numbers below
// limit, with a tree or with errors. Nothing is thrown for bad input. Calls on different threads do
// not touch each other.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "config/operators.h"
#include "config/source.h"
#include "config/value.h"

namespace tusk::config {

inline constexpr std::size_t kMaxDepth = 64;         // maps, lists, blocks and parentheses nested
inline constexpr std::size_t kMaxValues = 100'000;   // in the tree, those of @json.read included
inline constexpr std::size_t kMaxText = 16u << 20;   // bytes of all texts, as joined and copied
inline constexpr std::size_t kMaxCalls = 256;        // of operators
inline constexpr std::size_t kMaxSteps = 8'000'000;  // operands and characters tried
inline constexpr std::size_t kMaxErrors = 20;        // shown; parsing stops at so many

struct Document {
  Value root;                      // a map: section or key -> value
  std::shared_ptr<Source> source;  // for messages about the tree
};

// `name` stands for the file in messages. A text of more than kMaxFile bytes is refused.
Result<Document> parse(std::string_view text, std::string name, const Surroundings& around);

}  // namespace tusk::config
