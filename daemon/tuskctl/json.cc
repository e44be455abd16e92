#include "daemon/tuskctl/json.h"

#include <cmath>
#include <ctime>

namespace tusk::ctl {
namespace {

std::string hex(const Bytes& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (std::byte byte : bytes) {
    out += kDigits[static_cast<unsigned>(byte) >> 4];
    out += kDigits[static_cast<unsigned>(byte) & 15];
  }
  return out;
}

std::string iso(const Timestamp& time) {
  const auto seconds = static_cast<std::time_t>(time.seconds);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[64];
  const size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%09uZ", time.nanoseconds);
  return std::string(text, size) + fraction;
}

struct ToJson {
  Json operator()(std::monostate) const { return nullptr; }
  Json operator()(bool v) const { return v; }
  Json operator()(std::int64_t v) const { return v; }
  Json operator()(std::uint64_t v) const { return v; }
  Json operator()(double v) const {
    if (std::isnan(v)) return "NaN";
    if (std::isinf(v)) return v > 0 ? "Infinity" : "-Infinity";
    return v;
  }
  Json operator()(const std::string& v) const { return v; }
  Json operator()(const Bytes& v) const { return Json{{"bytes", hex(v)}}; }
  Json operator()(const List& v) const {
    Json out = Json::array();
    for (const Value& item : v) out.push_back(to_json(item));
    return out;
  }
  Json operator()(const Map& v) const {
    Json out = Json::object();
    for (const auto& [key, item] : v) out[key] = to_json(item);
    return out;
  }
  Json operator()(const Timestamp& v) const { return iso(v); }
};

}  // namespace

Json to_json(const Value& value) { return std::visit(ToJson{}, value.variant()); }

Value from_json(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return json.get<bool>();
    case Json::value_t::number_integer:
      return json.get<std::int64_t>();
    case Json::value_t::number_unsigned:
      return json.get<std::uint64_t>();
    case Json::value_t::number_float:
      return json.get<double>();
    case Json::value_t::string:
      return json.get<std::string>();
    case Json::value_t::array: {
      List out;
      for (const Json& item : json) out.push_back(from_json(item));
      return out;
    }
    case Json::value_t::object: {
      Map out;
      for (const auto& [key, item] : json.items()) out[key] = from_json(item);
      return out;
    }
    default:
      return {};
  }
}

}  // namespace tusk::ctl
