// JSON Schema, for bodies in JSON and msgpack. Internal to this library.
//
// valijson reads the schema: keywords, references, sub-schemas. Checking is done here, over what it
// has read, because bodies come from strangers: valijson's own validator looks for patterns with
// std::regex, which recurses once for every character, compares each item with each for
// `uniqueItems`, gathers an error for each wrong value, ends texts at a NUL and takes all numbers
// for doubles. Here steps are counted, patterns are RE2's (linear time), and the first mistake ends
// it.
#pragma once

#include "daemon/messages/json_body.h"
#include "daemon/messages/schema.h"

namespace tusk::messages {

// Draft 7, without what schema_rules.h refuses.
Compiled<std::unique_ptr<Schema>> json_schema(std::string_view text, JsonForm form);

}  // namespace tusk::messages
