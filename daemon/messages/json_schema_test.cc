#include "daemon/messages/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace tusk::messages {
namespace {

using core::Refusal;
using ::testing::HasSubstr;

std::optional<Refusal> check(std::string_view schema, std::string_view body) {
  auto compiled = json_schema(schema, JsonForm::kJson);
  if (!compiled) {
    ADD_FAILURE() << compiled.error().why;
    return std::nullopt;
  }
  return (*compiled)->check(body);
}

// "path: text", or "" for a good body.
std::string wrong(std::string_view schema, std::string_view body) {
  auto refusal = check(schema, body);
  return refusal ? refusal->path + ": " + refusal->text : "";
}

std::string msgpack(const Json& value) {
  std::string out;
  Json::to_msgpack(value, out);
  return out;
}
std::string wrong_msgpack(std::string_view schema, const std::string& body) {
  auto compiled = json_schema(schema, JsonForm::kMsgpack);
  if (!compiled) return compiled.error().why;
  auto refusal = (*compiled)->check(body);
  return refusal ? refusal->path + ": " + refusal->text : "";
}

std::string fault(std::string_view schema) {
  auto compiled = json_schema(schema, JsonForm::kJson);
  return compiled ? "" : compiled.error().why;
}

// --- each keyword: one good body, one that it refuses
// ---------------------------------------------

struct Case {
  const char *schema, *good, *bad, *wrong;
};

class Keyword : public ::testing::TestWithParam<Case> {};

TEST_P(Keyword, LetsGoodBodiesThroughAndSaysWhereABadOneIsWrong) {
  const Case& c = GetParam();
  EXPECT_EQ(wrong(c.schema, c.good), "");
  EXPECT_EQ(wrong(c.schema, c.bad), c.wrong);
}

INSTANTIATE_TEST_SUITE_P(
    All, Keyword,
    ::testing::Values(
        Case{R"({"type": "string"})", R"("a")", "1", ": must be string, is integer"},
        Case{R"({"type": ["null", "boolean"]})", "true", "[]",
             ": must be boolean or null, is array"},
        Case{R"({"type": "integer"})", "2.0", "2.5", ": must be integer, is number"},
        Case{R"({"type": "number"})", "3", "null", ": must be number, is null"},
        Case{R"({"enum": ["a", 1, [2]]})", "[2]", "2",
             ": is none of the values that the schema lists"},
        Case{R"({"enum": [1]})", "1.0", "9007199254740993",
             ": is none of the values that the schema lists"},
        Case{R"({"const": {"a": 1}})", R"({"a": 1})", R"({"a": 1, "b": 2})",
             ": is not the one value that the schema allows"},
        Case{R"({"const": -1})", "-1", "18446744073709551615",
             ": is not the one value that the schema allows"},
        Case{R"({"minimum": 0})", "0", "-1", ": must be at least 0"},
        Case{R"({"maximum": 1.5})", "1.5", "2", ": must be at most 1.5"},
        Case{R"({"exclusiveMinimum": 0})", "0.1", "0", ": must be more than 0"},
        Case{R"({"exclusiveMaximum": 9})", "8", "9", ": must be less than 9"},
        Case{R"({"maximum": 9007199254740991})", "9007199254740991", "9007199254740993",
             ": must be at most 9007199254740991"},
        Case{R"({"multipleOf": 3})", "9007199254740990", "9007199254740991",
             ": must be a multiple of 3"},
        Case{R"({"multipleOf": 2})", "4", "2.5", ": must be a multiple of 2"},
        Case{R"({"multipleOf": 0.01})", "19.99", "19.995", ": must be a multiple of 0.01"},
        Case{R"({"minLength": 2})", R"("äö")", R"("ä")", ": must have at least 2 characters"},
        Case{R"({"maxLength": 1})", R"("ä")", R"("a\u0000b")", ": must have at most 1 character"},
        Case{R"({"pattern": "^[a-z]+$"})", R"("abc")", R"("abc1")",
             ": does not match the pattern ^[a-z]+$"},
        Case{R"({"items": {"type": "integer"}})", "[1, 2]", R"([1, "2"])",
             "/1: must be integer, is string"},
        Case{R"({"items": [{"type": "integer"}, {"type": "string"}], "additionalItems": false})",
             R"([1, "a"])", R"([1, "a", 3])", ": must have at most 2 items"},
        Case{R"({"items": [true], "additionalItems": {"minimum": 5}})", "[0, 5]", "[0, 5, 4]",
             "/2: must be at least 5"},
        Case{R"({"minItems": 1})", "[0]", "[]", ": must have at least 1 item"},
        Case{R"({"maxItems": 2})", "[0, 0]", "[0, 0, 0]", ": must have at most 2 items"},
        Case{R"({"contains": {"const": 7}})", "[1, 7]", "[1, 2]",
             ": has no item that fits the schema of contains"},
        Case{R"({"uniqueItems": true})", R"([1, "1", [1], 2, {"a": 1}])", "[3, 1, 2, 1.0]",
             "/3: stands in the list before already"},
        Case{R"({"required": ["a", "b"]})", R"({"a": 1, "b": null})", R"({"a": 1})",
             ": has no \"b\", which is required"},
        Case{R"({"properties": {"a": {"type": "string"}}})", R"({"b": 1})", R"({"a": 1})",
             "/a: must be string, is integer"},
        Case{R"({"properties": {"a": false}})", R"({"b": 1})", R"({"a": 1})", "/a: is not allowed"},
        Case{R"({"properties": {"a": {}}, "additionalProperties": false})", R"({"a": 1})",
             R"({"a": 1, "b/c~": 1})", "/b~1c~0: is no key that the schema allows"},
        Case{R"({"additionalProperties": {"minimum": 0}})", R"({"a": 1})", R"({"a": -1})",
             "/a: must be at least 0"},
        Case{R"({"patternProperties": {"^n_": {"type": "number"}}, "additionalProperties": false})",
             R"({"n_1": 2})", R"({"n_1": "2"})", "/n_1: must be number, is string"},
        Case{R"({"minProperties": 1})", R"({"a": 1})", "{}", ": must have at least 1 key"},
        Case{R"({"maxProperties": 1})", R"({"a": 1})", R"({"a": 1, "b": 1})",
             ": must have at most 1 key"},
        Case{R"({"dependencies": {"card": ["name"]}})", R"({"card": 1, "name": 2})",
             R"({"card": 1})", ": has \"card\" without \"name\""},
        Case{R"({"allOf": [{"minimum": 0}, {"maximum": 9}]})", "5", "10", ": must be at most 9"},
        Case{R"({"anyOf": [{"type": "string"}, {"minimum": 5}]})", R"("a")", "4",
             ": fits none of the schemas of anyOf"},
        Case{R"({"oneOf": [{"minimum": 5}, {"maximum": 9}]})", "4", "7",
             ": fits several of the schemas of oneOf; expected one"},
        Case{R"({"oneOf": [{"type": "null"}, {"type": "string"}]})", "null", "7",
             ": fits none of the schemas of oneOf"},
        Case{R"({"not": {"type": "null"}})", "1", "null", ": fits the schema of not"},
        Case{
            R"({"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"maxProperties": 0}})",
            R"({"a": 1, "b": 1})", R"({"a": 1})", ": has no \"b\", which is required"},
        Case{R"({"if": {"required": ["a"]}, "else": {"maxProperties": 0}})", "{}", R"({"c": 1})",
             ": must have at most 0 keys"},
        Case{R"({"definitions": {"age": {"minimum": 0}},
                 "properties": {"user": {"properties": {"age": {"$ref": "#/definitions/age"}}}}})",
             R"({"user": {"age": 1}})", R"({"user": {"age": -1}})",
             "/user/age: must be at least 0"},
        Case{R"({"properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}})",
             R"({"next": {"next": {"n": 1}}})", R"({"next": {"next": {"n": ""}}})",
             "/next/next/n: must be integer, is string"},
        Case{R"({"format": "date-time"})", "1", "[",
             ": is not one whole value of JSON: byte 2 cannot stand there"}));

