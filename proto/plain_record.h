// Nearly all that travels are plain records: a submit, push, task, item or result without
// attributes, its body inline. They are read here straight from their bytes, at a fraction of what
// the way over tokens costs; everything else, and everything that is wrong, goes that way.
#pragma once

#include "proto/decoder.h"

namespace tusk::proto {

// Fills `record`, which must be fresh, and returns where the next one begins; or leaves it as it is
// and returns nullptr: the bytes at `at` are no plain record, and may be anything.
const char* read_plain(const char* at, const char* end, Record& record);

}  // namespace tusk::proto
