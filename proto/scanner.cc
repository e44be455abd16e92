#include "proto/scanner.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <msgpack.hpp>

#include "proto/wire.h"

namespace tusk::proto {

// What msgpack-cxx calls for each element. A container's token is written when it starts, and its
// `next` when it ends.
struct Scanner::Visitor : msgpack::null_visitor {
  std::vector<Token>& tokens;
  size_t& count;
  std::array<uint32_t, kMaxDepth> open{};
  size_t depth = 0;
  const char* fault = nullptr;

  Visitor(std::vector<Token>& t, size_t& n) : tokens(t), count(n) {}

  // Called for each element of each packet, so that it is worth not to construct tokens one by one.
  Token& add(Token::Type type) {
    if (count == tokens.size()) [[unlikely]]
      tokens.resize(std::max<size_t>(64, 2 * count));
    Token& token = tokens.data()[count++];
    token.type = type;
    token.size = 0;
    token.next = 1;
    token.number = 0;
    return token;
  }
  bool add_slice(Token::Type type, const char* data, uint32_t size) {
    Token& token = add(type);
    token.data = data;
    token.size = size;
    return true;
  }
  bool start(Token::Type type, uint32_t size) {
    if (depth == kMaxDepth) {
      fault = "nested too deep";
      return false;
    }
    open[depth++] = static_cast<uint32_t>(count);
    add(type).size = size;
    return true;
  }
  bool end() {
    uint32_t at = open[--depth];
    tokens[at].next = static_cast<uint32_t>(count - at);
    return true;
  }

  void init() {}  // the parser's reset; depth and fault are reset by scan()

  bool visit_nil() { return add(Token::Type::kNil), true; }
  bool visit_boolean(bool v) { return add(v ? Token::Type::kTrue : Token::Type::kFalse), true; }
  bool visit_positive_integer(uint64_t v) { return add(Token::Type::kUnsigned).number = v, true; }
  // Also called for what is written in a signed form and is not negative.
  bool visit_negative_integer(int64_t v) {
    add(v < 0 ? Token::Type::kNegative : Token::Type::kUnsigned).number = static_cast<uint64_t>(v);
    return true;
  }
  bool visit_float32(float v) { return add(Token::Type::kFloat32).real = v, true; }
  bool visit_float64(double v) { return add(Token::Type::kFloat64).real = v, true; }
  bool visit_str(const char* v, uint32_t size) {
    if (!is_utf8({v, size})) {
      fault = "text that is not UTF-8";
      return false;
    }
    return add_slice(Token::Type::kText, v, size);
  }
  bool visit_bin(const char* v, uint32_t size) { return add_slice(Token::Type::kBinary, v, size); }
  bool visit_ext(const char*, uint32_t) {
    fault = "an extension type";
    return false;
  }
  bool start_array(uint32_t size) { return start(Token::Type::kArray, size); }
  bool start_map(uint32_t size) { return start(Token::Type::kMap, size); }
  bool end_array() { return end(); }
  bool end_map() { return end(); }
};

// Kept from packet to packet: msgpack-cxx's own msgpack::parse makes one, with its stack, per call.
struct Scanner::Parser {
  Parser(std::vector<Token>& tokens, size_t& count) : visitor(tokens, count), helper(visitor) {}
  Visitor visitor;
  msgpack::detail::parse_helper<Visitor> helper;
};

Scanner::Scanner() : parser_(new Parser(tokens_, count_)) {}
Scanner::~Scanner() { delete parser_; }

const char* Scanner::scan(std::string_view frame, size_t& offset) {
  parser_->visitor.depth = 0;
  parser_->visitor.fault = nullptr;
  parser_->helper.init();
  switch (parser_->helper.execute(frame.data(), frame.size(), offset)) {
    case msgpack::PARSE_SUCCESS:
    case msgpack::PARSE_EXTRA_BYTES:
      return nullptr;
    case msgpack::PARSE_CONTINUE:
      return "cut off";
    case msgpack::PARSE_STOP_VISITOR:
      return parser_->visitor.fault ? parser_->visitor.fault : "not msgpack";
    default:
      return "not msgpack";
  }
}

namespace {

template <typename T>
T load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Sixteen bytes at a time; what is left at the end is looked at with what stands before it.
bool is_ascii(std::string_view text) {
  const char* at = text.data();
  size_t left = text.size();
  uint64_t all = 0;
  if (left >= 8) {
    for (; left > 16; at += 16, left -= 16) all |= load<uint64_t>(at) | load<uint64_t>(at + 8);
    all |= load<uint64_t>(left > 8 ? at : at + left - 8) | load<uint64_t>(at + left - 8);
  } else if (left >= 4) {
    all = load<uint32_t>(at) | uint64_t{load<uint32_t>(at + left - 4)} << 32;
  } else {
    for (; left > 0; --left) all |= static_cast<unsigned char>(*at++);
  }
  return (all & 0x8080808080808080u) == 0;
}

}  // namespace

bool is_utf8(std::string_view text) {
  if (is_ascii(text)) return true;  // most text is
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* end = p + text.size();
  while (p != end) {
    if (*p < 0x80) {
      ++p;
      continue;
    }
    int more = (*p >= 0xC2 && *p <= 0xDF)   ? 1
               : (*p & 0xF0) == 0xE0        ? 2
               : (*p >= 0xF0 && *p <= 0xF4) ? 3
                                            : 0;
    if (more == 0 || end - p <= more) return false;
    for (int i = 1; i <= more; ++i) {
      if ((p[i] & 0xC0) != 0x80) return false;
    }
    if (p[0] == 0xE0 && p[1] < 0xA0) return false;  // overlong
    if (p[0] == 0xED && p[1] > 0x9F) return false;  // surrogates
    if (p[0] == 0xF0 && p[1] < 0x90) return false;  // overlong
    if (p[0] == 0xF4 && p[1] > 0x8F) return false;  // beyond U+10FFFF
    p += more + 1;
  }
  return true;
}

}  // namespace tusk::proto
