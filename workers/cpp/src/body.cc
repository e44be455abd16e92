#include "tusk/body.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "proto/big_endian.h"
#include "proto/scanner.h"  // is_utf8

namespace tusk {
namespace {

constexpr std::int64_t kYear1 = -62135596800;      // 0001-01-01T00:00:00Z
constexpr std::int64_t kYear10000 = 253402300800;  // 10000-01-01T00:00:00Z
constexpr std::uint32_t kNanoseconds = 1'000'000'000;

template <class T>
T big_endian(const char* at) {
  return static_cast<T>(proto::load_big_endian<std::make_unsigned_t<T>>(at));
}

bool read_timestamp(std::string_view data, Timestamp& out) {
  if (data.size() == 4) {
    out = {big_endian<std::uint32_t>(data.data()), 0};
  } else if (data.size() == 8) {
    const auto word = big_endian<std::uint64_t>(data.data());
    out = {static_cast<std::int64_t>(word & 0x3FFFFFFFF), static_cast<std::uint32_t>(word >> 34)};
  } else if (data.size() == 12) {
    out = {big_endian<std::int64_t>(data.data() + 4), big_endian<std::uint32_t>(data.data())};
  } else {
    return false;
  }
  return out.nanoseconds < kNanoseconds && out.seconds >= kYear1 && out.seconds < kYear10000;
}

// Reads one head at `at`, before `end`, and moves behind it and its bytes.
const char* read_head(const char*& at, const char* end, BodyReader::Item& item) {
  using Type = BodyReader::Type;
  static constexpr const char* kCut = "cut off";
  if (at == end) return kCut;
  const auto code = static_cast<unsigned char>(*at++);
  const auto left = [&] { return static_cast<std::size_t>(end - at); };

  auto integer = [&]<class T>(T) -> const char* {
    if (left() < sizeof(T)) return kCut;
    const T value = big_endian<T>(at);
    at += sizeof(T);
    if (std::cmp_greater(value, INT64_MAX)) {
      item.type = Type::kUnsigned;
      item.integer_unsigned = static_cast<std::uint64_t>(value);
    } else {
      item.type = Type::kInteger;
      item.integer = static_cast<std::int64_t>(value);
    }
    return nullptr;
  };
  auto length = [&](std::size_t width, std::size_t& out) {
    if (left() < width) return false;
    out = 0;
    for (std::size_t i = 0; i < width; ++i) out = out << 8 | static_cast<unsigned char>(at[i]);
    at += width;
    return true;
  };
  auto slice = [&](Type type, std::size_t size) -> const char* {
    if (left() < size) return kCut;
    item.type = type;
    item.data = {at, size};
    at += size;
    return nullptr;
  };
  auto extension = [&](std::size_t size) -> const char* {
    if (left() < 1) return kCut;
    const auto type = static_cast<signed char>(*at++);
    if (const char* why = slice(Type::kTimestamp, size)) return why;
    if (type != -1) return "an extension type";
    return read_timestamp(item.data, item.timestamp) ? nullptr : "not a timestamp";
  };
  auto container = [&](Type type, std::size_t size) -> const char* {
    item.type = type;
    item.size = size;
    return nullptr;
  };
  std::size_t size = 0;

  if (code <= 0x7F) {
    item.type = Type::kInteger;
    item.integer = code;
    return nullptr;
  }
  if (code >= 0xE0) {
    item.type = Type::kInteger;
    item.integer = static_cast<signed char>(code);
    return nullptr;
  }
  if (code <= 0x8F) return container(Type::kMap, code & 0x0F);
  if (code <= 0x9F) return container(Type::kList, code & 0x0F);
  if (code <= 0xBF) return slice(Type::kText, code & 0x1F);
  switch (code) {
    case 0xC0:
      item.type = Type::kNull;
      return nullptr;
    case 0xC2:
    case 0xC3:
      item.type = Type::kBoolean;
      item.boolean = code == 0xC3;
      return nullptr;
    case 0xC4:
    case 0xC5:
    case 0xC6:
      return length(std::size_t{1} << (code - 0xC4), size) ? slice(Type::kBytes, size) : kCut;
    case 0xC7:
    case 0xC8:
    case 0xC9:
      return length(std::size_t{1} << (code - 0xC7), size) ? extension(size) : kCut;
    case 0xCA:
      if (left() < 4) return kCut;
      item.type = Type::kFloat;
      item.real = std::bit_cast<float>(big_endian<std::uint32_t>(at));
      at += 4;
      return nullptr;
    case 0xCB:
      if (left() < 8) return kCut;
      item.type = Type::kFloat;
      item.real = std::bit_cast<double>(big_endian<std::uint64_t>(at));
      at += 8;
      return nullptr;
    case 0xCC:
      return integer(std::uint8_t{});
    case 0xCD:
      return integer(std::uint16_t{});
    case 0xCE:
      return integer(std::uint32_t{});
    case 0xCF:
      return integer(std::uint64_t{});
    case 0xD0:
      return integer(std::int8_t{});
    case 0xD1:
      return integer(std::int16_t{});
    case 0xD2:
      return integer(std::int32_t{});
    case 0xD3:
      return integer(std::int64_t{});
    case 0xD4:
    case 0xD5:
    case 0xD6:
    case 0xD7:
    case 0xD8:
      return extension(std::size_t{1} << (code - 0xD4));
    case 0xD9:
    case 0xDA:
    case 0xDB:
      return length(std::size_t{1} << (code - 0xD9), size) ? slice(Type::kText, size) : kCut;
    case 0xDC:
    case 0xDD:
      return length(std::size_t{2} << (code - 0xDC), size) ? container(Type::kList, size) : kCut;
    case 0xDE:
    case 0xDF:
      return length(std::size_t{2} << (code - 0xDE), size) ? container(Type::kMap, size) : kCut;
    default:
      return "not msgpack";
  }
}

// Keys of one map: a few are compared as they come, many are sorted at the end.
class Keys {
 public:
  bool add(std::string_view key) {
    if (count_ < few_.size()) {
      for (std::size_t i = 0; i < count_; ++i) {
        if (few_[i] == key) return false;
      }
      few_[count_++] = key;
      return true;
    }
    many_.push_back(key);
    return true;
  }
  bool unique() {
    if (many_.empty()) return true;
    many_.insert(many_.end(), few_.begin(), few_.end());
    std::sort(many_.begin(), many_.end());
    return std::adjacent_find(many_.begin(), many_.end()) == many_.end();
  }

