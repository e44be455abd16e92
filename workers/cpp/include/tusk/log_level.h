// How much a line of a run's log matters.
#pragma once

#include <string_view>

namespace tusk {

enum class LogLevel { kDebug = 1, kInfo = 2, kWarning = 3, kError = 4 };

// "debug", "info", "warning" or "error"; "" for a number that is none of them.
std::string_view to_string(LogLevel level);

}  // namespace tusk
