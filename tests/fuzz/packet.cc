// Any bytes as a packet in the one-buffer form: through both readers of records, through the JSON
// form and back.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/decoder.h"
#include "proto/json.h"
#include "proto/writer.h"
#include "tests/fuzz/require.h"

using namespace tusk::proto;
using tusk::fuzz::require;

namespace {

using Frames = std::vector<std::string_view>;

Frames views(const PacketBytes& packet) {
  Frames out{packet.records};
  out.insert(out.end(), packet.frames.begin(), packet.frames.end());
  return out;
}

// Through JSON and back; nothing if the packet's JSON form is not one that can be read. JSON does
// not hold a map whose keys are no texts, or that looks like bytes.
std::optional<PacketBytes> written_again(const Frames& frames, size_t records) {
  auto json = packet_to_json(frames[0], std::span(frames).subspan(1));
  require(json.has_value(), "what decodes has a JSON form");
  require((*json)["records"].size() == records, "which has all the records");
  try {
    return packet_from_json(*json);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

// Written again a packet may be another one (integers become short, a key that is there twice is
// there once); written once more it is the same.
void decode_and_write_again(const Frames& frames) {
  static Decoder decoder;
  const Decoded packet = decoder.decode(frames[0], frames.size() - 1);
  if (!packet.ok()) return;
  const size_t records = packet.records.size();
  const auto once = written_again(frames, records);
  if (!once) return;
  const Decoded second = decoder.decode(once->records, once->frames.size());
  if (!second.ok()) return;
  require(second.records.size() == records, "a packet is not read in part");
  const auto twice = written_again(views(*once), records);
  require(twice.has_value(), "what was written can be read");
  require(twice->records == once->records && twice->frames == once->frames,
          "what was written is written so again");
}

// Plain records are read in a way of their own: it has to come to the same as the other, which a
// longer form of the first record's head leads to.
void decode_both_ways(const Frames& frames) {
  if (frames[0].empty() || (frames[0][0] & 0xF0) != 0x90) return;
  std::string wide{'\xDC', '\0', static_cast<char>(frames[0][0] & 0x0F)};
  wide += frames[0].substr(1);
  static Decoder one, other;
  const Decoded a = one.decode(frames[0], frames.size() - 1);
  const Decoded b = other.decode(wide, frames.size() - 1);
  require(a.ok() == b.ok() && a.records.size() == b.records.size(), "both read it, or neither");
  require(a.malformed.record == b.malformed.record, "both blame the same record");
  for (size_t i = 0; i < a.records.size(); ++i) {
    const Record &x = a.records[i], &y = b.records[i];
    require(x.kind == y.kind && x.ref == y.ref && x.name == y.name && x.attempt == y.attempt &&
                x.state == y.state && x.fault == y.fault && x.has_id() == y.has_id() &&
                (!x.has_id() || x.id() == y.id()) && x.body.where == y.body.where &&
                x.body.frame == y.body.frame && x.body.inline_bytes == y.body.inline_bytes,
            "both read the same");
  }
}

// The head of a packet that is refused: what it says is what the whole packet says.
void decode_first(const Frames& frames) {
  static Decoder whole, head;
  const Decoded packet = whole.decode(frames[0], frames.size() - 1);
  const Decoded first = head.decode_first(frames[0]);
  if (!packet.ok() || !first.ok()) return;
  require(first.records.size() == 1, "the first record is one");
  const Record &x = packet.records[0], &y = first.records[0];
  require(x.kind == y.kind && x.ref == y.ref && x.seq == y.seq && x.ack == y.ack,
          "and the same as in the packet");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Frames frames;
  if (!split_frames({reinterpret_cast<const char*>(data), size}, frames) || frames.empty())
    return 0;
  decode_and_write_again(frames);
  decode_both_ways(frames);
  decode_first(frames);
  return 0;
}
