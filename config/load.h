// From a parsed document to a checked configuration. Internal: load() and load_text() call it, and
// the fuzzer, which brings its own surroundings.
#pragma once

#include <string>

#include "config/orchestration.h"
#include "config/parser.h"

namespace tusk::config {

// Relative paths in the document start in `folder`.
Result<Loaded> load_document(const Document& document, const std::string& folder);

}  // namespace tusk::config
