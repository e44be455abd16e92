// libFuzzer: any bytes as a packet in the one-buffer form, and as an LZ4 frame.
//
//   cmake --preset fuzz && cmake --build --preset fuzz --target tusk_proto_fuzz
//   build/fuzz/proto/tusk_proto_fuzz -max_total_time=60 corpus/
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "proto/decoder.h"
#include "proto/json.h"
#include "proto/lz4.h"
#include "proto/writer.h"

using namespace tusk::proto;

namespace {

void require(bool held) {
  if (!held) std::abort();
}

void decode_and_write_again(std::string_view buffer) {
  std::vector<std::string_view> frames;
  if (!split_frames(buffer, frames) || frames.empty()) return;
  static Decoder decoder;
  Decoded packet = decoder.decode(frames[0], frames.size() - 1);
  if (!packet.ok()) return;
  auto json = packet_to_json(frames[0], std::span(frames).subspan(1));
  require(json.has_value());
  require((*json)["records"].size() == packet.records.size());
  size_t records = packet.records.size();

  // What JSON cannot hold (a key that is there twice or is no text, a map that looks like bytes)
  // does not come back as it was: then the packet may be refused, but not read in part.
  PacketBytes again;
  try {
    again = packet_from_json(*json);
  } catch (const std::exception&) {
    return;
  }
  Decoded second = decoder.decode(again.records, again.frames.size());
  require(!second.ok() || second.records.size() == records);
}

// Plain records are read in a way of their own: it has to come to the same as the other, which a
// longer form of the first record's head leads to.
void decode_both_ways(std::string_view buffer) {
  std::vector<std::string_view> frames;
  if (!split_frames(buffer, frames) || frames.empty() || frames[0].empty()) return;
  if ((frames[0][0] & 0xF0) != 0x90) return;
  std::string wide{'\xDC', '\0', static_cast<char>(frames[0][0] & 0x0F)};
  wide += frames[0].substr(1);
  static Decoder one, other;
  const Decoded a = one.decode(frames[0], frames.size() - 1);
  const Decoded b = other.decode(wide, frames.size() - 1);
  require(a.ok() == b.ok() && a.records.size() == b.records.size());
  for (size_t i = 0; i < a.records.size(); ++i) {
    const Record &x = a.records[i], &y = b.records[i];
    require(x.kind == y.kind && x.ref == y.ref && x.name == y.name && x.attempt == y.attempt);
    require(x.state == y.state && x.fault == y.fault && x.has_id() == y.has_id());
    require(!x.has_id() || x.id() == y.id());
    require(x.body.where == y.body.where && x.body.frame == y.body.frame);
    require(x.body.inline_bytes == y.body.inline_bytes);
  }
}

void decompress(std::string_view frame) {
  constexpr size_t kLimit = 1 << 20;
  auto content = lz4_decompress(frame, kLimit);
  if (!content) return;
  require(content->size() <= kLimit);
  require(content->size() <= *lz4_bound(frame));
  require(lz4_decompress(lz4_compress(*content), content->size()) == *content);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  decode_and_write_again(input);
  decode_both_ways(input);
  decompress(input);
  return 0;
}
