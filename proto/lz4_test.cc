#include "proto/lz4.h"

#include <gtest/gtest.h>

namespace tusk::proto {
namespace {

std::string some_text(size_t size) {
  std::string text;
  for (uint32_t n = 1; text.size() < size; n = n * 1664525 + 1013904223) {
    text += std::to_string(n % 997);
    text += ' ';
  }
  text.resize(size);
  return text;
}

TEST(Lz4, GivesBackWhatItWasGiven) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{64 << 10}, size_t{(64 << 10) + 1},
                      size_t{5 << 20}}) {
    std::string text = some_text(size);
    std::string frame = lz4_compress(text);
    ASSERT_FALSE(frame.empty()) << size;
    EXPECT_GE(*lz4_bound(frame), size);
    EXPECT_EQ(lz4_decompress(frame, size), text) << "the limit may be its exact size: " << size;
    if (size > 0) {
      EXPECT_FALSE(lz4_decompress(frame, size - 1)) << size;
    }
  }
}

TEST(Lz4, RefusesAFrameThatIsCutOrHasATail) {
  std::string frame = lz4_compress(some_text(10'000));
  for (size_t size = 0; size < frame.size(); ++size) {
    std::string cut = frame.substr(0, size);
    EXPECT_FALSE(lz4_decompress(cut, 1 << 20)) << size;
  }
  EXPECT_FALSE(lz4_decompress(frame + 'x', 1 << 20));
  EXPECT_FALSE(lz4_decompress(frame + frame, 1 << 20));
}

TEST(Lz4, SurvivesEveryFlippedByte) {
  const std::string text = some_text(10'000);
  const std::string frame = lz4_compress(text);
  for (size_t at = 0; at < frame.size(); ++at) {
    std::string damaged = frame;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    auto content = lz4_decompress(damaged, 1 << 20);
    // Without a checksum of the content a changed literal passes; a changed size never does.
    if (content) {
      EXPECT_EQ(content->size(), text.size()) << at;
    }
  }
}

TEST(Lz4, BoundsABombBeforeItDecompresses) {
  std::string frame = lz4_compress(std::string(32 << 20, '\0'));
  EXPECT_LT(frame.size(), 1u << 20);
  EXPECT_GT(*lz4_bound(frame), 1u << 20);
  EXPECT_FALSE(lz4_decompress(frame, 1 << 20));
}

}  // namespace
}  // namespace tusk::proto
