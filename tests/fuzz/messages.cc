// Any bytes as a body, and as a schema. The first byte says what the rest is.
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
#include <memory>
#include <string_view>

#include "daemon/messages/json_schema.h"
#include "daemon/messages/protobuf_schema.h"
#include "proto/scanner.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/require.h"

namespace {

using namespace tusk::messages;
using tusk::fuzz::require;
namespace pb = google::protobuf;

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
    require(pb::compiler::Parser().Parse(&tokens, &file), "libprotobuf reads the schema");
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
  const auto &text = refusal->text, &path = refusal->path;
  require(!text.empty(), "a body that is refused has a reason");
  require(text.size() <= 1100 && path.size() <= 1100, "which is bounded");
  require(tusk::proto::is_utf8(text) && tusk::proto::is_utf8(path), "and is text");
  return false;
}

void schema_and_body(const Compiled<std::unique_ptr<Schema>>& schema, std::string_view body) {
  if (!schema) {
    require(!schema.error().why.empty(), "a schema that is refused has a reason");
  } else {
    good(**schema, body);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto json = json_schema(kJson, JsonForm::kJson);
  static const auto msgpack = json_schema(kJson, JsonForm::kMsgpack);
  static const auto protobuf = protobuf_schema(kProto, "A");
  static Reference reference;
  require(json && msgpack && protobuf, "the fixed schemas compile");
  tusk::fuzz::Input input(data, size);
  const uint32_t choice = input.below(6);
  const std::string_view rest = input.rest();
  // A schema, NUL, a body.
  const size_t end = std::min(rest.find('\0'), rest.size());
  const std::string_view schema = rest.substr(0, end),
                         body = rest.substr(std::min(end + 1, rest.size()));
  switch (choice) {
    case 0:
      good(**json, rest);
      break;
    case 1:
      good(**msgpack, rest);
      break;
    case 2:
      if (good(**protobuf, rest)) require(reference.reads(rest), "libprotobuf reads what passed");
      break;
    // A schema comes from a configuration, which is text.
    case 3:
      if (tusk::proto::is_utf8(schema)) schema_and_body(json_schema(schema, JsonForm::kJson), body);
      break;
    case 4:
      if (tusk::proto::is_utf8(schema)) {
        schema_and_body(json_schema(schema, JsonForm::kMsgpack), body);
      }
      break;
    default:
      if (tusk::proto::is_utf8(schema)) {
        schema_and_body(protobuf_schema(schema, std::nullopt), body);
      }
  }
  return 0;
}
