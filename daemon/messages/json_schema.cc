#include "daemon/messages/json_schema.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <unordered_set>
#include <utility>
// In this order: valijson's headers do not include what they need.
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/constraints/constraint_visitor.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>

#include "daemon/messages/schema_rules.h"

namespace tusk::messages {
namespace {

using valijson::Subschema;
using valijson::adapters::NlohmannJsonAdapter;
using valijson::constraints::Constraint;
using valijson::constraints::ConstraintVisitor;

// Schemas within one another while one body is checked, over all its depth: a bound for the stack,
// of which each takes about 1 KiB.
constexpr size_t kMaxCalls = 1500;

// Ends a check, through whatever tries alternatives.
struct TooCostly {
  std::string why =
      "takes more than " + std::to_string(kMaxSteps) + " steps to check; send less at a time";
};

// The order of values, so that equal ones stand together: numbers by value, whole or not.
class Order {
 public:
  explicit Order(size_t& steps) : steps_(steps) {}

  int operator()(const Json& a, const Json& b) {
    if (steps_ == 0) throw TooCostly();
    --steps_;
    if (rank(a) != rank(b)) return rank(a) < rank(b) ? -1 : 1;
    switch (a.type()) {
      case Json::value_t::boolean:
        return int{a.get<bool>()} - int{b.get<bool>()};
      case Json::value_t::number_integer:
      case Json::value_t::number_unsigned:
      case Json::value_t::number_float:
        return numbers(a, b);
      case Json::value_t::string:
        return a.get_ref<const std::string&>().compare(b.get_ref<const std::string&>());
      case Json::value_t::array:
        return lists(a, b);
      case Json::value_t::object:
        return maps(a.get_ref<const Json::object_t&>(), b.get_ref<const Json::object_t&>());
      case Json::value_t::binary:
        return a.get_binary() < b.get_binary() ? -1 : b.get_binary() < a.get_binary() ? 1 : 0;
      default:
        return 0;
    }
  }

 private:
  static int rank(const Json& value) {
    return value.is_number() ? static_cast<int>(Json::value_t::number_float)
                             : static_cast<int>(value.type());
  }
  // 64 bits of mantissa: a double and every whole number of 64 bits are exact in it.
  static_assert(std::numeric_limits<long double>::digits >= 64);
  static int numbers(const Json& a, const Json& b) {
    const auto x = a.get<long double>(), y = b.get<long double>();
    if (std::isnan(x) || std::isnan(y)) return int{std::isnan(y)} - int{std::isnan(x)};
    return x < y ? -1 : x > y ? 1 : 0;
  }
  int lists(const Json& a, const Json& b) {
    for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
      if (int order = (*this)(a[i], b[i])) return order;
    }
    return a.size() < b.size() ? -1 : a.size() > b.size() ? 1 : 0;
  }
  int maps(const Json::object_t& a, const Json::object_t& b) {
    auto x = a.begin(), y = b.begin();  // both by key
    for (; x != a.end() && y != b.end(); ++x, ++y) {
      if (int order = x->first.compare(y->first)) return order;
      if (int order = (*this)(x->second, y->second)) return order;
    }
    return x != a.end() ? 1 : y != b.end() ? -1 : 0;
  }

