// Bodies in JSON: what of a value has a form in it, and back. See BODY.md.
#pragma once

#include <string>
#include <string_view>

namespace tusk {

// The JSON of a body in msgpack. Throws ValueError for bytes, timestamps, NaN and infinities.
std::string to_json(std::string_view body);

}  // namespace tusk
