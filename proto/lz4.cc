#include "proto/lz4.h"

#include <lz4frame.h>

#include <algorithm>
#include <memory>

namespace tusk::proto {
namespace {

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i > 0; --i) {
    value = value << 8 | static_cast<unsigned char>(bytes[i - 1]);
  }
  return value;
}

struct ContextDeleter {
  void operator()(LZ4F_dctx* context) const { LZ4F_freeDecompressionContext(context); }
};

}  // namespace

std::optional<size_t> lz4_bound(std::string_view frame) {
  constexpr size_t kSmallest = 4 + 3 + 4;  // magic, descriptor, end mark
  if (frame.size() < kSmallest || little_endian(frame.substr(0, 4)) != 0x184D2204) {
    return std::nullopt;
  }
  const auto flags = static_cast<unsigned char>(frame[4]);
  const auto block = static_cast<unsigned char>(frame[5]);
  const bool block_checksum = flags & 0x10, has_size = flags & 0x08, checksum = flags & 0x04,
             dictionary = flags & 0x01;
  const unsigned size_code = block >> 4 & 7;
  if (flags >> 6 != 1 || size_code < 4 || dictionary) return std::nullopt;
  const size_t block_max = size_t{1} << (8 + 2 * size_code);  // 64 KiB, 256 KiB, 1 MiB, 4 MiB

  size_t at = 6;
  std::optional<uint64_t> content;
  if (has_size) {
    if (frame.size() < at + 8) return std::nullopt;
    content = little_endian(frame.substr(at, 8));
    at += 8;
  }
  ++at;  // the descriptor's checksum
  size_t bound = 0;
  for (;;) {
    if (frame.size() < at + 4) return std::nullopt;
    const uint64_t word = little_endian(frame.substr(at, 4));
    at += 4;
    if (word == 0) break;  // end mark
    const size_t size = word & 0x7FFFFFFF;
    if (size > block_max) return std::nullopt;
    bound += block_max;  // a stored block counts like any other: every reader bounds alike
    at += size + (block_checksum ? 4 : 0);
    if (at > frame.size()) return std::nullopt;
  }
  at += checksum ? 4 : 0;
  if (at != frame.size()) return std::nullopt;
  return content ? std::min<size_t>(bound, *content) : bound;
}

std::optional<std::string> lz4_decompress(std::string_view frame, size_t limit) {
  auto bound = lz4_bound(frame);
  if (!bound || *bound > limit) return std::nullopt;
  LZ4F_dctx* raw = nullptr;
  if (LZ4F_isError(LZ4F_createDecompressionContext(&raw, LZ4F_VERSION))) return std::nullopt;
  std::unique_ptr<LZ4F_dctx, ContextDeleter> context(raw);

  // One byte more than the bound, so that a frame that holds more than it says is caught.
  std::string out(*bound + 1, '\0');
  size_t written = 0, read = 0;
  size_t hint = 1;
  while (read < frame.size() && hint != 0) {
    size_t room = out.size() - written, taken = frame.size() - read;
    hint = LZ4F_decompress(context.get(), out.data() + written, &room, frame.data() + read, &taken,
                           nullptr);
    if (LZ4F_isError(hint)) return std::nullopt;
    if (room == 0 && taken == 0) return std::nullopt;
    written += room;
    read += taken;
  }
  if (hint != 0 || read != frame.size() || written > *bound) return std::nullopt;
  out.resize(written);
  return out;
}

std::string lz4_compress(std::string_view content) {
  LZ4F_preferences_t preferences{};
  preferences.frameInfo.contentSize = content.size();
  preferences.frameInfo.blockSizeID = content.size() <= (64 << 10) ? LZ4F_max64KB : LZ4F_max4MB;
  std::string out(LZ4F_compressFrameBound(content.size(), &preferences), '\0');
  size_t size =
      LZ4F_compressFrame(out.data(), out.size(), content.data(), content.size(), &preferences);
  if (LZ4F_isError(size)) return {};
  out.resize(size);
  return out;
}

}  // namespace tusk::proto
