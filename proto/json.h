// The JSON form of a packet (SPEC.md, "Other forms"), for tests and for people.
//
//   packet_to_json(frame0, body_frames)   // {"records": [["ping", 7]], "frames": []}
//   packet_from_json(json).records        // the bytes of frame 0
//
// Bytes are {"hex": "..."}; a kind, an attribute and nothing else has its name in place of its
// number. A map of the one text key "hex" therefore cannot be told from bytes and is read as bytes.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/value.h"
#include "proto/writer.h"

namespace tusk::proto {

// Keeps the order of a map's keys, so that what was read is written with the same bytes.
using Json = nlohmann::ordered_json;

// Nothing if `records` (frame 0) is not whole msgpack within the bounds of a packet. It says
// nothing about whether the records make sense: that is Decoder's to say.
std::optional<Json> packet_to_json(std::string_view records,
                                   std::span<const std::string_view> body_frames);

// One value of a packet, for example the answer to a query.
Json value_to_json(Value value);
// The other way, integers in their shortest form. Throws as packet_from_json does.
void write_json(Packer& packer, const Json& json);

struct PacketBytes {
  std::string records;              // frame 0
  std::vector<std::string> frames;  // body frames, frame 1 first
};

// Integers are written in their shortest form. Throws std::invalid_argument or a
// nlohmann::json::exception, whose text says what is wrong, if it is not a packet's JSON form.
PacketBytes packet_from_json(const Json& packet);

std::string hex_encode(std::string_view bytes);
// Nothing if it is not pairs of hexadecimal digits.
std::optional<std::string> hex_decode(std::string_view hex);

}  // namespace tusk::proto
