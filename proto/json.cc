#include "proto/json.h"

#include <array>
#include <stdexcept>

#include "proto/scanner.h"
#include "proto/wire.h"
#include "proto/writer.h"

namespace tusk::proto {
namespace {

using Type = Token::Type;

struct AttributeName {
  Attribute key;
  std::string_view name;
};

constexpr std::array kAttributeNames = {
    AttributeName{Attribute::kDelay, "delay"},
    AttributeName{Attribute::kError, "error"},
    AttributeName{Attribute::kDeadline, "deadline"},
    AttributeName{Attribute::kAttempt, "attempt"},
    AttributeName{Attribute::kRunTimeout, "run_timeout"},
    AttributeName{Attribute::kWorker, "worker"},
    AttributeName{Attribute::kAttempts, "attempts"},
    AttributeName{Attribute::kTrace, "trace"},
    AttributeName{Attribute::kBackoff, "backoff"},
    AttributeName{Attribute::kBaggage, "baggage"},
    AttributeName{Attribute::kRetention, "retention"},
    AttributeName{Attribute::kReply, "reply"},
    AttributeName{Attribute::kGroup, "group"},
    AttributeName{Attribute::kResent, "resent"},
    AttributeName{Attribute::kLabels, "labels"},
    AttributeName{Attribute::kUnique, "unique"},
    AttributeName{Attribute::kUniquePolicy, "unique_policy"},
    AttributeName{Attribute::kOrderKey, "order_key"},
    AttributeName{Attribute::kTimeLeft, "time_left"},
    AttributeName{Attribute::kNeeds, "needs"},
    AttributeName{Attribute::kReason, "reason"},
    AttributeName{Attribute::kCodec, "codec"},
    AttributeName{Attribute::kHistory, "history"},
    AttributeName{Attribute::kCompression, "compression"},
    AttributeName{Attribute::kTask, "task"},
    AttributeName{Attribute::kIndex, "index"},
    AttributeName{Attribute::kCheckpoint, "checkpoint"},
    AttributeName{Attribute::kChunks, "chunks"},
    AttributeName{Attribute::kMissed, "missed"},
    AttributeName{Attribute::kRetained, "retained"},
    AttributeName{Attribute::kCost, "cost"},
    AttributeName{Attribute::kPriority, "priority"},
    AttributeName{Attribute::kRerunOk, "rerun_ok"},
    AttributeName{Attribute::kWait, "wait"},
    AttributeName{Attribute::kNoRetry, "no_retry"},
    AttributeName{Attribute::kCrashed, "crashed"},
    AttributeName{Attribute::kStickyKey, "sticky_key"},
    AttributeName{Attribute::kParent, "parent"},
    AttributeName{Attribute::kHeartbeatTimeout, "heartbeat_timeout"},
    AttributeName{Attribute::kNoRetryOn, "no_retry_on"},
    AttributeName{Attribute::kFollow, "follow"},
    AttributeName{Attribute::kUniqueFor, "unique_for"},
    AttributeName{Attribute::kLimitKey, "limit_key"},
    AttributeName{Attribute::kStream, "stream"},
    AttributeName{Attribute::kSlow, "slow"},
};

// Where in its record a kind has its map of attributes; 0: nowhere.
size_t attributes_index(Kind kind) {
  switch (kind) {
    case Kind::kCancel:
    case Kind::kSubscribe:
    case Kind::kChunk:
    case Kind::kProgress:
    case Kind::kUpdate:
    case Kind::kAwait:
      return 3;
    case Kind::kLog:
    case Kind::kPublish:
    case Kind::kResult:
    case Kind::kEvent:
      return 4;
    case Kind::kSubmit:
    case Kind::kPush:
      return 5;
    case Kind::kTask:
    case Kind::kItem:
      return 6;
    default:
      return 0;
  }
}

std::string attribute_name(uint64_t key) {
  for (const AttributeName& a : kAttributeNames) {
    if (static_cast<uint64_t>(a.key) == key) return std::string(a.name);
  }
  return std::to_string(key);
}

uint64_t attribute_key(const std::string& name) {
  for (const AttributeName& a : kAttributeNames) {
    if (a.name == name) return static_cast<uint64_t>(a.key);
  }
  size_t used = 0;
  uint64_t key = name.empty() ? 0 : std::stoull(name, &used);
  if (used != name.size() || name.empty()) {
    throw std::invalid_argument("no attribute is called \"" + name + "\"");
  }
  return key;
}

std::optional<Kind> kind_of(std::string_view name) {
  for (unsigned number = 0; number < 128; ++number) {
    auto kind = static_cast<Kind>(number);
    if (!name.empty() && kind_name(kind) == name) return kind;
  }
  return std::nullopt;
}

Json bytes_to_json(std::string_view bytes) { return Json{{"hex", hex_encode(bytes)}}; }

// A key of a map that is not text has no JSON form of its own: it is shown as its JSON text.
std::string key_text(Value key) {
  auto text = key.text();
  return text ? std::string(*text) : value_to_json(key).dump();
}

Json attributes_to_json(Value map) {
  Json out = Json::object();
  bool is_key = true;
  std::string name;
  for (Value item : map.items()) {
    if (is_key) {
      auto number = item.number();
      name = number ? attribute_name(*number) : key_text(item);
    } else {
      out[name] = value_to_json(item);
    }
    is_key = !is_key;
  }
  return out;
}

Json record_to_json(Value record) {
  if (!record.is_array()) return value_to_json(record);
  Json out = Json::array();
  size_t index = 0, attributes = 0;
  for (Value item : record.items()) {
    auto number = item.number();
    if (index == 0 && number && *number < 128) {
      auto kind = static_cast<Kind>(*number);
      std::string_view name = kind_name(kind);
      attributes = attributes_index(kind);
      out.push_back(name.empty() ? Json(*number) : Json(name));
    } else if (index != 0 && index == attributes && item.is_map()) {
      out.push_back(attributes_to_json(item));
    } else {
      out.push_back(value_to_json(item));
    }
    ++index;
  }
  return out;
}

void pack_text(Packer& packer, const std::string& text) {
  packer.pack_str(static_cast<uint32_t>(text.size()));
  packer.pack_str_body(text.data(), static_cast<uint32_t>(text.size()));
}

std::string bytes_from_json(const Json& json) {
  auto bytes = hex_decode(json.at("hex").get_ref<const std::string&>());
  if (!bytes) throw std::invalid_argument("not hexadecimal: " + json.dump());
  return std::move(*bytes);
}

bool is_bytes(const Json& json) {
  return json.is_object() && json.size() == 1 && json.contains("hex") && json["hex"].is_string();
}

void write_record(Packer& packer, const Json& record) {
  if (!record.is_array() || record.empty()) {
    throw std::invalid_argument("a record is a list that begins with its kind: " + record.dump());
  }
  size_t attributes = 0;
  packer.pack_array(static_cast<uint32_t>(record.size()));
  for (size_t i = 0; i < record.size(); ++i) {
    if (i == 0 && record[0].is_string()) {
      auto kind = kind_of(record[0].get_ref<const std::string&>());
      if (!kind) throw std::invalid_argument("no kind of record is called " + record[0].dump());
      attributes = attributes_index(*kind);
      packer.pack_uint64(static_cast<uint64_t>(*kind));
    } else if (i != 0 && i == attributes && record[i].is_object()) {
      packer.pack_map(static_cast<uint32_t>(record[i].size()));
      for (const auto& [name, value] : record[i].items()) {
        packer.pack_uint64(attribute_key(name));
        write_json(packer, value);
      }
    } else {
      write_json(packer, record[i]);
    }
  }
}

}  // namespace

void write_json(Packer& packer, const Json& json) {
  if (is_bytes(json)) {
    std::string bytes = bytes_from_json(json);
    packer.pack_bin(static_cast<uint32_t>(bytes.size()));
    packer.pack_bin_body(bytes.data(), static_cast<uint32_t>(bytes.size()));
    return;
  }
  switch (json.type()) {
    case Json::value_t::boolean:
      json.get<bool>() ? packer.pack_true() : packer.pack_false();
      break;
    case Json::value_t::number_unsigned:
      packer.pack_uint64(json.get<uint64_t>());
      break;
    case Json::value_t::number_integer:
      packer.pack_int64(json.get<int64_t>());
      break;
    case Json::value_t::number_float:
      packer.pack_double(json.get<double>());
      break;
    case Json::value_t::string:
      pack_text(packer, json.get_ref<const std::string&>());
      break;
    case Json::value_t::array:
      packer.pack_array(static_cast<uint32_t>(json.size()));
      for (const Json& item : json) write_json(packer, item);
      break;
    case Json::value_t::object:
      packer.pack_map(static_cast<uint32_t>(json.size()));
      for (const auto& [key, value] : json.items()) {
        pack_text(packer, key);
        write_json(packer, value);
      }
      break;
    default:
      packer.pack_nil();
  }
}

Json value_to_json(Value value) {
  if (!value) return nullptr;
  const Token& token = *value.token();
  switch (token.type) {
    case Type::kNil:
      return nullptr;
    case Type::kFalse:
      return false;
    case Type::kTrue:
      return true;
    case Type::kUnsigned:
      return token.number;
    case Type::kNegative:
      return static_cast<int64_t>(token.number);
    case Type::kFloat32:
    case Type::kFloat64:
      return token.real;
    case Type::kText:
      return std::string(token.data, token.size);
    case Type::kBinary:
    case Type::kExtension:
      return bytes_to_json({token.data, token.size});
    case Type::kArray: {
      Json out = Json::array();
      for (Value item : value.items()) out.push_back(value_to_json(item));
      return out;
    }
    case Type::kMap: {
      Json out = Json::object();
      bool is_key = true;
      std::string key;
      for (Value item : value.items()) {
        if (is_key) {
          key = key_text(item);
        } else {
          out[key] = value_to_json(item);
        }
        is_key = !is_key;
      }
      return out;
    }
  }
  return nullptr;
}

std::optional<Json> packet_to_json(std::string_view records,
                                   std::span<const std::string_view> body_frames) {
  Scanner scanner;
  Json packet{{"records", Json::array()}, {"frames", Json::array()}};
  for (size_t offset = 0; offset < records.size();) {
    scanner.clear();
    if (scanner.scan(records, offset)) return std::nullopt;
    packet["records"].push_back(record_to_json(Value(scanner.tokens().data())));
  }
  for (std::string_view frame : body_frames) packet["frames"].push_back(bytes_to_json(frame));
  return packet;
}

PacketBytes packet_from_json(const Json& packet) {
  Buffer buffer;
  Packer packer(buffer);
  for (const Json& record : packet.at("records")) write_record(packer, record);
  PacketBytes out{std::string(buffer.view()), {}};
  for (const Json& frame : packet.at("frames")) out.frames.push_back(bytes_from_json(frame));
  return out;
}

std::string hex_encode(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (unsigned char byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::optional<std::string> hex_decode(std::string_view hex) {
  auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  if (hex.size() % 2) return std::nullopt;
  std::string out;
  out.reserve(hex.size() / 2);
  for (size_t i = 0; i < hex.size(); i += 2) {
    int high = digit(hex[i]), low = digit(hex[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high << 4 | low);
  }
  return out;
}

}  // namespace tusk::proto
