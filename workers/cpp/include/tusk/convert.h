// Types of your own as bodies, strictly: what does not fit is a ValueError, nothing is rounded.
//
//   struct Add {
//     int a, b;
//     TUSK_FIELDS(a, b);                   // a map of its fields; types with msgpack-cxx's own
//   };                                       // MSGPACK_DEFINE_MAP or MSGPACK_DEFINE go as they are
//   std::string body = tusk::to_body(Add{1, 2});
//   Add back = tusk::from_body<Add>(body);
//
// Known besides: bool, integers, enums (as their integer), float, double, std::string,
// std::string_view (written only), tusk::Bytes and std::vector<unsigned char> (bytes), std::vector,
// std::array, std::pair, std::tuple, std::map and std::unordered_map with text keys, std::optional
// (null), tusk::Timestamp, std::chrono::system_clock::time_point, tusk::Value.
//
// What is strict: 300 into int8_t, 1.5 into int, 1.0 into int, text into a number, bytes into text,
// null into what is no optional, a list of another length into an array or tuple, a missing key of
// a struct (unless it is an optional) are errors. An integer goes into a double, and a double into
// a float, where nothing is lost. Keys that a struct does not have are skipped.
//
// For any other type specialise tusk::Convert<T> with the two functions that you see below.
#pragma once

#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <msgpack/adaptor/define.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tusk/body.h"
#include "tusk/value.h"

// Names the fields of a struct that travel, as MSGPACK_DEFINE_MAP does (MSGPACK_NVP("key", field)
// for a key of another name), for fields of any type that Convert knows.
#define TUSK_FIELDS(...)                                                                           \
  template <class TuskPacker>                                                                      \
  void msgpack_pack(TuskPacker& tusk_packer) const {                                               \
    msgpack::type::make_define_map MSGPACK_DEFINE_MAP_IMPL(__VA_ARGS__).msgpack_pack(tusk_packer); \
  }                                                                                                \
  static_assert(true, "")

namespace tusk {

template <class T>
struct Convert;  // static void write(BodyWriter&, const T&); static void read(BodyReader&, T&);

// The bytes of a value. Throws ValueError if BODY.md does not allow it.
template <class T>
std::string to_body(const T& value) {
  std::string out;
  BodyWriter writer(out);
  Convert<std::decay_t<T>>::write(writer, value);
  return out;
}

// The value of these bytes. Throws ValueError if they break a rule, or do not fit T.
template <class T = Value>
T from_body(std::string_view body) {
  BodyReader reader(body);
  T out{};
  Convert<T>::read(reader, out);
  return out;
}

template <class T>
T Value::as() const {
  return from_body<T>(to_body(*this));
}

namespace detail {

using Type = BodyReader::Type;

// "expected an int, got text"
[[noreturn]] void wrong_type(const char* expected, const BodyReader::Item& got);
[[noreturn]] void does_not_fit(const BodyReader::Item& got, const char* type);

inline BodyReader::Item expect(BodyReader& reader, Type type, const char* name) {
  BodyReader::Item item = reader.next();
  if (item.type != type) wrong_type(name, item);
  return item;
}

// Runs `read` and says in its error where in the value it was.
template <class F>
void at_place(F&& read, const auto& place) {
  try {
    read();
  } catch (const ValueError& error) {
    if constexpr (std::is_integral_v<std::decay_t<decltype(place)>>) {
      throw ValueError("[" + std::to_string(place) + "]: " + error.what());
    } else {
      throw ValueError(std::string(place) + ": " + error.what());
    }
  }
}

// msgpack-cxx's macros give a type one function for every kind of packer: these two walk its fields
// with it. The reader may write into them, for the object that it is given is not const.
class FieldWriter {
 public:
  explicit FieldWriter(BodyWriter& out) : out_(out) {}
  FieldWriter& pack_map(std::uint32_t size) { return out_.begin_map(size), *this; }
  FieldWriter& pack_array(std::uint32_t size) { return out_.begin_list(size), *this; }
  template <class T>
  FieldWriter& pack(const T& field) {
    Convert<std::decay_t<T>>::write(out_, field);
    return *this;
  }

