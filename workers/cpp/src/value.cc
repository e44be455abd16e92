#include "tusk/value.h"

#include <cstdio>

#include "tusk/convert.h"

namespace tusk {
namespace {

const char* type_name(const Value& value) {
  static constexpr const char* kNames[] = {"null",    "a boolean",  "an integer", "an integer",
                                           "a float", "text",       "bytes",      "a list",
                                           "a map",   "a timestamp"};
  return kNames[value.variant().index()];
}

[[noreturn]] void no(const char* expected, const Value& got) {
  throw ValueError(std::string("expected ") + expected + ", got " + type_name(got));
}

Value read_value(BodyReader& in) {
  using Type = BodyReader::Type;
  BodyReader::Item item = in.next();
  switch (item.type) {
    case Type::kNull:
      return Value();
    case Type::kBoolean:
      return Value(item.boolean);
    case Type::kInteger:
      return Value(item.integer);
    case Type::kUnsigned:
      return Value(item.integer_unsigned);
    case Type::kFloat:
      return Value(item.real);
    case Type::kText:
      return Value(item.data);
    case Type::kBytes:
      return Value(to_bytes(item.data));
    case Type::kTimestamp:
      return Value(item.timestamp);
    case Type::kList: {
      List list;
      list.reserve(item.size);
      for (std::size_t i = 0; i < item.size; ++i) list.push_back(read_value(in));
      return Value(std::move(list));
    }
    case Type::kMap: {
      Map map;
      for (std::size_t i = 0; i < item.size; ++i) {
        std::string key(in.next().data);
        map.emplace(std::move(key), read_value(in));
      }
      return Value(std::move(map));
    }
  }
  return Value();
}

void write_value(BodyWriter& out, const Value& value) {
  std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::same_as<T, std::monostate>) {
          out.null();
        } else if constexpr (std::same_as<T, List>) {
          out.begin_list(v.size());
          for (const Value& item : v) write_value(out, item);
          out.end();
        } else if constexpr (std::same_as<T, Map>) {
          out.begin_map(v.size());
          for (const auto& [key, item] : v) {
            out.text(key);
            write_value(out, item);
          }
          out.end();
        } else {
          Convert<T>::write(out, v);
        }
      },
      value.variant());
}

void print(std::string& out, const Value& value) {
  std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::same_as<T, std::monostate>) {
          out += "null";
        } else if constexpr (std::same_as<T, bool>) {
          out += v ? "true" : "false";
        } else if constexpr (std::same_as<T, double>) {
          char text[32];
          std::snprintf(text, sizeof text, "%.17g", v);
          out += text;
        } else if constexpr (std::integral<T>) {
          out += std::to_string(v);
        } else if constexpr (std::same_as<T, std::string>) {
          out += '"' + v + '"';
        } else if constexpr (std::same_as<T, Bytes>) {
          out += "0x";
          for (std::byte byte : v) {
            char digits[3];
            std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(byte));
            out += digits;
          }
        } else if constexpr (std::same_as<T, Timestamp>) {
          char text[48];
          std::snprintf(text, sizeof text, "%lld.%09us", static_cast<long long>(v.seconds),
                        v.nanoseconds);
          out += text;
        } else if constexpr (std::same_as<T, List>) {
          out += '[';
          for (const Value& item : v) {
            if (&item != &v.front()) out += ", ";
            print(out, item);
          }
          out += ']';
        } else {
          out += '{';
          bool first = true;
          for (const auto& [key, item] : v) {
            if (!first) out += ", ";
            first = false;
            out += '"' + key + "\": ";
            print(out, item);
          }
          out += '}';
        }
      },
      value.variant());
}

}  // namespace

Timestamp Timestamp::from(std::chrono::system_clock::time_point time) {
  using std::chrono::floor, std::chrono::seconds, std::chrono::nanoseconds;
  auto whole = floor<seconds>(time);
  auto rest = std::chrono::duration_cast<nanoseconds>(time - whole);
  return {whole.time_since_epoch().count(), static_cast<std::uint32_t>(rest.count())};
}

std::chrono::system_clock::time_point Timestamp::time() const {
  using Clock = std::chrono::system_clock;
  constexpr std::int64_t kMost = INT64_MAX / 1'000'000'000 - 1;  // the clock counts nanoseconds
  if (seconds > kMost || seconds < -kMost) {
    throw ValueError("a timestamp is too far away for std::chrono::system_clock");
  }
  return Clock::time_point(std::chrono::duration_cast<Clock::duration>(
      std::chrono::seconds(seconds) + std::chrono::nanoseconds(nanoseconds)));
}

const List& Value::list() const {
  if (auto* v = get_if<List>()) return *v;
  no("a list", *this);
}
const Map& Value::map() const {
  if (auto* v = get_if<Map>()) return *v;
  no("a map", *this);
}
const std::string& Value::text() const {
  if (auto* v = get_if<std::string>()) return *v;
  no("text", *this);
}
const Bytes& Value::bytes() const {
  if (auto* v = get_if<Bytes>()) return *v;
  no("bytes", *this);
}

const Value& Value::operator[](std::string_view key) const {
  static const Value kNull;
  const Map& all = map();
  auto at = all.find(key);
  return at == all.end() ? kNull : at->second;
}

const Value& Value::operator[](std::size_t index) const {
  const List& all = list();
  if (index >= all.size()) {
    throw ValueError("a list of " + std::to_string(all.size()) + " has no element " +
                     std::to_string(index));
  }
  return all[index];
}

std::string to_string(const Value& value) {
  std::string out;
  print(out, value);
  return out;
}

void Convert<Value>::write(BodyWriter& out, const Value& value) { write_value(out, value); }
void Convert<Value>::read(BodyReader& in, Value& value) { value = read_value(in); }

namespace detail {

namespace {
std::string describe(const BodyReader::Item& item) {
  switch (item.type) {
    case Type::kNull:
      return "null";
    case Type::kBoolean:
      return item.boolean ? "true" : "false";
    case Type::kInteger:
      return std::to_string(item.integer);
    case Type::kUnsigned:
      return std::to_string(item.integer_unsigned);
    case Type::kFloat:
      return to_string(Value(item.real));
    case Type::kText:
      return "text";
    case Type::kBytes:
      return "bytes";
    case Type::kList:
      return "a list";
    case Type::kMap:
      return "a map";
    case Type::kTimestamp:
      return "a timestamp";
  }
  return "";
}
}  // namespace

void wrong_type(const char* expected, const BodyReader::Item& got) {
  throw ValueError(std::string("expected ") + expected + ", got " + describe(got));
}

void does_not_fit(const BodyReader::Item& got, const char* type) {
  throw ValueError(describe(got) + " does not fit this " + type);
}

}  // namespace detail
}  // namespace tusk
