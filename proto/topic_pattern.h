// Patterns of topics. A topic is tokens with a `.` between them; in a pattern the token `*` stands
// for any one token, and a last token `>` for one or more.
//
//   prices.*     prices.eu, not prices and not prices.eu.paris
//   prices.>     prices.eu and prices.eu.paris, not prices
#pragma once

#include <string_view>

namespace tusk::proto {

// Whether it has a token of its own that is `*` or `>`, so that it may stand for several topics.
bool is_pattern(std::string_view name);

// What is wrong with it, as the end of a sentence that begins with the pattern; nothing if it is
// one, or the name of a topic: no token may be empty, and `>` stands only at the end.
std::string_view pattern_fault(std::string_view pattern);

// Whether the topic is one of those that the pattern stands for; a name stands for itself.
bool matches(std::string_view pattern, std::string_view topic);

}  // namespace tusk::proto
