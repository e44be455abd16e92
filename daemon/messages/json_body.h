// A body in JSON or msgpack as a tree, by the rules of BODY.md. Internal to this library.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/messages/schema.h"

namespace tusk::messages {

using Json = nlohmann::json;

enum class JsonForm { kJson, kMsgpack };

// The tree, or why it is none. At most kMaxDepth deep and of kMaxValues values. In msgpack bytes
// and timestamps are `binary` values of the tree. Throws nothing but std::bad_alloc.
tl::expected<Json, core::Refusal> read_body(std::string_view body, JsonForm form);

// The same for the text of a schema; the fault has line and column.
Compiled<Json> read_schema_text(std::string_view text);

// One step of the way to a value: into a map by its key, or into a list.
struct Step {
  const std::string* key;  // null: the index counts
  size_t index;
};
// RFC 6901.
std::string json_pointer(const std::vector<Step>& path);

}  // namespace tusk::messages