TEST(Keywords, SayNothingOfValuesOfAnotherKind) {
  const char* schema =
      R"({"minimum": 5, "maxLength": 0, "pattern": "x", "minItems": 9, "required": ["a"],
          "minProperties": 9, "uniqueItems": true, "items": false, "properties": {"a": false},
          "multipleOf": 7, "contains": false, "dependencies": {"a": ["b"]}})";
  EXPECT_EQ(wrong(schema, "null"), "");
  EXPECT_EQ(wrong(schema, "true"), "");
  EXPECT_EQ(wrong(R"({"minimum": 5})", R"("a")"), "");
  EXPECT_EQ(wrong(R"({"maxLength": 0, "required": ["a"]})", "[]"), "");
}

TEST(Numbers, ThatAreNoneFitNoBound) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(wrong_msgpack(R"({"type": "number"})", msgpack(nan)), "");
  EXPECT_EQ(wrong_msgpack(R"({"minimum": 0})", msgpack(nan)), ": must be at least 0");
  EXPECT_EQ(wrong_msgpack(R"({"maximum": 0})", msgpack(nan)), ": must be at most 0");
  EXPECT_EQ(wrong_msgpack(R"({"type": "integer"})", msgpack(HUGE_VAL)),
            ": must be integer, is number");
  EXPECT_EQ(wrong_msgpack(R"({"multipleOf": 2})", msgpack(HUGE_VAL)), ": must be a multiple of 2");
  EXPECT_EQ(wrong_msgpack(R"({"uniqueItems": true})", msgpack({nan, 1, nan})),
            "/2: stands in the list before already");
}

