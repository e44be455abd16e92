// Bodies on their way to and from the wire: compressed when that pays, bounded when they come.
#pragma once

#include <cstddef>
#include <map>
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
  // What it says of message types: by name, of types, stages and topics.
  struct Writing {
    unsigned codec = 0;
    std::optional<bool> compress;
  };
  using Named = std::map<std::string, Writing, std::less<>>;
  Named types{}, stages{}, topics{};

  static PayloadRules of(proto::Value welcome, std::size_t body_limit);
};

// Replaces a large body by its LZ4 frame, if that is smaller. Whether it did.
bool compress(std::string& body, const PayloadRules& rules);

// The body, which is msgpack, as `told` wants it: its codec, and compressed or not. Whether it is
// compressed now. Throws ValueError if the value has no form in the codec; `name` is for its text.
bool write_as(const PayloadRules::Writing& told, std::string_view name, std::string& body,
              const PayloadRules& rules);

// The bytes of a record's body as they came; a view into the packet.
std::string_view raw_body(const proto::Record& record, const Incoming& packet);

}  // namespace tusk
