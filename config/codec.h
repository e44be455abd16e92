// How each C++ type of a field is read from the tree, written as JSON and described. Included by
// the files that hold tables, and by nobody else.
#pragma once

#include <array>
#include <concepts>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "config/json_object.h"
#include "config/reader.h"
#include "config/schema.h"

namespace tusk::config {

// The words of an enum, in the order in which they are shown.
template <class E>
struct Word {
  std::string_view text;
  E value;
};
template <class E>
const std::vector<Word<E>>& words();
template <>
const std::vector<Word<LogLevel>>& words();
template <>
const std::vector<Word<Unserved>>& words();
template <>
const std::vector<Word<OnDead>>& words();
template <>
const std::vector<Word<LoadBalancing>>& words();
template <>
const std::vector<Word<Protocol>>& words();
template <>
const std::vector<Word<Serialization>>& words();
template <>
const std::vector<Word<Compression>>& words();
template <>
const std::vector<Word<MessageFormat>>& words();
template <>
const std::vector<Word<Routing>>& words();

// A struct: its table says what it holds.
template <class T>
struct Codec {
  static constexpr int kNames = 0;
  static void read(Reader& reader, const Key&, const Value& value, T& field) {
    reader.read_table(table<T>(), value, &field);
  }
  static Json print(const T& field) {
    Json out = Json::object();
    for (const Key& key : table<T>().keys) {
      append(out, std::string(key.name), key.type->print(key.field(&field)));
    }
    return out;
  }
  static std::string describe(const Key&) { return "keys"; }
  static const Table& rows() { return table<T>(); }
  static const void* fresh() {
    static const T entry{};
    return &entry;
  }
};

inline const Table& no_rows() {
  static const Table none;
  return none;
}
// Reads one value without noting it: what lists and optional fields are made of. False after an
// error.
bool read_plain(Reader& reader, const Key& key, const Value& value, bool& field);
bool read_plain(Reader& reader, const Key& key, const Value& value, std::int64_t& field);
bool read_plain(Reader& reader, const Key& key, const Value& value, std::size_t& field);
bool read_plain(Reader& reader, const Key& key, const Value& value, std::string& field);
bool read_plain(Reader& reader, const Key& key, const Value& value, Texts& field);
bool read_plain(Reader& reader, const Key& key, const Value& value, Bytes& field);
bool read_plain(Reader& reader, const Key& key, const Value& value, Duration& field);
bool read_plain(Reader& reader, const Key& key, const Value& value, Rate& field);
bool read_plain(Reader& reader, const Key& key, const Value& value, Priority& field);
bool read_plain(Reader& reader, const Key& key, const Value& value, Label& field);
bool read_plain(Reader& reader, const Key& key, const Value& value, double& field);

inline Json print_plain(bool field) { return field; }
inline Json print_plain(std::int64_t field) { return field; }
inline Json print_plain(std::size_t field) { return field; }
inline Json print_plain(const std::string& field) { return field; }
Json print_plain(const Texts& field);
inline Json print_plain(Bytes field) { return field.count; }
inline Json print_plain(Duration field) { return to_text(field); }
Json print_plain(Rate field);
Json print_plain(Priority field);
Json print_plain(const Label& field);
inline Json print_plain(double field) { return field; }

std::string describe_plain(const Key& key, const bool*);
std::string describe_plain(const Key& key, const std::int64_t*);
std::string describe_plain(const Key& key, const std::size_t*);
std::string describe_plain(const Key& key, const std::string*);
std::string describe_plain(const Key& key, const Texts*);
std::string describe_plain(const Key& key, const Bytes*);
std::string describe_plain(const Key& key, const Duration*);
std::string describe_plain(const Key& key, const Rate*);
std::string describe_plain(const Key& key, const Priority*);
std::string describe_plain(const Key& key, const Label*);
std::string describe_plain(const Key& key, const double*);

std::string choice(const std::vector<std::string_view>& texts);

template <class E>
requires std::is_enum_v<E> std::string describe_plain(const Key&, const E*) {
  std::vector<std::string_view> texts;
  for (const Word<E>& word : words<E>()) texts.push_back(word.text);
  return choice(texts);
}

template <class E>
requires std::is_enum_v<E>
bool read_plain(Reader& reader, const Key& key, const Value& value, E& field) {
  std::vector<std::string_view> texts;
  for (const Word<E>& word : words<E>()) {
    if (value.is(Value::Kind::text) && value.text() == word.text) {
      field = word.value;
      return true;
    }
    texts.push_back(word.text);
  }
  std::string hint = value.is(Value::Kind::text) ? did_you_mean(value.text(), texts) : "";
  reader.expected(value, describe_plain(key, &field), hint);
  return false;
}

template <class E>
requires std::is_enum_v<E> Json print_plain(E field) {
  for (const Word<E>& word : words<E>()) {
    if (word.value == field) return word.text;
  }
  return nullptr;
}

template <class T>
concept Plain = requires(const Key& key, const T* field) {
  { describe_plain(key, field) } -> std::same_as<std::string>;
};

template <Plain T>
struct Codec<T> {
  static constexpr int kNames = 0;
  static void read(Reader& reader, const Key& key, const Value& value, T& field) {
    reader.leaf(key);
    T read_value{};
    if (read_plain(reader, key, value, read_value)) field = std::move(read_value);
  }
  static Json print(const T& field) { return print_plain(field); }
  static std::string describe(const Key& key) {
    return describe_plain(key, static_cast<const T*>(nullptr));
  }
  static const Table& rows() { return no_rows(); }
  static const void* fresh() { return nullptr; }
};

// Null leaves it empty.
template <Plain T>
struct Codec<std::optional<T>> {
  static constexpr int kNames = 0;
  static void read(Reader& reader, const Key& key, const Value& value, std::optional<T>& field) {
    reader.leaf(key);
    field.reset();
    T read_value{};
    if (!value.is_null() && read_plain(reader, key, value, read_value)) {
      field = std::move(read_value);
    }
  }
  static Json print(const std::optional<T>& field) {
    return field ? print_plain(*field) : Json(nullptr);
  }
  static std::string describe(const Key& key) {
    return describe_plain(key, static_cast<const T*>(nullptr)) + ", or null";
  }
  static const Table& rows() { return no_rows(); }
  static const void* fresh() { return nullptr; }
};

// Names that the user chose.
template <class T>
struct Codec<Named<T>> {
  static constexpr int kNames = Codec<T>::kNames + 1;
  static void read(Reader& reader, const Key& key, const Value& value, Named<T>& field) {
    reader.read_names(value, [&](const std::string& name, const Value& entry) {
      field.entries.emplace_back(name, T{});
      Codec<T>::read(reader, key, entry, field.entries.back().second);
    });
  }
  static Json print(const Named<T>& field) {
    Json out = Json::object();
    for (const auto& [name, entry] : field) append(out, name, Codec<T>::print(entry));
    return out;
  }
  static std::string describe(const Key& key) { return Codec<T>::describe(key); }
  static const Table& rows() { return Codec<T>::rows(); }
  static const void* fresh() { return Codec<T>::fresh(); }
};

template <class T>
const Type& type_of() {
  using C = Codec<T>;
  static const Type type{
      [](Reader& reader, const Key& key, const Value& value, void* field) {
        C::read(reader, key, value, *static_cast<T*>(field));
      },
      [](const void* field) { return C::print(*static_cast<const T*>(field)); },
      [](const void* from, void* to) { *static_cast<T*>(to) = *static_cast<const T*>(from); },
      &C::describe,
      &C::rows,
      &C::fresh,
      C::kNames,
  };
  return type;
}

template <class T>
struct Owner;
template <class C, class T>
struct Owner<T C::*> {
  using type = C;
};

// The row of the field that the member pointers lead to, one after the other.
template <auto First, auto... Rest>
Key key(std::string_view name, std::string_view doc) {
  using From = typename Owner<decltype(First)>::type;
  using Field = std::remove_reference_t<decltype(((std::declval<From&>().*First).*....*Rest))>;
  Key row;
  row.name = name;
  row.doc = doc;
  row.reach = [](void* owner) -> void* {
    return &((static_cast<From*>(owner)->*First).*....*Rest);
  };
  row.type = &type_of<Field>();
  return row;
}

}  // namespace tusk::config