// --- bodies in msgpack
// ----------------------------------------------------------------------------

TEST(Msgpack, BytesAndTimestampsHaveNoTypeOfJson) {
  const std::string bytes = "\xc4\x01x", timestamp = std::string("\xd6\xff\0\0\0\1", 6);
  for (const char* type : {"string", "number", "object", "array", "null", "boolean", "integer"}) {
    const std::string schema = std::string(R"({"type": ")") + type + "\"}";
    EXPECT_THAT(wrong_msgpack(schema, bytes), HasSubstr("is bytes, which no type of JSON are"));
    EXPECT_THAT(wrong_msgpack(schema, timestamp), HasSubstr("is a timestamp, which no type"));
  }
  EXPECT_EQ(wrong_msgpack("{}", bytes), "");
  EXPECT_EQ(wrong_msgpack("{}", timestamp), "");
  EXPECT_EQ(wrong_msgpack(R"({"minLength": 9, "enum": [1]})", bytes),
            ": is none of the values that the schema lists");
}

TEST(Msgpack, IsRefusedWhereBodyMdDoes) {
  EXPECT_THAT(wrong_msgpack("{}", ""), HasSubstr("not one whole value of msgpack"));
  EXPECT_THAT(wrong_msgpack("{}", "\xc1"), HasSubstr("not one whole value of msgpack"));
  EXPECT_THAT(wrong_msgpack("{}", "\x01\x01"), HasSubstr("not one whole value"));
  EXPECT_THAT(wrong_msgpack("{}", "\xdd\xff\xff\xff\xff"), HasSubstr("not one whole value"));
  EXPECT_THAT(wrong_msgpack("{}", "\x81\x01\x01"), HasSubstr("not one whole value"));
  EXPECT_EQ(wrong_msgpack("{}", "\x91\xa1\xff"), "/0: is a text that is not UTF-8");
  EXPECT_EQ(wrong_msgpack("{}", "\x81\xa1\xff\x01"), ": has a key that is not UTF-8");
  EXPECT_EQ(wrong_msgpack("{}", "\x81\xa1z\x82\xa1y\x01\xa1y\x02"), "/z: has the key \"y\" twice");
  EXPECT_THAT(wrong_msgpack("{}", "\x81\xa1z\xd4\x05x"), HasSubstr("/z: is an extension"));
  EXPECT_THAT(wrong_msgpack("{}", "\xd4\xffx"), HasSubstr("is a timestamp of 1 bytes"));
}

