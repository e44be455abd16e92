#include "daemon/messages/protobuf_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tusk::messages {
namespace {

using ::testing::HasSubstr;

// The wire format, by hand.
std::string varint(uint64_t value) {
  std::string out;
  for (; value > 127; value >>= 7) out += static_cast<char>(value | 128);
  return out + static_cast<char>(value);
}
std::string number(int field, uint64_t value) {
  return varint(static_cast<uint64_t>(field) << 3) + varint(value);
}
std::string bytes(int field, const std::string& content) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(content.size()) + content;
}

Compiled<std::unique_ptr<Schema>> compiled(std::string_view text,
                                           std::optional<std::string> message = std::nullopt) {
  return protobuf_schema(text, message);
}

std::string wrong(std::string_view text, const std::string& body,
                  std::optional<std::string> message = std::nullopt) {
  auto schema = compiled(text, message);
  if (!schema) return schema.error().why;
  auto refusal = (*schema)->check(body);
  return refusal ? refusal->path + ": " + refusal->text : "";
}

constexpr std::string_view kProto3 = R"(
syntax = "proto3";
package shop;
message Order {
  message Line { string article = 1; uint32 pieces = 2; }
  enum State { OPEN = 0; SENT = 1; }
  string customer = 1;
  repeated Line lines = 2;
  State state = 3;
  repeated sint32 marks = 4;
  map<string, Line> gifts = 5;
  double weight = 6 [deprecated = true];
  fixed32 check = 7;
  bytes picture = 8;
  Order before = 9;
}
)";

constexpr std::string_view kProto2 = R"(
syntax = "proto2";
message Outer {
  required int32 id = 1;
  optional Inner inner = 2;
  repeated Inner more = 3;
  oneof one { Inner left = 4; string right = 5; }
  optional group Piece = 6 { required int32 size = 7; }
  required Kind kind = 8;
  enum Kind { A = 1; }
  extensions 100 to 200;
}
message Inner { required string a = 1; required string b = 2; }
)";
const std::string kWhole = number(1, 1) + number(8, 1);

TEST(Protobuf, LetsGoodBodiesThrough) {
  EXPECT_EQ(wrong(kProto3, ""), "");
  const std::string line = bytes(1, "book") + number(2, 3);
  EXPECT_EQ(wrong(kProto3, bytes(1, "Zoë") + bytes(2, line) + bytes(2, "") + number(3, 77) +
                               bytes(4, varint(1) + varint(300)) + number(4, 5) +
                               bytes(5, bytes(1, "key") + bytes(2, line)) + std::string("\x31", 1) +
                               std::string(8, '\0') + std::string("\x3d", 1) +
                               std::string(4, '\0') + bytes(8, "\xff") + bytes(9, bytes(9, ""))),
            "");
}

// A later version of the schema may have them.
TEST(Protobuf, LetsFieldsThroughThatItDoesNotKnow) {
  const std::string group = varint(50 << 3 | 3) + number(1, 1) + varint(51 << 3 | 3) +
                            varint(51 << 3 | 4) + varint(50 << 3 | 4);
  EXPECT_EQ(wrong(kProto3, number(100, 1) + bytes(101, "x") + group + varint(102 << 3 | 5) +
                               "1234" + varint(103 << 3 | 1) + "12345678"),
            "");
}

TEST(Protobuf, SaysWhichFieldIsWrong) {
  EXPECT_EQ(wrong(kProto3, bytes(2, "") + bytes(2, number(1, 5))),
            "lines[1].article: is written with wire type 0; the schema says string, which is wire "
            "type 2");
  EXPECT_EQ(wrong(kProto3, bytes(3, "x")),
            "state: is written with wire type 2; the schema says enum, which is wire type 0");
  EXPECT_EQ(wrong(kProto3, bytes(9, bytes(9, bytes(1, "\xff")))),
            "before.before.customer: is a string that is not UTF-8");
  EXPECT_EQ(wrong(kProto3, bytes(5, bytes(2, bytes(2, "x")))),
            "gifts[0].value.pieces: is written with wire type 2; the schema says uint32, which is "
            "wire type 0");
}

TEST(Protobuf, RefusesWhatCannotBeRead) {
  for (const std::string& body :
       {std::string("\x0a"), std::string("\x0a\x05") + "abc",
        std::string("\x0a\xff\xff\xff\xff\x7f"), std::string(11, '\xff'), std::string("\x18"),
        std::string("\x18") + std::string(11, '\xff'), std::string("\x3d\0\0", 3),
        std::string("\x31\0", 2), std::string("\x12\x02\x0a\x05") + "ab",
        std::string("\x22\x01\xff")}) {
    EXPECT_THAT(wrong(kProto3, body), HasSubstr("cannot be read at byte")) << body;
  }
  EXPECT_THAT(wrong(kProto3, std::string("\0\0", 2)), HasSubstr("has a tag that no field has"));
  EXPECT_THAT(wrong(kProto3, varint(60 << 3 | 6)), HasSubstr("wire type 6, which there is not"));
  EXPECT_THAT(wrong(kProto3, varint(60 << 3 | 4)),
              HasSubstr("ends a group that it does not begin"));
  EXPECT_THAT(wrong(kProto3, varint(60 << 3 | 3) + varint(61 << 3 | 4)),
              HasSubstr("ends a group that it does not begin"));
  EXPECT_THAT(wrong(kProto3, varint(60 << 3 | 3)), HasSubstr("ends within a group"));
}

