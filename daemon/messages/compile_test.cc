#include "daemon/messages/compile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/lz4.h"

namespace tusk::messages {
namespace {

using config::Result;
using core::BodyCheckers;
using ::testing::HasSubstr;

constexpr size_t kLimit = 64 << 20;
constexpr auto kNone = proto::Compression::kNone;
constexpr auto kLz4 = proto::Compression::kLz4;

Result<BodyCheckers> compiled(const std::string& text) {
  auto loaded = config::load_text(text, TUSK_CONFIG_DIR "/testdata/t.tsk");
  if (!loaded) return tl::unexpected(loaded.error());
  return compile(loaded->orchestration);
}

std::string errors(const std::string& text) {
  auto checkers = compiled(text);
  return checkers ? "" : config::format(checkers.error());
}

std::shared_ptr<const core::BodyChecker> only(const std::string& text) {
  auto checkers = compiled("[message_types]\nm:\n" + text);
  if (!checkers || checkers->size() != 1) {
    ADD_FAILURE() << (checkers ? "no checker" : config::format(checkers.error()));
    return nullptr;
  }
  return checkers->begin()->second;
}

const std::string kJson =
    "  format: json\n  validation: true\n  schema: \"@file.read('schemas/data_request.json')\"\n";

TEST(Checkers, AreThoseOfTypesWithValidation) {
  // The user's own block: only data_request says validation.
  auto checkers =
      compiled("[message_types]\ndata_request:\n" + kJson +
               "ml_task:\n  format: msgpack\n  compression: true\nsystem_event:\n"
               "  format: protobuf\n  schema: \"@file.read('schemas/system_event.proto')\"\n"
               "  routing: fanout\n");
  ASSERT_TRUE(checkers) << config::format(checkers.error());
  ASSERT_EQ(checkers->size(), 1u);
  EXPECT_TRUE(checkers->contains("data_request"));
}

TEST(Checkers, CheckBodiesAgainstTheSchemaThatWasRead) {
  auto checker = only(kJson);
  EXPECT_FALSE(checker->check(R"({"source": "a"})", 1, kNone, kLimit));
  auto refusal = checker->check(R"({"source": "a", "limit": 0})", 1, kNone, kLimit);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->path, "/limit");
  EXPECT_EQ(refusal->text, "must be at least 1");
}

TEST(Checkers, SayWhichCodecToUse) {
  auto json = only(kJson);
  EXPECT_EQ(json->check("\x80", 0, kNone, kLimit)->text,
            "is written in msgpack (codec 0); expected JSON (codec 1)");
  auto protobuf = only(
      "  format: protobuf\n  validation: true\n"
      "  schema: \"@file.read('schemas/system_event.proto')\"\n");
  EXPECT_FALSE(protobuf->check("", 2, kNone, kLimit));
  EXPECT_EQ(protobuf->check("{}", 1, kNone, kLimit)->text,
            "is written in JSON (codec 1); expected plain bytes (codec 2)");
  EXPECT_EQ(protobuf->check("\x08\x01", 2, kNone, kLimit)->path, "source");
  auto msgpack = only("  format: msgpack\n  validation: true\n  schema: \"{}\"\n");
  EXPECT_FALSE(msgpack->check("\x80", 0, kNone, kLimit));
  EXPECT_EQ(msgpack->check("x", 2, kNone, kLimit)->text,
            "is written in plain bytes (codec 2); expected msgpack (codec 0)");
}

TEST(Checkers, DecompressWithinTheLimit) {
  auto checker = only(kJson);
  const std::string body = R"({"source": ")" + std::string(10'000, 'a') + "\"}";
  EXPECT_FALSE(checker->check(proto::lz4_compress(body), 1, kLz4, kLimit));
  EXPECT_EQ(checker->check(proto::lz4_compress(R"({"limit": 1})"), 1, kLz4, kLimit)->text,
            "has no \"source\", which is required");
  EXPECT_THAT(checker->check(proto::lz4_compress(body), 1, kLz4, body.size() - 1)->text,
              HasSubstr("does not decompress"));
  EXPECT_THAT(checker->check(body, 1, kLz4, kLimit)->text, HasSubstr("does not decompress"));
}

TEST(Mistakes, InSchemasNameTheKeyTheFileAndThePlaceInIt) {
  EXPECT_THAT(
      errors("[message_types]\na:\n  format: json\n  schema: \"{\\n 'a\"\n"),
      HasSubstr("t.tsk:4:11: [message_types] a.schema: in its line and column 2:2: it is no "
                "JSON: "));
  // A .proto file that stands there as JSON Schema.
  EXPECT_THAT(
      errors("[message_types]\na:\n  format: json\n"
             "  schema: \"@file.read('schemas/system_event.proto')\"\n"),
      HasSubstr("t.tsk:4:11: [message_types] a.schema: schemas/system_event.proto:1:1: it is "
                "no JSON: "));
  EXPECT_THAT(errors("[message_types]\na:\n  format: protobuf\n"
                     "  schema: \"@file.read('schemas/data_request.json')\"\n"),
              HasSubstr("a.schema: schemas/data_request.json:1:1: "));
  EXPECT_THAT(errors("[message_types]\na:\n  format: msgpack\n"
                     "  schema: \"{\\\"items\\\": {\\\"$ref\\\": \\\"http://x/y\\\"}}\"\n"),
              HasSubstr("a.schema: at /items/$ref: a reference to another document"));
}

TEST(Mistakes, InTheNameOfAMessageStandAtItsKey) {
  EXPECT_THAT(errors("[message_types]\na:\n  format: protobuf\n"
                     "  schema: \"@file.read('schemas/system_event.proto')\"\n"
                     "  message: SystemEvents\n"),
              HasSubstr("t.tsk:5:12: [message_types] a.message: the schema has no message "
                        "\"SystemEvents\"; it has SystemEvent; did you mean \"SystemEvent\"?\n"));
}

// A schema whose bodies are not checked is compiled all the same, and every mistake is told.
TEST(Mistakes, AreToldAllAtOnce) {
  const std::string all = errors(
      "[message_types]\na:\n  format: json\n  schema: \"[]\"\nb:\n  format: json\n  schema: "
      "\"x\"\n");
  EXPECT_THAT(all, HasSubstr("a.schema: a schema is a map, true or false"));
  EXPECT_THAT(all, HasSubstr("b.schema: in its line and column 1:1"));
}

}  // namespace
}  // namespace tusk::messages