 private:
  BodyWriter& out_;
};

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

class FieldReader {
 public:
  explicit FieldReader(BodyReader& in) : in_(in) {}

  FieldReader& pack_map(std::uint32_t) {
    std::size_t pairs = expect(in_, Type::kMap, "a map").size;
    keys_.reserve(pairs);
    for (; pairs > 0; --pairs) {
      std::string_view key = in_.next().data;
      keys_.emplace_back(key, in_.position());
      in_.skip();
    }
    end_ = in_.position();
    is_map_ = is_key_ = true;
    return *this;
  }
  FieldReader& pack_array(std::uint32_t size) {
    std::size_t there = expect(in_, Type::kList, "a list").size;
    if (there != size) {
      throw ValueError("expected a list of " + std::to_string(size) + ", got one of " +
                       std::to_string(there));
    }
    return *this;
  }
  template <class T>
  FieldReader& pack(const T& field) {
    if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      if (is_key_) {
        key_ = field;
        is_key_ = false;
        return *this;
      }
    }
    if constexpr (!std::is_array_v<T>) read_field(const_cast<T&>(field));
    return *this;
  }
  // Behind the value, whatever was read of it.
  void finish() {
    if (is_map_) in_.go_to(end_);
  }

 private:
  template <class T>
  void read_field(T& field) {
    if (!is_map_) {
      at_place([&] { Convert<T>::read(in_, field); }, index_++);
      return;
    }
    is_key_ = true;
    for (const auto& [key, position] : keys_) {
      if (key != key_) continue;
      in_.go_to(position);
      at_place([&] { Convert<T>::read(in_, field); }, key_);
      return;
    }
    if constexpr (is_optional<T>) {
      field.reset();
    } else {
      throw ValueError("the key \"" + std::string(key_) + "\" is missing");
    }
  }

  BodyReader& in_;
  std::vector<std::pair<std::string_view, const char*>> keys_;
  const char* end_ = nullptr;
  std::string_view key_;
  std::size_t index_ = 0;
  bool is_map_ = false;
  bool is_key_ = false;
};

template <class T>
concept HasFields = requires(const T& value, FieldWriter& writer) {
  value.msgpack_pack(writer);
};

template <class T>
concept ByteLike =
    std::same_as<T, std::byte> || std::same_as<T, unsigned char> || std::same_as<T, char>;

}  // namespace detail

template <>
struct Convert<Value> {
  static void write(BodyWriter& out, const Value& value);
  static void read(BodyReader& in, Value& value);
};

template <class T>
requires std::same_as<T, List> || std::same_as<T, Map>
struct Convert<T> {
  static void write(BodyWriter& out, const T& value) { Convert<Value>::write(out, Value(value)); }
  static void read(BodyReader& in, T& value) {
    Value any;
    Convert<Value>::read(in, any);
    if constexpr (std::same_as<T, List>) {
      value = any.list();
    } else {
      value = any.map();
    }
  }
};

template <>
struct Convert<std::nullptr_t> {
  static void write(BodyWriter& out, std::nullptr_t) { out.null(); }
  static void read(BodyReader& in, std::nullptr_t&) {
    detail::expect(in, detail::Type::kNull, "null");
  }
};
template <>
struct Convert<std::monostate> {
  static void write(BodyWriter& out, std::monostate) { out.null(); }
  static void read(BodyReader& in, std::monostate&) {
    detail::expect(in, detail::Type::kNull, "null");
  }
};

template <>
struct Convert<bool> {
  static void write(BodyWriter& out, bool value) { out.boolean(value); }
  static void read(BodyReader& in, bool& value) {
    value = detail::expect(in, detail::Type::kBoolean, "a boolean").boolean;
  }
};

