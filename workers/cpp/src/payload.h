// Bodies on their way to and from the wire: compressed when that pays, bounded when they come.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "proto/decoder.h"
#include "socket.h"

namespace tusk {

// What WELCOME says about bodies.
struct PayloadRules {
  std::size_t body = proto::Limits{}.body;
  bool lz4 = false;
  std::size_t threshold = 0;

  static PayloadRules of(proto::Value welcome, std::size_t body_limit);
};

// Replaces a large body by its LZ4 frame, if that is smaller. Whether it did.
bool compress(std::string& body, const PayloadRules& rules);

// The bytes of a record's body as they came; a view into the packet.
std::string_view raw_body(const proto::Record& record, const Incoming& packet);

}  // namespace tusk
