// Turns the msgpack of a packet's first frame into flat tokens, in one pass, without allocating
// once its scratch has grown. Bounded in depth by kMaxDepth and in size by the frame.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "proto/value.h"

namespace tusk::proto {

class Scanner {
 public:
  Scanner();
  ~Scanner();
  Scanner(const Scanner&) = delete;
  Scanner& operator=(const Scanner&) = delete;

  // Reads the one value that starts at frame[offset], appends its tokens and moves offset behind
  // it. On failure says why in a few words (a literal); the tokens are then of no use.
  const char* scan(std::string_view frame, size_t& offset);

  void clear() { count_ = 0; }
  std::span<const Token> tokens() const { return {tokens_.data(), count_}; }

 private:
  struct Visitor;
  struct Parser;

  std::vector<Token> tokens_;  // scratch: the first count_ count
  size_t count_ = 0;
  Parser* parser_;
};

// Whether `text` is UTF-8 as RFC 3629 has it (no surrogates, no overlong forms).
bool is_utf8(std::string_view text);

}  // namespace tusk::proto
