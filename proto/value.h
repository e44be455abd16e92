// A msgpack value inside a packet, read in place: nothing is copied and nothing allocated.
//
//   Value fields = record.value;                  // the map of a hello
//   if (auto name = fields.get("name").text()) ...
//   for (Value item : fields.get("types").items()) ...
//
// A Value points into the decoder's scratch and into the packet: it lives until the decoder's next
// packet. A Value that is not there (a key that is missing) answers every question with "no".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tusk::proto {

// One element of the flat form of a packet's msgpack: what the scanner writes, what Value reads.
struct Token {
  enum class Type : uint8_t {
    kNil,
    kFalse,
    kTrue,
    kUnsigned,
    kNegative,
    kFloat32,
    kFloat64,
    kText,
    kBinary,
    kExtension,
    kArray,
    kMap
  };
  Type type;
  uint32_t size;  // bytes of text, binary and extension; elements of an array; pairs of a map
  uint32_t next;  // how many tokens on the next sibling stands
  union {
    uint64_t number;  // kUnsigned; kNegative as two's complement
    double real;
    const char* data;
  };
};

class Value {
 public:
  class Items;

  Value() = default;
  explicit Value(const Token* token) : token_(token) {}

  explicit operator bool() const { return token_ != nullptr; }
  const Token* token() const { return token_; }

  bool is(Token::Type type) const { return token_ && token_->type == type; }
  bool is_nil() const { return is(Token::Type::kNil); }
  bool is_map() const { return is(Token::Type::kMap); }
  bool is_array() const { return is(Token::Type::kArray); }
  // Elements of an array or pairs of a map.
  size_t size() const { return is_map() || is_array() ? token_->size : 0; }

  std::optional<uint64_t> number() const {
    return is(Token::Type::kUnsigned) ? std::optional(token_->number) : std::nullopt;
  }
  std::optional<bool> boolean() const {
    if (is(Token::Type::kTrue)) return true;
    if (is(Token::Type::kFalse)) return false;
    return std::nullopt;
  }
  std::optional<std::string_view> text() const { return slice(Token::Type::kText); }
  std::optional<std::string_view> binary() const { return slice(Token::Type::kBinary); }

  // The value under a text key of a map; nothing if this is no map or has no such key.
  Value get(std::string_view key) const;
  // The elements of an array, or the keys and values of a map in turn.
  Items items() const;

 private:
  std::optional<std::string_view> slice(Token::Type type) const {
    return is(type) ? std::optional(std::string_view(token_->data, token_->size)) : std::nullopt;
  }

  const Token* token_ = nullptr;
};

class Value::Items {
 public:
  class Iterator {
   public:
    explicit Iterator(const Token* at) : at_(at) {}
    Value operator*() const { return Value(at_); }
    Iterator& operator++() {
      at_ += at_->next;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return at_ != other.at_; }

   private:
    const Token* at_;
  };

  Items(const Token* first, const Token* last) : first_(first), last_(last) {}
  Iterator begin() const { return Iterator(first_); }
  Iterator end() const { return Iterator(last_); }

 private:
  const Token* first_;
  const Token* last_;
};

inline Value::Items Value::items() const {
  if (!is_array() && !is_map()) return Items(nullptr, nullptr);
  return Items(token_ + 1, token_ + token_->next);
}

inline Value Value::get(std::string_view key) const {
  if (!is_map()) return Value();
  for (const Token* at = token_ + 1; at != token_ + token_->next;) {
    const Token* value = at + at->next;
    if (at->type == Token::Type::kText && std::string_view(at->data, at->size) == key) {
      return Value(value);
    }
    at = value + value->next;
  }
  return Value();
}

}  // namespace tusk::proto
