// LZ4 frames: any bytes as a frame, a frame of which only the head is right, and any bytes as the
// content of one.
#include "proto/lz4.h"

#include <cstdint>
#include <string>
#include <string_view>

#include "tests/fuzz/input.h"
#include "tests/fuzz/require.h"

using namespace tusk;
using fuzz::Input;
using fuzz::require;

namespace {

constexpr size_t kLimit = 1 << 20;

// XXH32 of less than 16 bytes with seed 0 (xxhash_spec.md of xxHash): the check of a frame's
// descriptor, which mutation does not find.
uint32_t xxh32(std::string_view bytes) {
  constexpr uint32_t k1 = 2654435761u, k2 = 2246822519u, k3 = 3266489917u, k4 = 668265263u,
                     k5 = 374761393u;
  auto rotate = [](uint32_t x, int by) { return x << by | x >> (32 - by); };
  uint32_t sum = k5 + static_cast<uint32_t>(bytes.size());
  size_t at = 0;
  for (; at + 4 <= bytes.size(); at += 4) {
    uint32_t lane = 0;
    for (int i = 3; i >= 0; --i) lane = lane << 8 | static_cast<uint8_t>(bytes[at + i]);
    sum = rotate(sum + lane * k3, 17) * k4;
  }
  for (; at < bytes.size(); ++at) sum = rotate(sum + static_cast<uint8_t>(bytes[at]) * k5, 11) * k1;
  sum = (sum ^ sum >> 15) * k2;
  sum = (sum ^ sum >> 13) * k3;
  return sum ^ sum >> 16;
}

// The head of a frame as the input likes it, with the right check behind it.
std::string head(Input& input) {
  constexpr char kHasSize = 0x08;
  std::string descriptor;
  descriptor += static_cast<char>(0x40 | (input.byte() & 0x3C));
  descriptor += static_cast<char>((4 + input.below(4)) << 4);
  if (descriptor[0] & kHasSize) {
    for (int i = 0; i < 8; ++i) descriptor += static_cast<char>(i < 3 ? input.byte() : 0);
  }
  const uint32_t check = xxh32(descriptor);
  return std::string("\x04\x22\x4D\x18") + descriptor + static_cast<char>(check >> 8);
}

void decompress(std::string_view frame) {
  const auto bound = proto::lz4_bound(frame);
  const auto content = proto::lz4_decompress(frame, kLimit);
  if (!content) return;
  require(bound.has_value(), "what can be read has a bound");
  require(content->size() <= *bound && content->size() <= kLimit, "the bound holds");
  const auto exact = proto::lz4_decompress(frame, *bound);
  require(exact == content, "the bound is limit enough");
  if (*bound > 0) {
    require(!proto::lz4_decompress(frame, *bound - 1), "less than the bound is refused");
  }
}

void there_and_back(std::string_view content) {
  const std::string frame = proto::lz4_compress(content);
  require(proto::lz4_bound(frame) == content.size(), "a frame of ours says its size");
  require(proto::lz4_decompress(frame, content.size()) == content, "there and back");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  switch (input.below(3)) {
    case 0:
      decompress(input.rest());
      break;
    case 1: {
      std::string frame = head(input);
      const bool ends = input.below(2);
      frame += input.rest();
      if (ends) frame += std::string(4, '\0');
      decompress(frame);
      break;
    }
    default:
      there_and_back(input.rest());
  }
  return 0;
}