 private:
  std::array<std::string_view, 8> few_;
  std::size_t count_ = 0;
  std::vector<std::string_view> many_;
};

const char* check_value(const char*& at, const char* end, int depth);

const char* check_elements(const char*& at, const char* end, std::size_t size, int depth) {
  for (; size > 0; --size) {
    if (const char* why = check_value(at, end, depth)) return why;
  }
  return nullptr;
}

const char* check_pairs(const char*& at, const char* end, std::size_t size, int depth) {
  Keys keys;
  for (; size > 0; --size) {
    BodyReader::Item key;
    if (const char* why = read_head(at, end, key)) return why;
    if (key.type != BodyReader::Type::kText) return "a key that is not text";
    if (!proto::is_utf8(key.data)) return "text that is not UTF-8";
    if (!keys.add(key.data)) return "a key that is there twice";
    if (const char* why = check_value(at, end, depth)) return why;
  }
  return keys.unique() ? nullptr : "a key that is there twice";
}

const char* check_value(const char*& at, const char* end, int depth) {
  BodyReader::Item item;
  if (const char* why = read_head(at, end, item)) return why;
  switch (item.type) {
    case BodyReader::Type::kText:
      return proto::is_utf8(item.data) ? nullptr : "text that is not UTF-8";
    case BodyReader::Type::kList:
    case BodyReader::Type::kMap:
      if (depth == kMaxBodyDepth) return "nested more than 64 deep";
      return item.type == BodyReader::Type::kList ? check_elements(at, end, item.size, depth + 1)
                                                  : check_pairs(at, end, item.size, depth + 1);
    default:
      return nullptr;
  }
}

}  // namespace

const char* check_body(std::string_view body) {
  const char* at = body.data();
  const char* end = at + body.size();
  if (body.empty()) return "there is no value";
  if (const char* why = check_value(at, end, 0)) return why;
  return at == end ? nullptr : "bytes behind the value";
}

BodyReader::BodyReader(std::string_view body) : at_(body.data()), end_(body.data() + body.size()) {
  if (const char* why = check_body(body)) {
    throw ValueError(std::string("this is no body: ") + why);
  }
}

BodyReader::Item BodyReader::next() {
  Item item;
  // It was checked with the whole: this can only fail for a Convert that reads too much.
  if (const char* why = read_head(at_, end_, item)) throw ValueError(why);
  return item;
}

void BodyReader::skip() {
  std::size_t left = 1;
  while (left > 0) {
    Item item = next();
    --left;
    if (item.type == Type::kList) left += item.size;
    if (item.type == Type::kMap) left += 2 * item.size;
  }
}

template <class T>
void BodyWriter::number(int code, T v) {
  char bytes[1 + sizeof(T)];
  bytes[0] = static_cast<char>(code);
  proto::store_big_endian(bytes + 1, static_cast<std::make_unsigned_t<T>>(v));
  out_.append(bytes, sizeof bytes);
}

void BodyWriter::integer(std::int64_t v) {
  if (v >= 0) {
    integer_unsigned(static_cast<std::uint64_t>(v));
  } else if (v >= -32) {
    out_ += static_cast<char>(v);
  } else if (v >= INT8_MIN) {
    number(0xD0, static_cast<std::int8_t>(v));
  } else if (v >= INT16_MIN) {
    number(0xD1, static_cast<std::int16_t>(v));
  } else if (v >= INT32_MIN) {
    number(0xD2, static_cast<std::int32_t>(v));
  } else {
    number(0xD3, v);
  }
}

void BodyWriter::integer_unsigned(std::uint64_t v) {
  if (v <= 0x7F) {
    out_ += static_cast<char>(v);
  } else if (v <= UINT8_MAX) {
    number(0xCC, static_cast<std::uint8_t>(v));
  } else if (v <= UINT16_MAX) {
    number(0xCD, static_cast<std::uint16_t>(v));
  } else if (v <= UINT32_MAX) {
    number(0xCE, static_cast<std::uint32_t>(v));
  } else {
    number(0xCF, v);
  }
}

void BodyWriter::real(double v) {
  if (std::isnan(v)) v = std::numeric_limits<double>::quiet_NaN();  // which NaN is not kept
  number(0xCB, std::bit_cast<std::uint64_t>(v));
}

void BodyWriter::head(std::uint64_t size, int fix_bits, int fix, int code8, int code16,
                      int code32) {
  if (fix >= 0 && size < (std::uint64_t{1} << fix_bits)) {
    out_ += static_cast<char>(fix | static_cast<int>(size));
  } else if (code8 >= 0 && size <= UINT8_MAX) {
    number(code8, static_cast<std::uint8_t>(size));
  } else if (size <= UINT16_MAX) {
    number(code16, static_cast<std::uint16_t>(size));
  } else if (size <= UINT32_MAX) {
    number(code32, static_cast<std::uint32_t>(size));
  } else {
    throw ValueError("text, bytes, a list or a map has more than 2^32 - 1 elements");
  }
}

void BodyWriter::text(std::string_view v) {
  if (!proto::is_utf8(v)) throw ValueError("text that is not UTF-8: use tusk::Bytes for bytes");
  head(v.size(), 5, 0xA0, 0xD9, 0xDA, 0xDB);
  out_ += v;
}

void BodyWriter::bytes(std::string_view v) {
  head(v.size(), 0, -1, 0xC4, 0xC5, 0xC6);
  out_ += v;
}

void BodyWriter::timestamp(Timestamp v) {
  if (v.nanoseconds >= kNanoseconds || v.seconds < kYear1 || v.seconds >= kYear10000) {
    throw ValueError("a timestamp is not between the years 1 and 9999, or has 10^9 ns or more");
  }
  if (v.seconds >= 0 && v.seconds >> 34 == 0) {
    if (v.nanoseconds == 0 && v.seconds <= UINT32_MAX) {
      out_ += static_cast<char>(0xD6);
      number(0xFF, static_cast<std::uint32_t>(v.seconds));
    } else {
      out_ += static_cast<char>(0xD7);
      number(0xFF, std::uint64_t{v.nanoseconds} << 34 | static_cast<std::uint64_t>(v.seconds));
    }
    return;
  }
  out_ += "\xC7\x0C";
  number(0xFF, v.nanoseconds);
  const auto seconds = static_cast<std::uint64_t>(v.seconds);
  number(static_cast<int>(seconds >> 56), static_cast<std::uint32_t>(seconds >> 24));
  number(static_cast<int>(seconds >> 16 & 0xFF), static_cast<std::uint16_t>(seconds));
}

void BodyWriter::enter() {
  if (depth_ == kMaxBodyDepth) throw ValueError("lists and maps nest more than 64 deep");
  ++depth_;
}

void BodyWriter::begin_list(std::size_t size) {
  enter();
  head(size, 4, 0x90, -1, 0xDC, 0xDD);
}

void BodyWriter::begin_map(std::size_t size) {
  enter();
  head(size, 4, 0x80, -1, 0xDE, 0xDF);
}

}  // namespace tusk
