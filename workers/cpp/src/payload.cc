#include "payload.h"

#include "proto/lz4.h"

namespace tusk {

PayloadRules PayloadRules::of(proto::Value welcome, std::size_t body_limit) {
  PayloadRules rules;
  rules.body = body_limit;
  rules.lz4 = welcome.get("compression").text() == "lz4";
  rules.threshold = welcome.get("compression_threshold").number().value_or(4096);
  return rules;
}

bool compress(std::string& body, const PayloadRules& rules) {
  if (!rules.lz4 || body.size() < rules.threshold || body.empty()) return false;
  std::string frame = proto::lz4_compress(body);
  if (frame.empty() || frame.size() >= body.size()) return false;
  body = std::move(frame);
  return true;
}

std::string_view raw_body(const proto::Record& record, const Incoming& packet) {
  switch (record.body.where) {
    case proto::BodyRef::Where::kInline:
      return record.body.inline_bytes;
    case proto::BodyRef::Where::kFrame:
      return packet.frame(record.body.frame);
    case proto::BodyRef::Where::kNone:
      break;
  }
  return {};
}

}  // namespace tusk
