// Whatever bytes come, the SDK's readers give a packet or say that it is malformed, give a value or
// throw ValueError, give the content of a frame or nothing. The bytes are the shared vectors,
// broken as attackers break them, and noise; seeds make them the same in each run.
#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "proto/decoder.h"
#include "proto/json.h"
#include "proto/lz4.h"
#include "proto/writer.h"
#include "tusk/body.h"
#include "tusk/convert.h"

namespace tusk {
namespace {

using proto::Json;
using std::size_t;
using namespace std::string_view_literals;

std::vector<std::string> vectors(const std::string& set, const char* key = "bytes") {
  std::ifstream file(TUSK_VECTORS "/" + set + "/v1.json");
  EXPECT_TRUE(file) << set;
  std::vector<std::string> out;
  for (const Json& vector : Json::parse(file)) {
    if (vector.contains(key)) out.push_back(*proto::hex_decode(vector[key].get<std::string>()));
  }
  EXPECT_FALSE(out.empty()) << set;
  return out;
}

class Damage {
 public:
  explicit Damage(std::vector<std::string> known) : known_(std::move(known)) {}

  // One of the known ones with one to four faults, or noise.
  std::string next() {
    if (below(8) == 0) return noise(below(64));
    std::string data = known_[below(known_.size())];
    for (size_t n = 1 + below(4); n > 0; --n) hurt(data);
    return data;
  }

 private:
  size_t below(size_t n) { return random_() % n; }

  std::string noise(size_t size) {
    std::string out(size, '\0');
    for (char& c : out) c = static_cast<char>(random_());
    return out;
  }

  void hurt(std::string& data) {
    // Heads of msgpack that announce more than there is.
    static constexpr std::string_view kLies[] = {
        "\xDD\xFF\xFF\xFF\xFF"sv, "\xDD\x05\xFF\xFF\xFF"sv, "\xDF\x7F\xFF\xFF\xFF"sv,
        "\xC6\xFF\xFF\xFF\xF0"sv, "\xDB\xFF\xFF\xFF\xFF"sv, "\xC9\xFF\xFF\xFF\xFF\xFF"sv};
    if (data.empty()) data = noise(1);
    const size_t at = below(data.size());
    switch (below(6)) {
      case 0:
        data[at] = static_cast<char>(data[at] ^ 1 << below(8));
        return;
      case 1:
        data[at] = static_cast<char>(random_());
        return;
      case 2:
        return data.resize(at);
      case 3:
        data.insert(at, noise(1));
        return;
      case 4:
        data.replace(at, below(2) ? 5 : 0, kLies[below(std::size(kLies))]);
        return;
      default: {
        const std::string& other = known_[below(known_.size())];
        data.replace(at, data.npos, other, below(other.size() + 1));
      }
    }
  }

  std::vector<std::string> known_;
  std::mt19937 random_{1};
};

// How many of `cases` are taken. Both ways have to be gone, or the test says nothing.
template <class Take>
void run(size_t cases, std::vector<std::string> known, Take take) {
  Damage damage(std::move(known));
  size_t taken = 0;
  for (size_t i = 0; i < cases; ++i) {
    const std::string data = damage.next();
    SCOPED_TRACE(proto::hex_encode(data.substr(0, 2000)));
    taken += take(data);
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(taken, cases / 100);
  EXPECT_LT(taken, cases * 9 / 10);
}

TEST(AnyBytes, AreAPacketOrMalformed) {
  std::vector<std::string> known = vectors("packets");
  for (std::string& one : vectors("malformed")) known.push_back(std::move(one));
  proto::Decoder decoder;
  run(10'000, std::move(known), [&](const std::string& data) {
    std::vector<std::string_view> frames;
    if (!proto::split_frames(data, frames) || frames.empty()) return false;
    const proto::Decoded packet = decoder.decode(frames[0], frames.size() - 1);
    if (!packet.ok()) {
      EXPECT_STRNE(packet.malformed.why, "");
      return false;
    }
    EXPECT_FALSE(packet.records.empty());
    for (const proto::Record& r : packet.records) {
      EXPECT_TRUE(proto::is_utf8(r.name) && proto::is_utf8(r.message));
      EXPECT_LT(r.body.frame, frames.size());
    }
    EXPECT_TRUE(proto::packet_to_json(frames[0], std::span(frames).subspan(1)));
    return true;
  });
}

TEST(AnyBytes, AreAValueOrAValueError) {
  run(10'000, vectors("bodies"), [](const std::string& data) {
    try {
      const std::string written = to_body(from_body<Value>(data));
      EXPECT_EQ(to_body(from_body<Value>(written)), written);
      return true;
    } catch (const ValueError& e) {
      EXPECT_STRNE(e.what(), "");
      return false;
    }
  });
}

TEST(AnyBytes, AreJsonOrAValueError) {
  const std::vector<std::string> known = {
      R"({"a": [1, 2.5, "x\u00e9", "\ud83d\ude00"], "b": {"c": null}})",
      "[1e308, -9223372036854775808, 18446744073709551615, true]",
      std::string(60, '[') + std::string(60, ']')};
  run(10'000, known, [](const std::string& data) {
    try {
      from_body<Value>(detail::from_json(data));
      return true;
    } catch (const ValueError& e) {
      EXPECT_STRNE(e.what(), "");
      return false;
    }
  });
}

TEST(AnyBytes, AreAnLz4FrameOrNone) {
  static constexpr size_t kLimit = 1 << 20;
  run(3000, vectors("lz4", "frame"), [](const std::string& data) {
    const auto content = proto::lz4_decompress(data, kLimit);
    if (!content) return false;
    EXPECT_LE(content->size(), proto::lz4_bound(data).value_or(0));
    EXPECT_LE(content->size(), kLimit);
    return true;
  });
}

}  // namespace
}  // namespace tusk