template <std::integral T>
struct Convert<T> {
  static void write(BodyWriter& out, T value) {
    if constexpr (std::is_signed_v<T>) {
      out.integer(value);
    } else {
      out.integer_unsigned(value);
    }
  }
  static void read(BodyReader& in, T& value) {
    BodyReader::Item item = in.next();
    using Limits = std::numeric_limits<T>;
    if (item.type == detail::Type::kInteger) {
      if (std::cmp_less(item.integer, Limits::min()) ||
          std::cmp_greater(item.integer, Limits::max())) {
        detail::does_not_fit(item, std::is_signed_v<T> ? "signed integer" : "unsigned integer");
      }
      value = static_cast<T>(item.integer);
    } else if (item.type == detail::Type::kUnsigned) {
      if (std::cmp_greater(item.integer_unsigned, Limits::max())) {
        detail::does_not_fit(item, std::is_signed_v<T> ? "signed integer" : "unsigned integer");
      }
      value = static_cast<T>(item.integer_unsigned);
    } else {
      detail::wrong_type("an integer", item);
    }
  }
};

template <class T>
requires std::is_enum_v<T>
struct Convert<T> {
  using Number = std::underlying_type_t<T>;
  static void write(BodyWriter& out, T value) {
    Convert<Number>::write(out, static_cast<Number>(value));
  }
  static void read(BodyReader& in, T& value) {
    Number number{};
    Convert<Number>::read(in, number);
    value = static_cast<T>(number);
  }
};

template <std::floating_point T>
struct Convert<T> {
  static_assert(sizeof(T) <= sizeof(double), "a body has no numbers wider than double");
  static void write(BodyWriter& out, T value) { out.real(value); }
  static void read(BodyReader& in, T& value) {
    BodyReader::Item item = in.next();
    if (item.type == detail::Type::kFloat) {
      const bool in_range =
          !std::isfinite(item.real) || std::abs(item.real) <= std::numeric_limits<T>::max();
      value = in_range ? static_cast<T>(item.real) : T{};
      if (!in_range || (static_cast<double>(value) != item.real && !std::isnan(item.real))) {
        detail::does_not_fit(item, "float");
      }
      return;
    }
    // A whole number may be meant as a float (JavaScript has one type for both); 2^53 + 1 is not.
    constexpr std::int64_t kExact = std::int64_t{1} << std::numeric_limits<T>::digits;
    if (item.type == detail::Type::kInteger) {
      value = static_cast<T>(item.integer);
      const bool small = item.integer >= -kExact && item.integer <= kExact;
      // Beyond that only some are exact. 2^63 as a T would be out of int64_t's range.
      if (!small &&
          (value >= static_cast<T>(0x1p63) || static_cast<std::int64_t>(value) != item.integer)) {
        detail::does_not_fit(item, "float");
      }
    } else if (item.type == detail::Type::kUnsigned) {
      value = static_cast<T>(item.integer_unsigned);
      if (value >= static_cast<T>(0x1p64) ||
          static_cast<std::uint64_t>(value) != item.integer_unsigned) {
        detail::does_not_fit(item, "float");
      }
    } else {
      detail::wrong_type("a number", item);
    }
  }
};

template <>
struct Convert<std::string> {
  static void write(BodyWriter& out, std::string_view value) { out.text(value); }
  static void read(BodyReader& in, std::string& value) {
    value = detail::expect(in, detail::Type::kText, "text").data;
  }
};
template <>
struct Convert<std::string_view> {
  static void write(BodyWriter& out, std::string_view value) { out.text(value); }
};
template <class T>
requires std::same_as<T, const char*> || std::same_as<T, char*>
struct Convert<T> {
  static void write(BodyWriter& out, const char* value) { out.text(value); }
};

template <>
struct Convert<Timestamp> {
  static void write(BodyWriter& out, Timestamp value) { out.timestamp(value); }
  static void read(BodyReader& in, Timestamp& value) {
    value = detail::expect(in, detail::Type::kTimestamp, "a timestamp").timestamp;
  }
};
template <>
struct Convert<std::chrono::system_clock::time_point> {
  static void write(BodyWriter& out, std::chrono::system_clock::time_point value) {
    out.timestamp(Timestamp::from(value));
  }
  static void read(BodyReader& in, std::chrono::system_clock::time_point& value) {
    value = detail::expect(in, detail::Type::kTimestamp, "a timestamp").timestamp.time();
  }
};

template <class T>
struct Convert<std::optional<T>> {
  static void write(BodyWriter& out, const std::optional<T>& value) {
    if (value) {
      Convert<T>::write(out, *value);
    } else {
      out.null();
    }
  }
  static void read(BodyReader& in, std::optional<T>& value) {
    const char* start = in.position();
    if (in.next().type == detail::Type::kNull) {
      value.reset();
      return;
    }
    in.go_to(start);
    Convert<T>::read(in, value.emplace());
  }
};

