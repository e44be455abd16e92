// Tagged JSON (BODY.md) to and from the values of the C++ SDK.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "tusk/value.h"

namespace tusk::conformance {

using Json = nlohmann::json;

Value from_tagged(const Json& tagged);
Json to_tagged(const Value& value);

std::string to_hex(std::string_view bytes);

}  // namespace tusk::conformance
