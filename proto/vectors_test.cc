// Every committed vector against the C++ codec.
#include <gtest/gtest.h>

#include <fstream>

#include "proto/decoder.h"
#include "proto/json.h"
#include "proto/lz4.h"
#include "proto/writer.h"

namespace tusk::proto {
namespace {

Json read_vectors(const std::string& set) {
  std::ifstream file(std::string(TUSK_VECTORS) + "/" + set + "/v1.json");
  EXPECT_TRUE(file) << set;
  Json vectors = Json::parse(file);
  EXPECT_FALSE(vectors.empty()) << set;
  return vectors;
}

std::string bytes_of(const Json& vector, const char* key) {
  auto bytes = hex_decode(vector.at(key).get_ref<const std::string&>());
  EXPECT_TRUE(bytes) << vector["name"];
  return bytes.value_or("");
}

// The frames of a vector's packet; views into `buffer`.
std::vector<std::string_view> frames_of(std::string_view buffer) {
  std::vector<std::string_view> frames;
  EXPECT_TRUE(split_frames(buffer, frames));
  EXPECT_FALSE(frames.empty());
  return frames;
}

BodyOut body_out(const Record& r, std::span<const std::string_view> frames) {
  switch (r.body.where) {
    case BodyRef::Where::kNone:
      return BodyOut::none();
    case BodyRef::Where::kInline:
      return BodyOut::copied(r.body.inline_bytes);
    case BodyRef::Where::kFrame:
      return {true, {}, Bytes::copy(frames[r.body.frame])};
  }
  return {};
}

// Writes what the decoder read with the writer's own record functions, where there is one for the
// kind. False: there is none.
bool rewrite(const Record& r, std::span<const std::string_view> frames, Writer& out) {
  Buffer entries;
  Packer packer(entries);
  for (Value item : r.attributes.all.items()) write_value(packer, item);
  AttributeEntries attributes(entries.view(), r.attributes.all.size());
  std::vector<uint64_t> handles;
  if (r.kind == Kind::kReturned || r.kind == Kind::kRecall) {
    for (Value handle : r.value.items()) handles.push_back(*handle.number());
  }
  switch (r.kind) {
    case Kind::kPing:
      return out.ping(r.ref), true;
    case Kind::kPong:
      return out.pong(r.ref), true;
    case Kind::kSlots:
      return out.slots(r.ref), true;
    case Kind::kAwait:
      return out.await(r.ref, r.id(), attributes), true;
    case Kind::kUpdate: {
      const BodyOut body = body_out(r, frames);
      return out.update(r.ref, r.id(), attributes, r.has_body ? &body : nullptr), true;
    }
    case Kind::kProgress:
      if (r.body.where == BodyRef::Where::kNone) return false;
      return out.progress(r.ref, body_out(r, frames), attributes), true;
    case Kind::kChunk:
      return out.chunk(r.ref, body_out(r, frames), attributes), true;
    case Kind::kCredit:
      return r.has_id() ? out.credit(r.ref, r.id(), r.time) : out.credit(r.ref, r.time), true;
    case Kind::kSuspend: {
      std::vector<TaskId> ids;
      for (Value id : r.value.items()) ids.push_back(TaskId::from_bytes(id.binary()->data()));
      return out.suspend(r.ref, ids.data(), ids.size(), r.level), true;
    }
    case Kind::kResume:
      return out.resume(r.ref), true;
    case Kind::kLog:
      return out.log(r.ref, r.level, r.message, attributes), true;
    case Kind::kCheckpoint:
      return out.checkpoint(r.ref, body_out(r, frames)), true;
    case Kind::kDefer:
      return out.defer(r.ref, r.time), true;
    case Kind::kPause:
      return out.pause(r.ref, r.time), true;
    case Kind::kAccepted:
      return out.accepted(r.ref), true;
    case Kind::kSubmit:
      return out.submit(r.ref, r.id(), r.name, body_out(r, frames), attributes), true;
    case Kind::kPush:
      if (!r.has_id()) return false;
      return out.push(r.ref, r.id(), r.name, body_out(r, frames), attributes), true;
    case Kind::kCancel:
      if (r.attributes.all) return false;
      return out.cancel(r.ref, r.id()), true;
    case Kind::kPublish:
      return out.publish(r.ref, r.name, body_out(r, frames), attributes), true;
    case Kind::kSubscribe:
      return out.subscribe(r.ref, r.name, attributes), true;
    case Kind::kUnsubscribe:
      return out.unsubscribe(r.ref, r.name), true;
    case Kind::kResult:
      return out.result(r.ref, r.state, body_out(r, frames), attributes), true;
    case Kind::kReturned:
      return out.returned(r.ref, handles.data(), handles.size()), true;
    case Kind::kRecall:
      return out.recall(r.ref, handles.data(), handles.size()), true;
    case Kind::kEvent:
      return out.event(r.ref, r.name, body_out(r, frames), attributes), true;
    case Kind::kUnsubscribed:
      return out.unsubscribed(r.name, r.message), true;
    case Kind::kTask:
    case Kind::kItem:
      return out.task(r.kind, r.ref, r.id(), r.name, r.attempt, body_out(r, frames), attributes),
             true;
    default:
      return false;
  }
}

TEST(PacketVectors, DecodeWithoutFault) {
  for (const Json& vector : read_vectors("packets")) {
    SCOPED_TRACE(vector["name"].get<std::string>());
    std::string buffer = bytes_of(vector, "bytes");
    auto frames = frames_of(buffer);
    Decoder decoder;
    Decoded packet = decoder.decode(frames[0], frames.size() - 1);
    ASSERT_TRUE(packet.ok()) << packet.malformed.why;
    const Json& records = vector["json"]["records"];
    ASSERT_EQ(packet.records.size(), records.size());
    for (size_t i = 0; i < records.size(); ++i) {
      const Record& r = packet.records[i];
      EXPECT_EQ(r.fault, "") << r.fault_text;
      if (records[i][0].is_string()) {
        EXPECT_EQ(kind_name(r.kind), records[i][0].get<std::string>());
      } else {
        EXPECT_EQ(r.kind, Kind::kIgnorable);
        EXPECT_EQ(r.unknown_kind, records[i][0].get<uint64_t>());
      }
    }
  }
}

TEST(PacketVectors, ReadAndWriteTheJsonForm) {
  for (const Json& vector : read_vectors("packets")) {
    SCOPED_TRACE(vector["name"].get<std::string>());
    std::string buffer = bytes_of(vector, "bytes");
    auto frames = frames_of(buffer);
    auto json = packet_to_json(frames[0], std::span(frames).subspan(1));
    ASSERT_TRUE(json);
    EXPECT_EQ(*json, vector["json"]);
    if (vector.contains("canonical")) continue;
    PacketBytes back = packet_from_json(vector["json"]);
    std::string again;
    append_frame(again, back.records);
    for (const std::string& frame : back.frames) append_frame(again, frame);
    EXPECT_EQ(hex_encode(again), vector["bytes"].get<std::string>());
  }
}

TEST(PacketVectors, WriterWritesWhatTheDecoderRead) {
  size_t compared = 0;
  for (const Json& vector : read_vectors("packets")) {
    SCOPED_TRACE(vector["name"].get<std::string>());
    std::string name = vector["name"];
    // Not written: elements that this version does not know, an empty map, frames in another order.
    if (vector.contains("canonical") || name.find("more elements") != name.npos ||
        name.find("empty map") != name.npos || name == "result succeeded, nil body" ||
        name == "many submits, bodies in frames, bins and nil") {
      continue;
    }
    std::string buffer = bytes_of(vector, "bytes");
    auto frames = frames_of(buffer);
    Decoder decoder;
    Decoded packet = decoder.decode(frames[0], frames.size() - 1);
    ASSERT_TRUE(packet.ok());
    // The records one by one: those without a function of the writer are left out.
    size_t offset = 0;
    Scanner scanner;
    Writer out;
    std::string expected;
    for (const Record& r : packet.records) {
      size_t start = offset;
      ASSERT_EQ(scanner.scan(frames[0], offset), nullptr);
      if (rewrite(r, frames, out)) expected += frames[0].substr(start, offset - start);
    }
    EXPECT_EQ(hex_encode(out.records().view()), hex_encode(expected));
    compared += out.count();
  }
  EXPECT_GT(compared, 50u);
}

TEST(PacketVectors, HeaderHasAFixedFormThatReadsTheSame) {
  char header[Writer::kHeaderSize];
  Writer::fill_header(header, 123456789012345, kMaxInteger, 0);
  Decoder decoder;
  Decoded packet = decoder.decode({header, sizeof header}, 0);
  ASSERT_TRUE(packet.ok());
  EXPECT_EQ(packet.records[0].ref, 123456789012345u);
  EXPECT_EQ(packet.records[0].seq, kMaxInteger);
  EXPECT_EQ(packet.records[0].ack, 0u);
}

TEST(MalformedVectors, AreRefusedAtTheRightRecord) {
  for (const Json& vector : read_vectors("malformed")) {
    SCOPED_TRACE(vector["name"].get<std::string>());
    std::string buffer = bytes_of(vector, "bytes");
    auto frames = frames_of(buffer);
    // Empty body frames are the transport's to refuse: the decoder is told their number only.
    bool empty_body = false;
    for (size_t i = 1; i < frames.size(); ++i) empty_body |= frames[i].empty();
    if (empty_body) {
      EXPECT_EQ(vector["error"], "malformed");
      EXPECT_TRUE(vector["record"].is_null());
      continue;
    }
    Decoder decoder;
    Decoded packet = decoder.decode(frames[0], frames.size() - 1);
    if (vector["error"] == "malformed") {
      EXPECT_FALSE(packet.ok());
      if (!vector["record"].is_null()) {
        EXPECT_EQ(packet.malformed.record, vector["record"].get<size_t>()) << packet.malformed.why;
      }
      continue;
    }
    ASSERT_TRUE(packet.ok()) << packet.malformed.why;
    size_t faults = 0;
    for (size_t i = 0; i < packet.records.size(); ++i) {
      if (packet.records[i].fault.empty()) continue;
      ++faults;
      EXPECT_EQ(i, vector["record"].get<size_t>());
      EXPECT_EQ(packet.records[i].fault, vector["error"].get<std::string>());
    }
    EXPECT_EQ(faults, 1u);
  }
}

TEST(Lz4Vectors, AreReadOrRefused) {
  for (const Json& vector : read_vectors("lz4")) {
    SCOPED_TRACE(vector["name"].get<std::string>());
    std::string frame = bytes_of(vector, "frame");
    size_t limit = vector.at("limit");
    auto content = lz4_decompress(frame, limit);
    if (vector.contains("refuse")) {
      EXPECT_FALSE(content) << vector["why"];
    } else {
      ASSERT_TRUE(content);
      EXPECT_EQ(content->size(), vector["size"].get<size_t>());
      EXPECT_LE(content->size(), *lz4_bound(frame));
    }
  }
}

}  // namespace
}  // namespace tusk::proto
