// Schemas in protobuf. Internal to this library.
//
// libprotobuf compiles the .proto text; no code is generated. A body is walked along the message's
// descriptor, without a message being built: that takes memory for no more than its depth, and
// knows the first wrong place, where the library's own parser only says no.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "daemon/messages/schema.h"

namespace tusk::messages {

// `message` names one of the file's messages, with or without its package; it may be left out if
// the file has one. An `import` is a fault: a schema is one file.
Compiled<std::unique_ptr<Schema>> protobuf_schema(std::string_view text,
                                                  const std::optional<std::string>& message);

}  // namespace tusk::messages
