// BODY.md on every vector, and the strictness of typed reading.
#include "tusk/value.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <msgpack.hpp>

#include "proto/json.h"
#include "tusk/convert.h"

namespace tusk {
namespace {

using proto::Json;

Value from_tagged(const Json& json) {
  if (json.is_null()) return Value();
  if (json.is_boolean()) return Value(json.get<bool>());
  const std::string tag = json.begin().key();
  const Json& v = json.begin().value();
  if (tag == "int") {
    const std::string text = v;
    return text[0] == '-' ? Value(std::stoll(text)) : Value(std::stoull(text));
  }
  if (tag == "float") return Value(std::strtod(v.get<std::string>().c_str(), nullptr));
  if (tag == "text") return Value(v.get<std::string>());
  if (tag == "bytes") return Value(to_bytes(*proto::hex_decode(v.get<std::string>())));
  if (tag == "timestamp") {
    return Value(Timestamp{std::stoll(v[0].get<std::string>()), v[1].get<std::uint32_t>()});
  }
  if (tag == "list") {
    List list;
    for (const Json& item : v) list.push_back(from_tagged(item));
    return Value(std::move(list));
  }
  EXPECT_EQ(tag, "map");
  Map map;
  for (const Json& pair : v) map.emplace(pair[0].get<std::string>(), from_tagged(pair[1]));
  return Value(std::move(map));
}

// As ==, but NaN is NaN and -0.0 is not 0.0.
bool same(const Value& a, const Value& b) {
  if (a.variant().index() != b.variant().index()) return false;
  if (auto* x = a.get_if<double>()) {
    const double y = *b.get_if<double>();
    return std::isnan(*x) ? std::isnan(y) : *x == y && std::signbit(*x) == std::signbit(y);
  }
  if (auto* x = a.get_if<List>()) {
    const List& y = *b.get_if<List>();
    return x->size() == y.size() && std::equal(x->begin(), x->end(), y.begin(), same);
  }
  if (auto* x = a.get_if<Map>()) {
    const Map& y = *b.get_if<Map>();
    return x->size() == y.size() &&
           std::equal(x->begin(), x->end(), y.begin(), [](const auto& p, const auto& q) {
             return p.first == q.first && same(p.second, q.second);
           });
  }
  return a == b;
}

std::string body_of(const Json& vector) {
  if (vector.contains("bytes")) return *proto::hex_decode(vector["bytes"].get<std::string>());
  const std::string piece = *proto::hex_decode(vector["repeat"]["hex"].get<std::string>());
  std::string out;
  for (std::size_t n = vector["repeat"]["count"]; n > 0; --n) out += piece;
  return out;
}

TEST(BodyVectors, AreReadAndWrittenOrRefused) {
  std::ifstream file(TUSK_VECTORS "/bodies/v1.json");
  ASSERT_TRUE(file);
  for (const Json& vector : Json::parse(file)) {
    SCOPED_TRACE(vector["name"].get<std::string>());
    const std::string body = body_of(vector);
    if (vector.contains("refuse")) {
      EXPECT_THROW(from_body<Value>(body), ValueError) << vector["why"];
      continue;
    }
    const Value expected = from_tagged(vector["value"]);
    Value value;
    ASSERT_NO_THROW(value = from_body<Value>(body));
    EXPECT_TRUE(same(value, expected)) << to_string(value) << " and not " << to_string(expected);
    EXPECT_TRUE(same(from_body<Value>(to_body(value)), expected));
    // Value::Map has its own order of keys, so only the length is told of maps.
    if (!vector.contains("canonical")) {
      EXPECT_EQ(to_body(value).size(), body.size());
      const bool has_map = vector["value"].dump().find("\"map\"") != std::string::npos;
      if (!has_map) {
        EXPECT_EQ(proto::hex_encode(to_body(value)), vector["bytes"].get<std::string>());
      }
    }
  }
}

TEST(Value, IsRefusedByItsWriterWhenBodyMdSaysSo) {
  EXPECT_THROW(to_body(Value("\xFF")), ValueError);
  EXPECT_THROW(to_body(Value(map("\xED\xA0\x80", 1))), ValueError);
  EXPECT_THROW(to_body(Value(Timestamp{0, 1'000'000'000})), ValueError);
  EXPECT_THROW(to_body(Value(Timestamp{253402300800, 0})), ValueError);
  EXPECT_THROW(to_body(Value(Timestamp{-62135596801, 0})), ValueError);
  EXPECT_THROW(map("a", 1, "a", 2), ValueError);
  Value deep;
  for (int i = 0; i < 64; ++i) deep = list(deep);
  EXPECT_NO_THROW(to_body(deep));
  EXPECT_THROW(to_body(list(deep)), ValueError);
}

TEST(Value, IntegersHaveOneFormEach) {
  EXPECT_EQ(Value(std::uint64_t{7}), Value(7));
  EXPECT_TRUE(Value(std::uint64_t{1} << 63).get_if<std::uint64_t>());
  EXPECT_TRUE(Value(std::uint64_t{1} << 62).get_if<std::int64_t>());
}

TEST(Value, GivesWhatItHoldsAndNothingElse) {
  Value v = map("a", 1, "list", list(1, "x"));
  EXPECT_EQ(v["a"].as<int>(), 1);
  EXPECT_EQ(v["list"][1].text(), "x");
  EXPECT_TRUE(v["missing"].is_null());
  EXPECT_THROW(v["a"]["b"], ValueError);
  EXPECT_THROW(v["list"][2], ValueError);
  EXPECT_THROW(v["a"].text(), ValueError);
  EXPECT_THROW(v.as<int>(), ValueError);
}

struct Add {
  int a = 0;
  int b = 0;
  bool operator==(const Add&) const = default;
  MSGPACK_DEFINE_MAP(a, b);
};

enum class Colour : std::uint8_t { kRed, kGreen };

struct Order {
  std::string name;
  std::optional<double> price;
  std::vector<Add> parts;
  std::map<std::string, std::vector<int>> stock;
  Bytes picture;
  Timestamp at;
  Colour colour = Colour::kRed;
  bool operator==(const Order&) const = default;
  TUSK_FIELDS(MSGPACK_NVP("the name", name), price, parts, stock, picture, at, colour);
};

struct Point {
  double x = 0, y = 0;
  bool operator==(const Point&) const = default;
  MSGPACK_DEFINE(x, y);
};

struct Special : Add {
  int c = 0;
  MSGPACK_DEFINE_MAP(MSGPACK_BASE_MAP(Add), c);
};

template <class T>
T reread(const Value& value) {
  return from_body<T>(to_body(value));
}

TEST(Convert, StructsTravelAsMapsOfTheirFields) {
  const Order order{"x",    1.5,           {{1, 2}, {3, 4}}, {{"k", {1, 2}}}, to_bytes("\xFF"),
                    {5, 6}, Colour::kGreen};
  EXPECT_EQ(from_body<Order>(to_body(order)), order);
  EXPECT_EQ(from_body<Value>(to_body(Add{1, 2})), Value(map("a", 1, "b", 2)));
  EXPECT_EQ(from_body<Value>(to_body(order))["the name"], Value("x"));
  EXPECT_EQ(from_body<Value>(to_body(Point{1, 2})), Value(list(1.0, 2.0)));
  EXPECT_EQ(from_body<Point>(to_body(Point{1, 2})), (Point{1, 2}));
  Special special;
  special.a = 7;
  special.c = 8;
  EXPECT_EQ(from_body<Special>(to_body(special)).a, 7);
  EXPECT_EQ(from_body<Special>(to_body(special)).c, 8);
}

TEST(Convert, KeysOfAStructComeInAnyOrderAndUnknownOnesAreSkipped) {
  // "b" first, then a key that Add has not, with a value of its own.
  EXPECT_EQ(from_body<Add>("\x83\xA1"
                           "b\x02\xA1x\x92\x01\x02\xA1"
                           "a\x01"),
            (Add{1, 2}));
  // And what follows in the list is read from the right place.
  EXPECT_EQ(from_body<std::vector<Add>>("\x92\x83\xA1"
                                        "b\x02\xA1"
                                        "a\x01\xA1x\x92\x01\x02"
                                        "\x82\xA1"
                                        "b\x04\xA1"
                                        "a\x03"),
            (std::vector<Add>{{1, 2}, {3, 4}}));
}

TEST(Convert, MissingKeysAreErrorsUnlessOptional) {
  EXPECT_THROW(reread<Add>(map("a", 1)), ValueError);
  EXPECT_THROW(reread<Add>(map("a", 1, "b", nullptr)), ValueError);
  Value order = map("the name", "x", "parts", list(), "stock", map(), "picture", Bytes(), "at",
                    Timestamp{}, "colour", 0);
  EXPECT_EQ(reread<Order>(order).price, std::nullopt);
}

TEST(Convert, NumbersThatDoNotFitAreErrors) {
  EXPECT_THROW(reread<std::int8_t>(300), ValueError);
  EXPECT_THROW(reread<std::int8_t>(-129), ValueError);
  EXPECT_EQ(reread<std::int8_t>(-128), -128);
  EXPECT_THROW(reread<std::uint8_t>(256), ValueError);
  EXPECT_THROW(reread<unsigned>(-1), ValueError);
  EXPECT_THROW(reread<std::int64_t>(std::uint64_t{1} << 63), ValueError);
  EXPECT_EQ(reread<std::uint64_t>(UINT64_MAX), UINT64_MAX);
  EXPECT_THROW(reread<int>(1.5), ValueError);
  EXPECT_THROW(reread<int>(1.0), ValueError) << "a float is no integer";
  EXPECT_THROW(reread<int>(true), ValueError);
  EXPECT_THROW(reread<bool>(1), ValueError);
}

TEST(Convert, FloatsLoseNothing) {
  EXPECT_EQ(reread<double>(3), 3.0);
  EXPECT_EQ(reread<double>(std::int64_t{1} << 53), 0x1p53);
  EXPECT_THROW(reread<double>((std::int64_t{1} << 53) + 1), ValueError);
  EXPECT_EQ(reread<double>((std::int64_t{1} << 53) + 2), 0x1p53 + 2);
  EXPECT_EQ(reread<double>(std::uint64_t{1} << 63), 0x1p63);
  EXPECT_THROW(reread<double>(INT64_MAX), ValueError);
  EXPECT_EQ(reread<double>(INT64_MIN), -0x1p63);
  EXPECT_THROW(reread<double>(UINT64_MAX), ValueError);
  EXPECT_EQ(reread<float>(0.5), 0.5f);
  EXPECT_THROW(reread<float>(0.1), ValueError);
  EXPECT_THROW(reread<float>(1e300), ValueError);
  EXPECT_THROW(reread<float>((1 << 24) + 1), ValueError);
  EXPECT_TRUE(std::isnan(reread<float>(NAN)));
  EXPECT_TRUE(std::isinf(reread<float>(INFINITY)));
  EXPECT_TRUE(std::signbit(reread<double>(-0.0)));
}

TEST(Convert, TextBytesAndNullAreThemselves) {
  EXPECT_THROW(reread<int>("1"), ValueError);
  EXPECT_THROW(reread<std::string>(1), ValueError);
  EXPECT_THROW(reread<std::string>(to_bytes("x")), ValueError);
  EXPECT_THROW(reread<Bytes>("x"), ValueError);
  EXPECT_THROW(reread<std::vector<unsigned char>>(list(1, 2)), ValueError);
  EXPECT_EQ(reread<std::vector<unsigned char>>(to_bytes("ab")),
            (std::vector<unsigned char>{'a', 'b'}));
  EXPECT_THROW(reread<int>(nullptr), ValueError);
  EXPECT_THROW(reread<std::string>(nullptr), ValueError);
  EXPECT_THROW(reread<std::vector<int>>(nullptr), ValueError);
  EXPECT_EQ(reread<std::optional<int>>(nullptr), std::nullopt);
  EXPECT_EQ(reread<std::optional<int>>(3), 3);
  EXPECT_THROW(reread<std::optional<int>>("x"), ValueError);
}

TEST(Convert, ListsOfAKnownLengthHaveThatLength) {
  EXPECT_EQ((reread<std::array<int, 2>>(list(1, 2))), (std::array<int, 2>{1, 2}));
  EXPECT_THROW((reread<std::array<int, 2>>(list(1))), ValueError);
  EXPECT_THROW((reread<std::tuple<int, std::string>>(list(1, "x", 2))), ValueError);
  EXPECT_EQ((reread<std::tuple<int, std::string>>(list(1, "x"))), std::make_tuple(1, "x"));
  EXPECT_THROW(reread<Point>(list(1.0)), ValueError);
  EXPECT_THROW(reread<Point>(list(1.0, 2.0, 3.0)), ValueError);
}

TEST(Convert, AnErrorSaysWhere) {
  try {
    reread<std::vector<Add>>(list(map("a", 1, "b", 2), map("a", 1, "b", "two")));
    FAIL();
  } catch (const ValueError& error) {
    EXPECT_STREQ(error.what(), "[1]: b: expected an integer, got text");
  }
}

TEST(Convert, TimesOfTheClockKeepTheirNanoseconds) {
  using Clock = std::chrono::system_clock;
  for (std::int64_t ns : {std::int64_t{0}, std::int64_t{1}, std::int64_t{-1},
                          std::int64_t{1'700'000'000'123'456'789}}) {
    const Clock::time_point time{std::chrono::nanoseconds(ns)};
    EXPECT_EQ(from_body<Clock::time_point>(to_body(time)), time);
  }
  EXPECT_THROW(reread<Clock::time_point>(Timestamp{253402300799, 0}), ValueError);
}

}  // namespace
}  // namespace tusk
