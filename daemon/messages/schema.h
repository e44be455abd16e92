// A schema, compiled: what every kind of schema can do. Internal to this library.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "daemon/core/body_checker.h"

namespace tusk::messages {

// BODY.md's bound for lists and maps in one another, and ours for messages of protobuf.
inline constexpr size_t kMaxDepth = 64;
// Values of a body in JSON or msgpack: its tree takes up to 100 bytes for each.
inline constexpr size_t kMaxValues = 1'000'000;
// Steps that the check of one body takes: a keyword at a value, a comparison, a field, 8 bytes of a
// text that a pattern is looked for in. Some tens of nanoseconds each.
inline constexpr size_t kMaxSteps = 10'000'000;

class Schema {
 public:
  virtual ~Schema() = default;
  // `body` is not compressed.
  virtual std::optional<core::Refusal> check(std::string_view body) const = 0;
};

// Why a schema does not compile.
struct Fault {
  std::string why;
  int line = 0, column = 0;    // in the schema's text, from 1; 0: not known
  bool names_message = false;  // it is the key `message` that is wrong
};

template <class T>
using Compiled = tl::expected<T, Fault>;

// The text of what is wrong with a body, cut to a length that fits a message, at a character.
std::string cut(std::string text);

}  // namespace tusk::messages