TEST(Json, IsRefusedWhereBodyMdDoes) {
  for (const char* body :
       {"", "nul", "1 2", "NaN", "[1,]", "{\"a\":1", "1e999", "'a'", "\"\\ud800\"", "\"\xff\""}) {
    EXPECT_THAT(wrong("{}", body), HasSubstr("is not one whole value of JSON")) << body;
  }
  EXPECT_EQ(wrong("{}", R"([{"a": 1, "b": 2, "a": 3}])"), "/0: has the key \"a\" twice");
  EXPECT_EQ(wrong("{}", R"([0, {"a": 18446744073709551616}])"),
            "/1/a: is a whole number beyond 64 bits");
  EXPECT_EQ(wrong("{}", "[18446744073709551615, -9223372036854775808, 1e300]"), "");
}

// --- bounds
// ---------------------------------------------------------------------------------------

std::string repeated(std::string_view text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

TEST(Bounds, OfDepthHoldForBothForms) {
  EXPECT_EQ(wrong("{}", repeated("[", 64) + repeated("]", 64)), "");
  EXPECT_THAT(wrong("{}", repeated("[", 65) + repeated("]", 65)),
              HasSubstr("nests deeper than 64"));
  EXPECT_THAT(wrong("{}", repeated("[", 500'000)), HasSubstr("nests deeper than 64"));
  EXPECT_THAT(wrong("{}", repeated("{\"a\":", 500'000)), HasSubstr("nests deeper than 64"));
  EXPECT_THAT(wrong_msgpack("{}", repeated("\x91", 500'000)), HasSubstr("nests deeper than 64"));
}

TEST(Bounds, OfValuesKeepTheTreeSmall) {
  std::string zeros = "[" + repeated("0,", kMaxValues - 2) + "0]";
  EXPECT_EQ(wrong("{}", zeros), "");
  zeros.insert(1, "0,");
  EXPECT_THAT(wrong("{}", zeros), HasSubstr("has more than 1000000 values"));
}

// Compared each with each, these would take hours.
TEST(Bounds, UniqueItemsAreSorted) {
  std::string numbers = "[0";
  for (int i = 1; i < 100'000; ++i) numbers += "," + std::to_string(i);
  EXPECT_EQ(wrong(R"({"uniqueItems": true})", numbers + "]"), "");
  EXPECT_EQ(wrong(R"({"uniqueItems": true})", numbers + ",5]"),
            "/100000: stands in the list before already");
}

// A matcher that tries alternatives would never end, one that recurses would run out of stack.
TEST(Bounds, PatternsTakeLinearTime) {
  const std::string text = "\"" + std::string(1 << 20, 'a') + "!\"";
  EXPECT_THAT(wrong(R"({"pattern": "^(a+)+$"})", text), HasSubstr("does not match"));
  EXPECT_THAT(wrong(R"({"patternProperties": {"^(a|a)*$": false}})", "{" + text + ": 1}"), "");
  std::string patterns = "{}";
  for (int i = 0; i < 20; ++i)
    patterns += R"(, {"not": {"pattern": "b)" + std::to_string(i) + "\"}}";
  EXPECT_THAT(wrong("{\"allOf\": [" + patterns + "]}", "\"" + std::string(5 << 20, 'a') + "\""),
              HasSubstr("takes more than 10000000 steps"));
}

// Two ways at each level: 2^60 of them.
TEST(Bounds, OfStepsHoldWhereAlternativesMultiply) {
  const std::string schema = R"({"anyOf": [
      {"properties": {"a": {"$ref": "#"}}, "required": ["b"]},
      {"properties": {"a": {"$ref": "#"}}, "required": ["c"]}]})";
  EXPECT_THAT(wrong(schema, repeated("{\"b\":1,\"a\":", 60) + "1" + repeated("}", 60)), "");
  const std::string twice = R"({"type": "object", "oneOf": [
      {"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]})";
  EXPECT_THAT(wrong(twice, repeated("{\"a\":", 60) + "{}" + repeated("}", 60)),
              HasSubstr("takes more than 10000000 steps"));
}

TEST(Bounds, OfTextsHoldForWhatIsSaid) {
  const std::string key = repeated("ä/", 100'000);
  auto refusal = check(R"({"additionalProperties": {"type": "null"}})", "{\"" + key + "\": 1}");
  ASSERT_TRUE(refusal);
  EXPECT_LE(refusal->path.size(), 1010u);
  EXPECT_THAT(refusal->path,
              ::testing::AnyOf(::testing::EndsWith("ä..."), ::testing::EndsWith("~1...")));
}

// --- schemas that do not compile
// ------------------------------------------------------------------

TEST(Schemas, ThatAreNoJsonSayLineAndColumn) {
  auto compiled = json_schema("{\n  \"ä\": 1,\n  \"type\": \"x\n}", JsonForm::kJson);
  ASSERT_FALSE(compiled);
  EXPECT_EQ(compiled.error().line, 3);
  EXPECT_EQ(compiled.error().column, 13);
  EXPECT_THAT(compiled.error().why, HasSubstr("it is no JSON: "));
  EXPECT_EQ(fault(R"({"a": {"b": 1, "b": 2}})"), "the value at /a has the key \"b\" twice");
  EXPECT_THAT(fault(repeated("[", 1'000'000)), HasSubstr("nests deeper than 64"));
}

TEST(Schemas, SayWhichKeywordCannotBeCarriedOut) {
  EXPECT_EQ(fault(R"({"properties": {"a": {"prefixItems": []}}})"),
            "at /properties/a/prefixItems: this keyword is not carried out; use items with a list");
  for (const char* keyword : {"$anchor", "$dynamicRef", "dependentRequired", "dependentSchemas",
                              "id", "minContains", "propertyNames", "unevaluatedProperties"}) {
    EXPECT_THAT(fault(std::string("{\"") + keyword + "\": {}}"), HasSubstr("is not carried out"))
        << keyword;
  }
  EXPECT_EQ(fault(R"({"$id": "https://example.org/a.json", "properties": {"id": {}, "$ref": {}}})"),
            "");
  EXPECT_EQ(fault(R"({"enum": [{"prefixItems": 1}], "unknown": {"$ref": 1}})"), "");
}

TEST(Schemas, SayWhereAKeywordIsOfTheWrongForm) {
  EXPECT_EQ(fault("[]"), "a schema is a map, true or false");
  EXPECT_EQ(fault(R"({"items": {"not": 1}})"), "at /items/not: a schema is a map, true or false");
  EXPECT_THAT(fault(R"({"type": "text"})"), HasSubstr("at /type: expected array, boolean"));
  EXPECT_THAT(fault(R"({"type": ["null", 1]})"), HasSubstr("at /type: expected array"));
  EXPECT_EQ(fault(R"({"minimum": "1"})"), "at /minimum: expected a number");
  EXPECT_EQ(fault(R"({"multipleOf": 0})"), "at /multipleOf: expected a number above 0");
  EXPECT_EQ(fault(R"({"minLength": -1})"), "at /minLength: expected a whole number of 0 or more");
  EXPECT_EQ(fault(R"({"required": "a"})"), "at /required: expected a list");
  EXPECT_EQ(fault(R"({"properties": []})"), "at /properties: expected a map");
  EXPECT_EQ(fault(R"({"pattern": 1})"), "at /pattern: expected a text");
  EXPECT_EQ(fault(R"({"uniqueItems": 1})"), "at /uniqueItems: expected true or false");
  EXPECT_THAT(fault(R"({"dependencies": {"a": {}}})"), HasSubstr("at /dependencies/a: expected"));
  EXPECT_THAT(fault(R"({"required": [1]})"), HasSubstr("string"));
  EXPECT_THAT(fault(R"({"maximum": 9007199254740992})"), HasSubstr("below 2^53"));
  EXPECT_THAT(fault(R"({"enum": [{"a": [-9007199254740993]}]})"), HasSubstr("below 2^53"));
}

TEST(Schemas, SayWhichPatternIsNone) {
  EXPECT_THAT(fault(R"re({"pattern": "(?=a)"})re"),
              HasSubstr("at /pattern: the pattern is none that"));
  EXPECT_THAT(fault(R"({"patternProperties": {"[": {}}})"),
              HasSubstr("at /patternProperties/[: the pattern is none that RE2 knows"));
}

TEST(References, LeadNowhereElseThanIntoTheirSchema) {
  for (const char* to : {"https://example.org/a.json", "other.json#/a", "file:///etc/passwd"}) {
    EXPECT_THAT(fault(std::string(R"({"items": {"$ref": ")") + to + "\"}}"),
                HasSubstr("at /items/$ref: a reference to another document"));
  }
  EXPECT_EQ(fault(R"({"$ref": "#/definitions/a"})"),
            "at /$ref: there is nothing at \"#/definitions/a\"");
  EXPECT_THAT(fault(R"({"$ref": "#name"})"), HasSubstr("there is nothing at"));
  EXPECT_THAT(fault(R"({"$ref": 1})"), HasSubstr("expected a text"));
  EXPECT_THAT(fault(R"({"$ref": "#/enum/0", "definitions": {}})"), HasSubstr("there is nothing"));
  EXPECT_EQ(fault(R"({"definitions": {"a": {}}, "$ref": "#/definitions/a", "minimum": 1})"),
            "at /minimum: $ref stands beside it and hides it; put both into an allOf");
}

TEST(References, InACircleAreFound) {
  const std::string circle = "the schema comes back to itself without going deeper into the body";
  EXPECT_EQ(fault(R"({"$ref": "#"})"), circle);
  EXPECT_THAT(fault(R"({"definitions": {"a": {"$ref": "#/definitions/b"},
                        "b": {"$ref": "#/definitions/a"}}, "$ref": "#/definitions/a"})"),
              HasSubstr(circle));
  EXPECT_THAT(fault(R"({"items": {"anyOf": [{}, {"not": {"$ref": "#/items"}}]}})"),
              HasSubstr(circle));
  EXPECT_EQ(fault(R"({"allOf": [{"items": {"$ref": "#"}}]})"), "");
}

TEST(References, ThatGoOnForTooLongAreRefused) {
  std::string chain = R"({"$ref": "#/definitions/d0", "definitions": {)";
  for (int i = 0; i < 5'000; ++i) {
    chain += "\"d" + std::to_string(i) + R"(": {"$ref": "#/definitions/d)" + std::to_string(i + 1) +
             "\"},";
  }
  EXPECT_THAT(fault(chain + R"("d5000": {}}})"),
              HasSubstr("more than 500 schemas within one another"));
}

// As long as a chain may be, and no overflow of the stack.
TEST(References, AreFollowedAsFarAsTheyMay) {
  std::string chain = R"({"items": {"$ref": "#/definitions/d0"}, "definitions": {)";
  for (int i = 0; i < 240; ++i) {
    chain += "\"d" + std::to_string(i) + R"(": {"allOf": [{"$ref": "#/definitions/d)" +
             std::to_string(i + 1) + "\"}]},";
  }
  chain += R"("d240": {"type": "array", "items": {"$ref": "#/definitions/d0"}}}})";
  EXPECT_EQ(wrong(chain, "[[[]]]"), "");
  EXPECT_EQ(wrong(chain, "[[[1]]]"), "/0/0/0: must be array, is integer");
  EXPECT_THAT(wrong(chain, repeated("[", 64) + repeated("]", 64)),
              HasSubstr("needs more than 1500 schemas within one another"));
}

}  // namespace
}  // namespace tusk::messages
