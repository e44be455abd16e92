// What tasks need of a worker, and what workers have (SPEC.md, "Needs").
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/value.h"

namespace tusk::core {

// A name with a text, or with an amount.
struct Property {
  std::string name;
  std::string text;  // empty: it is an amount
  uint64_t amount = 0;
  bool operator==(const Property&) const = default;
};

// Sorted by name.
using Properties = std::vector<Property>;

inline const Property* lookup(const Properties& all, std::string_view name) {
  auto it = std::lower_bound(all.begin(), all.end(), name,
                             [](const Property& p, std::string_view n) { return p.name < n; });
  return it != all.end() && it->name == name ? &*it : nullptr;
}

inline void put(Properties& all, Property one) {
  auto it = std::lower_bound(all.begin(), all.end(), one,
                             [](const Property& a, const Property& b) { return a.name < b.name; });
  if (it != all.end() && it->name == one.name) {
    *it = std::move(one);
  } else {
    all.insert(it, std::move(one));
  }
}

// Properties as they come on the wire; `are_labels` says whether they are well-formed.
Properties properties_of(proto::Value map);
bool are_labels(proto::Value map);

struct Needs {
  Properties required, preferred, consumed;

  bool operator==(const Needs&) const = default;
  bool any() const { return !required.empty() || !preferred.empty() || !consumed.empty(); }
};

// Whether somebody who has `offers` meets this one need.
inline bool meets(const Properties& offers, const Property& need) {
  const Property* offer = lookup(offers, need.name);
  if (!offer) return false;
  return need.text.empty() ? offer->text.empty() && offer->amount >= need.amount
                           : offer->text == need.text;
}

inline bool meets(const Properties& offers, const Properties& needs) {
  return std::all_of(needs.begin(), needs.end(),
                     [&](const Property& need) { return meets(offers, need); });
}

// Whether somebody who has `offers` could run it, if nothing else ran there.
inline bool could_run(const Properties& offers, const Needs& needs) {
  return meets(offers, needs.required) && meets(offers, needs.consumed);
}

}  // namespace tusk::core
