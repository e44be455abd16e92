#include "labels.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "proto/scanner.h"
#include "tusk/error.h"

namespace tusk {
namespace {

[[noreturn]] void invalid(const std::string& reason) { throw Invalid("invalid", reason); }

bool fits(std::string_view text) {
  return !text.empty() && text.size() <= proto::kMaxName && proto::is_utf8(text);
}

void pack_text(proto::Packer& packer, std::string_view text) {
  const auto size = static_cast<std::uint32_t>(text.size());
  packer.pack_str(size).pack_str_body(text.data(), size);
}

std::string allowed(const LabelRules& rules) {
  const std::string amounts =
      "a whole number from " + std::to_string(rules.least) + " to 1,000,000,000";
  if (!rules.texts) return amounts;
  return "a text of 1 to 255 bytes of UTF-8" + (rules.amounts ? " or " + amounts : "");
}

Map as_map(const std::map<std::string, std::string>& labels) {
  return Map(labels.begin(), labels.end());
}

}  // namespace

void check_label(const char* option, std::string_view name) {
  if (fits(name)) return;
  invalid(std::string(option) + " has a name of " + std::to_string(name.size()) +
          " bytes, and names have to be UTF-8 of 1 to 255");
}

void check_labels(const char* option, const Map& labels, const LabelRules& rules) {
  if (labels.size() > rules.most) {
    invalid(std::string(option) + " has " + std::to_string(labels.size()) +
            " entries, and may have " + std::to_string(rules.most));
  }
  for (const auto& [name, value] : labels) {
    check_label(option, name);
    const auto* text = value.get_if<std::string>();
    const auto* amount = value.get_if<std::int64_t>();
    if (rules.texts && text && fits(*text)) continue;
    if (rules.amounts && amount && *amount >= rules.least &&
        std::cmp_less_equal(*amount, proto::kMaxAmount)) {
      continue;
    }
    const std::string given = to_string(value);
    invalid(std::string(option) + ": \"" + name + "\" is " + given.substr(0, 40) +
            (given.size() > 40 ? "..." : "") + ", and has to be " + allowed(rules));
  }
}

void write_labels(proto::Packer& packer, const Map& labels) {
  packer.pack_map(static_cast<std::uint32_t>(labels.size()));
  for (const auto& [name, value] : labels) {
    pack_text(packer, name);
    if (const auto* text = value.get_if<std::string>()) {
      pack_text(packer, *text);
    } else {
      packer.pack_uint64(static_cast<std::uint64_t>(*value.get_if<std::int64_t>()));
    }
  }
}

void write_needs(proto::AttributeWriter& out, const CallOptions& o) {
  if (!o.labels.empty()) {
    const Map labels = as_map(o.labels);
    check_labels("labels", labels, kTaskLabels);
    write_labels(out.key(proto::Attribute::kLabels), labels);
  }
  const auto count = static_cast<std::uint32_t>(o.requires_.has_value() + o.prefers.has_value() +
                                                o.consumes.has_value());
  if (count == 0) return;
  proto::Packer& packer = out.key(proto::Attribute::kNeeds);
  packer.pack_map(count);
  const auto write = [&packer](const char* name, const std::optional<Map>& labels,
                               const LabelRules& rules) {
    if (!labels) return;
    check_labels(name, *labels, rules);
    pack_text(packer, name);
    write_labels(packer, *labels);
  };
  write("requires", o.requires_, kNeeds);
  write("prefers", o.prefers, kNeeds);
  write("consumes", o.consumes, kConsumes);
}

Map worker_labels(const std::string& environment, Map own) {
  if (!environment.empty()) {
    const auto json = nlohmann::json::parse(environment, nullptr, false);
    if (!json.is_object()) {
      invalid(
          "TUSK_LABELS is no JSON object of names and texts or whole numbers, such as "
          "{\"gpu\": 2}: " +
          environment.substr(0, 80));
    }
    for (const auto& [name, value] : json.items()) {
      if (value.is_string()) {
        own.try_emplace(name, value.get<std::string>());
      } else if (value.is_number_unsigned()) {
        own.try_emplace(name, value.get<std::uint64_t>());
      } else {
        invalid("TUSK_LABELS: \"" + name + "\" is " + value.dump().substr(0, 40) +
                ", and has to be " + allowed(kWorkerLabels));
      }
    }
  }
  check_labels("labels", own, kWorkerLabels);
  return own;
}

std::map<std::string, std::string> task_labels(proto::Value labels) {
  std::map<std::string, std::string> out;
  if (!labels.is_map()) return out;
  std::string_view name;
  bool is_name = true;
  for (proto::Value item : labels.items()) {
    if (is_name) {
      name = item.text().value_or("");
    } else if (item.text()) {
      out.emplace(name, *item.text());
    }
    is_name = !is_name;
  }
  return out;
}

}  // namespace tusk