template <class T, class A>
requires(!std::same_as<std::vector<T, A>, List>) struct Convert<std::vector<T, A>> {
  static void write(BodyWriter& out, const std::vector<T, A>& value) {
    if constexpr (detail::ByteLike<T>) {
      out.bytes({reinterpret_cast<const char*>(value.data()), value.size()});
    } else {
      out.begin_list(value.size());
      for (const auto& item : value) Convert<T>::write(out, item);
      out.end();
    }
  }
  static void read(BodyReader& in, std::vector<T, A>& value) {
    if constexpr (detail::ByteLike<T>) {
      std::string_view data = detail::expect(in, detail::Type::kBytes, "bytes").data;
      const T* first = reinterpret_cast<const T*>(data.data());
      value.assign(first, first + data.size());
    } else {
      const std::size_t size = detail::expect(in, detail::Type::kList, "a list").size;
      value.clear();
      value.reserve(size);
      for (std::size_t i = 0; i < size; ++i) {
        T item{};
        detail::at_place([&] { Convert<T>::read(in, item); }, i);
        value.push_back(std::move(item));
      }
    }
  }
};

namespace detail {

// A list of a known length, of one type each.
template <class T>
struct FixedList {
  static constexpr std::size_t kSize = std::tuple_size_v<T>;
  static void write(BodyWriter& out, const T& value) {
    out.begin_list(kSize);
    std::apply(
        [&](const auto&... item) {
          (Convert<std::decay_t<decltype(item)>>::write(out, item), ...);
        },
        value);
    out.end();
  }
  static void read(BodyReader& in, T& value) {
    const std::size_t size = expect(in, Type::kList, "a list").size;
    if (size != kSize) {
      throw ValueError("expected a list of " + std::to_string(kSize) + ", got one of " +
                       std::to_string(size));
    }
    std::size_t i = 0;
    std::apply(
        [&](auto&... item) {
          (at_place([&] { Convert<std::decay_t<decltype(item)>>::read(in, item); }, i++), ...);
        },
        value);
  }
};

template <class M>
struct TextMap {
  static void write(BodyWriter& out, const M& value) {
    out.begin_map(value.size());
    for (const auto& [key, item] : value) {
      out.text(key);
      Convert<typename M::mapped_type>::write(out, item);
    }
    out.end();
  }
  static void read(BodyReader& in, M& value) {
    std::size_t pairs = expect(in, Type::kMap, "a map").size;
    value.clear();
    for (; pairs > 0; --pairs) {
      std::string key(in.next().data);
      typename M::mapped_type item{};
      at_place([&] { Convert<typename M::mapped_type>::read(in, item); }, key);
      value.emplace(std::move(key), std::move(item));
    }
  }
};

}  // namespace detail

template <class T, std::size_t N>
struct Convert<std::array<T, N>> : detail::FixedList<std::array<T, N>> {};
template <class A, class B>
struct Convert<std::pair<A, B>> : detail::FixedList<std::pair<A, B>> {};
template <class... T>
struct Convert<std::tuple<T...>> : detail::FixedList<std::tuple<T...>> {};
template <class T, class C, class A>
requires(!std::same_as<std::map<std::string, T, C, A>,
                       Map>) struct Convert<std::map<std::string, T, C, A>>
    : detail::TextMap<std::map<std::string, T, C, A>> {
};
template <class T, class H, class E, class A>
struct Convert<std::unordered_map<std::string, T, H, E, A>>
    : detail::TextMap<std::unordered_map<std::string, T, H, E, A>> {};

template <detail::HasFields T>
struct Convert<T> {
  static void write(BodyWriter& out, const T& value) {
    detail::FieldWriter fields(out);
    value.msgpack_pack(fields);
    out.end();
  }
  static void read(BodyReader& in, T& value) {
    detail::FieldReader fields(in);
    static_cast<const T&>(value).msgpack_pack(fields);
    fields.finish();
  }
};

}  // namespace tusk
