// JSON for people, from and to the values that tasks carry.
#pragma once

#include <nlohmann/json.hpp>

#include "tusk/value.h"

namespace tusk::ctl {

using Json = nlohmann::ordered_json;

// JSON has fewer types: bytes become {"bytes": "hex"}, timestamps ISO 8601 text in UTC, NaN and
// infinities text.
Json to_json(const Value& value);

// Whole numbers stay integers: 1 is an integer, 1.0 a float.
Value from_json(const Json& json);

}  // namespace tusk::ctl
