#include "daemon/messages/schema_rules.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <set>
#include <vector>

namespace tusk::messages {
namespace {

using Names = std::vector<std::string_view>;

// Keywords that change what a schema allows, and are not carried out.
const Names kRefused = {
    "$anchor",          "$dynamicAnchor",       "$dynamicRef",       "$id",
    "$recursiveAnchor", "$recursiveRef",        "dependentRequired", "dependentSchemas",
    "disallow",         "divisibleBy",          "extends",           "id",
    "maxContains",      "minContains",          "prefixItems",       "propertyNames",
    "unevaluatedItems", "unevaluatedProperties"};
// What they may be replaced with, of those that can.
struct Instead {
  std::string_view keyword, use;
};
constexpr std::array<Instead, 5> kInstead = {{{"dependentRequired", "dependencies"},
                                              {"dependentSchemas", "if and then"},
                                              {"prefixItems", "items with a list"},
                                              {"propertyNames", "patternProperties"},
                                              {"divisibleBy", "multipleOf"}}};
// What may stand beside `$ref`, for it says nothing about a body.
const Names kBesideRef = {"$comment", "$defs",       "$ref",       "$schema",
                          "default",  "definitions", "deprecated", "description",
                          "examples", "readOnly",    "title",      "writeOnly"};
// Where schemas stand below a schema; in the first two groups they see the same value as it.
const Names kSameOne = {"else", "if", "not", "then"};
const Names kSameList = {"allOf", "anyOf", "oneOf"};
const Names kInnerOne = {"additionalItems", "additionalProperties", "contains", "items"};
const Names kInnerList = {"items"};
const Names kInnerMap = {"$defs", "definitions", "patternProperties", "properties"};

bool one_of(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

const Json::object_t& entries(const Json& map) { return map.get_ref<const Json::object_t&>(); }

class Rules {
 public:
  explicit Rules(const Json& root) : root_(root) {}

  std::optional<Fault> look() {
    nesting_ += depth_of(root_, "");
    // References add to targets_ while they are looked at.
    for (size_t i = 0; i < targets_.size() && !fault_; ++i) {
      const std::string pointer = targets_[i];
      nesting_ += depth_of(*find(pointer), pointer);
    }
    if (!fault_ && nesting_ > kMaxNesting) {
      fail("", "more than " + std::to_string(kMaxNesting) +
                   " schemas within one another, references followed");
    }
    // Each schema once, and from it those that see the same value.
    std::vector<Place> left = {{&root_, ""}};
    for (const std::string& target : targets_) left.push_back({find(target), target});
    while (!left.empty() && !fault_) {
      const Place next = std::move(left.back());
      left.pop_back();
      circle(*next.schema, next.pointer, left);
    }
    return std::move(fault_);
  }

  Patterns patterns;

 private:
  struct Place {
    const Json* schema;
    std::string pointer;
  };

  void fail(const std::string& pointer, const std::string& why) {
    if (!fault_) fault_ = Fault{pointer.empty() ? why : "at " + cut(pointer) + ": " + why};
  }

  static std::string under(const std::string& pointer, std::string_view name) {
    const std::string key(name);
    return pointer + json_pointer({{&key, 0}});
  }

  // Each schema right below this one: its pointer and whether it sees the same value.
  template <typename Each>
  void each_below(const Json& schema, const std::string& pointer, Each each) {
    for (auto& [keyword, value] : entries(schema)) {
      const std::string here = under(pointer, keyword);
      const bool same = one_of(kSameOne, keyword) || one_of(kSameList, keyword);
      if (value.is_array() && (one_of(kSameList, keyword) || one_of(kInnerList, keyword))) {
        for (size_t i = 0; i < value.size(); ++i) {
          each(value[i], here + "/" + std::to_string(i), same);
        }
      } else if (one_of(kSameOne, keyword) || one_of(kInnerOne, keyword)) {
        each(value, here, same);
      } else if (value.is_object() && one_of(kInnerMap, keyword)) {
        for (auto& [name, inner] : entries(value)) {
          each(inner, under(here, name), false);
        }
      }
    }
  }

  // Looks at the schema and all below it; how many levels there are, references not followed.
  size_t depth_of(const Json& schema, const std::string& pointer) {
    if (fault_ || schema.is_boolean()) return 1;
    if (!schema.is_object()) {
      fail(pointer, "a schema is a map, true or false");
      return 1;
    }
    keywords(schema, pointer);
    size_t depth = 0;
    each_below(schema, pointer, [&](const Json& inner, const std::string& at, bool) {
      if (!fault_) depth = std::max(depth, depth_of(inner, at));
    });
    return depth + 1;
  }

  void keywords(const Json& schema, const std::string& pointer) {
    const bool refers = schema.contains("$ref");
    for (auto& entry : entries(schema)) {
      const std::string& keyword = entry.first;
      const Json& value = entry.second;
      const std::string here = under(pointer, keyword);
      // Its document's own name does no harm at the top, for nothing is looked up by it.
      const bool own_name = keyword == "$id" && pointer.empty();
      if (one_of(kRefused, keyword) && !own_name) {
        auto instead = std::find_if(kInstead.begin(), kInstead.end(),
                                    [&](const Instead& i) { return i.keyword == keyword; });
        fail(here, "this keyword is not carried out" +
                       (instead == kInstead.end() ? "" : "; use " + std::string(instead->use)));
      } else if (refers && !one_of(kBesideRef, keyword)) {
        fail(here, "$ref stands beside it and hides it; put both into an allOf");
      } else if (keyword == "$ref") {
        reference(value, here);
      } else if (keyword == "pattern" && value.is_string()) {
        pattern(value.get_ref<const std::string&>(), here);
      } else if (keyword == "patternProperties" && value.is_object()) {
        for (const auto& entry : value.items()) pattern(entry.key(), under(here, entry.key()));
      } else if (keyword == "dependencies" && value.is_object()) {
        for (const auto& entry : value.items()) {
          if (!entry.value().is_array()) {
            fail(under(here, entry.key()), "expected a list of keys; for a schema use if and then");
          }
        }
      } else {
        form(keyword, value, here);
      }
      if (fault_) return;
    }
  }

  // What valijson takes in more forms than there are, or without a look.
  void form(std::string_view keyword, const Json& value, const std::string& here) {
    static const Names kNumbers = {"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum",
                                   "multipleOf"};
    static const Names kCounts = {"maxItems", "maxLength", "maxProperties",
                                  "minItems", "minLength", "minProperties"};
    static const Names kLists = {"allOf", "anyOf", "enum", "oneOf", "required"};
    static const Names kMaps = {"$defs", "definitions", "dependencies", "patternProperties",
                                "properties"};
    if (one_of(kNumbers, keyword) && !value.is_number()) return fail(here, "expected a number");
    if (keyword == "multipleOf" && value.get<double>() <= 0) {
      return fail(here, "expected a number above 0");
    }
    if (one_of(kCounts, keyword) && !value.is_number_unsigned()) {
      return fail(here, "expected a whole number of 0 or more");
    }
    if (one_of(kLists, keyword) && !value.is_array()) return fail(here, "expected a list");
    if (one_of(kMaps, keyword) && !value.is_object()) return fail(here, "expected a map");
    if (keyword == "type") type(value, here);
    if (keyword == "pattern") return fail(here, "expected a text");
    if (keyword == "uniqueItems" && !value.is_boolean())
      return fail(here, "expected true or false");
    if (one_of(kNumbers, keyword) || one_of(kCounts, keyword) || keyword == "enum" ||
        keyword == "const") {
      exact(value, here);
    }
  }

  void type(const Json& value, const std::string& here) {
    static const Names kTypes = {"array",  "boolean", "integer", "null",
                                 "number", "object",  "string"};
    if (value.is_array()) {
      for (const Json& name : value) type(name.is_array() ? Json() : name, here);
    } else if (!value.is_string() || !one_of(kTypes, value.get_ref<const std::string&>())) {
      fail(here,
           "expected array, boolean, integer, null, number, object or string, or a list of "
           "these");
    }
  }

  void exact(const Json& value, const std::string& here) {
    constexpr double kMost = 9007199254740992.0;  // 2^53
    if (value.is_number_integer() && std::abs(value.get<double>()) >= kMost) {
      return fail(here, "a whole number in a schema is below 2^53 in magnitude");
    }
    if (!value.is_structured()) return;
    for (const auto& entry : value.items()) exact(entry.value(), here);
  }

  void pattern(const std::string& text, const std::string& here) {
    if (patterns.contains(text)) return;
    re2::RE2::Options options;
    options.set_log_errors(false);
    auto compiled = std::make_unique<const re2::RE2>(text, options);
    if (!compiled->ok()) {
      return fail(here, "the pattern is none that RE2 knows: " + compiled->error());
    }
    patterns.emplace(text, std::move(compiled));
  }

  void reference(const Json& value, const std::string& here) {
    if (!value.is_string()) return fail(here, "expected a text");
    const auto& to = value.get_ref<const std::string&>();
    if (!to.starts_with('#')) {
      return fail(here,
                  "a reference to another document; nothing is fetched, so only \"#/...\" "
                  "within this one works");
    }
    const std::string pointer = to.substr(1);
    if (find(pointer) == nullptr) return fail(here, "there is nothing at \"" + to + "\"");
    if (std::find(targets_.begin(), targets_.end(), pointer) == targets_.end()) {
      targets_.push_back(pointer);
    }
  }

  // Percent signs and empty names are read in more than one way, so no reference may have them.
  const Json* find(const std::string& pointer) const {
    if (pointer.find('%') != pointer.npos || pointer.find("//") != pointer.npos ||
        pointer.ends_with('/')) {
      return nullptr;
    }
    try {
      const Json::json_pointer at(pointer);
      return root_.contains(at) ? &root_.at(at) : nullptr;
    } catch (const Json::exception&) {
      return nullptr;  // no JSON pointer
    }
  }

  // A schema that comes back to itself without going deeper into the body would never end. Those
  // that do go deeper are left for later.
  void circle(const Json& schema, const std::string& pointer, std::vector<Place>& left) {
    if (fault_ || !schema.is_object() || done_.contains(&schema)) return;
    if (!open_.insert(&schema).second) {
      return fail(pointer, "the schema comes back to itself without going deeper into the body");
    }
    if (auto ref = schema.find("$ref"); ref != schema.end()) {
      const std::string to = ref->get_ref<const std::string&>().substr(1);
      circle(*find(to), to, left);
    }
    each_below(schema, pointer, [&](const Json& inner, const std::string& at, bool same) {
      same ? circle(inner, at, left) : left.push_back({&inner, at});
    });
    open_.erase(&schema);
    done_.insert(&schema);
  }

  const Json& root_;
  std::vector<std::string> targets_;  // of references, each once
  size_t nesting_ = 0;
  std::set<const Json*> open_, done_;
  std::optional<Fault> fault_;
};

}  // namespace

Compiled<Patterns> look_over(const Json& schema) {
  Rules rules(schema);
  if (auto fault = rules.look()) return tl::unexpected(std::move(*fault));
  return std::move(rules.patterns);
}

}  // namespace tusk::messages