  size_t& steps_;
};

// Code points; the text is UTF-8.
size_t characters(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

std::string shown(double number) {
  const bool whole = number == std::trunc(number) && std::abs(number) < 9007199254740992.0;
  return whole ? std::to_string(static_cast<int64_t>(number)) : Json(number).dump();
}

std::string counted(uint64_t count, const char* what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

// Walks body and schema together. Each visit() says whether the value in hand may be so.
class Check final : private ConstraintVisitor {
 public:
  Check(const Json& body, const Patterns& patterns, const Subschema* anything)
      : patterns_(patterns), anything_(anything), at_(&body) {}

  std::optional<core::Refusal> run(const Subschema& schema) {
    try {
      if (holds(schema)) return std::nullopt;
      return core::Refusal{std::move(wrong_path_), cut(std::move(wrong_))};
    } catch (const TooCostly& end) {
      return core::Refusal{"", end.why};
    }
  }

 private:
  // --- walking

  void step(size_t cost = 1) {
    if (cost >= steps_) throw TooCostly();
    steps_ -= cost;
  }

  bool holds(const Subschema& schema) {
    step();
    if (schema.getAlwaysInvalid()) return no("is not allowed");
    if (++calls_ > kMaxCalls) {
      throw TooCostly{"needs more than " + std::to_string(kMaxCalls) +
                      " schemas within one another to check; nest it less"};
    }
    Subschema::ApplyFunction one = [this](const Constraint& constraint) {
      step();
      return constraint.accept(*this);
    };
    const bool good = schema.applyStrict(one);
    --calls_;
    return good;
  }
  // The same for a value inside the one in hand.
  bool holds_at(Step way, const Json& value, const Subschema& schema) {
    const Json* here = std::exchange(at_, &value);
    path_.push_back(way);
    const bool good = holds(schema);
    path_.pop_back();
    at_ = here;
    return good;
  }
  // Whether it would hold; why not is of no interest.
  bool would_hold(const Subschema& schema) {
    ++trying_;
    const bool good = holds(schema);
    --trying_;
    return good;
  }

  bool no(std::string why) {
    if (trying_ == 0) {
      wrong_ = std::move(why);
      wrong_path_ = json_pointer(path_);
    }
    return false;
  }
  bool no_at(Step way, std::string why) {
    path_.push_back(way);
    no(std::move(why));
    path_.pop_back();
    return false;
  }

  const Json::object_t& map() const { return at_->get_ref<const Json::object_t&>(); }
  const Json::array_t& list() const { return at_->get_ref<const Json::array_t&>(); }
  const std::string& text() const { return at_->get_ref<const std::string&>(); }

  bool matches(const std::string& pattern, const std::string& subject) {
    step(subject.size() / 8);
    return re2::RE2::PartialMatch(subject, *patterns_.find(pattern)->second);
  }

  // --- any value

  static bool is(const Json& value, valijson::constraints::TypeConstraint::JsonType type) {
    using T = valijson::constraints::TypeConstraint;
    switch (type) {
      case T::kArray:
        return value.is_array();
      case T::kBoolean:
        return value.is_boolean();
      case T::kInteger:
        return value.is_number_integer() ||
               (value.is_number_float() && std::isfinite(value.get<double>()) &&
                value.get<double>() == std::trunc(value.get<double>()));
      case T::kNull:
        return value.is_null();
      case T::kNumber:
        return value.is_number();
      case T::kObject:
        return value.is_object();
      case T::kString:
        return value.is_string();
      case T::kAny:
        return true;
    }
    return false;
  }

  bool visit(const TypeConstraint& constraint) override {
    static const std::array<const char*, 8> kNames = {"any",  "array",  "boolean", "integer",
                                                      "null", "number", "object",  "string"};
    bool good = false;
    std::string names;
    constraint.applyToNamedTypes([&](TypeConstraint::JsonType type) {
      names += (names.empty() ? "" : " or ") + std::string(kNames[static_cast<size_t>(type)]);
      good = is(*at_, type);
      return !good;
    });
    if (good) return true;
    const std::string found = at_->is_binary()           ? at_->get_binary().has_subtype()
                                                               ? "a timestamp, which no type of JSON is"
                                                               : "bytes, which no type of JSON are"
                              : at_->is_number_integer() ? "integer"
                                                         : at_->type_name();
    return no("must be " + names + ", is " + found);
  }

  // Schemas keep whole numbers below 2^53 only, and as doubles: those equal no larger one, also
  // where valijson takes one of 2^63 and more for a negative number.
  bool beyond_schemas(const Json& value) {
    step();
    if (value.is_number_unsigned()) return value.get<uint64_t>() >= uint64_t{1} << 53;
    if (!value.is_structured()) return false;
    return std::any_of(value.begin(), value.end(),
                       [this](const Json& inner) { return beyond_schemas(inner); });
  }
  bool visit(const ConstConstraint& constraint) override {
    const bool good =
        !beyond_schemas(*at_) && constraint.getValue()->equalTo(NlohmannJsonAdapter(*at_), true);
    return good || no("is not the one value that the schema allows");
  }
  bool visit(const EnumConstraint& constraint) override {
    bool good = false;
    const NlohmannJsonAdapter value(*at_);
    if (!beyond_schemas(*at_)) {
      constraint.applyToValues([&](const valijson::adapters::FrozenValue& allowed) {
        step();
        good = allowed.equalTo(value, true);
        return !good;
      });
    }
    return good || no("is none of the values that the schema lists");
  }
  // A note for readers, as drafts from 2019 on have it.
  bool visit(const FormatConstraint&) override { return true; }

  // --- schemas in schemas

  bool visit(const AllOfConstraint& constraint) override {
    bool good = true;
    constraint.applyToSubschemas([&](unsigned, const Subschema* schema) {
      good = holds(*schema);
      return good;
    });
    return good;
  }
  bool visit(const AnyOfConstraint& constraint) override {
    bool good = false;
    constraint.applyToSubschemas([&](unsigned, const Subschema* schema) {
      good = would_hold(*schema);
      return !good;
    });
    return good || no("fits none of the schemas of anyOf");
  }
  bool visit(const OneOfConstraint& constraint) override {
    unsigned good = 0;
    constraint.applyToSubschemas([&](unsigned, const Subschema* schema) {
      good += would_hold(*schema);
      return good < 2;
    });
    if (good == 1) return true;
    return no(good == 0 ? "fits none of the schemas of oneOf"
                        : "fits several of the schemas of oneOf; expected one");
  }
  bool visit(const NotConstraint& constraint) override {
    return !would_hold(*constraint.getSubschema()) || no("fits the schema of not");
  }
  bool visit(const ConditionalConstraint& constraint) override {
    const Subschema* follows = would_hold(*constraint.getIfSubschema())
                                   ? constraint.getThenSubschema()
                                   : constraint.getElseSubschema();
    return follows == nullptr || holds(*follows);
  }

  // --- numbers

  // False for NaN on either side.
  bool in_order(long double less, long double more, bool exclusive) {
    return exclusive ? less < more : less <= more;
  }
  bool visit(const MinimumConstraint& constraint) override {
    const bool exclusive = constraint.getExclusiveMinimum();
    const double least = constraint.getMinimum();
    if (!at_->is_number() || in_order(least, at_->get<long double>(), exclusive)) return true;
    return no((exclusive ? "must be more than " : "must be at least ") + shown(least));
  }
  bool visit(const MaximumConstraint& constraint) override {
    const bool exclusive = constraint.getExclusiveMaximum();
    const double most = constraint.getMaximum();
    if (!at_->is_number() || in_order(at_->get<long double>(), most, exclusive)) return true;
    return no((exclusive ? "must be less than " : "must be at most ") + shown(most));
  }
  bool multiple(long double divisor) {
    if (!at_->is_number()) return true;
    const auto value = at_->get<long double>();
    // 19.99 is a multiple of 0.01, though not in binary.
    const long double slack = std::abs(value) * std::numeric_limits<double>::epsilon();
    const bool whole = divisor == std::trunc(divisor) && value == std::trunc(value);
    const long double rest = std::abs(std::remainder(value, divisor));
    if (std::isfinite(value) && rest <= (whole ? 0 : std::min(slack, divisor / 4))) return true;
    return no("must be a multiple of " + shown(static_cast<double>(divisor)));
  }
  bool visit(const MultipleOfDoubleConstraint& constraint) override {
    return multiple(constraint.getDivisor());
  }
  bool visit(const MultipleOfIntConstraint& constraint) override {
    return multiple(static_cast<long double>(constraint.getDivisor()));
  }

  // --- texts

  bool visit(const MinLengthConstraint& constraint) override {
    const uint64_t least = constraint.getMinLength();
    if (!at_->is_string() || characters(text()) >= least) return true;
    return no("must have at least " + counted(least, "character"));
  }
  bool visit(const MaxLengthConstraint& constraint) override {
    const uint64_t most = constraint.getMaxLength();
    if (!at_->is_string() || characters(text()) <= most) return true;
    return no("must have at most " + counted(most, "character"));
  }
  bool visit(const PatternConstraint& constraint) override {
    if (!at_->is_string()) return true;
    const std::string pattern(constraint.getPattern<std::string::allocator_type>());
    return matches(pattern, text()) || no("does not match the pattern " + pattern);
  }

  // --- lists

  bool visit(const MinItemsConstraint& constraint) override {
    const uint64_t least = constraint.getMinItems();
    if (!at_->is_array() || list().size() >= least) return true;
    return no("must have at least " + counted(least, "item"));
  }
  bool visit(const MaxItemsConstraint& constraint) override {
    const uint64_t most = constraint.getMaxItems();
    if (!at_->is_array() || list().size() <= most) return true;
    return no("must have at most " + counted(most, "item"));
  }
  bool all_from(size_t first, const Subschema& schema) {
    for (size_t i = first; i < list().size(); ++i) {
      if (!holds_at({nullptr, i}, list()[i], schema)) return false;
    }
    return true;
  }
  bool visit(const SingularItemsConstraint& constraint) override {
    if (!at_->is_array() || constraint.getItemsSubschema() == nullptr) return true;
    return all_from(0, *constraint.getItemsSubschema());
  }
  bool visit(const LinearItemsConstraint& constraint) override {
    if (!at_->is_array()) return true;
    bool good = true;
    constraint.applyToItemSubschemas([&](unsigned i, const Subschema* schema) {
      if (i < list().size()) good = holds_at({nullptr, i}, list()[i], *schema);
      return good && i < list().size();
    });
    if (!good) return false;
    const size_t named = constraint.getItemSubschemaCount();
    if (const Subschema* others = constraint.getAdditionalItemsSubschema()) {
      return others == anything_ || all_from(named, *others);
    }
    return list().size() <= named || no("must have at most " + counted(named, "item"));
  }
  bool visit(const ContainsConstraint& constraint) override {
    if (!at_->is_array()) return true;
    ++trying_;
    bool good = false;
    for (size_t i = 0; i < list().size() && !good; ++i) {
      good = holds_at({nullptr, i}, list()[i], *constraint.getSubschema());
    }
    --trying_;
    return good || no("has no item that fits the schema of contains");
  }
  bool visit(const UniqueItemsConstraint&) override {
    if (!at_->is_array() || list().size() < 2) return true;
    std::vector<const Json*> items;
    for (const Json& item : list()) items.push_back(&item);
    Order order(steps_);
    std::sort(items.begin(), items.end(), [&](const Json* a, const Json* b) {
      const int way = order(*a, *b);
      return way != 0 ? way < 0 : a < b;
    });
    size_t twice = list().size();
    for (size_t i = 1; i < items.size(); ++i) {
      if (order(*items[i - 1], *items[i]) == 0) {
        twice = std::min(twice, static_cast<size_t>(items[i] - list().data()));
      }
    }
    return twice == list().size() || no_at({nullptr, twice}, "stands in the list before already");
  }

  // --- maps

  bool visit(const MinPropertiesConstraint& constraint) override {
    const uint64_t least = constraint.getMinProperties();
    if (!at_->is_object() || map().size() >= least) return true;
    return no("must have at least " + std::to_string(least) + (least == 1 ? " key" : " keys"));
  }
  bool visit(const MaxPropertiesConstraint& constraint) override {
    const uint64_t most = constraint.getMaxProperties();
    if (!at_->is_object() || map().size() <= most) return true;
    return no("must have at most " + std::to_string(most) + (most == 1 ? " key" : " keys"));
  }
  template <typename Text>
  static std::string name_of(const Text& text) {
    return std::string(text.data(), text.size());
  }
  bool visit(const RequiredConstraint& constraint) override {
    if (!at_->is_object()) return true;
    bool good = true;
    constraint.applyToRequiredProperties([&](const auto& key) {
      step();
      const std::string name = name_of(key);
      good = map().contains(name) || no("has no \"" + name + "\", which is required");
      return good;
    });
    return good;
  }
  // Only lists of keys: look_over() lets no schemas through.
  bool visit(const DependenciesConstraint& constraint) override {
    if (!at_->is_object()) return true;
    bool good = true;
    constraint.applyToPropertyDependencies([&](const auto& key, const auto& needed) {
      const std::string name = name_of(key);
      if (!map().contains(name)) return true;
      for (const auto& other : needed) {
        step();
        if (map().contains(name_of(other))) continue;
        good = no("has \"" + name + "\" without \"" + name_of(other) + "\"");
        return false;
      }
      return true;
    });
    return good;
  }
  bool visit(const PropertiesConstraint& constraint) override {
    if (!at_->is_object()) return true;
    bool good = true;
    const Subschema* others = constraint.getAdditionalPropertiesSubschema();
    std::unordered_set<const Json*> named;
    auto look = [&](const Json::object_t::value_type& member, const Subschema* schema) {
      if (others != anything_) named.insert(&member.second);
      good = holds_at({&member.first, 0}, member.second, *schema);
      return good;
    };
    constraint.applyToProperties([&](const auto& key, const Subschema* schema) {
      step();
      auto member = map().find(name_of(key));
      return member == map().end() || look(*member, schema);
    });
    if (!good) return false;
    constraint.applyToPatternProperties([&](const auto& pattern, const Subschema* schema) {
      for (const auto& member : map()) {
        step();
        if (matches(name_of(pattern), member.first) && !look(member, schema)) return false;
      }
      return true;
    });
    if (!good || others == anything_) return good;
    for (const auto& member : map()) {
      if (named.contains(&member.second)) continue;
      if (others == nullptr) return no_at({&member.first, 0}, "is no key that the schema allows");
      if (!holds_at({&member.first, 0}, member.second, *others)) return false;
    }
    return true;
  }

  // look_over() lets none through, and no builder makes any.
  bool visit(const PropertyNamesConstraint&) override { return no("cannot be checked"); }
  bool visit(const PolyConstraint&) override { return no("cannot be checked"); }

  const Patterns& patterns_;
  const Subschema* const anything_;  // the schema that valijson puts where there is none
  const Json* at_;
  std::vector<Step> path_;
  size_t steps_ = kMaxSteps, calls_ = 0, trying_ = 0;
  std::string wrong_, wrong_path_;
};

class JsonSchema final : public Schema {
 public:
  explicit JsonSchema(JsonForm form) : form_(form) {}

  // Throws what valijson throws about a schema.
  void read(const Json& text, Patterns patterns) {
    patterns_ = std::move(patterns);
    valijson::SchemaParser(valijson::SchemaParser::kDraft7)
        .populateSchema(NlohmannJsonAdapter(text), schema_);
    anything_ = schema_.emptySubschema();
  }

  std::optional<core::Refusal> check(std::string_view body) const override {
    auto tree = read_body(body, form_);
    if (!tree) return std::move(tree.error());
    return Check(*tree, patterns_, anything_).run(schema_);
  }

 private:
  const JsonForm form_;
  Patterns patterns_;
  valijson::Schema schema_;
  const Subschema* anything_ = nullptr;
};

}  // namespace

Compiled<std::unique_ptr<Schema>> json_schema(std::string_view text, JsonForm form) {
  auto tree = read_schema_text(text);
  if (!tree) return tl::unexpected(std::move(tree.error()));
  auto patterns = look_over(*tree);
  if (!patterns) return tl::unexpected(std::move(patterns.error()));
  auto schema = std::make_unique<JsonSchema>(form);
  try {
    schema->read(*tree, std::move(*patterns));
  } catch (const std::exception& error) {
    return tl::unexpected(Fault{cut(error.what())});
  }
  return schema;
}

}  // namespace tusk::messages
