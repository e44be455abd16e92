// The bytes of a body: a writer and a reader of one msgpack value by the rules of BODY.md. Programs
// use them only to teach the SDK a type of their own (see Convert in convert.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tusk/value.h"

namespace tusk {

inline constexpr int kMaxBodyDepth = 64;

// Appends to a string. Throws ValueError at what BODY.md does not allow; what was written by then
// is of no use.
class BodyWriter {
 public:
  explicit BodyWriter(std::string& out) : out_(out) {}

  void null() { out_ += static_cast<char>(0xC0); }
  void boolean(bool v) { out_ += static_cast<char>(v ? 0xC3 : 0xC2); }
  void integer(std::int64_t v);
  void integer_unsigned(std::uint64_t v);
  void real(double v);
  void text(std::string_view v);
  void bytes(std::string_view v);
  void timestamp(Timestamp v);

  // The head of a list or map; its elements, or keys (by text()) and values in turn, follow.
  // Between begin_* and end() nothing else may be written than these.
  void begin_list(std::size_t size);
  void begin_map(std::size_t size);
  void end() { --depth_; }

 private:
  void enter();
  void head(std::uint64_t size, int fix_bits, int fix, int code8, int code16, int code32);
  template <class T>
  void number(int code, T v);

  std::string& out_;
  int depth_ = 0;
};

// Reads a body that it has checked as a whole: depth, keys, UTF-8, extensions, nothing behind it.
class BodyReader {
 public:
  enum class Type {
    kNull,
    kBoolean,
    kInteger,
    kUnsigned,
    kFloat,
    kText,
    kBytes,
    kList,
    kMap,
    kTimestamp
  };

  // One value, or the head of a list or map, whose elements are read next.
  struct Item {
    Type type = Type::kNull;
    bool boolean = false;
    std::int64_t integer = 0;            // kInteger
    std::uint64_t integer_unsigned = 0;  // kUnsigned: 2^63 and more
    double real = 0;
    std::string_view data;  // kText, kBytes: into the body
    std::size_t size = 0;   // kList: elements; kMap: pairs
    Timestamp timestamp;
  };

  // Throws ValueError if `body` breaks a rule. The body must outlive the reader.
  explicit BodyReader(std::string_view body);

  Item next();
  // Over one whole value, elements included.
  void skip();

  // Where the next value begins, to come back to it.
  const char* position() const { return at_; }
  void go_to(const char* position) { at_ = position; }

 private:
  const char* at_;
  const char* end_;
};

namespace detail {
// The msgpack of a body in JSON. Throws ValueError at what BODY.md does not allow.
std::string from_json(std::string_view json);
}  // namespace detail

// Why `body` is not one value by the rules of BODY.md, in a few words; nothing if it is.
const char* check_body(std::string_view body);

}  // namespace tusk
