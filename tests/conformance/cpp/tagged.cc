#include "tagged.h"

#include <charconv>
#include <cmath>

namespace tusk::conformance {
namespace {

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

std::string float_text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  char text[64];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

struct Tagger {
  Json operator()(std::monostate) const { return nullptr; }
  Json operator()(bool v) const { return v; }
  Json operator()(std::int64_t v) const { return {{"int", std::to_string(v)}}; }
  Json operator()(std::uint64_t v) const { return {{"int", std::to_string(v)}}; }
  Json operator()(double v) const { return {{"float", float_text(v)}}; }
  Json operator()(const std::string& v) const { return {{"text", v}}; }
  Json operator()(const Bytes& v) const { return {{"bytes", to_hex(as_text(v))}}; }
  Json operator()(Timestamp v) const {
    return {{"timestamp", Json::array({std::to_string(v.seconds), v.nanoseconds})}};
  }
  Json operator()(const List& v) const {
    Json list = Json::array();
    for (const Value& item : v) list.push_back(to_tagged(item));
    return {{"list", std::move(list)}};
  }
  Json operator()(const Map& v) const {
    Json pairs = Json::array();
    for (const auto& [key, item] : v) pairs.push_back(Json::array({key, to_tagged(item)}));
    return {{"map", std::move(pairs)}};
  }
};

}  // namespace

std::string to_hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (unsigned char byte : bytes) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

Value from_tagged(const Json& tagged) {
  if (tagged.is_null()) return {};
  if (tagged.is_boolean()) return tagged.get<bool>();
  const std::string kind = tagged.begin().key();
  const Json& inner = tagged.begin().value();
  if (kind == "list") {
    List list;
    for (const Json& item : inner) list.push_back(from_tagged(item));
    return list;
  }
  if (kind == "map") {
    Map map;
    for (const Json& pair : inner) map.emplace(pair[0].get<std::string>(), from_tagged(pair[1]));
    return map;
  }
  if (kind == "timestamp") {
    return Timestamp{std::stoll(inner[0].get<std::string>()), inner[1].get<std::uint32_t>()};
  }
  const auto text = inner.get<std::string>();
  if (kind == "int") {
    if (text[0] == '-') return static_cast<std::int64_t>(std::stoll(text));
    return static_cast<std::uint64_t>(std::stoull(text));
  }
  if (kind == "float") return std::strtod(text.c_str(), nullptr);
  if (kind == "bytes") return to_bytes(from_hex(text));
  return text;
}

Json to_tagged(const Value& value) { return std::visit(Tagger{}, value.variant()); }

}  // namespace tusk::conformance