TEST(Protobuf, NeedsWhatIsRequired) {
  EXPECT_EQ(wrong(kProto2, kWhole, "Outer"), "");
  EXPECT_EQ(wrong(kProto2, number(8, 1), "Outer"), ": has no \"id\", which is required");
  EXPECT_EQ(wrong(kProto2, number(1, 1) + number(8, 2), "Outer"),
            ": has no \"kind\", which is required");
  EXPECT_EQ(wrong(kProto2, kWhole + bytes(2, bytes(1, "")), "Outer"),
            "inner: has no \"b\", which is required");
  EXPECT_EQ(wrong(kProto2, kWhole + bytes(3, bytes(1, "") + bytes(2, "")) + bytes(3, bytes(2, "")),
                  "Outer"),
            "more[1]: has no \"a\", which is required");
  EXPECT_EQ(wrong(kProto2, kWhole + varint(6 << 3 | 3) + varint(6 << 3 | 4), "Outer"),
            "piece: has no \"size\", which is required");
}

// As protobuf merges them.
TEST(Protobuf, TakesTheParcelsOfAMessageAsOne) {
  EXPECT_EQ(wrong(kProto2, bytes(2, bytes(1, "")) + kWhole + bytes(2, bytes(2, "")), "Outer"), "");
  EXPECT_EQ(wrong(kProto2, kWhole + bytes(4, "") + bytes(5, "x"), "Outer"), "");
  EXPECT_EQ(wrong(kProto2, kWhole + bytes(5, "x") + bytes(4, ""), "Outer"),
            "left: has no \"a\", which is required");
}

TEST(Protobuf, HasABoundForDepthAndFields) {
  std::string nested;
  for (int i = 0; i < 64; ++i) nested = bytes(9, nested);
  EXPECT_EQ(wrong(kProto3, nested), "");
  EXPECT_THAT(wrong(kProto3, bytes(9, nested)), HasSubstr("nests deeper than 64 messages"));
  std::string groups, unknown = varint(60 << 3 | 3);
  for (int i = 0; i < 200'000; ++i) groups += unknown;
  EXPECT_THAT(wrong(kProto3, groups), HasSubstr("nests deeper than 64 messages"));
  std::string many;
  many.reserve(2 * kMaxSteps + 2);
  for (size_t i = 0; i <= kMaxSteps; ++i) many.append("\x18\0", 2);
  EXPECT_THAT(wrong(kProto3, many), HasSubstr("has more than 10000000 fields"));
  EXPECT_THAT(wrong(kProto3, bytes(4, std::string(kMaxSteps + 1, '\0'))),
              HasSubstr("has more than 10000000 values"));
}

// --- .proto files that do not compile
// -------------------------------------------------------------

TEST(ProtoFiles, SayLineAndColumnOfAMistake) {
  auto grammar = compiled("syntax = \"proto3\";\nmessage A {\n  int32 a 1;\n}\n");
  ASSERT_FALSE(grammar);
  EXPECT_EQ(grammar.error().line, 3);
  EXPECT_EQ(grammar.error().column, 11);
  auto type = compiled("syntax = \"proto3\";\nmessage A {\n  Foo a = 1;\n}\n");
  ASSERT_FALSE(type);
  EXPECT_EQ(type.error().line, 3);
  EXPECT_EQ(type.error().column, 3);
  EXPECT_EQ(type.error().why, "A.a: \"Foo\" is not defined.");
  EXPECT_THAT(wrong("", ""), HasSubstr("it has no message"));
  EXPECT_THAT(wrong("syntax = \"proto9\";", ""), HasSubstr("proto9"));
  EXPECT_THAT(wrong("{\"type\": \"object\"}", ""), HasSubstr("Expected"));
}

TEST(ProtoFiles, ImportNothing) {
  auto imports = compiled(
      "syntax = \"proto3\";\n\nimport \"google/protobuf/timestamp.proto\";\nmessage A {}\n");
  ASSERT_FALSE(imports);
  EXPECT_EQ(imports.error().line, 3);
  EXPECT_EQ(
      imports.error().why,
      "it imports \"google/protobuf/timestamp.proto\"; a schema is one file: put the messages "
      "into it");
}

TEST(ProtoFiles, OfSeveralMessagesNeedANameThatTheyHave) {
  EXPECT_EQ(wrong(kProto2, kWhole),
            "it has several messages (Outer, Outer.Piece, Inner); say which with the key message");
  auto unknown = compiled(kProto2, "Iner");
  ASSERT_FALSE(unknown);
  EXPECT_TRUE(unknown.error().names_message);
  EXPECT_EQ(unknown.error().why,
            "the schema has no message \"Iner\"; it has Outer, Outer.Piece, Inner; did you mean "
            "\"Inner\"?");
  EXPECT_EQ(wrong(kProto3, bytes(1, "book"), "Order.Line"), "");
  EXPECT_EQ(wrong(kProto3, bytes(1, "book"), "shop.Order.Line"), "");
  EXPECT_THAT(wrong(kProto3, number(1, 1), "Order.Line"), HasSubstr("article: is written"));
}

TEST(ProtoFiles, HaveABoundForTheirDepth) {
  std::string deep = "syntax = \"proto3\";\n";
  for (int i = 0; i < 100'000; ++i) deep += "message A {";
  auto schema = compiled(deep);
  ASSERT_FALSE(schema);
  EXPECT_EQ(schema.error().line, 2);
  EXPECT_THAT(schema.error().why, HasSubstr("more than 64 braces within one another"));
}

}  // namespace
}  // namespace tusk::messages
