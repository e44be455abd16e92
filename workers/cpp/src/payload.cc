#include "payload.h"

#include "json.h"
#include "proto/lz4.h"
#include "tusk/body.h"
#include "tusk/error.h"

namespace tusk {
namespace {

// Where message types want bodies compressed, those from this size on are.
constexpr std::size_t kCompressFrom = 64;

PayloadRules::Named named(proto::Value map) {
  PayloadRules::Named out;
  std::optional<std::string_view> name;
  for (proto::Value item : map.items()) {  // keys and values in turn
    if (!name) {
      name = item.text();
      if (!name) return out;
      continue;
    }
    out[std::string(*name)] = {
        .codec = static_cast<unsigned>(item.get("codec").number().value_or(0)),
        .compress = item.get("compress").boolean()};
    name.reset();
  }
  return out;
}

}  // namespace

PayloadRules PayloadRules::of(proto::Value welcome, std::size_t body_limit) {
  PayloadRules rules;
  rules.body = body_limit;
  rules.lz4 = welcome.get("compression").text() == "lz4";
  rules.threshold = welcome.get("compression_threshold").number().value_or(4096);
  const proto::Value messages = welcome.get("messages");
  rules.types = named(messages.get("types"));
  rules.stages = named(messages.get("stages"));
  rules.topics = named(messages.get("topics"));
  return rules;
}

bool compress(std::string& body, const PayloadRules& rules) {
  if (!rules.lz4 || body.size() < rules.threshold || body.empty()) return false;
  std::string frame = proto::lz4_compress(body);
  if (frame.empty() || frame.size() >= body.size()) return false;
  body = std::move(frame);
  return true;
}

bool write_as(const PayloadRules::Writing& told, std::string_view name, std::string& body,
              const PayloadRules& rules) {
  if (told.codec == 1) {
    body = to_json(body);
  } else if (told.codec == 2) {
    BodyReader reader(body);
    const BodyReader::Item item = reader.next();
    if (item.type != BodyReader::Type::kBytes) {
      throw ValueError("bodies of \"" + std::string(name) +
                       "\" are plain bytes, such as a message of protobuf: expected tusk::Bytes");
    }
    body = std::string(item.data);
  } else if (told.codec != 0) {
    throw ValueError("bodies of \"" + std::string(name) + "\" are of codec " +
                     std::to_string(told.codec) + ", which is unknown here");
  }
  if (!told.compress) return compress(body, rules);
  return *told.compress && compress(body, {.lz4 = true, .threshold = kCompressFrom});
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
