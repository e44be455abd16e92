// A value of any type, as it travels between languages (BODY.md).
//
//   tusk::Value v = tusk::map("a", 1, "tags", tusk::list("x", "y"));
//   v["a"].as<int>();                     // 1; throws ValueError if it is no int
//   for (auto& [key, item] : v.map()) ...
//
// Types of your own are mostly better: see convert.h.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tusk/error.h"

namespace tusk {

class Value;
using Bytes = std::vector<std::byte>;
using List = std::vector<Value>;
using Map = std::map<std::string, Value, std::less<>>;

// An instant in UTC: seconds since 1970 (negative before) and 0 to 999,999,999 ns after that.
// Between year 1 and 9999, or it is refused when written.
struct Timestamp {
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;

  static Timestamp from(std::chrono::system_clock::time_point time);
  // Throws ValueError if the clock's type cannot hold it (before 1678 or after 2261).
  std::chrono::system_clock::time_point time() const;

  auto operator<=>(const Timestamp&) const = default;
};

class Value {
 public:
  // std::uint64_t only for integers of 2^63 and more: smaller ones are always std::int64_t.
  using Variant = std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double,
                               std::string, Bytes, List, Map, Timestamp>;

  Value() = default;
  Value(std::nullptr_t) {}     // NOLINT: null
  Value(bool v) : held_(v) {}  // NOLINT
  template <std::integral T>
  requires(!std::same_as<T, bool>) Value(T v) {  // NOLINT
    if (std::cmp_greater(v, INT64_MAX)) {
      held_ = static_cast<std::uint64_t>(v);
    } else {
      held_ = static_cast<std::int64_t>(v);
    }
  }
  template <std::floating_point T>
  Value(T v) : held_(static_cast<double>(v)) {}         // NOLINT
  Value(const char* v) : held_(std::string(v)) {}       // NOLINT
  Value(std::string_view v) : held_(std::string(v)) {}  // NOLINT
  Value(std::string v) : held_(std::move(v)) {}         // NOLINT
  Value(Bytes v) : held_(std::move(v)) {}               // NOLINT
  Value(List v) : held_(std::move(v)) {}                // NOLINT
  Value(Map v) : held_(std::move(v)) {}                 // NOLINT
  Value(Timestamp v) : held_(v) {}                      // NOLINT

  const Variant& variant() const { return held_; }
  Variant& variant() { return held_; }

  bool is_null() const { return std::holds_alternative<std::monostate>(held_); }
  template <class T>
  const T* get_if() const {
    return std::get_if<T>(&held_);
  }

  // The value as a T, by the strict rules of convert.h (which must be included). Throws ValueError.
  template <class T>
  T as() const;

  // These throw ValueError if it is something else.
  const List& list() const;
  const Map& map() const;
  const std::string& text() const;
  const Bytes& bytes() const;
  // The value under a key; null if there is none. Throws ValueError if this is no map.
  const Value& operator[](std::string_view key) const;
  // The element at an index. Throws ValueError if this is no list or it is not that long.
  const Value& operator[](std::size_t index) const;
  const Value& operator[](int index) const { return (*this)[static_cast<std::size_t>(index)]; }
  const Value& operator[](const char* key) const { return (*this)[std::string_view(key)]; }

  // Equal when type and value are. 1 and 1.0 are not; NaN is not equal to itself.
  bool operator==(const Value&) const = default;

 private:
  Variant held_;
};

// map("key", value, "key", value, ...). A key that is there twice: ValueError.
template <class... KeysAndValues>
Map map(KeysAndValues&&... items);
inline Map map() { return {}; }

// list(value, value, ...)
template <class... Items>
List list(Items&&... items) {
  List out;
  out.reserve(sizeof...(items));
  (out.emplace_back(std::forward<Items>(items)), ...);
  return out;
}

inline Bytes to_bytes(std::string_view text) {
  auto* data = reinterpret_cast<const std::byte*>(text.data());
  return Bytes(data, data + text.size());
}
inline std::string_view as_text(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// For people: JSON-like, bytes in hexadecimal, no line breaks.
std::string to_string(const Value& value);

namespace detail {
inline void put_all(Map&) {}
template <class V, class... Rest>
void put_all(Map& out, std::string key, V&& value, Rest&&... rest) {
  auto [at, is_new] = out.try_emplace(std::move(key), std::forward<V>(value));
  if (!is_new) throw ValueError("the key \"" + at->first + "\" is there twice");
  put_all(out, std::forward<Rest>(rest)...);
}
}  // namespace detail

template <class... KeysAndValues>
Map map(KeysAndValues&&... items) {
  static_assert(sizeof...(items) % 2 == 0, "keys and values in turn");
  Map out;
  detail::put_all(out, std::forward<KeysAndValues>(items)...);
  return out;
}

}  // namespace tusk
