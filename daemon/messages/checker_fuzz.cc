// libFuzzer target: any bytes as a body, and as a schema. The first byte says what the rest is.
//
//   cmake --preset fuzz && cmake --build --preset fuzz --target tusk_messages_fuzz
//   build/fuzz/daemon/messages/tusk_messages_fuzz -max_total_time=60 corpus/
//
// What is said about a body is UTF-8 and bounded. A body in protobuf that is let through is one
// that libprotobuf reads.
#include <google/protobuf/compiler/parser.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "daemon/messages/json_schema.h"
#include "daemon/messages/protobuf_schema.h"
#include "proto/scanner.h"

namespace {

using namespace tusk::messages;  // NOLINT: one function
namespace pb = google::protobuf;

void require(bool holds) {
  if (!holds) std::abort();
}

constexpr std::string_view kJson = R"re({
  "type": ["object", "array", "string", "number"],
  "required": ["a"], "minProperties": 1, "maxProperties": 9, "dependencies": {"a": ["b"]},
  "properties": {"a": {"type": "integer", "minimum": -5, "exclusiveMaximum": 100},
                 "b": {"enum": [1, "x", [2, {"y": null}], 1.5]}, "next": {"$ref": "#"}},
  "patternProperties": {"^n_(a|b)*$": {"multipleOf": 0.5}},
  "additionalProperties": {"anyOf": [{"const": true}, {"not": {"type": "string"}}]},
  "minLength": 1, "maxLength": 40, "pattern": "^(a+)+|[0-9]$",
  "uniqueItems": true, "minItems": 1, "maxItems": 100, "contains": {"multipleOf": 1},
  "items": {"oneOf": [{"$ref": "#/definitions/n"}, {"type": "array", "items": {"$ref": "#"}}]},
  "if": {"required": ["b"]}, "then": {"maxProperties": 4}, "else": {"minProperties": 2},
  "definitions": {"n": {"type": ["number", "boolean", "null"]}}})re";

constexpr std::string_view kProto = R"(
syntax = "proto2";
message A {
  required int32 id = 1;
  optional A inner = 2;
  repeated B more = 3;
  oneof one { B left = 4; string right = 5; }
  optional group Piece = 6 { required sint64 size = 7; }
  repeated fixed32 packed = 8 [packed = true];
  map<string, B> map = 9;
  enum Kind { X = 1; Y = 2; }
  optional Kind kind = 10;
  optional double real = 11;
  optional bytes raw = 12;
}
message B { required Kind kind = 1; enum Kind { Z = 3; } optional A back = 2; }
)";

// The library's own parser, on the same schema.
class Reference {
 public:
  Reference() {
    pb::io::ArrayInputStream stream(kProto.data(), static_cast<int>(kProto.size()));
    pb::io::Tokenizer tokens(&stream, nullptr);
    pb::FileDescriptorProto file;
    require(pb::compiler::Parser().Parse(&tokens, &file));
    file.set_name("reference.proto");
    message_.reset(factory_.GetPrototype(pool_.BuildFile(file)->message_type(0))->New());
  }
  bool reads(std::string_view body) {
    return message_->ParseFromArray(body.data(), static_cast<int>(body.size()));
  }

 private:
  pb::DescriptorPool pool_;
  pb::DynamicMessageFactory factory_{&pool_};
  std::unique_ptr<pb::Message> message_;
};

bool good(const Schema& schema, std::string_view body) {
  const auto refusal = schema.check(body);
  if (!refusal) return true;
  require(!refusal->text.empty());
  require(refusal->text.size() < 1100 && refusal->path.size() < 1100);
  require(tusk::proto::is_utf8(refusal->text) && tusk::proto::is_utf8(refusal->path));
  return false;
}

void schema_and_body(const Compiled<std::unique_ptr<Schema>>& schema, std::string_view body) {
  if (!schema) {
    require(!schema.error().why.empty());
  } else {
    good(**schema, body);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  static const auto json = json_schema(kJson, JsonForm::kJson);
  static const auto msgpack = json_schema(kJson, JsonForm::kMsgpack);
  static const auto protobuf = protobuf_schema(kProto, "A");
  static Reference reference;
  require(json && msgpack && protobuf);
  const std::size_t end = std::min(rest.find('\0'), rest.size());
  const std::string_view schema = rest.substr(0, end),
                         body = rest.substr(std::min(end + 1, rest.size()));
  switch (data[0] % 5) {
    case 0:
      good(**json, rest);
      break;
    case 1:
      good(**msgpack, rest);
      break;
    case 2:
      if (good(**protobuf, rest)) require(reference.reads(rest));
      break;
    case 3:
      if (tusk::proto::is_utf8(schema)) schema_and_body(json_schema(schema, JsonForm::kJson), body);
      break;
    case 4:
      if (tusk::proto::is_utf8(schema))
        schema_and_body(protobuf_schema(schema, std::nullopt), body);
      break;
  }
  return 0;
}
