// Who checks bodies at the door. The broker asks; what a schema is, daemon/messages knows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "config/sections.h"
#include "proto/wire.h"

namespace tusk::core {

// The codec of bodies in this format.
constexpr uint32_t codec_of(config::MessageFormat format) {
  switch (format) {
    case config::MessageFormat::msgpack:
      return 0;
    case config::MessageFormat::json:
      return 1;
    case config::MessageFormat::protobuf:
      return 2;
  }
  return 0;
}

// Why a body is refused.
struct Refusal {
  // The first wrong place: a JSON pointer, or for protobuf the names of fields joined by dots.
  // Empty for the body as a whole. UTF-8 of at most 1,100 bytes, as is the text.
  std::string path;
  std::string text;  // what is wrong there, as the end of a sentence
};

// Any thread may ask, several at a time. Nothing is thrown, whatever the bytes are.
class BodyChecker {
 public:
  virtual ~BodyChecker() = default;

  // Nothing if the body is as its message type says. `limit` bounds what it decompresses to, in
  // bytes. Time and memory are bounded by the body's size and the constants of the checker.
  virtual std::optional<Refusal> check(std::string_view body, uint32_t codec,
                                       proto::Compression compression, size_t limit) const = 0;
};

// By name of the message type. Those whose bodies are not checked have none.
using BodyCheckers = std::map<std::string, std::shared_ptr<const BodyChecker>, std::less<>>;

// What holds for the bodies of a type, stage or topic.
struct BodyRule {
  std::string message;                         // the message type's name
  std::shared_ptr<const BodyChecker> checker;  // nothing: any body will do
};

}  // namespace tusk::core
