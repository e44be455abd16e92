// What a JSON Schema may hold here. A keyword that would be passed over in silence is an error: a
// check that is not carried out is a promise broken. Internal to this library.
#pragma once

#include <re2/re2.h>

#include <map>
#include <memory>
#include <string>

#include "daemon/messages/json_body.h"
#include "daemon/messages/schema.h"

namespace tusk::messages {

using Patterns = std::map<std::string, std::unique_ptr<const re2::RE2>, std::less<>>;

// The patterns of the schema, compiled; or the first thing in it that cannot be carried out:
//
// - a keyword of a draft that is not read, and one beside `$ref`, which hides it;
// - a reference to another document (nothing is ever fetched), to nowhere, or in a circle;
// - a whole number of 2^53 and more: schemas keep numbers as doubles;
// - a pattern that RE2 does not know;
// - more than kMaxNesting schemas within one another, references followed.
inline constexpr size_t kMaxNesting = 500;
Compiled<Patterns> look_over(const Json& schema);

}  // namespace tusk::messages
