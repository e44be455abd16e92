// JSON text to the tree of value.h.
#pragma once

#include <string>
#include <string_view>

#include "config/value.h"

namespace tusk::config {

// Every value gets `place`. Refused, as the end of a sentence: what is not JSON, a name that an
// object has twice, a whole number beyond 64 bits, nesting deeper than 64, more than `room` values.
tl::expected<Value, std::string> read_json(std::string_view text, const Place& place,
                                           std::size_t room);

}  // namespace tusk::config
