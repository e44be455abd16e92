// Bodies inside one LZ4 frame (SPEC.md, "Limits"; the frame format is lz4_Frame_format.md of LZ4).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace tusk::proto {

// How large a frame can become at most, read from its descriptor and the sizes of its blocks
// without decompressing: the number of blocks times the largest block, or the content size where
// the frame says it and it is less. Nothing if it is not exactly one whole LZ4 frame.
std::optional<size_t> lz4_bound(std::string_view frame);

// The content of one frame, which must not exceed `limit` bytes. Nothing if it does, or is damaged.
std::optional<std::string> lz4_decompress(std::string_view frame, size_t limit);

// One frame with its content size in the descriptor.
std::string lz4_compress(std::string_view content);

}  // namespace tusk::proto
